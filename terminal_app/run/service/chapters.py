"""Which ledger entries belong to a session and its money, and what they come to. Reads books; changes nothing."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from terminal_app.billing.tariff import parse_tariff
from terminal_app.ledger.entry import Entry
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.site import Books
from terminal_app.session import facts as f
from terminal_app.values import EntryMode

SESSION_KINDS = (
    "session_opened",
    "authorization_intended",
    "start_registered",
    "stop_intended",
    "session_aborted",
    "bill_frozen",
)
HOLD_KINDS = (
    "authorization_approved",
    "authorization_declined",
    "authorization_unknown",
    "capture_intended",
    "void_intended",
    "hold_ended",
)
MOST_SEARCHED = 5000


class HoldSummary(msgspec.Struct):
    """One hold as far as the ledger tells. `phase`: asked, declined, in_doubt, held, capturing, voiding, or how it ended."""

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
            self._intended(fact)
        elif (hold_id := getattr(fact, "hold_id", "")) in self.holds:
            self._money(self.holds[hold_id], fact)
        elif isinstance(fact, f.Sealed):
            self._sealed(fact)
        elif (session_id := getattr(fact, "session_id", "")) in self.sessions:
            self._charge(self.sessions[session_id], fact, entry)

    def _intended(self, fact: f.AuthorizationIntended) -> None:
        hold = fact.hold
        self.holds[hold.hold_id] = one = HoldSummary(
            hold_id=hold.hold_id,
            session_id=fact.session_id,
            connector=hold.connector,
            gateway=hold.gateway,
            asked_utc_ms=hold.utc_ms,
            asked_minor=hold.amount_minor,
            currency=hold.currency,
            card=f"{fact.card.brand} {fact.card.last4}" if fact.card.entry is not EntryMode.QR else "phone",
        )
        if fact.session_id in self.sessions:
            self.sessions[fact.session_id].holds.append(one)

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
            case f.HoldEnded():
                one.phase, one.moved_minor, one.detail = fact.how.value, fact.amount_minor, fact.detail
                one.trace = {**one.trace, **fact.trace}
            case _:
                pass

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
        if not (hold := getattr(entry.fact, "subject", getattr(entry.fact, "hold_id", ""))):
            continue
        if hold in fold.holds and not fold.holds[hold].open:
            del fold.holds[hold]
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
    holds = {entry.fact.hold.hold_id for entry in own if isinstance(entry.fact, f.AuthorizationIntended)}
    known, waited = {entry.seq: entry for entry in own}, holds | {session_id}
    if any(isinstance(entry.fact, f.SessionAborted) for entry in own):
        waited.discard(session_id)
    last = own[-1].seq
    for entry in books.entries(after=own[0].seq, kinds=(*HOLD_KINDS, "seal_intended", "sealed")):
        fact = entry.fact
        subject = getattr(fact, "subject", getattr(fact, "hold_id", ""))
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
