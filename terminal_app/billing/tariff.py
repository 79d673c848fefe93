"""Tariff in, price list out: parsing and refusing a tariff, and disclosing it to the driver. PURE, moves no money.

Sources: OCPI 2.3.0 mod_tariffs; AFIR (EU) 2023/1804 Art. 5(4) for the order kWh, minute, session, other.
"""

import re
from decimal import Decimal, localcontext
from typing import Any

import msgspec

from terminal_app import units
from terminal_app.billing import canonical
from terminal_app.billing.model import (
    Dimension,
    OcpiTariff,
    PriceComponent,
    Tariff,
    TariffRestrictions,
    TaxIncluded,
    day_of,
    utc_ms_of,
)
from terminal_app.errors import TariffRefused
from terminal_app.screens import PriceKind, PriceLine

__all__ = [
    "KIND_OF",
    "Tariff",
    "dearest_second_price",
    "dearest_wh_price",
    "parse_tariff",
    "price_lines",
    "tariff_from",
    "vat_percent_text",
]

MAX_TARIFF_BYTES = 64 * 1024
_LIMITS = ("kwh", "current", "power")
_NUMBERS = frozenset(
    {"price", "vat", "before_taxes", "after_taxes", "preauthorize_amount"}
    | {f"{end}_{what}" for end in ("min", "max") for what in _LIMITS}
)
KIND_OF = {
    Dimension.ENERGY: PriceKind.ENERGY,
    Dimension.TIME: PriceKind.TIME,
    Dimension.FLAT: PriceKind.FLAT,
    Dimension.PARKING_TIME: PriceKind.PARKING,
}
_ORDER = (Dimension.ENERGY, Dimension.TIME, Dimension.FLAT, Dimension.PARKING_TIME)


def parse_tariff(raw: bytes) -> Tariff:
    """An OCPI 2.3.0 Tariff object as JSON. Refused as a whole (TariffRefused, "where: why") if anything in it is unknown,
    malformed or contradictory; nothing is guessed and nothing is left out."""
    try:
        found = canonical.parse(raw, MAX_TARIFF_BYTES)
        text = canonical.canonical(found).decode()
    except ValueError as error:
        raise TariffRefused(f"tariff: {error}") from error
    return tariff_from(found, text)


def tariff_from(found: Any, text: str) -> Tariff:
    """Check decoded JSON (`text` its canonical form). TariffRefused."""
    _refuse_texts_for_numbers(found, "")
    try:
        plain = msgspec.convert(found, OcpiTariff)
    except msgspec.ValidationError as error:
        reason, where = str(error), "tariff"
        if at := re.search(r" - at `\$\.?(.*)`$", reason):
            reason, where = reason[: at.start()], at[1] or "tariff"
        raise TariffRefused(f"{where}: {reason}") from error
    tariff = Tariff(**{name: getattr(plain, name) for name in OcpiTariff.__struct_fields__}, raw=text)
    _check(tariff)
    return tariff


def _refuse_texts_for_numbers(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            if key in _NUMBERS and (not isinstance(one, (int, Decimal)) or isinstance(one, bool)):
                raise TariffRefused(f"{where}{key}: Expected a number, got {type(one).__name__}")
            _refuse_texts_for_numbers(one, f"{where}{key}.")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _refuse_texts_for_numbers(one, f"{where.removesuffix('.')}[{index}].")


def _check(tariff: Tariff) -> None:
    """What no single field can know."""

    def refuse(where: str, why: str) -> None:
        raise TariffRefused(f"{where}: {why}")

    try:
        units.exponent(tariff.currency)
    except ValueError as error:
        refuse("currency", str(error))
    moments = {}
    for name in ("start_date_time", "end_date_time", "last_updated"):
        try:
            moments[name] = None if getattr(tariff, name) is None else utc_ms_of(getattr(tariff, name))
        except ValueError:
            refuse(name, f"{getattr(tariff, name)} is no moment")
    begin, end = moments["start_date_time"], moments["end_date_time"]
    if begin is not None and end is not None and begin >= end:
        refuse("end_date_time", "is not after start_date_time")
    for name, limit in (("min_price", tariff.min_price), ("max_price", tariff.max_price)):
        if limit is None:
            continue
        if limit.before_taxes < 0 or (limit.after_taxes is not None and limit.after_taxes < limit.before_taxes):
            refuse(name, "is negative, or smaller after taxes than before")
    if tariff.min_price and tariff.max_price and tariff.min_price.before_taxes > tariff.max_price.before_taxes:
        refuse("min_price", "is above max_price")
    if tariff.preauthorize_amount is not None and tariff.preauthorize_amount < 0:
        refuse("preauthorize_amount", "is negative")
    for number, element in enumerate(tariff.elements):
        for place, component in enumerate(element.price_components):
            _check_component(tariff, component, f"elements[{number}].price_components[{place}]")
        kinds = [one.type for one in element.price_components]
        if len(set(kinds)) != len(kinds):
            refuse(f"elements[{number}].price_components", "has two prices of one type")
        _check_restrictions(element.restrictions, kinds, f"elements[{number}].restrictions")


def _check_component(tariff: Tariff, one: PriceComponent, where: str) -> None:
    if one.price < 0:
        raise TariffRefused(f"{where}.price: is negative")
    if one.vat is not None and not 0 <= one.vat <= 100:
        raise TariffRefused(f"{where}.vat: {one.vat} is not a percentage")
    if one.vat and tariff.tax_included is TaxIncluded.NOT_APPLICABLE:
        raise TariffRefused(f"{where}.vat: {one.vat} although tax_included says N/A")


def _check_restrictions(one: TariffRestrictions, kinds: list[Dimension], where: str) -> None:
    def refuse(key: str, why: str) -> None:
        raise TariffRefused(f"{where}.{key}: {why}")

    for key in ("start_date", "end_date"):
        try:
            if getattr(one, key) is not None:
                day_of(getattr(one, key))
        except ValueError:
            refuse(key, f"{getattr(one, key)} is no day")
    if one.start_date and one.end_date and one.start_date >= one.end_date:
        refuse("end_date", "is not after start_date (it is exclusive)")
    if one.start_time and one.start_time == one.end_time and one.start_time != "00:00":
        refuse("end_time", "equals start_time: an empty window or the whole day?")
    for least, most in (
        ("min_kwh", "max_kwh"),
        ("min_current", "max_current"),
        ("min_power", "max_power"),
        ("min_duration", "max_duration"),
    ):
        low, high = getattr(one, least), getattr(one, most)
        if any(value is not None and value < 0 for value in (low, high)):
            refuse(least if low is not None and low < 0 else most, "is negative")
        if low is not None and high is not None and low >= high:
            refuse(most, f"is not above {least}")
    if one.reservation is not None and not set(kinds) <= {Dimension.FLAT, Dimension.TIME}:
        refuse("reservation", "only FLAT and TIME have a reservation price")


# --- disclosure ----------------------------------------------------------------------------------------------------


def with_vat(price: Decimal, vat_percent: Decimal, included: TaxIncluded) -> Decimal:
    """A unit price with VAT in it, exact."""
    if included is not TaxIncluded.NO:
        return price
    with localcontext() as context:
        context.prec = 50
        return price * (100 + vat_percent) / 100


def price_lines(tariff: Tariff) -> tuple[PriceLine, ...]:
    """Every price of the tariff, all tiers and windows, VAT included, in the order the law wants: kWh, minute, session, other.

    Texts in major units per kWh / minute / session / minute, at least the currency's decimals and at most four. `note` is
    empty (applies always) or the ids of all conditions joined by "+" in fixed order: time_window, weekdays, date_window,
    from_kwh, to_kwh, from_min, to_min, from_kw, to_kw, from_a, to_a; `note_args` holds their values (see `conditions`).
    The last lines, kind LIMIT, are the least and the most a session costs (notes "minimum", "maximum").
    Reservation prices are left out: this terminal sells no reservations.
    """
    found: list[PriceLine] = []
    for dimension in _ORDER:
        for element in tariff.elements:
            component = element.component(dimension)
            if component is None or element.restrictions.reservation is not None:
                continue
            price = with_vat(component.price, component.vat_percent, tariff.tax_included)
            if dimension in (Dimension.TIME, Dimension.PARKING_TIME):
                price /= 60
            note, arguments = conditions(element.restrictions)
            line = PriceLine(KIND_OF[dimension], price_text(price, tariff.currency), note, arguments)
            if line not in found:
                found.append(line)
    for note, limit in (("minimum", tariff.min_price), ("maximum", tariff.max_price)):
        if limit is not None and (note == "maximum" or limit.before_taxes > 0 or limit.after_taxes):
            gross = limit.before_taxes if limit.after_taxes is None else limit.after_taxes
            found.append(PriceLine(PriceKind.LIMIT, price_text(gross, tariff.currency), note))
    return tuple(found)


def conditions(one: TariffRestrictions) -> tuple[str, dict[str, str]]:
    """Note ids and arguments of a restriction: plain texts and numbers, put into words by the UI."""
    ids: list[str] = []
    arguments: dict[str, str] = {}
    if one.start_time or one.end_time:
        ids.append("time_window")
        arguments |= {"time_from": one.start_time or "00:00", "time_to": one.end_time or "00:00"}
    if one.day_of_week:
        ids.append("weekdays")
        arguments["weekdays"] = ",".join(day.value.lower() for day in one.day_of_week)
    if one.start_date or one.end_date:
        ids.append("date_window")
        arguments |= {"date_from": one.start_date or "", "date_to": one.end_date or ""}
    for key, value in (
        ("from_kwh", one.min_kwh),
        ("to_kwh", one.max_kwh),
        ("from_min", None if one.min_duration is None else Decimal(one.min_duration) / 60),
        ("to_min", None if one.max_duration is None else Decimal(one.max_duration) / 60),
        ("from_kw", one.min_power),
        ("to_kw", one.max_power),
        ("from_a", one.min_current),
        ("to_a", one.max_current),
    ):
        if value is not None:
            ids.append(key)
            arguments[key] = decimal_text(value.quantize(Decimal("0.001")), 0)
    return "+".join(ids), arguments


def vat_percent_text(tariff: Tariff) -> str:
    """The VAT rates of the tariff as text: "19", or "10 / 20" if there are several, "" if no VAT is applicable."""
    rates = {one.vat for one in tariff.components if one.vat is not None}
    return " / ".join(decimal_text(rate, 0) for rate in sorted(rates))


def price_text(price: Decimal, currency: str) -> str:
    """A unit price in major units: at most four decimals (HALF_UP), at least those of the currency."""
    return decimal_text(price, units.exponent(currency), 4)


def decimal_text(value: Decimal, least: int, most: int = 6) -> str:
    """Plain text of a Decimal with `least` to `most` decimals, rounded HALF_UP for display; never an exponent."""
    rounded = value.quantize(Decimal(1).scaleb(-max(least, most)), rounding="ROUND_HALF_UP")
    whole, _, decimals = f"{rounded:f}".partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals else whole


def dearest_wh_price(tariff: Tariff) -> Decimal:
    """Upper bound of what one more Wh can cost, major units incl. VAT (for the margin to the hold)."""
    return _dearest(tariff, (Dimension.ENERGY,)) / 1000


def dearest_second_price(tariff: Tariff) -> Decimal:
    """Upper bound of what one more second can cost, charging or parking, major units incl. VAT."""
    return _dearest(tariff, (Dimension.TIME, Dimension.PARKING_TIME)) / 3600


def dearest_session_price(tariff: Tariff) -> Decimal:
    """Upper bound of what a session costs by itself, major units incl. VAT: its fixed price, or the least a session costs."""
    least = tariff.min_price
    gross = Decimal(0) if least is None else least.before_taxes if least.after_taxes is None else least.after_taxes
    return max(_dearest(tariff, (Dimension.FLAT,)), gross)


def _dearest(tariff: Tariff, wanted: tuple[Dimension, ...]) -> Decimal:
    return max(
        (with_vat(one.price, one.vat_percent, tariff.tax_included) for one in tariff.components if one.type in wanted),
        default=Decimal(0),
    )
