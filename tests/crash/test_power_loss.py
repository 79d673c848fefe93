"""Power cuts at every write of the ledger: no acknowledged entry or record is ever lost, and nothing is half there."""

import random
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from terminal_app.errors import LedgerBroken
from terminal_app.ledger.store import Ledger
from terminal_app.session.facts import OfficeAcknowledged, Sealed
from tests.crash.lost_writes import Image, images, recorded

SEED = 20


def no_strace() -> str:
    if shutil.which("strace") is None:
        return "needs strace (apt-get install strace)"
    tried = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[:100]}"


pytestmark = pytest.mark.skipif(bool(no_strace()), reason=no_strace() or "strace works")


def violation(image: Image, folder: Path) -> str:
    """Why the terminal must not have come to this; empty if its start finds all that was promised."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in image.files.items():
        (folder / name).write_bytes(content)
    (folder / "reserve").touch()
    try:
        with Ledger(folder) as ledger:
            entries = list(ledger.verified_entries())
            records = ledger.records()
    except LedgerBroken as error:
        return f"does not start: {error}"
    if len(entries) < image.acknowledged[0]:
        return f"{image.acknowledged[0]} entries were acknowledged, {len(entries)} are there"
    if len(records) < image.acknowledged[1]:
        return f"{image.acknowledged[1]} records were acknowledged, {len(records)} are there"
    facts = [one.fact for one in entries]
    sealed = [one.record_seq for one in facts if isinstance(one, Sealed)]
    if sealed != [one.seq for one in records]:
        return f"sealed were {sealed}, stored are {[one.seq for one in records]}"
    through = max((one.records_through for one in facts if isinstance(one, OfficeAcknowledged)), default=0)
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        waiting = [row[0] for row in db.execute("SELECT record_seq FROM outbox ORDER BY record_seq")]
        if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            return "SQLite finds it damaged"
    if waiting != [number for number in sealed if number > through]:
        return f"records up to {sealed[-1:]} of which {through} are acknowledged, in the outbox are {waiting}"
    return ""


def explored(tmp_path: Path, mode: str, commits: int, per_boundary: int, enough: int = 10**9) -> tuple[int, list[str]]:
    """How many images were tried, and what was wrong with which. Stops at `enough` violations."""
    folder = tmp_path / mode
    folder.mkdir(mode=0o700)
    calls = recorded(tmp_path / f"{mode}.strace", "tests.crash.ledger_workload", str(folder), mode, str(commits))
    tried, found, seen = 0, list[str](), set[int]()
    for image in images(calls, folder, random.Random(SEED), per_boundary):
        key = hash((image.acknowledged, tuple(sorted(image.files.items()))))
        if key in seen:
            continue
        seen.add(key)
        tried += 1
        if wrong := violation(image, tmp_path / "image"):
            found.append(f"after call {image.after}, {image.kind}: {wrong}")
            if len(found) >= enough:
                break
    return tried, found


def test_nothing_acknowledged_is_ever_lost(tmp_path: Path) -> None:
    tried, found = explored(tmp_path, "full", commits=8, per_boundary=1)
    assert found == []
    assert tried > 200, "too few images: is the workload still traced?"


@pytest.mark.parametrize("mode", ["normal", "plain"])
def test_known_bad_ways_are_caught(tmp_path: Path, mode: str) -> None:
    """The same exploration finds what is wrong with a lax sync and with one commit per row."""
    _, found = explored(tmp_path, mode, commits=8, per_boundary=0, enough=1)
    assert found, f"the {mode} ledger was not noticed"


@pytest.mark.full
def test_nothing_acknowledged_is_ever_lost_many_images(tmp_path: Path) -> None:
    tried, found = explored(tmp_path, "full", commits=40, per_boundary=8)
    print(f"{tried} images, {len(found)} violations")
    assert found == []
    assert tried > 3000
