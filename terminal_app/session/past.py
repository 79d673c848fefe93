"""What the ledger tells about a hold or bill whose record is sealed: a fold over its facts. PURE."""

from collections.abc import Iterable

import msgspec

from terminal_app.session import facts as f
from terminal_app.values import DeclineReason, MoneyStep


class Past(msgspec.Struct, frozen=True):
    """A hold as its facts leave it. `step` is its newest one, `kind` what that is ("capture", "void", "refund"); `how` how it
    ended, None = it has not; `refused` the gateway's reason for that. `capture` is the newest capture."""

    hold: f.PastHold
    how: f.Terminated | None = None
    step: MoneyStep | None = None
    kind: str = ""
    refused: str = ""
    capture: MoneyStep | None = None

    @property
    def undecided(self) -> MoneyStep | None:
        """The step whose end nobody could confirm: what a second try sends."""
        if self.how is not f.Terminated.MANUAL:
            return None
        return self.capture if self._was_captured else self.step

    @property
    def undecided_kind(self) -> str:
        return "capture" if self._was_captured else self.kind

    @property
    def _was_captured(self) -> bool:
        """A release was refused because money had been taken: it is the capture that has no certain end."""
        done = self.kind == "void" and self.refused == DeclineReason.ALREADY_DONE.value
        return done and self.capture is not None and not self.hold.captured_minor


def past_of(hold_id: str, facts: Iterable[f.Fact]) -> Past | None:
    """The hold after these facts (oldest first, others may be among them); None if it was never intended.

    The card's token and cryptogram are left out: what is ordered about a sealed hold needs neither.
    """
    found: Past | None = None
    for fact in facts:
        if isinstance(fact, f.AuthorizationIntended) and fact.hold.hold_id == hold_id:
            card = msgspec.structs.replace(fact.card, token="", cryptogram="")
            found = Past(f.PastHold(fact.hold, fact.session_id, card, 0, 0, 0))
        elif found is not None:
            found = _after(found, hold_id, fact)
    return found


def _after(past: Past, hold_id: str, fact: f.Fact) -> Past:
    one, replace = past.hold, msgspec.structs.replace
    match fact:
        case f.RefundIntended(past=told, step=step) if told.hold.hold_id == hold_id:
            return replace(past, hold=replace(one, undecided_minor=step.amount_minor), how=None, step=step, kind="refund")
        case f.SettlementReopened(past=told) if told.hold.hold_id == hold_id:
            return replace(past, how=None)
        case _ if getattr(fact, "hold_id", "") != hold_id:
            return past
        case f.AuthorizationRerouted(gateway=gateway):
            return replace(past, hold=replace(one, hold=replace(one.hold, gateway=gateway)))
        case f.HoldReused(session_id=session_id):
            return replace(past, hold=replace(one, session_id=session_id))
        case f.CheckoutOpened(reference=reference):
            return _traced(past, {"checkout": reference})
        case f.AuthorizationApproved(approved_minor=approved, trace=trace, capture_before_utc_ms=before):
            past = _traced(past, trace)
            return replace(past, hold=replace(past.hold, approved_minor=approved, capture_before_utc_ms=before))
        case f.OfflineGranted(amount_minor=amount, gateway=gateway):
            past = _traced(past, {"offline": "granted"})
            asked = replace(past.hold.hold, gateway=gateway)
            return replace(past, hold=replace(past.hold, hold=asked, approved_minor=amount))
        case f.IncrementEnded(added_minor=added, trace=trace):
            return _traced(replace(past, hold=replace(one, approved_minor=one.approved_minor + added)), trace)
        case f.CaptureIntended(step=step):
            return replace(past, step=step, kind="capture", how=None, capture=step)
        case f.VoidIntended(step=step):
            return replace(past, step=step, kind="void", how=None)
        case f.HoldEnded():
            return _ended(past, fact)
    return past


def sealed_bill(facts: Iterable[f.Fact], record_seq: int, sha256: str) -> f.SealedBill | None:
    """A session's bill after its facts, with the number and hash of its record; None if nothing was billed."""
    found: f.SealedBill | None = None
    for fact in facts:
        if isinstance(fact, f.BillFrozen):
            found = f.SealedBill(record_seq, sha256, fact.receipt_number, fact.lines)
        elif isinstance(fact, f.CreditIntended) and found is not None:
            credited = (*found.credited, *fact.lines)
            found = msgspec.structs.replace(found, credits=found.credits + 1, credited=credited)
    return found


def _ended(past: Past, fact: f.HoldEnded) -> Past:
    past = _traced(past, fact.trace)
    one, replace = past.hold, msgspec.structs.replace
    if past.kind == "refund":
        if fact.how is not f.Terminated.MANUAL:
            one = replace(one, refunded_minor=one.refunded_minor + fact.amount_minor, undecided_minor=0)
    elif past.kind == "capture":  # what the gateway said once that it took is not forgotten by a try without an answer
        one = replace(one, captured_minor=max(one.captured_minor, fact.amount_minor))
    return replace(past, hold=one, how=fact.how, refused=fact.refused)


def _traced(past: Past, trace: dict[str, str]) -> Past:
    replace = msgspec.structs.replace
    asked = past.hold.hold
    return replace(past, hold=replace(past.hold, hold=replace(asked, trace={**asked.trace, **trace})))
