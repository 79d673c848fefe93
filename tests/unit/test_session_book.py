"""The tariff book: what is sold by at a moment, from files and from the office, with and without a clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from terminal_app.billing.model import Tariff
from terminal_app.session import book
from terminal_app.session.book import FILE, OFFICE, Book, Listing, Prices, prices
from terminal_app.session.facts import TariffTaken
from terminal_app.values import ClockState, Stamp
from tests.unit.billing_samples import T0, component, element, tariff

DAY_MS = 86_400_000
BASE, DEARER, WEEKEND = (tariff(element(component("ENERGY", price)), id=name) for price, name in
                         (("0.49", "BASE"), ("0.59", "BASE"), ("0.39", "WEEKEND")))  # fmt: skip
NIGHT = tariff(element(component("ENERGY", "0.29"), start_time="22:00"), element(component("ENERGY", "0.59")), id="NIGHT")


def taken(sold: Tariff, version: int = 1, begin: int = 0, end: int | None = None, source: str = OFFICE) -> TariffTaken:
    return Listing(sold, version, begin, end).taken(1, source, "")


def booked(*facts: TariffTaken, at: int = T0) -> Book:
    found = Book()
    for fact in facts:
        found = book.taken(found, fact, at)
    return found


def stamp(utc_ms: int, clock: ClockState = ClockState.SYNCHRONISED) -> Stamp:
    return Stamp(utc_ms, 1, "boot", clock)


def sold(found: Book, utc_ms: int = T0, file: Tariff | None = None) -> Tariff | None:
    return prices(found, {} if file is None else {1: file}, {}, stamp(utc_ms), 0).tariffs.get(1)


def berlin(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * 1000


def test_the_one_taken_last_is_sold_by_once_it_has_begun() -> None:
    found = booked(taken(BASE), taken(DEARER, 2, begin=T0 + DAY_MS))
    assert [sold(found, T0 + offset) for offset in (0, DAY_MS - 1, DAY_MS)] == [BASE, BASE, DEARER]


@pytest.mark.parametrize("day", ["2026-01-10", "2026-03-29", "2026-10-25"])
def test_a_days_price_begins_and_ends_at_local_midnight_on_long_and_short_days_too(day: str) -> None:
    """29 March has 23 hours in Berlin, 25 October 25: the validity is a moment, not a number of hours."""
    begin = berlin(day)
    end = berlin(f"{day[:8]}{int(day[8:]) + 1}")
    found = booked(taken(BASE), taken(WEEKEND, 1, begin, end), at=T0)
    assert [sold(found, at) for at in (begin - 1, begin, end - 1, end)] == [BASE, WEEKEND, WEEKEND, BASE]
    assert (end - begin) // 3_600_000 == {"2026-01-10": 24, "2026-03-29": 23, "2026-10-25": 25}[day]


def test_the_tariffs_own_validity_counts_too() -> None:
    limited = tariff(
        element(component("ENERGY", "1")), start_date_time="2026-01-02T10:00:00Z", end_date_time="2026-01-02T11:00:00Z"
    )
    begin = T0 + 3_600_000
    found = booked(taken(limited))
    assert [sold(found, at) for at in (begin - 1, begin, begin + 3_600_000)] == [None, limited, None]


def test_a_version_never_goes_back_and_a_change_needs_a_new_one() -> None:
    found = booked(taken(DEARER, 7))
    assert "older than version 7" in book.refusal(found, taken(BASE, 6))
    assert "needs a higher number" in book.refusal(found, taken(BASE, 7))
    assert "needs a higher number" in book.refusal(found, taken(DEARER, 7, end=T0 + DAY_MS))
    assert book.refusal(found, taken(DEARER, 7)) == book.refusal(found, taken(BASE, 8)) == ""
    assert book.refusal(found, taken(WEEKEND, 1)) == "", "another tariff counts by itself"
    assert book.refusal(found, taken(BASE, 0, source=FILE)) == "", "a file without a version is as trusted as the configuration"


def test_a_file_counts_while_it_is_the_one_in_the_configuration() -> None:
    found = booked(taken(BASE, 0, source=FILE))
    assert sold(found, file=BASE) == BASE and sold(found) is None and sold(found, file=DEARER) is None
    office = book.taken(found, taken(WEEKEND), T0)
    assert sold(office, file=BASE) == WEEKEND == sold(office)
    assert book.has_file(office, taken(BASE, 0, source=FILE)), "the next start must not take it for a new price"
    changed = book.taken(office, taken(DEARER, 0, source=FILE), T0)
    assert sold(changed, file=DEARER) == DEARER


def test_the_book_stays_small_and_is_bounded() -> None:
    found = booked(taken(BASE, 0, source=FILE), *(taken(BASE, version) for version in range(1, 100)))
    assert [one.version for one in found.listed[1]] == [0, 99]
    waiting = booked(*(taken(BASE, version, begin=T0 + version) for version in range(1, book.MAX_LISTED + 1)))
    assert "are listed" in book.refusal(waiting, taken(BASE, 100))


def test_without_a_clock_a_plain_price_is_sold_by_and_one_by_the_hour_is_not() -> None:
    for clock in (ClockState.UNKNOWN, ClockState.INFORMATIVE):
        now = stamp(0, clock)
        assert prices(booked(taken(BASE, begin=T0 - 1)), {}, {}, now, T0) == Prices({1: BASE}, frozenset())
        for by_time in (taken(NIGHT), taken(BASE, end=T0 + DAY_MS), taken(BASE, begin=T0 + 1)):
            assert prices(booked(by_time), {}, {}, now, T0).clock_wanted == {1}
            assert prices(booked(by_time), {}, {1: DEARER}, now, T0) == Prices({1: DEARER}, frozenset())
    assert prices(booked(taken(NIGHT)), {}, {1: DEARER}, stamp(T0), T0) == Prices({1: NIGHT}, frozenset())


def test_a_clock_that_lies_does_not_bring_a_price_forward() -> None:
    """Back from a power cut the clock says 2030: the price of next year is not due because of that."""
    found = booked(taken(BASE), taken(DEARER, 2, begin=T0 + 365 * DAY_MS))
    assert prices(found, {}, {}, stamp(T0 + 1500 * DAY_MS, ClockState.INFORMATIVE), T0 + DAY_MS).tariffs == {1: BASE}
