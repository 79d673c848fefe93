"""What a person orders about money, as the control socket makes it an event: about a hold the ledger knows."""

from collections.abc import Sequence

from terminal_app.session import events, orders
from terminal_app.session import facts as f
from terminal_app.session.past import past_of, sealed_bill
from terminal_app.session.state import State

ACTOR, REASON = "technician", "test"


def ordered(
    state: State, facts: Sequence[f.Fact], what: str, which: int, percent: int = 100
) -> events.SettlementOrdered | events.RefundOrdered | None:
    """The event for this order about the `which`-th hold of the ledger; None if the rules refuse it now."""
    holds = [one.hold.hold_id for one in facts if isinstance(one, f.AuthorizationIntended)]
    if not holds:
        return None
    hold_id = holds[which % len(holds)]
    past = None if hold_id in state.settlements else past_of(hold_id, facts)
    if what == "refund":
        if past is None:
            return None
        amount = -(-past.hold.captured_minor * percent // 100)  # of what was taken: what is left is for the rules to know
        refund = events.RefundOrdered(past.hold, amount, ACTOR, REASON, bill_of(past.hold.session_id, facts))
        return None if orders.refund_refusal(state, refund) else refund
    event = events.SettlementOrdered(hold_id, what, ACTOR, REASON)
    if past is not None and past.undecided is not None:
        step = past.undecided if what == orders.RETRY or past.kind == "void" else None
        bill = bill_of(past.hold.session_id, facts)
        event = events.SettlementOrdered(hold_id, what, ACTOR, REASON, past.hold, step, past.kind if step else "", bill)
    return None if orders.refusal(state, event) else event


def bill_of(session_id: str, facts: Sequence[f.Fact]) -> f.SealedBill | None:
    """What a refund credits. Where records are only counted (explorer), every bill stands in the first one."""
    mine = [one for one in facts if getattr(one, "session_id", "") == session_id]
    sealed = [one for one in facts if isinstance(one, f.Sealed) and (one.record_type, one.subject) == ("session", session_id)]
    seq, sha256 = (sealed[0].record_seq, sealed[0].sha256) if sealed else (1, "0" * 64)
    return sealed_bill(mine, seq, sha256)
