"""Lowered currents: they reach the controller, survive restarts, stand in the record, and a pause costs the driver nothing."""

from typing import Any

import pytest

from terminal_app import screens as s
from terminal_app.billing import record
from terminal_app.billing.signature import MAX_JWS_BYTES
from terminal_app.session import events, evolve, machine
from terminal_app.session import facts as f
from terminal_app.session.actions import EvseWish
from terminal_app.session.state import Phase
from terminal_app.values import Pilot
from tests.simulation import stage
from tests.simulation.rules import Rules
from tests.unit.billing_samples import as_json, component, document, element, parse_tariff


def wish(rules: Rules) -> EvseWish:
    return machine.evse_wishes(rules.state, rules.terms())[1]


def limit(rules: Rules, amperes: int | None, source: str = "service") -> None:
    rules.feed(events.LimitOrdered(1, amperes, source, "technician", "the supply is weak"))


def payload_of(jws: str) -> dict[str, Any]:
    return record.open_record(jws, stage.record_key().spki)


def told(rules: Rules) -> dict[str, Any]:
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    return payload_of(rules.jws[-1])


def test_a_limit_reaches_the_controller_survives_restart_and_is_lifted() -> None:
    rules = Rules()
    limit(rules, 16)
    assert wish(rules) == EvseWish(False, 16)
    rules.boot(new_boot=True)
    rules.to_charging()
    assert wish(rules) == EvseWish(True, 16)
    limit(rules, 10, "office")
    assert wish(rules) == EvseWish(True, 10), "the newest order counts"
    limit(rules, None)
    assert wish(rules) == EvseWish(True, 32)
    rules.touch(s.Button.STOP)
    changes = told(rules)["limits"]
    assert [(one["limit_a"], one["source"]) for one in changes] == [(16, "service"), (10, "office"), (32, "service")]


def test_load_control_that_never_rests_leaves_a_record_that_can_be_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record above 1 MiB never verifies: its bill would never be sealed, nor anything after it."""
    assert evolve.LIMITS_KEPT * 100 < MAX_JWS_BYTES // 4
    monkeypatch.setattr(evolve, "LIMITS_KEPT", 5)
    rules = Rules()
    rules.to_charging()
    for amperes in range(6, 18):
        limit(rules, amperes, "office")
    rules.touch(s.Button.STOP)
    record_ = told(rules)
    assert [one["limit_a"] for one in record_["limits"]] == [13, 14, 15, 16, 17] and record_["limits_left_out"] == 7


def test_what_people_have_paused_is_not_for_sale_until_they_lift_it() -> None:
    rules = Rules()
    limit(rules, 0)
    rules.to_offer()
    assert isinstance(rules.view, s.NotForSale) and machine.reader_wish(rules.state) is None
    limit(rules, 6)
    assert isinstance(rules.view, s.Offer)


def test_a_limit_above_what_the_connector_has_changes_nothing() -> None:
    rules = Rules()
    rules.to_charging()
    limit(rules, 63)
    assert wish(rules) == EvseWish(True, 32)


def test_below_six_amperes_the_charge_pauses_and_goes_on_by_itself() -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(20)
    limit(rules, 5)
    assert not wish(rules).authorized and rules.phase is Phase.CHARGING
    rules.evse(Pilot.C, relay=True, authorized=True)  # not yet obeyed
    for _ in range(120):
        rules.clock.advance(1000)
        rules.evse(Pilot.B)
        rules.meter()
        rules.feed(events.Ticked())
    assert rules.phase is Phase.CHARGING, "neither car nor controller is blamed for the pause"
    assert isinstance(rules.view, s.Charging) and rules.view.phase is s.ChargePhase.WITHHELD
    limit(rules, None)
    assert wish(rules) == EvseWish(True, 32)
    rules.clock.advance(500)
    rules.evse(Pilot.B)  # the controller has not been told yet
    rules.clock.advance(500)
    rules.charge(5)
    assert rules.phase is Phase.CHARGING and isinstance(rules.view, s.Charging) and rules.view.phase is s.ChargePhase.CHARGING
    rules.clock.advance(500)
    rules.evse(Pilot.B)  # and a restart of it is still seen
    assert rules.phase is Phase.STOPPING


def test_a_controller_that_does_not_come_back_after_a_pause_ends_the_charge() -> None:
    rules = Rules()
    rules.to_charging()
    limit(rules, 0)
    rules.clock.advance(60_000)
    rules.evse(Pilot.B)
    rules.meter()
    limit(rules, None)
    for _ in range(22):
        rules.clock.advance(1000)
        rules.evse(Pilot.B)
        rules.meter()
    (stop,) = (one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stop.detail == "the charge controller did not release the car"


def test_an_order_and_its_opposite_at_once_end_nothing() -> None:
    rules = Rules()
    rules.to_charging()
    rules.clock.advance(1000)
    limit(rules, 0)
    before = rules.clock.now()
    rules.clock.advance(100)
    limit(rules, None)
    old = events.EvseReported(1, stage_status(authorized=True, stamp=before))
    rules.feed(old)  # made before the lifting, read after it
    rules.clock.advance(100)
    rules.evse(Pilot.B)  # the controller obeyed the first order
    assert rules.phase is Phase.CHARGING
    rules.clock.advance(500)
    rules.evse(Pilot.C, relay=True, authorized=True)
    assert rules.phase is Phase.CHARGING


def stage_status(authorized: bool, stamp: Any) -> Any:
    from terminal_app.values import EvseStatus

    return EvseStatus(Pilot.C, authorized, authorized, 32 if authorized else 0, stamp)


@pytest.mark.parametrize("withholding", [True, False])
def test_idle_fee_runs_while_the_car_wants_nothing_and_not_while_the_charger_withholds(withholding: bool) -> None:
    idle_fee = parse_tariff(as_json(document(element(component("ENERGY", "0.50"), component("PARKING_TIME", "6.00")))))
    rules = Rules(tariffs={1: idle_fee})
    rules.to_charging()
    rules.charge(20)
    if withholding:
        limit(rules, 0)
    for _ in range(600):  # ten minutes at 0.10 a minute
        rules.clock.advance(1000)
        rules.evse(Pilot.B, authorized=not withholding)
        rules.meter()
    rules.touch(s.Button.STOP)
    bill = told(rules)
    assert bill["parking_ms"] == (0 if withholding else 600_000)
    assert bill["totals"]["total_minor"] == (5 if withholding else 105)
    assert any(line["kind"] == "parking" for line in bill["lines"]) is not withholding


def test_unplugging_during_a_pause_ends_the_charge() -> None:
    rules = Rules()
    rules.to_charging()
    limit(rules, 0)
    rules.evse(Pilot.A)
    (stop,) = (one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stop.reason is f.StopReason.UNPLUGGED


def test_a_relay_cannot_limit_so_less_than_its_current_is_a_pause() -> None:
    relay = {"e1": {"driver": "relay", "chip": "/dev/gpiochip0", "line": 4, "current_a": 16}}
    rules = Rules(stage.configuration(sections={"evse": relay}))
    rules.to_charging()
    assert wish(rules) == EvseWish(True, 32)
    limit(rules, 12)
    assert not wish(rules).authorized
    limit(rules, 16)
    assert wish(rules) == EvseWish(True, 16)


def test_nothing_to_lift_is_refused() -> None:
    from terminal_app.session import limits

    rules = Rules()
    assert "no limit by order" in limits.refusal(rules.state, events.LimitOrdered(1, None, "service", "a", "b"))
    assert "no connector 4" in limits.refusal(rules.state, events.LimitOrdered(4, 10, "service", "a", "b"))
