"""The ledger: append-only, chained, atomic with its outbox, one owner; what it cannot keep it refuses, named."""

import multiprocessing
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing import record
from terminal_app.errors import LedgerBroken
from terminal_app.ledger import store
from terminal_app.ledger.reading import LedgerReader
from terminal_app.ledger.store import Ledger
from terminal_app.session import facts as f
from terminal_app.values import ClockState, Stamp

AT = Stamp(1_767_344_400_000, 1_000, "boot-1", ClockState.SYNCHRONISED)


def act(number: int = 0, size: int = 20) -> f.ServiceAct:
    return f.ServiceAct("technician", "test", str(number), "x" * size)


def sealed(number: int) -> tuple[f.Sealed, str]:
    jws = f"header.payload{number}.signature"
    return f.Sealed(number, "session", f"S-{number}", record.sha256_of(jws)), jws


def acknowledged(through: int) -> f.OfficeAcknowledged:
    return f.OfficeAcknowledged(through, "0" * 64, 0, (), "ack")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "state") as one:
        yield one


def pragma(one: Ledger, name: str) -> Any:
    return one._db.execute(f"PRAGMA {name}").fetchone()[0]


def outbox(one: Ledger) -> list[int]:
    return [row[0] for row in one._db.execute("SELECT record_seq FROM outbox ORDER BY record_seq")]


def test_commits_survive_a_power_cut_by_their_settings(ledger: Ledger) -> None:
    assert (pragma(ledger, "journal_mode"), pragma(ledger, "synchronous")) == ("wal", 2)
    assert pragma(ledger, "foreign_keys") == 1


def test_a_weaker_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation check: a connection that cannot be made safe is not used."""
    real = sqlite3.connect

    class Weak(sqlite3.Connection):
        def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("synchronous=FULL", "synchronous=NORMAL"), *more)

    monkeypatch.setattr(store.sqlite3, "connect", lambda *a, **k: real(*a, **(k | {"factory": Weak})))
    with pytest.raises(LedgerBroken, match="synchronous=1"):
        Ledger(tmp_path / "state")


def test_files_are_for_the_owner_only(ledger: Ledger) -> None:
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700
    for file in ledger.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file.name


def test_what_was_appended_comes_back_in_order(tmp_path: Path) -> None:
    with Ledger(tmp_path / "state") as ledger:
        ledger.append([act(1), act(2)], AT)
        ledger.append([act(3)], AT)
        assert [one.fact for one in ledger.verified_entries()] == [act(1), act(2), act(3)]
        assert [one.seq for one in ledger.entries()] == [1, 2, 3]
        chain_id, head = ledger.chain_id, ledger.head
    with Ledger(tmp_path / "state") as again:
        assert (again.chain_id, again.head) == (chain_id, head)
        again.append([act(4)], AT)
        assert len(list(again.verified_entries())) == 4


def test_an_empty_turn_commits_nothing(ledger: Ledger) -> None:
    assert ledger.append([], AT) == [] and ledger.commits == 0 and ledger.head[0] == 0


@pytest.mark.parametrize("table", ["entries", "records"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET seq = 99", "DELETE FROM {}"])
def test_nothing_is_changed_or_deleted(ledger: Ledger, table: str, statement: str) -> None:
    fact, jws = sealed(1)
    ledger.append([fact], AT, jws)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        ledger._db.execute(statement.format(table))


def test_record_and_outbox_come_in_one_commit_or_not_at_all(ledger: Ledger) -> None:
    fact, jws = sealed(1)
    ledger._db.execute("CREATE TRIGGER no_outbox BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'simulated'); END")
    with pytest.raises(LedgerBroken, match="simulated"):
        ledger.append([act(1), fact], AT, jws)
    assert list(ledger.entries()) == [] and ledger.records() == [] and ledger.waiting() == 0
    ledger._db.execute("DROP TRIGGER no_outbox")
    ledger.append([act(1), fact], AT, jws)
    assert [one.seq for one in ledger.verified_entries()] == [1, 2]
    assert ledger.records()[0].jws == jws and outbox(ledger) == [1]


def test_a_record_number_is_used_once(ledger: Ledger) -> None:
    fact, jws = sealed(1)
    ledger.append([fact], AT, jws)
    with pytest.raises(LedgerBroken):
        ledger.append([fact], AT, jws)
    assert len(ledger.records()) == 1 and ledger.head[0] == 1


def test_acknowledgements_move_the_outbox_both_ways(ledger: Ledger) -> None:
    for number in range(1, 6):
        fact, jws = sealed(number)
        ledger.append([fact], AT, jws)
    assert outbox(ledger) == [1, 2, 3, 4, 5]
    ledger.append([acknowledged(3)], AT)
    assert outbox(ledger) == [4, 5] and ledger.waiting() == 2
    ledger.append([acknowledged(5)], AT)
    assert outbox(ledger) == []
    ledger.append([acknowledged(1)], AT)  # the office lost its newest: it gets them again
    assert outbox(ledger) == [2, 3, 4, 5]
    assert len(ledger.records()) == 5


# --- damage --------------------------------------------------------------------------------------------------------------


def changed(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / "ledger.db") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute(sql)
    db.close()


@pytest.mark.parametrize(
    ("sql", "entry"),
    [
        ("UPDATE entries SET body = replace(body, 'technician', 'nobody    ') WHERE seq = 3", 3),
        ("UPDATE entries SET utc_ms = utc_ms + 1 WHERE seq = 2", 2),
        ("UPDATE entries SET session_id = 'other' WHERE seq = 4", 4),
        ("UPDATE entries SET public = 0 WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 3", 3),
        ("DELETE FROM entries WHERE seq = 1", 1),
        ("UPDATE entries SET seq = 100 WHERE seq = 5", 5),
        ("UPDATE entries SET clock = '?' WHERE seq = 2", 2),
        ("UPDATE records SET jws = 'header.payload9.signature'", 6),
        ("DELETE FROM records", 6),
    ],
)
def test_the_first_bad_entry_is_named(tmp_path: Path, sql: str, entry: int) -> None:
    with Ledger(tmp_path / "state") as ledger:
        for number in range(1, 6):
            ledger.append([act(number)], AT)
        fact, jws = sealed(1)
        ledger.append([fact], AT, jws)
    changed(tmp_path / "state", f"PRAGMA foreign_keys=OFF; {sql}".split("; ")[1])
    with Ledger(tmp_path / "state") as ledger, pytest.raises(LedgerBroken) as raised:
        list(ledger.verified_entries())
    assert raised.value.entry == entry and str(entry) in str(raised.value)


def test_flipped_bits_are_found_or_harmless(tmp_path: Path) -> None:
    """A single flipped bit anywhere in the file: refused, or every entry and record is still exactly what was written.

    Only the office's watermark can tell that the newest entries are missing; that is not asked here.
    """
    with Ledger(tmp_path / "state") as ledger:
        for number in range(1, 30):
            fact, jws = sealed(number)
            ledger.append([act(number, 200), fact], AT, jws)
        ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        entries, records = list(ledger.verified_entries()), ledger.records()
    whole = (tmp_path / "state" / "ledger.db").read_bytes()
    chance, found = random.Random("bits"), 0
    for number in range(150):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        (folder / "ledger.db").write_bytes(damaged)
        reader = LedgerReader(folder)
        try:
            same = list(reader.verified_entries()) == entries and reader.records() == records
        except LedgerBroken:
            found += 1
        else:
            assert same, "a flipped bit changed what is read, and nobody noticed"
        shutil.rmtree(folder)
    assert found > 40, f"only {found} of 150 flips were found"


def test_a_file_that_is_no_ledger_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(LedgerBroken, match=r"ledger\.db"):
        Ledger(tmp_path / "state")
    (tmp_path / "state" / "ledger.db").unlink()
    Ledger(tmp_path / "state").close()  # the refused one gave its lock back


def test_a_folder_that_cannot_be_written_is_a_broken_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerBroken, match="file"):
        Ledger(tmp_path / "file" / "state")


# --- disk full -----------------------------------------------------------------------------------------------------------


def fill(ledger: Ledger) -> None:
    """The disk takes no page more than it has now."""
    ledger._db.execute(f"PRAGMA max_page_count={pragma(ledger, 'page_count')}")


def test_the_reserve_is_given_up_when_the_disk_is_full(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ledger.path.parent / "reserve").stat().st_blocks * 512 >= store.RESERVE_BYTES
    fill(ledger)
    given_up: list[bool] = []
    real = ledger._give_up_reserve

    def give_up() -> bool:
        given_up.append(real())
        ledger._db.execute("PRAGMA max_page_count=1000000")  # the room it leaves
        return given_up[-1]

    monkeypatch.setattr(ledger, "_give_up_reserve", give_up)
    ledger.append([act(1, 100_000)], AT)
    assert given_up == [True] and ledger.reserve_used and not (ledger.path.parent / "reserve").exists()
    assert [one.fact for one in ledger.verified_entries()] == [act(1, 100_000)]


def test_without_reserve_a_full_disk_is_told_and_nothing_is_half_written(ledger: Ledger) -> None:
    ledger.append([act(1)], AT)
    (ledger.path.parent / "reserve").unlink()
    fill(ledger)
    fact, jws = sealed(1)
    for _ in range(2):
        with pytest.raises(LedgerBroken, match="full"):
            ledger.append([act(2, 100_000), fact], AT, jws)
    assert [one.fact for one in ledger.verified_entries()] == [act(1)] and ledger.records() == []
    ledger._db.execute("PRAGMA max_page_count=1000000")
    ledger.append([act(2), fact], AT, jws)
    assert [one.seq for one in ledger.verified_entries()] == [1, 2, 3]


# --- one owner -----------------------------------------------------------------------------------------------------------


def _try_to_open(folder: str, answer: Any) -> None:
    try:
        Ledger(Path(folder)).close()
        answer.put("opened")
    except LedgerBroken as error:
        answer.put(str(error))


def test_a_second_process_is_refused(ledger: Ledger) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    other = context.Process(target=_try_to_open, args=(str(ledger.path.parent), answer))
    other.start()
    assert "another process owns this ledger" in answer.get(timeout=60)
    other.join(60)
    ledger.append([act(1)], AT)
    assert len(list(ledger.verified_entries())) == 1


def test_reading_needs_no_lock_and_writes_nothing(ledger: Ledger) -> None:
    ledger.append([act(1)], AT)
    reader = LedgerReader(ledger.path.parent)
    assert [one.seq for one in reader.verified_entries()] == [1]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connect().execute("DELETE FROM outbox")


def test_the_probe_stands_around_every_commit(tmp_path: Path) -> None:
    heard: list[tuple[str, int]] = []
    with Ledger(tmp_path / "state", lambda when, number: heard.append((when, number))) as ledger:
        ledger.append([act(1), act(2)], AT)
        ledger.append([act(3)], AT)
    assert heard == [("before", 1), ("after", 1), ("before", 2), ("after", 2)]
    assert os.path.exists(tmp_path / "state" / "ledger.db")
