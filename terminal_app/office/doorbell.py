"""Wakes the terminals that wait for a command, in this process. Other processes' commands are found by looking again."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

MAX_WAITERS = 400
MAX_WAITERS_PER_TERMINAL = 4
_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Doorbell:
    """`ring` from any thread, `waiting` on an event loop."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiters: dict[str, list[_Waiter]] = {}
        self._count = 0

    def ring(self, terminal: str) -> None:
        """Whoever waits for this terminal looks again at once. Never blocks."""
        with self._guard:
            waiters = tuple(self._waiters.get(terminal, ()))
        for loop, event in waiters:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits there any more
                loop.call_soon_threadsafe(event.set)

    @contextlib.contextmanager
    def waiting(self, terminal: str) -> Iterator[asyncio.Event | None]:
        """The event that `ring` sets; None = too many wait already, do not wait."""
        mine: _Waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._guard:
            here = self._waiters.setdefault(terminal, [])
            full = self._count >= MAX_WAITERS or len(here) >= MAX_WAITERS_PER_TERMINAL
            if not full:
                here.append(mine)
                self._count += 1
        try:
            yield None if full else mine[1]
        finally:
            with self._guard:
                if not full:
                    here.remove(mine)
                    self._count -= 1
                if not here:
                    self._waiters.pop(terminal, None)
