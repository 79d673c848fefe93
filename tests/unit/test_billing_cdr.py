"""Every worked example of the OCPI tariff chapters (2.2.1-d2, 2.3.0) and of mod_cdrs step_size, priced as a CDR.

The numbers are those of the specification; tariffs and CDRs are written here. Where the text contradicts itself:
* "Switching to Free-of-Charge": prose and table say 0.80 (12 min at 1.20, 15 min at 2.40), but they mixed up the prices of
  the example's own tariff (2.40 charging, 1.00 parking after 17:00). By the tariff it is 0.48 + 0.25 = 0.73, taken here.
* 2.2 stepped charging time although parking followed (8.75 and 12.50 for the complex tariff); 2.2.1-d2 and 2.3.0 do not
  (9.00 and 12.28), so charging time is not stepped here.
* "First hour free": the text counts hours of parking, but restrictions count from the start of the session; both agree, and make
  its 7.30, only where parking begins at once, as it does here.
* The complex tariff on Saturday: the table prices 114 minutes at 1.25 per hour with 2.28, which is 1.20 per hour. 1.25 makes
  2.375, so the total is 12.375 (13.975 with VAT) instead of 12.28 (13.861).
"""

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from terminal_app.billing.cdr import price_cdr
from terminal_app.billing.foreign import parse_any_tariff
from terminal_app.billing.model import Tariff, TaxIncluded
from terminal_app.errors import TariffRefused
from tests.unit import billing_oracle as oracle
from tests.unit.billing_samples import as_json, component, document, element
from tests.unit.test_billing_campaign import random_tariff

WEEKDAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]
MONDAY, SATURDAY = "2026-01-05", "2026-01-03"


def old_tariff(*elements: dict[str, Any], **more: Any) -> Tariff:
    """A 2.2.1 tariff: net prices, no `tax_included`."""
    found = document(*elements, **more)
    found.pop("tax_included")
    return parse_any_tariff(as_json(found))


def cdr(end: str, *periods: tuple[str, dict[str, str]], day: str = MONDAY) -> bytes:
    return as_json(
        {
            "end_date_time": f"{day}T{end}:00Z",
            "charging_periods": [
                {
                    "start_date_time": f"{day}T{start}:00Z",
                    "dimensions": [{"type": kind, "volume": Decimal(volume)} for kind, volume in volumes.items()],
                }
                for start, volumes in periods
            ],
        }
    )


ENERGY = component("ENERGY", "0.25", "10")
START = component("FLAT", "0.50", "20")
CHARGE_20 = ("10:00", {"ENERGY": "20", "TIME": "2"})
COMPLEX = (
    element(component("FLAT", "2.50", "15")),
    element(component("TIME", "1.00", "20", 900), max_current=32),
    element(component("TIME", "2.00", "20", 600), min_current=32, day_of_week=WEEKDAYS),
    element(component("TIME", "1.25", "20", 600), min_current=32, day_of_week=["SATURDAY", "SUNDAY"]),
    element(component("PARKING_TIME", "5", "10", 300), start_time="09:00", end_time="18:00", day_of_week=WEEKDAYS),
    element(component("PARKING_TIME", "6", "10", 300), start_time="10:00", end_time="17:00", day_of_week=["SATURDAY"]),
)
MAX_PRICE = {"max_price": {"excl_vat": 10, "incl_vat": 11}}
MIN_PRICE = {"min_price": {"excl_vat": Decimal("0.50"), "incl_vat": Decimal("0.55")}}
STEPS = (
    element(
        component("TIME", "1.20", None, 1800), component("PARKING_TIME", "1.00", None, 900), start_time="00:00", end_time="17:00"
    ),
    element(
        component("TIME", "2.40", None, 900), component("PARKING_TIME", "1.00", None, 900), start_time="17:00", end_time="20:00"
    ),
    element(component("TIME", "2.40", None, 900), start_time="20:00", end_time="00:00"),
)
POWER = (
    element(component("ENERGY", "0.20", "20"), max_power=16),
    element(component("ENERGY", "0.35", "20"), max_power=32),
    element(component("ENERGY", "0.50", "20")),
)
DURATION = (
    element(component("ENERGY", "0.00", "20"), max_duration=1800),
    element(component("ENERGY", "0.25", "20"), max_duration=3600),
    element(component("ENERGY", "0.40", "20")),
)
RESERVED = {"reservation": "RESERVATION"}
EXPIRED = {"reservation": "RESERVATION_EXPIRES"}
FIRST_FREE = (
    element(component("ENERGY", "0.00", None, 0), max_kwh=1),
    element(component("ENERGY", "0.20", None, 1), min_kwh=1),
    element(component("PARKING_TIME", "0.00", None, 0), max_duration=3600),
    element(component("PARKING_TIME", "2.00", None, 60), min_duration=3600, max_duration=14400),
    element(component("PARKING_TIME", "3.00", None, 60), min_duration=14400),
)
R15 = (element(component("TIME", "5", "20", 60), **RESERVED), element(START, ENERGY))
R16 = (element(component("FLAT", "2", "20"), component("TIME", "5", "20", 300), **RESERVED), element(START, ENERGY))
R17 = (
    element(component("FLAT", "4", "20"), **EXPIRED),
    element(component("TIME", "2", "20", 600), **RESERVED),
    element(START, ENERGY),
)
R18 = (
    element(component("TIME", "6", "20", 600), **EXPIRED),
    element(component("TIME", "3", "20", 600), **RESERVED),
    element(START, ENERGY),
)


def reserved(minutes: int) -> bytes:
    hours = f"{Decimal(minutes) / 60:.4f}"
    return cdr("12:00", (f"09:{60 - minutes:02d}", {"RESERVATION_TIME": hours}), CHARGE_20)


EXAMPLES: dict[str, tuple[tuple[dict[str, Any], ...], dict[str, Any], bytes, str, str]] = {
    "0.25 per kWh": ((element(ENERGY),), {}, cdr("12:00", CHARGE_20), "5", "5.5"),
    "start fee": ((element(START, ENERGY),), {}, cdr("12:00", CHARGE_20), "5.5", "6.1"),
    "minimum price, not reached": ((element(ENERGY),), MIN_PRICE, cdr("12:00", CHARGE_20), "5", "5.5"),
    "minimum price": ((element(ENERGY),), MIN_PRICE, cdr("11:00", ("10:00", {"ENERGY": "1.9", "TIME": "1"})), "0.5", "0.55"),
    "parking and start fee": (
        (element(START, ENERGY, component("PARKING_TIME", "2", "20", 900)),),
        {},
        cdr("12:40", CHARGE_20, ("12:00", {"PARKING_TIME": "0.6667"})),
        "7",
        "7.9",
    ),
    "maximum price": ((element(START, ENERGY),), MAX_PRICE, cdr("12:00", ("10:00", {"ENERGY": "50", "TIME": "2"})), "10", "11"),
    "maximum price, not reached": (
        (element(START, ENERGY),),
        MAX_PRICE,
        cdr("12:00", ("10:00", {"ENERGY": "30", "TIME": "2"})),
        "8",
        "8.85",
    ),
    "2 per hour": ((element(component("TIME", "2", "10", 60)),), {}, cdr("12:30", ("10:00", {"TIME": "2.5"})), "5", "5.5"),
    "3 per hour, 5 parking": (
        (element(component("TIME", "3", "10", 60), component("PARKING_TIME", "5", "20", 300)),),
        {},
        cdr("13:12", ("10:00", {"TIME": "2.5"}), ("12:30", {"PARKING_TIME": "0.7"})),
        "11.25",
        "12.75",
    ),
    "ad hoc": ((element(component("TIME", "1.9", "5.2", 300)),), {}, cdr("12:30", ("10:00", {"TIME": "2.5"})), "4.75", "4.997"),
    "alternative URL": (
        (element(START, component("ENERGY", "0.25", "10", 100)),),
        {},
        cdr("12:00", ("10:00", {"ENERGY": "20.45", "TIME": "2"})),
        "5.625",
        "6.2375",
    ),
    "complex, Monday": (
        COMPLEX,
        {},
        cdr("12:57", ("09:30", {"TIME": "2.75", "MAX_CURRENT": "16"}), ("12:15", {"PARKING_TIME": "0.7"})),
        "9",
        "10.3",
    ),
    "complex, Saturday": (
        COMPLEX,
        {},
        cdr("16:35", ("13:30", {"TIME": "1.9", "MIN_CURRENT": "43"}), ("15:24", {"PARKING_TIME": "1.1833"}), day=SATURDAY),
        "12.375",
        "13.975",
    ),
    "free of charge": ((element(component("FLAT", "0.00", None, 0)),), {}, cdr("12:00", CHARGE_20), "0", "0"),
    "first hour and first kWh free": (
        FIRST_FREE,
        {},
        cdr(
            "12:45",
            ("10:00", {"ENERGY": "1"}),
            ("10:00", {"ENERGY": "19", "PARKING_TIME": "1"}),
            ("11:00", {"PARKING_TIME": "1.75"}),
        ),
        "7.3",
        "7.3",
    ),
    "reservation": (R15, {}, reserved(15), "6.75", "7.6"),
    "reservation and fee": (R16, {}, reserved(13), "8.75", "10"),
    "reservation, could expire": (R17, {}, reserved(22), "6.5", "7.3"),
    "reservation expired": (R17, {}, cdr("11:00", ("10:00", {"RESERVATION_TIME": "1"})), "6", "7.2"),
    "reservation time, could expire": (R18, {}, reserved(22), "7", "7.9"),
    "reservation time expired": (R18, {}, cdr("11:30", ("10:00", {"RESERVATION_TIME": "1.5"})), "9", "10.8"),
    "switching #1": (
        STEPS,
        {},
        cdr("17:07", ("16:55", {"TIME": "0.0833333"}), ("17:00", {"TIME": "0.0833333"}), ("17:05", {"PARKING_TIME": "0.0333"})),
        "0.55",
        "0.55",
    ),
    "switching #2": (STEPS, {}, cdr("17:10", ("16:35", {"TIME": "0.4167"}), ("17:00", {"TIME": "0.1667"})), "1.3", "1.3"),
    "switching to free": (
        STEPS,
        {},
        cdr("20:12", ("19:40", {"TIME": "0.2"}), ("19:52", {"PARKING_TIME": "0.1333"}), ("20:00", {"PARKING_TIME": "0.2"})),
        "0.73",
        "0.73",
    ),
    "maximum power": (
        POWER,
        {},
        cdr(
            "12:00",
            ("10:00", {"ENERGY": "1", "MAX_POWER": "6", "TIME": "0.2"}),
            ("10:12", {"ENERGY": "40", "MAX_POWER": "48", "TIME": "0.9"}),
            ("11:06", {"ENERGY": "0.5", "MAX_POWER": "4", "TIME": "0.9"}),
        ),
        "20.3",
        "24.36",
    ),
    "maximum duration": (
        DURATION,
        {},
        cdr("10:40", ("10:00", {"ENERGY": "5", "TIME": "0.5"}), ("10:30", {"ENERGY": "1.2", "TIME": "0.1667"})),
        "0.3",
        "0.36",
    ),
    "maximum duration, told by time stamps only": (
        DURATION,
        {},
        cdr("10:40", ("10:00", {"ENERGY": "5"}), ("10:30", {"ENERGY": "1.2"})),
        "0.3",
        "0.36",
    ),
    "steps of energy": (
        (element(component("ENERGY", "0.20", None, 500), end_time="17:00"), element(component("ENERGY", "0.27", None, 500))),
        {},
        cdr("18:00", ("16:00", {"ENERGY": "4.3", "TIME": "1"}), ("17:00", {"ENERGY": "1.1", "TIME": "1"})),
        "1.184",
        "1.184",
    ),
    "steps of time": (
        (element(component("TIME", "5", None, 600), end_time="17:00"), element(component("TIME", "7", None, 600))),
        {},
        cdr("17:22", ("16:54", {"TIME": "0.1"}), ("17:00", {"TIME": "0.3667"})),
        "3.3",
        "3.3",
    ),
    "steps of parking": (
        (element(component("TIME", "1", None, 600), component("PARKING_TIME", "2", None, 600)),),
        {},
        cdr("10:37", ("10:00", {"TIME": "0.35"}), ("10:21", {"PARKING_TIME": "0.2667"})),
        "1.0167",
        "1.0167",
    ),
    "115.2 Wh are billed as 116": (
        (element(component("ENERGY", "0.25", None)),),
        {},
        cdr("11:00", ("10:00", {"ENERGY": "0.1152"})),
        "0.029",
        "0.029",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_examples_of_the_specification(name: str) -> None:
    elements, more, said, excl_vat, incl_vat = EXAMPLES[name]
    found = price_cdr(old_tariff(*elements, **more), said).as_json()["total_cost"]
    assert {key: str(value) for key, value in found.items()} == {"excl_vat": excl_vat, "incl_vat": incl_vat}


@pytest.mark.parametrize("name", EXAMPLES)
def test_more_periods_in_between_change_nothing(name: str) -> None:
    """An empty period at each start: mod_cdrs allows more periods in between."""
    elements, more, said, excl_vat, _ = EXAMPLES[name]
    text = said.replace(b'{"start_date_time"', b'{"start_date_time": "@", "dimensions": []},{"start_date_time"')
    parts = text.split(b'"@"')
    for place in range(1, len(parts)):
        moment = parts[place].split(b'{"start_date_time":')[1].split(b",")[0]
        parts[place] = moment + parts[place]
    assert str(price_cdr(old_tariff(*elements, **more), b"".join(parts)).as_json()["total_cost"]["excl_vat"]) == excl_vat


def test_all_nine_totals() -> None:
    elements = (
        element(component("TIME", "5", "20", 60), **RESERVED),
        element(START, ENERGY, component("PARKING_TIME", "2", "20", 900)),
    )
    said = cdr("12:40", ("09:45", {"RESERVATION_TIME": "0.25"}), CHARGE_20, ("12:00", {"PARKING_TIME": "0.6667"}))
    found = price_cdr(old_tariff(*elements), said).as_json()
    costs = {name: (str(one["excl_vat"]), str(one["incl_vat"])) for name, one in found.items() if isinstance(one, dict)}
    assert costs == {
        "total_cost": ("8.25", "9.4"),
        "total_energy_cost": ("5", "5.5"),
        "total_time_cost": ("0", "0"),
        "total_parking_cost": ("1.5", "1.8"),
        "total_fixed_cost": ("0.5", "0.6"),
        "total_reservation_cost": ("1.25", "1.5"),
    }
    assert [str(found[name]) for name in ("total_energy", "total_time", "total_parking_time")] == ["20", "2.6667", "0.6667"]


def test_local_time_decides_in_the_zone_that_is_given() -> None:
    sold = old_tariff(element(component("ENERGY", "0.1", None), end_time="11:00"), element(component("ENERGY", "0.2", None)))
    said = cdr("11:00", ("10:30", {"ENERGY": "10"}))
    assert price_cdr(sold, said).total_cost.excl_vat == 1
    assert price_cdr(sold, said, "Europe/Berlin").total_cost.excl_vat == 2


def test_an_old_tariff_is_converted_exactly() -> None:
    sold = old_tariff(element(ENERGY), **MAX_PRICE)
    assert sold.tax_included is TaxIncluded.NO
    assert sold.max_price is not None and (sold.max_price.before_taxes, sold.max_price.after_taxes) == (10, 11)
    assert old_tariff(element(component("ENERGY", "1", None))).tax_included is TaxIncluded.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("said", "where"),
    [
        (b"[]", "charging_periods"),
        (b'{"charging_periods": []}', "charging_periods"),
        (cdr("11:00", ("10:00", {"ENERGY": "-1"})), "dimensions"),
        (cdr("11:00", ("11:00", {"ENERGY": "1"}), ("10:00", {"ENERGY": "1"})), "order"),
        (cdr("11:00", ("1x:00", {"ENERGY": "1"})), "start_date_time"),
    ],
)
def test_a_cdr_that_cannot_be_priced_says_where(said: bytes, where: str) -> None:
    with pytest.raises(TariffRefused, match=where):
        price_cdr(old_tariff(element(ENERGY)), said)


@pytest.mark.parametrize("seed", range(200))
def test_random_cdrs_against_fractions(seed: int) -> None:
    """A second calculation, with Fractions and from the CDR's own JSON: each period by the first matching element at its start."""
    chance = random.Random(seed)
    plain = random_tariff(chance) | {"min_price": None, "max_price": None}
    minutes, listed = 0, []
    for _ in range(chance.randrange(1, 7)):
        volumes = {
            kind: str(Decimal(chance.randrange(1, 90_000)).scaleb(-4))
            for kind in chance.sample(("ENERGY", "TIME", "PARKING_TIME"), chance.randrange(1, 3))
        }
        listed.append((f"{minutes // 60:02d}:{minutes % 60:02d}", volumes))
        minutes += chance.randrange(1, 200)
    said = cdr(f"{minutes // 60:02d}:{minutes % 60:02d}", *listed, day=chance.choice((MONDAY, SATURDAY)))
    found = price_cdr(parse_any_tariff(as_json(plain)), said)
    costs = {"ENERGY": found.total_energy_cost, "TIME": found.total_time_cost, "PARKING_TIME": found.total_parking_cost}
    for kind, wanted in oracle.price_cdr(plain, json.loads(said, parse_float=str, parse_int=str)).items():
        price = found.total_fixed_cost if kind == "FLAT" else costs[kind]
        assert (round(price.excl_vat, 12), round(price.incl_vat, 12)) == tuple(
            round(Decimal(one.numerator) / Decimal(one.denominator), 12) for one in wanted
        ), f"seed {seed}: {kind}"
