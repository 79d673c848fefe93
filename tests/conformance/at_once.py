"""Independent cases that mostly wait, several at a time; the first that fails is named."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LINES_AT_ONCE = 6


def at_once(cases: Iterable[Any], test: Callable[[Any], None], most: int = LINES_AT_ONCE) -> None:
    """`test(case)` for every case. AssertionError with the case and what went wrong in it."""
    with ThreadPoolExecutor(most) as pool:
        running = [(case, pool.submit(test, case)) for case in cases]
    for case, one in running:
        if error := one.exception():
            raise AssertionError(f"{case}: {error!r}") from error
