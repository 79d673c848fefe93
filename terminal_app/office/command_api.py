"""The downlink's web side: terminals fetch their commands (and may wait for the next one), operators issue and follow them.

Waiting costs a task, no thread: a ring of the bell or RECHECK_S ends it, for commands of other processes ring nothing here.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.office.access import Access
from terminal_app.office.accounts import Refused
from terminal_app.office.commands import Commands

log = logging.getLogger(__name__)
LONGEST_WAIT_S = 20
RECHECK_S = 2.0
MAX_BODY = 512 * 1024
BODY_TIMEOUT_S = 20
MAX_PAGE = 200


class CommandAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`key` names this order: asked again with it, it is issued once. `by` is the person who orders."""

    terminal: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,36}\Z")]
    act: Annotated[str, Meta(max_length=64)]
    args: dict[str, Any] = {}
    by: Annotated[str, Meta(min_length=1, max_length=64)]
    reason: Annotated[str, Meta(min_length=1, max_length=200)]
    ttl_s: int = 600
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z")] = ""


class CommandApi:
    """Routes of the downlink. `leaving` says that the server wants to stop: then nobody is kept waiting."""

    def __init__(self, commands: Commands, access: Access, leaving: Callable[[], bool]) -> None:
        self._commands, self._access, self._leaving = commands, access, leaving
        self.routes = [
            Route("/v1/terminals/{terminal}/commands", self.fetch),
            Route("/v1/commands", self.issue, methods=["POST"]),
            Route("/v1/commands", self.newest),
            Route("/v1/commands/{command_id}", self.state),
        ]

    async def fetch(self, request: Request) -> Response:
        """`?after=N&wait_s=S`: signed commands with a higher number, oldest first; [] if none came within S seconds."""
        terminal = request.path_params["terminal"]
        after, wait_s = _number(request, "after", 2**53), _number(request, "wait_s", LONGEST_WAIT_S)
        if after is None or wait_s is None:
            return _error(400, f"after must be a command's number, wait_s at most {LONGEST_WAIT_S}")
        try:
            if not await run_in_threadpool(self._access.is_terminal, request, terminal):
                return _error(401, "unknown terminal or wrong token", **{"WWW-Authenticate": "Bearer"})
            return JSONResponse({"commands": await self._fetched(terminal, after, wait_s)})
        except sa.exc.SQLAlchemyError as problem:
            log.error("commands of %s not read: %s", terminal, type(problem).__name__)
            return _error(503, "the office cannot read now", **{"Retry-After": "10"})

    async def _fetched(self, terminal: str, after: int, wait_s: int) -> list[str]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        with self._commands.bell.waiting(terminal) as rung:  # before the first look, so that no ring is missed
            while True:
                if rung is not None:
                    rung.clear()
                found = await run_in_threadpool(self._commands.waiting, terminal, after)
                left_s = until - loop.time()
                if found or rung is None or left_s <= 0 or self._leaving():
                    return found
                try:
                    await asyncio.wait_for(rung.wait(), min(left_s, RECHECK_S))
                except TimeoutError:
                    continue

    async def issue(self, request: Request) -> Response:
        """Only JSON is taken, by its media type too: another site's form in an operator's browser cannot send that."""
        if not self._access.is_operator(request):
            return _not_operator()
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _error(415, "a command is application/json")
        try:
            asked = msgspec.json.decode(await asyncio.wait_for(body_of(request, MAX_BODY), BODY_TIMEOUT_S), type=CommandAsked)
            issued = await run_in_threadpool(
                self._commands.issue, asked.terminal, asked.act, asked.args, asked.by, asked.reason, asked.ttl_s, asked.key
            )
        except msgspec.MsgspecError as problem:
            return _error(400, f"not understood: {problem}")
        except Refused as refusal:
            return JSONResponse({"error": str(refusal), "code": refusal.code}, refusal.status)
        except (TimeoutError, ClientDisconnect):
            return _error(408, "the body did not come")
        except sa.exc.SQLAlchemyError as problem:
            log.error("a command was not issued: %s", type(problem).__name__)
            return _error(503, "the office cannot store now", **{"Retry-After": "10"})
        return JSONResponse(asdict(issued), 201)

    def state(self, request: Request) -> Response:
        if not self._access.is_operator(request):
            return _not_operator()
        found = self._commands.state(request.path_params["command_id"][:64])
        return _error(404, "there is no such command") if found is None else JSONResponse(found)

    def newest(self, request: Request) -> Response:
        """`?terminal=&limit=N`, newest first."""
        if not self._access.is_operator(request):
            return _not_operator()
        limit = _number(request, "limit", MAX_PAGE)
        terminal = request.query_params.get("terminal", "")[:36]
        return JSONResponse({"commands": self._commands.newest(limit or MAX_PAGE, terminal)})


async def body_of(request: Request, limit: int) -> bytes:
    """Refused (413) as soon as it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(413, "too_large", f"the body exceeds {limit} bytes")
    return bytes(body)


def _number(request: Request, name: str, limit: int) -> int | None:
    """0 if it is not there, None if it is no number up to `limit`."""
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) > limit:
        return None
    return int(text)


def _error(status: int, sentence: str, **headers: str) -> Response:
    return JSONResponse({"error": sentence}, status, headers)


def _not_operator() -> Response:
    return _error(401, "operators only", **{"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'})
