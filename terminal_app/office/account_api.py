"""The account API: terminals hold, capture, void, refund, spend slices, book receivables; operators add, top up, read statements.

A terminal is known by its bearer token alone. Amounts are integer minor units; every act names its key. Refusals are
`{"error": sentence, "code": word}`: 402 = the account gives nothing (decline), 404 unknown, 422 not possible any more or at all.
Anything else (5xx) leaves the asker in the dark, and the same request may be sent again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.office import books, store
from terminal_app.office.access import Access, hash_of
from terminal_app.office.accounts import MAX_MINOR, Accounts, NewAccount, Refused, Who
from terminal_app.office.receivables import Receivables
from terminal_app.office.slices import Slices

log = logging.getLogger(__name__)
MAX_BODY = 8 * 1024
BODY_TIMEOUT_S = 20
BY_CARD = "by-card"
T = TypeVar("T", bound="_Asked")

Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Amount = Annotated[int, Meta(ge=1, le=MAX_MINOR)]
Limit = Annotated[int, Meta(ge=0, le=MAX_MINOR)]
AccountId = Annotated[str, Meta(pattern=r"^[A-Z0-9-]{1,36}$")]
Card = Annotated[str, Meta(pattern=r"^[0-9a-f]{32,64}$")]
Note = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Way = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,24}$")]


class _Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Key


class HoldAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    currency: Currency
    card: Card | None = None  # with the address .../accounts/by-card/...
    secret: Annotated[str, Meta(max_length=128)] = ""  # with an account id
    partial: bool = False


class SliceAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    currency: Currency
    card: Card
    days: Annotated[int, Meta(ge=1, le=30)] = 7


class CaptureAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    vat_minor: Limit = 0


class VoidAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RefundAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    note: Note = ""


class SpendAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    hold_key: Key


class ReceivableAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    card: Card
    amount_minor: Amount
    currency: Currency
    hold_key: Key


class TopUpAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    way: Way
    note: Note = ""


class AccountAsked(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    account: AccountId
    currency: Currency
    kind: str = "prepaid"
    label: Note = ""
    credit_minor: Limit = 0
    hold_max_minor: Limit = 0
    day_max_minor: Limit = 0
    card: Card | None = None
    terminal: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,36}$")] = ""


class AccountApi:
    """Routes of the account API. Database work runs in the thread pool."""

    def __init__(self, database: store.Store, accounts: Accounts, slices: Slices, access: Access) -> None:
        self._database, self._accounts, self._slices, self._access = database, accounts, slices, access
        self._receivables = Receivables(database)
        self.routes = [
            Route("/v1/terminals/self", self.whoami),
            Route("/v1/accounts", self.add, methods=["POST"]),
            Route("/v1/accounts/{account}/holds", self.hold, methods=["POST"]),
            Route("/v1/accounts/{account}/slices", self.grant, methods=["POST"]),
            Route("/v1/accounts/{account}/receivables", self.receivable, methods=["POST"]),
            Route("/v1/accounts/{account}/topups", self.top_up, methods=["POST"]),
            Route("/v1/accounts/{account}/statement", self.statement),
            Route("/v1/holds/by-key/{key}", self.look_up),
            Route("/v1/holds/by-key/{key}/void", self.void_by_key, methods=["POST"]),
            Route("/v1/holds/{hold}/capture", self.capture, methods=["POST"]),
            Route("/v1/holds/{hold}/void", self.void, methods=["POST"]),
            Route("/v1/holds/{hold}/refund", self.refund, methods=["POST"]),
            Route("/v1/slices/{slice}/spend", self.spend, methods=["POST"]),
            Route("/v1/slices/{slice}/return", self.give_back, methods=["POST"]),
        ]

    # --- terminals -----------------------------------------------------------------------------------------------

    def whoami(self, request: Request) -> Response:
        terminal = self._access.terminal_of(request)
        return JSONResponse({"terminal": terminal}) if terminal else _stranger()

    async def hold(self, request: Request) -> Response:
        def act(terminal: str, asked: HoldAsked) -> dict[str, Any]:
            account = request.path_params["account"]
            if (account == BY_CARD) != (asked.card is not None):
                raise Refused(422, "bad_request", f"give a card with {BY_CARD}, else account id and secret")
            who = Who(card=asked.card) if asked.card else Who(account=account, secret_sha256=hash_of(asked.secret))
            return self._accounts.hold(terminal, asked.key, who, asked.amount_minor, asked.currency, asked.partial)

        return await self._terminal_asks(request, HoldAsked, act)

    async def grant(self, request: Request) -> Response:
        def act(terminal: str, asked: SliceAsked) -> dict[str, Any]:
            if request.path_params["account"] != BY_CARD:
                raise Refused(422, "bad_request", f"slices are granted at {BY_CARD}")
            who = Who(card=asked.card)
            return self._slices.grant(terminal, asked.key, who, asked.amount_minor, asked.currency, asked.days)

        return await self._terminal_asks(request, SliceAsked, act)

    async def capture(self, request: Request) -> Response:
        def act(terminal: str, asked: CaptureAsked) -> dict[str, Any]:
            hold = request.path_params["hold"]
            return self._accounts.capture(terminal, hold, asked.key, asked.amount_minor, asked.vat_minor)

        return await self._terminal_asks(request, CaptureAsked, act)

    async def void(self, request: Request) -> Response:
        return await self._terminal_asks(
            request, VoidAsked, lambda terminal, asked: self._accounts.void(terminal, request.path_params["hold"], asked.key)
        )

    async def void_by_key(self, request: Request) -> Response:
        def act(terminal: str, asked: VoidAsked) -> dict[str, Any]:
            return self._accounts.void_by_key(terminal, _key(request), asked.key)

        return await self._terminal_asks(request, VoidAsked, act)

    async def refund(self, request: Request) -> Response:
        def act(terminal: str, asked: RefundAsked) -> dict[str, Any]:
            return self._accounts.refund(terminal, request.path_params["hold"], asked.key, asked.amount_minor, asked.note)

        return await self._terminal_asks(request, RefundAsked, act)

    async def spend(self, request: Request) -> Response:
        def act(terminal: str, asked: SpendAsked) -> dict[str, Any]:
            return self._slices.spend(terminal, request.path_params["slice"], asked.hold_key, asked.key, asked.amount_minor)

        return await self._terminal_asks(request, SpendAsked, act)

    async def receivable(self, request: Request) -> Response:
        def act(terminal: str, asked: ReceivableAsked) -> dict[str, Any]:
            if request.path_params["account"] != BY_CARD:
                raise Refused(422, "bad_request", f"receivables are booked at {BY_CARD}")
            return self._receivables.book(terminal, asked.key, asked.card, asked.amount_minor, asked.currency, asked.hold_key)

        return await self._terminal_asks(request, ReceivableAsked, act)

    async def give_back(self, request: Request) -> Response:
        return await self._terminal_asks(
            request, VoidAsked, lambda terminal, asked: self._slices.give_back(terminal, request.path_params["slice"])
        )

    def look_up(self, request: Request) -> Response:
        terminal = self._access.terminal_of(request)
        if not terminal:
            return _stranger()
        found = self._accounts.look_up(terminal, request.path_params["key"])
        return JSONResponse(found) if found else _refused(Refused(404, "unknown_hold", "no hold has this key"))

    # --- operators -----------------------------------------------------------------------------------------------

    async def add(self, request: Request) -> Response:
        def act(asked: AccountAsked) -> dict[str, Any]:
            names = (name for name in NewAccount.__dataclass_fields__ if name != "secret_sha256")
            self._accounts.add(NewAccount(**{name: getattr(asked, name) for name in names}))
            if asked.card:
                self._accounts.add_card(asked.account, asked.card, asked.terminal)
            return {"account": asked.account}

        return await self._operator_asks(request, AccountAsked, act)

    async def top_up(self, request: Request) -> Response:
        def act(asked: TopUpAsked) -> dict[str, Any]:
            return self._accounts.top_up(request.path_params["account"], asked.amount_minor, asked.key, asked.way, asked.note)

        return await self._operator_asks(request, TopUpAsked, act)

    def statement(self, request: Request) -> Response:
        """`?month=2026-11`; the months are UTC."""
        if not self._access.is_operator(request):
            return _stranger()
        try:
            with self._database.read() as db:
                found = books.statement(db, request.path_params["account"], request.query_params.get("month", ""))
        except ValueError as problem:
            return _refused(Refused(422, "bad_month", str(problem)))
        return JSONResponse(found) if found else _refused(Refused(404, "unknown_account", "there is no such account"))

    # --- the way of every request --------------------------------------------------------------------------------

    async def _terminal_asks(self, request: Request, form: type[T], act: Callable[[str, T], dict[str, Any]]) -> Response:
        terminal = await run_in_threadpool(self._access.terminal_of, request)
        return await self._ask(request, form, lambda asked: act(terminal, asked)) if terminal else _stranger()

    async def _operator_asks(self, request: Request, form: type[T], act: Callable[[T], dict[str, Any]]) -> Response:
        if not self._access.is_operator(request):
            return _stranger()
        return await self._ask(request, form, act)

    async def _ask(self, request: Request, form: type[T], act: Callable[[T], dict[str, Any]]) -> Response:
        """The answer names the request's key, so that the asker knows it for its own."""
        key = ""
        try:
            asked = msgspec.json.decode(await asyncio.wait_for(_body(request), BODY_TIMEOUT_S), type=form)
            key = asked.key
            done = await run_in_threadpool(act, asked)
        except msgspec.MsgspecError as problem:
            return _refused(Refused(400, "bad_request", f"not understood: {problem}"))
        except Refused as refusal:
            return _refused(refusal, key)
        except (TimeoutError, ClientDisconnect):
            return _refused(Refused(408, "no_body", "the body did not come"))
        except sa.exc.SQLAlchemyError as problem:
            log.error("an account request was not booked: %s", type(problem).__name__)
            return _refused(Refused(503, "later", "the office cannot book now"))
        return JSONResponse({**done, "request": key})


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(413, "too_large", f"the body exceeds {MAX_BODY} bytes")
    return bytes(body)


def _key(request: Request) -> str:
    try:
        return msgspec.convert(request.path_params["key"], Key)
    except msgspec.ValidationError:
        raise Refused(422, "bad_request", "not a key") from None


def _refused(refusal: Refused, key: str = "") -> Response:
    return JSONResponse({"error": str(refusal), "code": refusal.code, "request": key}, refusal.status)


def _stranger() -> Response:
    ask = {"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'}
    return JSONResponse({"error": "unknown token", "code": "unknown_token", "request": ""}, 401, ask)
