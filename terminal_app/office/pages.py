"""Pages for people: the operator's live overview and the driver's receipt. Rendered here; only a signed line in an address is
checked by a script, in the phone, so that it works when the record has not arrived or the network is gone."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from terminal_app import units
from terminal_app.billing.receipt import ReceiptDocument
from terminal_app.billing.signature import jwk_of, spki_of
from terminal_app.errors import TariffRefused
from terminal_app.office import chain_checks, queries, store
from terminal_app.office.access import Access
from terminal_app.office.document_words import DOCUMENT_WORDS
from terminal_app.office.receipts import CODE, Found, Receipts
from terminal_app.office.words import WORDS, language_of
from terminal_app.paper_receipt import receipt_pdf

KEY_ID = re.compile(r"^[A-Za-z0-9_-]{43}$", re.ASCII)
_HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
WITH_SCRIPT = _HEADERS | {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
}
LINE_UNITS = {"energy": "kWh", "time": "min", "flat": "", "parking": "min", "limit": ""}


class Pages:
    """Routes for people. Blocking handlers; Starlette runs them in its thread pool."""

    def __init__(self, database: store.Store, access: Access, public_url: str, demo: bool) -> None:
        self._database, self._access, self._public_url, self._demo = database, access, public_url.rstrip("/"), demo
        self._receipts = Receipts(database)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        self._templates.filters |= {"money": money, "kwh": kwh_text, "clock": clock_text, "ago": ago}
        self._templates.filters |= {"hms": duration_text, "local": local, "kw": kw_text}
        self._templates.globals["invoice_words"] = DOCUMENT_WORDS
        self.routes = [
            Route("/", self.overview),
            Route("/r/{code}", self.receipt),
            Route("/r/{code}/ocmf", self.ocmf),
            Route("/r/{code}/key", self.ocmf_key),
            Route("/r/{code}/record", self.record),
            Route("/r/{code}/pdf", self.pdf),
            Route("/verify", self.verify),
            Route("/keys/{kid}", self.record_key),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]

    def overview(self, request: Request) -> Response:
        if not self._access.is_operator(request):
            ask = {"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'}
            return PlainTextResponse("operators only: the password is the operator token", 401, _HEADERS | ask)
        with self._database.read() as db:
            shown: dict[str, Any] = {
                "terminals": queries.terminals(db),
                "live": queries.live_sessions(db),
                "holds": queries.open_holds(db),
                "faults": queries.raised_faults(db),
                "sessions": queries.sessions(db, 25),
                "quarantine": queries.quarantine(db),
                "alarms": queries.alarms(db),
                "totals": queries.totals(db),
                "checkpoints": {
                    one["terminal"]: point
                    for one in queries.terminals(db)
                    if (point := chain_checks.newest_checkpoint(db, one["terminal"])) is not None
                },
            }
        return self._page("overview.html", 200, None, now_ms=store.now_ms(), **shown)

    def receipt(self, request: Request) -> Response:
        code = request.path_params["code"]
        if not CODE.match(code):
            return self._page("no_receipt.html", 404, request)
        found = self._receipts.find(code)
        if found is None:
            return self._page("waiting.html", 202, request, headers=WITH_SCRIPT)
        document = _document(found)
        if document is None:
            return self._page("review.html", 200, request)
        row = found.row
        with self._database.read() as db:
            credits = queries.credits_of(db, row["terminal"], row["chain_id"], row["seq"])
        return self._page(
            "receipt.html",
            200,
            request,
            r=document,
            refunded_minor=found.refunded_minor,
            refresh=found.waits_for_money,
            under_review=bool(found.row["quarantine"]),
            credits=credits,
            url=f"{self._public_url}/r/{code}",
            code=code,
            sha256=found.row["sha256"],
            units=LINE_UNITS,
            stop=f"stop_{document.stop_reason}",
        )

    def pdf(self, request: Request) -> Response:
        found = self._receipts.find(request.path_params["code"])
        if found is None or (document := _document(found)) is None:
            return PlainTextResponse("no receipt", 404, _HEADERS)
        language = language_of(request.headers.get("accept-language", ""))
        paper = receipt_pdf(document, language, f"{self._public_url}/r/{document.code}")
        name = {"Content-Disposition": f'attachment; filename="{_plain(found.payload)}.pdf"'}
        return Response(paper, media_type="application/pdf", headers=_HEADERS | name)

    def verify(self, request: Request) -> Response:
        """The static page that checks the signed line behind "#": nothing of it reaches this server."""
        return HTMLResponse((_HERE / "static" / "verify.html").read_text("utf-8"), 200, WITH_SCRIPT)

    def record_key(self, request: Request) -> Response:
        """Whose record key this is: what a signature alone cannot tell. RFC 7517."""
        key_id = request.path_params["kid"].removesuffix(".json")
        found = self._receipts.whose_key(key_id) if KEY_ID.match(key_id) else None
        if found is None:
            return JSONResponse({"error": "the key is not registered"}, 404, _HEADERS)
        terminal, pem = found
        return JSONResponse(
            jwk_of(spki_of(pem)) | {"kid": key_id, "use": "sig", "alg": "ES256", "terminal": terminal}, 200, _HEADERS
        )

    def ocmf(self, request: Request) -> Response:
        session = self._session(request)
        if session is None or not session["ocmf"]["record"]:
            return PlainTextResponse("no measurement record", 404, _HEADERS)
        return _download(session["ocmf"]["record"], f"{_plain(session)}.ocmf", "text/plain; charset=us-ascii")

    def ocmf_key(self, request: Request) -> Response:
        """The meter key as hex SPKI, the form the transparency software takes."""
        session = self._session(request)
        if session is None:
            return PlainTextResponse("no measurement record", 404, _HEADERS)
        if meter_key := session["ocmf"].get("meter_key"):
            return _download(meter_key, f"{_plain(session)}.pub", "text/plain; charset=us-ascii")
        pem = self._receipts.key(session["terminal"], session["ocmf"]["key"], "ocmf")
        if pem is None:
            return PlainTextResponse("the key is not registered", 404, _HEADERS)
        return _download(spki_of(pem).hex(), f"{_plain(session)}.pub", "text/plain; charset=us-ascii")

    def record(self, request: Request) -> Response:
        found = self._receipts.find(request.path_params["code"])
        if found is None:
            return PlainTextResponse("no record", 404, _HEADERS)
        return _download(found.row["jws"], f"{_plain(found.payload)}.jws", "application/jose")

    def _session(self, request: Request) -> dict[str, Any] | None:
        found = self._receipts.find(request.path_params["code"])
        return None if found is None else found.session

    def _page(
        self, name: str, status: int, request: Request | None, *, headers: Mapping[str, str] = _HEADERS, **values: Any
    ) -> Response:
        """`request` None: a page for operators, in English."""
        language = language_of(request.headers.get("accept-language", "")) if request else "en"
        page = self._templates.get_template(name).render(demo=self._demo, language=language, t=WORDS[language], **values)
        return HTMLResponse(page, status, headers)


def _document(found: Found) -> ReceiptDocument | None:
    """None: signed, but not readable as a bill; it lies in quarantine."""
    try:
        return found.document()
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, TariffRefused):
        return None


def money(minor: int | None, currency: str) -> str:
    return "" if minor is None else f"{units.major(minor, currency)} {currency}"


def local(number: str, language: str) -> str:
    """A number as people of that language write it."""
    return number.replace(".", ",") if language == "de" else number


def kwh_text(energy_wh: int | None) -> str:
    return "" if energy_wh is None else f"{units.kwh(energy_wh)} kWh"


def kw_text(power_w: int) -> str:
    return f"{format(Decimal(power_w).scaleb(-3).normalize(), 'f')} kW"


def clock_text(utc_ms: int | None, zone: str = "UTC") -> str:
    if utc_ms is None:
        return "never"
    moment = datetime.fromtimestamp(utc_ms // 1000, UTC).astimezone(ZoneInfo(zone))
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (" UTC" if zone == "UTC" else moment.strftime(" %Z"))


def duration_text(milliseconds: int) -> str:
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def ago(utc_ms: int | None, now_ms: int) -> str:
    if utc_ms is None:
        return "never"
    seconds = max(0, (now_ms - utc_ms) // 1000)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _plain(session: dict[str, Any]) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{session['terminal']}-{session['seq']}")


def _download(text: str, name: str, media_type: str) -> Response:
    return Response(text, media_type=media_type, headers=_HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'})
