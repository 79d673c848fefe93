"""Tariffs as others write them: OCPI 2.2.1, itemised taxes, lists and whole OCPI answers; converted exactly or refused. PURE.

Sources: OCPI 2.2.1-d2 and 2.3.0 mod_tariffs, types (Price), transport_and_format (response envelope). Moves no money.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from terminal_app.billing import canonical
from terminal_app.billing.model import Tariff, utc_ms_of
from terminal_app.billing.tariff import MAX_TARIFF_BYTES, tariff_from
from terminal_app.errors import TariffRefused

__all__ = ["choose", "parse_any_tariff", "tariffs_in"]

MAX_LIST_BYTES = 32 * MAX_TARIFF_BYTES
_PRICE_WORDS = {"excl_vat": "before_taxes", "incl_vat": "after_taxes"}
_ANONYMOUS = {"country_code": "ZZ", "party_id": "ZZZ", "id": "unnamed", "last_updated": "1970-01-01T00:00:00Z"}
"""What only names a tariff. Pricing somebody's CDR does not need it; nothing for sale may lack it."""


def parse_any_tariff(raw: bytes) -> Tariff:
    """Like parse_tariff, and also reads OCPI 2.2.1 (no `tax_included`, limits with excl_vat/incl_vat) and itemised taxes.

    2.2.1 prices are net, so `tax_included` becomes NO; N/A if no component names a VAT. TariffRefused.
    """
    return _converted(_parsed(raw, MAX_TARIFF_BYTES), nameless=False)


def tariffs_in(raw: bytes, nameless: bool = False) -> tuple[Tariff, ...]:
    """All tariffs of a document: one Tariff, a list, or an OCPI answer with `data`. TariffRefused names the one that is wrong.

    `nameless` lets the fields that only name a tariff be missing: enough for pricing a CDR, never for selling.
    """
    return tariffs_of(_parsed(raw, MAX_LIST_BYTES), nameless)


def tariffs_of(found: Any, nameless: bool = False) -> tuple[Tariff, ...]:
    """The same for JSON that is parsed already (the `tariffs` of a CDR)."""
    if isinstance(found, dict) and "data" in found and "elements" not in found:
        if found.get("status_code", 1000) not in range(1000, 2000):
            raise TariffRefused(
                f"tariff: the OCPI answer is an error: {found.get('status_code')} {found.get('status_message', '')}"
            )
        found = found["data"]
    if isinstance(found, dict):
        return (_converted(found, nameless),)
    if not isinstance(found, list) or not found:
        raise TariffRefused("tariff: neither a Tariff object nor a list of them")
    return tuple(_listed(found, nameless))


def _listed(found: list[Any], nameless: bool) -> Iterator[Tariff]:
    for place, one in enumerate(found):
        try:
            yield _converted(one, nameless)
        except TariffRefused as error:
            raise TariffRefused(f"[{place}] {error}") from error


def choose(tariffs: tuple[Tariff, ...], wanted: str, at_utc_ms: int | None) -> Tariff:
    """The tariff with the id `wanted`, else the first that is valid at a moment (the first at all if `at_utc_ms` is None)."""
    if wanted:
        named = [one for one in tariffs if one.id.lower() == wanted.lower()]
        if not named:
            raise TariffRefused(f"tariff: there is no {wanted!r} among {', '.join(one.id for one in tariffs)}")
        return named[0]
    valid = [one for one in tariffs if at_utc_ms is None or one.valid_at(at_utc_ms)]
    if not valid:
        raise TariffRefused(f"tariff: none of {', '.join(one.id for one in tariffs)} was valid when the session started")
    return valid[0]


def _parsed(raw: bytes, most: int) -> Any:
    try:
        return canonical.parse(raw, most)
    except ValueError as error:
        raise TariffRefused(f"tariff: {error}") from error


def _converted(found: Any, nameless: bool) -> Tariff:
    if not isinstance(found, dict):
        raise TariffRefused("tariff: is not an object")
    plain = _without_nulls(found)
    if nameless:
        plain = _ANONYMOUS | plain
    for name in ("start_date_time", "end_date_time", "last_updated"):
        plain |= {name: _utc_text(plain[name])} if isinstance(plain.get(name), str) else {}
    for name in ("min_price", "max_price"):
        if isinstance(plain.get(name), dict):
            plain[name] = _limit(plain[name], name)
        elif nameless and isinstance(plain.get(name), (int, Decimal)):
            plain[name] = {"before_taxes": plain[name]}  # written as a bare number by some
    components = [one for element in _dicts(plain.get("elements")) for one in _dicts(element.get("price_components"))]
    for one in components:
        _sum_taxes(one)
    if "tax_included" not in plain:
        plain["tax_included"] = "NO" if any(one.get("vat") is not None for one in components) else "N/A"
    try:
        text = canonical.canonical(plain).decode()
    except ValueError as error:
        raise TariffRefused(f"tariff: {error}") from error
    return tariff_from(plain, text)


def _without_nulls(value: Any) -> Any:
    """OCPI: a field that is null is a field that is not there. A copy, so that the caller's object stays as it was."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _dicts(listed: Any) -> list[dict[str, Any]]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _utc_text(text: str) -> str:
    """RFC 3339 with an offset of zero means UTC; OCPI writes Z or nothing."""
    short = text.removesuffix("+00:00")
    try:
        utc_ms_of(short)
    except ValueError:
        return text
    return short


def _limit(limit: dict[str, Any], where: str) -> dict[str, Any]:
    changed = {_PRICE_WORDS.get(key, key): value for key, value in limit.items()}
    taxes = changed.pop("taxes", None)
    if taxes is not None:
        amounts = [_number(one.get("amount"), f"{where}.taxes: each tax needs an amount") for one in _dicts(taxes)]
        before = _number(changed.get("before_taxes"), f"{where}.before_taxes: missing")
        changed.setdefault("after_taxes", sum(amounts, before))
    return changed


def _sum_taxes(component: dict[str, Any]) -> None:
    """2.3.0 itemises taxes; all of them are percentages of the same price, so they add up to one rate."""
    taxes = component.pop("taxes", None)
    if taxes is None or "vat" in component:
        return
    rates = [_number(one.get("percentage"), "price_components.taxes: each tax needs a percentage") for one in _dicts(taxes)]
    if rates:
        component["vat"] = sum(rates, Decimal(0))


def _number(value: Any, why: str) -> Decimal:
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        raise TariffRefused(why)
    return Decimal(value)
