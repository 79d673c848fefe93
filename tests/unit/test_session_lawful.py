"""Law and price at the sale: what is unlawful is not for sale, what was on the glass is what is paid, and too little is free."""

from typing import Any

import msgspec
import pytest

from terminal_app import screens as s
from terminal_app.billing import law
from terminal_app.billing.record import open_record
from terminal_app.billing.tariff import Tariff
from terminal_app.config import Config, LawOverride, LawSection
from terminal_app.office.verify import Expected, judge
from terminal_app.session import events, lawful, machine, sale
from terminal_app.session import facts as f
from terminal_app.session.state import Phase
from terminal_app.values import ClockState, Pilot
from tests.simulation import stage
from tests.simulation.rules import Rules
from tests.unit.billing_samples import component, element, tariff

replace = msgspec.structs.replace
DEARER = tariff(element(component("ENERGY", "0.79")))
STEPPED = tariff(element(component("ENERGY", stage.KWH_PRICE, step=500)))  # looks the same as the stage's own


def german(*overridden: str, approved: bool = False, **changes: Any) -> Config:
    settings = stage.configuration(**changes)
    override = tuple(LawOverride(rule=one, by="Somebody", why="a test") for one in overridden)
    law_section = LawSection(clock_approved=approved, override=override)
    return replace(settings, terminal=replace(settings.terminal, country="DE"), law=law_section)


def sold(settings: Config, priced: Tariff | None = None, signing: bool = False, step_wh: int = 1) -> s.NotForSaleReason | None:
    rules = Rules(settings, {1: priced or stage.tariff()})
    rules.evse(Pilot.A)
    rules.feed(events.MeterReported(1, rules.value(), step_wh))
    if signing:
        rules.feed(events.MeterKeyRead(1, rules.value().serial, "00"))
    terms = replace(rules.terms(), signing=frozenset({1} if signing else ()))
    return sale.not_for_sale(rules.state, terms, 1)


UNLAWFUL = s.NotForSaleReason.UNLAWFUL_TARIFF


def test_germany_sells_nothing_by_a_meter_that_does_not_sign_unless_somebody_answers_for_it() -> None:
    assert sold(german()) is UNLAWFUL
    assert sold(german(), signing=True) is None
    assert sold(german("de-signed-meter")) is None
    assert sold(german("de-clock")) is UNLAWFUL
    assert sold(german(), stage.tariff("free")) is None, "free charging breaks no law about prices"


def test_time_is_priced_in_germany_only_by_an_approved_clock() -> None:
    assert sold(german("de-signed-meter"), stage.tariff("mixed")) is UNLAWFUL
    assert sold(german("de-signed-meter", approved=True), stage.tariff("mixed")) is None
    assert sold(german("de-signed-meter", "de-clock"), stage.tariff("mixed")) is None


def test_from_50_kw_a_fee_per_session_is_unlawful() -> None:
    assert sold(stage.configuration(max_power_w=49_000), stage.tariff("mixed")) is None
    assert sold(stage.configuration(max_power_w=50_000), stage.tariff("mixed")) is UNLAWFUL


def test_a_register_that_has_grown_coarse_sells_no_more() -> None:
    assert sold(stage.configuration(), step_wh=10) is None
    assert sold(stage.configuration(), step_wh=16) is UNLAWFUL


def test_while_nobody_knows_the_day_every_rule_binds() -> None:
    rules = Rules(german())
    rules.clock.state, rules.clock.utc_ms = ClockState.UNKNOWN, 1000
    rules.to_offer()
    assert {one.rule for one in lawful.breaches(rules.state, rules.terms(), 1)} == {"de-signed-meter"}


def test_the_technician_reads_rule_and_citation_the_driver_plain_words() -> None:
    rules = Rules(german())
    rules.to_offer()
    assert rules.view == s.NotForSale(1, "1", UNLAWFUL)
    rules.tap()
    assert rules.phase is Phase.NONE and not rules.todo
    told = lawful.said(lawful.breaches(rules.state, rules.terms(), 1))
    assert "de-signed-meter: MessEG section 33" in told and "meter: its readings are not signed" in told


@pytest.mark.parametrize("limit", ["max_power", "max_current"])
def test_a_price_by_power_is_never_sold_by(limit: str) -> None:
    """It could not be priced: no reading of ours says what flowed in each moment."""
    priced = tariff(element(component("ENERGY", "0.30"), **{limit: 11}), element(component("ENERGY", "0.60")))
    assert "elements[0].restrictions" in lawful.refusal(stage.configuration(), 1, priced)
    assert lawful.refusal(stage.configuration(), 1, stage.tariff("mixed")) == ""


# --- a price that begins while somebody looks at another one -------------------------------------------------------------


@pytest.mark.parametrize("new", [DEARER, STEPPED], ids=["dearer", "same words"])
def test_a_new_price_is_bought_at_only_after_it_was_shown(new: Tariff) -> None:
    rules = Rules()
    rules.to_offer()
    before = rules.screen_no
    rules.tariffs[1] = new
    rules.tick()
    assert rules.screen_no > before and machine.reader_wish(rules.state) is None
    rules.tap()
    assert rules.phase is Phase.NONE, "the new price is not on the glass yet"
    rules.show()
    rules.tap()
    assert rules.state.sessions[1].tariff == new.raw


def test_who_has_tapped_at_the_old_price_pays_it() -> None:
    """A card takes a second to read: the price that begins meanwhile is the next driver's."""
    rules = Rules()
    rules.to_offer()
    wish = machine.reader_wish(rules.state)
    assert wish is not None
    rules.feed(events.CardSeen(wish.arm_no))
    rules.tariffs[1] = DEARER
    rules.tick()
    rules.feed(events.CardRead(wish.arm_no, True, stage.card(wish.request)))
    opened = rules.state.sessions[1]
    assert opened.tariff == stage.tariff().raw and opened.tariff_fingerprint == stage.tariff().fingerprint
    (fact,) = [one for one in rules.facts if isinstance(one, f.SessionOpened)]
    assert fact.clock == "S"
    rules.answer_bank()
    rules.evse(Pilot.B)
    rules.answer_register()
    assert rules.state.sessions[1].tariff == stage.tariff().raw


def test_a_tap_in_the_very_moment_of_the_change_pays_what_was_on_the_glass() -> None:
    rules = Rules()
    rules.to_offer()
    wish = machine.reader_wish(rules.state)
    assert wish is not None
    rules.tariffs[1] = DEARER
    rules.feed(events.CardRead(wish.arm_no, True, stage.card(wish.request)))
    assert rules.state.sessions[1].tariff == stage.tariff().raw


def test_a_frame_that_was_drawn_before_the_change_shows_no_new_price() -> None:
    rules = Rules()
    rules.evse(Pilot.A)
    rules.meter()
    old = rules.shown_meaning
    rules.tariffs[1] = DEARER
    terms = replace(rules.terms(), screen_meaning=old)
    turn = machine.decide(rules.state, events.FrameShown(rules.screen_no), terms)
    assert turn.state.kiosk.shown == "" and machine.reader_wish(turn.state) is None


# --- the least quantity ------------------------------------------------------------------------------------------------------


def billed(seconds: int) -> tuple[Rules, f.BillFrozen]:
    rules = Rules(german("de-signed-meter"))
    rules.to_sealing(seconds)
    (bill,) = [one for one in rules.facts if isinstance(one, f.BillFrozen)]
    return rules, bill


def test_below_the_least_quantity_nothing_is_billed_and_the_hold_is_released() -> None:
    rules, bill = billed(seconds=19)  # 5 Wh a second
    assert bill.energy_wh == 95 < law.smallest_sellable_wh("DE", 1)
    assert (bill.total_minor, bill.lines, bill.not_billed) == (0, (), "below_minimum")
    assert rules.count(f.VoidIntended) == 1 and rules.count(f.CaptureIntended) == 0
    rules.finish()
    payload = open_record(rules.jws[0], stage.record_key().spki)
    assert (payload["energy_wh"], payload["not_billed"], payload["lines"]) == (95, "below_minimum", [])
    assert judged(rules.jws[0]) == ""


def test_from_the_least_quantity_on_all_of_it_is_billed() -> None:
    rules, bill = billed(seconds=20)
    assert (bill.energy_wh, bill.total_minor, bill.not_billed) == (100, 6, "")
    rules.finish()
    assert "not_billed" not in open_record(rules.jws[0], stage.record_key().spki)
    assert judged(rules.jws[0]) == ""


def test_a_test_below_the_least_quantity_has_its_lines_of_nothing_and_the_office_takes_its_record() -> None:
    rules = Rules(german("de-signed-meter"))
    rules.to_offer()
    rules.evse(Pilot.B)
    rules.feed(events.TestCommanded(1, 10, 0, "technician", "new contactor"))
    rules.answer_register()
    rules.evse(Pilot.C, relay=True, authorized=True)
    rules.charge(11)
    rules.open_contactor()
    rules.answer_register()
    rules.sign_ocmf()
    rules.sign_record()
    payload = open_record(rules.jws[0], stage.record_key().spki)
    assert 0 < payload["energy_wh"] < 100 and payload["lines"] and "not_billed" not in payload
    assert judged(rules.jws[0]) == ""


def test_the_running_cost_is_the_bill() -> None:
    rules = Rules(german("de-signed-meter"))
    rules.to_charging()
    for cost in (0, 6, 9, 12):
        rules.charge(10)
        view = rules.view
        assert isinstance(view, s.Charging) and view.cost_minor == cost


def judged(jws: str) -> str:
    key, meter = stage.record_key(), stage.ocmf_key()
    expected = Expected("T-0001", "c0ffee0000000001", 1, "0" * 64, {key.key_id: key.spki}, {meter.key_id: meter.spki}, demo=True)
    return judge(jws, expected).reason
