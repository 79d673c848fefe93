"""The API by which terminals open, watch and end pages for phones. The same manners as the account API."""

from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.office.access import Access
from terminal_app.office.accounts import Refused
from terminal_app.office.asking import Amount, Asked, Asking, Currency, key_of, refused, stranger
from terminal_app.office.checkouts import Checkouts, NewCheckout

HoldId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Station = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
CheckWord = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{0,16}$")]


class CheckoutAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`key` is the hold's, and so the page's: asked again, the same page."""

    hold_id: HoldId
    connector: Annotated[int, Meta(ge=0, le=64)]
    station: Station
    check_word: CheckWord
    amount_minor: Amount
    currency: Currency


class ExpiryAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class CheckoutApi(Asking):
    """Routes of pages, for terminals by their bearer token."""

    def __init__(self, checkouts: Checkouts, access: Access, public_url: str) -> None:
        super().__init__(access)
        self._checkouts, self._public_url = checkouts, public_url.rstrip("/")
        self.routes = [
            Route("/v1/checkouts", self.open, methods=["POST"]),
            Route("/v1/checkouts/by-key/{key}", self.look),
            Route("/v1/checkouts/by-key/{key}/expire", self.expire, methods=["POST"]),
        ]

    async def open(self, request: Request) -> Response:
        def act(terminal: str, asked: CheckoutAsked) -> dict[str, Any]:
            names = NewCheckout.__dataclass_fields__
            return self._told(self._checkouts.open(terminal, NewCheckout(**{name: getattr(asked, name) for name in names})))

        return await self.terminal_asks(request, CheckoutAsked, act)

    def look(self, request: Request) -> Response:
        terminal = self.access.terminal_of(request)
        if not terminal:
            return stranger()
        try:
            return JSONResponse(self._told(self._checkouts.look(terminal, request.path_params["key"])))
        except Refused as refusal:
            return refused(refusal)

    async def expire(self, request: Request) -> Response:
        def act(terminal: str, asked: ExpiryAsked) -> dict[str, Any]:
            return self._told(self._checkouts.expire(terminal, key_of(request)))

        return await self.terminal_asks(request, ExpiryAsked, act)

    def _told(self, row: dict[str, Any]) -> dict[str, Any]:
        """What a terminal learns of its page."""
        names = ("key", "state", "amount_minor", "currency", "expires_utc_ms", "hold", "refused_as")
        told = {name: row[name] for name in names}
        return told | {"reference": row["checkout"], "url": f"{self._public_url}/pay/{row['token']}"}
