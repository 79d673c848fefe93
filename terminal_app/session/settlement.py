"""Settlement machine: the money's own life, from the asked hold to exactly one end. PURE. Money moves by its actions.

ASKED -> HELD | (declined: gone) | unknown: VOIDING -> CAPTURING | VOIDING -> ENDED (captured, voided, manual) -> sealed.
Every step is intended (committed with its serial and key) before it is sent, repeated with the same serial and key until
answered, at a bounded rate, and becomes manual after its deadline. It never delays a driver nor blocks a connector.
"""

import hashlib

from terminal_app.session import actions, events
from terminal_app.session import facts as f
from terminal_app.session.state import Settlement, SettlementPhase, Terms
from terminal_app.session.turn import Ignored, Impossible, Step, Turn, apply_rule
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, OutcomeUnknown

MAX_IN_FLIGHT = 4
LONGEST_PAUSE_S = 3600
GATEWAY_DELAY_MS = 60_000  # how long a question may be on its way
ANSWER_LONGEST_MS = 60_000  # and its answer be on its way back
IN_DOUBT = (DeclineReason.UNREACHABLE,)  # a refusal that says nothing about the money: ask again


def operation_key(terms: Terms, hold_id: str, operation: str) -> str:
    """Idempotency key, H(terminal, hold, operation): the same for every repetition and after every reboot (I8)."""
    return hashlib.sha256(f"{terms.config.terminal.id}/{terms.chain_id}/{hold_id}/{operation}".encode()).hexdigest()[:32]


def new_hold(turn: Turn, session_id: str, connector: int, gateway: str, amount_minor: int) -> Hold:
    """How the hold of a session is named: the same for the same session, whenever it is asked for."""
    terms = turn.terms
    hold_id = hashlib.sha256(f"{terms.chain_id}/{session_id}/hold".encode()).hexdigest()[:32]
    return Hold(
        hold_id=hold_id,
        gateway=gateway,
        serial=turn.state.chain.next_serial,
        utc_ms=terms.now.utc_ms,
        amount_minor=amount_minor,
        currency=terms.config.terminal.currency,
        connector=connector,
        key=operation_key(terms, hold_id, "authorize"),
    )


def intend_capture(turn: Turn, hold_id: str, amount_minor: int) -> None:
    """Commit to take `amount_minor` (I1: never above what is held)."""
    settlement = turn.state.settlements[hold_id]
    assert settlement.phase is SettlementPhase.HELD, settlement.phase
    assert 0 < amount_minor <= settlement.approved_minor, (amount_minor, settlement.approved_minor)
    turn.commit(f.CaptureIntended(hold_id, _step(turn, hold_id, "capture", amount_minor)))


def intend_void(turn: Turn, hold_id: str, reason: str) -> None:
    """Commit to release the hold, or to reverse one of unknown outcome."""
    settlement = turn.state.settlements[hold_id]
    assert settlement.phase in (SettlementPhase.HELD, SettlementPhase.ASKED), settlement.phase
    amount = settlement.approved_minor or settlement.hold.amount_minor
    turn.commit(f.VoidIntended(hold_id, _step(turn, hold_id, "void", amount), reason))


def _step(turn: Turn, hold_id: str, operation: str, amount_minor: int) -> MoneyStep:
    return MoneyStep(
        serial=turn.state.chain.next_serial,
        utc_ms=turn.terms.now.utc_ms,
        amount_minor=amount_minor,
        key=operation_key(turn.terms, hold_id, operation),
    )


def decide(turn: Turn, hold_id: str, event: events.Event) -> None:
    """Let one settlement react."""
    phase = turn.state.settlements[hold_id].phase
    apply_rule(RULES[phase, type(event)], f"settlement {phase.value} + {type(event).__name__}", turn, hold_id, event)


def _send_when_due(turn: Turn, hold_id: str, event: events.Event) -> None:
    one = turn.state.settlements[hold_id]
    assert one.step is not None
    now, policy = turn.terms.now, turn.terms.config.policy
    if one.in_flight or one.answer_due:  # a reversal never overtakes the authorization it reverses
        return
    # by both clocks: after a long night, or a clock that jumped, it is tried for a while before a person is called
    tried_ms = now.mono_ms - one.first_try_mono_ms if one.first_try_mono_ms else 0
    late = now.utc_ms - one.step.utc_ms > policy.settle_deadline_s * 1000
    if late and tried_ms > min(policy.settle_deadline_s, LONGEST_PAUSE_S) * 1000:
        why = f"no answer to {_operation(one)} within {policy.settle_deadline_s} s"
        turn.commit(f.HoldEnded(hold_id, f.Terminated.MANUAL, 0, {}, why))
        return
    busy = sum(other.in_flight for other in turn.state.settlements.values())
    if now.mono_ms < one.next_try_mono_ms or busy >= MAX_IN_FLIGHT:
        return
    tries = one.tries + 1
    turn.note_settlement(hold_id, in_flight=True, tries=tries, first_try_mono_ms=one.first_try_mono_ms or now.mono_ms)
    step = MoneyStep(one.step.serial, one.step.utc_ms, one.step.amount_minor, one.step.key, attempt=tries)
    kind = actions.Capture if one.phase is SettlementPhase.CAPTURING else actions.Void
    turn.do(kind(one.hold, step))


def _answered(turn: Turn, hold_id: str, event: events.Event) -> None:
    assert isinstance(event, events.SettlementAnswered)
    one = turn.state.settlements[hold_id]
    assert one.step is not None
    if event.key != one.step.key:
        return  # an answer to a step of an earlier process: this one is asked again by itself
    capturing = one.phase is SettlementPhase.CAPTURING
    match event.outcome:
        case Approved(amount_minor=amount, trace=trace) if capturing and amount != one.step.amount_minor:
            why = f"asked to capture {one.step.amount_minor}, the gateway says it took {amount}"
            turn.commit(f.HoldEnded(hold_id, f.Terminated.MANUAL, amount, trace, why))
        case Approved(trace=trace) if not capturing and _may_still_arrive(turn, one, trace):
            _try_later(turn, one)
        case Approved(amount_minor=amount, trace=trace):
            how = f.Terminated.CAPTURED if capturing else f.Terminated.VOIDED
            turn.commit(f.HoldEnded(hold_id, how, amount if capturing else 0, trace, one.step_reason))
        case Declined(reason=reason) if reason in IN_DOUBT:
            _try_later(turn, one)
        case Declined(reason=DeclineReason.TOO_LATE, code=code) if not capturing:
            turn.commit(f.HoldEnded(hold_id, f.Terminated.VOIDED, 0, {}, f"the hold had ended already ({code})"))
        case Declined(reason=reason, code=code):
            why = f"{_operation(one)} refused: {reason.value} ({code})"
            turn.commit(f.HoldEnded(hold_id, f.Terminated.MANUAL, 0, {}, why))
        case OutcomeUnknown():
            _try_later(turn, one)


def _may_still_arrive(turn: Turn, one: Settlement, trace: dict[str, str]) -> bool:
    """The gateway knew nothing of a hold that was never answered, when it wrote this: our question may have come since."""
    unknown_there = trace.get("original") == "unknown"
    since_ms = turn.terms.now.utc_ms - one.hold.utc_ms
    return unknown_there and not one.approved_minor and since_ms < GATEWAY_DELAY_MS + ANSWER_LONGEST_MS


def _late_answer(turn: Turn, hold_id: str, event: events.Event) -> None:
    """The hold's own answer, after we gave it up: now its reversal may go out. A page that came late is ended by it."""
    if isinstance(event, events.CheckoutAnswered) and isinstance(event.answer, Checkout):
        turn.commit(f.CheckoutOpened(hold_id, event.answer.reference, event.answer.expires_utc_ms))
    turn.note_settlement(hold_id, answer_due=False)
    _send_when_due(turn, hold_id, event)


def _try_later(turn: Turn, one: Settlement) -> None:
    """Same step, same key, doubled pause up to an hour."""
    pause_s = min(turn.terms.config.policy.settle_retry_s * 2 ** min(one.tries - 1, 20), LONGEST_PAUSE_S)
    turn.note_settlement(one.hold.hold_id, in_flight=False, next_try_mono_ms=turn.terms.now.mono_ms + pause_s * 1000)


def _operation(one: Settlement) -> str:
    return "capture" if one.phase is SettlementPhase.CAPTURING else "release"


P, E = SettlementPhase, events
_WITH_SESSION = Ignored("the session of this hold decides")
_NOTHING_SENT = Impossible("no step was sent for this hold in this state")
_ONE_PAGE = Impossible("a page is opened once, before it can be paid")
_TOLD_TWICE = Ignored("the hold has ended; its own answer was known before, for no reversal overtakes it")

RULES: dict[tuple[SettlementPhase, type[events.Event]], Step | Ignored | Impossible] = {
    (P.ASKED, E.Booted): _WITH_SESSION,
    (P.ASKED, E.Ticked): _WITH_SESSION,
    (P.ASKED, E.AuthorizationAnswered): _WITH_SESSION,
    (P.ASKED, E.CheckoutAnswered): _WITH_SESSION,
    (P.ASKED, E.SettlementAnswered): _NOTHING_SENT,
    (P.HELD, E.Booted): _WITH_SESSION,
    (P.HELD, E.Ticked): _WITH_SESSION,
    (P.HELD, E.AuthorizationAnswered): Impossible("one answer per authorization"),
    (P.HELD, E.CheckoutAnswered): _ONE_PAGE,
    (P.HELD, E.SettlementAnswered): _NOTHING_SENT,
    (P.CAPTURING, E.Booted): _send_when_due,
    (P.CAPTURING, E.Ticked): _send_when_due,
    (P.CAPTURING, E.AuthorizationAnswered): Impossible("one answer per authorization"),
    (P.CAPTURING, E.CheckoutAnswered): _ONE_PAGE,
    (P.CAPTURING, E.SettlementAnswered): _answered,
    (P.VOIDING, E.Booted): _send_when_due,
    (P.VOIDING, E.Ticked): _send_when_due,
    (P.VOIDING, E.AuthorizationAnswered): _late_answer,
    (P.VOIDING, E.CheckoutAnswered): _late_answer,
    (P.VOIDING, E.SettlementAnswered): _answered,
    (P.ENDED, E.Booted): Ignored("only its record is missing; the seal line sees to it"),
    (P.ENDED, E.Ticked): Ignored("only its record is missing; the seal line sees to it"),
    (P.ENDED, E.AuthorizationAnswered): _TOLD_TWICE,
    (P.ENDED, E.CheckoutAnswered): _TOLD_TWICE,
    (P.ENDED, E.SettlementAnswered): Ignored("a second answer to a repeated step; the first one ended the hold"),
}
HANDLED: tuple[type[events.Event], ...] = (
    E.Booted,
    E.Ticked,
    E.AuthorizationAnswered,
    E.CheckoutAnswered,
    E.SettlementAnswered,
)
