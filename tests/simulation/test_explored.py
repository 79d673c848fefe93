"""Every path of the money, for each kind of gateway: two crashes anywhere, every reply lost, late, doubled or refused, at every
try. I1 to I12 hold in every state, and from every state going home quietly ends with each hold captured, voided or manual.

Quick: one driver, devices prompt. Full: two drivers one after the other, and one whose bank and finger are quicker than
meter, signer and controller. What is alike and what is not: `node.py`. Known-bad terminals are caught by the same search.
"""

from typing import Any

import msgspec
import pytest

from terminal_app.session import actions, charge, checkout, settlement
from tests.simulation import invariants
from tests.simulation.coverage import Coverage
from tests.simulation.explorer import Explorer
from tests.simulation.gateways import PAGES, TAPPED, Gateway, Host, Stripe
from tests.simulation.node import Node
from tests.simulation.system import Bounds, Broken

EVERY = pytest.mark.parametrize("gateway", [*TAPPED, *PAGES], ids=lambda one: one.kind)
COVERAGE = Coverage()


def explored(gateway: Gateway, bounds: Bounds, **hooks: Any) -> Explorer:
    explorer = Explorer(gateway, bounds, invariants.check, **hooks)
    explorer.run()
    COVERAGE.add(explorer.outside.coverage)
    print(f"\n{gateway.kind}: {len(explorer.nodes)} states, {explorer.edges} edges, {len(explorer.ends)} ends; {bounds}")
    return explorer


@EVERY
def test_two_crashes_anywhere_and_every_reply_lost_or_late(gateway: Gateway) -> None:
    explorer = explored(gateway, Bounds(visits=1, crashes=2))
    assert len(explorer.nodes) > 4_000, "the search hardly went anywhere"
    how = {end.how.value for _, ended in explorer.outcomes for end in ended}
    assert how == {"captured", "voided", "manual"}


def test_what_was_met() -> None:
    """Told by state, event and fault; every step of the settlement machine was met."""
    if not COVERAGE.pairs:
        pytest.skip("nothing was explored in this process")
    print(f"\n{COVERAGE.table('settlement')}\n{COVERAGE.table('session')}\n{COVERAGE.report()}")
    assert not COVERAGE.missing("settlement")


@pytest.mark.full
@pytest.mark.timeout(7200)
@EVERY
def test_two_drivers(gateway: Gateway) -> None:
    explored(gateway, Bounds(visits=2, crashes=1))


@pytest.mark.full
@pytest.mark.timeout(7200)
@EVERY
def test_slow_devices(gateway: Gateway) -> None:
    explored(gateway, Bounds(visits=1, crashes=2, prompt=False))


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
