"""What a session costs, worked out a second time from the OCPI text, with Fractions and without any code of the product.

It looks up each period on its own at its start, in units people read (kWh, hours), where the product cuts periods itself.
Tariffs are plain dicts as in JSON; periods are (UTC ms, Wh, charging ms, parking ms).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
DECIMALS = {"JPY": 0, "EUR": 2, "USD": 2, "GBP": 2, "KWD": 3}
Period = tuple[int, int, int, int]


def fraction(value: Any) -> Fraction:
    return Fraction(str(value))


def half_up(value: Fraction) -> int:
    """HALF_UP of a number that is not negative."""
    whole, rest = divmod(value.numerator, value.denominator)
    return whole + (1 if 2 * rest >= value.denominator else 0)


@dataclass
class Bill:
    """Rounded amounts by (dimension, element), and what was consumed of each."""

    amounts: dict[tuple[str, int], Fraction] = field(default_factory=dict)
    gross: dict[tuple[str, int], int] = field(default_factory=dict)
    vat: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.gross.values())


def price(tariff: dict[str, Any], periods: list[Period], zone: str) -> Bill:
    """Without price limits, power restrictions and unread boundaries: the campaign's sessions have a reading at every boundary."""
    place, bill, last = ZoneInfo(zone), Bill(), dict[str, tuple[str, int]]()
    kwh, seconds, fee = Fraction(0), Fraction(0), False

    def use(kind: str, amount: Fraction, utc_ms: int, kwh: Fraction, seconds: Fraction) -> None:
        found = element_of(tariff, kind, utc_ms, kwh, seconds, place)
        if found is not None:
            bill.amounts[kind, found] = bill.amounts.get((kind, found), Fraction(0)) + amount
            last[kind] = (kind, found)

    for start, wh, charging, parking in periods:
        if not fee and element_of(tariff, "FLAT", start, kwh, seconds, place) is not None:
            use("FLAT", Fraction(1), start, kwh, seconds)
            fee = True
        if wh:
            use("ENERGY", Fraction(wh, 1000), start, kwh, seconds)
        if charging:
            use("TIME", Fraction(charging, 3_600_000), start, kwh, seconds)
        if parking:
            at = start + charging
            use("PARKING_TIME", Fraction(parking, 3_600_000), at, kwh + Fraction(wh, 1000), seconds + Fraction(charging, 1000))
        kwh += Fraction(wh, 1000)
        seconds += Fraction(charging + parking, 1000)
    for kind, unit in (("ENERGY", 1000), ("PARKING_TIME" if "PARKING_TIME" in last else "TIME", 3600)):
        if kind in last:
            step = component_of(tariff, *last[kind])["step_size"]
            used = sum((amount for (one, _), amount in bill.amounts.items() if one == kind), Fraction(0)) * unit
            if step and used % step:
                bill.amounts[last[kind]] += (step - used % step) / unit
    ten = 10 ** DECIMALS[tariff["currency"]]
    for (kind, place_), amount in bill.amounts.items():
        one = component_of(tariff, kind, place_)
        value, rate = fraction(one["price"]) * amount, fraction(one.get("vat", 0)) / 100
        if tariff["tax_included"] == "NO":
            bill.vat[kind, place_] = half_up(value * rate * ten)
            bill.gross[kind, place_] = half_up(value * ten) + bill.vat[kind, place_]
        else:
            bill.gross[kind, place_] = half_up(value * ten)
            bill.vat[kind, place_] = half_up(bill.gross[kind, place_] * rate / (1 + rate))
    return bill


def component_of(tariff: dict[str, Any], kind: str, element: int) -> dict[str, Any]:
    return next(one for one in tariff["elements"][element]["price_components"] if one["type"] == kind)


def element_of(tariff: dict[str, Any], kind: str, utc_ms: int, kwh: Fraction, seconds: Fraction, zone: ZoneInfo) -> int | None:
    for index, element in enumerate(tariff["elements"]):
        if all(one["type"] != kind for one in element["price_components"]):
            continue
        if _holds(element.get("restrictions", {}), utc_ms, kwh, seconds, zone):
            return index
    return None


def _holds(rule: dict[str, Any], utc_ms: int, kwh: Fraction, seconds: Fraction, zone: ZoneInfo) -> bool:
    local = datetime.fromtimestamp(utc_ms // 1000, UTC).astimezone(zone)
    minute = local.hour * 60 + local.minute
    if "start_time" in rule or "end_time" in rule:
        begin, end = _minutes(rule.get("start_time", "00:00")), _minutes(rule.get("end_time", "00:00")) or 1440
        inside = begin <= minute < end if begin < end else not end <= minute < begin
        if not inside:
            return False
    if rule.get("day_of_week") and DAYS[local.weekday()] not in rule["day_of_week"]:
        return False
    for least, most, value in (("min_kwh", "max_kwh", kwh), ("min_duration", "max_duration", seconds)):
        if least in rule and value < fraction(rule[least]):
            return False
        if most in rule and value >= fraction(rule[most]):
            return False
    return True


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def price_cdr(tariff: dict[str, Any], cdr: dict[str, Any]) -> dict[str, tuple[Fraction, Fraction]]:
    """Unrounded (net, gross) per dimension of an OCPI CDR whose numbers are texts; UTC; without limits and reservations."""
    kwh, begin, fee = Fraction(0), None, False
    used = list[tuple[str, int, Fraction]]()
    for period in cdr["charging_periods"]:
        start = int(datetime.fromisoformat(period["start_date_time"]).timestamp()) * 1000
        begin = start if begin is None else begin
        seconds = Fraction(start - begin, 1000)
        volumes = {one["type"]: Fraction(one["volume"]) for one in period["dimensions"]}
        kinds = list(volumes) if fee else [*volumes, "FLAT"]
        for kind in kinds:
            found = element_of(tariff, kind, start, kwh, seconds, ZoneInfo("UTC"))
            if found is not None:
                used.append((kind, found, volumes.get(kind, Fraction(1))))
                fee = fee or kind == "FLAT"
        kwh += volumes.get("ENERGY", Fraction(0))
    timed = "PARKING_TIME" if any(kind == "PARKING_TIME" for kind, _, _ in used) else "TIME"
    for kind, unit in (("ENERGY", 1000), (timed, 3600)):
        mine = [one for one in used if one[0] == kind]
        step = component_of(tariff, kind, mine[-1][1])["step_size"] if mine else 0
        if step:
            total = sum(amount for _, _, amount in mine) * unit
            # hours have four decimals: 0.36 s of each may be rounding, which no step is billed for
            slack = min(Fraction(36, 100) * len(mine), Fraction(999, 1000)) if unit == 3600 else Fraction(0)
            steps = -((-(total - slack)) // step)
            used.append((kind, mine[-1][1], (steps * step - total) / unit))
    totals = dict[str, tuple[Fraction, Fraction]]()
    for kind, found, amount in used:
        one = component_of(tariff, kind, found)
        value, rate = fraction(one["price"]) * amount, fraction(one.get("vat", 0)) / 100
        pair = (value, value * (1 + rate)) if tariff["tax_included"] == "NO" else (value / (1 + rate), value)
        before = totals.get(kind, (Fraction(0), Fraction(0)))
        totals[kind] = (before[0] + pair[0], before[1] + pair[1])
    return totals
