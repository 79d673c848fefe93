"""How much of a session each price component prices: periods divided at thresholds and clock, steps added. PURE.

Sources: OCPI 2.3.0 mod_tariffs (which element is active), mod_cdrs (step_size). Integers only: Wh and ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from terminal_app.billing.matching import (
    UNMEASURED,
    Flow,
    Point,
    active,
    clock_cuts,
    duration_thresholds,
    energy_thresholds,
)
from terminal_app.billing.model import Dimension, PriceComponent, Tariff, TaxIncluded

__all__ = ["ChargingPeriod", "Volume", "net_and_gross", "volumes_of"]

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


def net_and_gross(value: Decimal, vat_percent: Decimal, included: TaxIncluded) -> dict[str, Decimal]:
    """A value as the tariff writes it, without and with VAT, exact in the context's precision."""
    if included is TaxIncluded.YES:
        return {"net": value * 100 / (100 + vat_percent), "gross": value}
    return {"net": value, "gross": value * (100 + vat_percent) / 100}


@dataclass(slots=True)
class Volume:
    """Everything of one session that one price component prices, steps included."""

    dimension: Dimension
    element: int
    component: PriceComponent
    amount: int = 0
    late: int = 0
    stepped: int = 0

    def value(self, included: TaxIncluded) -> dict[str, Decimal]:
        """Exact `net` and `gross` in major units (call with a decimal context of 50 digits)."""
        return net_and_gross(self.component.price * self.amount / _UNIT[self.dimension], self.component.vat_percent, included)


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


def volumes_of(tariff: Tariff, periods: Sequence[ChargingPeriod], zone: ZoneInfo) -> list[Volume]:
    """What each price component prices: the engine under `cost_of`. Durations are the monotonic ones of the periods."""
    tally = _Tally()
    energy_wh = duration_ms = 0
    energy_cuts, duration_cuts = energy_thresholds(tariff), duration_thresholds(tariff)
    for period in periods:
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
            return Point(period.start_utc_ms + offset_ms, wh, before_ms + offset_ms, period.flow)

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
    _apply_steps(tally)
    order = list(_UNIT)
    return sorted(tally.volumes.values(), key=lambda one: (order.index(one.dimension), one.element))


def _apply_steps(tally: _Tally) -> None:
    """step_size: once for the energy and once for the time of a session, each by the last component in use (OCPI mod_cdrs).

    As soon as a session has paid parking, only the parking is stepped, never the charging time. 0 means no steps.
    """
    timed = Dimension.PARKING_TIME if Dimension.PARKING_TIME in tally.last else Dimension.TIME
    for dimension in (Dimension.ENERGY, timed):
        last = tally.last.get(dimension)
        if last is None or last.component.step_size == 0:
            continue
        total = sum(one.amount for one in tally.volumes.values() if one.dimension is dimension)
        step = last.component.step_size * (1 if dimension is Dimension.ENERGY else 1000)
        last.stepped = -total % step
        last.amount += last.stepped
