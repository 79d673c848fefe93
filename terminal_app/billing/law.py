"""The law pack: what a price and a meter must be like to be sold by, per country. Data with citations, one pure verdict. PURE.

`quality` says how far a rule was checked: "primary" the wording was seen in the source, "secondary" in a text about it,
"recalled" from memory: look the current edition up before anybody relies on it; "own" is a limit of this product, no law's.
This is a guard against mistakes of configuration, not legal advice: an operator who knows better overrides a rule by its name,
and that goes into the ledger.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from terminal_app import units
from terminal_app.billing.model import Dimension, Tariff, TariffElement
from terminal_app.billing.tariff import price_lines
from terminal_app.screens import PriceKind

__all__ = ["BELOW_MINIMUM", "NAMES", "RULES", "Breach", "Offer", "Quality", "Rule", "rules_for", "smallest_sellable_wh", "verdict"]


class Quality(enum.Enum):
    PRIMARY = "primary"
    SECONDARY = "secondary"
    RECALLED = "recalled"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be sold, and by what: the connector's power (kW), whether its meter signs, whether its clock may be used for
    prices (in Germany: covered by the type approval), and the step of its register (Wh)."""

    tariff: Tariff
    power_kw: Decimal
    meter_signed: bool
    clock_trusted: bool
    resolution_wh: int = 1


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule: where in the offer, and why. `rule` is the name to override it by."""

    rule: str
    where: str
    why: str
    citation: str
    quality: Quality


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one law. `since` is the first day it binds; `check` yields (where, why) for everything that breaks it."""

    name: str
    says: str
    countries: frozenset[str]
    since: date
    citation: str
    quality: Quality
    check: Callable[[Offer], Iterable[tuple[str, str]]]
    from_kw: Decimal = Decimal(0)
    below_kw: Decimal = Decimal("Infinity")

    def binds(self, country: str, power_kw: Decimal, at: date) -> bool:
        return country in self.countries and self.since <= at and self.from_kw <= power_kw < self.below_kw


EU = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
    ]
)
_AFIR_FROM = date(2024, 4, 13)
_AFIR = "Regulation (EU) 2023/1804 Art. 5(4)"
_ORDER = (PriceKind.ENERGY, PriceKind.TIME, PriceKind.FLAT, PriceKind.PARKING, PriceKind.LIMIT)
COARSEST_STEP_WH = 10
BELOW_MINIMUM = "below_minimum"
"""Why energy was not billed: less than `smallest_sellable_wh`."""
_WORDS = {Dimension.FLAT: "a fee per session", Dimension.TIME: "a price per minute of charging"}


def verdict(
    tariff: Tariff,
    country: str,
    power_kw: Decimal,
    meter_signed: bool,
    clock_trusted: bool,
    at: date,
    resolution_wh: int = 1,
    overridden: frozenset[str] = frozenset(),
) -> tuple[Breach, ...]:
    """Every rule this offer would break in a country (ISO 3166-1 alpha-2) on a day; empty = nothing known against it.

    A free tariff breaks nothing: laws about prices start with a price. `overridden`: names of rules somebody answers for.
    """
    if tariff.is_free:
        return ()
    offer = Offer(tariff, power_kw, meter_signed, clock_trusted, resolution_wh)
    return tuple(
        Breach(rule.name, where, why, rule.citation, rule.quality)
        for rule in rules_for(country, power_kw, at)
        if rule.name not in overridden
        for where, why in rule.check(offer)
    )


def rules_for(country: str, power_kw: Decimal, at: date) -> tuple[Rule, ...]:
    """The rules that bind there; empty for a country this pack knows nothing about."""
    return tuple(rule for rule in RULES if rule.binds(country, power_kw, at))


def smallest_sellable_wh(country: str, resolution_wh: int) -> int:
    """The minimum measured quantity: below it nothing may be billed, for the step of the register would be too large a part
    of it. 100 steps where the law asks for 1 % (DE: MessEV, OIML G 22; US: HB44 3.40), 0 elsewhere. [recalled]"""
    return 100 * resolution_wh if country in ("DE", "US") else 0


# --- checks ----------------------------------------------------------------------------------------------------------


def _priced(tariff: Tariff, dimension: Dimension) -> Iterator[tuple[str, TariffElement]]:
    """Elements that ask money for a dimension (a price of 0 asks for none), reservations left out."""
    for index, element in enumerate(tariff.elements):
        component = element.component(dimension)
        if component is not None and component.price > 0 and element.restrictions.reservation is None:
            yield f"elements[{index}]", element


def _minimum(tariff: Tariff) -> bool:
    limit = tariff.min_price
    return limit is not None and (limit.before_taxes > 0 or (limit.after_taxes or Decimal(0)) > 0)


def _only_energy(offer: Offer) -> Iterator[tuple[str, str]]:
    for dimension, words in _WORDS.items():
        for where, _ in _priced(offer.tariff, dimension):
            yield where, f"{words}: only a price per kWh and an occupancy fee per minute are allowed"
    if _minimum(offer.tariff):
        yield "min_price", "a least price is a fee per session for whoever charges little"
    yield from _needs_energy(offer)


def _needs_energy(offer: Offer) -> Iterator[tuple[str, str]]:
    if next(_priced(offer.tariff, Dimension.ENERGY), None) is None:
        yield "elements", "there is no price per kWh"


def _disclosed_in_order(offer: Offer) -> Iterator[tuple[str, str]]:
    """The screen makes this true by construction; checked all the same, for the screen is what the driver relies on."""
    places = [_ORDER.index(line.kind) for line in price_lines(offer.tariff)]
    if places != sorted(places):
        yield "elements", "the prices are not shown in the order kWh, minute, session, other"


def _clock(offer: Offer) -> Iterator[tuple[str, str]]:
    if offer.clock_trusted:
        return
    for index, element in enumerate(offer.tariff.elements):
        if element.restrictions.by_clock:
            yield f"elements[{index}].restrictions", "the time of day decides about the price, but the clock is not approved"
        if element.restrictions.min_duration is not None or element.restrictions.max_duration is not None:
            yield f"elements[{index}].restrictions", "the duration decides about the price, but the clock is not approved"
    for dimension in (Dimension.TIME, Dimension.PARKING_TIME):
        for where, _ in _priced(offer.tariff, dimension):
            yield where, "time is priced, but the clock is not approved"


def _signed_meter(offer: Offer) -> Iterator[tuple[str, str]]:
    if not offer.meter_signed:
        yield "meter", "its readings are not signed by an approved meter, so nobody could check the bill"


def _quarter_hours(offer: Offer) -> Iterator[tuple[str, str]]:
    for index, element in enumerate(offer.tariff.elements):
        for key in ("start_time", "end_time"):
            text = getattr(element.restrictions, key)
            if text and int(text[3:]) % 15:
                yield f"elements[{index}].restrictions.{key}", f"{text}: a price may change only at a quarter of an hour"


def _pence_per_kwh(offer: Offer) -> Iterator[tuple[str, str]]:
    if offer.tariff.currency != "GBP":
        yield "currency", f"{offer.tariff.currency}: the price must be in pence"
    yield from _needs_energy(offer)
    for dimension, words in _WORDS.items():
        for where, _ in _priced(offer.tariff, dimension):
            yield where, f"{words}: the whole price of charging must be one figure in pence per kWh"
    if _minimum(offer.tariff):
        yield "min_price", "with a least price the pence per kWh depend on how much is charged"


def _fixed_price(offer: Offer) -> Iterator[tuple[str, str]]:
    for where, element in _priced(offer.tariff, Dimension.ENERGY):
        if element.restrictions.by_clock:
            yield f"{where}.restrictions", "the price per kWh may change during the session"


def _resolution(offer: Offer) -> Iterator[tuple[str, str]]:
    if offer.resolution_wh > 1:
        yield "meter", f"its register steps by {offer.resolution_wh} Wh; the smallest indication allowed is 0.001 kWh"
    for where, element in _priced(offer.tariff, Dimension.ENERGY):
        component = element.component(Dimension.ENERGY)
        if component is not None and component.step_size > 1:
            yield where, f"step_size {component.step_size} Wh: the amount would not be the shown quantity times the price"


def _coarse(offer: Offer) -> Iterator[tuple[str, str]]:
    if offer.resolution_wh > COARSEST_STEP_WH:
        yield "meter", f"its register steps by {offer.resolution_wh} Wh, paid charges need {COARSEST_STEP_WH} Wh or finer"


RULES = (
    Rule(
        name="afir-only-energy",
        says="From 50 kW the ad hoc price is per kWh; besides it only an occupancy fee per minute.",
        countries=EU,
        since=_AFIR_FROM,
        citation=f"{_AFIR}, first subparagraph",
        quality=Quality.SECONDARY,
        check=_only_energy,
        from_kw=Decimal(50),
    ),
    Rule(
        name="afir-order",
        says="All price components are shown before the start, in the order per kWh, per minute, per session, other.",
        countries=EU,
        since=_AFIR_FROM,
        citation=f"{_AFIR}, second subparagraph",
        quality=Quality.SECONDARY,
        check=_disclosed_in_order,
    ),
    Rule(
        name="de-clock",
        says="Time stamps of a clock without approval decide about no price.",
        countries=frozenset({"DE"}),
        since=date(2015, 1, 1),
        citation="MessEG section 33(1), REA 6-A, conditions in published type approvals (Compleo, DEFA, EVBox)",
        quality=Quality.PRIMARY,
        check=_clock,
    ),
    Rule(
        name="de-signed-meter",
        says="Every billed value traces to an approved meter, and its recipient can check it.",
        countries=frozenset({"DE"}),
        since=date(2015, 1, 1),
        citation="MessEG section 33(1) and (3)",
        quality=Quality.PRIMARY,
        check=_signed_meter,
    ),
    Rule(
        name="de-quarter-hours",
        says="A price changes only with the next measuring period of a quarter of an hour.",
        countries=frozenset({"DE"}),
        since=date(2015, 1, 1),
        citation="PTB-A 50.7 section 3.1.7.2",
        quality=Quality.SECONDARY,
        check=_quarter_hours,
    ),
    Rule(
        name="gb-pence-per-kwh",
        says="The whole price of charging is shown as one figure in pence per kWh.",
        countries=frozenset({"GB"}),
        since=date(2024, 11, 24),
        citation="Public Charge Point Regulations 2023 (SI 2023/1168), pricing",
        quality=Quality.SECONDARY,
        check=_pence_per_kwh,
    ),
    Rule(
        name="us-price-per-kwh",
        says="The price is shown per kWh before the session.",
        countries=frozenset({"US"}),
        since=date(2023, 3, 30),
        citation="23 CFR 680.116(a)(1)",
        quality=Quality.PRIMARY,
        check=_needs_energy,
    ),
    Rule(
        name="us-fixed-price",
        says="The price does not change during the session.",
        countries=frozenset({"US"}),
        since=date(2023, 3, 30),
        citation="23 CFR 680.116(a)(2)",
        quality=Quality.PRIMARY,
        check=_fixed_price,
    ),
    Rule(
        name="us-indication",
        says="Energy is shown and billed in steps of 0.001 kWh.",
        countries=frozenset({"US"}),
        since=date(2023, 1, 1),
        citation="NIST Handbook 44 section 3.40, S.1 and S.2",
        quality=Quality.RECALLED,
        check=_resolution,
    ),
    Rule(
        name="coarse-register",
        says=f"The billed register steps by at most {COARSEST_STEP_WH} Wh.",
        countries=frozenset(units.COUNTRIES) - {"US"},  # whose law says more
        since=date(2015, 1, 1),
        citation="none known: one step more or less must not be worth a cent",
        quality=Quality.OWN,
        check=_coarse,
    ),
)
NAMES = frozenset(rule.name for rule in RULES)
"""What a rule may be overridden by."""
