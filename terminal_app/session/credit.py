"""Credits: what a refund takes back of a bill, as a record of its own. PURE.

The bill itself is never touched. A credit is intended in the commit that says the money went back, with its receipt number;
the seal line makes its record after that of the refund. What was taken beyond the bill and goes back is no credit.
"""

from terminal_app.billing import chain_records
from terminal_app.session import facts as f
from terminal_app.session.state import Settlement
from terminal_app.session.turn import Turn


def intend(turn: Turn, one: Settlement) -> None:
    """The refund `one` has succeeded: commit what of its bill is taken back."""
    assert one.refund is not None and one.step is not None
    bill = one.refund.bill
    if bill is None:
        return  # an order of older software did not look for one
    amount_minor = creditable_minor(bill, one.captured_minor, one.refunded_minor, one.step.amount_minor)
    if not amount_minor:
        return
    turn.commit(
        f.CreditIntended(
            session_id=one.session_id,
            hold_id=one.hold.hold_id,
            bill=bill,
            lines=chain_records.credit_lines(bill.lines, bill.credited, amount_minor, one.hold.currency),
            currency=one.hold.currency,
            receipt_number=turn.receipt_number(),
            actor=one.refund.actor,
            reason=one.refund.reason,
        )
    )


def creditable_minor(bill: f.SealedBill, captured_minor: int, refunded_minor: int, amount_minor: int) -> int:
    """How much of a refund takes the bill back: all of it, unless more had been captured than was billed."""
    billed = sum(line.gross_minor for line in bill.lines)
    credited = -sum(line.gross_minor for line in bill.credited)
    beyond = max(0, captured_minor - billed)
    return max(0, min(amount_minor, refunded_minor + amount_minor - beyond - credited, billed - credited))
