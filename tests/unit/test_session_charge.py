"""One driver's charge through the rules: what is committed, what is asked, what the driver sees."""

import pytest

from terminal_app import screens as s
from terminal_app.billing import record
from terminal_app.session import actions, events, machine
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, SettlementPhase
from terminal_app.values import (
    Approved,
    Declined,
    DeclineReason,
    Device,
    Fault,
    OutcomeUnknown,
    Pilot,
)
from tests.simulation import stage
from tests.simulation.rules import IDENTITY, Rules


def contactor(rules: Rules, connector: int = 1) -> bool:
    return machine.evse_wishes(rules.state, rules.terms())[connector].authorized


def test_a_whole_charge_ends_with_two_records_and_the_exact_capture() -> None:
    rules = Rules()
    rules.to_sealing(seconds=100)
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert bill.energy_wh == 500 and bill.total_minor == 30  # 0.5 kWh at 0.59: 0.295, half up
    rules.sign_record()
    assert isinstance(rules.view, s.Receipt) and rules.view.money is s.MoneyWords.SETTLING
    rules.tick()
    captured = rules.take(actions.Capture)
    assert captured.step.amount_minor == 30
    rules.feed(events.SettlementAnswered(captured.hold.hold_id, captured.step.key, Approved(30, {})))
    rules.sign_record()
    key = stage.record_key()
    head = record.verify_chain(enumerate(rules.jws, 1), {key.key_id: key.spki}.get)
    assert head.seq == 2
    assert not rules.state.sessions and not rules.state.settlements and rules.state.seal is None
    assert isinstance(rules.view, s.Receipt) and rules.view.money is s.MoneyWords.CAPTURED
    assert rules.view.total_minor == 30 and rules.view.meter_stop_wh - rules.view.meter_start_wh == 500


def test_a_tap_before_the_price_was_shown_asks_nobody() -> None:
    rules = Rules()
    rules.evse(Pilot.A)
    rules.meter()
    assert isinstance(rules.view, s.Offer) and not rules.view.card_ready
    assert machine.reader_wish(rules.state) is None
    rules.tap()
    assert rules.phase is Phase.NONE and not rules.has(actions.Authorize)
    rules.feed(events.FrameShown(rules.screen_no - 1))  # an older frame
    rules.tap()
    assert not rules.has(actions.Authorize)
    rules.show()
    assert isinstance(rules.view, s.Offer) and rules.view.card_ready
    rules.tap()
    assert rules.has(actions.Authorize)


def test_an_offer_that_comes_back_must_be_shown_again() -> None:
    rules = Rules()
    rules.to_offer()
    fault = Fault(Device.METER, 1, "timeout")
    rules.feed(events.FaultSeen(fault, True))
    assert isinstance(rules.view, s.NotForSale)
    rules.feed(events.FaultSeen(fault, False))
    assert isinstance(rules.view, s.Offer)
    assert machine.reader_wish(rules.state) is None, "armed although the glass may still show another screen"
    rules.tap()
    assert not rules.has(actions.Authorize)
    rules.show()
    rules.tap()
    assert rules.has(actions.Authorize)


def test_when_nobody_draws_any_more_the_price_is_not_on_the_glass() -> None:
    rules = Rules()
    rules.to_offer()
    rules.feed(events.FrameShown(0))
    assert machine.reader_wish(rules.state) is None
    rules.tap()
    assert not rules.has(actions.Authorize)
    rules.show()
    rules.tap()
    assert rules.has(actions.Authorize)


def test_one_card_reading_asks_the_bank_once() -> None:
    rules = Rules()
    rules.to_offer()
    wish = machine.reader_wish(rules.state)
    assert wish is not None
    for _ in range(3):
        rules.feed(events.CardRead(wish.arm_no, True, stage.card(wish.request)))
    assert sum(isinstance(one, actions.Authorize) for one in rules.todo) == 1
    assert rules.count(f.AuthorizationIntended) == 1


def test_a_card_that_is_not_used_is_wiped() -> None:
    rules = Rules()
    rules.to_offer()
    wish = machine.reader_wish(rules.state)
    assert wish is not None
    card = stage.card(wish.request)
    rules.feed(events.CardRead(wish.arm_no - 1, True, card))
    assert not any(card.track2) and not any(card.emv)


def test_no_tariff_is_not_for_sale() -> None:
    rules = Rules(tariffs={})
    rules.to_offer()
    assert isinstance(rules.view, s.NotForSale) and rules.view.reason is s.NotForSaleReason.NO_TARIFF
    rules.tap()
    rules.touch(s.Button.START)
    assert rules.phase is Phase.NONE and not rules.todo


def test_an_explicit_zero_tariff_needs_no_payment_at_all() -> None:
    rules = Rules(tariffs={1: stage.tariff("free")})
    rules.to_offer()
    assert machine.reader_wish(rules.state) is None
    rules.tap()
    assert rules.phase is Phase.NONE
    rules.touch(s.Button.START)
    assert rules.phase is Phase.AUTHORIZED
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.clock.advance(500)
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(20)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    assert isinstance(rules.view, s.Receipt) and rules.view.money is s.MoneyWords.FREE and rules.view.energy_wh == 100
    assert rules.count(f.AuthorizationIntended) == 0 and not rules.state.settlements
    assert not any(isinstance(one, actions.Authorize | actions.Capture | actions.Void) for one in rules.todo)


def test_start_on_a_paid_offer_starts_nothing() -> None:
    rules = Rules()
    rules.to_offer()
    rules.touch(s.Button.START)
    assert rules.phase is Phase.NONE


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Declined(DeclineReason.INSUFFICIENT_FUNDS, "51"), s.DeclineWords.INSUFFICIENT_FUNDS),
        (Declined(DeclineReason.UNREACHABLE), s.DeclineWords.BANK_UNREACHABLE),
    ],
)
def test_a_declined_card_holds_nothing_and_says_why(outcome: Declined, words: s.DeclineWords) -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(outcome)
    assert rules.phase is Phase.NONE and not rules.state.settlements
    assert isinstance(rules.view, s.DeclinedView) and rules.view.reason is words and rules.view.held_minor == 0
    rules.tick(13)
    assert isinstance(rules.view, s.Offer)


def test_an_unknown_outcome_is_reversed_until_answered() -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(OutcomeUnknown("timeout"))
    assert rules.phase is Phase.NONE
    assert isinstance(rules.view, s.DeclinedView) and rules.view.held_minor == 5000
    keys = set()
    for _ in range(4):
        rules.tick(1)
        while not rules.has(actions.Void):
            rules.tick(5)
        keys.add(rules.todo[-1].step.key)
        rules.answer_step(OutcomeUnknown("still nothing"))
    assert len(keys) == 1
    while not rules.has(actions.Void):
        rules.tick(30)
    rules.answer_step()
    (one,) = rules.state.settlements.values()
    assert one.phase is SettlementPhase.ENDED and one.how is f.Terminated.VOIDED
    rules.sign_record()
    assert not rules.state.settlements


def test_no_answer_in_time_is_unknown_and_the_late_approval_changes_nothing() -> None:
    rules = Rules()
    rules.to_authorizing()
    asked = rules.take(actions.Authorize)
    rules.tick(19)
    assert isinstance(rules.view, s.DeclinedView) and rules.view.reason is s.DeclineWords.BANK_SILENT
    rules.feed(events.AuthorizationAnswered(asked.hold.hold_id, Approved(5000, {})))
    assert rules.phase is Phase.NONE
    assert [one.phase for one in rules.state.settlements.values()] == [SettlementPhase.VOIDING]
    assert rules.has(actions.Void)


@pytest.mark.parametrize("approved", [1, 499])
def test_a_partial_approval_below_use_is_released_at_once(approved: int) -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(Approved(approved, {}))
    assert rules.phase is Phase.NONE and rules.count(f.VoidIntended) == 1
    rules.tick()
    assert rules.take(actions.Void).step.amount_minor == approved


def test_an_approval_above_what_was_asked_is_no_answer() -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(Approved(5001, {}))
    assert rules.phase is Phase.NONE and rules.count(f.AuthorizationApproved) == 0 and rules.count(f.VoidIntended) == 1


def test_the_contactor_is_wished_only_after_the_start_register_is_committed() -> None:
    rules = Rules()
    rules.to_starting()
    assert not contactor(rules)
    rules.answer_register()
    assert rules.count(f.StartRegistered) == 1 and contactor(rules)


def test_nobody_plugs_in_and_the_hold_is_released() -> None:
    rules = Rules()
    rules.to_authorized()
    rules.tick(121)
    assert rules.phase is Phase.NONE and rules.has(actions.Void)
    assert next(one for one in rules.facts if isinstance(one, f.SessionAborted)).reason is f.StopReason.NOT_PLUGGED


def test_cancel_releases_the_hold() -> None:
    rules = Rules()
    rules.to_authorized()
    rules.touch(s.Button.CANCEL)
    assert rules.phase is Phase.NONE and rules.count(f.VoidIntended) == 1


def test_a_meter_that_disagrees_with_itself_starts_nothing() -> None:
    rules = Rules()
    rules.to_starting()
    for _ in range(3):
        rules.answer_register(1_000_000, 3_000_000)
        rules.tick(2)
    assert rules.phase is Phase.NONE and rules.count(f.StartRegistered) == 0
    assert isinstance(rules.view, s.DeclinedView) and rules.view.reason is s.DeclineWords.HOLD_KEPT
    rules.tick(120)
    assert rules.count(f.VoidIntended) == 1


def test_a_meter_not_ready_at_the_start_does_not_make_its_lifetime_the_bill() -> None:
    rules = Rules()
    rules.to_starting()
    rules.answer_register(0, 0)  # the register said 1 000 000 a moment ago
    assert rules.phase is Phase.STARTING and rules.count(f.StartRegistered) == 0


@pytest.mark.parametrize("new_boot", [False, True], ids=["killed", "power cut"])
def test_a_start_at_zero_and_a_restart_do_not_make_the_lifetime_the_bill(new_boot: bool) -> None:
    """The meter said zero until the start was committed, then the machine restarted and the meter told its lifetime."""
    rules = Rules(stage.configuration(meter_return_s=60))
    lifetime_wh, rules.register_wh[1] = rules.register_wh[1], 0
    rules.to_charging()
    rules.register_wh[1] = lifetime_wh
    rules.boot(new_boot=new_boot)
    rules.tick()
    rules.open_contactor()
    for _ in range(40):
        if rules.has(actions.ReadRegister):
            rules.answer_register()
        rules.tick(5)
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert bill.energy_wh == 0 and bill.stop_source == "checkpoint" and rules.count(f.VoidIntended) == 1


def test_a_register_below_the_last_bill_is_not_for_sale_until_it_is_back() -> None:
    rules = Rules()
    rules.to_sealing()
    rules.finish()
    rules.touch(s.Button.DONE)
    rules.boot(new_boot=True)
    rules.evse(Pilot.A)
    rules.meter(0)  # awake, but not ready
    assert isinstance(rules.view, s.NotForSale) and rules.view.reason is s.NotForSaleReason.METER
    rules.meter()
    rules.show()
    rules.tap(tap=2)
    rules.answer_bank()
    rules.evse(Pilot.B)
    rules.answer_register(100, 100)
    assert rules.phase is Phase.STARTING and rules.count(f.StartRegistered) == 1
    rules.tick(2)
    rules.answer_register()
    assert rules.phase is Phase.CHARGING


def test_a_start_reading_from_before_a_replug_counts_neither_as_start_nor_as_stop() -> None:
    """The plug was pulled and put back while the register was read: that answer is too old for the start, and if it comes
    after a quick stop it must not pass for the stop's, for it was taken before the contactor opened."""
    rules = Rules()
    rules.to_starting()
    first, old = rules.take(actions.ReadRegister), rules.value()
    rules.evse(Pilot.A)
    rules.evse(Pilot.B)
    assert not rules.has(actions.ReadRegister), "one outstanding reading at a time"
    rules.feed(events.RegisterRead(1, first.session_id, "start", old, old, IDENTITY))
    assert rules.phase is Phase.STARTING and rules.count(f.StartRegistered) == 0
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.touch(s.Button.STOP)
    assert rules.phase is Phase.STOPPING
    rules.feed(events.RegisterRead(1, first.session_id, "start", rules.value(), rules.value(), IDENTITY))
    assert rules.phase is Phase.STOPPING, "a reading taken before the contactor opened became the end of the bill"
    rules.feed(events.RegisterUnreadable(1, first.session_id, "start", "late"))
    assert rules.phase is Phase.STOPPING


@pytest.mark.parametrize("glitch_wh", [0, 999_999, 4_000_000_000])
def test_a_glitch_of_the_register_is_never_the_new_base(glitch_wh: int) -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(10)
    rules.meter(glitch_wh)
    assert isinstance(rules.view, s.Charging) and rules.view.energy_wh == 50
    rules.charge(10)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    assert next(one for one in rules.facts if isinstance(one, f.BillFrozen)).energy_wh == 100


def test_meter_lost_stops_after_a_minute_and_nothing_is_invented() -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(20)
    for _ in range(61):
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.feed(events.Ticked())
    assert rules.phase is Phase.STOPPING and not contactor(rules)
    stopped = next(one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stopped.reason is f.StopReason.FAULT and stopped.interrupted
    rules.open_contactor()
    for _ in range(3):
        rules.fail_register()
        rules.tick(6)
    assert rules.phase is Phase.STOPPING, "waited for, not guessed"
    rules.register_wh[1] += 305  # what flowed until the contactor opened
    rules.answer_register()
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert bill.energy_wh == 405 and bill.stop_source == "meter"


def test_a_meter_that_never_comes_back_ends_the_bill_at_the_last_committed_reading() -> None:
    rules = Rules(stage.configuration(checkpoint_s=30, meter_return_s=600))
    rules.to_charging()
    rules.charge(45)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    for _ in range(130):
        if rules.has(actions.ReadRegister):
            rules.fail_register()
        rules.tick(5)
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    checkpoint = [one for one in rules.facts if isinstance(one, f.EnergyCheckpoint)][-1]
    assert bill.stop_source == "checkpoint" and bill.stop == checkpoint.value and 0 < bill.energy_wh <= 225


def test_a_long_power_cut_while_stopping_gives_the_meter_time_to_wake_up() -> None:
    rules = Rules()
    rules.to_stopping()
    rules.clock.utc_ms += 13 * 3_600_000
    rules.boot(new_boot=True)
    rules.tick()
    rules.open_contactor()
    rules.fail_register()
    assert rules.phase is Phase.STOPPING, "one failed reading after a long night is not a lost meter"
    rules.tick(6)
    rules.answer_register()
    rules.sign_ocmf()
    assert next(one for one in rules.facts if isinstance(one, f.BillFrozen)).stop_source == "meter"


def test_another_meter_than_at_the_start_is_not_billed() -> None:
    rules = Rules()
    rules.to_stopping()
    rules.open_contactor()
    asked = rules.take(actions.ReadRegister)
    other = rules.value(serial="99999999")
    rules.feed(events.RegisterRead(1, asked.session_id, "stop", other, other, IDENTITY))
    assert rules.phase is Phase.STOPPING


def test_the_stop_register_is_never_below_what_the_driver_saw() -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(20)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    for _ in range(6):
        rules.answer_register(rules.register_wh[1] - 60)  # above the committed start, below the last accepted reading
        assert rules.phase is Phase.STOPPING
        rules.tick(6)
    rules.answer_register(rules.register_wh[1] - 60)  # it stays like this: one reading of telemetry was the glitch
    assert rules.phase is Phase.SIGNING


def test_the_charge_stops_before_the_hold_is_used_up() -> None:
    rules = Rules(stage.configuration(max_power_w=150_000))
    rules.to_charging()
    seconds = 0
    while rules.phase is Phase.CHARGING and seconds < 3600:
        rules.charge(1, power_w=144_000)
        seconds += 1
    stopped = next(one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stopped.reason is f.StopReason.HOLD_LIMIT
    rules.clock.advance(4_500)
    rules.register_wh[1] += 5 * 40  # until the contactor is open
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert bill.shortfall_minor == 0 and 4900 < bill.total_minor <= 5000


def test_the_card_that_pays_ends_the_charge_and_no_other_does() -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(7)
    wish = machine.reader_wish(rules.state)
    assert wish is not None and not wish.request.pay
    rules.tap(number=2)
    assert rules.phase is Phase.CHARGING
    rules.tap(number=1)
    assert rules.phase is Phase.STOPPING
    assert next(one for one in rules.facts if isinstance(one, f.StopIntended)).reason is f.StopReason.SAME_CARD
    assert rules.count(f.AuthorizationIntended) == 1


def test_unplugging_ends_the_charge() -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(5)
    rules.evse(Pilot.A)
    assert rules.phase is Phase.STOPPING
    assert next(one for one in rules.facts if isinstance(one, f.StopIntended)).reason is f.StopReason.UNPLUGGED


def test_a_controller_that_restarted_ends_the_charge_with_the_truth() -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(5)
    rules.evse(Pilot.B, relay=False, authorized=False)
    stopped = next(one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stopped.reason is f.StopReason.FAULT and stopped.interrupted


def test_a_car_that_never_asks_is_not_waited_for_for_ever() -> None:
    rules = Rules(stage.configuration(car_start_window_s=10))
    rules.to_starting()
    rules.answer_register()
    for _ in range(12):
        rules.clock.advance(1000)
        rules.evse(Pilot.B, authorized=True)
        rules.meter()
    assert rules.phase is Phase.STOPPING
    assert next(one for one in rules.facts if isinstance(one, f.StopIntended)).reason is f.StopReason.CAR_FINISHED


def test_no_energy_no_bill_and_the_hold_is_released() -> None:
    rules = Rules(tariffs={1: stage.tariff("mixed")})
    rules.to_starting()
    rules.answer_register()
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert (bill.energy_wh, bill.total_minor, bill.capture_minor) == (0, 0, 0)
    assert rules.count(f.CaptureIntended) == 0 and rules.count(f.VoidIntended) == 1
    rules.finish()
    assert not rules.state.settlements


def test_the_stop_register_waits_until_the_controller_has_let_go() -> None:
    """A car that pauses opens the relay too; the register counts only when nothing can flow any more."""
    rules = Rules()
    rules.to_charging()
    rules.charge(5)
    rules.touch(s.Button.STOP)
    rules.clock.advance(100)
    rules.evse(Pilot.B, relay=False, authorized=True)
    rules.tick()
    assert not rules.has(actions.ReadRegister), "the controller still allows energy"
    rules.evse(Pilot.B, relay=False, authorized=False)
    assert rules.has(actions.ReadRegister)


def test_a_welded_contactor_is_a_fault_and_the_connector_is_not_for_sale_until_it_opens() -> None:
    rules = Rules()
    rules.to_stopping()
    for _ in range(32):
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=False)
        rules.feed(events.Ticked())
    assert rules.has(actions.ReadRegister) and rules.count(f.FaultRaised) == 1
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    rules.touch(s.Button.DONE)
    assert isinstance(rules.view, s.NotForSale)
    rules.boot()
    rules.meter()
    rules.evse(Pilot.C, relay=True, authorized=False)
    assert isinstance(rules.view, s.NotForSale), "closed without a session: nothing may be sold on it"
    rules.evse(Pilot.A)
    assert isinstance(rules.view, s.Offer)


def test_a_controller_in_trouble_is_not_for_sale() -> None:
    rules = Rules()
    rules.to_offer()
    rules.evse(Pilot.E)
    assert isinstance(rules.view, s.NotForSale)
    rules.evse(Pilot.A, fault="gfci")
    assert isinstance(rules.view, s.NotForSale)
    rules.evse(Pilot.A)
    assert isinstance(rules.view, s.Offer)


def test_an_ocmf_that_does_not_verify_is_not_billed() -> None:
    rules = Rules()
    rules.to_signing()
    asked = rules.take(actions.SignOcmf)
    rules.feed(events.OcmfSigned(asked.session_id, bytes(63) + b"\1"))
    assert rules.phase is Phase.SIGNING and rules.count(f.BillFrozen) == 0 and rules.count(f.FaultRaised) == 1
    rules.tick(11)
    rules.sign_ocmf()
    assert rules.phase is Phase.SEALING and rules.count(f.FaultCleared) == 1


def test_a_stop_by_order_keeps_who_and_why() -> None:
    rules = Rules()
    rules.to_charging()
    rules.feed(events.StopCommanded(1, f.StopReason.REMOTE, "technician", "cable hot"))
    stopped = next(one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stopped.reason is f.StopReason.REMOTE and "technician" in stopped.detail and "cable hot" in stopped.detail


# --- restart in every phase ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new_boot", [False, True], ids=["killed", "power cut"])
def test_restart_while_the_bank_is_asked_reverses(new_boot: bool) -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.boot(new_boot=new_boot)
    assert rules.phase is Phase.NONE and rules.count(f.VoidIntended) == 1 and not rules.has(actions.Authorize)
    rules.tick()
    rules.answer_step()
    rules.sign_record()
    assert not rules.state.settlements


def test_restart_while_waiting_for_the_plug_goes_on_and_a_power_cut_releases() -> None:
    rules = Rules()
    rules.to_authorized()
    rules.boot()
    assert rules.phase is Phase.AUTHORIZED
    rules.meter()
    rules.evse(Pilot.B)
    assert rules.phase is Phase.STARTING
    rules.boot(new_boot=True)
    assert rules.phase is Phase.NONE and rules.count(f.VoidIntended) == 1


@pytest.mark.parametrize("new_boot", [False, True], ids=["killed", "power cut"])
def test_restart_while_charging_ends_with_the_register(new_boot: bool) -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(100)
    rules.boot(new_boot=new_boot)
    assert rules.phase is Phase.STOPPING and not contactor(rules)
    rules.register_wh[1] += 7  # flowed before the contactor opened
    rules.tick()
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert bill.energy_wh == 507
    rules.finish()
    assert len(rules.jws) == 2 and isinstance(rules.view, s.Receipt) and rules.view.interrupted


@pytest.mark.parametrize("phase", ["stopping", "signing", "sealing"])
@pytest.mark.parametrize("new_boot", [False, True], ids=["killed", "power cut"])
def test_restart_after_the_stop_ends_once(phase: str, new_boot: bool) -> None:
    rules = Rules()
    getattr(rules, f"to_{phase}")()
    before = rules.count(f.BillFrozen)
    rules.boot(new_boot=new_boot)
    if phase != "sealing":
        rules.tick()
        rules.open_contactor()
        rules.answer_register()
        rules.sign_ocmf()
    rules.finish()
    assert rules.count(f.BillFrozen) == 1 and before == (phase == "sealing")
    assert rules.count(f.CaptureIntended) == 1 and len(rules.jws) == 2 and not rules.state.settlements
