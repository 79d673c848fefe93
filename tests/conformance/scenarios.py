"""Which scenarios a gateway must pass, at which step: `REQUIRED`. A kit's test says by `@scenario` what it shows.

`tests/conformance/test_gateway_matrix.py` fails for a gateway whose test classes leave one out. A scenario that a gateway cannot
have is skipped at run time, by `offered` alone: with a capability as the reason.
"""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])
FOLLOW_UPS = ("capture", "void", "refund", "increment")
STEPS = {
    "card": ("authorize", *FOLLOW_UPS, "look_up", "check"),
    "reader": ("authorize", *FOLLOW_UPS, "look_up", "check"),
    "page": ("open", "poll", "expire", "capture", "void", "refund", "look_up", "check"),
}
"""How the driver pays -> the steps of such a gateway."""
FIRST = {"card": "authorize", "reader": "authorize", "page": "open"}
MOVES_MONEY = {way: tuple(step for step in steps if step not in ("look_up", "check")) for way, steps in STEPS.items()}


def required(way: str, http: bool) -> set[tuple[str, str]]:
    """(scenario, step) of a gateway of this way to pay, over HTTP or another wire."""
    first, steps, moves = FIRST[way], STEPS[way], MOVES_MONEY[way]
    follow_ups = [step for step in moves if step in FOLLOW_UPS]
    wanted = {("approve", first), ("decline, each class", first), ("slow", first), ("duplicate", first), ("unreachable", first)}
    wanted |= {("partial", first)} if way != "page" else {("paid in the moment of expiry", "expire")}
    wanted |= {("cancelled while waiting", first), ("card removed", first)} if way == "reader" else set()
    wanted |= {(what, step) for what in ("lost reply", "garbage") for step in steps}
    wanted |= {(what, step) for what in ("slow", "duplicate", "key lapse") for step in follow_ups}
    wanted |= {(f"TLS {what}", first) for what in ("expired", "untrusted", "other name", "plain")}
    wanted |= {("clock skew", first), ("clock skew", "capture"), ("wrong order", "capture"), ("wrong order", "void")}
    wanted |= {("no secret written", first), ("random faults", "all")}
    if http:
        wanted |= {("5xx", step) for step in steps} | {("4xx", step) for step in follow_ups}
        wanted |= {(rule, "all") for rule in ("no redirect", "total deadline", "body cap", "no proxy of the environment")}
    return wanted


def scenario(what: str, *steps: str) -> Callable[[Test], Test]:
    """Mark a kit's test. May be given several times."""

    def mark(test: Test) -> Test:
        test.scenarios = {*getattr(test, "scenarios", ()), *((what, step) for step in steps)}  # type: ignore[attr-defined]
        return test

    return mark


def offered(gateway: Any, ability: str) -> None:
    """Skip if the gateway says that it does not have this ability. The only way to skip a scenario."""
    if not getattr(gateway.capabilities, ability):
        _skip(f"{type(gateway).__name__} has no {ability}")


def _skip(reason: str) -> NoReturn:
    pytest.skip(reason)


def shown_by(kit: type) -> set[tuple[str, str]]:
    """What the tests of a class show, inherited ones included."""
    tests = (getattr(kit, name) for name in dir(kit) if name.startswith("test_"))
    return {one for test in tests for one in getattr(test, "scenarios", ())}
