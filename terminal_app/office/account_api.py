"""The account API: terminals hold, increment, capture, void, refund, spend slices, book receivables; operators add and top up
accounts and read statements.

A terminal is known by its bearer token alone. Amounts are integer minor units; every act names its key. Refusals are
`{"error": sentence, "code": word}`: 402 = the account gives nothing (decline), 404 unknown, 422 not possible any more or at all.
Anything else (5xx) leaves the asker in the dark, and the same request may be sent again.
"""

from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.office import books, store
from terminal_app.office.access import Access, hash_of
from terminal_app.office.accounts import MAX_MINOR, Accounts, NewAccount, Refused, Who
from terminal_app.office.asking import Amount, Asked, Asking, Currency, Key, key_of, refused, stranger
from terminal_app.office.receivables import Receivables
from terminal_app.office.slices import Slices

BY_CARD = "by-card"

Limit = Annotated[int, Meta(ge=0, le=MAX_MINOR)]
AccountId = Annotated[str, Meta(pattern=r"^[A-Z0-9-]{1,36}$")]
Card = Annotated[str, Meta(pattern=r"^[0-9a-f]{32,64}$")]
Note = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Way = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,24}$")]


class HoldAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    currency: Currency
    card: Card | None = None  # with the address .../accounts/by-card/...
    secret: Annotated[str, Meta(max_length=128)] = ""  # with an account id
    partial: bool = False


class SliceAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    currency: Currency
    card: Card
    days: Annotated[int, Meta(ge=1, le=30)] = 7


class CaptureAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    vat_minor: Limit = 0


class IncrementAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount


class VoidAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RefundAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    note: Note = ""


class SpendAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    hold_key: Key


class ReceivableAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    card: Card
    amount_minor: Amount
    currency: Currency
    hold_key: Key


class TopUpAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Amount
    way: Way
    note: Note = ""


class AccountAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    account: AccountId
    currency: Currency
    kind: str = "prepaid"
    label: Note = ""
    credit_minor: Limit = 0
    hold_max_minor: Limit = 0
    day_max_minor: Limit = 0
    card: Card | None = None
    terminal: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,36}$")] = ""


class AccountApi(Asking):
    """Routes of the account API. Database work runs in the thread pool."""

    def __init__(self, database: store.Store, accounts: Accounts, slices: Slices, access: Access) -> None:
        super().__init__(access)
        self._database, self._accounts, self._slices = database, accounts, slices
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
            Route("/v1/holds/{hold}/increment", self.increment, methods=["POST"]),
            Route("/v1/holds/{hold}/capture", self.capture, methods=["POST"]),
            Route("/v1/holds/{hold}/void", self.void, methods=["POST"]),
            Route("/v1/holds/{hold}/refund", self.refund, methods=["POST"]),
            Route("/v1/slices/{slice}/spend", self.spend, methods=["POST"]),
            Route("/v1/slices/{slice}/return", self.give_back, methods=["POST"]),
        ]

    # --- terminals -----------------------------------------------------------------------------------------------

    def whoami(self, request: Request) -> Response:
        terminal = self.access.terminal_of(request)
        return JSONResponse({"terminal": terminal}) if terminal else stranger()

    async def hold(self, request: Request) -> Response:
        def act(terminal: str, asked: HoldAsked) -> dict[str, Any]:
            account = request.path_params["account"]
            if (account == BY_CARD) != (asked.card is not None):
                raise Refused(422, "bad_request", f"give a card with {BY_CARD}, else account id and secret")
            who = Who(card=asked.card) if asked.card else Who(account=account, secret_sha256=hash_of(asked.secret))
            return self._accounts.hold(terminal, asked.key, who, asked.amount_minor, asked.currency, asked.partial)

        return await self.terminal_asks(request, HoldAsked, act)

    async def grant(self, request: Request) -> Response:
        def act(terminal: str, asked: SliceAsked) -> dict[str, Any]:
            if request.path_params["account"] != BY_CARD:
                raise Refused(422, "bad_request", f"slices are granted at {BY_CARD}")
            who = Who(card=asked.card)
            return self._slices.grant(terminal, asked.key, who, asked.amount_minor, asked.currency, asked.days)

        return await self.terminal_asks(request, SliceAsked, act)

    async def increment(self, request: Request) -> Response:
        def act(terminal: str, asked: IncrementAsked) -> dict[str, Any]:
            return self._accounts.increment(terminal, request.path_params["hold"], asked.key, asked.amount_minor)

        return await self.terminal_asks(request, IncrementAsked, act)

    async def capture(self, request: Request) -> Response:
        def act(terminal: str, asked: CaptureAsked) -> dict[str, Any]:
            hold = request.path_params["hold"]
            return self._accounts.capture(terminal, hold, asked.key, asked.amount_minor, asked.vat_minor)

        return await self.terminal_asks(request, CaptureAsked, act)

    async def void(self, request: Request) -> Response:
        return await self.terminal_asks(
            request, VoidAsked, lambda terminal, asked: self._accounts.void(terminal, request.path_params["hold"], asked.key)
        )

    async def void_by_key(self, request: Request) -> Response:
        def act(terminal: str, asked: VoidAsked) -> dict[str, Any]:
            return self._accounts.void_by_key(terminal, key_of(request), asked.key)

        return await self.terminal_asks(request, VoidAsked, act)

    async def refund(self, request: Request) -> Response:
        def act(terminal: str, asked: RefundAsked) -> dict[str, Any]:
            return self._accounts.refund(terminal, request.path_params["hold"], asked.key, asked.amount_minor, asked.note)

        return await self.terminal_asks(request, RefundAsked, act)

    async def spend(self, request: Request) -> Response:
        def act(terminal: str, asked: SpendAsked) -> dict[str, Any]:
            return self._slices.spend(terminal, request.path_params["slice"], asked.hold_key, asked.key, asked.amount_minor)

        return await self.terminal_asks(request, SpendAsked, act)

    async def receivable(self, request: Request) -> Response:
        def act(terminal: str, asked: ReceivableAsked) -> dict[str, Any]:
            if request.path_params["account"] != BY_CARD:
                raise Refused(422, "bad_request", f"receivables are booked at {BY_CARD}")
            return self._receivables.book(terminal, asked.key, asked.card, asked.amount_minor, asked.currency, asked.hold_key)

        return await self.terminal_asks(request, ReceivableAsked, act)

    async def give_back(self, request: Request) -> Response:
        return await self.terminal_asks(
            request, VoidAsked, lambda terminal, asked: self._slices.give_back(terminal, request.path_params["slice"])
        )

    def look_up(self, request: Request) -> Response:
        terminal = self.access.terminal_of(request)
        if not terminal:
            return stranger()
        found = self._accounts.look_up(terminal, request.path_params["key"])
        return JSONResponse(found) if found else refused(Refused(404, "unknown_hold", "no hold has this key"))

    # --- operators -----------------------------------------------------------------------------------------------

    async def add(self, request: Request) -> Response:
        def act(asked: AccountAsked) -> dict[str, Any]:
            names = (name for name in NewAccount.__dataclass_fields__ if name != "secret_sha256")
            self._accounts.add(NewAccount(**{name: getattr(asked, name) for name in names}))
            if asked.card:
                self._accounts.add_card(asked.account, asked.card, asked.terminal)
            return {"account": asked.account}

        return await self.operator_asks(request, AccountAsked, act)

    async def top_up(self, request: Request) -> Response:
        def act(asked: TopUpAsked) -> dict[str, Any]:
            return self._accounts.top_up(request.path_params["account"], asked.amount_minor, asked.key, asked.way, asked.note)

        return await self.operator_asks(request, TopUpAsked, act)

    def statement(self, request: Request) -> Response:
        """`?month=2026-11`; the months are UTC."""
        if not self.access.is_operator(request):
            return stranger()
        try:
            with self._database.read() as db:
                found = books.statement(db, request.path_params["account"], request.query_params.get("month", ""))
        except ValueError as problem:
            return refused(Refused(422, "bad_month", str(problem)))
        return JSONResponse(found) if found else refused(Refused(404, "unknown_account", "there is no such account"))
