"""Random visits, random faults, random crashes; seeded. A failure names its seed: `drawn("quick 17")` is that plan again."""

import os

import pytest

from tests.simulation.campaign import run
from tests.simulation.coverage import Coverage
from tests.simulation.plan import Plan, Visit, drawn

QUICK_PLANS = 150  # of two sessions each
FULL_PLANS = int(os.environ.get("SIMULATION_PLANS", "5000"))


def campaign(name: str, plans: int) -> Coverage:
    coverage = Coverage()
    for number in range(plans):
        run(drawn(f"{name} {number}", visits=2 + number % 3 // 2), coverage)
    print(f"\n{coverage.report()}")
    return coverage


def test_three_hundred_sessions_with_faults() -> None:
    coverage = campaign("quick", QUICK_PLANS)
    assert len(coverage.triples) > 1000, "the campaign hardly met anything"


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_many_sessions_with_faults() -> None:
    campaign("full", FULL_PLANS)


@pytest.mark.parametrize("tariff", ["free", "mixed"])
def test_other_tariffs_with_faults(tariff: str) -> None:
    for number in range(12):
        run(drawn(f"{tariff} {number}"), tariff=tariff)


def test_the_same_seed_is_the_same_run() -> None:
    one, two = run(drawn("again", 2)), run(drawn("again", 2))
    assert (one.turns, one.commits, one.now_ms, one.crashes) == (two.turns, two.commits, two.now_ms, two.crashes)
    assert one.outlet == two.outlet and one.bank.taps == two.bank.taps and one.bank.captured_minor == two.bank.captured_minor


def test_a_hold_is_used_to_its_limit_and_not_beyond() -> None:
    visit = Visit(plug_first=True, end="hold", power_w=150_000, authorize=("partial",))
    world = run(Plan("limit", [visit]))
    assert 520 < world.bank.captured_minor <= 550
