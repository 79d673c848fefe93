"""The watcher behind server-sent events: one look for all, bounded lives, and nothing told twice."""

import asyncio
import itertools
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from terminal_app.office import live_page
from terminal_app.office.live_page import LivePage


async def taken(page: LivePage, count: int, last_id: str = "") -> list[str]:
    """The first `count` things a listener hears, without the pause it is told first."""
    stream = page.events(last_id)
    heard = [one async for one in _first(stream, count + 1)]
    await stream.aclose()  # type: ignore[attr-defined]
    return heard[1:]


async def _first(stream: object, count: int) -> object:  # type: ignore[misc]
    for _ in range(count):
        yield await asyncio.wait_for(stream.__anext__(), 60)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "LOOK_EVERY_S", 0.02)


def always(value: object) -> Callable[[], object]:
    return lambda: value


def test_all_listeners_together_cost_one_look_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "LOOK_EVERY_S", 0.25)
    looks = itertools.count()
    page = LivePage(lambda: next(looks), lambda: {"a": str(time.monotonic_ns())})

    async def run() -> float:
        began = time.monotonic()
        await asyncio.gather(*(taken(page, 5) for _ in range(20)))
        return time.monotonic() - began

    took = asyncio.run(run())
    assert next(looks) <= took / 0.25 + 2


def test_only_what_changed_is_told_and_lines_stay_lines() -> None:
    steps = itertools.count()
    page = LivePage(steps.__next__, lambda: {"same": "x\ny", "other": str(next(steps))})
    heard = asyncio.run(taken(page, 4))
    assert [one.split("event: ")[1].split("\n")[0] for one in heard] == ["same", "other", "other", "other"]
    assert heard[0].endswith("event: same\ndata: x\ndata: y\n\n")


def test_who_comes_back_hears_what_is_newer_and_only_that() -> None:
    now = {"a": "1", "b": "1"}
    versions = itertools.count()
    page = LivePage(versions.__next__, lambda: dict(now))

    async def run() -> list[str]:
        first = await taken(page, 2)
        last = first[-1].split("\n")[0].removeprefix("id: ")
        now["a"] = "2"
        return await taken(page, 1, last)

    (heard,) = asyncio.run(run())
    assert "event: a\ndata: 2" in heard


def test_silence_is_filled_by_heartbeats_and_a_life_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "HEARTBEAT_S", 0.05)
    page = LivePage(always(1), always({}), life_s=0.5)  # type: ignore[arg-type]

    async def run() -> list[str]:
        return [one async for one in page.events("")]

    heard = asyncio.run(run())
    assert heard[0] == "retry: 3000\n\n"
    assert set(heard[1:]) == {": still here\n\n"}


def test_a_database_that_is_away_is_asked_again() -> None:
    answers = iter((False, False, True))

    def version() -> int:
        if not next(answers, True):
            raise sa.exc.OperationalError("", {}, Exception())
        return 1

    page = LivePage(version, always({"a": "there"}))  # type: ignore[arg-type]
    (heard,) = asyncio.run(taken(page, 1))
    assert "data: there" in heard


def test_too_many_are_sent_away_and_each_seat_is_given_back() -> None:
    page = LivePage(always(1), always({"a": "x"}))  # type: ignore[arg-type]

    async def run() -> None:
        streams = [page.events("") for _ in range(live_page.MAX_LISTENERS)]
        for stream in streams:
            await anext(stream)
        assert page.full
        assert [one async for one in page.events("")] == []
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        assert not page.full
        assert await taken(page, 1)

    asyncio.run(run())


def test_a_server_that_stops_ends_every_stream() -> None:
    stopping = [False]
    page = LivePage(always(1), always({"a": "x"}), lambda: stopping[0])  # type: ignore[arg-type]

    async def run() -> None:
        streams = [page.events("") for _ in range(3)]
        for stream in streams:
            await anext(stream)
            await anext(stream)
        stopping[0] = True
        for stream in streams:
            assert [one async for one in stream] == []

    asyncio.run(asyncio.wait_for(run(), 10))


def test_nobody_listens_nobody_looks() -> None:
    looks = itertools.count()
    page = LivePage(lambda: next(looks), always({"a": "x"}))  # type: ignore[arg-type]

    async def run() -> tuple[int, int]:
        await taken(page, 1)
        await asyncio.sleep(0.3)
        before = next(looks)
        await asyncio.sleep(0.3)
        return before, next(looks)

    before, after = asyncio.run(run())
    assert after == before + 1
