"""The way of every request of programs: who asks, a bounded body, a typed question, one commit, an answer that names its key."""

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

from terminal_app.office.access import Access
from terminal_app.office.accounts import MAX_MINOR, Refused

log = logging.getLogger(__name__)
MAX_BODY = 8 * 1024
BODY_TIMEOUT_S = 20
T = TypeVar("T", bound="Asked")

Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Amount = Annotated[int, Meta(ge=1, le=MAX_MINOR)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Key


class Asking:
    """What the APIs for programs share. Database work runs in the thread pool."""

    def __init__(self, access: Access) -> None:
        self.access = access

    async def terminal_asks(self, request: Request, form: type[T], act: Callable[[str, T], dict[str, Any]]) -> Response:
        terminal = await run_in_threadpool(self.access.terminal_of, request)
        return await self._ask(request, form, lambda asked: act(terminal, asked)) if terminal else stranger()

    async def operator_asks(self, request: Request, form: type[T], act: Callable[[T], dict[str, Any]]) -> Response:
        if not self.access.is_operator(request):
            return stranger()
        return await self._ask(request, form, act)

    async def _ask(self, request: Request, form: type[T], act: Callable[[T], dict[str, Any]]) -> Response:
        """The answer names the request's key, so that the asker knows it for its own."""
        key = ""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            why = "the body must be application/json: no form of another site can send that with an operator's login"
            return refused(Refused(415, "bad_media_type", why))
        try:
            asked = msgspec.json.decode(await asyncio.wait_for(body_of(request), BODY_TIMEOUT_S), type=form)
            key = asked.key
            done = await run_in_threadpool(act, asked)
        except msgspec.MsgspecError as problem:
            return refused(Refused(400, "bad_request", f"not understood: {problem}"))
        except Refused as refusal:
            return refused(refusal, key)
        except (TimeoutError, ClientDisconnect):
            return refused(Refused(408, "no_body", "the body did not come"))
        except sa.exc.SQLAlchemyError as problem:
            log.error("an account request was not booked: %s", type(problem).__name__)
            return refused(Refused(503, "later", "the office cannot book now"))
        return JSONResponse({**done, "request": key})


async def body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(413, "too_large", f"the body exceeds {MAX_BODY} bytes")
    return bytes(body)


def key_of(request: Request) -> str:
    try:
        return msgspec.convert(request.path_params["key"], Key)
    except msgspec.ValidationError:
        raise Refused(422, "bad_request", "not a key") from None


def refused(refusal: Refused, key: str = "") -> Response:
    return JSONResponse({"error": str(refusal), "code": refusal.code, "request": key}, refusal.status)


def stranger() -> Response:
    ask = {"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'}
    return JSONResponse({"error": "unknown token", "code": "unknown_token", "request": ""}, 401, ask)
