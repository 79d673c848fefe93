"""kill -9 of the real core before and after every commit of a charge: nothing is lost, doubled, or held for ever."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.walk import MutantSite, Points, Walker

WALKERS = 4
MOST_COMMITS = 40
PASSED = {  # the walk must have come past each of these, or it proves nothing
    *("terminal_booted", "session_opened", "authorization_intended", "authorization_approved", "start_registered"),
    *("energy_checkpoint", "stop_intended", "bill_frozen", "capture_intended", "seal_intended", "sealed", "hold_ended"),
    "office_acknowledged",
}


def walk(folder: Path, points: Points, orders: tuple[str, ...]) -> tuple[list[str], set[str], int]:
    """What was wrong, what was passed, how often it was killed."""
    found, passed, crashes = list[str](), set[str](), 0
    with Walker(folder) as walker:
        while (number := points.take()) is not None:
            reached = False
            for order in orders:
                if walker.crash(f"{order}:{number}"):
                    reached, crashes = True, crashes + 1
                    passed |= walker.newest() if order == "after" else set()
                found += [f"{order} commit {number}: {wrong}" for wrong in walker.recover()]
                if found:
                    return found, passed, crashes
            if not reached:
                points.beyond(number)
    return found, passed, crashes


@pytest.mark.timeout(600)
def test_every_commit(tmp_path: Path) -> None:
    points = Points(MOST_COMMITS)
    with ThreadPoolExecutor(WALKERS) as pool:
        walks = [pool.submit(walk, tmp_path / str(i), points, ("before", "after")) for i in range(WALKERS)]
        results = [one.result() for one in walks]
    found = [wrong for wrongs, _, _ in results for wrong in wrongs]
    assert found == []
    passed = set[str]().union(*(kinds for _, kinds, _ in results))
    assert passed >= PASSED, f"never crashed after: {PASSED - passed}"
    assert sum(crashes for _, _, crashes in results) >= 2 * 10


@pytest.fixture
def mutant(tmp_path: Path) -> Iterator[Walker]:
    with Walker(tmp_path, MutantSite) as walker:
        yield walker


def test_sending_before_the_commit_is_caught(mutant: Walker) -> None:
    """The same check finds the classic defect: the bank was asked, and the ledger does not know of it."""
    assert mutant.crash("before:2")  # 1 is the start, 2 the intent to ask the bank
    found = mutant.recover()
    assert any("neither captured nor reversed" in wrong for wrong in found), found


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_crash_while_recovering_from_a_crash(tmp_path: Path) -> None:
    """Twice in a row: at every commit of the charge, then at the first commits of the restart that tidies up."""
    with Walker(tmp_path) as walker:
        for number in itertools.count(2):
            reached = False
            for again in ("after:1", "before:2", "after:2"):
                reached = walker.crash(f"after:{number}")
                if not reached:
                    break
                walker.start(again)
                walker.dies_or_settles()
                assert walker.recover() == [], f"after commit {number}, then {again}"
            if not reached:
                assert walker.recover() == []
                assert number > 10
                return
