"""The law pack: what is lawful where, which rule is broken, and that no free or lawful tariff is accused."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing import law
from terminal_app.run.service.cli import main
from tests.unit.billing_samples import as_json, component, document, element, tariff

TODAY = date(2026, 1, 5)
KWH = component("ENERGY", "0.59")
START, MINUTE = component("FLAT", "1.00"), component("TIME", "3.00")
PARKED = element(component("PARKING_TIME", "6"), min_duration=14_400)
NIGHT = element(component("ENERGY", "0.39"), start_time="22:00", end_time="06:00")


def broken(sold: Any, country: str, power: int = 22, signed: bool = True, clock: bool = True, **more: Any) -> set[str]:
    more.setdefault("at", TODAY)
    return {one.rule for one in law.verdict(sold, country, Decimal(power), signed, clock, **more)}


def test_below_50_kw_everything_is_allowed_from_50_kw_only_energy_and_occupancy() -> None:
    everything = tariff(element(KWH, START, MINUTE), PARKED, min_price={"before_taxes": 1})
    assert broken(everything, "FR", 49) == set()
    found = law.verdict(everything, "FR", Decimal(50), True, True, TODAY)
    assert [one.where for one in found] == ["elements[0]", "elements[0]", "min_price"]
    assert broken(everything, "FR", 50, at=date(2024, 4, 12)) == set()
    assert broken(tariff(element(KWH, component("FLAT", "0")), PARKED, NIGHT), "FR", 150) == set()
    assert broken(tariff(element(MINUTE)), "NL", 50) == {"afir-only-energy"}
    assert broken(everything, "FR", 50, overridden=frozenset({"afir-only-energy"})) == set()


def test_the_order_on_the_screen_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sold = tariff(element(START, MINUTE, KWH), PARKED)
    assert broken(sold, "AT") == set()
    real = law.price_lines
    monkeypatch.setattr(law, "price_lines", lambda one: tuple(reversed(real(one))))
    assert broken(sold, "AT") == {"afir-order"}


def test_germany_sells_nothing_from_an_unsigned_meter_and_no_time_by_an_unapproved_clock() -> None:
    assert broken(tariff(element(KWH)), "DE") == set()
    assert broken(tariff(element(KWH)), "DE", clock=False) == set()
    assert broken(tariff(element(KWH)), "DE", signed=False) == {"de-signed-meter"}
    assert broken(tariff(element(KWH)), "AT", signed=False, clock=False) == set()
    for timed in (tariff(NIGHT), tariff(element(KWH), PARKED), tariff(element(KWH, MINUTE))):
        assert broken(timed, "DE", clock=False) == {"de-clock"}
        assert broken(timed, "DE") == set()
    uneven = tariff(element(KWH, start_time="22:10"), element(component("ENERGY", "1")))
    assert broken(uneven, "DE") == {"de-quarter-hours"}


def test_britain_wants_one_figure_in_pence_per_kwh() -> None:
    assert broken(tariff(element(KWH), PARKED, currency="GBP"), "GB") == set()
    assert broken(tariff(element(KWH)), "GB") == {"gb-pence-per-kwh"}
    for extra in (START, MINUTE):
        assert broken(tariff(element(KWH, extra), currency="GBP"), "GB") == {"gb-pence-per-kwh"}


def test_the_united_states_want_a_fixed_price_per_kwh_and_a_fine_register() -> None:
    none = component("ENERGY", "0.59", None)
    assert broken(tariff(element(none, component("FLAT", "1", None)), included="N/A", currency="USD"), "US") == set()
    assert broken(tariff(NIGHT, element(KWH), currency="USD"), "US") == {"us-fixed-price"}
    assert broken(tariff(element(MINUTE), currency="USD"), "US") == {"us-price-per-kwh"}
    assert broken(tariff(element(KWH), currency="USD"), "US", resolution_wh=10) == {"us-indication"}
    assert broken(tariff(element(component("ENERGY", "1", step=100)), currency="USD"), "US") == {"us-indication"}
    assert law.smallest_sellable_wh("US", 1) == 100
    assert law.smallest_sellable_wh("FR", 10) == 0


def test_free_charging_breaks_nothing_and_unknown_countries_have_no_rules() -> None:
    free = tariff(element(component("FLAT", "0.00", None, step=0)))
    assert broken(free, "DE", 150, signed=False, clock=False) == set()
    assert {rule.quality for rule in law.rules_for("JP", Decimal(50), TODAY)} == {law.Quality.OWN}


@pytest.mark.parametrize("country", ["AT", "DE", "GB", "JP"])
def test_a_coarse_register_sells_nothing_where_no_law_says_more(country: str) -> None:
    """A float32 register beyond 131 072 kWh steps by 16 Wh (meters.md section 5)."""
    sold = tariff(element(KWH), currency="GBP")
    assert broken(sold, country, resolution_wh=10) == set()
    assert broken(sold, country, resolution_wh=16) == {"coarse-register"}
    assert broken(sold, country, resolution_wh=16, overridden=frozenset({"coarse-register"})) == set()


def test_every_rule_says_where_it_comes_from_and_has_its_own_name() -> None:
    assert len({rule.name for rule in law.RULES}) == len(law.RULES)
    assert all(rule.citation and rule.says and rule.countries for rule in law.RULES)


def test_tariff_check_names_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(as_json(document(element(KWH, START))))
    said = ["tariff", "check", str(file), "--country", "de", "--power-kw"]
    assert main([*said, "22", "--at", "2026-01-05"]) == 0
    assert "lawful in DE" in capsys.readouterr().out
    assert main([*said, "50", "--at", "2026-01-05", "--unsigned-meter", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["lawful"]
    assert [one["rule"] for one in found["breaches"]] == ["afir-only-energy", "de-signed-meter"]
    assert main([*said, "50", "--override", "afir-only-energy"]) == 0
    assert main([*said, "50", "--override", "nonsense"]) == 3
    assert main([*said, "much"]) == 3
    assert main(["tariff", "check", str(file), "--country", "XX", "--power-kw", "22"]) == 3
