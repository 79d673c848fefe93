"""I1 to I12 of the money (reference payments.md section 4.4), asked of every explored node: ledger against the gateway's books."""

from collections import Counter
from decimal import Decimal
from math import ceil

from terminal_app.session.facts import CreditIntended, RefundIntended, SettlementReopened, Terminated
from terminal_app.session.state import Phase, SettlementPhase
from tests.simulation import stage
from tests.simulation.node import STARTED_WH, STEPS, End, Node
from tests.simulation.system import Broken


def check(before: Node, node: Node) -> None:
    """Raises Broken."""
    _books(node)
    _ledger(before, node)
    _energy(node)
    _believed(node)
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
        must(one.refunded_minor <= one.captured_minor, "I11: more given back than taken")
        must(len(set(one.taps)) == len(one.taps), "one tap asked for money twice")
        must(one.hold_id in node.intended, "I7: orphan hold, the ledger has no intent")
        must(all(type(amount) is int for _, amount in one.captures), "I9: money is not an integer")


def ends(node: Node) -> dict[str, End]:
    """How each hold itself ended, by now: an end that a person had tried again counts no more."""
    return {one.hold_id: one for one in node.ended if one.kind != "refund"}


def _tries(node: Node) -> Counter[str]:
    """So many ends there may be: the hold's own, and one for each order of a person."""
    ordered = [one.past.hold.hold_id for one in node.money if isinstance(one, RefundIntended | SettlementReopened)]
    return Counter([*node.intended, *ordered])


def _ledger(before: Node, node: Node) -> None:
    must(node.bills[: len(before.bills)] == before.bills, "I10: a frozen bill was changed")
    if node.ended is not before.ended:
        must(Counter(one.hold_id for one in node.ended) <= _tries(node), "a hold ended twice")
    for hold_id, one in ends(node).items():
        account = node.account(hold_id)
        if hold_id in node.living.settlements and node.living.settlements[hold_id].how is None:
            continue  # a person has had it tried again
        match one.how:
            case Terminated.CAPTURED:
                must([amount for _, amount in account.captures] == [one.amount_minor], "captured in the ledger, not at the gateway")
            case Terminated.VOIDED:
                must(not account.captures, "released in the ledger, captured at the gateway")
                must(not account.held, "released in the ledger, held at the gateway")
                must(not (account.page == "open" and account.scanned), "released in the ledger, and the page can be paid")
            case _:
                pass  # listed: a person looks
    for hold_id in node.declined:
        must(not node.account(hold_id).held, "declined in the ledger, held at the gateway")


def _energy(node: Node) -> None:
    for bill in node.bills:
        must(bill.total_minor == bill.capture_minor + bill.shortfall_minor, "I5: bill is not capture plus shortfall")
        must(bill.shortfall_minor == 0, f"{bill.shortfall_minor} delivered beyond the hold")
    session = node.living.sessions.get(1)
    if session is None or session.start is None:
        return
    one, account = node.living.settlements[session.hold_id], node.account(session.hold_id)
    worth = ceil((node.register_wh - session.start.energy_wh) * Decimal(stage.KWH_PRICE) / 10)
    must(worth <= (one.approved_minor if one.offline else account.approved_minor), f"I5: {worth} delivered beyond the hold")
    if node.phase is Phase.CHARGING:
        must(one.phase is SettlementPhase.HELD, "I6: energy without a hold")
        must(account.held or one.offline, "I6: energy, and nothing is held at the gateway")
        must(session.hold_id in node.told.settlements, "I6: energy without a commit")


def _believed(node: Node) -> None:
    for hold_id, one in node.living.settlements.items():
        if one.phase in (SettlementPhase.HELD, SettlementPhase.CAPTURING) and not one.offline and not node.orders:
            held = node.account(hold_id).approved_minor
            must(one.approved_minor <= held, f"I1: the ledger believes in {one.approved_minor}, the gateway holds {held}")


def _sent(node: Node) -> None:
    for call in node.calls:
        hold_id = call.action.hold.hold_id
        if call.kind not in STEPS:
            must(hold_id in node.intended, "I7: sent without an intent")
            continue
        told = node.told.settlements.get(hold_id)
        if told is None:
            continue  # it has ended meanwhile: a repetition whose answer nobody needs
        step = told.increment if call.kind == "increment" else told.step
        must(step is not None or call.kind == "increment", "I7: sent without an intent")
        if step is not None and not node.orders:
            must(step.key == call.action.step.key, "I8: another key than the committed one")


def _at_the_end(node: Node) -> None:
    """I4, I5, I11: every hold has its end, energy is billed, what is not taken is listed, what was given back is in a record."""
    must(Counter(one.hold_id for one in node.ended) == _tries(node) - Counter(node.declined), "I4: a hold has no end")
    billed_wh = sum(one.energy_wh for one in node.bills)
    must(billed_wh == node.register_wh - STARTED_WH, f"I5: billed {billed_wh} Wh of {node.register_wh - STARTED_WH} Wh that flowed")
    last = ends(node)
    manual = {hold_id for hold_id, one in last.items() if one.how is Terminated.MANUAL}
    taken = sum(one.captured_minor for one in node.books if one.hold_id not in manual)
    listed = sum(one.amount_minor for one in last.values() if one.how is Terminated.CAPTURED)
    must(taken == listed, "I5: books and records differ")
    released = any(isinstance(one, SettlementReopened) for one in node.money)  # a person may have given up what was due
    due = sum(one.capture_minor for one in node.bills)
    must(listed == due or bool(manual) or released, f"I5: {due} billed, {listed} taken, nothing listed")
    for one in node.books:
        must(not one.held or one.hold_id in manual, "I4: money is held, and nothing is open any more")
        back = sum(end.amount_minor for end in node.ended if end.hold_id == one.hold_id and end.how is Terminated.REFUNDED)
        unsure = any(end.hold_id == one.hold_id and end.kind == "refund" and end.how is Terminated.MANUAL for end in node.ended)
        must(one.refunded_minor == back or unsure, f"I11: {one.refunded_minor} given back, {back} in records")
        credits = [fact for fact in node.money if isinstance(fact, CreditIntended) and fact.hold_id == one.hold_id]
        credited = -sum(line.gross_minor for fact in credits for line in fact.lines)
        must(credited == back, f"I11: {back} given back, {credited} of the bill credited")
