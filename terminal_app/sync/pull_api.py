"""The terminal's pull API: records as they were signed, and each puller's own acknowledgements. Described in openapi.json.

Read only but for the cursors, which delete nothing. Everything is bounded: page and body sizes here, connections and their time
by the server. Moves no money.
"""

import asyncio
import time
from importlib.resources import files
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.errors import WireError
from terminal_app.sync.ack_pace import AckPace
from terminal_app.sync.cdr_body import CdrBodies
from terminal_app.sync.ocpi_pages import OcpiPages
from terminal_app.sync.pull_access import PullAccess
from terminal_app.sync.pull_core import SharedCore
from terminal_app.wire import RecordPage

MAX_PAGE = 500
DEFAULT_PAGE = 100
MAX_BODY = 4 * 1024
BODY_S = 10
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Has(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /acks."""

    through_seq: Annotated[int, Meta(ge=0, le=2**53)]
    head_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


def build(core: SharedCore, access: PullAccess, bodies: CdrBodies) -> Starlette:
    """The application."""
    api, pages = PullApi(core, access), OcpiPages(core, access, bodies)
    return Starlette(routes=[*api.routes, *pages.routes], exception_handlers={HTTPException: _no_route})


class PullApi:
    """Each route answers in JSON; an error is `{"error": sentence}`."""

    def __init__(self, core: SharedCore, access: PullAccess) -> None:
        self._core, self._access, self._pace = core, access, AckPace(time.monotonic)
        self._described = files("terminal_app.sync").joinpath("openapi.json").read_bytes()
        self.routes = [
            Route("/records", self.records, methods=["GET"]),
            Route("/acks", self.acks, methods=["GET"]),
            Route("/acks", self.acknowledge, methods=["POST"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]

    def records(self, request: Request) -> Response:
        """`?after=SEQ&limit=N`, oldest first. The page after the last is empty, and `next_after` stays where it was."""
        client = self._access.client(request)
        if not client:
            return stranger()
        after, limit = number(request, "after", 0), number(request, "limit", DEFAULT_PAGE)
        if after is None or not limit:
            return error(400, "after must be a record number, limit a number above 0")
        try:
            page = self._core.ask(lambda core: core.records_after(client, after, min(limit, MAX_PAGE)))
        except WireError as trouble:
            return no_core(trouble)
        items = [{"seq": one.seq, "jws": one.jws, "sha256": one.sha256} for one in page.items]
        found = {"items": items, "next_after": page.items[-1].seq if items else after}
        return answer(_chain(page) | found | {"head_seq": page.head_seq, "head_sha256": page.head_sha256})

    def acks(self, request: Request) -> Response:
        """How far this client said it has them."""
        client = self._access.client(request)
        return self._cursor(client) if client else stranger()

    async def acknowledge(self, request: Request) -> Response:
        """Idempotent. 409 with a sentence if the hash is not that of our record: then what was pulled is not what was sealed."""
        client = self._access.client(request)
        if not client:
            return stranger()
        try:
            has = msgspec.json.decode(await asyncio.wait_for(_body(request), BODY_S), type=Has)
        except TimeoutError:
            return error(408, f"the body did not come within {BODY_S} s")
        except ClientDisconnect:
            return error(400, "the client went away")
        except OverflowError:
            return error(413, f"the body exceeds {MAX_BODY} bytes")
        except msgspec.MsgspecError as problem:
            return error(400, f"not an acknowledgement: {problem}")
        if not self._pace.allows(client):
            return error(429, "acknowledge once a page, not more often", **{"Retry-After": "60"})
        return await run_in_threadpool(self._believed, client, has)

    def _believed(self, client: str, has: Has) -> Response:
        try:
            refusal = self._core.ask(lambda core: core.puller_has(client, has.through_seq, has.head_sha256))
        except WireError as trouble:
            return no_core(trouble)
        return error(409, refusal) if refusal else self._cursor(client)

    def _cursor(self, client: str) -> Response:
        try:
            page = self._core.ask(lambda core: core.records_after(client, 2**53, 1))
        except WireError as trouble:
            return no_core(trouble)
        cursor = {"client": client, "through_seq": page.acknowledged_seq, "through_sha256": page.acknowledged_sha256}
        return answer(_chain(page) | cursor | {"head_seq": page.head_seq, "head_sha256": page.head_sha256})

    def openapi(self, request: Request) -> Response:
        """What this API is, for machines; no secret."""
        return Response(self._described, media_type="application/json", headers=HEADERS)


def answer(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json", headers=HEADERS)


def error(status: int, sentence: str, **headers: str) -> Response:
    return JSONResponse({"error": sentence}, status, HEADERS | headers)


def stranger() -> Response:
    return error(401, "unknown client or wrong token", **{"WWW-Authenticate": "Bearer"})


def no_core(trouble: WireError) -> Response:
    return error(503, f"the terminal's core does not answer: {trouble}", **{"Retry-After": "10"})


def number(request: Request, name: str, otherwise: int) -> int | None:
    """A whole number of at most 15 digits in the query; None if it is something else."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _chain(page: RecordPage) -> dict[str, object]:
    return {"terminal": page.terminal, "chain_id": page.chain_id}


async def _body(request: Request) -> bytes:
    """OverflowError above MAX_BODY."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise OverflowError
    return bytes(body)


def _no_route(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    sentence = "only what openapi.json describes" if problem.status_code == 404 else "this route has no such method"
    return error(problem.status_code, sentence, **dict(problem.headers or {}))
