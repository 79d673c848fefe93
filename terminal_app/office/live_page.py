"""Server-sent events: one watcher looks at the database for all listeners together, and tells them what changed.

A listener is a browser with the page open. Listeners, their life and every pause are bounded; a browser that comes back names
the last event it has (Last-Event-ID) and gets what is newer. Runs on the server's event loop; database work in its pool.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

log = logging.getLogger(__name__)
MAX_LISTENERS = 32
LIFE_S = 900.0
HEARTBEAT_S = 15.0
LOOK_EVERY_S = 1.0
RENEW_EVERY_S = 15.0
"""Ages grow though nothing happens: then the parts are made again."""
SHARE = 5
"""A look that took long is followed by a pause this many times as long: watching is never the database's main work."""
COMES_BACK_MS = 3000


class LivePage:
    """`version` changes when the parts may have changed; `parts` makes them: name -> HTML. Both block, in the pool. `leaving`:
    the server was told to stop, every stream ends."""

    def __init__(
        self,
        version: Callable[[], Any],
        parts: Callable[[], Mapping[str, str]],
        leaving: Callable[[], bool] = lambda: False,
        life_s: float = LIFE_S,
    ) -> None:
        self._version, self._parts, self._leaving, self._life_s = version, parts, leaving, life_s
        self._listeners = 0
        self._watcher: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._told: dict[str, tuple[int, str]] = {}
        self._revision = 0
        self._run = secrets.token_hex(4)  # event ids of another process mean nothing here

    @property
    def full(self) -> bool:
        return self._listeners >= MAX_LISTENERS

    async def events(self, last_id: str) -> AsyncIterator[str]:
        """The stream of one listener; ends by itself after its life, or at once if there are too many."""
        if self.full:
            return
        self._listeners += 1
        try:
            if self._watcher is None or self._watcher.done():
                self._watcher = asyncio.create_task(self._watch())
            yield f"retry: {COMES_BACK_MS}\n\n"
            seen, end = self._seen(last_id), time.monotonic() + self._life_s
            while (left := end - time.monotonic()) > 0 and not self._leaving():
                fresh = sorted((revision, name, html) for name, (revision, html) in self._told.items() if revision > seen)
                for seen, name, html in fresh:
                    yield _event(f"{self._run}-{seen}", name, html)
                if not fresh and not await self._waited(min(left, HEARTBEAT_S)):
                    yield ": still here\n\n"
        finally:
            self._listeners -= 1

    def _seen(self, last_id: str) -> int:
        run, _, revision = last_id.partition("-")
        known = run == self._run and revision.isascii() and revision.isdigit() and len(revision) < 16
        return int(revision) if known else 0

    async def _waited(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def _watch(self) -> None:
        """While somebody listens. What the database cannot tell now, it is asked again."""
        version: Any = None
        made = 0.0
        while self._listeners and not self._leaving():
            began = time.monotonic()
            try:
                newest = await run_in_threadpool(self._version)
                if newest != version or began - made >= RENEW_EVERY_S:
                    self._tell(await run_in_threadpool(self._parts))
                    version, made = newest, began
            except sa.exc.SQLAlchemyError as error:
                log.warning("the live page cannot read the database now: %s", type(error).__name__)
            await self._pause(max(LOOK_EVERY_S, SHARE * (time.monotonic() - began)))
        self._wake()

    def _tell(self, parts: Mapping[str, str]) -> None:
        for name, html in parts.items():
            if self._told.get(name, (0, ""))[1] != html:
                self._revision += 1
                self._told[name] = (self._revision, html)
        self._wake()

    async def _pause(self, pause_s: float) -> None:
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0 and not self._leaving():
            await asyncio.sleep(min(left, LOOK_EVERY_S))

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _event(event_id: str, name: str, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"id: {event_id}\nevent: {name}\n{lines}\n"
