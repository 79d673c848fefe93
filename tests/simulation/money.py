"""The oracle's money: what the ledger tells of every hold, against the books of every gateway, to the cent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from terminal_app.session import facts as f
from terminal_app.values import Hold
from tests.simulation.books import Books

replace = msgspec.structs.replace


class Wrong(AssertionError):
    """An invariant is broken; the message says which and with what figures."""


def must(holds: bool, why: str) -> None:
    if not holds:
        raise Wrong(why)


@dataclass
class Told:
    """One hold as the ledger tells it."""

    hold: Hold
    declined: bool = False
    offline: bool = False
    intents: int = 1  # ends there must be: the first one, and one for each order of a person
    ends: list[f.HoldEnded] = field(default_factory=list)
    refunds: list[f.RefundIntended] = field(default_factory=list)
    by_order: bool = False  # the last release was ordered by a person

    @property
    def end(self) -> f.HoldEnded:
        """How the hold itself ended; giving back comes after it."""
        given_back = (f.Terminated.REFUNDED, f.Terminated.REFUSED)
        return [one for one in self.ends if one.how not in given_back and one not in self.unsure_refunds][-1]

    unsure_refunds: list[f.HoldEnded] = field(default_factory=list)

    @property
    def manual(self) -> bool:
        """A person must look: the hold, or the last try to give back."""
        return bool(self.ends) and self.ends[-1].how is f.Terminated.MANUAL

    @property
    def refunded_minor(self) -> int:
        return sum(one.amount_minor for one in self.ends if one.how is f.Terminated.REFUNDED)


def told(facts: Sequence[f.Fact]) -> dict[str, Told]:
    """Every hold of the ledger. Within `ends`, an end that follows a RefundIntended belongs to the refund."""
    found: dict[str, Told] = {}
    giving_back: set[str] = set()
    for fact in facts:
        match fact:
            case f.AuthorizationIntended(hold=hold):
                found[hold.hold_id] = Told(hold)
            case f.AuthorizationRerouted(hold_id=hold_id, gateway=gateway):
                found[hold_id].hold = replace(found[hold_id].hold, gateway=gateway)
            case f.OfflineGranted(hold_id=hold_id, gateway=gateway):
                found[hold_id].hold = replace(found[hold_id].hold, gateway=gateway)
                found[hold_id].offline = True
            case f.AuthorizationDeclined(hold_id=hold_id):
                found[hold_id].declined = True
            case f.RefundIntended(past=past):
                one = found[past.hold.hold_id]
                one.refunds.append(fact)
                one.intents += 1
                giving_back.add(past.hold.hold_id)
            case f.SettlementReopened(past=past):
                one = found[past.hold.hold_id]
                one.intents += 1
                one.by_order = True
                giving_back.discard(past.hold.hold_id)
            case f.HoldEnded(hold_id=hold_id):
                found[hold_id].ends.append(fact)
                if hold_id in giving_back and fact.how is f.Terminated.MANUAL:
                    found[hold_id].unsure_refunds.append(fact)
            case _:
                pass
    return found


def check_holds(holds: dict[str, Told], books: Books, refused: set[str]) -> None:
    """Every hold ended, exactly once and as its gateway says; nothing is held or taken that the ledger does not know."""
    places = {(one.hold.gateway, hold_id) for hold_id, one in holds.items()}
    must(set(books.accounts) <= places, "orphan hold: a gateway holds money the ledger knows nothing of")
    for account in books.accounts.values():
        must(len(account.captures) <= 1, f"captured twice: {account.captures}")
        must(account.captured_minor <= account.approved_minor, "captured more than was held")
        must(not (account.captures and account.released), "captured and released")
        must(account.refunded_minor <= account.captured_minor, "more given back than was taken")
    for hold_id, one in holds.items():
        account = books.of(one.hold)
        captures = [amount for _, amount in account.captures]
        must(len(one.ends) == (0 if one.declined else one.intents), "a hold has not exactly one end")
        if one.declined:
            must(not account.held, "declined in the ledger, held at the bank")
            continue
        match one.end.how:
            case f.Terminated.CAPTURED:
                end = one.end.amount_minor
                must(captures == [end], f"captured {captures} at the bank, {end} in the ledger")
            case f.Terminated.VOIDED:
                must(not captures, f"released, but {captures} is captured at the bank")
                must(not account.held, "released in the ledger, held at the bank")
            case f.Terminated.MANUAL:
                must(bool(one.end.detail), "manual without a reason")
                must(hold_id in refused, f"manual although the bank never refused: {one.end.detail}")
        unsure = sum(refund.step.amount_minor for refund in one.refunds if one.unsure_refunds)
        back = account.refunded_minor
        must(one.refunded_minor <= back <= one.refunded_minor + unsure, f"given back {back}, {one.refunded_minor} in the ledger")


def check_sums(holds: dict[str, Told], books: Books, payloads: list[dict[str, Any]]) -> Counter[str]:
    """For every gateway: its books are the signed settlement records and what is listed for a person; so is what was billed."""
    sums = Counter[str]()
    listed = {hold_id for hold_id, one in holds.items() if one.manual}
    waived = {hold_id for hold_id, one in holds.items() if one.by_order and one.ends and one.end.how is f.Terminated.VOIDED}
    bills = [one for one in payloads if one["type"] == "session" and one["payment"]]
    settled = [one for one in payloads if one["type"] == "settlement"]
    last = {one["authorization_reference"]: one["how"] for one in settled}
    must({hold_id for hold_id, how in last.items() if how == "manual"} == listed, "what a person must look at is not in a record")
    for gateway in {one.hold.gateway for one in holds.values()}:
        mine = {hold_id for hold_id, one in holds.items() if one.hold.gateway == gateway}
        sure = [books.of(holds[one].hold) for one in mine - listed]
        signed = {
            how: sum(
                one["amount_minor"] for one in settled if one["how"] == how and one["authorization_reference"] in mine - listed
            )
            for how in ("captured", "refunded")
        }
        must(
            all(one["gateway"] == gateway for one in settled if one["authorization_reference"] in mine),
            "a record names another gateway",
        )
        taken, back = sum(one.captured_minor for one in sure), sum(one.refunded_minor for one in sure)
        due = {one: sum(bill["payment"]["capture_minor"] for bill in bills if bill["payment"]["hold_id"] == one) for one in mine}
        billed = sum(due[one] for one in mine - listed - waived)
        must(taken == signed["captured"] == billed, f"{gateway}: billed {billed}, signed {signed}, in its books {taken}")
        must(back == signed["refunded"], f"{gateway}: {back} given back, {signed} signed")
        unsure = sum(books.of(holds[one].hold).captured_minor for one in mine & listed)
        at_risk = sum(due[one] for one in mine & listed)
        must(unsure <= at_risk, f"{gateway}: {unsure} taken of holds for a person, {at_risk} billed on them")
        owed = sum(due[one] for one in mine - listed - waived if holds[one].offline)
        sums.update({f"{gateway} captured": taken, f"{gateway} refunded": back, "receivable": owed, "manual": at_risk})
        sums["released by a person"] += sum(due[one] for one in mine & waived)
    _credited(bills, settled, [one for one in payloads if one["type"] == "credit"])
    value = sum(one["totals"]["total_minor"] for one in bills)
    captured = sum(one["payment"]["capture_minor"] for one in bills)
    shortfall = sum(one["payment"]["shortfall_minor"] for one in bills)
    must(value == captured + shortfall, f"energy worth {value}, to be captured {captured}, shortfall {shortfall}")
    sums.update({"energy value": value, "shortfall": shortfall, "holds": len(holds)})
    return sums


def _credited(bills: list[dict[str, Any]], settled: list[dict[str, Any]], credits: list[dict[str, Any]]) -> None:
    """What went back took exactly as much of its bill back, in records that name it, numbered from 1."""
    for bill in bills:
        mine = [one for one in credits if one["session_id"] == bill["session_id"]]
        back = sum(one["amount_minor"] for one in settled if one["how"] == "refunded" and one["session_id"] == bill["session_id"])
        must(-sum(one["totals"]["total_minor"] for one in mine) == back, f"{back} given back, not as much credited")
        must([one["number"] for one in mine] == list(range(1, len(mine) + 1)), "the credits of a bill are not numbered from 1")
        must(all(one["credits"]["seq"] == bill["seq"] for one in mine), "a credit names another record")
    must(len(credits) == sum(one["how"] == "refunded" for one in settled), "not one credit for every refund")
