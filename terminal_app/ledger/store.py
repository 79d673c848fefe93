"""The ledger's store: one writer (the engine's thread), any number of readers in this process.

`journal_mode=WAL` and `synchronous=FULL` on every connection, asserted: anything weaker loses acknowledged records at a
power cut (reliability.md section 0). A preallocated reserve file is given up when the disk is full, so that the running
session can still be closed. The database is 0600 in a 0700 folder; a second process is refused by a lock.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from sqlite_utils import Database

from terminal_app.errors import LedgerBroken
from terminal_app.ledger.entry import GENESIS, Entry, from_row, hash_of, make
from terminal_app.ledger.schema import migrations
from terminal_app.session.facts import Fact, OfficeAcknowledged, Sealed
from terminal_app.values import Stamp

RESERVE_BYTES = 4 * 1024 * 1024
BUSY_TIMEOUT_S = 5
_COLUMNS = "seq, utc_ms, mono_ms, boot_id, clock, kind, session_id, public, body, sha256"


class CommitProbe(Protocol):
    """Called around every commit: tests and demo mode end the process here. `when` is "before" or "after"."""

    def __call__(self, when: str, number: int) -> None: ...


class Ledger:
    """Append facts, read them back. Raises LedgerBroken when it cannot be trusted or written; nothing is half-written."""

    def __init__(self, folder: Path, probe: CommitProbe | None = None) -> None:
        self.path = folder / "ledger.db"
        self._reserve = folder / "reserve"
        self._probe = probe
        self.commits = 0
        self.reserve_used = False
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _exclusive(folder / "lock")
        try:
            self._db = _open(self.path)
            migrations.apply(self._db)
            os.chmod(self.path, 0o600)
            self.chain_id = self._identity("chain_id", secrets.token_hex(8))
        except sqlite3.Error as error:
            raise LedgerBroken(f"{self.path}: {error}") from error
        self._seq, self._head = self._tail()
        self._make_reserve()

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
                    f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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

    def entries(self, after: int = 0, session_id: str = "", limit: int = -1) -> Iterator[Entry]:
        """Entries after `after`, oldest first; of one session if given."""
        with contextlib.closing(_open(self.path, readonly=True)) as db:
            where, arguments = "seq > ?", [after]
            if session_id:
                where += " AND session_id = ?"
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE {where} ORDER BY seq LIMIT ?",
                (*arguments, *([session_id] if session_id else []), limit),
            )
            for row in rows:
                yield from_row(row)

    def verified_entries(self) -> Iterator[Entry]:
        """All entries, each checked against the chain while it is read. LedgerBroken names the first bad one."""
        seq, head = 0, GENESIS
        try:
            for entry in self.entries():
                if entry.seq != seq + 1:
                    raise LedgerBroken(f"entry {seq + 1} is missing", seq + 1)
                stored = (entry.seq, entry.stamp, entry.kind, entry.session_id, entry.public, entry.body, head)
                if entry.sha256 != hash_of(*stored):
                    raise LedgerBroken("does not follow the one before: the ledger was changed or is damaged", entry.seq)
                seq, head = entry.seq, entry.sha256
                yield entry
        except sqlite3.Error as error:
            raise LedgerBroken(f"{self.path}: {error}", seq + 1) from error
        except ValueError as error:
            raise LedgerBroken(f"cannot be read: {error}", seq + 1) from error

    def records(self, after: int = 0, limit: int = -1) -> list[tuple[int, str, str, str, str]]:
        """Sealed records after `after`: (seq, type, subject, jws, sha256)."""
        with contextlib.closing(_open(self.path, readonly=True)) as db:
            found = db.execute(
                "SELECT seq, type, subject, jws, sha256 FROM records WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
            return list(found)

    def public_entries(self, after: int, limit: int) -> list[Entry]:
        """Public entries after `after`, oldest first."""
        with contextlib.closing(_open(self.path, readonly=True)) as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM entries WHERE seq > ? AND public = 1 ORDER BY seq LIMIT ?", (after, limit))
            return [from_row(row) for row in rows]

    def waiting(self) -> int:
        """Records the office has not acknowledged."""
        with contextlib.closing(_open(self.path, readonly=True)) as db:
            return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def close(self) -> None:
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

    def _make_reserve(self) -> None:
        """Preallocate the reserve. On a full disk there is none; the disk fault says so."""
        if self._reserve.exists():
            return
        try:
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
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


def _open(path: Path, readonly: bool = False) -> Database:
    """A connection with the settings that survive power cuts, asserted."""
    if readonly:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        return Database(connection)
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
        raise LedgerBroken(f"{path}: another process owns this ledger; stop it first") from None
    return descriptor


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
