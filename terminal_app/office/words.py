"""The driver's pages in words: English and German, chosen by what the phone asks for (RFC 9110 section 12.5.4)."""

from types import MappingProxyType

_ENGLISH = {
    "demo": "DEMO: simulated money and energy",
    "waiting_title": "Your receipt is on its way",
    "waiting": "The charger sends it as soon as it has a connection. This page looks again by itself; you can also keep the address"
    " and come back later.",
    "none_title": "No such receipt",
    "none": "The address is not complete. Please scan the code on the charger's screen or on the printed receipt again.",
    "review_title": "Your receipt is under review",
    "review": "The record of this charge has arrived, but the office could not confirm it. The operator is looking at it.",
    "receipt": "Receipt",
    "vat_id": "VAT id",
    "in_time": "in",
    "captured": "Paid: {0} taken",
    "rest_released": "{0} of the reserved amount released",
    "given_back": "{0} of it given back",
    "released": "Nothing was taken. The reserved {0} are released.",
    "free": "Free of charge",
    "settling": "Payment is being completed. Reserved: {0}",
    "manual": "The operator is looking after this payment.",
    "under_review": "This record is under review: the office could not confirm it yet.",
    "interrupted": "The charge was interrupted; only energy that the meter counted is billed.",
    "bill": "Bill",
    "total": "Total",
    "vat": "VAT",
    "net": "Net",
    "gross": "Gross",
    "no_vat": "none",
    "measurement": "Measurement",
    "register_start": "Register at start",
    "register_end": "Register at end",
    "energy": "Energy",
    "meter": "Meter",
    "serial": "serial",
    "session": "Session",
    "station": "Station",
    "connector": "connector",
    "start": "Start",
    "end": "End",
    "clock": "Clock",
    "clock_informative": "not synchronised; times are informative",
    "card": "Card",
    "authorization": "Authorization",
    "session_id": "Session id",
    "verify": "Verify",
    "verify_how": "Every figure above comes from a record the charger signed. The measurement can be checked with the transparency"
    " software, the record with any JWS tool.",
    "get_ocmf": "Measurement (OCMF)",
    "get_key": "Meter key",
    "get_record": "Signed record",
    "line_energy": "Energy",
    "line_time": "Charging time",
    "line_flat": "Session",
    "line_parking": "Time after charging",
    "line_limit": "Price limit",
    "stop_touch": "stopped at the charger",
    "stop_same_card": "stopped with the card",
    "stop_unplugged": "car unplugged",
    "stop_hold_limit": "reserved amount used up",
    "stop_car_finished": "car finished",
    "stop_not_plugged": "no car was plugged in",
    "stop_fault": "ended by a fault",
    "stop_power_cut": "ended by a power cut",
    "stop_remote": "stopped remotely",
    "interrupted_when": "Between {0} and {1}.",
    "no_charge": "No charge took place: {0}.",
    "why_touch": "cancelled",
    "why_same_card": "cancelled with the card",
    "why_unplugged": "the car was unplugged",
    "why_hold_limit": "the amount held was too small",
    "why_car_finished": "the car asked for no energy",
    "why_not_plugged": "no car was plugged in",
    "why_fault": "a device of the charger failed",
    "why_power_cut": "power cut",
    "why_remote": "released by the operator",
    "asked": "Amount held at",
    "let_go": "Let go at",
    "max_power": "Maximum power",
    "bank_reference": "On the bank statement",
}
_GERMAN = {
    "demo": "DEMO: simuliertes Geld, simulierte Energie",
    "waiting_title": "Ihr Beleg ist unterwegs",
    "waiting": "Die Ladestation sendet ihn, sobald sie eine Verbindung hat. Diese Seite schaut von selbst wieder nach;"
    " Sie können die Adresse auch behalten und später wiederkommen.",
    "none_title": "Diesen Beleg gibt es nicht",
    "none": "Die Adresse ist nicht vollständig. Bitte scannen Sie den Code auf dem Bildschirm"
    " oder dem gedruckten Beleg noch einmal.",
    "review_title": "Ihr Beleg wird geprüft",
    "review": "Der Datensatz dieses Ladevorgangs ist da, konnte aber nicht bestätigt werden. Der Betreiber kümmert sich darum.",
    "receipt": "Beleg",
    "vat_id": "USt-IdNr.",
    "in_time": "in",
    "captured": "Bezahlt: {0} abgebucht",
    "rest_released": "{0} des reservierten Betrags freigegeben",
    "given_back": "{0} davon zurückgezahlt",
    "released": "Es wurde nichts abgebucht. Die reservierten {0} sind freigegeben.",
    "free": "Kostenlos",
    "settling": "Die Zahlung wird abgeschlossen. Reserviert: {0}",
    "manual": "Der Betreiber kümmert sich um diese Zahlung.",
    "under_review": "Dieser Datensatz wird geprüft: er konnte noch nicht bestätigt werden.",
    "interrupted": "Der Ladevorgang wurde unterbrochen; berechnet ist nur, was der Zähler gezählt hat.",
    "bill": "Rechnung",
    "total": "Summe",
    "vat": "USt.",
    "net": "Netto",
    "gross": "Brutto",
    "no_vat": "keine",
    "measurement": "Messung",
    "register_start": "Zählerstand Beginn",
    "register_end": "Zählerstand Ende",
    "energy": "Energie",
    "meter": "Zähler",
    "serial": "Seriennummer",
    "session": "Ladevorgang",
    "station": "Station",
    "connector": "Ladepunkt",
    "start": "Beginn",
    "end": "Ende",
    "clock": "Uhr",
    "clock_informative": "nicht synchronisiert; Zeiten sind informativ",
    "card": "Karte",
    "authorization": "Autorisierung",
    "session_id": "Vorgangsnummer",
    "verify": "Prüfen",
    "verify_how": "Jede Zahl hier stammt aus einem Datensatz, den die Ladestation signiert hat. Die Messung lässt sich mit der"
    " Transparenzsoftware prüfen, der Datensatz mit jedem JWS-Werkzeug.",
    "get_ocmf": "Messung (OCMF)",
    "get_key": "Schlüssel des Zählers",
    "get_record": "Signierter Datensatz",
    "line_energy": "Energie",
    "line_time": "Ladezeit",
    "line_flat": "Ladevorgang",
    "line_parking": "Zeit nach dem Laden",
    "line_limit": "Preisgrenze",
    "stop_touch": "an der Station beendet",
    "stop_same_card": "mit der Karte beendet",
    "stop_unplugged": "Stecker gezogen",
    "stop_hold_limit": "reservierter Betrag aufgebraucht",
    "stop_car_finished": "Fahrzeug fertig",
    "stop_not_plugged": "kein Fahrzeug eingesteckt",
    "stop_fault": "durch eine Störung beendet",
    "stop_power_cut": "durch Stromausfall beendet",
    "stop_remote": "aus der Ferne beendet",
    "interrupted_when": "Zwischen {0} und {1}.",
    "no_charge": "Es wurde nicht geladen: {0}.",
    "why_touch": "abgebrochen",
    "why_same_card": "mit der Karte abgebrochen",
    "why_unplugged": "das Fahrzeug wurde ausgesteckt",
    "why_hold_limit": "der reservierte Betrag war zu klein",
    "why_car_finished": "das Fahrzeug wollte keine Energie",
    "why_not_plugged": "kein Fahrzeug wurde eingesteckt",
    "why_fault": "ein Gerät der Ladestation fiel aus",
    "why_power_cut": "Stromausfall",
    "why_remote": "vom Betreiber freigegeben",
    "asked": "Reserviert um",
    "let_go": "Freigegeben um",
    "max_power": "Höchste Leistung",
    "bank_reference": "Auf dem Kontoauszug",
}
WORDS = MappingProxyType({"en": _ENGLISH, "de": _GERMAN})


def language_of(accept_language: str) -> str:
    """The best language there are words for; English if the phone asks for none of them."""
    best, best_weight = "en", 0
    for one in accept_language[:200].split(","):
        tag, _, parameter = one.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        weight = _thousandths(parameter)
        if language in WORDS and weight > best_weight:
            best, best_weight = language, weight
    return best


def _thousandths(parameter: str) -> int:
    """`q=0.8` -> 800; absent means 1000; anything else 0."""
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1000
    whole, _, part = value.strip().partition(".")
    if name.strip() != "q" or not (whole + part).isdigit() or not (whole + part).isascii():
        return 0
    return min(1000, int(whole or "0") * 1000 + int(part[:3].ljust(3, "0")))
