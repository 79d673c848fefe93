"""Where the driver's money is: a hold of their choice, one hold for several attempts, another gateway, a raised hold, a charge
on the operator's risk, and what a person orders afterwards."""

from typing import Any

import pytest

from terminal_app import screens as s
from terminal_app.session import actions, events, orders
from terminal_app.session import facts as f
from terminal_app.session.past import Past, past_of
from terminal_app.session.state import Phase, SettlementPhase
from terminal_app.values import Approved, ClockState, Declined, DeclineReason, Device, Fault, OutcomeUnknown, Pilot
from tests.simulation import stage
from tests.simulation.rules import Rules

UNREACHABLE = Declined(DeclineReason.UNREACHABLE, "refused")


def unreachable(rules: Rules) -> actions.Authorize:
    """The gateway that is asked cannot be reached: the card comes back unsent."""
    asked: actions.Authorize = rules.take(actions.Authorize)
    rules.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, asked.hold.gateway), True))
    rules.feed(events.AuthorizationAnswered(asked.hold.hold_id, UNREACHABLE, asked.card))
    return asked


def declined(rules: Rules) -> s.DeclinedView:
    assert isinstance(rules.view, s.DeclinedView), rules.view
    return rules.view


# --- the amount ------------------------------------------------------------------------------------------------------


def choosing() -> Rules:
    rules = Rules(stage.configuration(hold_choices_minor=[2000], hold_choices_kwh=[10, 200], lower_hold_minor=1500))
    rules.to_offer()
    return rules


def test_the_driver_chooses_money_or_energy_and_just_that_is_held() -> None:
    rules = choosing()
    offer = rules.view
    assert isinstance(offer, s.Offer) and offer.hold_minor == 5000
    assert [(one.amount_minor, one.energy_wh) for one in offer.choices] == [
        (593, 10_000),
        (2000, 0),
        (5000, 0),
        (11803, 200_000),
    ], "10 kWh at 0.59 and what the stop takes"
    rules.touch(s.Button.HOLD, "1")
    assert isinstance(rules.view, s.Offer) and rules.view.hold_minor == 2000
    rules.tap()
    assert not rules.has(actions.Authorize), "the new amount was not on the glass yet"
    rules.show()
    rules.tap()
    asked = rules.take(actions.Authorize)
    assert (asked.hold.amount_minor, asked.card.amount_minor) == (2000, 2000)


@pytest.mark.parametrize("value", ["4", "-1", "x", "", "99999999999999999999"])
def test_a_choice_that_is_not_offered_changes_nothing(value: str) -> None:
    rules = choosing()
    rules.touch(s.Button.HOLD, value)
    assert isinstance(rules.view, s.Offer) and rules.view.hold_minor == 5000


def test_the_next_driver_finds_the_operators_amount() -> None:
    rules = choosing()
    rules.touch(s.Button.HOLD, "0")
    rules.tick(60)
    assert isinstance(rules.view, s.Offer) and rules.view.hold_minor == 5000


def test_by_time_no_energy_can_be_priced_before() -> None:
    rules = Rules(stage.configuration(hold_choices_kwh=[10]), tariffs={1: stage.tariff("mixed")})
    rules.to_offer()
    assert isinstance(rules.view, s.Offer) and [one.energy_wh for one in rules.view.choices] == [0]


# --- soft declines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "lower"),
    [
        (DeclineReason.AUTHENTICATION_WANTED, 1500),
        (DeclineReason.INSUFFICIENT_FUNDS, 1500),
        (DeclineReason.LIMIT_EXCEEDED, 1500),
        (DeclineReason.CARD_INVALID, 0),
    ],
)
def test_a_refusal_says_what_may_help(reason: DeclineReason, lower: int) -> None:
    rules = Rules(stage.configuration(by_phone=True, lower_hold_minor=1500))
    rules.to_authorizing()
    rules.answer_bank(Declined(reason, "65"))
    assert (declined(rules).by_phone, declined(rules).lower_hold_minor) == (True, lower)


def test_a_lower_hold_is_offered_shown_and_then_asked_for() -> None:
    rules = choosing()
    rules.tap()
    rules.answer_bank(Declined(DeclineReason.AUTHENTICATION_WANTED, "1A"))
    rules.touch(s.Button.LOWER_HOLD)
    assert isinstance(rules.view, s.Offer) and rules.view.hold_minor == 1500 and not rules.view.card_ready
    rules.show()
    rules.tap(tap=2)
    assert rules.take(actions.Authorize).hold.amount_minor == 1500
    rules.feed(events.AuthorizationAnswered(next(iter(rules.state.settlements)), Declined(DeclineReason.LIMIT_EXCEEDED, "61")))
    assert declined(rules).lower_hold_minor == 0, "lower than low is not offered"


def test_the_phone_may_be_used_right_from_the_refusal() -> None:
    rules = Rules(stage.configuration(by_phone=True))
    rules.to_authorizing()
    rules.answer_bank(Declined(DeclineReason.AUTHENTICATION_WANTED, "1A"))
    rules.touch(s.Button.PAY_BY_PHONE)
    assert isinstance(rules.view, s.PayByPhone) and rules.has(actions.OpenCheckout)


def test_without_pages_no_phone_is_offered() -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(Declined(DeclineReason.AUTHENTICATION_WANTED, "1A"))
    rules.touch(s.Button.PAY_BY_PHONE)
    assert declined(rules).by_phone is False and not rules.state.sessions


# --- one hold for several attempts -------------------------------------------------------------------------------------


def failed_start(connectors: int = 1) -> Rules:
    rules = Rules(stage.configuration(connectors))
    if connectors > 1:
        rules.to_offer()
        rules.touch(s.Button.SELECT, "1")
        rules.show()
        rules.tap()
        rules.answer_bank()
        rules.evse(Pilot.B)
    else:
        rules.to_starting()
    for _ in range(3):
        rules.fail_register()
        rules.tick(2)
    assert rules.phase is Phase.NONE and not rules.count(f.VoidIntended)
    return rules


def again(rules: Rules, number: int = 1) -> None:
    rules.show()
    rules.tap(number, tap=2)
    if number != 1:  # another card sees the price first
        rules.show()
        rules.tap(number, tap=3)


def test_who_does_not_want_to_try_again_is_told_that_the_hold_is_released() -> None:
    rules = failed_start()
    rules.touch(s.Button.OK)
    assert declined(rules).reason is s.DeclineWords.CANCELLED and declined(rules).held_minor == 5000
    assert rules.count(f.VoidIntended) == 1
    rules.touch(s.Button.OK)
    assert isinstance(rules.view, s.Offer)


def test_a_kept_hold_is_never_out_of_sight() -> None:
    rules = failed_start()
    while not rules.count(f.VoidIntended):
        assert declined(rules).reason is s.DeclineWords.HOLD_KEPT
        rules.tick(5)
    rules.tick()
    assert isinstance(rules.view, s.Offer)


def test_after_a_failed_start_the_same_card_uses_its_hold_again() -> None:
    rules = failed_start()
    assert declined(rules).reason is s.DeclineWords.HOLD_KEPT and declined(rules).held_minor == 5000
    assert 60 < declined(rules).kept_s <= 90
    again(rules)
    assert not rules.has(actions.Authorize), "nothing more is asked of the bank"
    rules.answer_register()
    assert rules.phase is Phase.CHARGING
    rules.clock.advance(500)
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(20)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.finish()
    assert rules.count(f.HoldEnded) == 1 and len(rules.jws) == 2 and not rules.state.settlements


def test_the_driver_is_told_that_nothing_more_is_held() -> None:
    rules = failed_start()
    rules.evse(Pilot.A)
    again(rules)
    assert isinstance(rules.view, s.PlugIn) and rules.view.reused and rules.view.hold_minor == 5000


def test_another_card_is_another_hold() -> None:
    rules = failed_start()
    again(rules, number=2)
    (kept,) = (hold_id for hold_id, one in rules.state.settlements.items() if one.phase is SettlementPhase.HELD)
    assert rules.take(actions.Authorize).hold.hold_id != kept and len(rules.state.settlements) == 2


def test_a_kept_hold_is_released_when_its_time_is_over() -> None:
    rules = failed_start()
    rules.tick(95)
    assert rules.count(f.VoidIntended) == 1 and rules.has(actions.Void)


def test_a_kept_hold_is_released_by_a_restart() -> None:
    rules = failed_start()
    rules.boot()
    assert rules.count(f.VoidIntended) == 1
    rules.tick()
    assert rules.has(actions.Void)


@pytest.mark.parametrize("proved", [True, False])
def test_the_driver_may_take_the_hold_to_the_next_connector_with_a_card_that_proves_itself(proved: bool) -> None:
    rules = Rules(stage.configuration(2))
    rules.to_offer()
    rules.touch(s.Button.SELECT, "1")
    rules.show()
    rules.tap()
    rules.answer_bank()
    rules.touch(s.Button.BACK)
    rules.touch(s.Button.SELECT, "2")
    rules.show()
    rules.tap(tap=2, authenticated=proved)
    assert rules.has(actions.Authorize) is not proved, "a copied number takes no hold away from its driver"
    if not proved:
        return
    assert rules.phase is Phase.NONE
    assert rules.state.sessions[2].phase is Phase.AUTHORIZED and rules.count(f.VoidIntended) == 0
    assert isinstance(rules.view, s.PlugIn) and rules.view.reused and rules.view.connector == 2


@pytest.mark.parametrize(
    ("how", "words"),
    [("cancel", s.DeclineWords.CANCELLED), ("wait", s.DeclineWords.NOT_PLUGGED), ("order", s.DeclineWords.CANCELLED)],
)
def test_who_does_not_charge_is_told_that_the_hold_is_released(how: str, words: s.DeclineWords) -> None:
    rules = Rules()
    rules.to_authorized()
    match how:
        case "cancel":
            rules.touch(s.Button.CANCEL)
        case "order":
            hold_id = next(iter(rules.state.settlements))
            rules.feed(events.SettlementOrdered(hold_id, "release", "technician", "stuck"))
        case _:
            rules.tick(121)
    assert declined(rules).reason is words and declined(rules).held_minor == 5000 and rules.count(f.VoidIntended) == 1


# --- routing ---------------------------------------------------------------------------------------------------------


def two_banks(**brands: list[str]) -> Rules:
    routing = {"cards": ["acquirer", "backup"], "brands": brands}
    rules = Rules(stage.configuration(gateways={"backup": stage.BACKUP}, sections={"routing": routing}))
    rules.to_offer()
    return rules


def test_a_gateway_out_of_reach_is_passed_over_with_the_same_card_reading() -> None:
    rules = two_banks()
    rules.tap()
    first = unreachable(rules)
    second = rules.take(actions.Authorize)
    assert (first.hold.gateway, second.hold.gateway) == ("acquirer", "backup")
    assert second.card is first.card and any(second.card.track2) and second.hold.hold_id == first.hold.hold_id
    assert rules.count(f.AuthorizationIntended) == 1 and rules.count(f.AuthorizationRerouted) == 1
    rules.feed(events.AuthorizationAnswered(second.hold.hold_id, Approved(5000, {})))
    (held,) = rules.state.settlements.values()
    assert held.hold.gateway == "backup" and rules.phase is Phase.AUTHORIZED


def test_the_next_driver_is_not_kept_waiting_by_a_gateway_that_is_known_to_be_away() -> None:
    rules = two_banks()
    rules.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, "acquirer"), True))
    rules.show()
    rules.tap()
    assert rules.take(actions.Authorize).hold.gateway == "backup"


def test_when_none_can_be_reached_the_card_is_wiped_and_nothing_is_for_sale() -> None:
    rules = two_banks()
    rules.tap()
    unreachable(rules)
    second = unreachable(rules)
    assert not any(second.card.track2) and declined(rules).reason is s.DeclineWords.BANK_UNREACHABLE
    assert not rules.state.settlements and rules.count(f.AuthorizationDeclined) == 1
    rules.touch(s.Button.OK)
    assert isinstance(rules.view, s.NotForSale) and rules.view.reason is s.NotForSaleReason.GATEWAY
    rules.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, "backup"), False))
    assert isinstance(rules.view, s.Offer) and rules.view.by_card


@pytest.mark.parametrize("outcome", [OutcomeUnknown("silence"), Declined(DeclineReason.REFUSED, "05")])
def test_what_may_have_been_sent_is_never_sent_elsewhere(outcome: Any) -> None:
    rules = two_banks()
    rules.tap()
    rules.answer_bank(outcome)
    assert not rules.has(actions.Authorize) and rules.count(f.AuthorizationRerouted) == 0


def test_a_brand_may_have_its_own_route() -> None:
    rules = two_banks(mastercard=["backup"])
    rules.tap()
    assert rules.take(actions.Authorize).hold.gateway == "backup"


def test_a_crash_after_a_reroute_reverses_at_the_gateway_that_was_asked() -> None:
    rules = two_banks()
    rules.tap()
    unreachable(rules)
    rules.boot()
    rules.tick()
    assert rules.take(actions.Void).hold.gateway == "backup"


# --- a raised hold ---------------------------------------------------------------------------------------------------


def nearly_used_up(**policy: int) -> Rules:
    rules = Rules(stage.configuration(hold_minor=500, min_useful_hold_minor=100, **({"increment_minor": 300} | policy)))
    rules.incrementing = frozenset({"acquirer"})
    rules.to_charging()
    while rules.phase is Phase.CHARGING and not rules.has(actions.Increment):
        rules.charge(5)
    return rules


def answer_increment(rules: Rules, outcome: Any) -> actions.Increment:
    asked: actions.Increment = rules.take(actions.Increment)
    rules.feed(events.IncrementAnswered(asked.hold.hold_id, asked.step.key, outcome))
    return asked


def held_minor(rules: Rules) -> int:
    return next(iter(rules.state.settlements.values())).approved_minor


def test_a_hold_about_to_be_used_up_is_raised_before_the_charge_must_stop() -> None:
    rules = nearly_used_up()
    assert rules.phase is Phase.CHARGING and rules.count(f.IncrementIntended) == 1
    asked = answer_increment(rules, Approved(300, {"increment": "7"}))
    assert asked.step.amount_minor == 300 and held_minor(rules) == 800
    assert isinstance(rules.view, s.Charging) and rules.view.hold_minor == 800


@pytest.mark.parametrize("outcome", [Declined(DeclineReason.REFUSED, "05"), Approved(301, {}), OutcomeUnknown("silence")])
def test_without_an_increment_the_old_limit_stands_and_the_charge_goes_on(outcome: Any) -> None:
    rules = nearly_used_up()
    keys = {answer_increment(rules, outcome).step.key}
    assert rules.phase is Phase.CHARGING and held_minor(rules) == 500
    while rules.phase is Phase.CHARGING:
        rules.charge(5)
        if rules.has(actions.Increment):
            keys.add(answer_increment(rules, outcome).step.key)
    assert rules.state.sessions[1].stop_reason is f.StopReason.HOLD_LIMIT and len(keys) == 1
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    (captured,) = (one for one in rules.facts if isinstance(one, f.CaptureIntended))
    assert captured.step.amount_minor <= 500


def test_a_raised_hold_is_captured_as_a_whole() -> None:
    rules = nearly_used_up()
    answer_increment(rules, Approved(300, {}))
    while rules.phase is Phase.CHARGING:
        rules.charge(5)
        if rules.has(actions.Increment):
            answer_increment(rules, Declined(DeclineReason.REFUSED, "05"))
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    (captured,) = (one for one in rules.facts if isinstance(one, f.CaptureIntended))
    assert 500 < captured.step.amount_minor <= 800


def test_a_charge_may_end_before_the_increment_is_answered() -> None:
    rules = nearly_used_up()
    asked = rules.take(actions.Increment)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.feed(events.IncrementAnswered(asked.hold.hold_id, asked.step.key, Approved(300, {})))
    assert [one.added_minor for one in rules.facts if isinstance(one, f.IncrementEnded)] == [0]
    rules.finish()
    assert not rules.state.settlements


def test_no_increment_where_the_gateway_or_the_operator_does_not_want_it() -> None:
    assert nearly_used_up(increment_minor=0).count(f.IncrementIntended) == 0
    rules = Rules(stage.configuration(hold_minor=500, min_useful_hold_minor=100, increment_minor=300))
    rules.to_charging()
    while rules.phase is Phase.CHARGING:
        rules.charge(5)
    assert rules.count(f.IncrementIntended) == 0


def test_increments_are_bounded() -> None:
    rules = nearly_used_up(increments_most=2)
    for _ in range(2000):
        if rules.has(actions.Increment):
            answer_increment(rules, Approved(300, {}))
        if rules.phase is Phase.CHARGING:
            rules.charge(5)
    assert rules.count(f.IncrementIntended) == 2 and held_minor(rules) == 1100 and rules.phase is Phase.STOPPING


# --- a hold's own time -------------------------------------------------------------------------------------------------


def test_the_charge_ends_while_the_hold_can_still_be_captured() -> None:
    rules = Rules()
    rules.to_authorizing()
    before_ms = rules.clock.utc_ms + 4 * 3_600_000
    rules.answer_bank(Approved(5000, {}, capture_before_utc_ms=before_ms))
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.power_w = 0  # the car draws nothing
    for _ in range(3):
        rules.clock.advance(3_600_000 - 10_000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter()
        rules.feed(events.Ticked())
    assert rules.phase is Phase.CHARGING
    rules.clock.advance(40_000)
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.meter()
    rules.feed(events.Ticked())
    assert rules.phase is Phase.STOPPING and "expire" in rules.state.sessions[1].stop_detail


def test_an_overdue_capture_is_an_alarm_until_it_ends() -> None:
    rules = Rules()
    rules.to_sealing(seconds=60)
    rules.sign_record()
    rules.tick()
    rules.answer_step(OutcomeUnknown("silence"))
    assert not rules.count(f.FaultRaised)
    rules.clock.advance(4 * 86_400_000)
    rules.tick()
    (raised,) = (one.fault for one in rules.facts if isinstance(one, f.FaultRaised))
    assert (raised.device, raised.kind) == (Device.SETTLEMENT, "overdue")
    rules.answer_step()
    rules.tick()
    assert rules.count(f.FaultCleared) == 1
    rules.touch(s.Button.DONE)
    assert isinstance(rules.view, s.Offer), "an alarm for people, no reason to sell nothing"


# --- on the operator's risk --------------------------------------------------------------------------------------------

OFFLINE = {"card_minor": 3000, "terminal_minor": 4000, "card_sessions": 2, "within_s": 86_400}


def alone(clock: ClockState = ClockState.SYNCHRONISED, **offline: int) -> Rules:
    """Nobody can be reached; accounts may charge on the operator's risk."""
    routing = {"cards": ["accounts"]}
    sections = {"offline": OFFLINE | offline, "routing": routing}
    rules = Rules(stage.configuration(gateways={"accounts": stage.ACCOUNTS}, sections=sections))
    rules.clock.state = clock
    rules.to_offer()
    rules.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, "accounts"), True))
    rules.show()
    return rules


def tap_alone(rules: Rules, number: int = 1, tap: int = 1, authenticated: bool = True) -> None:
    rules.tap(number, tap, authenticated)
    unreachable(rules)


def test_without_the_section_nobody_charges_without_a_gateway() -> None:
    rules = Rules(stage.configuration(gateways={"accounts": stage.ACCOUNTS}, sections={"routing": {"cards": ["accounts"]}}))
    rules.to_offer()
    rules.tap(authenticated=True)
    unreachable(rules)
    assert declined(rules).reason is s.DeclineWords.BANK_UNREACHABLE
    rules.touch(s.Button.OK)
    assert isinstance(rules.view, s.NotForSale)


def test_a_card_that_proved_itself_charges_and_owes() -> None:
    rules = alone()
    assert isinstance(rules.view, s.Offer) and rules.view.offline and rules.view.by_card
    tap_alone(rules)
    assert rules.phase is Phase.AUTHORIZED and held_minor(rules) == 3000
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(100)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    assert isinstance(rules.view, s.Receipt) and rules.view.money is s.MoneyWords.RECEIVABLE
    rules.tick()
    asked = rules.take(actions.Capture)
    assert asked.hold.trace["offline"] == "granted" and asked.hold.gateway == "accounts"
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, asked.step.key, Approved(asked.step.amount_minor, {})))
    assert isinstance(rules.view, s.Receipt) and rules.view.money is s.MoneyWords.CAPTURED


def test_a_card_that_did_not_prove_itself_does_not() -> None:
    rules = alone()
    tap_alone(rules, authenticated=False)
    assert declined(rules).reason is s.DeclineWords.OFFLINE_REFUSED and not rules.state.settlements


def test_a_clock_nobody_knows_grants_nothing() -> None:
    rules = alone(ClockState.UNKNOWN)
    tap_alone(rules)
    assert rules.count(f.OfflineGranted) == 0


def test_a_denied_card_gets_nothing() -> None:
    rules = alone()
    rules.outside(f.DenyListSet(1, (f"{1:032x}",)))
    tap_alone(rules)
    assert declined(rules).reason is s.DeclineWords.OFFLINE_REFUSED


def leave(rules: Rules) -> None:
    rules.touch(s.Button.CANCEL)
    rules.tick()
    if rules.has(actions.Void):
        rules.answer_step()
    while rules.has(actions.SignRecord):
        rules.sign_record()
    rules.touch(s.Button.OK)
    rules.show()


def test_how_often_a_card_may_is_bounded() -> None:
    rules = alone()
    for tap in (1, 2):
        tap_alone(rules, tap=tap)
        assert rules.phase is Phase.AUTHORIZED
        leave(rules)
    tap_alone(rules, tap=3)
    assert declined(rules).reason is s.DeclineWords.OFFLINE_REFUSED
    rules.touch(s.Button.OK)
    rules.show()
    tap_alone(rules, number=2, tap=4)
    assert rules.phase is Phase.AUTHORIZED, "another card is not concerned"
    leave(rules)
    rules.clock.advance(86_400_000)
    rules.to_offer()
    tap_alone(rules, tap=5)
    assert rules.phase is Phase.AUTHORIZED, "the next day it may again"


def test_what_the_terminal_is_owed_is_bounded() -> None:
    rules = alone(terminal_minor=3500)
    tap_alone(rules)
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(1500)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    owed = next(iter(rules.state.settlements.values())).step
    assert owed is not None and owed.amount_minor > 400
    rules.touch(s.Button.DONE)
    rules.to_offer()
    tap_alone(rules, number=2, tap=2)
    granted = [one.amount_minor for one in rules.facts if isinstance(one, f.OfflineGranted)]
    assert granted == [3000, min(3000, 3500 - owed.amount_minor)]


# --- what a person orders ------------------------------------------------------------------------------------------------


def past(rules: Rules) -> Past:
    (hold_id,) = {one.hold.hold_id for one in rules.facts if isinstance(one, f.AuthorizationIntended)}
    found = past_of(hold_id, rules.facts)
    assert found is not None
    return found


def captured(seconds: int = 100) -> Rules:
    rules = Rules()
    rules.to_sealing(seconds)
    rules.finish()
    assert not rules.state.settlements
    return rules


def refund(rules: Rules, amount: int) -> None:
    order = events.RefundOrdered(past(rules).hold, amount, "technician", "charger was too slow")
    assert orders.refund_refusal(rules.state, order) == ""
    rules.feed(order)


def test_a_refund_is_intended_sent_and_recorded() -> None:
    rules = captured()
    taken = past(rules).hold.captured_minor
    refund(rules, 10)
    rules.tick()
    asked = rules.take(actions.Refund)
    assert asked.step.amount_minor == 10 and asked.hold.trace["rrn"]
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, asked.step.key, Approved(10, {})))
    rules.sign_record()
    (ended,) = (one for one in rules.facts if isinstance(one, f.HoldEnded) and one.how is f.Terminated.REFUNDED)
    assert ended.amount_minor == 10 and "technician" in ended.detail and len(rules.jws) == 3
    assert (past(rules).hold.captured_minor, past(rules).hold.refunded_minor) == (taken, 10)
    assert past(rules).hold.card.token == "", "no token leaves with it"


def test_never_more_is_given_back_than_was_taken() -> None:
    rules = captured()
    taken = past(rules).hold.captured_minor
    refund(rules, taken - 5)
    rules.tick()
    rules.answer_step()
    rules.sign_record()
    for amount in (6, 0, -1, taken):
        why = orders.refund_refusal(rules.state, events.RefundOrdered(past(rules).hold, amount, "t", "r"))
        assert "0.05 EUR" in why
    refund(rules, 5)
    rules.tick()
    rules.answer_step()
    rules.sign_record()
    why = orders.refund_refusal(rules.state, events.RefundOrdered(past(rules).hold, 1, "t", "r"))
    assert why == "all that was captured has been given back"


def test_a_refund_survives_a_restart_with_its_key() -> None:
    rules = captured()
    refund(rules, 10)
    rules.tick()
    first = rules.take(actions.Refund)
    rules.boot(new_boot=True)
    rules.tick()
    second = rules.take(actions.Refund)
    assert first.step.key == second.step.key and second.step.attempt > 1


def test_a_second_refund_waits_for_the_first() -> None:
    rules = captured()
    refund(rules, 10)
    order = events.RefundOrdered(past(rules).hold, 10, "t", "r")
    assert "under way" in orders.refund_refusal(rules.state, order)


def test_a_refused_refund_leaves_the_capture_standing() -> None:
    rules = captured()
    refund(rules, 10)
    rules.tick()
    rules.answer_step(Declined(DeclineReason.GATEWAY_REFUSED, "12"))
    rules.sign_record()
    assert past(rules).how is f.Terminated.REFUSED and past(rules).hold.refunded_minor == 0
    refund(rules, 10)


def test_nothing_was_taken_nothing_is_given_back() -> None:
    rules = Rules()
    rules.to_authorized()
    rules.touch(s.Button.CANCEL)
    rules.tick()
    rules.answer_step()
    rules.sign_record()
    assert "nothing was captured" in orders.refund_refusal(rules.state, events.RefundOrdered(past(rules).hold, 1, "t", "r"))


def manual_capture() -> tuple[Rules, str]:
    """A capture that nobody answered until its deadline."""
    rules = Rules(stage.configuration(settle_deadline_s=60))
    rules.to_sealing(100)
    rules.sign_record()
    rules.tick()
    key = rules.take(actions.Capture).step.key
    rules.clock.advance(70_000)
    hold_id = next(iter(rules.state.settlements))
    rules.feed(events.SettlementAnswered(hold_id, key, OutcomeUnknown("silence")))
    while rules.state.settlements:
        rules.tick(5)
        if rules.has(actions.Capture):
            rules.answer_step(OutcomeUnknown("silence"))
        if rules.has(actions.SignRecord):
            rules.sign_record()
    assert past(rules).how is f.Terminated.MANUAL
    return rules, key


def order(rules: Rules, act: str) -> events.SettlementOrdered:
    found = past(rules)
    step = found.undecided if act == "retry" or found.kind == "void" else None
    return events.SettlementOrdered(
        found.hold.hold.hold_id, act, "technician", "line mended", found.hold, step, found.kind if step else ""
    )


def test_a_capture_that_became_manual_is_tried_again_with_the_same_key() -> None:
    rules, key = manual_capture()
    assert orders.refusal(rules.state, order(rules, "retry")) == ""
    rules.feed(order(rules, "retry"))
    rules.tick()
    asked = rules.take(actions.Capture)
    assert asked.step.key == key and asked.step.attempt > 1, "a repetition, for it was sent before"
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, key, Approved(asked.step.amount_minor, {})))
    rules.sign_record()
    assert past(rules).how is f.Terminated.CAPTURED and past(rules).hold.captured_minor == asked.step.amount_minor
    assert len(rules.jws) == 3 and "nothing to do" in orders.refusal(
        rules.state, events.SettlementOrdered(asked.hold.hold_id, "retry", "t", "r")
    )


def test_a_manual_hold_may_be_released_unless_money_was_taken() -> None:
    rules, _ = manual_capture()
    rules.feed(order(rules, "release"))
    rules.tick(60)
    assert rules.take(actions.Void).hold.hold_id == past(rules).hold.hold.hold_id
    other = captured()
    found = past(other)
    asked = events.SettlementOrdered(found.hold.hold.hold_id, "release", "t", "r", found.hold)
    assert "refund it instead" in orders.refusal(other.state, asked)


def test_a_release_never_overtakes_a_capture_that_may_be_on_its_way() -> None:
    """The capture became manual a moment ago; an attempt that nobody waits for any more may still reach the bank."""
    rules, _ = manual_capture()
    rules.feed(order(rules, "release"))
    (hold_id,) = rules.state.settlements
    rules.feed(events.SettlementOrdered(hold_id, "retry", "technician", "at once"))
    rules.tick(20)
    rules.boot()
    rules.tick(20)
    assert not rules.has(actions.Void)
    rules.tick(20)
    assert rules.take(actions.Void).hold.hold_id == hold_id


def test_a_person_does_not_wait_for_the_pause() -> None:
    rules = Rules()
    rules.to_sealing(100)
    rules.sign_record()
    rules.tick()
    rules.answer_step(OutcomeUnknown("silence"))
    rules.tick(2)
    assert not rules.has(actions.Capture)
    hold_id = next(iter(rules.state.settlements))
    retry = events.SettlementOrdered(hold_id, "retry", "technician", "line mended")
    assert orders.refusal(rules.state, retry) == ""
    rules.feed(retry)
    assert rules.has(actions.Capture)


def test_a_hold_that_pays_for_a_running_charge_is_not_released() -> None:
    rules = Rules()
    rules.to_charging()
    hold_id = next(iter(rules.state.settlements))
    assert "stop that first" in orders.refusal(rules.state, events.SettlementOrdered(hold_id, "release", "t", "r"))


# --- from the phone ------------------------------------------------------------------------------------------------------


def test_a_charge_started_from_the_phone_uses_the_hold_the_office_placed() -> None:
    rules = Rules(stage.configuration(gateways={"accounts": stage.ACCOUNTS}))
    rules.to_offer()
    rules.evse(Pilot.B)
    rules.feed(events.StartCommanded(1, "accounts", "office-key", "AH-1", 2500, "fleet 7", "office"))
    session = rules.state.sessions[1]
    assert session.origin == "app" and session.phase is Phase.STARTING and not rules.has(actions.Authorize)
    (held,) = rules.state.settlements.values()
    assert (held.hold.key, held.hold.trace["hold"], held.approved_minor) == ("office-key", "AH-1", 2500)
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(50)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.finish()
    assert not rules.state.settlements and rules.count(f.HoldEnded) == 1


def test_nobody_plugs_in_what_the_phone_started() -> None:
    rules = Rules(stage.configuration(gateways={"accounts": stage.ACCOUNTS}))
    rules.to_offer()
    rules.feed(events.StartCommanded(1, "accounts", "office-key", "AH-1", 2500, "fleet 7", "office"))
    rules.tick(121)
    rules.tick()
    assert rules.take(actions.Void).hold.key == "office-key"


def test_the_screen_that_keeps_a_hold_takes_the_same_card_at_once() -> None:
    rules = failed_start()
    rules.evse(Pilot.A)
    rules.show()
    rules.tap(tap=2)
    assert isinstance(rules.view, s.PlugIn) and rules.view.reused and not rules.has(actions.Authorize)


def test_what_is_owed_is_not_said_to_be_held() -> None:
    rules = alone()
    rules.tap(authenticated=True)
    assert isinstance(rules.view, s.BankWait) and rules.view.offline
    unreachable(rules)
    rules.evse(Pilot.B)
    rules.answer_register()
    assert isinstance(rules.view, s.Charging) and rules.view.owed and rules.view.hold_minor == 3000


def test_what_was_delivered_beyond_the_hold_is_a_loss_of_its_own() -> None:
    """The meter was silent for nearly as long as it may be, at full power, just before the limit."""
    rules = Rules(stage.configuration(hold_minor=500, min_useful_hold_minor=100, max_power_w=150_000))
    rules.to_charging()
    rules.charge(180, power_w=148_000)
    rules.clock.advance(50_000)
    rules.register_wh[1] += 2_000
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.meter()
    assert rules.phase is Phase.STOPPING
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    (bill,) = (one for one in rules.facts if isinstance(one, f.BillFrozen))
    (lost,) = (one for one in rules.facts if isinstance(one, f.ShortfallBooked))
    assert bill.capture_minor == 500 and lost.amount_minor == bill.total_minor - 500 == bill.shortfall_minor > 0


def test_only_the_same_card_is_taken_by_the_screen_that_asks_for_it() -> None:
    rules = failed_start()
    rules.evse(Pilot.A)
    rules.show()
    rules.tap(number=2, tap=2)
    assert not rules.has(actions.Authorize) and not rules.state.sessions and isinstance(rules.view, s.Offer)


def test_the_screen_says_that_a_hold_is_kept_only_while_it_is() -> None:
    rules = failed_start()
    hold_id = next(iter(rules.state.settlements))
    rules.feed(events.SettlementOrdered(hold_id, "release", "technician", "test"))
    rules.tick()
    assert not isinstance(rules.view, s.DeclinedView)


def test_a_release_that_found_the_money_taken_leads_back_to_the_capture_and_its_refund() -> None:
    rules, key = manual_capture()
    rules.feed(order(rules, "release"))
    rules.tick(60)
    rules.answer_step(Declined(DeclineReason.ALREADY_DONE, "12"))
    rules.sign_record()
    found = past(rules)
    assert found.undecided_kind == "capture" and found.undecided is not None and found.undecided.key == key
    rules.feed(
        events.SettlementOrdered(found.hold.hold.hold_id, "retry", "t", "r", found.hold, found.undecided, found.undecided_kind)
    )
    rules.tick()
    asked = rules.take(actions.Capture)
    assert asked.step.key == key
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, key, Approved(asked.step.amount_minor, {})))
    rules.sign_record()
    refund(rules, 1)


def test_what_the_gateway_said_it_took_is_not_forgotten() -> None:
    rules = Rules()
    rules.to_sealing(100)
    rules.sign_record()
    rules.tick()
    rules.answer_step(Approved(29, {}))
    rules.sign_record()
    assert past(rules).how is f.Terminated.MANUAL and past(rules).hold.captured_minor == 29
    rules.feed(order(rules, "retry"))
    rules.clock.utc_ms += 8 * 86_400_000
    while not rules.has(actions.SignRecord):
        rules.tick(60)
        if rules.has(actions.Capture):
            rules.answer_step(OutcomeUnknown("silence"))
    rules.sign_record()
    assert past(rules).how is f.Terminated.MANUAL and past(rules).hold.captured_minor == 29
    refund(rules, 29)


def test_two_orders_about_one_hold_do_not_meet() -> None:
    rules, _ = manual_capture()
    release, retry = order(rules, "release"), order(rules, "retry")
    rules.feed(release)
    assert "under way" in orders.refusal(rules.state, retry)


def test_a_debt_counts_until_it_is_paid_also_when_a_person_must_look() -> None:
    rules = alone(card_minor=3000, terminal_minor=3000)
    tap_alone(rules)
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(1500)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    rules.tick()
    rules.answer_step(Declined(DeclineReason.GATEWAY_REFUSED, "x"))
    rules.sign_record()
    assert not rules.state.settlements
    (debt,) = rules.state.debts
    rules.touch(s.Button.DONE)
    rules.to_offer()
    tap_alone(rules, number=2, tap=2)
    assert next(iter(rules.state.settlements.values())).approved_minor == 3000 - debt.amount_minor
    leave(rules)
    first = next(one.hold.hold_id for one in rules.facts if isinstance(one, f.AuthorizationIntended))
    found = past_of(first, rules.facts)
    assert found is not None and "retry" in orders.refusal(
        rules.state, events.SettlementOrdered(first, "release", "t", "r", found.hold, None, "capture")
    )
    rules.feed(events.SettlementOrdered(first, "retry", "t", "r", found.hold, found.undecided, found.undecided_kind))
    rules.tick()
    rules.answer_step()
    rules.sign_record()
    assert not rules.state.debts
