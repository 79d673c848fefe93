"""A meter that signs: begin before the contactor, end after it, its record verified before a cent is taken, or nothing is."""

import json
from collections.abc import Callable

import pytest

from terminal_app import screens as s
from terminal_app.billing import record
from terminal_app.session import actions, events, machine
from terminal_app.session import facts as f
from terminal_app.session.state import Phase
from terminal_app.values import Device, Fault, Pilot
from tests.simulation import stage
from tests.simulation.rules import SERIAL, Rules
from tests.simulation.signing_meter import SigningMeter, key_id, opened


def contactor(rules: Rules) -> bool:
    return machine.evse_wishes(rules.state, rules.terms())[1].authorized


def bill(rules: Rules) -> f.BillFrozen:
    return next(one for one in rules.facts if isinstance(one, f.BillFrozen))


def told(jws: str) -> dict[str, object]:
    return record.open_record(jws, stage.record_key().spki)


def faults(rules: Rules) -> set[str]:
    return {f"{one.device.value}/{one.kind}" for one in rules.state.faults.values()}


def test_the_meter_begins_before_the_contactor_may_close_and_its_record_is_the_bill() -> None:
    meter = SigningMeter()
    rules = Rules(signing=meter)
    rules.to_starting()
    rules.answer_register()
    assert rules.phase is Phase.STARTING and not contactor(rules), "no energy before the meter has begun to sign"
    asked = rules.todo[-1]
    assert isinstance(asked, actions.BeginSigned)
    session = rules.state.sessions[1]
    assert asked.reference == session.hold_id and asked.tariff_text.endswith(session.tariff_fingerprint[:16])
    rules.begin()
    assert rules.phase is Phase.CHARGING and contactor(rules)
    rules.clock.advance(500)
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(100)
    rules.touch(s.Button.STOP)
    rules.open_contactor()
    assert not rules.has(actions.EndSigned), "not before the stop register is read"
    rules.answer_register()
    assert rules.has(actions.EndSigned) and not rules.has(actions.SignOcmf)
    rules.end()
    frozen = bill(rules)
    assert (frozen.energy_wh, frozen.total_minor, frozen.ocmf) == (500, 30, meter.measured[-1])
    assert opened(frozen.ocmf, meter.spki)[1] == 500
    rules.finish()
    said = told(rules.jws[0])["ocmf"]
    assert isinstance(said, dict)
    assert (said["record"], said["meter_key"], said["clock"]) == (meter.measured[-1], meter.spki.hex(), "S")
    assert said["key"] == key_id(meter.spki) != rules.terms().ocmf_key_id


@pytest.mark.parametrize("refused", [True, False])
def test_a_meter_that_does_not_begin_means_no_charge_and_a_kept_hold(refused: bool) -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_starting()
    for _ in range(3):
        rules.answer_register()
        rules.refuse(actions.BeginSigned, refused)
        assert not contactor(rules)
        rules.tick(2)
    assert rules.phase is Phase.NONE and rules.count(f.StartRegistered) == 0
    assert isinstance(rules.view, s.DeclinedView) and rules.view.reason is s.DeclineWords.HOLD_KEPT
    assert "begin to sign" in next(one.detail for one in rules.facts if isinstance(one, f.SessionAborted))


def test_a_begin_that_was_overtaken_by_an_unplug_is_done_again() -> None:
    meter = SigningMeter()
    rules = Rules(signing=meter)
    rules.to_starting()
    rules.answer_register()
    rules.evse(Pilot.A)
    rules.begin()
    assert rules.phase is Phase.AUTHORIZED and not contactor(rules)
    rules.evse(Pilot.B)
    rules.answer_register()
    rules.begin()
    assert rules.phase is Phase.CHARGING
    left = next(one for one in rules.facts if isinstance(one, f.MeterRecordSetAside))
    assert left.record == meter.measured[0] and opened(left.record, meter.spki)[1] == 0
    assert left.session_id == rules.state.sessions[1].session_id


def test_while_the_begin_is_outstanding_another_plug_waits_for_it() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_starting()
    rules.answer_register()
    rules.evse(Pilot.A)
    rules.evse(Pilot.B)
    rules.begin()
    assert rules.phase is Phase.STARTING and not contactor(rules), "its start register was read before this plug"
    rules.answer_register()
    rules.begin()
    assert rules.phase is Phase.CHARGING


def test_a_foreign_measurement_is_evidence_and_never_billed() -> None:
    meter = SigningMeter()
    meter.begin("somebody-else", "", 100, 1_000)
    rules = Rules(signing=meter)
    rules.to_sealing(100)
    left = next(one for one in rules.facts if isinstance(one, f.MeterRecordSetAside))
    assert "somebody-else" in left.record and left.session_id == ""
    assert bill(rules).energy_wh == 500


def test_the_record_billed_last_is_not_left_over() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_sealing()
    rules.finish()
    rules.touch(s.Button.DONE)
    rules.to_charging()
    assert rules.count(f.MeterRecordSetAside) == 0 and rules.count(f.StartRegistered) == 2


# --- what does not hold is not billed ---------------------------------------------------------------------------------

Lie = Callable[[SigningMeter, str], str]
LIES: dict[str, tuple[Lie, str]] = {
    "one bit of the payload": (lambda meter, text: text.replace('"ST": "G"', '"ST":  "G"', 1), "does not verify"),
    "another key": (lambda meter, text: SigningMeter(8).signed(text.split("|")[1]), "does not verify"),
    "another meter": (lambda meter, text: meter.changed(text, f'"MS": "{SERIAL}"', '"MS": "1"'), "meter 1"),
    "another charge": (lambda meter, text: meter.changed(text, '"ID": "', '"ID": "x'), "does not name this charge"),
    "more energy": (lambda meter, text: meter.changed(text, '"RV": 1000.5', '"RV": 1001.5'), "1500 Wh"),
    "less energy": (lambda meter, text: meter.changed(text, '"RV": 1000.5', '"RV": 1000.1'), "100 Wh"),
    "no good value": (lambda meter, text: meter.changed(text, '"ST": "G"', '"ST": "M"'), "not good"),
    "unusable energy": (lambda meter, text: meter.changed(text, '"EF": ""', '"EF": "E"'), "unusable"),
    "only a begin": (lambda meter, text: meter.changed(text, '"TX": "E"', '"TX": "B"'), "marks"),
    "a strange unit": (lambda meter, text: meter.changed(text, '"RU": "kWh"', '"RU": "mOhm"'), "no unit of energy"),
    "no meter's record": (lambda meter, text: "OCMF", "not `OCMF"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_does_not_hold_is_not_billed(lie: str) -> None:
    meter = SigningMeter()
    rules = Rules(signing=meter)
    rules.to_signing(100)
    make, why = LIES[lie]
    text = make(meter, meter.end(rules.register_wh[1], rules.clock.now().utc_ms))
    for _ in range(3):
        assert rules.phase is Phase.SIGNING
        rules.tick(6)
        rules.end(text)
    frozen = bill(rules)
    assert (frozen.energy_wh, frozen.total_minor, frozen.capture_minor, frozen.lines, frozen.ocmf) == (0, 0, 0, (), "")
    assert frozen.unbilled is not None and why in frozen.unbilled.why and frozen.unbilled.energy_wh == 500
    assert rules.count(f.VoidIntended) == 1 and rules.count(f.CaptureIntended) == 0, "the hold is released"
    assert rules.count(f.MeterRecordSetAside) == 1 and not rules.has(actions.SignOcmf), "never a record made by the terminal"
    rules.finish()
    said = told(rules.jws[0])
    assert said["unbilled"] == {"why": frozen.unbilled.why, "energy_wh": 500}
    assert rules.state.registers[1].energy_wh == rules.register_wh[1], "the next charge begins where the register stands"
    rules.touch(s.Button.DONE)
    rules.evse(Pilot.A)
    rules.meter()
    assert faults(rules) == {"meter/record"} and isinstance(rules.view, s.NotForSale)
    rules.boot(new_boot=True)
    assert faults(rules) == {"meter/record"}, "a restart is no proof"
    rules.feed(events.FaultSeen(Fault(Device.METER, 1, "record"), False))
    rules.read_key()
    rules.evse(Pilot.A)
    rules.meter()
    assert isinstance(rules.view, s.Offer)


def test_an_old_record_of_the_same_charge_is_not_billed_again() -> None:
    meter = SigningMeter()
    rules = Rules(signing=meter)
    rules.to_sealing(10)
    rules.finish()
    rules.touch(s.Button.DONE)
    meter.page -= 1
    rules.to_signing(10)
    for _ in range(3):
        rules.tick(6)
        rules.end()
    assert [one.energy_wh for one in rules.facts if isinstance(one, f.BillFrozen)] == [50, 0]


def test_a_glitch_costs_a_try_and_no_bill() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_signing(100)
    rules.end("OCMF|{}|{}")
    rules.tick(6)
    rules.end()
    assert bill(rules).energy_wh == 500 and not rules.state.faults


def test_a_meter_that_gives_no_record_is_waited_for_and_then_nothing_is_billed() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_signing(100)
    patience_s = rules.settings.policy.meter_return_s
    rules.refuse(actions.EndSigned, refused=False)
    rules.tick(6)
    rules.refuse(actions.EndSigned, refused=False)
    assert rules.phase is Phase.SIGNING, "a silent meter may come back"
    rules.clock.advance(patience_s * 1000)
    rules.tick(6)
    rules.refuse(actions.EndSigned, refused=False)
    frozen = bill(rules)
    assert frozen.total_minor == 0 and frozen.unbilled is not None and "gives no signed record" in frozen.unbilled.why


def test_a_meter_that_says_no_for_a_minute_is_believed() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_signing(100)
    for _ in range(12):
        assert rules.phase is Phase.SIGNING
        rules.refuse(actions.EndSigned)
        rules.tick(6)
    assert bill(rules).unbilled is not None


def test_after_a_crash_the_same_record_is_fetched_and_billed_once() -> None:
    meter = SigningMeter()
    rules = Rules(signing=meter)
    rules.to_signing(100)
    meter.end(rules.register_wh[1], rules.clock.now().utc_ms)  # it obeyed, and the answer died with the process
    rules.boot()
    rules.tick()
    rules.open_contactor()
    rules.tick()
    rules.answer_register()
    rules.end()
    assert bill(rules).energy_wh == 500 and meter.measured == [bill(rules).ocmf]


def test_a_charge_begun_signed_is_not_billed_unsigned_when_the_configuration_changes() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_stopping(100)
    rules.signing = None
    rules.boot()
    rules.tick()
    rules.open_contactor()
    rules.tick()
    rules.answer_register()
    assert rules.has(actions.EndSigned) and not rules.has(actions.SignOcmf)


# --- the key ----------------------------------------------------------------------------------------------------------


def test_a_connector_is_not_for_sale_before_its_meters_key_is_known() -> None:
    rules = Rules(signing=SigningMeter())
    rules.evse(Pilot.A)
    rules.meter()
    assert isinstance(rules.view, s.NotForSale)
    rules.read_key()
    assert isinstance(rules.view, s.Offer)
    rules.boot(new_boot=True)
    rules.evse(Pilot.A)
    rules.meter()
    assert isinstance(rules.view, s.Offer) and rules.count(f.MeterKeySeen) == 1, "it stays known"


def test_another_key_of_the_same_meter_is_a_fault_and_nothing_is_sold() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_offer()
    rules.read_key(SigningMeter(8).spki)
    assert faults(rules) == {"meter/key"} and isinstance(rules.view, s.NotForSale)
    assert rules.count(f.MeterKeySeen) == 1, "the pinned key stays"
    rules.read_key()
    assert not rules.state.faults and isinstance(rules.view, s.Offer)


def test_a_key_that_changes_between_the_tap_and_the_start_stops_the_start() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_starting()
    rules.read_key(SigningMeter(8).spki)
    rules.answer_register()
    assert not rules.has(actions.BeginSigned) and rules.phase is Phase.STARTING


def test_another_meter_has_its_own_key() -> None:
    rules = Rules(signing=SigningMeter())
    rules.to_offer()
    rules.read_key(SigningMeter(8).spki, serial="999")
    assert rules.count(f.MeterKeySeen) == 2 and not rules.state.faults


def test_the_bill_stands_on_the_register_as_signed() -> None:
    """The record shows other digits than the register we read: the signed ones count, and the periods follow them."""
    meter = SigningMeter()
    rules = Rules(signing=meter)
    rules.to_signing(100)
    text = meter.end(rules.register_wh[1], rules.clock.now().utc_ms)
    rules.end(meter.changed(meter.changed(text, '"RV": 1000.0', '"RV": 7.004'), '"RV": 1000.5', '"RV": 7.502'))
    rules.finish()
    said = told(rules.jws[0])
    assert said["register"] == {"start_wh": 7004, "stop_wh": 7502, "stop_source": "meter"}
    assert said["energy_wh"] == 498 and json.dumps(said["periods"]).count('"energy_wh": 498') == 1
    assert rules.state.registers[1].energy_wh == 1_000_500
