"""The page behind the QR code on the charger's screen: what will be held and why, and a form to hold it on an account.

Whoever has the address may pay, once. It never shows who paid, nor leads to the charge without the account's secret.
"""

import logging
from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from terminal_app.office.access import hash_of
from terminal_app.office.accounts import Refused, Who
from terminal_app.office.checkouts import EXPIRED, Checkouts
from terminal_app.office.forms import Leaves, form_of, onwards
from terminal_app.office.phone_words import PHONE_WORDS

log = logging.getLogger(__name__)
ENDED = frozenset(("expired", "already_voided", "already_captured"))


class PayPages:
    """Routes of /pay. Moves closed-loop money, by `Checkouts.pay` only."""

    def __init__(self, checkouts: Checkouts, demo: bool) -> None:
        self._checkouts, self._demo, self._leaves = checkouts, demo, Leaves(demo)
        self.routes = [Route("/pay/{token}", self.show), Route("/pay/{token}", self.pay, methods=["POST"])]

    def show(self, request: Request) -> Response:
        return self._shown(request, 200, "")

    async def pay(self, request: Request) -> Response:
        return await run_in_threadpool(self._pay, request, await form_of(request))

    def _pay(self, request: Request, form: dict[str, str]) -> Response:
        token, account, secret = (
            request.path_params["token"],
            form.get("account", "").strip().upper(),
            form.get("secret", "").strip(),
        )
        try:
            if self._demo and form.get("do") == "wallet":
                who = self._checkouts.demo_wallet(token)
            elif account and secret:
                who = Who(account=account, secret_sha256=hash_of(secret))
            else:
                return self._shown(request, 422, "refused_nothing_said", account)
            charge = self._checkouts.pay(token, who)
        except Refused as refusal:
            return self._refused(request, refusal, account)
        except sa.exc.SQLAlchemyError as problem:
            log.error("a page was not paid: %s", type(problem).__name__)
            return self._leaves.message(request, "later", 503)
        return onwards(f"/c/{charge}")

    def _refused(self, request: Request, refusal: Refused, account: str) -> Response:
        if refusal.code in ENDED:
            return self._leaves.message(request, "expired", 410)
        problem = f"refused_{refusal.code}"
        return self._shown(request, refusal.status, problem if problem in PHONE_WORDS["en"] else "refused_other", account)

    def _shown(self, request: Request, status: int, problem: str, account: str = "") -> Response:
        page = self._checkouts.page(request.path_params["token"])
        if page is None:
            return self._leaves.message(request, "unknown", 404)
        if page["state"] == EXPIRED:
            return self._leaves.message(request, "expired", 410)
        return self._leaves.page(request, "pay.html", status, page=page, problem=problem, account=account, **_place_of(page))


def _place_of(page: dict[str, Any]) -> dict[str, str]:
    """Where the page is for: the station, and the label of the connector as the terminal puts it behind."""
    place, separator, label = page["station"].rpartition(" / ")
    return {"place": place, "label": label} if separator else {"place": page["station"], "label": ""}
