"""Which ledger entries belong to a session and its money, and what they come to. Reads books; changes nothing."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from terminal_app.billing.tariff import parse_tariff
from terminal_app.ledger.entry import Entry
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.site import Books
from terminal_app.session import facts as f
from terminal_app.values import CardFacts, EntryMode, Hold

SESSION_KINDS = (
    "session_opened",
    "authorization_intended",
    "start_registered",
    "stop_intended",
    "session_aborted",
    "bill_frozen",
    "shortfall_booked",
)
HOLD_KINDS = (
    "authorization_approved",
    "authorization_declined",
    "authorization_unknown",
    "capture_intended",
    "void_intended",
    "hold_ended",
    "authorization_rerouted",
    "checkout_opened",
    "offline_granted",
    "hold_kept",
    "hold_reused",
    "increment_intended",
    "increment_ended",
    "refund_intended",
    "settlement_reopened",
)
MOST_SEARCHED = 5000


class HoldSummary(msgspec.Struct):
    """One hold as far as the ledger tells. `phase`: asked, declined, in_doubt, held, kept, offline, capturing, voiding,
    refunding, or how it ended. `moved_minor` is what was taken, `refunded_minor` what was given back of it."""

    hold_id: str
    session_id: str
    connector: int
    gateway: str
    asked_utc_ms: int
    asked_minor: int
    currency: str
    card: str
    phase: str = "asked"
    approved_minor: int = 0
    moved_minor: int = 0
    refunded_minor: int = 0
    detail: str = ""
    trace: dict[str, str] = {}
    record_seq: int = 0

    @property
    def open(self) -> bool:
        """Money may still be held, or its end has no record yet."""
        return self.phase != "declined" and not self.record_seq


class SessionSummary(msgspec.Struct):
    """One session as far as the ledger tells. `phase`: opened, charging, stopping, billed, sealed, aborted, declined, in_doubt."""

    session_id: str
    connector: int
    opened_utc_ms: int
    currency: str
    free: bool
    phase: str = "opened"
    ended_utc_ms: int | None = None
    energy_wh: int | None = None
    charging_ms: int = 0
    total_minor: int | None = None
    stop_reason: str = ""
    receipt_number: str = ""
    record_seq: int = 0
    holds: list[HoldSummary] = []


class Fold:
    """Takes entries in order and keeps a summary of each session and hold it sees open."""

    def __init__(self) -> None:
        self.sessions: dict[str, SessionSummary] = {}
        self.holds: dict[str, HoldSummary] = {}

    def take(self, entry: Entry) -> None:
        fact = entry.fact
        if isinstance(fact, f.SessionOpened):
            currency = parse_tariff(fact.tariff.encode()).currency
            self.sessions[fact.session_id] = SessionSummary(
                fact.session_id, fact.connector, entry.stamp.utc_ms, currency, fact.free, holds=[]
            )
        elif isinstance(fact, f.AuthorizationIntended):
            self._intended(fact.session_id, fact.hold, fact.card)
        elif isinstance(fact, f.RefundIntended | f.SettlementReopened) and hold_of(fact) not in self.holds:
            self._from_the_past(fact)
        elif (hold_id := hold_of(fact)) in self.holds:
            self._money(self.holds[hold_id], fact)
        elif isinstance(fact, f.Sealed):
            self._sealed(fact)
        elif (session_id := getattr(fact, "session_id", "")) in self.sessions:
            self._charge(self.sessions[session_id], fact, entry)

    def _intended(self, session_id: str, hold: Hold, card: CardFacts) -> HoldSummary:
        self.holds[hold.hold_id] = one = HoldSummary(
            hold_id=hold.hold_id,
            session_id=session_id,
            connector=hold.connector,
            gateway=hold.gateway,
            asked_utc_ms=hold.utc_ms,
            asked_minor=hold.amount_minor,
            currency=hold.currency,
            card=f"{card.brand} {card.last4}" if card.entry is not EntryMode.QR else "phone",
        )
        if session_id in self.sessions:
            self.sessions[session_id].holds.append(one)
        return one

    def _from_the_past(self, fact: f.RefundIntended | f.SettlementReopened) -> None:
        """A hold that had ended before what this fold has seen begins again."""
        past = fact.past
        one = self._intended(past.session_id, past.hold, past.card)
        one.approved_minor, one.moved_minor, one.refunded_minor = past.approved_minor, past.captured_minor, past.refunded_minor
        one.phase = "captured" if past.captured_minor else "manual"
        self._money(one, fact)

    def _money(self, one: HoldSummary, fact: f.Fact) -> None:
        session = self.sessions.get(one.session_id)
        match fact:
            case f.AuthorizationApproved():
                one.phase, one.approved_minor, one.trace = "held", fact.approved_minor, dict(fact.trace)
            case f.AuthorizationDeclined():
                one.phase, one.detail = "declined", f"{fact.reason.value} {fact.code}".strip()
                if session:
                    session.phase = "declined"
            case f.AuthorizationUnknown():
                one.phase, one.detail = "in_doubt", fact.why
                if session:
                    session.phase = "in_doubt"
            case f.CaptureIntended():
                one.phase = "capturing"
            case f.VoidIntended():
                one.phase, one.detail = "voiding", fact.reason
                if session and fact.receipt_number:  # of a hold without a charge; a bill's comes with the bill
                    session.receipt_number = fact.receipt_number
            case f.HoldEnded():
                self._ended(one, fact)
            case f.AuthorizationRerouted():
                one.gateway = fact.gateway
            case f.OfflineGranted():
                one.phase, one.approved_minor, one.gateway = "offline", fact.amount_minor, fact.gateway
            case f.HoldKept():
                one.phase = "kept"
            case f.HoldReused():
                one.phase, one.session_id = "held", fact.session_id
                if fact.session_id in self.sessions:
                    self.sessions[fact.session_id].holds.append(one)
            case f.IncrementEnded():
                one.approved_minor += fact.added_minor
            case f.RefundIntended():
                one.phase, one.detail, one.record_seq = "refunding", f"{fact.actor}: {fact.reason}", 0
            case f.SettlementReopened():
                one.detail, one.record_seq = f"{fact.actor}: {fact.reason}", 0
            case _:
                pass

    def _ended(self, one: HoldSummary, fact: f.HoldEnded) -> None:
        if one.phase == "refunding":
            one.refunded_minor += fact.amount_minor
        else:
            one.moved_minor = fact.amount_minor
        one.phase = "captured" if fact.how is f.Terminated.REFUSED else fact.how.value
        one.detail, one.trace = fact.detail, {**one.trace, **fact.trace}

    def _sealed(self, fact: f.Sealed) -> None:
        if fact.subject in self.holds:
            self.holds[fact.subject].record_seq = fact.record_seq
        elif fact.subject in self.sessions:
            session = self.sessions[fact.subject]
            session.phase, session.record_seq = "sealed", fact.record_seq

    def _charge(self, one: SessionSummary, fact: f.Fact, entry: Entry) -> None:
        match fact:
            case f.StartRegistered():
                one.phase = "charging"
            case f.StopIntended():
                one.phase, one.stop_reason = "stopping", fact.reason.value
            case f.SessionAborted():
                one.phase, one.stop_reason, one.ended_utc_ms = "aborted", fact.reason.value, entry.stamp.utc_ms
            case f.BillFrozen():
                one.phase, one.energy_wh, one.total_minor = "billed", fact.energy_wh, fact.total_minor
                one.charging_ms, one.receipt_number = fact.charging_ms, fact.receipt_number
                one.ended_utc_ms = fact.ended.utc_ms
            case _:
                pass


def hold_of(fact: f.Fact) -> str:
    """The hold a fact is about, "" = none."""
    if isinstance(fact, f.RefundIntended | f.SettlementReopened):
        return fact.past.hold.hold_id
    return fact.hold.hold_id if isinstance(fact, f.AuthorizationIntended) else str(getattr(fact, "hold_id", ""))


def hold_chapters(books: Books, given: str) -> list[Entry]:
    """Every entry about one hold, oldest first, found by the beginning of its id. ServiceTrouble if none or several fit."""
    found: dict[str, int] = {}
    for entry in books.entries(kinds=("authorization_intended",), newest_first=True):
        hold_id = hold_of(entry.fact)
        if given and hold_id.startswith(given):
            found.setdefault(hold_id, entry.seq)
            if hold_id == given:
                break
    if given in found:
        found = {given: found[given]}
    if len(found) != 1:
        many = f"{len(found)} holds begin with {given}; give more of the id"
        none = f"there is no hold {given} in this ledger"
        raise ServiceTrouble(f"{many if found else none}; see: charge-service payments list")
    ((hold_id, first),) = found.items()
    kinds = ("authorization_intended", *HOLD_KINDS, "seal_intended", "sealed")
    about = books.entries(after=first - 1, kinds=kinds)
    return [one for one in about if hold_id in (hold_of(one.fact), getattr(one.fact, "subject", ""))]


def hold_summary(entries: Iterable[Entry]) -> HoldSummary:
    """What the entries of one hold come to."""
    fold = Fold()
    for entry in entries:
        fold.take(entry)
    (found,) = fold.holds.values()
    return found


def newest_sessions(books: Books, limit: int) -> list[SessionSummary]:
    """The newest sessions, newest first."""
    fold = _fold_from_newest(books, "session_opened", limit)
    return sorted(fold.sessions.values(), key=lambda one: one.opened_utc_ms, reverse=True)


def newest_holds(books: Books, limit: int) -> list[HoldSummary]:
    """The newest holds, newest first."""
    fold = _fold_from_newest(books, "authorization_intended", limit)
    return sorted(fold.holds.values(), key=lambda one: one.asked_utc_ms, reverse=True)


def open_holds(books: Books) -> list[HoldSummary]:
    """Every hold without a sealed end, oldest first; walks the whole ledger."""
    fold = Fold()
    for entry in books.entries(kinds=("authorization_intended", *HOLD_KINDS, "sealed")):
        fold.take(entry)
        subject = getattr(entry.fact, "subject", hold_of(entry.fact))
        if subject in fold.holds and not fold.holds[subject].open:
            del fold.holds[subject]
    return list(fold.holds.values())


def _fold_from_newest(books: Books, kind: str, limit: int) -> Fold:
    fold = Fold()
    newest = list(books.entries(kinds=(kind,), newest_first=True, limit=limit))
    if newest:
        for entry in books.entries(after=newest[-1].seq - 1, kinds=(*SESSION_KINDS, *HOLD_KINDS, "sealed")):
            fold.take(entry)
    return fold


def full_id(books: Books, given: str) -> str:
    """A session's id from its beginning. ServiceTrouble if none or several of the newest begin so."""
    if any(True for _ in books.entries(session_id=given, limit=1)):
        return given
    found = {
        entry.session_id
        for entry in books.entries(kinds=("session_opened",), newest_first=True, limit=MOST_SEARCHED)
        if given and entry.session_id.startswith(given)
    }
    if len(found) == 1:
        return found.pop()
    if found:
        raise ServiceTrouble(f"{len(found)} sessions begin with {given}; give more of the id")
    raise ServiceTrouble(f"there is no session {given} in this ledger; see: charge-service session list")


def chapters(books: Books, session_id: str) -> Iterator[Entry]:
    """Every entry of a session and of its holds, oldest first, until all of it is sealed or the ledger ends."""
    own = list(books.entries(session_id=session_id))
    if not own:
        return
    holds = {hold_of(entry.fact) for entry in own if isinstance(entry.fact, f.AuthorizationIntended | f.HoldReused)}
    known, waited = {entry.seq: entry for entry in own}, holds | {session_id}
    if any(isinstance(entry.fact, f.SessionAborted) for entry in own):
        waited.discard(session_id)
    last = own[-1].seq
    for entry in books.entries(after=own[0].seq, kinds=(*HOLD_KINDS, "seal_intended", "sealed")):
        fact = entry.fact
        subject = getattr(fact, "subject", hold_of(fact))
        if subject in holds or subject == session_id:
            known[entry.seq] = entry
            if isinstance(fact, f.Sealed):
                waited.discard(subject)
            elif isinstance(fact, f.AuthorizationDeclined):
                waited -= {subject, session_id}
            elif isinstance(fact, f.AuthorizationUnknown):
                waited.discard(session_id)
        if not waited and entry.seq >= last:
            break
    yield from (known[seq] for seq in sorted(known))


def summary_of(entries: Iterable[Entry], session_id: str) -> SessionSummary:
    """What a session's chapters come to. ServiceTrouble if they do not begin with its opening."""
    fold = Fold()
    for entry in entries:
        fold.take(entry)
    if session_id not in fold.sessions:
        raise ServiceTrouble(f"session {session_id}: its opening is missing in this ledger")
    return fold.sessions[session_id]


def plain(summary: SessionSummary | HoldSummary) -> dict[str, Any]:
    found = msgspec.to_builtins(summary)
    assert isinstance(found, dict)
    return found
