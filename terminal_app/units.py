"""Money, energy and their texts. Integers only: minor units of an ISO 4217 currency, watt-hours. PURE.

`half_up` is the only place where money is rounded (DESIGN section 8).
"""

from decimal import ROUND_HALF_UP, Decimal
from functools import cache

import iso4217


@cache
def exponent(currency: str) -> int:
    """Number of decimals of an ISO 4217 currency: EUR 2, JPY 0, KWD 3. Raises ValueError for an unknown code."""
    try:
        found = iso4217.Currency(currency).exponent
    except ValueError:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency code") from None
    if found is None:
        raise ValueError(f"{currency} has no minor unit and cannot be charged in")
    return int(found)


@cache
def numeric_code(currency: str) -> str:
    """Three-digit ISO 4217 numeric code, for ISO 8583 DE49 and EMV tag 5F2A: EUR -> "978"."""
    try:
        return f"{int(iso4217.Currency(currency).number):03d}"
    except ValueError:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency code") from None


def half_up(amount: Decimal, currency: str) -> int:
    """Round an amount in major units HALF_UP to integer minor units: Decimal("19.985"), EUR -> 1999."""
    return int((amount.scaleb(exponent(currency))).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def to_minor(text: str, currency: str) -> int:
    """Exact minor units of a decimal text in major units: "19.99", EUR -> 1999. ValueError if it is not exact."""
    try:
        amount = Decimal(text)
    except ArithmeticError:
        raise ValueError(f"{text!r} is not an amount") from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not an amount")
    scaled = amount.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text} {currency} has more than {exponent(currency)} decimals")
    return int(scaled)


def major(minor: int, currency: str) -> Decimal:
    """Major units as an exact Decimal with the currency's decimals: 1999, EUR -> Decimal("19.99")."""
    return Decimal(minor).scaleb(-exponent(currency))


def kwh(energy_wh: int) -> Decimal:
    """Kilowatt-hours with three decimals: 12345 -> Decimal("12.345")."""
    return Decimal(energy_wh).scaleb(-3)


def numeric_country(country: str) -> str:
    """ISO 3166-1 numeric code for EMV tag 9F1A: DE -> "276". ValueError for a country this product has no rules for."""
    try:
        return COUNTRIES[country]
    except KeyError:
        raise ValueError(f"{country!r} is not one of {', '.join(sorted(COUNTRIES))}") from None


COUNTRIES = {
    "AT": "040", "BE": "056", "BG": "100", "CH": "756", "CY": "196", "CZ": "203", "DE": "276", "DK": "208", "EE": "233",
    "ES": "724", "FI": "246", "FR": "250", "GB": "826", "GR": "300", "HR": "191", "HU": "348", "IE": "372", "IS": "352",
    "IT": "380", "JP": "392", "KW": "414", "LI": "438", "LT": "440", "LU": "442", "LV": "428", "MT": "470", "NL": "528",
    "NO": "578", "PL": "616", "PT": "620", "RO": "642", "SE": "752", "SI": "705", "SK": "703", "US": "840", "CA": "124",
}  # fmt: skip
