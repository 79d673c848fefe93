"""A technician's test is a whole session that nobody pays for, and never a sale."""

import json
from typing import Any

import pytest

from terminal_app import screens as s
from terminal_app.billing import record
from terminal_app.session import actions, events, machine, technician
from terminal_app.session import facts as f
from terminal_app.session.state import Phase
from terminal_app.values import Pilot
from tests.simulation import stage
from tests.simulation.rules import Rules


def payload_of(jws: str) -> dict[str, Any]:
    return record.open_record(jws, stage.record_key().spki)


def order(seconds: int = 30, limit_a: int = 0, connector: int = 1) -> events.TestCommanded:
    return events.TestCommanded(connector, seconds, limit_a, "technician", "after the repair")


def plugged(tariffs: bool = True) -> Rules:
    rules = Rules() if tariffs else Rules(tariffs={})
    rules.to_offer()
    rules.evse(Pilot.B)
    return rules


def under_test(limit_a: int = 0, tariffs: bool = True) -> Rules:
    rules = plugged(tariffs)
    rules.feed(order(limit_a=limit_a))
    rules.answer_register()
    rules.clock.advance(500)
    rules.evse(Pilot.C, relay=True, authorized=True)
    return rules


def ended(rules: Rules) -> dict[str, Any]:
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    return payload_of(rules.jws[-1])


@pytest.mark.parametrize("tariffs", [True, False], ids=["with a tariff", "without any tariff"])
def test_a_test_ends_by_time_with_a_sealed_record_that_costs_nothing(tariffs: bool) -> None:
    rules = under_test(tariffs=tariffs)
    assert machine.evse_wishes(rules.state, rules.terms())[1].authorized
    rules.charge(29)
    assert rules.phase is Phase.CHARGING
    rules.charge(1)
    assert rules.phase is Phase.STOPPING and not machine.evse_wishes(rules.state, rules.terms())[1].authorized
    told = ended(rules)
    assert told["test"] is True and told["energy_wh"] == 150 and told["stop"] == {"reason": "test_ended", "interrupted": False}
    assert told["totals"] == {"currency": "EUR", "net_minor": 0, "vat_minor": 0, "total_minor": 0} and told["payment"] is None
    assert told["ocmf"]["record"].startswith("OCMF|")
    assert not rules.state.sessions and not rules.state.settlements and not rules.has(actions.Authorize)
    assert isinstance(rules.view, s.Offer if tariffs else s.NotForSale), "nobody waits for a receipt"


def test_a_sale_says_nothing_of_tests_or_limits() -> None:
    rules = Rules()
    rules.to_sealing()
    rules.sign_record()
    assert not {"test", "limits"} & payload_of(rules.jws[-1]).keys()


def test_the_screen_says_that_service_personnel_are_testing_until_it_is_over() -> None:
    rules = plugged()
    rules.feed(order())
    for _ in range(2):
        assert isinstance(rules.view, s.NotForSale) and rules.view.reason is s.NotForSaleReason.SERVICE
        if rules.has(actions.ReadRegister):
            rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.touch(s.Button.STOP)
    assert isinstance(rules.view, s.NotForSale) and rules.view.reason is s.NotForSaleReason.SERVICE


def test_a_test_may_charge_with_less() -> None:
    rules = under_test(limit_a=10)
    assert machine.evse_wishes(rules.state, rules.terms())[1].limit_a == 10
    rules.feed(events.StopCommanded(1, f.StopReason.TEST_ENDED, "technician", "enough"))
    ended(rules)
    assert machine.evse_wishes(rules.state, rules.terms())[1].limit_a == 32


@pytest.mark.parametrize(
    ("way", "reason"), [("unplug", "unplugged"), ("fault", "fault"), ("restart", "power_cut"), ("order", "test_ended")]
)
def test_a_test_ends_like_any_charge(way: str, reason: str) -> None:
    rules = under_test()
    rules.charge(5)
    if way == "unplug":
        rules.evse(Pilot.A)
    elif way == "fault":
        rules.evse(Pilot.C, relay=True, authorized=True, fault="ground_fault")
    elif way == "restart":
        rules.boot()
        rules.tick(2)
    else:
        rules.feed(events.StopCommanded(1, f.StopReason.TEST_ENDED, "technician", "enough"))
    told = ended(rules)
    assert told["test"] is True and told["stop"]["reason"] == reason
    assert told["energy_wh"] == 25


@pytest.mark.parametrize(
    ("prepare", "event", "words"),
    [
        (lambda rules: rules.evse(Pilot.A), order(), "no car and no test adapter is plugged in"),
        (lambda rules: rules.evse(Pilot.B, fault="ground_fault"), order(), "reports ground_fault"),
        (lambda rules: rules.tick(6), order(), "does not answer"),
        (lambda rules: rules.evse(Pilot.B), order(seconds=601), "1 to 600 seconds"),
        (lambda rules: rules.evse(Pilot.B), order(connector=3), "no connector 3"),
        (lambda rules: rules.evse(Pilot.B), order(limit_a=4), "only down to 6 A"),
        (lambda rules: (rules.tap(), rules.answer_bank()), order(), "a driver's charge"),
    ],
)
def test_what_cannot_be_tested_is_said_in_a_sentence_and_leaves_no_session(prepare, event, words) -> None:  # type: ignore[no-untyped-def]
    rules = Rules()
    rules.to_offer()
    prepare(rules)
    before = rules.count(f.SessionOpened)
    assert words in technician.refusal(rules.state, rules.terms(), event)
    if event.connector == 1:
        rules.feed(event)
    assert rules.count(f.SessionOpened) == before


def test_a_meter_that_does_not_answer_ends_the_test_and_tells_no_driver() -> None:
    rules = plugged()
    rules.feed(order())
    for _ in range(3):
        rules.fail_register()
        rules.tick(2)
    (aborted,) = (one for one in rules.facts if isinstance(one, f.SessionAborted))
    assert aborted.reason is f.StopReason.FAULT and isinstance(rules.view, s.Offer)


def test_the_record_is_readable_json_with_the_mark_where_the_format_says() -> None:
    rules = under_test()
    rules.charge(3)
    rules.feed(events.StopCommanded(1, f.StopReason.TEST_ENDED, "technician", ""))
    told = ended(rules)
    assert json.loads(str(told["tariff"]["json"]))["id"] == "TEST"
