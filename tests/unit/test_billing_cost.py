"""The one function from charging periods to money, against an independent Fraction oracle and by its laws."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal_app import units
from terminal_app.billing.cost import ChargingPeriod, Flow, cost_of, next_boundary
from terminal_app.billing.receipt import to_receipt_lines
from terminal_app.errors import TariffRefused
from terminal_app.screens import PriceKind
from tests.unit.billing_samples import BERLIN, HOUR_MS, KWH_TARIFF, T0, component, element, tariff

amounts = st.integers(0, 200_000)
spans_ms = st.integers(0, 5 * HOUR_MS)
prices = st.decimals(0, 3, places=4)
rates = st.sampled_from(["0", "7", "19", "5.2", "20"])


def _half_up(value: Fraction) -> int:
    return int((2 * value + 1) // 2)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(amounts, spans_ms), min_size=1, max_size=6), prices, prices, prices, rates, st.sampled_from(["YES", "NO"])
)
def test_every_bill_is_cent_exact_against_fractions(
    parts: list[tuple[int, int]], kwh: Decimal, hour: Decimal, flat: Decimal, vat: str, included: str
) -> None:
    sold = tariff(
        element(component("ENERGY", str(kwh), vat), component("TIME", str(hour), vat), component("FLAT", str(flat), vat)),
        included=included,
    )
    periods, at = [], T0
    for wh, ms in parts:
        periods.append(ChargingPeriod(at, wh, ms))
        at += ms
    cost = cost_of(sold, periods, BERLIN)
    seconds = -(-sum(ms for _, ms in parts) // 1000)
    values = [Fraction(kwh) * sum(wh for wh, _ in parts) / 1000, Fraction(hour) * seconds / 3600, Fraction(flat)]
    rate = Fraction(vat)
    if included == "YES":
        expected = sum(_half_up(100 * value) for value in values)
    else:
        expected = sum(_half_up(100 * value) + _half_up(value * rate) for value in values)
    assert cost.total_minor == expected
    assert cost.net_minor + cost.vat_minor == cost.total_minor == sum(line.gross_minor for line in cost.lines)
    assert all(line.net_minor + line.vat_minor == line.gross_minor for line in cost.lines)


TIERED = tariff(
    element(component("ENERGY", "0.3111"), max_kwh=10),
    element(component("ENERGY", "0.4777"), component("PARKING_TIME", "6.0", step=60)),
    element(component("TIME", "1.2345"), min_duration=1800),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, HOUR_MS)), min_size=1, max_size=5), st.data())
def test_reading_the_meter_more_often_changes_nothing(parts: list[tuple[int, int]], data: Any) -> None:
    def priced(sampled: list[tuple[int, int]]) -> list[tuple[PriceKind, int, int]]:
        periods, at = [], T0
        for wh, ms in sampled:
            periods.append(ChargingPeriod(at, wh, ms))
            at += ms
        return [(line.kind, line.amount, line.gross_minor) for line in cost_of(TIERED, periods, BERLIN).lines]

    halves = []
    for wh, ms in parts:
        a, b = data.draw(st.integers(0, wh)), data.draw(st.integers(0, ms))
        halves += [(a, b), (wh - a, ms - b)]
    assert priced(parts) == priced(halves)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(amounts, spans_ms), min_size=2, max_size=6))
def test_the_running_cost_only_grows_and_ends_as_the_bill(parts: list[tuple[int, int]]) -> None:
    periods, at, running = [], T0, []
    for wh, ms in parts:
        periods.append(ChargingPeriod(at, wh, ms))
        at += ms
        running.append(cost_of(TIERED, periods, BERLIN).total_minor)
    assert running == sorted(running)
    assert running[-1] == cost_of(TIERED, tuple(periods), BERLIN).total_minor


@pytest.mark.parametrize(
    ("currency", "price", "wh", "expected"),
    [("EUR", "19.99", 1000, 1999), ("JPY", "55", 12_345, 679), ("KWD", "0.1005", 12_345, 1241), ("EUR", "0.005", 1000, 1)],
)
def test_money_has_the_decimals_of_its_currency(currency: str, price: str, wh: int, expected: int) -> None:
    sold = tariff(element(component("ENERGY", price, None)), currency=currency)
    assert cost_of(sold, [ChargingPeriod(T0, wh, 1)], BERLIN).total_minor == expected
    assert units.to_minor("19.99", "EUR") == 1999


def test_nothing_sold_costs_nothing_but_a_minimum_applies_as_soon_as_something_was() -> None:
    sold = tariff(element(component("ENERGY", "0.50")), min_price={"before_taxes": Decimal("4.20"), "after_taxes": 5})
    assert cost_of(sold, [], BERLIN).total_minor == 0
    cost = cost_of(sold, [ChargingPeriod(T0, 0, 1000)], BERLIN)
    assert (cost.total_minor, cost.net_minor) == (500, 420)


@pytest.mark.parametrize(("wh", "expected"), [(10_000, 590), (50_000, 2500), (100_000, 2500)])
def test_the_maximum_is_a_line_of_its_own_so_that_lines_add_up(wh: int, expected: int) -> None:
    sold = tariff(element(component("ENERGY", "0.59")), max_price={"before_taxes": Decimal("21.01"), "after_taxes": 25})
    cost = cost_of(sold, [ChargingPeriod(T0, wh, HOUR_MS)], BERLIN)
    assert cost.total_minor == expected == sum(line.gross_minor for line in cost.lines)
    assert cost.net_minor + cost.vat_minor == expected
    assert (cost.lines[-1].kind is PriceKind.LIMIT) == (wh > 42_000)


NIGHT = tariff(
    element(component("ENERGY", "0.30"), component("TIME", "0.60"), start_time="22:00", end_time="06:00"),
    element(component("ENERGY", "0.60"), component("TIME", "1.20")),
)
AT_2130 = T0 + 11 * HOUR_MS + HOUR_MS // 2


def test_time_is_divided_at_the_clock_but_energy_never_without_a_reading() -> None:
    cost = cost_of(NIGHT, [ChargingPeriod(AT_2130, 10_000, HOUR_MS)], BERLIN)
    by_kind = {(line.kind, line.price): (line.amount, line.late) for line in cost.lines}
    assert by_kind == {
        (PriceKind.ENERGY, Decimal("0.30")): (10_000, 10_000),  # all of it at the cheaper side, and marked
        (PriceKind.TIME, Decimal("0.60")): (HOUR_MS // 2, 0),
        (PriceKind.TIME, Decimal("1.20")): (HOUR_MS // 2, 0),
    }


def test_with_a_reading_at_the_boundary_each_side_has_its_price() -> None:
    periods = [ChargingPeriod(AT_2130, 5_000, HOUR_MS // 2), ChargingPeriod(AT_2130 + HOUR_MS // 2, 5_000, HOUR_MS // 2)]
    assert [line.late for line in cost_of(NIGHT, periods, BERLIN).lines] == [0, 0, 0, 0]
    assert cost_of(NIGHT, periods, BERLIN).total_minor == 150 + 300 + 30 + 60


def test_next_boundary_names_every_place_where_the_price_may_change() -> None:
    found = next_boundary(NIGHT, AT_2130, 0, 0, BERLIN)
    assert (found.utc_ms, found.energy_wh, found.duration_s) == (AT_2130 + HOUR_MS // 2, None, None)
    found = next_boundary(TIERED, T0, 9_999, 1800, BERLIN)
    assert (found.utc_ms, found.energy_wh, found.duration_s) == (None, 10_000, None)


@pytest.mark.parametrize(
    ("begin", "until"),
    [
        (1_774_738_800_000, 1_774_749_600_000),  # 29 March 2026, 00:00 local; 02:00 does not exist: the jump at 01:00 UTC
        (1_792_879_200_000, 1_792_890_000_000),  # 25 October 2026, 00:00 local; 03:00 local is 02:00 UTC
    ],
)
def test_windows_follow_daylight_saving(begin: int, until: int) -> None:
    wanted = {1_774_738_800_000: ("02:00", 1_774_746_000_000), 1_792_879_200_000: ("03:00", 1_792_893_600_000)}
    text, moment = wanted[begin]
    sold = tariff(element(component("ENERGY", "0.30"), end_time=text), element(component("ENERGY", "0.60")))
    found, at = [], begin
    for _ in range(6):
        after = next_boundary(sold, at, 0, 0, BERLIN).utc_ms
        assert after is not None
        cost = cost_of(sold, [ChargingPeriod(at, 1000, 1000)], BERLIN)
        found.append((at, cost.total_minor))
        at = after
    assert (moment, 60) in found
    assert all(price == 30 for utc_ms, price in found if utc_ms < moment)


def test_a_window_that_ends_in_the_hour_that_does_not_exist_ends_at_the_jump() -> None:
    sold = tariff(element(component("TIME", "6"), end_time="02:30"), element(component("TIME", "12")))
    midnight, jump = 1_774_738_800_000, 1_774_746_000_000
    cost = cost_of(sold, [ChargingPeriod(midnight, 0, 3 * HOUR_MS)], BERLIN)
    assert [line.amount for line in cost.lines] == [jump - midnight, HOUR_MS]


def test_weekdays_and_dates_switch_at_local_midnight_also_on_a_leap_day() -> None:
    sold = tariff(
        element(component("ENERGY", "0.10"), start_date="2028-02-29", end_date="2028-03-01"),
        element(component("ENERGY", "0.20"), day_of_week=["MONDAY"]),
        element(component("ENERGY", "0.50")),
    )
    leap = 1_835_391_600_000  # 2028-02-29 00:00 in Berlin, a Tuesday
    for at, expected in ((leap - 1000, 20), (leap, 10), (leap + 24 * HOUR_MS - 1000, 10), (leap + 24 * HOUR_MS, 50)):
        assert cost_of(sold, [ChargingPeriod(at, 1000, 500)], BERLIN).total_minor == expected


def test_a_session_of_more_than_ten_days_is_priced_through_every_night() -> None:
    """field-failures: SmartEVSE-3 #145."""
    cost = cost_of(NIGHT, [ChargingPeriod(T0, 0, 11 * 24 * HOUR_MS)], BERLIN)
    assert {line.price: line.amount for line in cost.lines} == {
        Decimal("0.60"): 11 * 8 * HOUR_MS,
        Decimal("1.20"): 11 * 16 * HOUR_MS,
    }


def test_a_price_by_power_needs_a_measured_power() -> None:
    sold = tariff(element(component("ENERGY", "0.20"), max_power=16), element(component("ENERGY", "0.50")))
    fast, slow = Flow(17_000, 48_000), Flow(1_000, 15_999)
    assert cost_of(sold, [ChargingPeriod(T0, 1000, 1, flow=fast), ChargingPeriod(T0, 1000, 1, flow=slow)], BERLIN).total_minor == 70
    with pytest.raises(TariffRefused, match="max_power"):
        cost_of(sold, [ChargingPeriod(T0, 1000, 1)], BERLIN)


def test_parking_is_priced_only_while_parking_and_after_its_grace() -> None:
    sold = tariff(element(component("ENERGY", "0.5")), element(component("PARKING_TIME", "6"), min_duration=3600))
    periods = [ChargingPeriod(T0, 1000, HOUR_MS // 2), ChargingPeriod(T0 + HOUR_MS // 2, 0, 0, HOUR_MS)]
    assert {line.kind: line.amount for line in cost_of(sold, periods, BERLIN).lines} == {
        PriceKind.ENERGY: 1000,
        PriceKind.PARKING: HOUR_MS // 2,
    }


def test_screen_lines_say_what_the_bill_says() -> None:
    cost = cost_of(tariff(KWH_TARIFF), [ChargingPeriod(T0, 12_345, 90_000)], BERLIN)
    assert [(one.kind, one.quantity, one.price, one.vat_percent, one.gross_minor) for one in to_receipt_lines(cost)] == [
        (PriceKind.ENERGY, "12.345", "0.59", "19", 728),
        (PriceKind.TIME, "1.5", "0.02", "19", 3),
        (PriceKind.FLAT, "1", "1.00", "19", 100),
    ]


def test_a_period_never_counts_backwards() -> None:
    with pytest.raises(ValueError, match="upwards"):
        ChargingPeriod(T0, -1, 0)
