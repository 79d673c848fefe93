"""Meters that lie in every known way, through whole charges: what is billed is what flowed, or less; never more.

Each lie begins before the tap, at the start, in the middle or at the end, for a moment or until a technician accepts the meter.
A terminal that rebases on what it reads is caught by the same plans.
"""

import pytest

from terminal_app.session import facts, gate, register
from tests.simulation.campaign import run
from tests.simulation.oracle import Wrong
from tests.simulation.plan import Plan, Trouble, Visit
from tests.simulation.world import World

LIES = ("frozen", "reset", "other", "spike", "zero", "silent")


def lying(what: str, at_ms: int, for_ms: int) -> World:
    visit = Visit(plug_first=True, power_w=22_000, charge_ms=90_000, troubles=(Trouble(what, at_ms, for_ms),))
    after = Visit(plug_first=True, power_w=22_000, charge_ms=6_000)
    return run(Plan(f"{what} {at_ms} {for_ms}", [visit, after]))


@pytest.mark.parametrize("what", LIES)
@pytest.mark.parametrize(
    ("at_ms", "for_ms"), [(0, 3_000), (10_000, 1_100), (10_000, 30_000), (80_000, 120_000), (10_000, 2_000_000)]
)
def test_a_lie_of_the_meter_is_never_billed(what: str, at_ms: int, for_ms: int) -> None:
    lying(what, at_ms, for_ms)  # the oracle compares every bill with what flowed


def test_a_freeze_is_a_fault_within_five_seconds_and_ends_the_charge_within_a_minute() -> None:
    """EVerest PR #2673."""
    world = lying("frozen", 10_000, 90_000)
    entries = [(one.stamp.utc_ms, one.fact) for one in world.told]
    raised = next(at for at, fact in entries if isinstance(fact, facts.FaultRaised) and fact.fault.kind == register.FROZEN)
    stopped = next(at for at, fact in entries if isinstance(fact, facts.StopIntended))
    begun = next(at for at, fact in entries if isinstance(fact, facts.SessionOpened))
    assert raised - begun < 20_000 and 50_000 < stopped - raised < 62_000


def test_a_roll_over_is_billed_across() -> None:
    visit = Visit(plug_first=True, power_w=22_000, charge_ms=20_000)
    world = run(Plan("roll-over", [visit, Visit(plug_first=True)], wraps_at_wh=1_000_000))
    first, second = (one.fact for one in world.told if isinstance(one.fact, facts.BillFrozen))
    assert first.stop.energy_wh > 1_000_000 and first.energy_wh > 60 and second.stop.energy_wh < 1_000_000


def test_a_terminal_that_rebases_on_an_outlier_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """evcc #29286, #30555: whatever is read becomes the new base."""
    monkeypatch.setattr(gate, "plausible", lambda last, value, *_: True)
    with pytest.raises(Wrong, match="flowed"):
        lying("spike", 8_000, 30_000)
