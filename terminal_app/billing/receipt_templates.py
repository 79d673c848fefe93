"""Words and form of receipts per country, as data. For printer, PDF and plain-text mail. PURE; moves no money.

A template says which words, which order of date and decimals, and which facts a law wants on the paper, with its citation.
Sources: DE section 33 UStDV, PTB conditions in type approvals; AT section 132a BAO; UK VAT Notice 700 (simplified invoice); US
NIST Handbook 44 section 3.40 "Recorded Representations" [recalled].
"""

from dataclasses import dataclass, replace

from terminal_app.billing.receipt import ReceiptDocument

__all__ = ["ENGLISH", "GERMAN", "NO_CHARGE", "STOPS", "TEMPLATES", "Template", "in_language", "missing", "template_for"]

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
    "interrupted_when": "Interrupted between", "stop": "Ended by", "tariff": "Price list",
    "verify": "Signed meter readings and this receipt: code", "copy": "COPY", "issued": "Issued", "max_power": "Maximum power",
    "obis": "OBIS register", "bank": "Reference on the bank statement", "no_charge": "No charge took place",
    "asked": "Amount held at", "let_go": "Let go at", "terminal": "Terminal", "reference": "Reference", "session": "Session",
    "gross": "gross", "software": "Software", "what": "What",
    "quantity": "Quantity", "price": "Price incl. VAT", "sum": "Sum", "page": "Page",
    "scan": "This receipt and everything to check it",
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
    "interrupted_when": "Unterbrochen zwischen", "stop": "Beendet durch", "tariff": "Preisliste",
    "verify": "Signierte Messwerte und dieser Beleg: Code", "copy": "KOPIE", "issued": "Ausgestellt",
    "max_power": "Höchste Leistung", "obis": "OBIS-Register", "bank": "Kennung auf dem Kontoauszug",
    "no_charge": "Es wurde nicht geladen", "asked": "Reserviert um", "let_go": "Freigegeben um", "terminal": "Terminal",
    "reference": "Referenz", "session": "Vorgang", "gross": "brutto", "software": "Software", "what": "Leistung",
    "quantity": "Menge", "price": "Preis inkl. USt", "sum": "Betrag", "page": "Seite",
    "scan": "Dieser Beleg und alles zum Nachprüfen",
}  # fmt: skip
STOPS = {
    "en": {"touch": "driver", "same_card": "driver's card", "unplugged": "unplugging", "hold_limit": "limit of the hold",
           "car_finished": "car", "not_plugged": "no car", "fault": "fault", "power_cut": "power cut", "remote": "operator",
           "test_ended": "end of the test"},
    "de": {"touch": "Fahrer", "same_card": "Karte des Fahrers", "unplugged": "Ausstecken", "hold_limit": "Grenze der Reservierung",
           "car_finished": "Fahrzeug", "not_plugged": "kein Fahrzeug", "fault": "Störung", "power_cut": "Stromausfall",
           "remote": "Betreiber", "test_ended": "Ende der Prüfung"},
}  # fmt: skip
NO_CHARGE = {  # why a hold paid for nothing
    "en": {"touch": "cancelled", "same_card": "cancelled with the card", "unplugged": "the car was unplugged",
           "hold_limit": "the amount held was too small", "car_finished": "the car asked for no energy",
           "not_plugged": "no car was plugged in", "fault": "a device of the charger failed", "power_cut": "power cut",
           "remote": "released by the operator"},
    "de": {"touch": "abgebrochen", "same_card": "mit der Karte abgebrochen", "unplugged": "das Fahrzeug wurde ausgesteckt",
           "hold_limit": "der reservierte Betrag war zu klein", "car_finished": "das Fahrzeug wollte keine Energie",
           "not_plugged": "kein Fahrzeug wurde eingesteckt", "fault": "ein Gerät der Ladestation fiel aus",
           "power_cut": "Stromausfall", "remote": "vom Betreiber freigegeben"},
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


GERMAN_NOTES = ("Die Messwerte können mit der Transparenzsoftware der S.A.F.E. geprüft werden.",)
_EVERYWHERE = ("number", "seller", "begin_utc_ms", "end_utc_ms", "currency")
EU_TEMPLATE = Template(
    country="EU",
    language="en",
    words=ENGLISH,
    decimal=".",
    date="%Y-%m-%d %H:%M:%S %Z",
    wants=_EVERYWHERE,
    notes=("The readings can be checked with the Transparenzsoftware of S.A.F.E. e.V.",),
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
        notes=GERMAN_NOTES,
    ),
    "AT": replace(
        EU_TEMPLATE,
        country="AT",
        language="de",
        words=GERMAN | {"seller_vat_id": "UID-Nr."},
        decimal=",",
        date="%d.%m.%Y %H:%M:%S %Z",
        wants=(*_EVERYWHERE, "seller_address"),
        notes=GERMAN_NOTES,
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
        wants=(*_EVERYWHERE, "evse_id", "station", "max_power_w"),
        citation="NIST Handbook 44 section 3.40, Recorded Representations [recalled]; 23 CFR 680.116",
    ),
}


def template_for(country: str) -> Template:
    """The template of a country (ISO 3166-1 alpha-2); the European one for any that has none of its own."""
    return TEMPLATES.get(country, EU_TEMPLATE)


def in_language(template: Template, language: str) -> Template:
    """The same template (its law, its facts) in another language, with that language's decimals; itself if it speaks it."""
    if language == template.language or language not in _LANGUAGES:
        return template
    words, decimal, notes = _LANGUAGES[language]
    return replace(template, language=language, words=words, decimal=decimal, notes=notes)


def missing(document: ReceiptDocument, template: Template) -> tuple[str, ...]:
    """What the country wants on a receipt and this one does not have: to be told to the operator, before the first sale."""
    return tuple(name for name in template.wants if getattr(document, name) in ("", 0))


_LANGUAGES = {"en": (ENGLISH, ".", EU_TEMPLATE.notes), "de": (GERMAN, ",", GERMAN_NOTES)}
