"""Running plans: each on a fresh ledger in memory; what fails names its seed, so that it can be run again alone."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from terminal_app.engine.engine import Engine
from tests.simulation import oracle
from tests.simulation.coverage import Coverage
from tests.simulation.plan import Crash, Plan, standard
from tests.simulation.world import World

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
WHENS = ("before", "after", "fails")


def run(plan: Plan, coverage: Coverage | None = None, engine_class: type[Engine] = Engine, **more: Any) -> World:
    """One plan to its quiet end, then the oracle. Whatever goes wrong says which plan it was."""
    with tempfile.TemporaryDirectory(prefix="ct-", dir=IN_MEMORY) as folder:
        world = World(Path(folder) / "state", plan, engine_class, coverage=coverage, **more)
        try:
            world.run()
            oracle.check(world)
        except Exception as error:
            error.add_note(f"seed {plan.seed}; crashes {world.crashes}; faults {sorted(world.faults)}; at {world.now_ms} ms")
            raise
        finally:
            world.close()
            if coverage is not None:
                coverage.runs += 1
    return world


def crash_points(commits: int, first: int = 1) -> Iterable[Crash]:
    """Every commit of a run, before and after, killed or without power; and refused by the disk."""
    for number in range(first, commits + 1):
        for when in WHENS:
            yield Crash(when, number)
            if when != "fails":
                yield Crash(when, number, power=True, down_ms=15_000)


def one_crash(crash: Crash) -> Plan:
    return Plan(f"{crash.when} {crash.commit}{' power' if crash.power else ''}", [standard()], [crash])


def commits_of_the_standard_charge() -> int:
    return run(Plan("standard", [standard()])).commits
