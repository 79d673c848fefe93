"""The receipt in words: sections of sentences and pairs, and these laid out in lines of a given width. PURE; moves no money.

The figures come from `ReceiptDocument` alone, words and form from the country's template. Printer, plain text and PDF say the
same, for all of them are made of these sections.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from terminal_app import units
from terminal_app.billing.receipt import ReceiptDocument
from terminal_app.billing.receipt_templates import NO_CHARGE, STOPS, Template, template_for
from terminal_app.screens import MoneyWords, PriceKind, ReceiptLine

__all__ = [
    "Part",
    "bill",
    "closing",
    "head",
    "measurement",
    "money",
    "number",
    "payment",
    "rate_name",
    "sentences",
    "text_of",
    "times",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Part = str | tuple[str, str]
"""A sentence, or a name with its value at the right."""


def text_of(document: ReceiptDocument, template: Template | None = None, width: int = 42, *, copy: bool = False) -> tuple[str, ...]:
    """Lines of at most `width` characters (at least 24). `copy`: it was printed before, and says so."""
    if width < 24:
        raise ValueError(f"a receipt needs 24 characters a line, not {width}")
    found = template or template_for(document.country)
    parts = [f"*** {found.words['copy']} ***"] if copy else []
    return tuple(line for part in (*parts, *_parts(document, found)) for line in _laid_out(part, width))


def _parts(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    yield from sender(one, template)
    yield ""
    yield from head(one, template)
    yield from measurement(one, template)
    yield ""
    if not one.no_charge:
        yield from bill(one, template)
        yield ""
    yield from payment(one, template)
    yield ""
    yield from closing(one, template)


def sender(one: ReceiptDocument, template: Template) -> Iterator[str]:
    if one.demo:
        yield f"*** {template.words['demo']} ***"
    if one.test:
        yield f"*** {template.words['test']} ***"
    yield from filter(None, (one.seller, one.seller_address))
    if one.seller_vat_id:
        yield f"{template.words['seller_vat_id']} {one.seller_vat_id}"


def head(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    """Which receipt, where, from when to when."""
    words = template.words
    yield words["number"], one.number
    yield words["station"], one.station
    yield words["evse"], one.evse_id
    yield words["connector"], str(one.connector)
    if one.max_power_w:
        yield (
            words["max_power"],
            f"{number(format(Decimal(one.max_power_w).scaleb(-3).normalize(), 'f'), template)} kW {one.current}",
        )
    yield words["asked" if one.no_charge else "begin"], _moment(one.begin_utc_ms, one, template)
    yield words["let_go" if one.no_charge else "end"], _moment(one.end_utc_ms, one, template)
    if one.clock != "S":
        yield words["clock"]
    yield words["terminal"], one.terminal


def measurement(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    """What the meter said, and what interrupted it; of a hold without a charge, why there was none."""
    words = template.words
    if one.no_charge:
        yield f"{words['no_charge']}: {NO_CHARGE[template.language].get(one.no_charge, one.no_charge)}."
        return
    yield words["duration"], _duration(one.charging_ms)
    if one.parking_ms:
        yield words["parking"], _duration(one.parking_ms)
    yield words["meter"], " ".join(filter(None, (one.meter_vendor, one.meter_model, one.meter_serial)))
    if one.obis:
        yield words["obis"], one.obis
    yield words["register_begin"], f"{number(str(units.kwh(one.meter_start_wh)), template)} kWh"
    yield words["register_end"], f"{number(str(units.kwh(one.meter_stop_wh)), template)} kWh"
    yield words["energy"], f"{number(str(units.kwh(one.energy_wh)), template)} kWh"
    if one.interrupted:
        yield words["interrupted"]
    if one.interrupted_from_utc_ms:
        moments = (_moment(when, one, template) for when in (one.interrupted_from_utc_ms, one.interrupted_until_utc_ms))
        yield words["interrupted_when"], " - ".join(moments)
    yield words["stop"], STOPS[template.language].get(one.stop_reason, one.stop_reason)


def bill(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    """Each line with quantity and unit price, the total, and net, VAT and gross of each rate."""
    words = template.words
    for line in one.lines:
        yield words[f"kind_{line.kind.value}"], ""
        yield "  " + times(line, template), money(line.gross_minor, one, template)
    yield words["total"], f"{money(one.total_minor, one, template)} {one.currency}"
    for rate in one.vat:
        net = f"{words['net']} {money(rate.net_minor, one, template)}"
        yield f"{rate_name(rate.vat_percent, template)} ({net})", money(rate.vat_minor, one, template)
        if len(one.vat) > 1:
            yield f"  {words['gross']}", money(rate.gross_minor, one, template)


def times(line: ReceiptLine, template: Template) -> str:
    """Quantity, unit and unit price of a line; nothing for a price limit."""
    if line.kind is PriceKind.LIMIT:
        return ""
    unit = template.words[f"unit_{line.kind.value}"]
    return " ".join(f"{number(line.quantity, template)} {unit} x {number(line.price, template)}".split())


def rate_name(vat_percent: str, template: Template) -> str:
    return f"{template.words['tax']} {number(vat_percent, template)} %" if vat_percent else template.words["no_tax"]


def payment(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    """The card as far as it may be named, and what became of the money."""
    words = template.words
    if one.card_last4:
        yield words["card"], f"{one.card_brand} **** {one.card_last4}".strip()
        if one.card_aid:
            yield words["aid"], one.card_aid
    if code := one.trace.get("auth_code"):
        yield words["auth_code"], code
    if reference := one.trace.get("rrn"):
        yield words["reference"], reference
    if one.authorized_minor:
        yield words["hold"], f"{money(one.authorized_minor, one, template)} {one.currency}"
    if one.money is MoneyWords.CAPTURED:
        yield words["captured"], f"{money(one.captured_minor, one, template)} {one.currency}"
        if one.code:
            yield words["bank"], one.short_code
    else:
        yield words[one.money.value]


def closing(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    """Where it comes from and how it is verified."""
    words = template.words
    yield words["issued"], _moment(one.end_utc_ms, one, template)
    yield words["session"], one.session_id
    if one.tariff_fingerprint:
        yield words["tariff"], one.tariff_fingerprint[:16]
    if one.software:
        yield words["software"], one.software
    if one.code:
        yield f"{words['verify']} {one.code}"
    yield from template.notes if one.ocmf else ()


def sentences(parts: Iterator[Part]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Sentences and pairs, apart."""
    found = list(parts)
    return tuple(one for one in found if isinstance(one, str)), tuple(one for one in found if not isinstance(one, str))


def _laid_out(part: Part, width: int) -> Iterator[str]:
    if isinstance(part, str):
        yield from _wrapped(part, width)
        return
    name, value = part
    if len(name) + len(value) + 1 <= width:
        yield f"{name}{value:>{width - len(name)}}" if value else name
        return
    yield from _wrapped(name, width)
    for line in _wrapped(value, width - 2):
        yield f"{line:>{width}}"


def _wrapped(text: str, width: int) -> Iterator[str]:
    """By words; a word longer than a line is cut, never left out."""
    line = ""
    for word in text.split(" "):
        rest = word
        if line and len(line) + 1 + len(rest) <= width:
            line, rest = f"{line} {rest}", ""
        elif line and rest:
            yield line
            line = ""
        while len(rest) > width:
            yield rest[:width]
            rest = rest[width:]
        line = rest or line
    yield line


def _moment(utc_ms: int, one: ReceiptDocument, template: Template) -> str:
    local = (_EPOCH + timedelta(milliseconds=utc_ms)).astimezone(ZoneInfo(one.time_zone))
    return local.strftime(template.date)


def _duration(ms: int) -> str:
    seconds = ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def money(minor: int, one: ReceiptDocument, template: Template) -> str:
    return number(str(units.major(minor, one.currency)), template)


def number(text: str, template: Template) -> str:
    return text.replace(".", template.decimal)
