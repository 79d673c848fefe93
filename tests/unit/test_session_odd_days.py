"""Days that go wrong in odd ways: clocks that step, meters without a name, signers that lie, connectors that are gone."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from terminal_app import screens as s
from terminal_app.billing import ocmf, record
from terminal_app.billing.tariff import parse_tariff
from terminal_app.errors import ConfigError, ImpossibleEvent
from terminal_app.session import actions, events, machine, sale
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, SettlementPhase
from terminal_app.values import Approved, ClockState, Device, OutcomeUnknown, Pilot
from terminal_app.wire import Listener
from tests.simulation import stage
from tests.simulation.rules import IDENTITY, Rules

HOUR_MS = 3_600_000


def sealed_session(rules: Rules) -> dict[str, object]:
    key = stage.record_key()
    return record.open_record(rules.jws[0], key.spki)


@pytest.mark.parametrize("new_boot", [False, True])
def test_a_wall_clock_set_back_while_charging_still_gives_a_bill_that_verifies(new_boot: bool) -> None:
    rules = Rules()
    rules.to_charging()
    rules.charge(20)
    rules.clock.utc_ms -= HOUR_MS
    if new_boot:
        rules.boot(new_boot=True)
        rules.tick()
    else:
        rules.touch(s.Button.STOP)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    assert rules.phase is Phase.SEALING, "the bill is frozen, not signed again and again"
    rules.finish()
    told = sealed_session(rules)
    assert told["end"]["utc_ms"] >= told["begin"]["utc_ms"] and told["end"]["clock"] == "U"  # type: ignore[index]
    measured = ocmf.verify(told["ocmf"]["record"], stage.ocmf_key().spki)  # type: ignore[index]
    assert measured.energy_wh == 100 and not rules.state.settlements


def test_a_meter_without_a_serial_number_is_not_sold_by() -> None:
    rules = Rules()
    rules.evse(Pilot.A)
    rules.meter(serial="")
    assert rules.view == s.NotForSale(1, rules.settings.connector[0].label, s.NotForSaleReason.METER)
    rules = Rules()
    rules.to_starting()
    asked = rules.take(actions.ReadRegister)
    value = rules.value(serial="")
    nameless = msgspec.structs.replace(IDENTITY, serial="")
    rules.feed(events.RegisterRead(1, asked.session_id, "start", value, value, nameless))
    assert not rules.count(f.StartRegistered)


def test_a_price_by_the_time_of_day_is_not_for_sale_while_nobody_knows_the_time() -> None:
    night = site_tariff("0.29").replace(
        b'"elements": [{', b'"elements": [{"restrictions": {"start_time": "22:00", "end_time": "06:00"},'
    )
    for priced, reason in ((site_tariff("0.59"), None), (night, s.NotForSaleReason.CLOCK)):
        rules = Rules(tariffs={1: parse_tariff(priced)})
        rules.to_offer()
        assert sale.not_for_sale(rules.state, rules.terms(), 1) is None
        rules.clock.state = ClockState.UNKNOWN
        assert sale.not_for_sale(rules.state, rules.terms(), 1) is reason


def site_tariff(price: str) -> bytes:
    component = {"type": "ENERGY", "price": 0, "vat": 19, "step_size": 1}
    whole = {
        "country_code": "DE",
        "party_id": "DEM",
        "id": "x",
        "currency": "EUR",
        "type": "AD_HOC_PAYMENT",
        "tax_included": "YES",
        "elements": [{"price_components": [component]}],
        "last_updated": "2026-01-01T00:00:00Z",
    }
    return json.dumps(whole).replace('"price": 0', f'"price": {price}').encode()


def test_a_reversal_never_overtakes_the_question_it_reverses() -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.tick(25)
    (hold,) = rules.state.settlements.values()
    assert hold.phase is SettlementPhase.VOIDING and not rules.has(actions.Void), "our question may still be on its way"
    rules.answer_bank(OutcomeUnknown("timeout"))
    assert rules.has(actions.Void)


def test_a_host_that_knows_nothing_yet_is_asked_again_for_a_minute() -> None:
    rules = Rules()
    rules.to_authorizing()
    rules.answer_bank(OutcomeUnknown("timeout"))
    rules.tick()
    nothing = Approved(5000, {"original": "unknown"})
    rules.answer_step(nothing)
    assert not rules.count(f.HoldEnded), "the question may arrive after its reversal"
    for _ in range(3):
        rules.tick(60)
        if rules.has(actions.Void):
            rules.answer_step(nothing)
    (ended,) = (one for one in rules.facts if isinstance(one, f.HoldEnded))
    assert ended.how is f.Terminated.VOIDED


def test_a_clock_that_jumps_ahead_calls_no_person_at_once() -> None:
    rules = Rules()
    rules.to_sealing()
    rules.sign_record()
    rules.tick()
    rules.answer_step(OutcomeUnknown("no network"))
    rules.clock.utc_ms += 40 * 24 * HOUR_MS
    rules.tick(120)
    assert rules.has(actions.Capture) and not rules.count(f.HoldEnded)


def test_a_record_signature_that_does_not_verify_is_never_sealed() -> None:
    rules = Rules()
    rules.to_sealing()
    asked = rules.take(actions.SignRecord)
    rules.feed(events.RecordSigned(asked.record_seq, bytes([1]) * 64))
    assert not rules.jws and any(fault.device is Device.SIGNER for fault in rules.state.faults.values())
    rules.tick(12)
    rules.sign_record()
    assert len(rules.jws) == 1 and not rules.state.faults


def test_a_connector_taken_out_of_the_configuration_is_history() -> None:
    rules = Rules(stage.configuration(connectors=2))
    rules.to_offer()
    one = stage.configuration(connectors=1)
    terms = stage.terms(one, rules.clock, rules.chance, tariffs=rules.tariffs, screen_no=1)
    assert set(machine.evse_wishes(rules.state, terms)) == {1}, "nothing is wished of a connector that is not there"


def test_two_connectors_never_share_a_meter_whatever_its_section_is_called(tmp_path: Path) -> None:
    from terminal_app.config.relations import check_relations

    settings = stage.configuration(connectors=2)
    first, second = settings.connector
    meters = dict(settings.meter)
    meters[second.meter] = meters[first.meter]
    with pytest.raises(ConfigError, match=r"number 2.*same meter"):
        check_relations(msgspec.structs.replace(settings, meter=meters), tmp_path / "terminal.toml")


def test_a_listener_that_ends_leaves_a_newer_socket_alone(tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path)) / "x.sock" if len(str(tmp_path)) > 80 else tmp_path / "x.sock"
    old = Listener(path, str, lambda end: None)
    new = Listener(path, str, lambda end: None)
    old.close()
    assert path.exists(), "another process listens here now"
    new.close()
    assert not path.exists()


def test_what_cannot_happen_still_ends_the_process() -> None:
    rules = Rules()
    with pytest.raises(ImpossibleEvent):
        rules.to_authorized()
        (hold,) = rules.state.settlements.values()
        rules.feed(events.SettlementAnswered(hold.hold.hold_id, "a key", Approved(1)))
