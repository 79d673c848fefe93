"""`charge-service tariff`: a tariff on the desk, without any terminal."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from terminal_app.run.service.cli import main
from tests.unit.billing_samples import as_json, component, document, element

NINE = {
    "total_cost",
    "total_energy",
    "total_energy_cost",
    "total_time",
    "total_time_cost",
    "total_parking_time",
    "total_parking_cost",
    "total_fixed_cost",
    "total_reservation_cost",
}


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHARGE_TERMINAL_CONFIG", str(tmp_path / "there-is-none.toml"))
    monkeypatch.chdir(tmp_path)


def write(name: str, body: Any) -> str:
    Path(name).write_bytes(body if isinstance(body, bytes) else as_json(body))
    return name


def periods(*listed: tuple[str, dict[str, str]], end: str, **more: Any) -> dict[str, Any]:
    """A CDR with nothing but what pricing needs."""
    return {
        "end_date_time": end,
        "charging_periods": [
            {"start_date_time": start, "dimensions": [{"type": kind, "volume": Decimal(text)} for kind, text in volumes.items()]}
            for start, volumes in listed
        ],
    } | more


def priced(capsys: pytest.CaptureFixture[str], tariff: Any, cdr: Any, *more: str) -> dict[str, Any]:
    code = main(["tariff", "price", "--tariff", write("t.json", tariff), "--cdr", write("c.json", cdr), "--json", *more])
    out = capsys.readouterr()
    assert code == 0, out.err
    return dict(json.loads(out.out))


def refused(capsys: pytest.CaptureFixture[str], tariff: Any, cdr: Any, *more: str) -> str:
    assert main(["tariff", "price", "--tariff", write("t.json", tariff), "--cdr", write("c.json", cdr), *more]) == 2
    return capsys.readouterr().err


def price(excl: float, incl: float) -> dict[str, float]:
    return {"excl_vat": excl, "incl_vat": incl}


GRACE = {  # no id, no country, no party: nothing that pricing needs
    "currency": "EUR",
    "elements": [
        element(component("PARKING_TIME", "0.0", "0.0"), min_duration=0, max_duration=1800),
        element(component("PARKING_TIME", "3.0", "0.0"), min_duration=1800),
        element(component("ENERGY", "0.25", "10.0")),
    ],
}
GRACE_CDR = periods(
    ("2026-01-05T15:00:00Z", {"PARKING_TIME": "0.5"}),
    ("2026-01-05T15:30:00Z", {"PARKING_TIME": "0.25"}),
    ("2026-01-05T15:45:00Z", {"ENERGY": "10"}),
    end="2026-01-05T16:15:00Z",
)


def test_all_nine_totals_as_json_numbers_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    found = priced(capsys, GRACE, GRACE_CDR)
    assert set(found) == NINE
    assert found == {
        "total_cost": price(3.25, 3.5),
        "total_energy": 10,
        "total_energy_cost": price(2.5, 2.75),
        "total_time": 1.25,
        "total_time_cost": price(0, 0),
        "total_parking_time": 0.75,
        "total_parking_cost": price(0.75, 0.75),
        "total_fixed_cost": price(0, 0),
        "total_reservation_cost": price(0, 0),
    }


def test_volumes_are_priced_as_written_even_where_time_stamps_say_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    """0.0834 h is 5 minutes written with four decimals: no step is billed for that, and total_time is the time stamps'."""
    elements = [
        element(component("TIME", "1.20", None, 1800), component("PARKING_TIME", "1.00", None, 900), end_time="17:00"),
        element(component("TIME", "2.40", None, 900), component("PARKING_TIME", "1.00", None, 900), start_time="17:00"),
    ]
    cdr = periods(
        ("2026-01-05T16:55:00Z", {"TIME": "0.0834"}),
        ("2026-01-05T17:00:00Z", {"TIME": "0.0834"}),
        ("2026-01-05T17:02:00Z", {"PARKING_TIME": "0.0334"}),
        end="2026-01-05T17:07:00Z",
    )
    found = priced(capsys, {"currency": "EUR", "elements": elements}, cdr)
    assert (found["total_cost"], found["total_time_cost"]) == (price(0.5502, 0.5502), price(0.3002, 0.3002))
    assert (found["total_time"], found["total_parking_time"]) == (0.2, 0.0334)
    only_time = {"currency": "EUR", "elements": [element(component("TIME", "3.60", None, 60))]}
    for hours in ("0.0833", "0.0834"):
        cdr = periods(("2026-01-05T16:55:00Z", {"TIME": hours}), end="2026-01-05T17:00:00Z")
        assert priced(capsys, only_time, cdr)["total_cost"] == price(0.3, 0.3)
    cdr = periods(("2026-01-05T16:55:00Z", {"TIME": "0.0840"}), end="2026-01-05T17:00:02Z")
    assert priced(capsys, only_time, cdr)["total_cost"] == price(0.36, 0.36)


def test_volumes_with_the_dust_of_floating_point_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    cdr = periods(("2026-01-05T15:00:00Z", {"ENERGY": "20.450000000000003"}), end="2026-01-05T16:00:00Z")
    found = priced(capsys, {"currency": "EUR", "elements": [element(component("ENERGY", "0.40", "10", 1))]}, cdr)
    assert (found["total_energy"], found["total_cost"]) == (20.45, price(8.18, 8.998))
    tiers = [element(component("ENERGY", "0.20", None), max_kwh=10), element(component("ENERGY", "0.50", None))]
    cdr = periods(
        ("2026-01-05T15:00:00Z", {"ENERGY": "9.999999999999998"}),
        ("2026-01-05T15:30:00Z", {"ENERGY": "2"}),
        end="2026-01-05T16:00:00Z",
    )
    assert priced(capsys, {"currency": "EUR", "elements": tiers}, cdr)["total_cost"] == price(3, 3)
    cdr = periods(("2026-01-05T15:00:00Z", {"TIME": "0.08333333333333333"}), end="2026-01-05T15:05:00Z")
    found = priced(capsys, {"currency": "EUR", "elements": [element(component("TIME", "3.60", None, 60))]}, cdr)
    assert found["total_time_cost"] == price(0.3, 0.3)


def test_a_flat_fee_is_billed_once_whatever_the_number_of_periods(capsys: pytest.CaptureFixture[str]) -> None:
    fee = {"currency": "EUR", "elements": [element(component("FLAT", "1.00", "0", 0))]}
    cdr = periods(*((f"2026-01-05T{hour}:00:00Z", {"TIME": "1"}) for hour in (15, 16, 17)), end="2026-01-05T18:00:00Z")
    found = priced(capsys, fee, cdr)
    assert (found["total_fixed_cost"], found["total_cost"], found["total_time"]) == (price(1, 1), price(1, 1), 3)


def test_each_dimension_takes_its_own_first_matching_element(capsys: pytest.CaptureFixture[str]) -> None:
    """Energy from the weekend element, time from the night element across midnight, parking from the last one."""
    elements = [
        element(component("ENERGY", "0.20", "10"), day_of_week=["SATURDAY", "SUNDAY"]),
        element(component("TIME", "1.00", "20"), start_time="22:00", end_time="06:00"),
        element(component("ENERGY", "0.40", "10"), component("TIME", "3.00", "20"), component("PARKING_TIME", "6.00", None, 300)),
    ]
    cdr = periods(
        ("2026-01-02T21:00:00Z", {"ENERGY": "10", "TIME": "1"}),  # Friday evening
        ("2026-01-02T22:00:00Z", {"ENERGY": "10", "TIME": "2"}),
        ("2026-01-03T00:00:00Z", {"ENERGY": "10", "TIME": "6"}),  # Saturday
        ("2026-01-03T06:00:00Z", {"PARKING_TIME": "0.1"}),
        end="2026-01-03T06:06:00Z",
    )
    found = priced(capsys, {"currency": "EUR", "elements": elements}, cdr)
    assert found["total_energy_cost"] == price(10, 11)
    assert found["total_time_cost"] == price(11, 13.2)
    assert found["total_parking_cost"] == price(1, 1)
    assert found["total_cost"] == price(22, 25.2)
    shifted = priced(capsys, {"currency": "EUR", "elements": elements}, cdr, "--timezone", "America/New_York")
    assert shifted["total_energy_cost"] == price(12, 13.2)


def test_limits_count_with_and_without_vat_and_a_limit_without_its_vat_keeps_the_proportion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cdr = periods(("2026-01-05T15:00:00Z", {"ENERGY": "10"}), end="2026-01-05T16:00:00Z")
    elements = [element(component("ENERGY", "0.50", "20"))]
    for limits, expected in (
        ({"max_price": {"excl_vat": 4, "incl_vat": 5}}, price(4, 5)),
        ({"max_price": {"excl_vat": 4}}, price(4, 4.8)),
        ({"max_price": {"excl_vat": Decimal("5.2"), "incl_vat": Decimal("5.5")}}, price(5, 5.5)),
        ({"min_price": {"excl_vat": 6, "incl_vat": 7}}, price(6, 7)),
        ({"min_price": {"excl_vat": 10}}, price(10, 12)),
        ({"min_price": {"before_taxes": 6, "taxes": [{"name": "VAT", "percentage": 20, "amount": Decimal("1.2")}]}}, price(6, 7.2)),
    ):
        assert priced(capsys, {"currency": "EUR", "elements": elements} | limits, cdr)["total_cost"] == expected


def test_taxes_of_2_3_0_itemised_or_included(capsys: pytest.CaptureFixture[str]) -> None:
    cdr = periods(("2026-01-05T15:00:00Z", {"ENERGY": "10"}), end="2026-01-05T16:00:00Z")
    split = {
        "type": "ENERGY",
        "price": 1,
        "step_size": 1,
        "taxes": [{"name": "GST", "percentage": 5}, {"name": "PST", "percentage": 7}],
    }
    found = priced(capsys, document(element(split), included="NO"), cdr)
    assert found["total_cost"] == price(10, 11.2)
    gross = priced(capsys, document(element(component("ENERGY", "1.19"))), cdr)
    assert gross["total_cost"] == price(10, 11.9)
    none = priced(capsys, document(element(component("ENERGY", "1", None)), included="N/A"), cdr)
    assert none["total_cost"] == price(10, 10)


def test_lists_and_ocpi_answers_and_the_tariff_the_cdr_names(capsys: pytest.CaptureFixture[str]) -> None:
    old = document(element(component("ENERGY", "1", None)), included="N/A", id="OLD", end_date_time="2026-01-01T00:00:00Z")
    new = document(element(component("ENERGY", "2", None)), included="N/A", id="NEW", start_date_time="2026-01-01T00:00:00Z")
    cdr = periods(("2026-01-05T15:00:00Z", {"ENERGY": "1"}), end="2026-01-05T16:00:00Z")
    answer = {"data": [old, new], "status_code": 1000, "timestamp": "2026-01-05T15:00:00Z"}
    assert priced(capsys, answer, cdr)["total_cost"] == price(2, 2)
    assert priced(capsys, [old, new], cdr, "--id", "old")["total_cost"] == price(1, 1)
    cdr["charging_periods"][0]["tariff_id"] = "OLD"
    assert priced(capsys, answer, cdr)["total_cost"] == price(1, 1)
    assert main(["tariff", "price", "--cdr", write("c.json", cdr | {"tariffs": [new]}), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_cost"] == price(2, 2)
    nulls = new | {"min_price": None, "energy_mix": None, "elements": [new["elements"][0] | {"restrictions": None}]}
    del cdr["charging_periods"][0]["tariff_id"]
    assert priced(capsys, nulls, cdr)["total_cost"] == price(2, 2)


@pytest.mark.parametrize(
    ("tariff", "cdr", "said"),
    [
        (b"{", GRACE_CDR, "t.json: tariff"),
        ({"status_code": 2001, "status_message": "Invalid", "data": []}, GRACE_CDR, "2001 Invalid"),
        ([], GRACE_CDR, "neither a Tariff"),
        (GRACE | {"elements": []}, GRACE_CDR, "elements"),
        (GRACE | {"elements": [element(component("ENERGY", "1"), when_raining=True)]}, GRACE_CDR, "when_raining"),
        (GRACE, b"[]", "c.json: CDR"),
        (GRACE, GRACE_CDR | {"charging_periods": []}, "charging_periods"),
        (GRACE, GRACE_CDR | {"currency": "GBP"}, "GBP"),
        (GRACE | {"elements": [element(component("ENERGY", "1"), min_power=7)]}, GRACE_CDR, "min_power"),
        (GRACE, GRACE_CDR | {"end_date_time": "2026-01-05T14:00:00Z"}, "end_date_time"),
    ],
)
def test_what_cannot_be_priced_is_one_sentence_that_says_where(
    capsys: pytest.CaptureFixture[str], tariff: Any, cdr: Any, said: str
) -> None:
    assert said in refused(capsys, tariff, cdr)


def test_show_tells_every_price_with_vat(capsys: pytest.CaptureFixture[str]) -> None:
    sold = write("t.json", document(element(component("ENERGY", "0.50", "20"), component("FLAT", "1", "20")), included="NO"))
    assert main(["tariff", "show", sold, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert [(one["kind"], one["price"]) for one in found["prices"]] == [("energy", "0.60"), ("flat", "1.20")]
    assert main(["tariff", "show", sold]) == 0
    assert "0.60" in capsys.readouterr().out


def test_simulate_is_the_bill(capsys: pytest.CaptureFixture[str]) -> None:
    night = element(component("ENERGY", "0.30"), start_time="22:00", end_time="06:00")
    sold = write("t.json", document(night, element(component("ENERGY", "0.60"), component("FLAT", "1.00"))))
    said = ["tariff", "simulate", sold, "--kwh", "10", "--minutes", "60", "--start", "2026-01-05T21:30+01:00"]
    assert main([*said, "--timezone", "Europe/Berlin", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total_minor"] == 150 + 300 + 100
    assert main(said) == 0
    assert "total" in capsys.readouterr().out
