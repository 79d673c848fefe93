"""The receipt in words: every fact the country wants is on the paper, and every line fits."""

import re

import pytest

from terminal_app.billing import receipt_templates, record
from terminal_app.billing.receipt import ReceiptDocument, receipt_of
from terminal_app.billing.receipt_templates import TEMPLATES, template_for
from terminal_app.billing.receipt_text import text_of
from tests.unit.billing_samples import Key, sealed, settled

KEY = Key()
SESSION = record.open_record(sealed(KEY, vat_id="DE000000000"), KEY.spki)
SETTLED = record.open_record(settled(KEY, 2, "ab" * 32), KEY.spki)


def document(country: str = "DE", **changes: object) -> ReceiptDocument:
    session = SESSION | {"site": SESSION["site"] | {"country": country}} | changes
    return receipt_of(session, SETTLED)


@pytest.mark.parametrize("country", TEMPLATES)
@pytest.mark.parametrize("width", [24, 32, 42, 48])
def test_every_line_fits_and_nothing_is_lost(country: str, width: int) -> None:
    one, template = document(country), TEMPLATES[country]
    lines = text_of(one, template, width)
    assert max(map(len, lines)) <= width
    joined = re.sub(r"\s+", "", "".join(lines))
    decimal = template.decimal
    for fact in (
        one.number, one.seller, one.seller_address, one.seller_vat_id, one.station, one.evse_id, one.meter_serial,
        f"12{decimal}345kWh", f"1234{decimal}560kWh", f"1246{decimal}905kWh", f"9{decimal}48EUR", f"0{decimal}59", f"7{decimal}28",
        "****0011", "A0000000041010", one.code, one.tariff_fingerprint[:16],
    ):  # fmt: skip
        assert fact.replace(" ", "") in joined, fact


def test_words_dates_and_decimals_are_those_of_the_country() -> None:
    german, british, american = ("\n".join(text_of(document(country))) for country in ("DE", "GB", "US"))
    assert "02.01.2026 10:00:00 CET" in german and "USt 19 % (netto 7,97)" in german
    assert "Transparenzsoftware" in german
    assert "02/01/2026" in british and "VAT 19 % (net 7.97)" in british
    assert "01/02/2026 10:00:00 AM" in american and "Tax 19 %" in american
    assert template_for("FR").country == "EU"
    assert "UID-Nr." in "\n".join(text_of(document("AT")))


def test_what_happened_is_told() -> None:
    stopped = document(
        stop={"reason": "power_cut", "interrupted": True}, begin={"utc_ms": SESSION["begin"]["utc_ms"], "clock": "U"}
    )
    text = "\n".join(text_of(stopped))
    for words in ("unterbrochen", "Stromausfall", "nicht synchronisiert", "DEMO"):
        assert words in text
    voided = record.open_record(settled(KEY, 2, "ab" * 32, how="voided", amount_minor=0), KEY.spki)
    assert "aufgehoben" in "\n".join(text_of(receipt_of(SESSION, voided)))
    assert "wird abgeschlossen" in "\n".join(text_of(receipt_of(SESSION)))


def test_what_a_country_wants_and_a_receipt_lacks_is_named() -> None:
    assert receipt_templates.missing(document("GB"), TEMPLATES["GB"]) == ()
    bare = document("GB", seller={"name": "Example", "address": "", "vat_id": ""})
    assert receipt_templates.missing(bare, TEMPLATES["GB"]) == ("seller_address", "seller_vat_id")
    assert all(template.citation for template in TEMPLATES.values())


def test_both_languages_have_the_same_words() -> None:
    assert receipt_templates.ENGLISH.keys() == receipt_templates.GERMAN.keys()
    assert receipt_templates.STOPS["en"].keys() == receipt_templates.STOPS["de"].keys()


def test_a_paper_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match="24"):
        text_of(document(), width=20)


def test_a_technicians_test_is_never_taken_for_a_sale() -> None:
    assert "TEST" not in "\n".join(text_of(document()))
    assert all("TEST" in "\n".join(text_of(document(country, test=True))) for country in TEMPLATES)
