"""What a driver types for an invoice, judged: bounded, printable, nothing that a spreadsheet or a page could take for a command."""

import re
import unicodedata
from collections.abc import Mapping

from terminal_app.billing.invoice import Buyer

FIELDS = ("name", "street", "city", "country", "vat_id", "reference")
_LENGTHS = {"name": (2, 100), "street": (2, 100), "city": (2, 60), "reference": (0, 40)}
_COUNTRY = re.compile(r"[A-Z]{2}")
_VAT_ID = re.compile(r"[A-Z]{2}[0-9A-Z+*]{2,13}")


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """The fields as they are shown again and judged: one kind of each letter, single blanks, none at the ends, cut at 200."""
    found = {name: " ".join(unicodedata.normalize("NFC", form.get(name, "")[:200]).split()) for name in FIELDS}
    return found | {name: re.sub(r"[ .\-]", "", found[name]).upper() for name in ("country", "vat_id")}


def buyer_of(fields: Mapping[str, str]) -> Buyer | str:
    """The buyer, or the word of the page that says which field is wrong: bad_name, bad_vat_id, ..."""
    for name, (least, most) in _LENGTHS.items():
        text = fields[name]
        if not least <= len(text) <= most or not _plain(text):
            return f"bad_{name}"
    if not _COUNTRY.fullmatch(fields["country"]):
        return "bad_country"
    if fields["vat_id"] and not _VAT_ID.fullmatch(fields["vat_id"]):
        return "bad_vat_id"
    return Buyer(**{name: fields[name] for name in FIELDS})


def _plain(text: str) -> bool:
    return not text or (text[0].isalnum() and text.isprintable())
