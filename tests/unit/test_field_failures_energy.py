"""What went wrong with energy for others, each row a test that names where it was reported. Price and record alone stand in
`test_billing_field_failures.py`; whole charges with lying meters in `tests/simulation/test_energy.py`."""

import pytest

from terminal_app import screens as s
from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.session import actions, events, gate, register
from terminal_app.session import facts as f
from terminal_app.session.register import Kind
from terminal_app.session.state import Phase
from terminal_app.values import Device, MeterValue, Pilot, Stamp
from tests.simulation import stage
from tests.simulation.rules import IDENTITY, SERIAL, Rules
from tests.unit.billing_samples import BERLIN, component, element, tariff

MAX_W = 22_000


def reading(wh: int, second: int, serial: str = SERIAL, power_w: int = 11_000) -> MeterValue:
    return MeterValue(wh, power_w, serial, Stamp(stage.T0_UTC_MS + second * 1000, second * 1000, "boot-1"))


def bill_of(rules: Rules) -> f.BillFrozen:
    return [one for one in rules.facts if isinstance(one, f.BillFrozen)][-1]


def to_bill(rules: Rules) -> f.BillFrozen:
    """From a running charge to its frozen bill."""
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    return bill_of(rules)


# --- the meter at the start ------------------------------------------------------------------------------------------


def test_a_meter_that_is_not_ready_never_makes_its_lifetime_the_energy_of_a_session() -> None:
    """evcc #29654, #29374, PR #29656, #12844; SmartEVSE #62: 0 before it is ready, then the lifetime register."""
    rules = Rules()
    rules.register_wh[1], lifetime_wh = 0, 1_000_000
    rules.to_charging()
    rules.register_wh[1] = lifetime_wh
    for _ in range(2):
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter()
    assert rules.phase is Phase.STOPPING, "a register that jumps by its lifetime cannot be billed by"
    (fault,) = rules.state.faults.values()
    assert fault.kind == Kind.JUMP.value
    rules.open_contactor()
    for _ in range(150):
        if rules.has(actions.ReadRegister):
            rules.answer_register()
        rules.tick(5)
        if rules.has(actions.SignOcmf):
            break
    rules.sign_ocmf()
    assert bill_of(rules).energy_wh == 0 and bill_of(rules).stop_why == "changed"
    assert rules.count(f.VoidIntended) == 1, "what is held goes back"


def test_session_energy_is_end_minus_begin_and_below_power_times_time() -> None:
    """evcc #18073 (4 million kWh), #13390; MaEVe tariff.go."""
    rules = Rules()
    rules.to_charging()
    rules.charge(60)
    start = next(one for one in rules.facts if isinstance(one, f.StartRegistered))
    rules.meter(4_000_000_000_000)
    bill = to_bill(rules)
    assert bill.energy_wh == bill.stop.energy_wh - start.second.energy_wh == 300
    assert bill.energy_wh <= MAX_W * 62 // 3600 + gate.SLACK_WH


# --- a session is one session ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("new_boot", [False, True], ids=["killed", "power cut"])
def test_a_restart_in_the_middle_is_one_session_with_the_truth_and_says_so(new_boot: bool) -> None:
    """evcc #5696, #13640, #20384, #6569, #8788; OpenEVSE #710, #787; MicroOcpp #174, #227; EVerest #1515; libocpp #475/#480."""
    rules = Rules()
    rules.to_charging()
    rules.charge(20)
    rules.boot(new_boot=new_boot)
    rules.register_wh[1] += 3  # until the controller let go
    rules.tick()
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    bill = bill_of(rules)
    assert bill.energy_wh == 103 and rules.count(f.SessionOpened) == rules.count(f.BillFrozen) == 1
    rules.sign_record()
    assert isinstance(rules.view, s.Receipt) and rules.view.interrupted


def test_the_same_card_ends_a_session_and_the_next_one_does_not_overlap() -> None:
    """evcc #25956: pause and resume by card are two sessions, and no Wh is in both."""
    rules = Rules()
    rules.to_charging()
    rules.charge(10)
    rules.tap(number=1)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.finish()
    rules.touch(s.Button.DONE)
    rules.evse(Pilot.B)
    rules.meter()
    rules.show()
    rules.tap(number=1, tap=2)
    rules.answer_bank()
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(10)
    to_bill(rules)
    starts = [one.second.energy_wh for one in rules.facts if isinstance(one, f.StartRegistered)]
    bills = [one for one in rules.facts if isinstance(one, f.BillFrozen)]
    assert [one.energy_wh for one in bills] == [50, 50] and starts[1] >= bills[0].stop.energy_wh


def test_a_car_that_pauses_does_not_end_the_charge() -> None:
    """EVerest payment terminal module: an idle status must not finalise early."""
    rules = Rules()
    rules.to_charging()
    rules.charge(10)
    rules.power_w = 0
    for _ in range(300):
        rules.clock.advance(1000)
        rules.evse(Pilot.B, relay=False, authorized=True)
        rules.meter()
        rules.feed(events.Ticked())
    assert rules.phase is Phase.CHARGING and isinstance(rules.view, s.Charging)
    assert rules.view.phase is s.ChargePhase.CAR_PAUSED


def test_a_session_of_more_than_ten_days_is_billed_like_any_other() -> None:
    """SmartEVSE-3 #145."""
    rules = Rules()
    rules.to_charging()
    for _ in range(11 * 6):  # a look every four hours
        rules.clock.advance(4 * 3_600_000)
        rules.register_wh[1] += 5
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter()
    bill = to_bill(rules)
    assert bill.energy_wh == 5 * 11 * 6 and bill.charging_ms > 10 * 86_400_000


# --- readings --------------------------------------------------------------------------------------------------------


def test_a_missing_reading_is_never_invented() -> None:
    """Eichrecht DE-4; evcc ClosePendingSessions; WARP repair_logic: what nobody read is not billed."""
    rules = Rules(stage.configuration(meter_return_s=60))
    rules.to_charging()
    rules.charge(30)
    rules.register_wh[1] += 5_000  # flows on while the meter is silent
    for _ in range(61):
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.feed(events.Ticked())
    rules.open_contactor()
    while not rules.has(actions.SignOcmf):
        if rules.has(actions.ReadRegister):
            rules.fail_register()
        rules.tick(5)
    rules.sign_ocmf()
    bill = bill_of(rules)
    assert (bill.energy_wh, bill.stop_source, bill.stop_why) == (150, "checkpoint", "not_back")
    read = [one.value for one in rules.facts if isinstance(one, f.EnergyCheckpoint)]
    assert bill.stop in read, "the end of the bill is a reading that was taken"


def test_a_frozen_register_is_a_fault_within_five_seconds() -> None:
    """EVerest PR #2673: fresh timestamps on old values."""
    rules = Rules()
    rules.to_charging()
    rules.charge(10)
    seconds = 0
    while not rules.state.faults:
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter()
        seconds += 1
    (fault,) = rules.state.faults.values()
    assert (fault.device, fault.kind) == (Device.METER, register.FROZEN) and seconds <= 5
    assert isinstance(rules.view, s.Charging) and rules.phase is Phase.CHARGING
    rules.charge(1)  # it moves again: the true difference counts, the fault is over
    assert not rules.state.faults and to_bill(rules).energy_wh == 55


@pytest.mark.parametrize(
    ("power_w", "resolution_wh", "seconds"), [(0, 1, 3_600), (3, 1, 1_200), (11_000, 100, 30), (1_400, 10, 40)]
)
def test_a_register_that_need_not_move_is_not_frozen(power_w: int, resolution_wh: int, seconds: int) -> None:
    """A car that draws nothing, hardly anything, or less than the register's steps."""
    assert not register.frozen(power_w * seconds * 1000, seconds * 1000, resolution_wh, 4_000)


@pytest.mark.parametrize("power_w", [100, 1_400, 3_700, 7_400, 11_000])
def test_a_register_that_counts_in_tens_behind_a_finer_number_is_not_frozen(power_w: int) -> None:
    """An SDM630's float32 could tell single Wh, its register need not: a battery that is nearly full is no fault."""
    rules = Rules()
    rules.power_w = power_w
    rules.to_charging()
    shown_wh, flowed_wms = rules.register_wh[1], 0
    for _ in range(400):
        rules.clock.advance(1000)
        flowed_wms += power_w * 1000
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter(shown_wh + flowed_wms // (10 * register.WMS_PER_WH) * 10)
    rules.feed(events.Ticked())
    assert rules.phase is Phase.CHARGING and not rules.count(f.FaultRaised)


def test_a_register_that_goes_backwards_or_is_reset_ends_the_charge_with_the_last_good_value() -> None:
    """snaptec #1670, #673; the EVSE-WiFi note there."""
    rules = Rules()
    rules.to_charging()
    rules.charge(30)
    rules.register_wh[1] = 40
    for _ in range(2):
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter()
    assert rules.phase is Phase.STOPPING
    stopped = next(one for one in rules.facts if isinstance(one, f.StopIntended))
    assert stopped.interrupted and "began anew: 40 Wh after 1000150 Wh" in stopped.detail
    rules.open_contactor()
    while not rules.has(actions.SignOcmf):
        if rules.has(actions.ReadRegister):
            rules.answer_register()
        rules.tick(5)
    rules.sign_ocmf()
    assert bill_of(rules).energy_wh == 150 and bill_of(rules).stop_why == "changed"


LIES = {
    "zero glitch": ([1010, 0, 1020, 1030], Kind.ZERO),
    "spike": ([1010, 55_000, 1020, 1030], Kind.JUMP),
    "backwards": ([1010, 990, 1020, 1030], Kind.BACKWARDS),
    "another scale": ([1010, 1_010_000, 1020, 1030], Kind.SCALE),
    "reset": ([1010, 3, 1020, 1030], Kind.RESET),
}


def naive_wh(values: list[int], last: int = 1000) -> int:
    """What others bill: every rise, from whatever was read before."""
    total_wh = 0
    for value in values:
        total_wh, last = total_wh + max(0, value - last), value
    return total_wh


@pytest.mark.parametrize("lie", LIES)
def test_an_outlier_is_named_and_never_the_new_base(lie: str) -> None:
    """evcc #29286, #30555, PRs #30267, #30592, #31011: a naive accumulator rebases on it."""
    values, kind = LIES[lie]
    last, found = reading(1000, 0), []
    for second, wh in enumerate(values, 1):
        one = register.judge(last, reading(wh, second * 5), MAX_W)
        found.append(one.kind)
        last = one.value if one.good else last
    assert last.energy_wh - 1000 == 30 and found == [Kind.GOOD, kind, Kind.GOOD, Kind.GOOD]
    assert naive_wh(values) > 30, "this lie catches nobody"


def test_another_meter_is_told_by_its_serial_number() -> None:
    assert register.judge(reading(1000, 0), reading(1001, 1, "99999999"), MAX_W).kind is Kind.SWAPPED


def test_a_rise_a_thousandfold_is_a_changed_scale() -> None:
    assert register.judge(reading(1_000_000, 0), reading(1_009_000, 3), MAX_W).kind is Kind.SCALE  # 9 Wh were due


def test_only_a_declared_roll_over_is_billed_across() -> None:
    before, after = reading(999_995, 0), reading(3, 4)
    found = register.judge(before, after, MAX_W, wraps_at_wh=1_000_000)
    assert found.good and found.value.energy_wh - before.energy_wh == 8
    assert register.judge(before, after, MAX_W).kind is Kind.RESET
    assert register.judge(reading(900_000, 0), after, MAX_W, wraps_at_wh=1_000_000).kind is Kind.RESET, "not near its end"


# --- price, stops ----------------------------------------------------------------------------------------------------


def test_a_late_reading_at_a_price_boundary_is_priced_at_the_cheaper_side_and_flagged() -> None:
    """openWB PR #1757, #3905; snaptec #2024; evcc #13446."""
    hourly = tariff(
        element(component("ENERGY", "0.30"), start_time="10:00", end_time="11:00"), element(component("ENERGY", "0.50"))
    )
    cost = cost_of(hourly, (ChargingPeriod(stage.T0_UTC_MS + 3_300_000, 1_000, 600_000, 0),), BERLIN)
    assert cost.total_minor == 30 and sum(line.late for line in cost.lines) > 0


def test_a_second_stop_register_is_rejected() -> None:
    """SteVe #1293: two Stop messages with different values; the first one that counted stands."""
    rules = Rules()
    rules.to_stopping()
    rules.open_contactor()
    asked = rules.take(actions.ReadRegister)
    one, other = rules.value(), rules.value(rules.register_wh[1] + 500)
    rules.feed(events.RegisterRead(1, asked.session_id, "stop", one, one, IDENTITY))
    rules.feed(events.RegisterRead(1, asked.session_id, "stop", other, other, IDENTITY))
    rules.sign_ocmf()
    assert bill_of(rules).stop.energy_wh == one.energy_wh and rules.count(f.BillFrozen) == 1


def test_the_same_start_and_stop_value_bills_nothing() -> None:
    """SteVe #1264 (told as such: `test_service_energy.py`)."""
    rules = Rules()
    rules.to_charging()
    bill = to_bill(rules)
    assert bill.energy_wh == bill.total_minor == 0 and rules.count(f.VoidIntended) == 1 and rules.count(f.CaptureIntended) == 0


def test_the_start_register_is_read_after_the_approval_and_before_the_contactor() -> None:
    """meters.md section 5, and the stop register only when the contactor is open."""
    rules = Rules()
    rules.to_authorizing()
    assert not rules.has(actions.ReadRegister)
    rules.answer_bank()
    rules.evse(Pilot.B)
    assert rules.has(actions.ReadRegister) and rules.phase is Phase.STARTING
    rules.answer_register()
    assert rules.phase is Phase.CHARGING
    rules.charge(5)
    rules.touch(s.Button.STOP)
    rules.evse(Pilot.C, relay=True, authorized=True)
    assert not rules.has(actions.ReadRegister), "energy may still flow"
    rules.open_contactor()
    assert rules.has(actions.ReadRegister)
