"""Pages for people: the operator's live overview and the driver's receipt. Rendered here, no script in the browser."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from terminal_app import units
from terminal_app.billing.receipt import receipt_of
from terminal_app.billing.record import open_record
from terminal_app.billing.signature import jws_key_id, spki_of
from terminal_app.errors import SignatureInvalid, TariffRefused
from terminal_app.office import chain_checks, queries, store
from terminal_app.office.access import Access
from terminal_app.office.document_words import DOCUMENT_WORDS
from terminal_app.office.words import WORDS, language_of

CODE = re.compile(r"^[a-z2-7]{32}$", re.ASCII)
_HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
LINE_UNITS = {"energy": "kWh", "time": "min", "flat": "", "parking": "min", "limit": ""}


class Pages:
    """Routes for people. Blocking handlers; Starlette runs them in its thread pool."""

    def __init__(self, database: store.Store, access: Access, public_url: str, demo: bool) -> None:
        self._database, self._access, self._public_url, self._demo = database, access, public_url.rstrip("/"), demo
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        self._templates.filters |= {"money": money, "kwh": kwh_text, "clock": clock_text, "ago": ago}
        self._templates.filters |= {"hms": duration_text, "local": local}
        self._templates.globals["invoice_words"] = DOCUMENT_WORDS
        self.routes = [
            Route("/", self.overview),
            Route("/r/{code}", self.receipt),
            Route("/r/{code}/ocmf", self.ocmf),
            Route("/r/{code}/key", self.ocmf_key),
            Route("/r/{code}/record", self.record),
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
        found = self._found(code)
        if found is None:
            return self._page("waiting.html", 202, request)
        session, settlement, row, refunded_minor = found
        try:
            document = receipt_of(session, settlement)
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, TariffRefused):
            return self._page("review.html", 200, request)  # signed, but not readable as a bill: it lies in quarantine
        with self._database.read() as db:
            credits = queries.credits_of(db, row["terminal"], row["chain_id"], row["seq"])
        return self._page(
            "receipt.html",
            200,
            request,
            r=document,
            refunded_minor=refunded_minor,
            credits=credits,
            refresh=settlement is None and session["payment"] is not None,
            under_review=bool(row["quarantine"]),
            url=f"{self._public_url}/r/{code}",
            code=code,
            sha256=row["sha256"],
            units=LINE_UNITS,
            stop=f"stop_{document.stop_reason}",
        )

    def ocmf(self, request: Request) -> Response:
        found = self._found(request.path_params["code"])
        if found is None or not found[0]["ocmf"]["record"]:
            return PlainTextResponse("no measurement record", 404, _HEADERS)
        return _download(found[0]["ocmf"]["record"], f"{_plain(found[0])}.ocmf", "text/plain; charset=us-ascii")

    def ocmf_key(self, request: Request) -> Response:
        """The meter key as hex SPKI, the form the transparency software takes."""
        found = self._found(request.path_params["code"])
        if found is None:
            return PlainTextResponse("no measurement record", 404, _HEADERS)
        if meter_key := found[0]["ocmf"].get("meter_key"):
            return _download(meter_key, f"{_plain(found[0])}.pub", "text/plain; charset=us-ascii")
        pem = self._key(found[0]["terminal"], found[0]["ocmf"]["key"], "ocmf")
        if pem is None:
            return PlainTextResponse("the key is not registered", 404, _HEADERS)
        return _download(spki_of(pem).hex(), f"{_plain(found[0])}.pub", "text/plain; charset=us-ascii")

    def record(self, request: Request) -> Response:
        found = self._found(request.path_params["code"])
        if found is None:
            return PlainTextResponse("no record", 404, _HEADERS)
        return _download(found[2]["jws"], f"{_plain(found[0])}.jws", "application/jose")

    def _found(self, code: str) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any], int] | None:
        """Session payload, settlement payload if it is known, the session's row, from the signed bytes; what was given back."""
        if not CODE.match(code):
            return None
        with self._database.read() as db:
            rows = queries.sessions(db, 1, code)
            if not rows:
                return None
            session_row = queries.record(db, rows[0]["terminal"], rows[0]["seq"], rows[0]["chain_id"])
            settlement_row = queries.settlement_of(db, rows[0])
        if session_row is None or (session := self._opened(session_row)) is None:
            return None
        settlement = self._opened(settlement_row) if settlement_row else None
        return session, settlement, session_row, int(rows[0]["refunded_minor"])

    def _opened(self, row: dict[str, Any]) -> dict[str, Any] | None:
        try:
            pem = self._key(row["terminal"], jws_key_id(row["jws"]), "record")
            return open_record(row["jws"], pem) if pem else None
        except SignatureInvalid:
            return None

    def _key(self, terminal: str, key_id: str, purpose: str) -> bytes | None:
        with self._database.read() as db:
            pem = queries.key(db, terminal, key_id, purpose)
        return pem.encode() if pem else None

    def _page(self, name: str, status: int, request: Request | None, **values: Any) -> Response:
        """`request` None: a page for operators, in English."""
        language = language_of(request.headers.get("accept-language", "")) if request else "en"
        page = self._templates.get_template(name).render(demo=self._demo, language=language, t=WORDS[language], **values)
        return HTMLResponse(page, status, _HEADERS)


def money(minor: int | None, currency: str) -> str:
    return "" if minor is None else f"{units.major(minor, currency)} {currency}"


def local(number: str, language: str) -> str:
    """A number as people of that language write it."""
    return number.replace(".", ",") if language == "de" else number


def kwh_text(energy_wh: int | None) -> str:
    return "" if energy_wh is None else f"{units.kwh(energy_wh)} kWh"


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
