"""`python -m tests.bench [--json] [--only NAME]`: measures, prints one line a figure. Aims stand beside; nothing is asserted."""

import argparse
import json
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from drivers.signers import keyfile
from scripts.demo.display import Display
from scripts.demo.site import Site, Wanted
from terminal_app.billing import record
from terminal_app.ledger.store import Ledger
from tests.bench import bill, meters, payments, sync
from tests.bench.charge import Bench

CGROUP = Path("/sys/fs/cgroup/cpu")
Figures = dict[str, Any]


def percentiles(seconds: list[float]) -> Figures:
    ordered = sorted(seconds)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 2),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000, 2),
        "n": len(ordered),
    }


def own_share(folder: Path) -> Figures:
    """Tap to approved and stop to receipt without bank, card and meter; then with a slow disk; then with a quarter of a core."""
    plain = _charges(folder / "plain", 40, 0.0)
    slow = _charges(folder / "slow", 6, 0.2)
    found: Figures = {"plain": plain, "every_fsync_200_ms_slower": slow}
    found["slow_disk_ratio_p50"] = round(slow["tap_to_approved"]["p50_ms"] / plain["tap_to_approved"]["p50_ms"], 1)
    found["quarter_core"] = _in_cgroup(folder)
    return found


def _charges(folder: Path, count: int, fsync_s: float) -> Figures:
    bench = Bench(folder, fsync_s)
    waits = [bench.charge() for _ in range(count)]
    bench.ledger.close()
    return {name: percentiles([one[name] for one in waits]) for name in waits[0]}


def _in_cgroup(folder: Path) -> Figures | str:
    """The same in a process that may use 25 % of one core (cgroup v1)."""
    group = CGROUP / f"charge-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("25000")
    except OSError as error:
        return f"not measured: no writable cpu cgroup here ({error.strerror})"
    code = f"import json,os;open({str(group / 'cgroup.procs')!r},'w').write(str(os.getpid()));"
    code += "from pathlib import Path;from tests.bench.__main__ import _charges;"
    code += f"print(json.dumps(_charges(Path({str(folder / 'quarter')!r}), 20, 0.0)))"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))
    finally:
        group.rmdir()


def writes(folder: Path) -> Figures:
    """Commits and bytes a session costs the disk (aim: about 8 commits, 96 KiB)."""
    bench = Bench(folder / "writes")
    bench.charge()
    process, count = psutil.Process(), 20
    commits, written = bench.ledger.commits, process.io_counters().write_bytes
    for _ in range(count):
        bench.charge()
    found = {
        "commits_per_session": (bench.ledger.commits - commits) / count,
        "kib_written_per_session": round((process.io_counters().write_bytes - written) / count / 1024, 1),
    }
    bench.ledger.close()
    return found


def records(folder: Path) -> Figures:
    """Build, sign and store one record against the bare sqlite3 commit of the same bytes (aim: 2x)."""
    bench = Bench(folder / "records")
    bench.charge()
    jws = bench.ledger.records()[0][3]
    payload = record.open_record(jws, bench.record_key.public_key_spki())
    bench.ledger.close()
    key = keyfile.KeyFileSigner(bench.folder / "record.pem")
    ours, bare = [], []
    plain = sqlite3.connect(folder / "bare.db")
    plain.execute("PRAGMA journal_mode=WAL")
    plain.execute("PRAGMA synchronous=FULL")
    plain.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, jws TEXT NOT NULL) STRICT")
    plain.commit()
    ledger = Ledger(folder / "records-ledger")
    from drivers.system import SystemClock
    from terminal_app.session.facts import Sealed

    clock = SystemClock()
    for number in range(1, 301):
        began = time.perf_counter()
        signing = record.signing_input(payload, key.key_id)
        sealed = record.seal(signing, key.sign(signing))
        fact = Sealed(number, "session", str(number), record.sha256_of(sealed))
        ledger.append([fact], clock.now(), sealed)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        plain.execute("INSERT INTO records VALUES (?, ?)", (number, jws))
        plain.commit()
        bare.append(time.perf_counter() - began)
    ledger.close()
    plain.close()
    ratio = round(statistics.median(ours) / statistics.median(bare), 2)
    return {"ours": percentiles(ours), "bare_commit": percentiles(bare), "ratio_p50": ratio, "record_bytes": len(jws)}


def processes(folder: Path) -> Figures:
    """The real processes: exec to ready for a tap, memory, idle CPU (aims: 64, 200, 48 MiB; 2 %, 1 %)."""
    with Display(headless=True) as display, Site(folder / "site", Wanted(), display) as site:
        site.wait_for("for sale", lambda now: now["connectors"] and now["connectors"][0]["for_sale"], 60)
        for name in ("charge-terminal", "charge-terminal-sync", "charge-terminal-ui"):
            site.end(name)
        began = time.perf_counter()
        site.start_core()
        site.start_sync()
        site.start_ui()
        site.wait_for("an armed reader", _armed(site), 60)
        ready = time.perf_counter() - began
        time.sleep(5)
        seen = {name: psutil.Process(process.pid) for name, process in site.processes.items()}
        before = {name: sum(process.cpu_times()[:2]) for name, process in seen.items()}
        idle_s = 20.0
        time.sleep(idle_s)
        return {
            "exec_to_ready_for_a_tap_s": round(ready, 2),
            "rss_mib": {name: round(process.memory_info().rss / 2**20, 1) for name, process in seen.items()},
            "idle_cpu_percent_of_a_core": {
                name: round((sum(process.cpu_times()[:2]) - before[name]) / idle_s * 100, 2) for name, process in seen.items()
            },
        }


def _armed(site: Site) -> Callable[[Figures], bool]:
    def armed(now: Figures) -> bool:
        return bool(now["connectors"][0]["for_sale"]) and bool(now.get("reader_armed")) and site.view() == "offer"

    return armed


MEASURES: dict[str, Callable[[Path], Figures]] = {
    "own_share": own_share,
    "writes": writes,
    "records": records,
    "processes": processes,
    **meters.MEASURES,
    **payments.MEASURES,
    **bill.MEASURES,
    **sync.MEASURES,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=MEASURES)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="charge-bench-", dir="/var/tmp"))
    found: Figures = {}
    try:
        for name, measure in MEASURES.items():
            if options.only in (None, name):
                print(f"measuring {name} ...", file=sys.stderr)
                found[name] = measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "max_rss_kib": resource.getrusage(0).ru_maxrss}
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    return 0


def _print(found: Figures, indent: str = "") -> None:
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{indent}{name}:")
            _print(value, indent + "  ")
        else:
            print(f"{indent}{name}: {value}")


if __name__ == "__main__":
    sys.exit(main())
