"""Known-bad terminals must be caught by the same oracle; if one passes, the simulation has gone blind."""

from typing import Any

import msgspec
import pytest

from terminal_app.engine.engine import Engine
from terminal_app.session import actions, arming, charge, events, freeze, gate, machine, settlement
from tests.simulation.campaign import commits_of_the_standard_charge, crash_points, one_crash, run
from tests.simulation.oracle import Wrong
from tests.simulation.plan import Plan, Trouble, Visit, drawn, standard


class SendsBeforeCommit(Engine):
    """The intent is committed only after the action went out."""

    def turn(self, event: events.Event) -> None:
        terms = self.terms()
        turn = machine.decide(self.state, event, terms)
        self._hand_out(terms, turn.actions)
        if turn.facts:
            self._commit(turn.facts, terms.now, turn.sealed_jws)
        self.state = turn.state
        self.turns += 1
        self.present()


class NewKeyAfterReboot(Engine):
    """Every process names its steps anew."""

    def start(self, resumed_after_crash: bool) -> None:
        self._suffix = f"/{self.ledger.head[0]}"
        super().start(resumed_after_crash)

    def _hand_out(self, terms: Any, todo: list[actions.Action]) -> None:
        super()._hand_out(terms, [self._renamed(one) for one in todo])

    def _renamed(self, one: actions.Action) -> actions.Action:
        if not isinstance(one, actions.Capture | actions.Void):
            return one
        replace = msgspec.structs.replace
        return replace(one, step=replace(one.step, key=one.step.key + self._suffix))

    def turn(self, event: events.Event) -> None:
        if isinstance(event, events.SettlementAnswered):
            event = msgspec.structs.replace(event, key=event.key.removesuffix(self._suffix))
        super().turn(event)


class AsksAgainAfterReboot(Engine):
    """A blind retry of the authorization instead of its reversal."""

    _asked: dict[str, actions.Authorize] = {}

    def _hand_out(self, terms: Any, todo: list[actions.Action]) -> None:
        for one in todo:
            if isinstance(one, actions.Authorize):
                card = one.card
                copy = type(card)(card.facts, card.amount_minor, card.currency, bytearray(card.track2), bytearray(card.emv))
                self._asked[one.hold.hold_id] = msgspec.structs.replace(one, card=copy)
        super()._hand_out(terms, todo)

    def start(self, resumed_after_crash: bool) -> None:
        super().start(resumed_after_crash)
        for hold_id, one in self.state.settlements.items():
            if hold_id in self._asked and not one.approved_minor:
                super()._hand_out(self.terms(), [self._asked.pop(hold_id)])


def walk(engine_class: type[Engine]) -> None:
    for crash in crash_points(commits_of_the_standard_charge()):
        run(one_crash(crash), engine_class=engine_class)


@pytest.mark.parametrize(
    ("engine_class", "words"),
    [(SendsBeforeCommit, "orphan hold"), (NewKeyAfterReboot, "captured"), (AsksAgainAfterReboot, "more than once")],
)
def test_a_known_bad_engine_is_caught_by_the_walk(engine_class: type[Engine], words: str) -> None:
    with pytest.raises(Wrong, match=words):
        walk(engine_class)


def test_without_a_limit_energy_beyond_the_hold_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charge, "_stop_before_hold_is_used_up", lambda *_: None)
    visit = Visit(plug_first=True, end="hold", power_w=150_000, authorize=("partial",))
    with pytest.raises(Wrong, match="beyond the hold"):
        run(Plan("no limit", [visit]))


def test_a_tap_before_the_price_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arming, "offer_is_on_the_glass", lambda state, terms, connector: connector not in state.sessions)
    visit = Visit(early_tap=True, troubles=(Trouble("ui", 0, 5_000),))
    with pytest.raises(Wrong, match="price on the glass"):
        run(Plan("armed early", [visit]))


def test_a_reversal_that_overtook_its_authorization_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan("overtaken", [Visit(authorize=("lag",))])
    run(plan)
    monkeypatch.setattr(settlement, "_may_still_arrive", lambda *_: False)
    with pytest.raises(Wrong, match="held at the bank"):
        run(Plan("overtaken", [Visit(authorize=("lag",))]))


def test_a_stop_register_read_while_energy_flows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "stop_reading_due", lambda turn, connector: not turn.live(connector).asked_read)
    with pytest.raises(Wrong, match="that flowed"):
        run(Plan("read early", [Visit(plug_first=True, power_w=150_000)], obey_ms=1_500))


def test_a_lifetime_register_on_the_bill_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meter says zero at the start and its lifetime after a power cut: without the plausibility gate it is billed."""

    def plan() -> Plan:
        zero = Trouble("zero", 0, 20_000)
        return Plan("lifetime", [Visit(plug_first=True, troubles=(zero,), sudden=(Trouble("power", 9_000, 12_000),))])

    run(plan())
    monkeypatch.setattr(gate, "plausible", lambda last, value, *_: value.serial == last.serial)
    with pytest.raises(Wrong, match="flowed"):
        run(plan())


def test_the_healthy_terminal_passes_the_same_plans() -> None:
    run(Plan("standard", [standard()]))
    run(drawn("healthy"))
