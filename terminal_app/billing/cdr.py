"""Price somebody's OCPI CDR (2.2.1 or 2.3.0) with a tariff: the nine totals of the CDR object, recomputed. PURE.

A charging period of a CDR is priced as a whole by what applies at its start: OCPI asks for a new period wherever something
that matters for the price changes (mod_cdrs, ChargingPeriod), and its volumes are priced exactly as they are written. FLAT is
billed once, by the first element that is active. A CDR may lack whatever pricing does not need. Nothing is rounded but the
output, to four decimals. Sources: OCPI mod_cdrs (CDR, CdrDimensionType, step_size), mod_tariffs (elements, reservations, limits).
"""

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

from terminal_app.billing import canonical
from terminal_app.billing.foreign import choose, tariffs_in, tariffs_of
from terminal_app.billing.matching import Flow, Point, active
from terminal_app.billing.model import Dimension, PriceComponent, Reservation, Tariff, utc_ms_of
from terminal_app.billing.volumes import net_and_gross
from terminal_app.errors import TariffRefused

__all__ = ["CdrTotals", "Price", "price_cdr", "price_cdr_with"]

MAX_CDR_BYTES = 4 * 1024 * 1024
MAX_CDR_DIGITS = 25  # others write what their floating point says: 20.450000000000003
HOUR_MS = 3_600_000
WRITTEN_S = Decimal("0.36")
"""Hours have four decimals in OCPI: that much of a written duration may be rounding, and no step is billed for rounding."""

DUST_WH = Decimal("0.000001")
"""Less than that is floating point, not energy."""


@dataclass(frozen=True, slots=True)
class Price:
    """Major units, unrounded."""

    excl_vat: Decimal = Decimal(0)
    incl_vat: Decimal = Decimal(0)

    def __add__(self, other: "Price") -> "Price":
        return Price(self.excl_vat + other.excl_vat, self.incl_vat + other.incl_vat)


@dataclass(frozen=True, slots=True)
class CdrTotals:
    """The nine totals of the CDR object. Energy in kWh and times in hours as consumed (not as stepped); costs unrounded.

    `total_time` runs from the start of the first period to the end of the session, reservation excluded.
    """

    total_cost: Price
    total_energy: Decimal
    total_energy_cost: Price
    total_time: Decimal
    total_time_cost: Price
    total_parking_time: Decimal
    total_parking_cost: Price
    total_fixed_cost: Price
    total_reservation_cost: Price

    def as_json(self) -> dict[str, Any]:
        """Decimals with at most four decimals, HALF_UP; costs as {"excl_vat", "incl_vat"}."""
        found: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            found[name] = (
                {"excl_vat": _four(value.excl_vat), "incl_vat": _four(value.incl_vat)} if isinstance(value, Price) else _four(value)
            )
        return found


def price_cdr(tariff: Tariff, cdr: bytes, time_zone: str = "UTC") -> CdrTotals:
    """Price the charging periods of a CDR (JSON object). TariffRefused: "where: why" for what cannot be priced. Moves no money."""
    with localcontext() as context:
        context.prec = 50
        return _price(tariff, _read(_parsed(cdr)), ZoneInfo(time_zone))


def price_cdr_with(tariffs: bytes | None, cdr: bytes, time_zone: str = "UTC", wanted: str = "") -> tuple[Tariff, CdrTotals]:
    """Price with the tariff the CDR names in its periods, else the first that was valid at its start.

    `tariffs`: one Tariff, a list or an OCPI answer; None: those inside the CDR. `wanted`: the id of the one to take.
    """
    found = _parsed(cdr)
    inside = found.get("tariffs")
    if tariffs is None and not inside:
        raise TariffRefused("CDR: tariffs: there are none inside: name a tariff file")
    candidates = tariffs_of(inside, nameless=True) if tariffs is None else tariffs_in(tariffs, nameless=True)
    if not wanted and len(candidates) > 1:
        named = {one.get("tariff_id") for one in _periods(found) if one.get("tariff_id")}
        if len(named) > 1:
            raise TariffRefused(f"CDR: its periods name several tariffs ({', '.join(sorted(map(str, named)))}): choose one")
        wanted = str(named.pop()) if named else ""
    start = _instant(_periods(found)[0].get("start_date_time"), "charging_periods[0].start_date_time")
    tariff = candidates[0] if len(candidates) == 1 and not wanted else choose(candidates, wanted, start)
    if isinstance(currency := found.get("currency"), str) and currency.upper() != tariff.currency:
        raise TariffRefused(f"CDR: currency: {currency}, but tariff {tariff.id} is in {tariff.currency}")
    return tariff, price_cdr(tariff, cdr, time_zone)


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Period:
    """Volumes in kWh and hours; None: the period does not have the dimension. `since_ms` from the start of the session."""

    start_utc_ms: int
    since_ms: int
    energy: Decimal | None
    time: Decimal | None
    parking: Decimal | None
    flow: Flow


@dataclass(frozen=True, slots=True)
class _Cdr:
    periods: tuple[_Period, ...]
    reservations: tuple[tuple[int, Decimal], ...]  # start UTC ms, hours
    elapsed: Decimal


def _parsed(cdr: bytes) -> dict[str, Any]:
    try:
        found = canonical.parse(cdr, MAX_CDR_BYTES, MAX_CDR_DIGITS)
    except ValueError as error:
        raise TariffRefused(f"CDR: {error}") from error
    if isinstance(found, dict) and "charging_periods" not in found and isinstance(found.get("data"), dict):
        found = found["data"]
    if not isinstance(found, dict):
        raise TariffRefused("CDR: charging_periods: this is no CDR object")
    return found


def _periods(found: dict[str, Any]) -> list[dict[str, Any]]:
    listed = found.get("charging_periods")
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise TariffRefused("CDR: charging_periods: there are none")
    return listed


def _read(found: dict[str, Any]) -> _Cdr:
    listed = _periods(found)
    starts = [
        _instant(one.get("start_date_time"), f"charging_periods[{place}].start_date_time") for place, one in enumerate(listed)
    ]
    if starts != sorted(starts):
        raise TariffRefused("CDR: charging_periods: not in order of time")
    end = found.get("end_date_time")
    end_ms = None if end is None else _instant(end, "end_date_time")
    if end_ms is not None and end_ms < starts[-1]:
        raise TariffRefused("CDR: end_date_time: is before the last charging period")
    periods: list[_Period] = []
    reservations: list[tuple[int, Decimal]] = []
    for place, one in enumerate(listed):
        volumes = _volumes(one, f"charging_periods[{place}].dimensions")
        reserved = volumes.get("RESERVATION_TIME", Decimal(0))
        if reserved:
            reservations.append((starts[place], reserved))
            if not volumes.keys() & {"TIME", "PARKING_TIME", "ENERGY"}:
                continue
        begun = periods[0].start_utc_ms if periods else starts[place]
        flow = Flow(*(_milli(volumes.get(name)) for name in ("MIN_POWER", "MAX_POWER", "MIN_CURRENT", "MAX_CURRENT")))
        energy, time, parking = (volumes.get(name) for name in ("ENERGY", "TIME", "PARKING_TIME"))
        periods.append(_Period(starts[place], starts[place] - begun, energy, time, parking, flow))
    if reservations and not any(one.energy or one.time or one.parking for one in periods):
        periods = []  # nobody came to charge: no session, only a reservation
    return _Cdr(tuple(periods), tuple(reservations), _elapsed(periods, end_ms))


def _elapsed(periods: list[_Period], end_ms: int | None) -> Decimal:
    """Hours from the first period to the end; without an end, the last period is as long as its times say."""
    if not periods:
        return Decimal(0)
    if end_ms is not None:
        return Decimal(end_ms - periods[0].start_utc_ms) / HOUR_MS
    last = periods[-1]
    return Decimal(last.since_ms) / HOUR_MS + (last.time or 0) + (last.parking or 0)


def _volumes(period: dict[str, Any], where: str) -> dict[str, Decimal]:
    """Volumes by dimension type. Types that pricing does not know are left out; a type twice is refused."""
    found: dict[str, Decimal] = {}
    listed = period.get("dimensions")
    if not isinstance(listed, list):
        raise TariffRefused(f"CDR: {where}: missing")
    for one in listed:
        volume = one.get("volume") if isinstance(one, dict) else None
        if not isinstance(volume, (int, Decimal)) or isinstance(volume, bool) or volume < 0 or one.get("type") in found:
            raise TariffRefused(f"CDR: {where}: {one!r} is not one volume")
        found[str(one.get("type"))] = Decimal(volume)
    return found


def _milli(value: Decimal | None) -> int | None:
    return None if value is None else int(value * 1000)


def _instant(value: Any, where: str) -> int:
    try:
        return utc_ms_of(value.removesuffix("+00:00"))
    except (ValueError, TypeError, AttributeError):
        raise TariffRefused(f"CDR: {where}: {value!r} is no moment in UTC") from None


# --- pricing -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Use:
    """What one component prices: kWh, hours or 1. `parts`: how many written volumes are in it."""

    component: PriceComponent
    amount: Decimal = Decimal(0)
    parts: int = 0


@dataclass(slots=True)
class _Tally:
    uses: dict[Dimension, dict[int, _Use]] = field(default_factory=lambda: {one: {} for one in Dimension})
    last: dict[Dimension, _Use] = field(default_factory=dict)

    def add(self, dimension: Dimension, found: tuple[int, PriceComponent] | None, amount: Decimal) -> None:
        if found is None:
            return  # free
        use = self.uses[dimension].setdefault(found[0], _Use(found[1]))
        use.amount += amount
        use.parts += 1
        self.last[dimension] = use

    def apply_steps(self) -> None:
        """Once for energy and once for time, each by the last component in use; with paid parking only the parking."""
        timed = Dimension.PARKING_TIME if Dimension.PARKING_TIME in self.last else Dimension.TIME
        for dimension in (Dimension.ENERGY, timed):
            last = self.last.get(dimension)
            if last is None or last.component.step_size == 0:
                continue
            uses = self.uses[dimension].values()
            total = sum((one.amount for one in uses), Decimal(0))
            last.amount += _stepped(dimension, total, last.component.step_size, sum(one.parts for one in uses)) - total


def _stepped(dimension: Dimension, total: Decimal, step_size: int, parts: int) -> Decimal:
    """A total of kWh or hours, up to whole steps of Wh or seconds."""
    small = 1000 if dimension is Dimension.ENERGY else 3600
    slack = parts * DUST_WH if dimension is Dimension.ENERGY else min(parts * WRITTEN_S, Decimal("0.999"))
    steps = ((total * small - slack) / step_size).to_integral_value(ROUND_CEILING)
    return max(steps, Decimal(0)) * step_size / small


def _price(tariff: Tariff, cdr: _Cdr, zone: ZoneInfo) -> CdrTotals:
    tally, energy, flat_billed = _Tally(), Decimal(0), False
    for period in cdr.periods:
        at = Point(period.start_utc_ms, round(energy * 1000, 6), period.since_ms, period.flow)
        if not flat_billed and (fee := active(tariff, Dimension.FLAT, at, zone)):
            tally.add(Dimension.FLAT, fee, Decimal(1))
            flat_billed = True
        for dimension, amount in (
            (Dimension.ENERGY, period.energy),
            (Dimension.TIME, period.time),
            (Dimension.PARKING_TIME, period.parking),
        ):
            if amount:
                tally.add(dimension, active(tariff, dimension, at, zone), amount)
        energy += period.energy or 0
    tally.apply_steps()
    costs = {
        dimension: sum((_worth(tariff, one.component, one.amount) for one in uses.values()), Price())
        for dimension, uses in tally.uses.items()
    }
    reserved = _reservation(tariff, cdr, zone)
    return CdrTotals(
        total_cost=_limited(sum(costs.values(), reserved), tariff),
        total_energy=energy,
        total_energy_cost=costs[Dimension.ENERGY],
        total_time=cdr.elapsed,
        total_time_cost=costs[Dimension.TIME],
        total_parking_time=sum((one.parking or Decimal(0) for one in cdr.periods), Decimal(0)),
        total_parking_cost=costs[Dimension.PARKING_TIME],
        total_fixed_cost=costs[Dimension.FLAT],
        total_reservation_cost=reserved,
    )


def _worth(tariff: Tariff, component: PriceComponent, amount: Decimal) -> Price:
    value = net_and_gross(component.price * amount, component.vat_percent, tariff.tax_included)
    return Price(value["net"], value["gross"])


def _reservation(tariff: Tariff, cdr: _Cdr, zone: ZoneInfo) -> Price:
    """RESERVATION elements; where nobody came to charge, RESERVATION_EXPIRES elements first (mod_tariffs)."""
    if not cdr.reservations:
        return Price()
    kinds = (Reservation.RESERVATION,) if cdr.periods else (Reservation.RESERVATION_EXPIRES, Reservation.RESERVATION)
    hours = sum((duration for _, duration in cdr.reservations), Decimal(0))
    cost = Price()
    for dimension, amount in ((Dimension.FLAT, Decimal(1)), (Dimension.TIME, hours)):
        choices = (active(tariff, dimension, Point(cdr.reservations[0][0], 0, 0), zone, kind) for kind in kinds)
        found = next((one for one in choices if one is not None), None)
        if found is None:
            continue
        if dimension is Dimension.TIME and found[1].step_size:
            amount = _stepped(dimension, amount, found[1].step_size, len(cdr.reservations))
        cost += _worth(tariff, found[1], amount)
    return cost


def _limited(total: Price, tariff: Tariff) -> Price:
    """OCPI applies the limits before and after taxes separately. A limit that is written only before taxes moves the taxes with
    it in proportion, so that a price with VAT is never below the one without."""
    excl, incl = total.excl_vat, total.incl_vat
    for limit, choose_ in ((tariff.min_price, max), (tariff.max_price, min)):
        if limit is None:
            continue
        bound = choose_(excl, limit.before_taxes)
        if limit.after_taxes is not None:
            incl = choose_(incl, limit.after_taxes)
        elif bound != excl:
            incl = bound * _with_taxes(tariff, excl, incl)
        excl = bound
    return Price(excl, incl)


def _with_taxes(tariff: Tariff, excl: Decimal, incl: Decimal) -> Decimal:
    if excl:
        return incl / excl
    return (100 + tariff.components[0].vat_percent) / Decimal(100)


def _four(value: Decimal) -> Decimal:
    short = value.quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP).normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short
