"""A line of the bill, its one rounding, and min_price / max_price as correcting lines. PURE.

Source: OCPI 2.3.0 mod_tariffs (PriceLimit applies before and after taxes separately); DESIGN section 8 for rounding.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from terminal_app import units
from terminal_app.billing.model import PriceLimit, Tariff, TaxIncluded
from terminal_app.billing.volumes import net_and_gross
from terminal_app.screens import PriceKind

__all__ = ["CostLine", "limit_lines", "rounded"]


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


def rounded(line: CostLine, tariff: Tariff) -> CostLine:
    """The one place where a line becomes minor units. Gross leads where the price includes VAT, else net and VAT do."""
    currency, vat = tariff.currency, line.gross - line.net
    if tariff.tax_included is TaxIncluded.NO:
        net_minor, vat_minor = units.half_up(line.net, currency), units.half_up(vat, currency)
        return replace(line, net_minor=net_minor, vat_minor=vat_minor, gross_minor=net_minor + vat_minor)
    gross_minor = units.half_up(line.gross, currency)
    rate = line.vat_percent or Decimal(0)
    vat_minor = units.half_up(units.major(gross_minor, currency) * rate / (100 + rate), currency)
    return replace(line, net_minor=gross_minor - vat_minor, vat_minor=vat_minor, gross_minor=gross_minor)


def limit_lines(tariff: Tariff, lines: list[CostLine]) -> list[CostLine]:
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
