"""Settlement machine: the money's own life, from the asked hold to exactly one end. PURE. Money moves by its actions.

ASKED -> HELD | (declined: gone) | unknown: VOIDING -> CAPTURING | VOIDING -> ENDED (captured, voided, manual) -> sealed.
A sealed end may be followed by others, ordered by a person (`orders`): REFUNDING after a capture, CAPTURING or VOIDING again
after `manual`; each ends in a record of its own. Every step is intended (committed with its serial and key) before it is
sent, repeated with the same serial and key until answered, at a bounded rate, and becomes manual after its deadline. It
never delays a driver nor blocks a connector.
"""

import itertools
from collections.abc import Callable

import msgspec

from terminal_app.config import AccountSection
from terminal_app.session import actions, credit, events, hold, pocket
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, Settlement, SettlementPhase, fault_key
from terminal_app.session.turn import Ignored, Impossible, Step, Turn, apply_rule
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Device, Fault, Hold, MoneyStep, OutcomeUnknown

MAX_IN_FLIGHT = 4
LONGEST_PAUSE_S = 3600
GATEWAY_DELAY_MS = 60_000  # how long a question may be on its way
ANSWER_LONGEST_MS = 60_000  # and its answer be on its way back
IN_DOUBT = (DeclineReason.UNREACHABLE,)  # a refusal that says nothing about the money: ask again


def intend_capture(turn: Turn, hold_id: str, amount_minor: int, statement: str = "") -> None:
    """Commit to take `amount_minor` (I1: never above what is held). `statement` finds the receipt from the bank statement."""
    settlement = turn.state.settlements[hold_id]
    assert settlement.phase is SettlementPhase.HELD, settlement.phase
    assert 0 < amount_minor <= settlement.approved_minor, (amount_minor, settlement.approved_minor)
    hold.give_up_increment(turn, hold_id, "the charge ended before it was answered")
    step = hold.new_step(turn, hold_id, "capture", amount_minor)
    turn.commit(f.CaptureIntended(hold_id, msgspec.structs.replace(step, statement=statement)))


def intend_void(turn: Turn, hold_id: str, reason: str, no_charge: f.StopReason | None = None) -> None:
    """Commit to release the hold, or to reverse one of unknown outcome. `no_charge`: why an approved one paid for nothing; it
    gets a receipt of its own."""
    settlement = turn.state.settlements[hold_id]
    assert settlement.phase in (SettlementPhase.HELD, SettlementPhase.ASKED), settlement.phase
    hold.give_up_increment(turn, hold_id, "the hold is released")
    amount = settlement.approved_minor or settlement.hold.amount_minor
    number = code = ""
    if settlement.phase is not SettlementPhase.HELD or settlement.offline:
        no_charge = None  # nobody knows of any money, or nothing was held
    if no_charge is not None:
        number, code = turn.receipt_number(), hold.receipt_code_for(turn, hold_id)
    step = hold.new_step(turn, hold_id, "void", amount)
    turn.commit(f.VoidIntended(hold_id, step, reason, number, code, no_charge))


# --- a live hold -----------------------------------------------------------------------------------------------------


def _held(turn: Turn, hold_id: str, event: events.Event) -> None:
    """A hold that serves no session waits for its card for a while, then it is released; after a restart at once."""
    one = turn.state.settlements[hold_id]
    if hold.session_of(turn.state, hold_id) is None:
        if isinstance(event, events.Booted) or turn.terms.now.mono_ms >= one.kept_until_mono_ms:
            intend_void(turn, hold_id, "nobody came back to it", f.StopReason.FAULT)
    elif isinstance(event, events.Booted):
        hold.give_up_increment(turn, hold_id, "the terminal was restarted")
    elif one.increment is not None:
        hold.send_increment(turn, hold_id)


def _ordered_on_held(turn: Turn, hold_id: str, event: events.Event) -> None:
    """A person releases a live hold: what waits for the plug ends with it. A running charge must be stopped first."""
    assert isinstance(event, events.SettlementOrdered)
    session = hold.session_of(turn.state, hold_id)
    if event.act != "release":
        return
    if session is None:
        intend_void(turn, hold_id, f"released by {event.actor}: {event.reason}", f.StopReason.REMOTE)
    elif session.phase in (Phase.AUTHORIZED, Phase.STARTING):
        turn.then(events.StopCommanded(session.connector, f.StopReason.REMOTE, event.actor, event.reason))


# --- steps until they are answered -----------------------------------------------------------------------------------


def _retry_ordered(turn: Turn, hold_id: str, event: events.Event) -> None:
    """A person does not want to wait for the pause to end."""
    assert isinstance(event, events.SettlementOrdered)
    if event.act == "retry":
        turn.note_settlement(hold_id, next_try_mono_ms=0)
        _send_when_due(turn, hold_id, event)


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
    if _overtakes_a_capture(one, now.utc_ms):
        return
    # by both clocks: after a long night, or a clock that jumped, it is tried for a while before a person is called
    tried_ms = now.mono_ms - one.first_try_mono_ms if one.first_try_mono_ms else 0
    late = now.utc_ms - one.step.utc_ms > policy.settle_deadline_s * 1000
    if late and tried_ms > min(policy.settle_deadline_s, LONGEST_PAUSE_S) * 1000:
        why = f"no answer to {_operation(one)} within {policy.settle_deadline_s} s"
        turn.commit(f.HoldEnded(hold_id, f.Terminated.MANUAL, 0, {}, why))
        return
    if now.mono_ms < one.next_try_mono_ms or _is_busy(turn):
        return
    tries = one.tries + 1
    turn.note_settlement(hold_id, in_flight=True, tries=tries, first_try_mono_ms=one.first_try_mono_ms or now.mono_ms)
    turn.do(_ACTIONS[one.phase](one.hold, msgspec.structs.replace(one.step, attempt=tries)))


def _overtakes_a_capture(one: Settlement, utc_ms: int) -> bool:
    """A release that a person ordered of what was to be captured: the last attempt at that may be on its way until the gateway's
    delay is over, and would then take money from a hold that was let go. Nobody shortens this, nor does a restart."""
    assert one.step is not None
    ordered = one.reopened and one.phase is SettlementPhase.VOIDING
    return ordered and 0 <= utc_ms - one.step.utc_ms < GATEWAY_DELAY_MS  # a clock that was set back keeps nothing waiting


def _is_busy(turn: Turn) -> bool:
    """As much is under way as may be. Looks no further than it must: a long outage leaves hundreds behind."""
    in_flight = (other for other in turn.state.settlements.values() if other.in_flight)
    return sum(1 for _ in itertools.islice(in_flight, MAX_IN_FLIGHT)) >= MAX_IN_FLIGHT


def _answered(turn: Turn, hold_id: str, event: events.Event) -> None:
    assert isinstance(event, events.SettlementAnswered)
    one = turn.state.settlements[hold_id]
    assert one.step is not None
    if event.key != one.step.key:
        return  # an answer to a step of an earlier process: this one is asked again by itself
    voiding = one.phase is SettlementPhase.VOIDING
    match event.outcome:
        case Approved(amount_minor=amount, trace=trace) if not voiding and amount != one.step.amount_minor:
            why = f"asked to {_operation(one)} {one.step.amount_minor}, the gateway says {amount}"
            turn.commit(f.HoldEnded(hold_id, f.Terminated.MANUAL, amount, trace, why))
        case Approved(trace=trace) if voiding and _may_still_arrive(turn, one, trace):
            _try_later(turn, one)
        case Approved(amount_minor=amount, trace=trace):
            turn.commit(f.HoldEnded(hold_id, _ENDS[one.phase], 0 if voiding else amount, trace, one.step_reason))
            if one.phase is SettlementPhase.CAPTURING:
                _want_slice(turn, one)
            elif one.phase is SettlementPhase.REFUNDING:
                credit.intend(turn, one)
        case Declined(reason=reason) if reason in IN_DOUBT:
            _try_later(turn, one)
        case Declined(reason=DeclineReason.TOO_LATE, code=code) if voiding:
            turn.commit(f.HoldEnded(hold_id, f.Terminated.VOIDED, 0, {}, f"the hold had ended already ({code})"))
        case Declined(reason=reason, code=code):
            how = f.Terminated.REFUSED if one.phase is SettlementPhase.REFUNDING else f.Terminated.MANUAL
            why = f"{_operation(one)} refused: {reason.value} ({code})"
            turn.commit(f.HoldEnded(hold_id, how, 0, {}, why, reason.value))
        case OutcomeUnknown():
            _try_later(turn, one)
    _send_next(turn, event)


def _send_next(turn: Turn, event: events.Event) -> None:
    """A slot is free: the next step that is due goes out now, not at the next tick."""
    now_ms = turn.terms.now.mono_ms
    for hold_id, other in turn.state.settlements.items():
        if other.phase in _ACTIONS and not other.in_flight and not other.answer_due and now_ms >= other.next_try_mono_ms:
            _send_when_due(turn, hold_id, event)
            return


def _want_slice(turn: Turn, one: Settlement) -> None:
    """The card has just paid online by its account: ask in the background for a slice, so that next time it can pay offline."""
    section, now = turn.terms.config.gateway.get(one.hold.gateway), turn.terms.now
    online = "slice" not in one.hold.trace and one.hold.trace.get("offline") != "granted"
    if not isinstance(section, AccountSection) or not section.slice_minor or not one.card.token or not online:
        return
    gateway, card = one.hold.gateway, one.card.token
    if pocket.wanted(turn.state.slices, turn.state.deny, gateway, card, section.slices_most, now.utc_ms):
        key, currency = hold.operation_key(turn.terms, one.hold.hold_id, "slice"), one.hold.currency
        turn.commit(f.SliceIntended(key, gateway, card, section.slice_minor, currency, section.slice_days, now.utc_ms))


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


def overdue(one: Settlement, now_utc_ms: int, settle_deadline_s: int) -> bool:
    """Half of the time is gone in which this step can succeed: its deadline, or the end of the hold if that comes first."""
    if one.step is None or one.phase is SettlementPhase.ENDED:
        return False
    latest_ms = one.step.utc_ms + settle_deadline_s * 1000
    if one.phase is SettlementPhase.CAPTURING and one.capture_before_utc_ms is not None:
        latest_ms = min(latest_ms, one.capture_before_utc_ms)
    return now_utc_ms - one.step.utc_ms > (latest_ms - one.step.utc_ms) // 2


def watch_overdue(turn: Turn) -> None:
    """One alarm for all: raised while a capture, release or refund is overdue."""
    deadline_s, now = turn.terms.config.policy.settle_deadline_s, turn.terms.now.utc_ms
    late = [hold_id for hold_id, one in turn.state.settlements.items() if overdue(one, now, deadline_s)]
    fault = Fault(Device.SETTLEMENT, 0, "overdue", f"{len(late)} without an end for too long, first {late[0]}" if late else "")
    if bool(late) != (fault_key(fault) in turn.state.faults):
        turn.then(events.FaultSeen(fault, bool(late)))


def _operation(one: Settlement) -> str:
    return {SettlementPhase.CAPTURING: "capture", SettlementPhase.REFUNDING: "refund"}.get(one.phase, "release")


P, E = SettlementPhase, events
_ACTIONS: dict[SettlementPhase, Callable[[Hold, MoneyStep], actions.Action]] = {
    P.CAPTURING: actions.Capture,
    P.VOIDING: actions.Void,
    P.REFUNDING: actions.Refund,
}
_ENDS = {P.CAPTURING: f.Terminated.CAPTURED, P.VOIDING: f.Terminated.VOIDED, P.REFUNDING: f.Terminated.REFUNDED}
_WITH_SESSION = Ignored("the session of this hold decides")
_NOTHING_SENT = Impossible("no step was sent for this hold in this state")
_ONE_PAGE = Impossible("a page is opened once, before it can be paid")
_GIVEN_UP = Ignored("the charge has ended meanwhile: what was added is not used")
_TOLD_TWICE = Ignored("its own answer is known: a page's watch, its end and a notification may all tell it")

RULES: dict[tuple[SettlementPhase, type[events.Event]], Step | Ignored | Impossible] = {
    (P.ASKED, E.Booted): _WITH_SESSION,
    (P.ASKED, E.Ticked): _WITH_SESSION,
    (P.ASKED, E.AuthorizationAnswered): _WITH_SESSION,
    (P.ASKED, E.CheckoutAnswered): _WITH_SESSION,
    (P.ASKED, E.SettlementAnswered): _NOTHING_SENT,
    (P.ASKED, E.IncrementAnswered): _NOTHING_SENT,
    (P.ASKED, E.SettlementOrdered): Ignored("the bank's answer decides; then it can be released"),
    (P.HELD, E.Booted): _held,
    (P.HELD, E.Ticked): _held,
    (P.HELD, E.AuthorizationAnswered): _TOLD_TWICE,
    (P.HELD, E.CheckoutAnswered): _ONE_PAGE,
    (P.HELD, E.SettlementAnswered): _NOTHING_SENT,
    (P.HELD, E.IncrementAnswered): hold.increment_answered,
    (P.HELD, E.SettlementOrdered): _ordered_on_held,
    (P.CAPTURING, E.Booted): _send_when_due,
    (P.CAPTURING, E.Ticked): _send_when_due,
    (P.CAPTURING, E.AuthorizationAnswered): _TOLD_TWICE,
    (P.CAPTURING, E.CheckoutAnswered): _ONE_PAGE,
    (P.CAPTURING, E.SettlementAnswered): _answered,
    (P.CAPTURING, E.IncrementAnswered): _GIVEN_UP,
    (P.CAPTURING, E.SettlementOrdered): _retry_ordered,
    (P.VOIDING, E.Booted): _send_when_due,
    (P.VOIDING, E.Ticked): _send_when_due,
    (P.VOIDING, E.AuthorizationAnswered): _late_answer,
    (P.VOIDING, E.CheckoutAnswered): _late_answer,
    (P.VOIDING, E.SettlementAnswered): _answered,
    (P.VOIDING, E.IncrementAnswered): _GIVEN_UP,
    (P.VOIDING, E.SettlementOrdered): _retry_ordered,
    (P.REFUNDING, E.Booted): _send_when_due,
    (P.REFUNDING, E.Ticked): _send_when_due,
    (P.REFUNDING, E.AuthorizationAnswered): _TOLD_TWICE,
    (P.REFUNDING, E.CheckoutAnswered): _TOLD_TWICE,
    (P.REFUNDING, E.SettlementAnswered): _answered,
    (P.REFUNDING, E.IncrementAnswered): _GIVEN_UP,
    (P.REFUNDING, E.SettlementOrdered): _retry_ordered,
    (P.ENDED, E.Booted): Ignored("only its record is missing; the seal line sees to it"),
    (P.ENDED, E.Ticked): Ignored("only its record is missing; the seal line sees to it"),
    (P.ENDED, E.AuthorizationAnswered): _TOLD_TWICE,
    (P.ENDED, E.CheckoutAnswered): _TOLD_TWICE,
    (P.ENDED, E.SettlementAnswered): Ignored("a second answer to a repeated step; the first one ended the hold"),
    (P.ENDED, E.IncrementAnswered): _GIVEN_UP,
    (P.ENDED, E.SettlementOrdered): Ignored("its record is not sealed yet; orders about an end come after it"),
}
HANDLED: tuple[type[events.Event], ...] = (
    E.Booted,
    E.Ticked,
    E.AuthorizationAnswered,
    E.CheckoutAnswered,
    E.SettlementAnswered,
    E.IncrementAnswered,
    E.SettlementOrdered,
)
