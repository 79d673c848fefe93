"""Price somebody's OCPI CDR (2.2.1 or 2.3.0) with a tariff: the nine totals of the CDR object, recomputed. PURE.

The same engine as `cost_of`, but unrounded (four decimals, as OCPI numbers have) and with reservations. A CDR may lack
whatever pricing does not need. Sources: OCPI mod_cdrs (CDR, ChargingPeriod, CdrDimensionType, step_size), mod_tariffs.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

from terminal_app.billing import canonical
from terminal_app.billing.cost import ChargingPeriod, Volume, volumes_of
from terminal_app.billing.matching import Flow, Point, active
from terminal_app.billing.model import Dimension, PriceLimit, Reservation, Tariff, utc_ms_of
from terminal_app.errors import TariffRefused

MAX_CDR_BYTES = 4 * 1024 * 1024
PER_WH = 1_000_000
"""Energy of foreign CDRs is counted in micro-Wh: exact for nine decimals of a kWh."""
HOUR_MS = 3_600_000
_ROUNDED_HOURS_MS = 181  # half a unit in the fourth decimal of an hour, and the time stamp's own millisecond


@dataclass(frozen=True, slots=True)
class Price:
    """Major units, unrounded."""

    excl_vat: Decimal = Decimal(0)
    incl_vat: Decimal = Decimal(0)

    def __add__(self, other: "Price") -> "Price":
        return Price(self.excl_vat + other.excl_vat, self.incl_vat + other.incl_vat)


@dataclass(frozen=True, slots=True)
class CdrTotals:
    """The nine totals of the CDR object. Energy in kWh and times in hours as consumed (not as stepped); costs unrounded."""

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
    try:
        found = canonical.parse(cdr, MAX_CDR_BYTES)
    except ValueError as error:
        raise TariffRefused(f"CDR: {error}") from error
    with localcontext() as context:
        context.prec = 50
        return _price(tariff, _read(found), ZoneInfo(time_zone))


@dataclass(frozen=True, slots=True)
class _Cdr:
    periods: tuple[ChargingPeriod, ...]
    reservations: tuple[tuple[int, int], ...]  # start UTC ms, duration ms
    elapsed_ms: int


def _read(found: Any) -> _Cdr:
    listed = found.get("charging_periods") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise TariffRefused("CDR: charging_periods: there are none")
    starts = [
        _instant(one.get("start_date_time"), f"charging_periods[{place}].start_date_time") for place, one in enumerate(listed)
    ]
    if starts != sorted(starts):
        raise TariffRefused("CDR: charging_periods: not in order of time")
    end = found.get("end_date_time")
    ends = [*starts[1:], starts[-1] if end is None else _instant(end, "end_date_time")]
    periods, reservations, elapsed_ms = [], [], 0
    for place, one in enumerate(listed):
        span_ms = ends[place] - starts[place]
        volumes = _volumes(one, f"charging_periods[{place}].dimensions")
        reserved_ms = _ms(volumes.get("RESERVATION_TIME"), span_ms)
        if reserved_ms:
            reservations.append((starts[place], reserved_ms))
            if not volumes.keys() & {"TIME", "PARKING_TIME", "ENERGY"}:
                continue
        both = "TIME" in volumes and "PARKING_TIME" in volumes
        charging_ms = _ms(volumes.get("TIME"), None if both or reserved_ms else span_ms)
        parking_ms = _ms(volumes.get("PARKING_TIME"), None if both or reserved_ms else span_ms)
        flow = Flow(*(_milli(volumes.get(name)) for name in ("MIN_POWER", "MAX_POWER", "MIN_CURRENT", "MAX_CURRENT")))
        periods.append(
            ChargingPeriod(starts[place], int(volumes.get("ENERGY", Decimal(0)) * 1000 * PER_WH), charging_ms, parking_ms, flow)
        )
        elapsed_ms += charging_ms + parking_ms or (0 if reserved_ms else max(span_ms, 0))
    if reservations and not any(one.energy_wh or one.charging_ms or one.parking_ms for one in periods):
        periods, elapsed_ms = [], 0  # nobody came to charge: no session, only a reservation
    return _Cdr(tuple(periods), tuple(reservations), elapsed_ms)


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


def _ms(hours: Decimal | None, span_ms: int | None) -> int:
    """Hours as ms; where they are the period's length rounded to four decimals, the time stamps are the exact value."""
    if hours is None:
        return 0
    written = int((hours * HOUR_MS).to_integral_value(ROUND_HALF_UP))
    return span_ms if span_ms is not None and abs(span_ms - written) <= _ROUNDED_HOURS_MS else written


def _milli(value: Decimal | None) -> int | None:
    return None if value is None else int(value * 1000)


def _instant(value: Any, where: str) -> int:
    try:
        return utc_ms_of(value)
    except (ValueError, TypeError, AttributeError):
        raise TariffRefused(f"CDR: {where}: {value!r} is no moment") from None


def _price(tariff: Tariff, cdr: _Cdr, zone: ZoneInfo) -> CdrTotals:
    costs = {dimension: Price() for dimension in Dimension}
    for volume in volumes_of(tariff, cdr.periods, zone, PER_WH, by_utc=True):
        costs[volume.dimension] += _worth(tariff, volume)
    reserved = _reservation(tariff, cdr, zone)
    total = sum(costs.values(), reserved)
    return CdrTotals(
        total_cost=Price(
            _limited(total.excl_vat, tariff.min_price, tariff.max_price, after=False),
            _limited(total.incl_vat, tariff.min_price, tariff.max_price, after=True),
        ),
        total_energy=Decimal(sum(one.energy_wh for one in cdr.periods)) / (1000 * PER_WH),
        total_energy_cost=costs[Dimension.ENERGY],
        total_time=Decimal(cdr.elapsed_ms) / HOUR_MS,
        total_time_cost=costs[Dimension.TIME],
        total_parking_time=Decimal(sum(one.parking_ms for one in cdr.periods)) / HOUR_MS,
        total_parking_cost=costs[Dimension.PARKING_TIME],
        total_fixed_cost=costs[Dimension.FLAT],
        total_reservation_cost=reserved,
    )


def _worth(tariff: Tariff, volume: Volume) -> Price:
    value = volume.value(tariff.tax_included, PER_WH)
    return Price(value["net"], value["gross"])


def _reservation(tariff: Tariff, cdr: _Cdr, zone: ZoneInfo) -> Price:
    """RESERVATION elements; where nobody came to charge, RESERVATION_EXPIRES elements first (mod_tariffs)."""
    if not cdr.reservations:
        return Price()
    kinds = (Reservation.RESERVATION,) if cdr.periods else (Reservation.RESERVATION_EXPIRES, Reservation.RESERVATION)
    start_ms = cdr.reservations[0][0]
    total_ms = sum(duration for _, duration in cdr.reservations)
    cost = Price()
    for dimension, amount in ((Dimension.FLAT, 1), (Dimension.TIME, total_ms)):
        choices = (active(tariff, dimension, Point(start_ms, 0, 0), zone, kind) for kind in kinds)
        found = next((one for one in choices if one is not None), None)
        if found is None:
            continue
        volume = Volume(dimension, found[0], found[1], amount)
        if dimension is Dimension.TIME and found[1].step_size:
            volume.amount += -amount % (found[1].step_size * 1000)
        cost += _worth(tariff, volume)
    return cost


def _limited(value: Decimal, least: PriceLimit | None, most: PriceLimit | None, after: bool) -> Decimal:
    """OCPI applies the limits before and after taxes separately."""
    for limit, choose in ((least, max), (most, min)):
        bound = None if limit is None else limit.after_taxes if after else limit.before_taxes
        if bound is not None:
            value = choose(value, bound)
    return value


def _four(value: Decimal) -> Decimal:
    short = value.quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP).normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short
