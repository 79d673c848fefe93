"""The receipt in words: one text model, templates per country as data. For printer, file and plain-text mail. PURE.

A template says which words, which order of date and decimals, and which facts a law wants on the paper, with its citation;
`text_of` lays them out in lines of a given width. The figures come from `ReceiptDocument` alone. Sources: DE section 33 UStDV,
PTB conditions in type approvals; AT section 132a BAO; UK VAT Notice 700 (simplified invoice); US NIST Handbook 44 section 3.40
"Recorded Representations" [recalled]. Moves no money.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from terminal_app import units
from terminal_app.billing.receipt import ReceiptDocument
from terminal_app.screens import MoneyWords, PriceKind

__all__ = ["TEMPLATES", "Template", "template_for", "text_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ENGLISH = {
    "receipt": "Receipt", "demo": "DEMO - no real charge, no real money", "seller_vat_id": "VAT no.",
    "test": "TEST by service personnel - nothing was sold", "number": "Receipt no.",
    "station": "Station", "evse": "Charge point", "connector": "Connector", "begin": "Start", "end": "End",
    "clock": "The clock was not synchronised.", "duration": "Charging time", "parking": "Parked after charging",
    "meter": "Meter", "register_begin": "Register at start", "register_end": "Register at end", "energy": "Energy",
    "kind_energy": "Energy", "kind_time": "Charging time", "kind_flat": "Session fee", "kind_parking": "Parking",
    "kind_limit": "Price limit", "unit_energy": "kWh", "unit_time": "min", "unit_parking": "min", "unit_flat": "", "unit_limit": "",
    "total": "Total", "tax": "VAT", "net": "net", "no_tax": "no VAT", "card": "Card", "aid": "AID", "auth_code": "Approval",
    "hold": "Held on the card", "free": "Free of charge.", "settling": "The payment is being completed.",
    "captured": "Charged to the card", "released": "Nothing was charged; the hold was released.",
    "manual": "The operator is looking after this payment.", "interrupted": "The charge was interrupted (power or device failure).",
    "stop": "Ended by", "tariff": "Price list", "verify": "Signed meter readings and this receipt: code",
}  # fmt: skip
GERMAN = {
    "receipt": "Beleg", "demo": "DEMO - keine echte Ladung, kein echtes Geld", "seller_vat_id": "USt-IdNr.",
    "test": "PRÜFUNG (TEST) durch Servicepersonal - nichts wurde verkauft", "number": "Beleg-Nr.",
    "station": "Station", "evse": "Ladepunkt", "connector": "Anschluss", "begin": "Beginn", "end": "Ende",
    "clock": "Die Uhr war nicht synchronisiert.", "duration": "Ladezeit", "parking": "Standzeit nach dem Laden",
    "meter": "Zähler", "register_begin": "Zählerstand Beginn", "register_end": "Zählerstand Ende", "energy": "Energie",
    "kind_energy": "Energie", "kind_time": "Ladezeit", "kind_flat": "Grundpreis", "kind_parking": "Standzeit",
    "kind_limit": "Preisgrenze", "unit_energy": "kWh", "unit_time": "min", "unit_parking": "min", "unit_flat": "", "unit_limit": "",
    "total": "Gesamt", "tax": "USt", "net": "netto", "no_tax": "ohne USt", "card": "Karte", "aid": "AID",
    "auth_code": "Genehmigung",
    "hold": "Auf der Karte reserviert", "free": "Kostenlos.", "settling": "Die Zahlung wird abgeschlossen.",
    "captured": "Von der Karte abgebucht", "released": "Nichts abgebucht; die Reservierung wurde aufgehoben.",
    "manual": "Der Betreiber kümmert sich um diese Zahlung.",
    "interrupted": "Der Ladevorgang war unterbrochen (Strom- oder Geräteausfall).",
    "stop": "Beendet durch", "tariff": "Preisliste", "verify": "Signierte Messwerte und dieser Beleg: Code",
}  # fmt: skip
STOPS = {
    "en": {"touch": "driver", "same_card": "driver's card", "unplugged": "unplugging", "hold_limit": "limit of the hold",
           "car_finished": "car", "not_plugged": "no car", "fault": "fault", "power_cut": "power cut", "remote": "operator",
           "test_ended": "end of the test"},
    "de": {"touch": "Fahrer", "same_card": "Karte des Fahrers", "unplugged": "Ausstecken", "hold_limit": "Grenze der Reservierung",
           "car_finished": "Fahrzeug", "not_plugged": "kein Fahrzeug", "fault": "Störung", "power_cut": "Stromausfall",
           "remote": "Betreiber", "test_ended": "Ende der Prüfung"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Template:
    """Words and form of one country. `wants` are facts that must be there for the receipt to be good, `notes` fixed texts."""

    country: str
    language: str
    words: dict[str, str]
    decimal: str
    date: str
    wants: tuple[str, ...]
    citation: str
    notes: tuple[str, ...] = ()


_EVERYWHERE = ("number", "seller", "begin_utc_ms", "end_utc_ms", "currency")
EU_TEMPLATE = Template(
    country="EU",
    language="en",
    words=ENGLISH,
    decimal=".",
    date="%Y-%m-%d %H:%M:%S %Z",
    wants=_EVERYWHERE,
    citation="Directive 2006/112/EC Art. 226b (simplified invoice); AFIR (EU) 2023/1804 Art. 5",
)
TEMPLATES = {
    "EU": EU_TEMPLATE,
    "DE": replace(
        EU_TEMPLATE,
        country="DE",
        language="de",
        words=GERMAN,
        decimal=",",
        date="%d.%m.%Y %H:%M:%S %Z",
        wants=(*_EVERYWHERE, "seller_address", "meter_serial"),
        citation="section 33 UStDV; PTB-A 50.7 and REA 6-A conditions: provider, start, end, energy, amount, masked card number",
        notes=("Die Messwerte können mit der Transparenzsoftware der S.A.F.E. geprüft werden.",),
    ),
    "AT": replace(
        EU_TEMPLATE,
        country="AT",
        language="de",
        words=GERMAN | {"seller_vat_id": "UID-Nr."},
        decimal=",",
        date="%d.%m.%Y %H:%M:%S %Z",
        wants=(*_EVERYWHERE, "seller_address"),
        citation="section 132a BAO; section 11(6) UStG (up to 400 EUR)",
    ),
    "GB": replace(
        EU_TEMPLATE,
        country="GB",
        date="%d/%m/%Y %H:%M:%S %Z",
        wants=(*_EVERYWHERE, "seller_address", "seller_vat_id"),
        citation="VAT Notice 700 section 16.6 (up to 250 GBP); Public Charge Point Regulations 2023",
    ),
    "US": replace(
        EU_TEMPLATE,
        country="US",
        words=ENGLISH | {"tax": "Tax", "no_tax": "tax", "seller_vat_id": "Tax ID"},
        date="%m/%d/%Y %I:%M:%S %p %Z",
        wants=(*_EVERYWHERE, "evse_id", "station"),
        citation="NIST Handbook 44 section 3.40, Recorded Representations [recalled]; 23 CFR 680.116",
    ),
}


def template_for(country: str) -> Template:
    """The template of a country (ISO 3166-1 alpha-2); the European one for any that has none of its own."""
    return TEMPLATES.get(country, EU_TEMPLATE)


def missing(document: ReceiptDocument, template: Template) -> tuple[str, ...]:
    """What the country wants on a receipt and this one does not have: to be told to the operator, before the first sale."""
    return tuple(name for name in template.wants if getattr(document, name) in ("", 0))


def text_of(document: ReceiptDocument, template: Template | None = None, width: int = 42) -> tuple[str, ...]:
    """Lines of at most `width` characters (at least 24). Money and energy with the country's decimal sign."""
    if width < 24:
        raise ValueError(f"a receipt needs 24 characters a line, not {width}")
    found = template or template_for(document.country)
    return tuple(line for part in _parts(document, found) for line in _laid_out(part, width))


Part = str | tuple[str, str]
"""A sentence, or a name with its value at the right."""


def _parts(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    words = template.words
    if one.demo:
        yield f"*** {words['demo']} ***"
    if one.test:
        yield f"*** {words['test']} ***"
    yield from filter(None, (one.seller, one.seller_address))
    if one.seller_vat_id:
        yield f"{words['seller_vat_id']} {one.seller_vat_id}"
    yield ""
    yield words["number"], one.number
    yield words["station"], one.station
    yield words["evse"], one.evse_id
    yield words["connector"], str(one.connector)
    yield words["begin"], _moment(one.begin_utc_ms, one, template)
    yield words["end"], _moment(one.end_utc_ms, one, template)
    if one.clock != "S":
        yield words["clock"]
    yield words["duration"], _duration(one.charging_ms)
    if one.parking_ms:
        yield words["parking"], _duration(one.parking_ms)
    yield words["meter"], " ".join(filter(None, (one.meter_vendor, one.meter_model, one.meter_serial)))
    yield words["register_begin"], f"{_number(str(units.kwh(one.meter_start_wh)), template)} kWh"
    yield words["register_end"], f"{_number(str(units.kwh(one.meter_stop_wh)), template)} kWh"
    yield words["energy"], f"{_number(str(units.kwh(one.energy_wh)), template)} kWh"
    if one.interrupted:
        yield words["interrupted"]
    yield words["stop"], STOPS[template.language].get(one.stop_reason, one.stop_reason)
    yield ""
    yield from _bill(one, template)
    yield ""
    yield from _payment(one, template)
    yield ""
    yield words["tariff"], one.tariff_fingerprint[:16]
    if one.code:
        yield f"{words['verify']} {one.code}"
    yield from template.notes if one.ocmf else ()


def _bill(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    words = template.words
    for line in one.lines:
        unit = words[f"unit_{line.kind.value}"]
        times = (
            "" if line.kind is PriceKind.LIMIT else f"{_number(line.quantity, template)} {unit} x {_number(line.price, template)}"
        )
        yield words[f"kind_{line.kind.value}"], ""
        yield "  " + " ".join(times.split()), _money(line.gross_minor, one, template)
    yield words["total"], f"{_money(one.total_minor, one, template)} {one.currency}"
    for rate in one.vat:
        name = f"{words['tax']} {_number(rate.vat_percent, template)} %" if rate.vat_percent else words["no_tax"]
        net = f"{words['net']} {_money(rate.net_minor, one, template)}"
        yield f"{name} ({net})", _money(rate.vat_minor, one, template)


def _payment(one: ReceiptDocument, template: Template) -> Iterator[Part]:
    words = template.words
    if one.card_last4:
        yield words["card"], f"{one.card_brand} **** {one.card_last4}".strip()
        if one.card_aid:
            yield words["aid"], one.card_aid
    if code := one.trace.get("auth_code"):
        yield words["auth_code"], code
    if one.authorized_minor:
        yield words["hold"], f"{_money(one.authorized_minor, one, template)} {one.currency}"
    if one.money is MoneyWords.CAPTURED:
        yield words["captured"], f"{_money(one.captured_minor, one, template)} {one.currency}"
    else:
        yield words[one.money.value]


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


def _money(minor: int, one: ReceiptDocument, template: Template) -> str:
    return _number(str(units.major(minor, one.currency)), template)


def _number(text: str, template: Template) -> str:
    return text.replace(".", template.decimal)
