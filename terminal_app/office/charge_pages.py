"""The pages and the API by which a driver watches, stops and starts a charge. Plain HTML that renews itself, no script.

The token in the address is all the right there is: it is never logged and refers nobody. A start needs an account and its secret;
the address on a sticker alone moves nothing.
"""

import logging
import re
import secrets
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.office import charge_view, store
from terminal_app.office.access import hash_of
from terminal_app.office.accounts import Refused, Who
from terminal_app.office.charges import Charges, Start
from terminal_app.office.forms import HEADERS, Leaves, form_of, onwards
from terminal_app.office.pages import local
from terminal_app.office.phone_words import PHONE_WORDS
from terminal_app.office.words import language_of

log = logging.getLogger(__name__)
ONCE = re.compile(r"^[0-9a-f]{32}$", re.ASCII)
TERMINAL = re.compile(r"^[A-Za-z0-9_-]{1,36}$", re.ASCII)

TOLD = ("phase", "station", "connector", "held_minor", "currency", "energy_wh", "cost_minor", "heard_utc_ms", "stop", "settled")


class ChargePages:
    """Routes of /c, /go and /v1/app. Moves closed-loop money, by `Charges.start` only."""

    def __init__(self, database: store.Store, charges: Charges, demo: bool) -> None:
        self._database, self._charges, self._leaves = database, charges, Leaves(demo)
        self.routes = [
            Route("/c/{token}", self.show),
            Route("/c/{token}/stop", self.stop, methods=["POST"]),
            Route("/go/{terminal}/{connector:int}", self.offer),
            Route("/go/{terminal}/{connector:int}", self.start, methods=["POST"]),
            Route("/v1/app/{token}", self.told),
            Route("/v1/app/{token}/stop", self.stop_by_program, methods=["POST"]),
        ]

    # --- watch and stop ------------------------------------------------------------------------------------------

    def show(self, request: Request) -> Response:
        return self._shown(request, 200, "")

    def stop(self, request: Request) -> Response:
        token = request.path_params["token"]
        try:
            self._charges.stop(token)
        except Refused as refusal:
            return self._shown(request, refusal.status, _words(refusal))
        except sa.exc.SQLAlchemyError as problem:
            return self._later(request, problem)
        return onwards(f"/c/{token}")

    def told(self, request: Request) -> Response:
        seen = self._charges.seen(request.path_params["token"])
        if seen is None:
            return JSONResponse({"error": "there is no such charge", "code": "unknown_charge"}, 404, HEADERS)
        names = (
            "phase",
            "station",
            "connector",
            "held_minor",
            "currency",
            "energy_wh",
            "cost_minor",
            "heard_utc_ms",
            "stop",
            "settled",
        )
        told = {name: getattr(seen, name) for name in names}
        return JSONResponse(told | {"can_stop": seen.can_stop, "receipt": _receipt(seen)}, headers=HEADERS)

    def stop_by_program(self, request: Request) -> Response:
        try:
            self._charges.stop(request.path_params["token"])
        except Refused as refusal:
            return JSONResponse({"error": str(refusal), "code": refusal.code}, refusal.status, HEADERS)
        return self.told(request)

    def _shown(self, request: Request, status: int, problem: str) -> Response:
        token = request.path_params["token"]
        seen = self._charges.seen(token)
        if seen is None:
            return self._leaves.message(request, "unknown", 404)
        return self._leaves.page(request, "charge.html", status, seen=seen, token=token, problem=problem, now_ms=store.now_ms())

    # --- start ---------------------------------------------------------------------------------------------------

    def offer(self, request: Request) -> Response:
        return self._offered(request, 200, "")

    async def start(self, request: Request) -> Response:
        return await run_in_threadpool(self._start, request, await form_of(request))

    def _start(self, request: Request, form: dict[str, str]) -> Response:
        account, secret = form.get("account", "").strip().upper(), form.get("secret", "").strip()
        once, offer = form.get("once", ""), self._offer(request)
        if offer is None:
            return self._leaves.message(request, "go_not_here", 404)
        if not (account and secret and ONCE.match(once)):
            return self._offered(request, 422, "refused_nothing_said", account)
        terminal, connector = request.path_params["terminal"], request.path_params["connector"]
        if form.get("tariff") != offer.tariff:
            return self._offered(request, 422, "refused_price_changed", account)
        start = Start(terminal, connector, once, offer.station, offer.hold_minor, offer.currency, offer.tariff)
        try:
            token = self._charges.start(start, Who(account=account, secret_sha256=hash_of(secret)))
        except Refused as refusal:
            return self._offered(request, refusal.status, _words(refusal), account, once)
        except sa.exc.SQLAlchemyError as problem:
            return self._later(request, problem)
        return onwards(f"/c/{token}")

    def _offered(self, request: Request, status: int, problem: str, account: str = "", once: str = "") -> Response:
        """`once` stays that of the first form: what was sent twice starts once."""
        offer, connector = self._offer(request), request.path_params["connector"]
        if offer is None:
            return self._leaves.message(request, "go_not_here", 404)
        language = language_of(request.headers.get("accept-language", ""))
        words = PHONE_WORDS[language]
        prices = [words[f"price_{what}"].format(local(_price(price), language), offer.currency) for what, price in offer.prices]
        shown: dict[str, Any] = {"offer": offer, "prices": prices, "connector": connector, "problem": problem, "account": account}
        return self._leaves.page(request, "go.html", status, once=once or secrets.token_hex(16), **shown)

    def _offer(self, request: Request) -> charge_view.Offer | None:
        terminal = request.path_params["terminal"]
        if not TERMINAL.match(terminal):
            return None
        with self._database.read() as db:
            return charge_view.offer(db, terminal, request.path_params["connector"])

    def _later(self, request: Request, problem: Exception) -> Response:
        log.error("a charge was not steered: %s", type(problem).__name__)
        return self._leaves.message(request, "later", 503)


def _price(price: Decimal) -> str:
    """All its decimals, at least two."""
    exact = f"{price:f}"
    return exact if len(exact.partition(".")[2]) >= 2 else f"{price:.2f}"


def _words(refusal: Refused) -> str:
    problem = f"refused_{refusal.code}"
    return problem if problem in PHONE_WORDS["en"] else "refused_other"


def _receipt(seen: charge_view.Seen) -> str:
    return f"/r/{seen.receipt_code}" if seen.receipt_code else ""
