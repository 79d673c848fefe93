"""Every path of the money, for each kind of gateway: two crashes anywhere, every reply lost, late, doubled or refused, at every
try. I1 to I12 hold in every state, and from every state going home quietly ends with each hold captured, voided or manual.

Quick: one driver and prompt devices for every kind, then one further thing at a time (another gateway, a raised or used hold,
orders of a person). Full: wider bounds. What is alike and what is not: `node.py`. Known-bad terminals are caught by the same
search.
"""

from typing import Any

import msgspec
import pytest

from terminal_app.session import actions, charge, checkout, hold, orders, settlement, start
from terminal_app.session import facts as f
from terminal_app.values import Approved, CardRequest
from tests.simulation import invariants, stage
from tests.simulation.coverage import Coverage
from tests.simulation.explorer import Explorer
from tests.simulation.gateways import PAGES, TAPPED, Gateway, Host, Stripe
from tests.simulation.node import Node
from tests.simulation.system import Bounds, Broken

EVERY = pytest.mark.parametrize("gateway", [*TAPPED, *PAGES], ids=lambda one: one.kind)
COVERAGE = Coverage()


def explored(route: Gateway | tuple[Gateway, ...], bounds: Bounds, **hooks: Any) -> Explorer:
    route = route if isinstance(route, tuple) else (route,)
    explorer = Explorer(route, bounds, invariants.check, **hooks)
    explorer.run()
    COVERAGE.add(explorer.outside.coverage)
    names = ", ".join(one.kind for one in route)
    print(f"\n{names}: {len(explorer.nodes)} states, {explorer.edges} edges, {len(explorer.ends)} ends; {bounds}")
    return explorer


@EVERY
def test_two_crashes_anywhere_and_every_reply_lost_or_late(gateway: Gateway) -> None:
    explorer = explored(gateway, Bounds(visits=1, crashes=2))
    assert len(explorer.nodes) > 4_000, "the search hardly went anywhere"
    how = {end.how.value for _, ended in explorer.outcomes for end in ended}
    assert how == {"captured", "voided", "manual"}


HOST, CYBERSOURCE, ACCOUNTS, OWN_READER = TAPPED
PAGE, RECEIVES = PAGES
FURTHER = {
    "another gateway is asked": ((HOST, CYBERSOURCE), Bounds(crashes=0), f.AuthorizationRerouted),
    "another page is asked for": ((PAGE, RECEIVES), Bounds(crashes=0), f.AuthorizationRerouted),
    "on the operator's risk": ((HOST, ACCOUNTS), Bounds(crashes=0, offline=True), f.OfflineGranted),
    "a hold is raised": ((OWN_READER,), Bounds(crashes=0, raised=1), f.IncrementEnded),
    "a hold is used again": ((HOST,), Bounds(visits=2, crashes=0, misreads=1), f.HoldReused),
    "a person gives back": ((OWN_READER,), Bounds(crashes=1, orders=1), f.RefundIntended),
    "a person tries again": ((RECEIVES,), Bounds(crashes=0, orders=1), f.SettlementReopened),
}


@pytest.mark.parametrize("what", FURTHER)
def test_further(what: str) -> None:
    route, bounds, fact = FURTHER[what]
    explorer = explored(route, bounds)
    assert explorer.outside.met[fact] > 0, "what it is about was not met"


def test_what_was_met() -> None:
    """Told by state, event and fault; every step of the settlement machine was met (two orders on one hold: `wider`)."""
    if not COVERAGE.pairs:
        pytest.skip("nothing was explored in this process")
    print(f"\n{COVERAGE.table('settlement')}\n{COVERAGE.table('session')}\n{COVERAGE.report()}")
    assert set(COVERAGE.missing("settlement")) <= {"refunding+SettlementOrdered"}


WIDER = {
    "two drivers": Bounds(visits=2, crashes=2, misreads=1),
    "slow devices": Bounds(crashes=2, prompt=False),
    "two orders": Bounds(crashes=1, orders=2),
    "raised twice": Bounds(crashes=2, raised=2),
}


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("bounds", WIDER.values(), ids=WIDER)
@EVERY
def test_wider(gateway: Gateway, bounds: Bounds) -> None:
    explored(gateway, bounds)


# --- known-bad terminals must be caught ----------------------------------------------------------------------------------


def a_key_of_this_process(action: actions.Action, node: Node) -> actions.Action:
    if not node.crashes or not isinstance(action, actions.Capture | actions.Void):
        return action
    replace = msgspec.structs.replace
    return replace(action, step=replace(action.step, key=f"{action.step.key}/{node.crashes}"))


def test_no_intent_is_caught() -> None:
    with pytest.raises(Broken, match="orphan hold"):
        explored(Host(), Bounds(), sends_first=True)


def test_no_limit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charge, "_stop_before_hold_is_used_up", lambda *_: None)
    with pytest.raises(Broken, match="beyond the hold"):
        explored(Host(), Bounds())


def test_a_new_key_after_a_reboot_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a gateway that knows a step by its key only, this is the second capture."""
    monkeypatch.setattr(invariants, "_sent", lambda node: None)  # I8 would see it before the money moves
    with pytest.raises(Broken, match=r"captured twice|captured .* of"):
        explored(Host(), Bounds(), renamed=a_key_of_this_process)


def test_a_new_key_after_a_reboot_is_seen_before_money_moves() -> None:
    with pytest.raises(Broken, match="I8"):
        explored(Host(), Bounds(), renamed=a_key_of_this_process)


@pytest.mark.parametrize("constant", ["GATEWAY_DELAY_MS", "ANSWER_LONGEST_MS"])
def test_a_reversal_that_trusts_too_early_is_caught(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host did not know the original when it answered; the authorization arrives while the answer is on its way."""
    monkeypatch.setattr(settlement, constant, 0)
    with pytest.raises(Broken, match="held at the gateway"):
        explored(Host(), Bounds())


def test_a_payment_in_the_last_moment_that_is_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(turn: Any, connector: int, event: Any) -> None:
        checkout._closed(turn, connector, checkout.DeclineReason.TOO_LATE, "", checkout.DeclineWords.PHONE_TIMEOUT)

    rules = dict(charge.RULES)
    rules[charge.P.CHECKOUT, charge.E.AuthorizationAnswered] = forgets
    monkeypatch.setattr(charge, "RULES", rules)
    with pytest.raises(Broken, match="held at the gateway"):
        explored(Stripe(), Bounds())


def test_a_hold_that_is_never_ended_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Liveness: a step that is sent once and not repeated leaves a path that goes nowhere."""
    sends = settlement._send_when_due

    def once(turn: Any, hold_id: str, event: Any) -> None:
        if turn.state.settlements[hold_id].tries < 1:
            sends(turn, hold_id, event)

    rules = {pair: once if step is sends else step for pair, step in settlement.RULES.items()}
    monkeypatch.setattr(settlement, "RULES", rules)
    with pytest.raises(Broken, match="nothing leads from here to an end"):
        explored(Host(), Bounds(crashes=0))


def test_a_refund_that_forgets_earlier_ones_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that believes what it is told gives back twice what it took."""
    monkeypatch.setattr(orders, "refund_refusal", lambda state, event: "" if event.past.captured_minor else "nothing captured")
    monkeypatch.setattr(Gateway, "refund", believes)
    with pytest.raises(Broken, match="I11"):
        explored(OWN_READER, Bounds(crashes=0, orders=2))


def believes(self: Gateway, account: Any, hold: Any, step: Any, utc_ms: int) -> Any:
    refunds = {**dict(account.refunds), step.key: step.amount_minor}
    return msgspec.structs.replace(account, refunds=tuple(refunds.items())), Approved(step.amount_minor, {})


def test_a_tap_sent_elsewhere_although_the_first_bank_may_have_it_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_doubt(turn: Any, connector: int, hold_id: str, why: str) -> None:
        asked = turn.state.settlements[hold_id].hold
        turn.commit(f.AuthorizationRerouted(hold_id, "cybersource", why))
        card = stage.card(CardRequest(True, 20, "EUR", "276", 0, 1), 1, 1)
        turn.do(actions.Authorize(msgspec.structs.replace(asked, gateway="cybersource"), card, 0))

    monkeypatch.setattr(start, "in_doubt", in_doubt)
    with pytest.raises(Broken, match="asked for money twice"):
        explored((HOST, CYBERSOURCE), Bounds(crashes=0))


def test_an_unanswered_increment_that_counts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Energy beyond what the gateway holds."""

    def counts(turn: Any, hold_id: str, why: str) -> None:
        one = turn.state.settlements[hold_id]
        if one.increment is not None:
            turn.commit(f.IncrementEnded(hold_id, one.increment.amount_minor, {}, why))

    monkeypatch.setattr(hold, "give_up_increment", counts)
    monkeypatch.setattr(hold, "INCREMENT_TRIES", 1)
    with pytest.raises(Broken, match="the ledger believes"):
        explored(OWN_READER, Bounds(crashes=0, raised=2))
