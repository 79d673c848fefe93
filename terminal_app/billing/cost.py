"""One exact function from charging periods to money: `cost_of`. The running cost and the bill are the same call. PURE.

No floats; nothing is rounded before a line is complete; each line is rounded once, HALF_UP, to minor units (units.half_up);
totals are sums of lines. Prices as in OCPI 2.3.0 mod_tariffs, step_size and price limits included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

from terminal_app.billing.limits import CostLine, limit_lines, rounded
from terminal_app.billing.matching import UNMEASURED, Boundary, Flow, next_boundary
from terminal_app.billing.model import Tariff, TaxIncluded
from terminal_app.billing.tariff import KIND_OF, dearest_second_price, dearest_wh_price
from terminal_app.billing.volumes import ChargingPeriod, Volume, volumes_of
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
            lines += limit_lines(tariff, lines)
    return Cost(
        currency=tariff.currency,
        tax_included=tariff.tax_included,
        lines=tuple(lines),
        energy_wh=sum(one.energy_wh for one in periods),
        charging_ms=sum(one.charging_ms for one in periods),
        parking_ms=sum(one.parking_ms for one in periods),
    )


def _line(tariff: Tariff, one: Volume) -> CostLine:
    return rounded(
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
