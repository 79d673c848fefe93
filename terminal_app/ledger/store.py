"""The ledger's store: one writer (the engine's thread), any number of readers in this process.

`journal_mode=WAL` and `synchronous=FULL` on every connection, asserted: anything weaker loses acknowledged records at a
power cut (reliability.md section 0). A preallocated reserve file is given up when the disk is full, so that the running
session can still be closed. The database is 0600 in a 0700 folder; a second process is refused by a lock.
"""

import errno
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from sqlite_utils import Database

from terminal_app.errors import LedgerBroken, LedgerBusy
from terminal_app.ledger.entry import GENESIS, Entry, make
from terminal_app.ledger.reading import BUSY_TIMEOUT_S, COLUMNS, LedgerReader
from terminal_app.ledger.schema import migrations
from terminal_app.session.facts import Fact, OfficeAcknowledged, Sealed
from terminal_app.values import Stamp

RESERVE_BYTES = 4 * 1024 * 1024


class CommitProbe(Protocol):
    """Called around every commit: tests and demo mode end the process here. `when` is "before" or "after"."""

    def __call__(self, when: str, number: int) -> None: ...


class Ledger(LedgerReader):
    """Append facts, read them back. Raises LedgerBroken when it cannot be trusted or written; nothing is half-written."""

    def __init__(self, folder: Path, probe: CommitProbe | None = None) -> None:
        super().__init__(folder)
        self._reserve = folder / "reserve"
        self._probe = probe
        self.commits = 0
        self.reserve_used = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _exclusive(folder / "lock")
        except OSError as error:  # read-only file system, not ours, not a folder
            raise LedgerBroken(f"{folder}: cannot be written: {error.strerror}") from error
        try:
            self._make_file()
            self._db = _open(self.path)
            migrations.apply(self._db)
            self.chain_id = self._identity("chain_id", secrets.token_hex(8))
            self._seq, self._head = self._tail()
            self._make_reserve()
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise LedgerBroken(f"{self.path}: {error}") from error
        except LedgerBroken:
            os.close(self._lock)
            raise

    # --- writing (engine's thread only) ------------------------------------------------------------------------------

    def append(self, facts: Sequence[Fact], at: Stamp, sealed_jws: str = "") -> list[Entry]:
        """Commit facts in one transaction, durable on return.

        A Sealed fact brings its record and outbox row, an OfficeAcknowledged fact takes what it covers out of the outbox.
        """
        if not facts:
            return []
        if self._probe:
            self._probe("before", self.commits + 1)
        try:
            entries = self._append(facts, at, sealed_jws)
        except sqlite3.OperationalError as error:
            if not _is_full(error) or not self._give_up_reserve():
                raise LedgerBroken(f"{self.path} cannot be written: {error}") from error
            try:
                entries = self._append(facts, at, sealed_jws)
            except sqlite3.Error as again:
                raise LedgerBroken(f"{self.path} cannot be written: {again}") from again
        except sqlite3.Error as error:
            raise LedgerBroken(f"{self.path} cannot be written: {error}") from error
        self.commits += 1
        self._seq, self._head = entries[-1].seq, entries[-1].sha256
        if self._probe:
            self._probe("after", self.commits)
        return entries

    def _append(self, facts: Sequence[Fact], at: Stamp, sealed_jws: str) -> list[Entry]:
        seq, head, entries = self._seq, self._head, list[Entry]()
        with self._db.atomic():
            for fact in facts:
                seq += 1
                entry = make(seq, at, fact, head)
                head = entry.sha256
                entries.append(entry)
                self._db.execute(
                    f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        entry.seq,
                        at.utc_ms,
                        at.mono_ms,
                        at.boot_id,
                        at.clock.value,
                        entry.kind,
                        entry.session_id,
                        int(entry.public),
                        entry.body,
                        entry.sha256,
                    ),
                )
                if isinstance(fact, Sealed):
                    self._db.execute(
                        "INSERT INTO records (seq, type, subject, jws, sha256, entry_seq) VALUES (?, ?, ?, ?, ?, ?)",
                        (fact.record_seq, fact.record_type, fact.subject, sealed_jws, fact.sha256, seq),
                    )
                    self._db.execute("INSERT INTO outbox (record_seq) VALUES (?)", (fact.record_seq,))
                elif isinstance(fact, OfficeAcknowledged):
                    self._db.execute("DELETE FROM outbox WHERE record_seq <= ?", (fact.records_through,))
                    self._db.execute(  # the office may know less than it did: what it lost is sent again
                        "INSERT OR IGNORE INTO outbox (record_seq) SELECT seq FROM records WHERE seq > ?",
                        (fact.records_through,),
                    )
        return entries

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def head(self) -> tuple[int, str]:
        """Newest entry: seq (0 = none) and hash."""
        return self._seq, self._head

    def close(self) -> None:
        super().close()
        self._db.close()
        os.close(self._lock)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _identity(self, name: str, fresh: str) -> str:
        with self._db.atomic():
            self._db.execute("INSERT OR IGNORE INTO identity (name, value) VALUES (?, ?)", (name, fresh))
        return str(self._db.execute("SELECT value FROM identity WHERE name = ?", (name,)).fetchone()[0])

    def _tail(self) -> tuple[int, str]:
        try:
            row = self._db.execute("SELECT seq, sha256 FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise LedgerBroken(f"{self.path}: {error}") from error
        return (0, GENESIS) if row is None else (int(row[0]), str(row[1]))

    def _make_file(self) -> None:
        """Private from the first byte; SQLite gives its helper files the same mode."""
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.chmod(self.path, 0o600)

    def _make_reserve(self) -> None:
        """Preallocate the reserve. On a full disk there is none; the disk fault says so."""
        if self._reserve.exists():
            return
        try:
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EOPNOTSUPP, errno.EROFS):
                raise
            self._reserve.unlink(missing_ok=True)

    def _give_up_reserve(self) -> bool:
        if not self._reserve.exists():
            return False
        self._reserve.unlink()
        self.reserve_used = True
        return True


def _open(path: Path) -> Database:
    """A connection with the settings that survive power cuts, asserted."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=MEMORY")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or level != 2:
        raise LedgerBroken(f"{path}: journal_mode={mode} synchronous={level}: not safe against power cuts")
    return Database(connection)


def _exclusive(path: Path) -> int:
    """One process owns a ledger. The lock goes with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LedgerBusy(f"{path}: another process owns this ledger; stop it first") from None
    return descriptor


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
