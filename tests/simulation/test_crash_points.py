"""The demo's charge, ended at every commit (before it, after it, by a disk that refuses it; killed or without power):
at most one authorization per tap, each hold ends once, one record per session, money and energy agree with the peers' books.
"""

import itertools
import random

import pytest

from tests.simulation.campaign import commits_of_the_standard_charge, crash_points, one_crash, run
from tests.simulation.coverage import Coverage
from tests.simulation.plan import Crash, Plan, standard


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


def test_one_crash_at_every_commit_of_a_refund() -> None:
    """Half of the charge is given back: the money goes once, and exactly as much of the bill is credited, in one record."""
    given_back = {"gateways": ("own_reader",), "orders": (("refund", 0, 50),)}
    commits = run(Plan("standard", [standard()], gateways=("own_reader",))).commits
    until = run(Plan("refunded", [standard()], **given_back)).commits  # type: ignore[arg-type]
    assert until - commits == 4, "intended, ended and credited, sealed, credit sealed"
    for crash in crash_points(until, commits + 1):
        world = run(Plan(f"refunded, {crash}", [standard()], [crash], **given_back))  # type: ignore[arg-type]
        never_ordered = crash.commit == commits + 1 and crash.when != "after"
        assert world.crashes and world.sums["credits"] == (0 if never_ordered else 1), crash


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
