"""One part's verdict, and how long it took to get it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """`state` is ok, warning or fault; `next` is empty when nothing has to be done."""

    part: str
    state: str
    says: str
    next: str = ""
    latency_ms: int | None = None


def timed(ask: Callable[[], Any]) -> tuple[Any, int]:
    began = time.monotonic()
    found = ask()
    return found, int((time.monotonic() - began) * 1000)
