"""Every (state, event) pair of the three machines is a step, is ignored for a reason, or is impossible for a reason."""

from itertools import product
from typing import Any

import pytest

from terminal_app.session import charge, events, kiosk, limits, orders, receipts, sealing, settlement
from terminal_app.session.evolve import _STEPS
from terminal_app.session.facts import Fact, kind_of
from terminal_app.session.state import KioskPhase, Phase, SettlementPhase
from terminal_app.session.turn import Ignored, Impossible

TABLES = {
    "session": (charge.RULES, Phase, charge.HANDLED),
    "settlement": (settlement.RULES, SettlementPhase, settlement.HANDLED),
    "kiosk": (kiosk.RULES, KioskPhase, kiosk.HANDLED),
}
FROM_THE_COUPLING = {events.FaultSeen, events.MeterKeyRead}  # noted before any machine: faults, and whose key a meter shows


@pytest.mark.parametrize("name", TABLES)
def test_every_pair_stands_in_the_table_and_nothing_else(name: str) -> None:
    rules, phases, handled = TABLES[name]
    assert set(rules) == set(product(phases, handled))
    assert len(set(handled)) == len(handled)


@pytest.mark.parametrize("name", TABLES)
def test_every_entry_is_a_step_or_gives_its_reason(name: str) -> None:
    rules, _, _ = TABLES[name]
    for pair, rule in rules.items():
        if isinstance(rule, Ignored | Impossible):
            assert len(rule.reason.split()) >= 3, pair
        else:
            assert callable(rule), pair


def test_every_event_is_handled_by_some_machine() -> None:
    handled = {kind for _, _, kinds in TABLES.values() for kind in kinds} | FROM_THE_COUPLING
    handled |= {*sealing.HANDLED, *orders.HANDLED, *limits.HANDLED, *receipts.HANDLED}
    assert handled == set(events.EVENTS)


def test_every_fact_evolves_and_has_its_own_tag() -> None:
    kinds: tuple[Any, ...] = Fact.__args__  # type: ignore[attr-defined]
    assert set(_STEPS) == set(kinds)
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(tags)
    assert callable(kind_of)
