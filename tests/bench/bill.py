"""The bill and the ledger: pricing and explaining an hour's charge; what 100 000 charges weigh, and a start with them."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.tariff import parse_tariff
from terminal_app.engine import engine as engine_module
from terminal_app.engine.snapshots import Snapshots
from terminal_app.run.service.explain import explained
from tests.sessions import Paper, site_files

Figures = dict[str, Any]
HOUR_MS = 3_600_000
T0 = 1_792_836_000_000
MANY = 100_000


def bill(folder: Path) -> Figures:
    """One hour, priced every second's way: one period, sixty periods; then explained line by line."""
    from scripts.demo.site import tariff

    found = parse_tariff(tariff("0.59").encode())
    one = (ChargingPeriod(T0, 11_000, HOUR_MS, 0),)
    cost = cost_of(found, one, "Europe/Berlin")
    sixty = tuple(ChargingPeriod(T0 + n * 60_000, 183, 60_000, 0) for n in range(60))
    return {
        "price_1_period_us": _median_us(lambda: cost_of(found, one, "Europe/Berlin")),
        "price_60_periods_us": _median_us(lambda: cost_of(found, sixty, "Europe/Berlin")),
        "explain_us": _median_us(lambda: [explained(found, line) for line in cost.lines]),
        "parse_tariff_us": _median_us(lambda: parse_tariff(found.raw.encode())),
    }


def ledger(folder: Path) -> Figures:
    """Charges of an hour each through the real engine: size and start-up, foretold for 100 000 of them.

    CHARGE_BENCH_SESSIONS sets how many are really made (default 150)."""
    count = int(os.environ.get("CHARGE_BENCH_SESSIONS", "150"))
    place = folder / "many"
    place.mkdir()
    paper = Paper(site_files(place, place / "run"))
    paper.paid_session()
    before_bytes, before_entries = _size(paper), paper.ledger.head[0]
    for _ in range(count):
        paper.paid_session()
    bytes_each = (_size(paper) - before_bytes) / count
    entries_each = (paper.ledger.head[0] - before_entries) / count
    keep = Snapshots(paper.ledger.path.parent, paper.ledger.chain_id, "bench", paper.config, paper.keys.records)
    began = time.perf_counter()
    for _ in keep.audit(paper.ledger):
        pass
    whole_s = time.perf_counter() - began
    began = time.perf_counter()
    found = keep.newest(paper.ledger)
    assert found is not None
    behind = sum(1 for _ in paper.ledger.verified_entries(found[1]))
    snapshot_s = time.perf_counter() - began
    began = time.perf_counter()
    bare = sum(1 for _ in paper.ledger.entries())
    bare_s = time.perf_counter() - began
    paper.close()
    return {
        "charges": count,
        "entries_per_charge": round(entries_each, 1),
        "kib_per_charge": round(bytes_each / 1024, 1),
        "gib_per_100000_charges": round(bytes_each * MANY / 2**30, 2),
        "checked_entries_per_s": round(bare / whole_s),
        "checked_and_folded_against_bare_reading": round(whole_s / bare_s, 1),
        "start_of_100000_charges_reading_all_s": round(whole_s / count * MANY, 1),
        "start_of_100000_charges_with_snapshot_s": f"{snapshot_s:.3f} and at most {engine_module.WORTH_ENTRIES} entries behind it",
        "entries_behind_the_snapshot": behind,
    }


def _size(paper: Paper) -> int:
    """Bytes on the disk, everything in the main file."""
    import sqlite3

    connection = sqlite3.connect(paper.ledger.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return paper.ledger.path.stat().st_size


def _median_us(act: Callable[[], object], times: int = 300) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return round(statistics.median(took) * 1e6, 1)


MEASURES: dict[str, Callable[[Path], Figures]] = {"bill": bill, "ledger": ledger}
