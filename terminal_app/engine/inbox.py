"""The engine's one bounded inbox. Telemetry keeps only the latest value per source; everything else keeps its order."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from terminal_app.session.events import Event

MAX_QUEUED = 1024
UNDER_WAY_S = 5.0
T = TypeVar("T")


class Job(Generic[T]):
    """A question from another thread, answered on the engine's thread between two turns.

    Who gives up waiting takes it back: a job that has not begun by then never runs, so an order is not done behind its
    asker's back.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._guard = threading.Lock()
        self._begun = self._taken_back = False
        self._done = threading.Event()
        self._answers = list[T]()
        self._error: Exception | None = None

    def run(self) -> None:
        with self._guard:
            if self._taken_back:
                return
            self._begun = True
        try:
            self._answers.append(self._ask())
        except Exception as error:  # noqa: BLE001 - handed on to the asker, whoever it is
            self._error = error
        self._done.set()

    def wait(self, timeout_s: float) -> T:
        """The answer; the job's own exception if it failed. TimeoutError says whether it was left undone."""
        if not self._done.wait(timeout_s):
            with self._guard:
                self._taken_back = not self._begun
            if self._taken_back:
                raise TimeoutError("the engine did not answer in time; nothing was done")
            if not self._done.wait(UNDER_WAY_S):
                raise TimeoutError("the engine is still at it: look whether it was done before you ask again")
        if self._error is not None:
            raise self._error
        return self._answers[0]


class Inbox:
    """Any thread may post. A full inbox refuses driver's touches and telemetry first; replies to actions always fit,
    because no more than MAX_QUEUED of them can be outstanding (every worker's queue is bounded)."""

    def __init__(self) -> None:
        self._queue: deque[Event | Job[Any]] = deque()
        self._latest: dict[Hashable, Event] = {}
        self._ready = threading.Condition()

    def post(self, event: Event | Job[Any], droppable: bool = False) -> bool:
        """Queue an event; False if it was dropped because the inbox is full."""
        with self._ready:
            if droppable and len(self._queue) >= MAX_QUEUED // 2:
                return False
            if len(self._queue) >= MAX_QUEUED * 2:
                raise RuntimeError("the inbox overflows: more replies than actions")
            self._queue.append(event)
            self._ready.notify()
            return True

    def post_latest(self, source: Hashable, event: Event) -> None:
        """Telemetry: replaces an older, not yet taken value of the same source."""
        with self._ready:
            self._latest[source] = event
            self._ready.notify()

    def take(self, timeout_s: float) -> Event | Job[Any] | None:
        """Next event, ordered ones before telemetry; None after `timeout_s`."""
        with self._ready:
            if not self._queue and not self._latest:
                self._ready.wait(timeout_s)
            if self._queue:
                return self._queue.popleft()
            if self._latest:
                return self._latest.pop(next(iter(self._latest)))
            return None

    def __len__(self) -> int:
        with self._ready:
            return len(self._queue) + len(self._latest)
