"""The driver's pages at the office: a hold that paid for nothing, PDF, whose key it is, and from the statement to the receipt."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from terminal_app.billing.no_charge import NoCharge
from terminal_app.billing.receipt import receipt_code
from terminal_app.office.access import Access
from terminal_app.office.pages import Pages
from terminal_app.office.short_pages import PER_CODE, ShortPages, amount_of
from terminal_app.values import CardFacts, EntryMode
from tests.unit.office_samples import Desk, Terminal, desk_at

CODE = receipt_code((1).to_bytes(20))
HOLD_CODE = receipt_code((7).to_bytes(20))
CARD = CardFacts("Mastercard", "0011", "5e" * 16, "A0000000041010", "Mastercard", EntryMode.CONTACTLESS)
NOTHING = NoCharge(
    number="T-0001-c1c1-000002", code=HOLD_CODE, operator="Example Charging", operator_address="Example Street 1", vat_id="",
    station="Example Station", country="DE", time_zone="Europe/Berlin", connector=1, evse_id="DE*EXA*E1",
    asked_utc_ms=1_767_344_400_000, released_utc_ms=1_767_344_460_000, clock="S", reason="not_plugged", card=CARD,
)  # fmt: skip


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def desk(tmp_path: Path, terminal: Terminal) -> Iterator[Desk]:
    desk = desk_at(tmp_path, terminal)
    desk.take(terminal.batch(terminal.session(), terminal.settlement()))
    released = terminal.settlement(0, "voided", session=3, hold_id="H-8", no_charge=NOTHING)
    desk.take(terminal.batch(released))
    assert not any(desk.reasons().values()), desk.reasons()
    yield desk
    desk.database.close()


@pytest.fixture
def pages(desk: Desk) -> Pages:
    return Pages(desk.database, Access(desk.database, "", True), "https://office.example", False)


def request(language: str = "en", address: str = "192.0.2.7", **path: str) -> Request:
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "path_params": path}
    scope |= {"headers": [(b"accept-language", language.encode())], "client": (address, 1), "app": Starlette()}
    return Request(scope)


def text_of(response: Response) -> str:
    return bytes(response.body).decode()


def test_a_hold_that_paid_for_nothing_has_a_page_in_words(pages: Pages) -> None:
    page = pages.receipt(request("de", code=HOLD_CODE))
    text = text_of(page)
    assert page.status_code == 200
    for words in ("Es wurde nicht geladen: kein Fahrzeug eingesteckt.", "Die reservierten 50,00 EUR sind freigegeben", "0,00 EUR"):
        assert words in text or words.replace("kein Fahrzeug", "kein Fahrzeug wurde") in text, words
    assert NOTHING.number in text and "···· 0011" in text and "Zählerstand" not in text


@pytest.mark.parametrize(
    ("code", "language", "words"), [(CODE, "de", "12,345 kWh"), (CODE, "en", "12.345 kWh"), (HOLD_CODE, "en", "No")]
)
def test_every_receipt_is_a_pdf_that_says_the_same(pages: Pages, code: str, language: str, words: str) -> None:
    paper = pages.pdf(request(language, code=code))
    assert paper.media_type == "application/pdf" and paper.body == pages.pdf(request(language, code=code)).body
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(bytes(paper.body))).pages)
    for fact in (words, "Example Charging", "DE*EXA*E1", code, "0011"):
        assert fact in text.replace("\n", " "), fact
    if code == CODE:
        assert "1234.560" in text.replace(",", ".") and "1246.905" in text.replace(",", ".") and "7.97" in text.replace(",", ".")


def test_only_pages_that_check_a_line_may_run_a_script_and_only_ours(pages: Pages) -> None:
    plain = pages.receipt(request(code=CODE)).headers["content-security-policy"]
    waiting = pages.receipt(request(code=receipt_code((99).to_bytes(20))))
    assert "script-src" not in plain and waiting.status_code == 202
    for page in (waiting, pages.verify(request())):
        assert "script-src 'self'; connect-src 'self'" in page.headers["content-security-policy"]
        assert '<script src="/static/verify.js"' in text_of(page) and "unsafe" not in page.headers["content-security-policy"]


def test_the_office_says_whose_record_key_it_is(pages: Pages, terminal: Terminal) -> None:
    known = pages.record_key(request(kid=f"{terminal.record_key.key_id}.json"))
    assert json.loads(bytes(known.body))["terminal"] == "T-0001" and json.loads(bytes(known.body))["kty"] == "EC"
    for kid in (f"{terminal.ocmf_key.key_id}.json", "x", "A" * 43):
        assert pages.record_key(request(kid=kid)).status_code == 404, "only keys that sign receipts"


def test_code_amount_and_day_together_find_the_receipt_and_nothing_less(desk: Desk) -> None:
    short = ShortPages(desk.database, False)
    good = {"code": CODE[:8].upper(), "amount": "9,48 EUR", "day": "2026-01-02"}
    found = short._find(request(), good)
    assert found.status_code == 303 and found.headers["location"] == f"/r/{CODE}"
    for wrong in ({"amount": "9.47"}, {"day": "2026-01-03"}, {"code": "aaaaaaab"}, {"code": "%%%%%%%%"}, {"day": ""}):
        assert short._find(request(address="192.0.2.8"), good | wrong).status_code == 404
    assert short._find(request(), {}).status_code == 404


def test_guessing_is_slow(desk: Desk) -> None:
    short = ShortPages(desk.database, False)
    good = {"code": CODE[:8], "amount": "9.48", "day": "2026-01-02"}
    codes = [short._find(request(), good | {"amount": str(guess)}).status_code for guess in range(PER_CODE + 2)]
    assert codes[:PER_CODE] == [404] * PER_CODE and codes[-1] == 429
    assert short._find(request(address="192.0.2.9"), good).status_code == 429, "the code is tired, whoever asks"


@pytest.mark.parametrize(("text", "amount"), [("9.48", "9.48"), ("9,48 EUR", "9.48"), ("500", "500"), ("", "-1"), ("1.2.3", "-1")])
def test_amounts_are_read_as_people_write_them(text: str, amount: str) -> None:
    assert str(amount_of(text)) == amount
