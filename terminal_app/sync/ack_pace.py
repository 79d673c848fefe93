"""How often pullers may acknowledge: each time is a commit of the core, kept for ever, on a card that wears out."""

import threading
from collections.abc import Callable

BURST = 300
"""A puller that comes after years acknowledges so many pages of 500 records at once."""
EVERY_S = 2.0
MAX_KNOWN = 64


class AckPace:
    """Per client BURST at once, then one each EVERY_S. Monotonic seconds. Any thread."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s, self._guard = now_s, threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # client -> how many it had left, and when

    def allows(self, client: str) -> bool:
        now_s = self._now_s()
        with self._guard:
            if client not in self._left and len(self._left) >= MAX_KNOWN:
                return False  # the core knows fewer pullers than that
            left, then_s = self._left.get(client, (float(BURST), now_s))
            left = min(float(BURST), left + (now_s - then_s) / EVERY_S)
            self._left[client] = (left - 1 if left >= 1 else left, now_s)
            return left >= 1
