"""I1 to I12 of the money (reference payments.md section 4.4), asked of every explored node: ledger against the gateway's books."""

from collections import Counter
from decimal import Decimal
from math import ceil

from terminal_app.session.facts import Terminated
from terminal_app.session.state import Phase, SettlementPhase
from tests.simulation import stage
from tests.simulation.node import STARTED_WH, Node
from tests.simulation.system import Broken


def check(before: Node, node: Node) -> None:
    """Raises Broken."""
    _books(node)
    _ledger(before, node)
    _energy(node)
    _sent(node)
    if node.over:
        _at_the_end(node)


def must(holds: bool, why: str) -> None:
    if not holds:
        raise Broken(why)


def _books(node: Node) -> None:
    for one in node.books:
        must(one.captured_minor <= one.approved_minor, f"I1: {one.captured_minor} captured of {one.approved_minor}")
        must(len(one.captures) <= 1, f"I2: captured twice {one.captures}")
        must(not (one.captures and one.released), "I3: captured and released")
        must(sum(amount for _, amount in one.refunds) <= one.captured_minor, "I11: more given back than taken")
        must(len(set(one.taps)) == len(one.taps), "one tap asked for money twice")
        must(one.hold_id in node.intended, "I7: orphan hold, the ledger has no intent")
        must(all(type(amount) is int for _, amount in one.captures), "I9: money is not an integer")


def _ledger(before: Node, node: Node) -> None:
    must(node.bills[: len(before.bills)] == before.bills, "I10: a frozen bill was changed")
    must(all(count == 1 for count in Counter(one.hold_id for one in node.ended).values()), "a hold ended twice")
    for one in node.ended:
        account = node.account(one.hold_id)
        match one.how:
            case Terminated.CAPTURED:
                must([amount for _, amount in account.captures] == [one.amount_minor], "captured in the ledger, not at the gateway")
            case Terminated.VOIDED:
                must(not account.captures, "released in the ledger, captured at the gateway")
                must(
                    not account.held and not (account.page == "open" and account.scanned),
                    "released in the ledger, held at the gateway",
                )
            case Terminated.MANUAL:
                pass  # listed: a person looks
    for hold_id in node.declined:
        must(not node.account(hold_id).held, "declined in the ledger, held at the gateway")


def _energy(node: Node) -> None:
    for bill in node.bills:
        must(bill.total_minor == bill.capture_minor + bill.shortfall_minor, "I5: bill is not capture plus shortfall")
        must(bill.shortfall_minor == 0, f"{bill.shortfall_minor} delivered beyond the hold")
    session = node.living.sessions.get(1)
    if session is not None and session.start is not None:
        worth = ceil((node.register_wh - session.start.energy_wh) * Decimal(stage.KWH_PRICE) / 10)
        must(worth <= node.account(session.hold_id).approved_minor, f"I5: {worth} delivered beyond the hold")
    if node.phase is Phase.CHARGING and session is not None:
        must(node.living.settlements[session.hold_id].phase is SettlementPhase.HELD, "I6: energy without a hold")
        must(node.account(session.hold_id).held, "I6: energy, and nothing is held at the gateway")
        must(session.start is not None and session.hold_id in node.told.settlements, "I6: energy without a commit")


def _sent(node: Node) -> None:
    for call in node.calls:
        if call.kind in ("capture", "void"):
            told = node.told.settlements.get(call.action.hold.hold_id)
            must(told is None or told.step is not None, "I7: sent without an intent")
            if told is not None and told.step is not None:
                must(told.step.key == call.action.step.key, "I8: another key than the committed one")
        else:
            must(call.action.hold.hold_id in node.intended, "I7: sent without an intent")


def _at_the_end(node: Node) -> None:
    """I4, I5: every hold has one end, energy is billed, what is not taken is listed."""
    ended = {one.hold_id for one in node.ended}
    must(set(node.intended) - set(node.declined) == ended, "I4: a hold has no end")
    billed_wh = sum(one.energy_wh for one in node.bills)
    must(billed_wh == node.register_wh - STARTED_WH, f"I5: billed {billed_wh} Wh of {node.register_wh - STARTED_WH} Wh that flowed")
    taken = sum(one.captured_minor for one in node.books)
    listed = sum(one.amount_minor for one in node.ended if one.how is Terminated.CAPTURED)
    manual = {one.hold_id for one in node.ended if one.how is Terminated.MANUAL}
    must(taken - sum(node.account(one).captured_minor for one in manual) == listed, "I5: books and records differ")
    due = sum(one.capture_minor for one in node.bills)
    must(listed == due or bool(manual), f"I5: {due} billed, {listed} taken, nothing listed")
    for one in node.books:
        must(not one.held or one.hold_id in manual, "I4: money is held, and nothing is open any more")
