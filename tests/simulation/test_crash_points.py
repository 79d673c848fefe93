"""The demo's charge, ended at every commit (before it, after it, by a disk that refuses it; killed or without power):
at most one authorization per tap, each hold ends once, one record per session, money and energy agree with the peers' books.
"""

import itertools
import random
from collections import Counter

import pytest

from tests.simulation.campaign import commits_of_the_standard_charge, crash_points, one_crash, run
from tests.simulation.coverage import Coverage
from tests.simulation.plan import Crash, Plan, Trouble, standard


@pytest.fixture(scope="module")
def commits() -> int:
    return commits_of_the_standard_charge()


def test_the_standard_charge_needs_about_ten_commits(commits: int) -> None:
    """Otherwise the walks below walk past something (or DESIGN section 7 is no longer true)."""
    assert 8 <= commits <= 12


def test_one_crash_at_every_commit(commits: int) -> None:
    coverage, hit = Coverage(), 0
    for crash in crash_points(commits):
        world = run(one_crash(crash), coverage)
        hit += len(world.crashes)
    assert hit == commits * 5, "a crash point was not reached"
    print(f"\n{hit} crash points walked\n{coverage.report()}")


def test_one_crash_at_every_commit_of_a_charge_that_the_meter_signs() -> None:
    """Between begin, end and the frozen bill: never billed twice, never unsigned, and no record with energy in it is lost."""
    standing = run(Plan("signed", [standard(), standard()], signing=True))
    assert (standing.sums["signed by the meter"], standing.sums["set aside"]) == (2, 0)
    sums: Counter[str] = Counter()
    for crash in crash_points(standing.commits // 2 + 2):
        sums.update(run(Plan(f"signed {crash}", [standard(), standard()], [crash], signing=True)).sums)
    assert sums["not billed"] == 0 and sums["signed by the meter"] > 60


def test_killed_around_the_begin_and_the_end_that_the_meter_signs() -> None:
    """No commit lies between an order to the meter and its answer: so the process dies at every third of a second there."""
    sums: Counter[str] = Counter()
    for at_ms in (*range(600, 3_600, 300), *range(14_000, 17_500, 300)):
        for what in ("kill", "power"):
            visit = standard()
            visit.sudden = (Trouble(what, at_ms, 5_000),)
            sums.update(run(Plan(f"signed, {what} at {at_ms}", [visit, standard()], signing=True)).sums)
    assert sums["not billed"] == 0 and sums["signed by the meter"] > 40 and sums["set aside"] > 0


def test_a_meter_that_signs_and_falls_silent() -> None:
    """Short: the record comes late. Longer than anybody waits: then nothing is billed, and a person must look."""
    unbilled = 0
    for at_ms in (500, 1_000, 9_000, 14_000):
        for for_ms in (4_000, 40_000, 900_000):
            visit = standard()
            visit.troubles = (Trouble("silent", at_ms, for_ms),)
            world = run(Plan(f"signed, silent at {at_ms} for {for_ms}", [visit, standard()], signing=True))
            assert world.sums["not billed"] <= (for_ms == 900_000), (at_ms, for_ms)
            unbilled += world.sums["not billed"]
    assert unbilled


def test_two_crashes_some(commits: int) -> None:
    """The second one while the first is being mended; a sample here, all pairs in `full`."""
    chance = random.Random("two crashes")
    for first, second in chance.sample(list(_pairs(commits)), 40):
        run(Plan(f"{first} then {second}", [standard()], [first, second]))


@pytest.mark.full
def test_two_crashes_all(commits: int) -> None:
    count = 0
    for first, second in _pairs(commits):
        run(Plan(f"{first} then {second}", [standard()], [first, second]))
        count += 1
    print(f"\n{count} pairs of crashes walked")


def _pairs(commits: int) -> itertools.chain[tuple[Crash, Crash]]:
    kinds = [(when, power) for when in ("before", "after") for power in (False, True)]
    return itertools.chain.from_iterable(
        [(Crash(one, n, pn), Crash(two, m, pm)) for (one, pn), (two, pm) in itertools.product(kinds, kinds)]
        for n, m in itertools.combinations(range(1, commits + 5), 2)
    )
