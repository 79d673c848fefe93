"""The operator's payments page: open holds with their ages, discrepancies with their next action, last payments. It renews
itself by server-sent events where the browser runs its one small script, and is complete without. Also as JSON below /v1.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from terminal_app.office import payment_journal, payment_watch, store
from terminal_app.office.access import Access
from terminal_app.office.live_page import LivePage
from terminal_app.office.pages import ago, clock_text
from terminal_app.office.payment_values import money_text
from terminal_app.office.words import WORDS

SHOWN = 50
MAX_LISTED = 500
FILTERS = ("state", "gateway", "terminal")
_ASK = {"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}


class PaymentPages:
    """Routes for operators. Blocking handlers run in Starlette's thread pool; the event stream on its loop."""

    def __init__(self, database: store.Store, access: Access, demo: bool, leaving: Callable[[], bool]) -> None:
        self._database, self._access, self._demo = database, access, demo
        folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
        self._templates = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
        self._templates.filters |= {"money": _money, "clock": clock_text, "ago": ago}
        self._watch = payment_watch.Watch()
        self._live = LivePage(self._version, self._parts, leaving)
        self.routes = [
            Route("/payments", self.page),
            Route("/payments/events", self.events),
            Route("/v1/payments", self.payments),
            Route("/v1/payments/open", self.open_holds),
            Route("/v1/payments/discrepancies", self.discrepancies),
        ]

    def page(self, request: Request) -> Response:
        if not self._access.is_operator(request):
            return PlainTextResponse("operators only: the password is the operator token", 401, _HEADERS | _ASK)
        chosen = _chosen(request)
        with self._database.read() as db:
            shown = self._shown(db, chosen)
            choices = payment_journal.choices(db)
        page = self._templates.get_template("payments.html")
        html = page.render(demo=self._demo, language="en", t=WORDS["en"], chosen=chosen, choices=choices, **shown)
        return HTMLResponse(html, 200, _HEADERS)

    async def events(self, request: Request) -> Response:
        """Renews the parts of the page; they are the unfiltered ones."""
        if not self._access.is_operator(request):
            return PlainTextResponse("operators only", 401, _HEADERS | _ASK)
        if self._live.full:
            return PlainTextResponse("too many browsers watch this page", 503, _HEADERS | {"Retry-After": "30"})
        stream = self._live.events(request.headers.get("last-event-id", ""))
        return StreamingResponse(stream, 200, _HEADERS | {"X-Accel-Buffering": "no"}, "text/event-stream")

    def payments(self, request: Request) -> Response:
        """`?state=&gateway=&terminal=&limit=`; the newest first."""
        if not self._access.is_operator(request):
            return _not_operator()
        with self._database.read() as db:
            return JSONResponse({"payments": payment_journal.listed(db, _limit(request), **_chosen(request))})

    def open_holds(self, request: Request) -> Response:
        """Open holds, the oldest first, with their age."""
        if not self._access.is_operator(request):
            return _not_operator()
        with self._database.read() as db:
            return JSONResponse(
                {"open": payment_journal.with_age(payment_journal.open_register(db, _limit(request)), store.now_ms())}
            )

    def discrepancies(self, request: Request) -> Response:
        """All of them; those that a person accepted say by whom and why."""
        if not self._access.is_operator(request):
            return _not_operator()
        with self._database.read() as db:
            found = self._watch.latest(db)
        return JSONResponse({"discrepancies": [one.told() for one in found]})

    def _version(self) -> tuple[Any, ...]:
        with self._database.read() as db:
            return payment_watch.version(db)

    def _parts(self) -> dict[str, str]:
        with self._database.read() as db:
            shown = self._shown(db, dict.fromkeys(FILTERS, ""))
        names = ("sums", "findings", "open", "recent")
        return {name: self._templates.get_template(f"payments_{name}.html").render(**shown) for name in names}

    def _shown(self, db: Connection, chosen: dict[str, str]) -> dict[str, Any]:
        now = store.now_ms()
        found = self._watch.latest(db)
        return {
            "now_ms": now,
            "sums": payment_journal.open_sums(db),
            "findings": [one.finding for one in found if one.accepted is None],
            "accepted": [one for one in found if one.accepted is not None],
            "holds": payment_journal.open_register(db, MAX_LISTED),
            "payments": payment_journal.listed(db, SHOWN, **chosen),
            "shown": SHOWN,
        }


def _money(minor: int | None, currency: str) -> str:
    return "" if minor is None else money_text(minor, currency)


def _chosen(request: Request) -> dict[str, str]:
    return {name: request.query_params.get(name, "")[:64].replace("\x00", "") for name in FILTERS}


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "100")
    return min(int(text), MAX_LISTED) if text.isascii() and text.isdigit() and len(text) < 6 else 100


def _not_operator() -> Response:
    return JSONResponse({"error": "operators only"}, 401, _ASK)
