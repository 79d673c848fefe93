"""The core, for many who ask at once: one question at a time over one connection, and nobody waits for ever."""

import threading
from collections.abc import Callable
from typing import TypeVar

from terminal_app.errors import WireError
from terminal_app.sync.core_link import CoreLink

WAIT_S = 10.0
T = TypeVar("T")


class SharedCore:
    """Any thread."""

    def __init__(self, link: CoreLink) -> None:
        self._link, self._turn = link, threading.Lock()

    def ask(self, question: Callable[[CoreLink], T]) -> T:
        """WireError: the core does not answer, or others keep it busy."""
        if not self._turn.acquire(timeout=WAIT_S):
            raise WireError("too many ask at once")
        try:
            return question(self._link)
        finally:
            self._turn.release()
