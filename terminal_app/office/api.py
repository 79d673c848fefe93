"""The office's JSON side: terminals post batches, operators read sessions and records. Bodies are bounded before and after
decompression; errors are `{"error": sentence}`."""

import asyncio
import logging
import zlib

import msgspec
import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from terminal_app.office import queries, store
from terminal_app.office.access import Access
from terminal_app.office.ingest import BatchRefused, Collector, SentBatch

log = logging.getLogger(__name__)

MAX_RAW = 2 * 1024 * 1024
MAX_BODY = 16 * 1024 * 1024
MAX_PAGE = 500
BODY_TIMEOUT_S = 60


class _TooLarge(Exception):
    pass


def error(status: int, sentence: str, **headers: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


class Api:
    """Routes of /v1. Database work runs in the thread pool."""

    def __init__(self, database: store.Store, collector: Collector, access: Access) -> None:
        self._database, self._collector, self._access = database, collector, access
        self.routes = [
            Route("/v1/terminals/{terminal}/batches", self.batches, methods=["POST"]),
            Route("/v1/sessions", self.sessions),
            Route("/v1/records", self.records),
            Route("/v1/records/{terminal}/{seq:int}", self.record),
            Route("/healthz", self.health),
        ]

    async def batches(self, request: Request) -> Response:
        terminal = request.path_params["terminal"]
        if not await run_in_threadpool(self._access.is_terminal, request, terminal):
            return error(401, "unknown terminal or wrong token", **{"WWW-Authenticate": "Bearer"})
        try:
            body = await asyncio.wait_for(_body(request), BODY_TIMEOUT_S)
            batch = msgspec.json.decode(body, type=SentBatch)
        except _TooLarge as problem:
            return error(413, str(problem))
        except (msgspec.MsgspecError, zlib.error, ValueError) as problem:
            return error(400, f"not a batch: {problem}")
        except TimeoutError:
            return error(408, f"the body did not come within {BODY_TIMEOUT_S} s")
        except ClientDisconnect:
            return error(400, "the terminal went away")
        if batch.terminal != terminal:
            return error(400, "the batch is of another terminal than the address")
        try:
            ack = await run_in_threadpool(self._collector.take, batch)
        except BatchRefused as problem:
            return error(409, str(problem))
        except sa.exc.SQLAlchemyError as problem:
            log.error("batch of %s not stored: %s", terminal, type(problem).__name__)
            return error(503, "the office cannot store now", **{"Retry-After": "10"})
        return JSONResponse({"ack": ack})

    def sessions(self, request: Request) -> Response:
        if not self._access.is_operator(request):
            return _not_operator()
        with self._database.read() as db:
            return JSONResponse({"sessions": queries.sessions(db, _limit(request))})

    def records(self, request: Request) -> Response:
        """Paged by storing order per terminal: `?terminal=&after=SEQ&limit=N`."""
        if not self._access.is_operator(request):
            return _not_operator()
        after = request.query_params.get("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 15:
            return error(400, "after must be a record number")
        with self._database.read() as db:
            found = queries.records(db, request.query_params.get("terminal", ""), int(after), _limit(request))
        return JSONResponse({"records": found})

    def record(self, request: Request) -> Response:
        """The exact bytes as signed. `?chain=` when a terminal has had several chains; else the newest chain."""
        if not self._access.is_operator(request):
            return _not_operator()
        with self._database.read() as db:
            found = queries.record(
                db, request.path_params["terminal"], request.path_params["seq"], request.query_params.get("chain", "")
            )
        if found is None:
            return error(404, "no such record")
        headers = {"X-Record-SHA256": found["sha256"], "X-Quarantine": "yes" if found["quarantine"] else "no"}
        return Response(found["jws"], media_type="application/jose", headers=headers)

    def health(self, request: Request) -> Response:
        with self._database.read() as db:
            db.execute(sa.select(sa.literal(1)))
        return JSONResponse({"ok": True})


def _not_operator() -> Response:
    return error(401, "operators only", **{"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'})


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "100")
    return min(int(text), MAX_PAGE) if text.isascii() and text.isdigit() and len(text) < 6 else 100


async def _body(request: Request) -> bytes:
    """The body, opened if it is gzip. Neither the raw nor the opened form may exceed its limit, at any moment."""
    encoding = request.headers.get("content-encoding", "").lower()
    if encoding not in ("", "identity", "gzip"):
        raise ValueError(f"content encoding {encoding!r} is not taken here")
    opener = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body, raw_size = bytearray(), 0
    async for chunk in request.stream():
        raw_size += len(chunk)
        if raw_size > MAX_RAW:
            raise _TooLarge(f"the body exceeds {MAX_RAW} bytes")
        body += opener.decompress(chunk, MAX_BODY + 1 - len(body)) if opener else chunk
        if len(body) > MAX_BODY:
            raise _TooLarge(f"the opened body exceeds {MAX_BODY} bytes")
    if opener and not opener.eof:
        raise ValueError("the compressed body ends too early")
    return bytes(body)
