"""The pages of invoices, statements and closings, asked as a browser asks them: what is shown, and who may see it."""

import asyncio
import html
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette

from terminal_app.office import invoice_pages
from terminal_app.office.accounts import Accounts, NewAccount
from terminal_app.office.app import Office, build
from terminal_app.office.closings import Closings
from terminal_app.office.document_tables import invoices
from tests.unit.document_samples import Charger, charger_at, code_of, local_ms, text_of
from tests.unit.office_samples import TERMINAL

TOKEN = "operator-token-of-the-tests-0001"
FORM = {"name": "Works & <Sons>", "street": "Example Street 7", "city": "12345 Example", "country": "de", "vat_id": "DE 123456789"}


class Browser:
    """Speaks ASGI to the office in this process."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def ask(
        self, path: str, form: dict[str, str] | None = None, token: str = "", language: str = "en"
    ) -> tuple[int, dict[str, str], bytes]:
        headers = [(b"accept-language", language.encode())]
        if token:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        url, _, query = path.partition("?")
        scope: dict[str, Any] = {"type": "http", "method": "POST" if form is not None else "GET", "path": url, "headers": headers}
        scope |= {"query_string": query.encode(), "http_version": "1.1", "scheme": "https", "raw_path": url.encode()}
        scope |= {"server": ("office", 443), "client": ("127.0.0.1", 1), "root_path": ""}
        sent: list[dict[str, Any]] = []
        body = urlencode(form or {}).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))  # type: ignore[arg-type]
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], told, b"".join(one.get("body", b"") for one in sent[1:])

    def page(self, path: str, **more: Any) -> str:
        status, _, body = self.ask(path, **more)
        assert status == 200, body
        return html.unescape(body.decode())


@pytest.fixture
def charger(tmp_path: Path) -> Iterator[Charger]:
    charger = charger_at(tmp_path)
    yield charger
    charger.desk.database.close()


@pytest.fixture
def browser(charger: Charger) -> Browser:
    office = Office(charger.desk.database, charger.desk.key, "https://office.invalid", TOKEN, False, time_zone="Europe/Berlin")
    return Browser(build(office))


def test_from_the_receipt_to_the_invoice(charger: Charger, browser: Browser) -> None:
    session, _ = charger.session(local_ms("2026-01-02T10:00"))
    code = code_of(session, charger.terminal)
    receipt = browser.page(f"/r/{code}", language="de")
    assert f'action="/r/{code}/invoice"' in receipt and "Rechnung für eine Firma" in receipt
    status, headers, _ = browser.ask(f"/r/{code}/invoice", form=FORM)
    assert (status, headers["location"]) == (303, f"/r/{code}/invoice")
    page = browser.page(f"/r/{code}/invoice")
    (link,) = re.findall(r'href="(/r/[^"]+\.pdf)"', page)
    status, headers, pdf = browser.ask(link)
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "application/pdf", "no-store")
    assert "Works & <Sons>" in text_of(pdf) and "5.90 EUR" in text_of(pdf)
    assert browser.ask(f"/r/{code}/invoice", form=FORM)[0] == 303
    assert len(charger.desk.rows(invoices)) == 1
    (number,) = (row["number"] for row in charger.desk.rows(invoices))
    listed = browser.page("/invoices", token=TOKEN)
    assert number in listed and "Works & <Sons>" in listed
    assert browser.ask(f"/invoices/{number}.pdf", token=TOKEN)[2] == pdf


def test_what_is_wrong_is_said_and_nothing_typed_is_lost(charger: Charger, browser: Browser) -> None:
    session, _ = charger.session(local_ms("2026-01-02T10:00"))
    code = code_of(session, charger.terminal)
    status, _, body = browser.ask(f"/r/{code}/invoice", form=FORM | {"vat_id": "1"})
    assert status == 422 and b"VAT id begins with two letters" in body and b'value="Works &amp; &lt;Sons&gt;"' in body
    assert browser.ask(f"/r/{code}/invoice", form={"name": "x" * 5000})[0] == 422
    assert charger.desk.rows(invoices) == []


def test_a_strangers_code_opens_nothing(charger: Charger, browser: Browser) -> None:
    first, _ = charger.session(local_ms("2026-01-02T10:00"))
    second, _ = charger.session(local_ms("2026-01-02T12:00"))
    mine, other = (code_of(one, charger.terminal) for one in (first, second))
    browser.ask(f"/r/{mine}/invoice", form=FORM)
    (number,) = (row["number"] for row in charger.desk.rows(invoices))
    assert browser.ask(f"/r/{mine}/invoice/{number}.pdf")[0] == 200
    assert browser.ask(f"/r/{other}/invoice/{number}.pdf")[0] == 404
    for code, status in (("a" * 32, 202), ("A" * 32, 404), ("..", 404), ("x", 404)):
        assert browser.ask(f"/r/{code}/invoice")[0] == status
        assert browser.ask(f"/r/{code}/invoice", form=FORM)[0] == 404
    assert len(charger.desk.rows(invoices)) == 1


def test_before_the_money_is_known_there_is_no_form(charger: Charger, browser: Browser) -> None:
    session, _ = charger.session(local_ms("2026-01-02T10:00"), send=False)
    charger.terminal.records.pop()
    charger.send(session)
    code = code_of(session, charger.terminal)
    assert "<form" not in browser.page(f"/r/{code}") and "<form" not in browser.page(f"/r/{code}/invoice")
    status, _, body = browser.ask(f"/r/{code}/invoice", form=FORM)
    assert status == 409 and b"still being completed" in body


def test_a_flood_is_slowed(charger: Charger, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = charger.session(local_ms("2026-01-02T10:00"))
    code = code_of(session, charger.terminal)
    monkeypatch.setattr(invoice_pages.time, "monotonic", lambda: 1.0)
    for _ in range(invoice_pages.PER_MINUTE + 1):
        assert browser.ask(f"/r/{'a' * 32}/invoice", form=FORM)[0] == 404, "who has no receipt takes nobody's turn"
    found = [browser.ask(f"/r/{code}/invoice", form=FORM | {"vat_id": "1"})[0] for _ in range(invoice_pages.PER_MINUTE + 1)]
    assert found == [422] * invoice_pages.PER_MINUTE + [429]


def test_statement_and_closing_as_page_pdf_and_table(charger: Charger, browser: Browser) -> None:
    charger.session(local_ms("2026-01-02T10:00"))
    charger.session(local_ms("2026-01-02T12:00"), gap_wh=250)
    Closings(charger.desk.database, charger.desk.key, "Europe/Berlin").make(TERMINAL, date(2026, 1, 2))
    page = browser.page(f"/closings/{TERMINAL}/1", token=TOKEN)
    assert "11.80 EUR" in page and "0.250 kWh" in page and "250 Wh flowed outside" in page
    assert f"/closings/{TERMINAL}/1" in browser.page("/closings", token=TOKEN)
    for ending, kind in (("pdf", "application/pdf"), ("csv", "text/csv; charset=utf-8"), ("jws", "application/jose")):
        status, headers, _ = browser.ask(f"/closings/{TERMINAL}/1.{ending}", token=TOKEN)
        assert (status, headers["content-type"]) == (200, kind)
    accounts = Accounts(charger.desk.database)
    accounts.add(NewAccount("FLEET-1", "EUR", label="Example fleet"))
    accounts.top_up("FLEET-1", 1_999, "k", "bank", "first payment")
    listed = browser.page("/statements", token=TOKEN)
    (link,) = re.findall(r'href="(/statements/FLEET-1/[^"]+)"', listed)
    page = browser.page(link, token=TOKEN)
    assert "19.99 EUR" in page and "first payment" in page and "Top-up" in page
    assert "19,99" in text_of(browser.ask(f"{link}.pdf?language=de", token=TOKEN)[2])
    assert b",topup," in browser.ask(f"{link}.csv", token=TOKEN)[2]


@pytest.mark.parametrize(
    "path",
    [
        "/invoices",
        "/invoices/2026-11.csv",
        "/invoices/INV-1.pdf",
        "/statements",
        "/statements/A/2026-11",
        "/statements/A/2026-11.pdf",
    ]
    + ["/statements/A/2026-11.csv", "/closings", "/closings/T/1", "/closings/T/1.pdf", "/closings/T/1.csv", "/closings/T/1.jws"],
)
def test_operators_only(browser: Browser, path: str) -> None:
    assert browser.ask(path)[0] == 401
    assert browser.ask(path, token="x" * 32)[0] == 401
    assert browser.ask(path, token=TOKEN)[0] in (200, 404)
    if "2026-11" in path:
        assert browser.ask(path.replace("2026-11", "2026-13"), token=TOKEN)[0] == 422
