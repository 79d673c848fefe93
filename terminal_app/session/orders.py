"""Orders of a person about money: release a hold, try its end again, give money back. PURE.

Who asks (technician or office) has been checked and named before. `refusal` says why an order cannot be carried out now; an
order that was refused commits nothing. Money of a sealed hold is only touched here: by a new step with a record of its own.
"""

from terminal_app.session import events, hold, settlement
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, SettlementPhase, State
from terminal_app.session.turn import Turn
from terminal_app.units import major

RETRY, RELEASE = "retry", "release"
HANDLED: tuple[type[events.Event], ...] = (events.SettlementOrdered, events.RefundOrdered)


def refusal(state: State, event: events.SettlementOrdered) -> str:
    """Why this order cannot be carried out, "" if it can: one sentence with what to do instead."""
    one = state.settlements.get(event.hold_id)
    if one is None:
        return _refused_past(event)
    if event.past is not None:
        return "another step of it is under way; try again when its record is sealed"
    if one.phase is SettlementPhase.ENDED:
        return "its end is being recorded; try again in a minute"
    if event.act == RETRY:
        return "" if one.step is not None else "nothing of it is waiting for an answer; there is nothing to try again"
    if one.phase is SettlementPhase.ASKED:
        return "the bank is being asked; if no answer comes it is released by itself"
    if one.phase is not SettlementPhase.HELD:
        return f"it is {one.phase.value} already; `retry` does not wait for the next try"
    session = hold.session_of(state, event.hold_id)
    if session is not None and session.phase not in (Phase.AUTHORIZED, Phase.STARTING):
        return f"it pays for a charge on connector {session.connector}; stop that first, then what is owed is taken from it"
    return ""


def _refused_past(event: events.SettlementOrdered) -> str:
    past = event.past
    if past is None:
        return "it has ended, and its end is known: there is nothing to do"
    if event.act == RELEASE and past.captured_minor:
        return "money was taken from it: refund it instead"
    if event.act == RELEASE and event.kind == "capture" and {"slice", "offline"} & past.hold.trace.keys():
        return "nothing is held that could be released, and the office may have booked the charge: `retry` it instead"
    if event.act == RETRY and event.step is None:
        return "no step of it was left without an answer"
    return ""


def ordered(turn: Turn, event: events.SettlementOrdered) -> None:
    """A hold that became manual: its step goes out again with the same serial and key, or it is released."""
    past = event.past
    assert past is not None and not refusal(turn.state, event), (event.hold_id, event.act)
    why = f"{event.act} by {event.actor}: {event.reason}"
    if event.step is not None and event.kind == "refund":
        assert 0 < event.step.amount_minor <= past.undecided_minor
        turn.commit(f.RefundIntended(past, event.step, event.actor, event.reason, event.bill))
        turn.note_settlement(event.hold_id, tries=1)  # it was sent before: what goes out is a repetition
        return
    turn.commit(f.SettlementReopened(past, event.actor, event.reason))
    if event.step is not None and event.kind == "capture":
        assert 0 < event.step.amount_minor <= past.approved_minor
        turn.commit(f.CaptureIntended(event.hold_id, event.step))
    elif event.step is not None:
        turn.commit(f.VoidIntended(event.hold_id, event.step, why))
    else:
        settlement.intend_void(turn, event.hold_id, why)
        return
    turn.note_settlement(event.hold_id, tries=1)


def refund_refusal(state: State, event: events.RefundOrdered) -> str:
    """Why this much cannot be given back, "" if it can (I11: never above what was captured)."""
    past = event.past
    if past.hold.hold_id in state.settlements:
        return "another step of it is under way; try again when its record is sealed"
    if any(one.hold_id == past.hold.hold_id for one in state.credits):
        return "the credit of an earlier refund is being recorded; try again in a minute"
    if past.undecided_minor:
        return "an earlier refund has no certain end; `retry` that one first"
    left = past.captured_minor - past.refunded_minor
    if not past.captured_minor:
        return "nothing was captured: there is nothing to give back"
    if not left:
        return "all that was captured has been given back"
    if not 0 < event.amount_minor <= left:
        currency = past.hold.currency
        return f"{major(event.amount_minor, currency)} is not above 0 and at most the {major(left, currency)} {currency} left of it"
    return ""


def refund(turn: Turn, event: events.RefundOrdered) -> None:
    """Commit to give back; the settlement machine does the rest. Each refund has a key of its own."""
    past = event.past
    assert not refund_refusal(turn.state, event), past.hold.hold_id
    operation = f"refund/{turn.state.chain.next_serial}"
    step = hold.new_step(turn, past.hold.hold_id, operation, event.amount_minor)
    turn.commit(f.RefundIntended(past, step, event.actor, event.reason, event.bill))
