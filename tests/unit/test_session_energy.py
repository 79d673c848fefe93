"""The meter outside sessions: what is trusted, the weld alarm, the daily account, a meter a technician accepts; and how long a
lost one is waited for."""

import msgspec
import pytest

from terminal_app import screens as s
from terminal_app.session import actions, energy, events, machine, register, snapshot
from terminal_app.session import facts as f
from terminal_app.session.register import Kind
from terminal_app.session.state import Phase
from terminal_app.values import Approved, Device, MeterIdentity, MeterValue, Pilot, Stamp
from tests.simulation import stage
from tests.simulation.rules import SERIAL, Rules

DAY_S = 86_400


def sold_once() -> Rules:
    """A terminal that has billed 50 Wh and is for sale again."""
    rules = Rules()
    rules.power_w = 0
    rules.to_sealing()
    rules.finish()
    rules.touch(s.Button.DONE)
    rules.evse(Pilot.A)
    idle(rules)
    assert isinstance(rules.view, s.Offer)
    return rules


def idle(rules: Rules, seconds: int = 2, wh_each: int = 0, serial: str = SERIAL, relay: bool = False) -> None:
    for _ in range(seconds):
        rules.clock.advance(1000)
        rules.register_wh[1] += wh_each
        rules.evse(Pilot.A, relay=relay)
        rules.meter(serial=serial)


def kinds(rules: Rules) -> set[str]:
    return {one.kind for one in rules.state.faults.values()}


def balances(rules: Rules) -> list[f.EnergyBalance]:
    return [one for one in rules.facts if isinstance(one, f.EnergyBalance)]


def accept(rules: Rules) -> None:
    assert energy.acceptance_refusal(rules.state, 1, rules.clock.now()) == ""
    for fact in energy.acceptance(rules.state, 1, rules.clock.now(), "erika", "replaced"):
        rules.outside(fact)


def reset(rules: Rules) -> str:
    rules.register_wh[1] = 12
    return SERIAL


def dropped(rules: Rules) -> str:
    rules.register_wh[1] -= 100_000
    return SERIAL


def jumped(rules: Rules) -> str:
    rules.register_wh[1] += 3_000_000
    return SERIAL


def scaled(rules: Rules) -> str:
    rules.register_wh[1] *= 10
    return SERIAL


def zero(rules: Rules) -> str:
    rules.register_wh[1] = 0
    return SERIAL


def swapped(rules: Rules) -> str:
    rules.register_wh[1] = 700
    return "99999999"


CHANGES = {
    Kind.RESET: reset,
    Kind.BACKWARDS: dropped,
    Kind.JUMP: jumped,
    Kind.SCALE: scaled,
    Kind.ZERO: zero,
    Kind.SWAPPED: swapped,
}


@pytest.mark.parametrize("new_boot", [False, True], ids=["at once", "after a power cut"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_meter_is_not_for_sale_until_a_technician_accepts_it(kind: Kind, new_boot: bool) -> None:
    rules = sold_once()
    serial = CHANGES[kind](rules)
    if new_boot:
        rules.boot(new_boot=True)
    idle(rules, 1, serial=serial)
    assert isinstance(rules.view, s.NotForSale) and not rules.state.faults, "one such reading sells nothing and is no fault yet"
    idle(rules, 2, serial=serial)
    assert kinds(rules) == {kind.value} and rules.count(f.FaultRaised) == 1
    assert isinstance(rules.view, s.NotForSale) and rules.view.reason is s.NotForSaleReason.METER
    rules.boot(new_boot=True)
    idle(rules, 2, serial=serial)
    assert isinstance(rules.view, s.NotForSale), "no restart makes it right"
    accept(rules)
    idle(rules, 2, serial=serial)
    assert isinstance(rules.view, s.Offer) and not rules.state.faults
    told = next(one for one in rules.facts if isinstance(one, f.MeterAccepted))
    assert (told.actor, told.reason, told.value.energy_wh) == ("erika", "replaced", rules.register_wh[1])
    assert told.old is not None and told.old.energy_wh == 1_000_050 and balances(rules)[-1].why == "meter_accepted"
    assert told.unexplained_wh == (rules.register_wh[1] - 1_000_050 if kind in (Kind.JUMP, Kind.SCALE) else None)


def test_a_meter_that_comes_back_is_for_sale_by_itself() -> None:
    rules = sold_once()
    idle(rules, 3, serial="99999999")
    assert kinds(rules) == {Kind.SWAPPED.value}
    idle(rules, 5)
    assert kinds(rules) == {Kind.SWAPPED.value}, "what comes and goes is not sold by"
    idle(rules, 6)
    assert not rules.state.faults and isinstance(rules.view, s.Offer)
    assert "nothing to accept" in energy.acceptance_refusal(rules.state, 1, rules.clock.now())


def test_a_meter_is_not_accepted_while_it_is_silent_or_its_charge_is_not_over() -> None:
    rules = sold_once()
    idle(rules, 3, serial="99999999")
    rules.clock.advance(6_000)
    assert "does not answer" in energy.acceptance_refusal(rules.state, 1, rules.clock.now())
    rules = Rules()
    rules.to_charging()
    rules.charge(3)
    rules.register_wh[1] = 5
    for _ in range(2):
        rules.meter()
    assert rules.phase is Phase.STOPPING and "not finished" in energy.acceptance_refusal(rules.state, 1, rules.clock.now())


def test_a_frozen_meter_is_sold_again_when_it_moves_or_is_accepted() -> None:
    def frozen() -> Rules:
        rules = Rules(stage.configuration(meter_return_s=60))
        rules.to_charging()
        rules.charge(10)
        while rules.phase is Phase.CHARGING:
            rules.clock.advance(1000)
            rules.evse(Pilot.C, relay=True, authorized=True)
            rules.meter()
            rules.feed(events.Ticked())
        rules.open_contactor()
        rules.power_w = 0
        while not rules.has(actions.SignOcmf):
            if rules.has(actions.ReadRegister):
                rules.answer_register()
            rules.tick(5)
        rules.sign_ocmf()
        bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
        assert (bill.energy_wh, bill.stop_source) == (50, "checkpoint")
        rules.finish()
        rules.touch(s.Button.DONE)
        rules.boot()
        idle(rules, 3)
        assert kinds(rules) == {register.FROZEN} and isinstance(rules.view, s.NotForSale)
        return rules

    rules = frozen()
    idle(rules, 1, wh_each=9)
    assert not rules.state.faults and isinstance(rules.view, s.Offer)
    rules = frozen()
    accept(rules)
    idle(rules)
    assert isinstance(rules.view, s.Offer)


def test_a_slow_register_is_called_frozen_only_once() -> None:
    """One that moves every eight seconds: the ledger is not filled with it."""
    rules = Rules()
    rules.to_charging()
    for second in range(1, 81):
        rules.clock.advance(1000)
        rules.register_wh[1] += 24 if second % 8 == 0 else 0
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.meter()
        rules.feed(events.Ticked())
    assert rules.phase is Phase.CHARGING and rules.count(f.FaultRaised) == rules.count(f.FaultCleared) == 1


# --- weld ------------------------------------------------------------------------------------------------------------


def test_energy_with_an_open_contactor_is_a_weld_alarm_that_only_a_technician_ends() -> None:
    rules = sold_once()
    idle(rules, 10, wh_each=5)
    assert kinds(rules) == {register.OPEN_FLOW} and isinstance(rules.view, s.NotForSale)
    rules.boot(new_boot=True)
    idle(rules, 30)
    assert kinds(rules) == {register.OPEN_FLOW}, "a restart or a quiet minute mends no contactor"
    kept = snapshot.unpack(snapshot.pack(rules.replayed()), rules.settings)
    booted = machine.evolve(kept, f.TerminalBooted("0.0-test", "0" * 64, {}, False), rules.clock.now())
    assert set(booted.faults) == set(rules.state.faults), "nor does a start from a snapshot"
    assert "stood still for 60 s" in energy.clearance_refusal(rules.state, 1, rules.clock.now(), 60_000)
    idle(rules, 61)
    assert energy.clearance_refusal(rules.state, 1, rules.clock.now(), 60_000) == ""
    rules.evse(Pilot.A, relay=True)
    assert "closed" in energy.clearance_refusal(rules.state, 1, rules.clock.now(), 60_000)
    idle(rules, 1)
    for fault in energy.standing(rules.state, 1, Device.EVSE, energy.WELDS):
        rules.outside(f.FaultCleared(fault))
    assert isinstance(rules.view, s.Offer)
    assert rules.state.energy[1].unexplained_wh == 0  # not booked yet ...
    assert energy.advanced(rules.state.energy[1], rules.value()).unexplained_wh == 50  # ... but no Wh of it is lost


@pytest.mark.parametrize("steps", [[20], [10, 10, 5], [0, 0]], ids=["one late step", "late by seconds", "nothing"])
def test_a_register_that_is_late_is_no_weld(steps: list[int]) -> None:
    rules = sold_once()
    for wh in steps:
        idle(rules, 1, wh_each=wh)
    idle(rules, 5)
    assert not rules.state.faults


def test_the_standby_of_the_charger_behind_its_meter_is_no_weld() -> None:
    rules = sold_once()
    for minute in range(120):  # 6 W for two hours
        rules.clock.advance(60_000)
        rules.register_wh[1] += minute % 10 == 0
        rules.evse(Pilot.A)
        rules.meter()
    assert not rules.state.faults


def test_a_controller_that_says_its_relay_is_stuck_is_believed_until_a_technician_came() -> None:
    rules = sold_once()
    rules.evse(Pilot.F, fault="stuck_relay")
    idle(rules, 3)
    assert kinds(rules) == {register.STUCK_RELAY} and isinstance(rules.view, s.NotForSale)


def test_no_start_on_a_connector_with_a_weld_alarm() -> None:
    rules = sold_once()
    rules.show()
    rules.tap(tap=2)
    rules.answer_bank()
    idle(rules, 10, wh_each=5)  # before the plug
    rules.evse(Pilot.B)
    for _ in range(3):
        rules.answer_register()
        rules.tick(2)
    assert rules.phase is Phase.NONE and rules.count(f.StartRegistered) == 1


# --- the daily account -----------------------------------------------------------------------------------------------


def after_a_day(rules: Rules, wh: int, new_boot: bool = False) -> None:
    rules.clock.advance(DAY_S * 1000)
    rules.register_wh[1] += wh
    if new_boot:
        rules.boot(new_boot=True)
    idle(rules, 3)


@pytest.mark.parametrize("new_boot", [False, True], ids=["awake", "restarted"])
def test_once_a_day_all_the_energy_is_accounted_for(new_boot: bool) -> None:
    rules = sold_once()
    after_a_day(rules, 40, new_boot)
    (one,) = balances(rules)
    assert (one.from_wh, one.to_wh) == (1_000_000, 1_000_090)
    assert (one.sessions_wh, one.tests_wh, one.unexplained_wh) == (50, 0, 40)
    assert not rules.state.faults and isinstance(rules.view, s.Offer)
    idle(rules, 30)
    assert len(balances(rules)) == 1, "one a day at most"
    after_a_day(rules, 0)
    assert [(two.from_wh, two.unexplained_wh) for two in balances(rules)[1:]] == [(1_000_090, 0)]


def test_much_energy_that_nobody_can_explain_is_a_warning_and_sells_on() -> None:
    rules = sold_once()
    after_a_day(rules, 1_001)
    assert kinds(rules) == {register.UNEXPLAINED} and isinstance(rules.view, s.Offer)
    after_a_day(rules, 5)
    assert not rules.state.faults


def test_a_crash_loses_no_wh_of_the_account() -> None:
    rules = sold_once()
    rules.register_wh[1] += 30
    rules.boot(new_boot=True)
    idle(rules, 3)
    rules.show()
    rules.tap(tap=2)
    rules.answer_bank()
    rules.evse(Pilot.B)
    rules.answer_register()
    assert rules.state.energy[1].unexplained_wh == 30
    rules.boot()
    assert rules.replayed().energy[1].unexplained_wh == 30


def test_a_test_of_a_technician_counts_as_test() -> None:
    state = Rules().state
    value = MeterValue(1_000, 0, SERIAL, Stamp(0, 0, "b"))
    rules = Rules()
    rules.to_charging()
    session = rules.state.sessions[1]
    state = energy.begun(state, 1, value, MeterIdentity("v", "m", SERIAL))
    tested = msgspec.structs.replace(session, test=True)
    state = energy.billed(state, tested, msgspec.structs.replace(value, energy_wh=1_070), 70)
    assert (state.energy[1].tests_wh, state.energy[1].sessions_wh, state.energy[1].last.energy_wh) == (70, 0, 1_070)


# --- a lost meter ----------------------------------------------------------------------------------------------------


def lost(capture_in_s: int) -> Rules:
    """A charge whose meter was silent for a minute, so that it was stopped; the hold must be captured by then."""
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(Approved(5000, {}, capture_before_utc_ms=rules.clock.utc_ms + capture_in_s * 1000))
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(10)
    for _ in range(61):
        rules.clock.advance(1000)
        rules.evse(Pilot.C, relay=True, authorized=True)
        rules.feed(events.Ticked())
        if rules.phase is Phase.CHARGING:
            assert isinstance(rules.view, s.Charging)
    rules.open_contactor()
    return rules


def waited_s(rules: Rules) -> int:
    begun = rules.clock.utc_ms
    while not rules.has(actions.SignOcmf):
        if rules.has(actions.ReadRegister):
            rules.fail_register()
        rules.clock.advance(60_000)
        rules.feed(events.Ticked())
    return (rules.clock.utc_ms - begun) // 1000


@pytest.mark.parametrize(
    ("capture_in_s", "limit_s", "why"), [(7 * DAY_S, 12 * 3600, "not_back"), (8 * 3600, 4 * 3600, "hold_ends")]
)
def test_a_lost_meter_is_waited_for_as_long_as_the_hold_allows(capture_in_s: int, limit_s: int, why: str) -> None:
    rules = lost(capture_in_s)
    assert limit_s - 300 < waited_s(rules) < limit_s + 300
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert (bill.energy_wh, bill.stop_source, bill.stop_why) == (50, "checkpoint", why)


def test_meanwhile_the_screen_says_so_and_the_hold_is_kept() -> None:
    rules = lost(7 * DAY_S)
    for _ in range(3):
        rules.fail_register()
        rules.tick(6)
    assert isinstance(rules.view, s.Charging) and rules.view.phase is s.ChargePhase.METER_AWAITED
    assert rules.view.hold_minor == 5000 and rules.count(f.VoidIntended) == rules.count(f.CaptureIntended) == 0
    rules.register_wh[1] += 200
    rules.answer_register()
    rules.sign_ocmf()
    bill = next(one for one in rules.facts if isinstance(one, f.BillFrozen))
    assert (bill.energy_wh, bill.stop_source, bill.stop_why) == (250, "meter", "")
