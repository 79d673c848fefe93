"""What may not agree about one hold: a rule per class, over journal, gateway rows and bill. PURE.

A rule looks at one hold (`Case`) and says at most one thing; `RULES` stand in the order in which they speak.
"""

from collections.abc import Callable
from dataclasses import dataclass

from terminal_app.office.next_action import Step, at_gateway, by_hold
from terminal_app.office.payment_values import Class, Coverage, Finding, GatewayRow, Patience, Payment, money_text

UNSURE = ("asked", "unknown")
UNDER_WAY = ("capturing", "voiding", "refunding")


@dataclass(frozen=True, slots=True)
class Case:
    """One hold, and all that its gateway's rows say about it."""

    payment: Payment
    rows: tuple[GatewayRow, ...]
    coverage: Coverage
    now_ms: int
    patience: Patience

    def of(self, kind: str) -> list[GatewayRow]:
        return [row for row in self.rows if row.kind == kind]

    def sum(self, kind: str) -> int:
        return sum(row.amount_minor for row in self.of(kind))

    def holds(self) -> dict[str, int]:
        """Each hold at the gateway once, by its own reference."""
        return {row.reference: row.amount_minor for row in self.of("hold")}

    def held_there(self) -> int:
        """What the gateway still holds, as far as its rows tell."""
        return max(self.holds().values(), default=0) if not self.of("capture") and not self.of("void") else 0

    def given_back(self) -> int:
        """By the gateway's list or by our own records, whichever knows more: lists come late, and nothing is given back twice."""
        return max(self.sum("refund"), self.payment.total("refunded"))

    def listed(self, kind: str, utc_ms: int) -> bool:
        return not self.payment.offline and self.coverage.covers(self.payment.gateway, kind, utc_ms)

    def older(self, utc_ms: int, patience_ms: int) -> bool:
        return self.now_ms - utc_ms > patience_ms

    def money(self, minor: int) -> str:
        return money_text(minor, self.payment.currency)

    def says(self, kind: Class, sentence: str, step: Step, ours: int | None, theirs: int | None, since: int) -> Finding:
        p = self.payment
        reference = next((row.about or row.reference for row in self.rows), "") or next(iter(p.known_as), "")
        place = (p.terminal, p.chain_id, p.hold_id, p.session_id, p.gateway, reference)
        return Finding(kind, *place, ours, theirs, p.currency, since, sentence, step.sentence, step.command, step.at_terminal)


# --- one rule per class --------------------------------------------------------------------------------------------


def _duplicate(case: Case) -> Finding | None:
    """Two captures, or a second hold that nothing has ended. Mended when the driver's money is right again."""
    p, taken, back = case.payment, case.of("capture"), case.given_back()
    should = _should_be_taken(case) or 0
    if len(taken) > 1 and case.sum("capture") - back > should:
        extra = case.sum("capture") - back - should
        sentence = f"captured {len(taken)} times, {case.money(case.sum('capture'))} in all; billed are {case.money(should)}"
        return case.says(Class.DUPLICATE, sentence, _put_right(p, extra), should, case.sum("capture") - back, taken[1].utc_ms)
    holds = case.holds()
    if len(holds) - len(case.of("void")) > 1 and sum(holds.values()) != p.amount_minor:  # else it was raised in steps
        sentence = f"the gateway holds {len(holds)} times for one authorization: {', '.join(sorted(holds))}"
        step = at_gateway(p.gateway, f"release the holds that hold {p.hold_id} does not need")
        return case.says(Class.DUPLICATE, sentence, step, p.amount_minor, sum(holds.values()), case.of("hold")[-1].utc_ms)
    return None


def _amount_mismatch(case: Case) -> Finding | None:
    """Taken or held is another amount, or another currency, than the terminal settled and the meter billed."""
    p, taken, should, back = case.payment, case.sum("capture"), _should_be_taken(case), case.given_back()
    since = max((row.utc_ms for row in case.rows), default=p.changed_utc_ms)
    foreign = sorted({row.currency for row in case.rows if row.kind in ("hold", "capture") and row.currency != p.currency})
    if foreign:
        sentence = f"the gateway books in {', '.join(foreign)}, the terminal in {p.currency}"
        step = at_gateway(p.gateway, "correct the currency of this payment or of the report's mapping")
        return case.says(Class.AMOUNT_MISMATCH, sentence, step, should, taken, since)
    settled = p.total("captured")
    if p.ended("captured") and p.billed_minor is not None and p.billed_minor not in (settled, settled - back):
        sentence = f"the terminal captured {case.money(settled)}, the meter's bill says {case.money(p.billed_minor)}"
        step = _put_right(p, settled - back - p.billed_minor)
        return case.says(Class.AMOUNT_MISMATCH, sentence, step, p.billed_minor, settled, since)
    if case.of("capture") and should is not None and taken != should and not (len(case.of("capture")) > 1 and taken > should):
        what = f"{case.money(should)} are billed" if should else "it was released here: nothing may be taken"
        sentence = f"the gateway took {case.money(taken)}, {what}"
        if taken - back == should:
            return None  # what was too much went back
        return case.says(Class.AMOUNT_MISMATCH, sentence, _put_right(p, taken - back - should), should, taken, since)
    held = case.holds()
    if len(held) == 1 and not p.offline and p.state in ("held", "capturing", "captured") and sum(held.values()) != p.amount_minor:
        sentence = f"the gateway holds {case.money(sum(held.values()))}, the terminal knows of {case.money(p.amount_minor)}"
        step = by_hold("show", p, "Compare both amounts with the authorization's answer")
        return case.says(Class.AMOUNT_MISMATCH, sentence, step, p.amount_minor, sum(held.values()), since)
    return None


def _missing_capture(case: Case) -> Finding | None:
    """Energy was billed, and the money did not come though the gateway knows the payment (or the terminal gave it up)."""
    p = case.payment
    if not p.billed_minor or case.of("capture"):
        return None
    billed = case.money(p.billed_minor)
    lost = at_gateway(p.gateway, "ask what became of the hold; if it is gone, book the loss and accept this with name and reason")
    if p.ended("voided") or p.state == "voided" or case.of("void"):
        sentence = f"{billed} are billed, but the hold was released"
        return case.says(Class.MISSING_CAPTURE, sentence, lost, p.billed_minor, 0, p.changed_utc_ms)
    if p.ended("captured"):
        if case.rows and case.listed("capture", _when(p, "captured")):
            sentence = f"{billed} are captured here, the gateway's list has the hold and no capture"
            return case.says(Class.MISSING_CAPTURE, sentence, lost, p.total("captured"), 0, _when(p, "captured"))
    elif p.ended("manual") or p.state == "manual":
        sentence = f"{billed} are billed, and the terminal could not capture them"
        again = by_hold("retry", p, "Ask the gateway for the capture again; if the hold is gone, release it and book the loss")
        return case.says(Class.MISSING_CAPTURE, sentence, again, p.billed_minor, 0, p.changed_utc_ms)
    return None


def _unknown_at_gateway(case: Case) -> Finding | None:
    """We say held or captured; a list of the gateway that is complete for that time does not know the payment at all."""
    p = case.payment
    if case.rows:
        return None
    step = at_gateway(p.gateway, f"ask for this payment by its references ({_names(p)}); the money may be at another merchant id")
    if p.ended("captured"):
        when = _when(p, "captured")
        if case.listed("capture", when):
            sentence = f"captured {case.money(p.total('captured'))} here, the gateway's list has nothing of it"
            return case.says(Class.UNKNOWN_AT_GATEWAY, sentence, step, p.total("captured"), None, when)
    elif p.state in ("held", "capturing", "voiding") and case.listed("hold", p.opened_utc_ms):
        sentence = f"held {case.money(p.amount_minor)} here, the gateway's list has nothing of it"
        if p.state == "held" and not p.live and not p.billed_minor:
            step = by_hold("release", p, "No session needs it: release it, and the gateway says what it knows")
        return case.says(Class.UNKNOWN_AT_GATEWAY, sentence, step, p.amount_minor, None, p.opened_utc_ms)
    return None


def _refund_without_entry(case: Case) -> Finding | None:
    """Given back at the gateway without a settlement record, or recorded and not given back."""
    p, there, here = case.payment, case.sum("refund"), case.payment.total("refunded")
    if there > here:
        newest = max(row.utc_ms for row in case.of("refund"))
        if not case.older(newest, case.patience.over_ms):
            return None
        sentence = f"the gateway gave back {case.money(there)}, settlement records say {case.money(here)}"
        step = at_gateway(p.gateway, "find out who gave it back; then accept this with name and reason: a credit note may be due")
        return case.says(Class.REFUND_WITHOUT_ENTRY, sentence, step, here, there, newest)
    if here > there and all(case.listed("refund", one.utc_ms) for one in p.settled if one.how == "refunded"):
        sentence = f"settlement records say that {case.money(here)} went back, the gateway's list has {case.money(there)}"
        step = at_gateway(p.gateway, f"ask whether the refund is still on its way ({_names(p)}); the driver waits for it")
        return case.says(Class.REFUND_WITHOUT_ENTRY, sentence, step, here, there, _when(p, "refunded"))
    return None


def _orphan_hold(case: Case) -> Finding | None:
    """A driver's money is held, or may be, and no session needs it."""
    p, held = case.payment, case.held_there()
    if p.billed_minor or case.of("capture") or p.live:
        return None
    free = by_hold("release", p, "Release the hold")
    why = ""
    if p.state in UNSURE and case.older(p.opened_utc_ms, case.patience.asked_ms):
        why = "asked for, and nobody knows whether it is held"
    elif not case.older(p.changed_utc_ms, case.patience.over_ms):
        return None
    elif p.state == "held" and not case.rows and case.listed("hold", p.opened_utc_ms):
        return None  # the gateway does not know it: said already
    elif p.state == "held":
        why = "still held, but its session is over and nothing was billed"
    elif p.state == "manual":
        why = "the terminal could not release it, and nothing was billed"
    elif held and p.state == "declined":
        why = "declined for the terminal, but the gateway holds it"
    elif held and p.state == "voided" and case.listed("void", p.changed_utc_ms):
        why = "released here, but the gateway's list has no release"
    if not why:
        return None
    if p.state in ("declined", "voided"):  # for the terminal it has ended: it takes no order about it
        free = at_gateway(p.gateway, f"release it there ({_names(p)})")
    amount = held or p.amount_minor
    return case.says(Class.ORPHAN_HOLD, f"{case.money(amount)}: {why}", free, p.amount_minor, held or None, p.opened_utc_ms)


def _aged_queue(case: Case) -> Finding | None:
    """Money that waits too long for its end."""
    p = case.payment
    again = by_hold("retry", p, "Look whether the terminal reaches its gateway, then let it try again")
    if p.capture_before_utc_ms is not None and p.state in ("held", "capturing", "voiding"):
        half = p.opened_utc_ms + (p.capture_before_utc_ms - p.opened_utc_ms) // 2
        if case.now_ms > half:
            sentence = f"{p.state}: more than half of the time to capture {case.money(p.amount_minor)} is over"
            waits = by_hold("show", p, "The terminal ends the charge before the hold ends; see that it is still heard of")
            return case.says(
                Class.AGED_QUEUE, sentence, waits if p.state == "held" else again, p.amount_minor, None, p.opened_utc_ms
            )
    if p.state in UNDER_WAY and case.older(p.changed_utc_ms, case.patience.queue_ms):
        amount = case.money(p.billed_minor or p.amount_minor)
        return case.says(Class.AGED_QUEUE, f"{p.state} {amount} for too long", again, p.amount_minor, None, p.changed_utc_ms)
    if p.billed_minor and not p.settled and p.state in ("", "held") and case.older(p.changed_utc_ms, case.patience.queue_ms):
        sentence = f"{case.money(p.billed_minor)} are billed, and no settlement came"
        return case.says(Class.AGED_QUEUE, sentence, again, p.billed_minor, None, p.changed_utc_ms)
    if p.state == "manual" and p.ended("captured"):
        sentence = "a refund was left to a person: nobody could confirm it"
        return case.says(Class.AGED_QUEUE, sentence, again, p.total("refunded"), case.sum("refund"), p.changed_utc_ms)
    if p.state == "manual" and p.billed_minor and case.sum("capture") == p.billed_minor:
        sentence = f"left to a person, though the gateway captured {case.money(p.billed_minor)}: the terminal need only be told"
        return case.says(Class.AGED_QUEUE, sentence, again, p.billed_minor, p.billed_minor, p.changed_utc_ms)
    return None


RULES: tuple[Callable[[Case], Finding | None], ...] = (
    _duplicate,
    _amount_mismatch,
    _missing_capture,
    _unknown_at_gateway,
    _refund_without_entry,
    _orphan_hold,
    _aged_queue,
)


def _should_be_taken(case: Case) -> int | None:
    """What the gateway should have captured by now; None while the session may still say."""
    p = case.payment
    if p.billed_minor is not None:
        return p.billed_minor
    if p.ended("captured"):
        return p.total("captured")
    over = case.older(max((row.utc_ms for row in case.rows), default=p.changed_utc_ms), case.patience.over_ms)
    return 0 if p.state in ("voided", "declined") or p.ended("voided") or (p.state == "held" and not p.live and over) else None


def _put_right(payment: Payment, too_much_minor: int) -> Step:
    if too_much_minor > 0:
        amount = money_text(too_much_minor, payment.currency)
        if too_much_minor > payment.total("captured") - payment.total("refunded"):  # a terminal gives back only what it took
            return at_gateway(payment.gateway, f"give back {amount} there ({_names(payment)}); the terminal did not take them")
        return by_hold("refund", payment, f"Give back the {amount} that are too much", too_much_minor)
    return by_hold("show", payment, "Find out why less was taken than billed; what is missing is a loss, never a second capture")


def _when(payment: Payment, how: str) -> int:
    return max((one.utc_ms for one in payment.settled if one.how == how), default=payment.changed_utc_ms)


def _names(payment: Payment) -> str:
    return ", ".join(payment.known_as[:3]) or payment.hold_id
