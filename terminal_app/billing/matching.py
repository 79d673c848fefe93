"""Which tariff element is active at a point of a session, and where that may change next. OCPI 2.3.0 TariffRestrictions. PURE.

Local time comes from the site's IANA zone (zoneinfo): clock windows follow daylight saving by themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from terminal_app.billing.model import WEEKDAYS, Dimension, PriceComponent, Reservation, Tariff, TariffRestrictions, day_of
from terminal_app.errors import TariffRefused

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Flow:
    """Momentary power (W) and current (mA, sum over phases) of a charging period; None = not measured."""

    min_power_w: int | None = None
    max_power_w: int | None = None
    min_current_ma: int | None = None
    max_current_ma: int | None = None


UNMEASURED = Flow()


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a session: UTC ms, energy and duration since the session's start, and how the energy flows there."""

    utc_ms: int
    energy_wh: int | Decimal
    duration_ms: int
    flow: Flow = UNMEASURED


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where the applicable price may change next; None = never by that measure. Energy in Wh, `duration_s` of the session."""

    utc_ms: int | None
    energy_wh: int | None
    duration_s: int | None


def active(
    tariff: Tariff, dimension: Dimension, at: Point, zone: ZoneInfo, reservation: Reservation | None = None
) -> tuple[int, PriceComponent] | None:
    """The first element with a price of this dimension whose restrictions hold: (its index, the component), else None = free."""
    for index, element in enumerate(tariff.elements):
        component = element.component(dimension)
        if component is None or element.restrictions.reservation is not reservation:
            continue
        if holds(element.restrictions, at, zone, f"elements[{index}].restrictions"):
            return index, component
    return None


def holds(one: TariffRestrictions, at: Point, zone: ZoneInfo, where: str) -> bool:
    """True if every given restriction holds at this point. TariffRefused if it asks for a power nobody measured."""
    if one.by_clock and not _clock_holds(one, datetime.fromtimestamp(at.utc_ms // 1000, UTC).astimezone(zone)):
        return False
    kwh = Decimal(at.energy_wh) / 1000
    seconds = at.duration_ms / Decimal(1000)
    return (
        (one.min_kwh is None or kwh >= one.min_kwh)
        and (one.max_kwh is None or kwh < one.max_kwh)
        and (one.min_duration is None or seconds >= one.min_duration)
        and (one.max_duration is None or seconds < one.max_duration)
        and (not one.by_power or _flow_holds(one, at.flow, where))
    )


def _clock_holds(one: TariffRestrictions, local: datetime) -> bool:
    today = local.date()
    if one.start_date is not None and today < day_of(one.start_date):
        return False
    if one.end_date is not None and today >= day_of(one.end_date):
        return False
    if one.day_of_week and WEEKDAYS[local.weekday()] not in one.day_of_week:
        return False
    now = local.strftime("%H:%M")
    begin = one.start_time or "00:00"
    end = one.end_time if one.end_time and one.end_time != "00:00" else "24:00"
    return begin <= now < end if begin < end else now >= begin or now < end


def _flow_holds(one: TariffRestrictions, flow: Flow, where: str) -> bool:
    """min_*: the smallest value of the period must reach it; max_*: the largest must stay below (instantaneous, OCPI)."""
    for key, limit, measured, below in (
        ("min_power", one.min_power, _either(flow.min_power_w, flow.max_power_w), False),
        ("max_power", one.max_power, _either(flow.max_power_w, flow.min_power_w), True),
        ("min_current", one.min_current, _either(flow.min_current_ma, flow.max_current_ma), False),
        ("max_current", one.max_current, _either(flow.max_current_ma, flow.min_current_ma), True),
    ):
        if limit is None:
            continue
        if measured is None:
            raise TariffRefused(f"{where}.{key}: a charging period says nothing about this; the tariff cannot be priced")
        if (measured >= limit * 1000) is below:
            return False
    return True


def _either(first: int | None, second: int | None) -> int | None:
    """A period that tells only its largest (or smallest) value had that one throughout."""
    return second if first is None else first


def energy_thresholds(tariff: Tariff) -> tuple[int, ...]:
    """All min_kwh/max_kwh of the tariff in Wh, ascending, fractions of a Wh rounded up (the register counts whole Wh)."""
    found = {
        -int(-limit * 1000 // 1)
        for element in tariff.elements
        for limit in (element.restrictions.min_kwh, element.restrictions.max_kwh)
        if limit is not None
    }
    return tuple(sorted(found))


def duration_thresholds(tariff: Tariff) -> tuple[int, ...]:
    """All min_duration/max_duration of the tariff in seconds, ascending."""
    found = {
        limit
        for element in tariff.elements
        for limit in (element.restrictions.min_duration, element.restrictions.max_duration)
        if limit is not None
    }
    return tuple(sorted(found))


def clock_cuts(tariff: Tariff, begin_ms: int, end_ms: int, zone: ZoneInfo) -> Iterator[int]:
    """UTC ms strictly between begin and end where a clock, date or weekday restriction may switch, ascending."""
    limited = [element.restrictions for element in tariff.elements if element.restrictions.by_clock]
    if not limited:
        return
    times = {one.start_time for one in limited} | {one.end_time for one in limited} | {"00:00"}
    clock = sorted(time.fromisoformat(text) for text in times if text)
    first = datetime.fromtimestamp(begin_ms // 1000, UTC).astimezone(zone).date()
    last = datetime.fromtimestamp(end_ms // 1000, UTC).astimezone(zone).date()
    day = first
    while day <= last:
        for moment in sorted(set(_moments(day, clock, zone))):
            if begin_ms < moment < end_ms:
                yield moment
        day += timedelta(days=1)


def _moments(day: date, clock: list[time], zone: ZoneInfo) -> Iterator[int]:
    """The times of day as UTC ms; twice where the clock is set back; the jump itself on a day that has one."""
    for moment in clock:
        for fold in (0, 1):
            yield _utc_ms(datetime.combine(day, moment, zone).replace(fold=fold))
    midnight = datetime.combine(day, time(), zone)
    low, high = _utc_ms(midnight), _utc_ms(datetime.combine(day + timedelta(days=1), time(), zone))
    if high - low != DAY_MS:
        offset = _offset(low, zone)
        while high - low > 1000:  # bisection to the second: at most 27 rounds
            middle = (low + high) // 2000 * 1000
            low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
        yield high


def _utc_ms(local: datetime) -> int:
    return int(local.astimezone(UTC).timestamp()) * 1000


def _offset(utc_ms: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(utc_ms // 1000, UTC).astimezone(zone).utcoffset()


def next_boundary(tariff: Tariff, at_utc_ms: int, energy_wh: int, seconds: int, time_zone: str) -> Boundary:
    """When the applicable price may change next: take a meter reading there and start a new charging period.

    `energy_wh` and `seconds` count from the start of the session. Clock boundaries are looked for two days ahead, which
    is enough because every midnight is one where dates or weekdays matter.
    """
    ahead = clock_cuts(tariff, at_utc_ms, at_utc_ms + 2 * DAY_MS, ZoneInfo(time_zone))
    return Boundary(
        utc_ms=next(ahead, None),
        energy_wh=next((one for one in energy_thresholds(tariff) if one > energy_wh), None),
        duration_s=next((one for one in duration_thresholds(tariff) if one > seconds), None),
    )
