"""One exact function from charging periods to money: `cost_of`. The running cost and the bill are the same call. PURE.

No floats; nothing is rounded before a line is complete; each line is rounded once, HALF_UP, to minor units (units.half_up);
totals are sums of lines. Prices as in OCPI 2.3.0 mod_tariffs, step_size and price limits included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from itertools import pairwise
from zoneinfo import ZoneInfo

from terminal_app import units
from terminal_app.billing.matching import (
    UNMEASURED,
    Boundary,
    Flow,
    Point,
    active,
    clock_cuts,
    duration_thresholds,
    energy_thresholds,
    next_boundary,
)
from terminal_app.billing.model import Dimension, PriceComponent, PriceLimit, Tariff, TaxIncluded
from terminal_app.billing.tariff import KIND_OF, dearest_second_price, dearest_wh_price
from terminal_app.screens import PriceKind

__all__ = [
    "UNMEASURED",
    "Boundary",
    "ChargingPeriod",
    "Cost",
    "CostLine",
    "Flow",
    "cost_of",
    "dearest_second_price",
    "dearest_wh_price",
    "next_boundary",
]

_PRECISION = 50
_UNIT = {Dimension.ENERGY: 1000, Dimension.TIME: 3_600_000, Dimension.PARKING_TIME: 3_600_000, Dimension.FLAT: 1}


@dataclass(frozen=True, slots=True)
class ChargingPeriod:
    """A part of a session between two readings: energy (Wh) and durations (ms, monotonic clock) of this period alone.

    What was used before follows from the order of the periods. `charging_ms` comes before `parking_ms` if both are given.
    `flow` is needed only by tariffs with power or current restrictions.
    """

    start_utc_ms: int
    energy_wh: int
    charging_ms: int
    parking_ms: int = 0
    flow: Flow = UNMEASURED

    def __post_init__(self) -> None:
        if min(self.energy_wh, self.charging_ms, self.parking_ms) < 0:
            raise ValueError(f"a charging period counts upwards: {self}")


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of the bill. `amount` in Wh (ENERGY), ms (TIME, PARKING), sessions (FLAT); what is billed, steps included.

    `price` and `vat_percent` as the tariff writes them (per kWh, hour, session; with or without VAT as `tax_included`
    says). `element` is the index of the tariff element that applied (-1: a price limit). `stepped` of the amount was added
    by step_size, `late` was priced at the cheaper side because no reading was taken where the price changed.
    `net`, `vat`, `gross` unrounded, in major units; `*_minor` rounded, net + vat = gross.
    """

    kind: PriceKind
    amount: int
    price: Decimal
    vat_percent: Decimal | None
    element: int
    net: Decimal
    gross: Decimal
    net_minor: int
    vat_minor: int
    gross_minor: int
    stepped: int = 0
    late: int = 0

    @property
    def quantity(self) -> Decimal:
        """kWh, minutes or sessions."""
        if self.kind is PriceKind.ENERGY:
            return Decimal(self.amount) / 1000
        return Decimal(self.amount) / 60_000 if self.kind in (PriceKind.TIME, PriceKind.PARKING) else Decimal(self.amount)

    @property
    def unit_price(self) -> Decimal:
        """Per unit of `quantity`, with or without VAT as the tariff says."""
        return self.price / 60 if self.kind in (PriceKind.TIME, PriceKind.PARKING) else self.price


@dataclass(frozen=True, slots=True)
class Cost:
    """What a session costs. `*_minor` are sums of lines; `net`, `gross` the unrounded totals (before price limits)."""

    currency: str
    tax_included: TaxIncluded
    lines: tuple[CostLine, ...]
    energy_wh: int
    charging_ms: int
    parking_ms: int

    @property
    def net_minor(self) -> int:
        return sum(line.net_minor for line in self.lines)

    @property
    def vat_minor(self) -> int:
        return sum(line.vat_minor for line in self.lines)

    @property
    def total_minor(self) -> int:
        """Gross: what the driver pays."""
        return sum(line.gross_minor for line in self.lines)

    @property
    def net(self) -> Decimal:
        return sum((line.net for line in self.lines if line.kind is not PriceKind.LIMIT), Decimal(0))

    @property
    def gross(self) -> Decimal:
        return sum((line.gross for line in self.lines if line.kind is not PriceKind.LIMIT), Decimal(0))


def cost_of(tariff: Tariff, periods: Sequence[ChargingPeriod], time_zone: str) -> Cost:
    """Price the charging periods of a session, in order. No periods: nothing was sold, no lines, not even a minimum price.

    Where the price changes inside a period: energy is divided exactly at energy thresholds and time exactly at clock and
    duration thresholds; but energy over a clock threshold (or time over an energy threshold) cannot be divided without
    inventing a reading, so all of that period goes to the cheaper side and is marked `late`. Therefore the caller starts
    a new period with the last reading before a boundary and again with the first one after it (`next_boundary`).
    Raises TariffRefused if the tariff prices by power or current and a period does not tell it. Moves no money.
    """
    with localcontext() as context:
        context.prec = _PRECISION
        volumes = volumes_of(tariff, periods, ZoneInfo(time_zone))
        lines = [_line(tariff, one) for one in volumes]
        if periods:
            lines += _limit_lines(tariff, lines)
    return Cost(
        currency=tariff.currency,
        tax_included=tariff.tax_included,
        lines=tuple(lines),
        energy_wh=sum(one.energy_wh for one in periods),
        charging_ms=sum(one.charging_ms for one in periods),
        parking_ms=sum(one.parking_ms for one in periods),
    )


@dataclass(slots=True)
class Volume:
    """Everything of one session that one price component prices, steps included."""

    dimension: Dimension
    element: int
    component: PriceComponent
    amount: int = 0
    late: int = 0
    stepped: int = 0

    def value(self, included: TaxIncluded, per_wh: int = 1) -> dict[str, Decimal]:
        """Exact `net` and `gross` in major units (call with a decimal context of 50 digits)."""
        unit = _UNIT[self.dimension] * (per_wh if self.dimension is Dimension.ENERGY else 1)
        return net_and_gross(self.component.price * self.amount / unit, self.component.vat_percent, included)


class _Tally:
    """Adds up amounts per (dimension, element), so that no rounding depends on how often the meter was read."""

    def __init__(self) -> None:
        self.volumes: dict[tuple[Dimension, int], Volume] = {}
        self.last: dict[Dimension, Volume] = {}
        self.flat_billed = False

    def add(self, dimension: Dimension, choices: list[tuple[int, PriceComponent] | None], amount: int) -> None:
        """`choices`: what applies along the piece, in order; more than one means no reading was taken at the change."""
        distinct = list(dict.fromkeys(None if one is None else one[0] for one in choices))
        if None in distinct:
            return  # free on one side
        index, component = min((one for one in choices if one is not None), key=lambda one: one[1].price)
        volume = self.volumes.setdefault((dimension, index), Volume(dimension, index, component))
        volume.amount += amount
        volume.late += amount if len(distinct) > 1 else 0
        self.last[dimension] = volume


def volumes_of(
    tariff: Tariff, periods: Sequence[ChargingPeriod], zone: ZoneInfo, per_wh: int = 1, by_utc: bool = False
) -> list[Volume]:
    """What each price component prices. The engine under `cost_of`; others' CDRs come in here with finer energy.

    `per_wh`: how many units of `energy_wh` make a Wh. `by_utc`: the session's duration follows the time stamps where the
    periods do not tell it (a CDR without TIME); our own sessions only ever use monotonic durations.
    """
    tally = _Tally()
    energy_wh = duration_ms = 0
    energy_cuts, duration_cuts = [one * per_wh for one in energy_thresholds(tariff)], duration_thresholds(tariff)
    for period in periods:
        if by_utc:
            duration_ms = max(duration_ms, period.start_utc_ms - periods[0].start_utc_ms)
        length_ms = period.charging_ms + period.parking_ms
        # Where time may be cut: (ms since period start), always at the change from charging to parking.
        cuts = {
            moment - period.start_utc_ms
            for moment in clock_cuts(tariff, period.start_utc_ms, period.start_utc_ms + length_ms, zone)
        }
        cuts |= {cut * 1000 - duration_ms for cut in duration_cuts if 0 < cut * 1000 - duration_ms < length_ms}
        cuts |= {0, period.charging_ms} if period.charging_ms < length_ms else {0}
        times = [*sorted(cuts), length_ms]
        inside = [cut for cut in energy_cuts if energy_wh < cut < energy_wh + period.energy_wh]
        energies = [energy_wh, *inside, energy_wh + period.energy_wh]

        def at(offset_ms: int, wh: int, period: ChargingPeriod = period, before_ms: int = duration_ms) -> Point:
            return Point(
                period.start_utc_ms + offset_ms, wh if per_wh == 1 else Decimal(wh) / per_wh, before_ms + offset_ms, period.flow
            )

        if not tally.flat_billed:
            # One start fee per session: the first that is active (OCPI is silent; so does the best known open engine).
            for offset, wh in ((o, w) for o in times[:-1] for w in energies[:-1]):
                if found := active(tariff, Dimension.FLAT, at(offset, wh), zone):
                    tally.add(Dimension.FLAT, [found], 1)
                    tally.flat_billed = True
                    break
        charged_in = [o for o in times[:-1] if o < period.charging_ms] or times[:-1]
        for begin, end in pairwise(energies):
            if end > begin:
                tally.add(Dimension.ENERGY, [active(tariff, Dimension.ENERGY, at(o, begin), zone) for o in charged_in], end - begin)
        for begin, end in pairwise(times):
            dimension = Dimension.TIME if begin < period.charging_ms else Dimension.PARKING_TIME
            levels = energies[-1:] if dimension is Dimension.PARKING_TIME and period.charging_ms else energies[:-1]
            if end > begin:
                tally.add(dimension, [active(tariff, dimension, at(begin, wh), zone) for wh in levels], end - begin)
        energy_wh += period.energy_wh
        duration_ms += length_ms
    _apply_steps(tally, per_wh)
    order = list(_UNIT)
    return sorted(tally.volumes.values(), key=lambda one: (order.index(one.dimension), one.element))


def _apply_steps(tally: _Tally, per_wh: int) -> None:
    """step_size: once for the energy and once for the time of a session, each by the last component in use (OCPI mod_cdrs).

    As soon as a session has paid parking, only the parking is stepped, never the charging time. 0 means no steps.
    """
    timed = Dimension.PARKING_TIME if Dimension.PARKING_TIME in tally.last else Dimension.TIME
    for dimension in (Dimension.ENERGY, timed):
        last = tally.last.get(dimension)
        if last is None or last.component.step_size == 0:
            continue
        total = sum(one.amount for one in tally.volumes.values() if one.dimension is dimension)
        step = last.component.step_size * (per_wh if dimension is Dimension.ENERGY else 1000)
        last.stepped = -total % step
        last.amount += last.stepped


def _line(tariff: Tariff, one: Volume) -> CostLine:
    return _rounded(
        CostLine(
            kind=KIND_OF[one.dimension],
            amount=one.amount,
            price=one.component.price,
            vat_percent=one.component.vat,
            element=one.element,
            **one.value(tariff.tax_included),
            net_minor=0,
            vat_minor=0,
            gross_minor=0,
            stepped=one.stepped,
            late=one.late,
        ),
        tariff,
    )


def net_and_gross(value: Decimal, vat_percent: Decimal, included: TaxIncluded) -> dict[str, Decimal]:
    """A value as the tariff writes it, without and with VAT, exact in the context's precision."""
    if included is TaxIncluded.YES:
        return {"net": value * 100 / (100 + vat_percent), "gross": value}
    return {"net": value, "gross": value * (100 + vat_percent) / 100}


def _rounded(line: CostLine, tariff: Tariff) -> CostLine:
    """The one place where a line becomes minor units. Gross leads where the price includes VAT, else net and VAT do."""
    currency, vat = tariff.currency, line.gross - line.net
    if tariff.tax_included is TaxIncluded.NO:
        net_minor, vat_minor = units.half_up(line.net, currency), units.half_up(vat, currency)
        return replace(line, net_minor=net_minor, vat_minor=vat_minor, gross_minor=net_minor + vat_minor)
    gross_minor = units.half_up(line.gross, currency)
    rate = line.vat_percent or Decimal(0)
    vat_minor = units.half_up(units.major(gross_minor, currency) * rate / (100 + rate), currency)
    return replace(line, net_minor=gross_minor - vat_minor, vat_minor=vat_minor, gross_minor=gross_minor)


def _limit_lines(tariff: Tariff, lines: list[CostLine]) -> list[CostLine]:
    """min_price and max_price as correcting lines, one per VAT rate, so that lines still add up to the total.

    OCPI applies a limit before and after taxes separately. The bill must stay consistent (net + VAT = gross), so the
    stricter of both decides and the correction is spread over the VAT rates in proportion.
    """
    net, gross = sum((one.net for one in lines), Decimal(0)), sum((one.gross for one in lines), Decimal(0))
    rates: dict[Decimal | None, Decimal] = {}
    for one in lines:
        rates[one.vat_percent] = rates.get(one.vat_percent, Decimal(0)) + one.gross
    if tariff.max_price is not None and (factor := _factor(tariff.max_price, net, gross, most=True)) < 1:
        target = gross * factor
    elif tariff.min_price is not None and _below(tariff.min_price, net, gross):
        if gross == 0:
            rate = tariff.components[0].vat
            rates = {rate: Decimal(1)}
            asked = net_and_gross(tariff.min_price.before_taxes, rate or Decimal(0), TaxIncluded.NO)["gross"]
            target = max(asked, tariff.min_price.after_taxes or Decimal(0))
        else:
            target = gross * _factor(tariff.min_price, net, gross, most=False)
    else:
        return []
    missing = units.half_up(target, tariff.currency) - sum(one.gross_minor for one in lines)
    return _spread(missing, target - gross, rates, tariff.currency)


def _factor(limit: PriceLimit, net: Decimal, gross: Decimal, most: bool) -> Decimal:
    pairs = ((limit.before_taxes, net), (limit.after_taxes, gross))
    factors = [asked / now for asked, now in pairs if asked is not None and now > 0]
    return (min(factors) if most else max(factors)) if factors else Decimal(1)


def _below(limit: PriceLimit, net: Decimal, gross: Decimal) -> bool:
    return net < limit.before_taxes or (limit.after_taxes is not None and gross < limit.after_taxes)


def _spread(missing_minor: int, missing: Decimal, rates: dict[Decimal | None, Decimal], currency: str) -> list[CostLine]:
    """Divide a correction over VAT rates by their share; what rounding leaves goes to the last rate."""
    whole = sum(rates.values(), Decimal(0))
    left, found = missing_minor, []
    ordered = sorted(rates.items(), key=lambda one: (one[1], one[0] or Decimal(0)))
    for place, (rate, share) in enumerate(ordered):
        last = place == len(ordered) - 1
        gross_minor = left if last else units.half_up(units.major(missing_minor, currency) * share / whole, currency)
        left -= gross_minor
        percent = rate or Decimal(0)
        vat_minor = units.half_up(units.major(gross_minor, currency) * percent / (100 + percent), currency)
        gross = missing * share / whole
        found.append(
            CostLine(
                kind=PriceKind.LIMIT,
                amount=1,
                price=units.major(gross_minor, currency),
                vat_percent=rate,
                element=-1,
                net=gross * 100 / (100 + percent),
                gross=gross,
                net_minor=gross_minor - vat_minor,
                vat_minor=vat_minor,
                gross_minor=gross_minor,
            )
        )
    return [one for one in found if one.gross_minor]
