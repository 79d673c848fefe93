"""Reading a ledger: by the process that writes it, by others beside it, and from a disk that can no longer be written.

Nothing is written here, not even SQLite's own helper files on a read-only file system: a clean WAL database there opens only
as `immutable` (reliability.md section 0.4), and one with a live -wal file is copied aside first, because `immutable` would
not see its newest entries.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from sqlite_utils import Database

from terminal_app.billing.record import sha256_of
from terminal_app.errors import LedgerBroken
from terminal_app.ledger.entry import GENESIS, Entry, from_row, hash_of
from terminal_app.session.facts import Sealed, kind_of

BUSY_TIMEOUT_S = 5
COLUMNS = "seq, utc_ms, mono_ms, boot_id, clock, kind, session_id, public, body, sha256"
_TEST = """SELECT 1 FROM entries AS opened WHERE records.type = 'session' AND opened.session_id <> ''
    AND opened.session_id = records.subject AND opened.kind = 'session_opened' AND instr(opened.body, '"test":true')"""


class StoredRecord(NamedTuple):
    """A sealed record as it lies in the table: `subject` is its session_id or hold_id, `sha256` the JWS's, hex."""

    seq: int
    type: str
    subject: str
    jws: str
    sha256: str


class Point(msgspec.Struct, frozen=True):
    """A place between two entries: the newest one read (0 = none), its hash, and how many records were sealed up to there."""

    seq: int = 0
    sha256: str = GENESIS
    records: int = 0

    def after(self, entry: Entry) -> "Point":
        """The place behind the next entry."""
        return Point(entry.seq, entry.sha256, self.records + (entry.kind == SEALED))


SEALED = kind_of(Sealed)
START = Point()


class LedgerReader:
    """Reads from any thread; each question opens its own connection. LedgerBroken if the file cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    @property
    def chain(self) -> str:
        """The chain's identity ("" before the first start)."""
        found = self._all("SELECT value FROM identity WHERE name = 'chain_id'")
        return str(found[0][0]) if found else ""

    @property
    def tail(self) -> tuple[int, str]:
        """Newest entry on the disk: seq (0 = none) and hash."""
        found = self._all("SELECT seq, sha256 FROM entries ORDER BY seq DESC LIMIT 1")
        return (int(found[0][0]), str(found[0][1])) if found else (0, GENESIS)

    def entries(
        self,
        after: int = 0,
        session_id: str = "",
        limit: int = -1,
        kinds: Sequence[str] = (),
        newest_first: bool = False,
        before: int = 0,
    ) -> Iterator[Entry]:
        """Entries after `after` and before `before` (0 = no end); of one session, of some kinds if given. LedgerBroken."""
        where, values = "seq > ?", list[object]([after])
        if before:
            where += " AND seq < ?"
            values.append(before)
        if session_id:
            where += " AND session_id = ?"
            values.append(session_id)
        if kinds:
            where += f" AND kind IN ({', '.join('?' * len(kinds))})"
            values += kinds
        order, seq = "DESC" if newest_first else "ASC", after
        try:
            for row in self._rows(f"SELECT {COLUMNS} FROM entries WHERE {where} ORDER BY seq {order} LIMIT ?", (*values, limit)):
                seq = row[0] if isinstance(row[0], int) else seq
                yield from_row(row)
        except sqlite3.Error as error:
            raise LedgerBroken(f"{self.path}: {error}", None if newest_first else seq + 1) from error
        except ValueError as error:
            raise LedgerBroken(f"cannot be read: {error}", seq) from error

    def about(self, text: str, kinds: Sequence[str], after: int = 0) -> list[Entry]:
        """Entries of some kinds whose body holds this text (a hold's id, say), oldest first. Looks at all after `after`."""
        where = f"seq > ? AND kind IN ({', '.join('?' * len(kinds))}) AND instr(body, ?) > 0"
        sql = f"SELECT {COLUMNS} FROM entries WHERE {where} ORDER BY seq"
        return [from_row(row) for row in self._all(sql, (after, *kinds, text))]

    def verified_entries(self, start: Point = START, limit: int = -1) -> Iterator[Entry]:
        """Entries behind `start` (at most `limit`), each checked against the chain, and every sealed one against its record,
        while they are read. LedgerBroken names the first bad one.
        """
        sql = "SELECT seq, type, subject, sha256, jws FROM records WHERE seq > ? ORDER BY seq"
        with contextlib.closing(self._rows(sql, (start.records,))) as rows:
            for entry in verified(self.entries(start.seq, limit=limit), start):
                if entry.kind == SEALED:
                    self._check_record(entry, rows)
                yield entry

    def has(self, point: Point) -> bool:
        """Whether this ledger has that very entry. LedgerBroken."""
        found = self._all("SELECT sha256 FROM entries WHERE seq = ?", (point.seq,))
        return [tuple(row) for row in found] == [(point.sha256,)]

    def _check_record(self, entry: Entry, rows: Iterator[Any]) -> None:
        """The record of a Sealed fact lies in the table as it was sealed."""
        fact = entry.fact
        assert isinstance(fact, Sealed)
        try:
            found = next(rows, None)
        except sqlite3.Error as error:
            raise LedgerBroken(f"record {fact.record_seq} cannot be read: {error}", entry.seq) from error
        named = (fact.record_seq, fact.record_type, fact.subject, fact.sha256)
        if found is None or found[:4] != named or sha256_of(found[4]) != fact.sha256:
            raise LedgerBroken(f"record {fact.record_seq} is not the one that was sealed", entry.seq)

    def records(
        self, after: int = 0, limit: int = -1, subject: str = "", newest_first: bool = False, before: int = 0
    ) -> list[StoredRecord]:
        """Sealed records after `after` and before `before` (0 = no end); of one session or hold if given. LedgerBroken."""
        where, values = "seq > ?", list[object]([after])
        if before:
            where += " AND seq < ?"
            values.append(before)
        if subject:
            where += " AND subject = ?"
            values.append(subject)
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT seq, type, subject, jws, sha256 FROM records WHERE {where} ORDER BY seq {order} LIMIT ?"
        return [StoredRecord(*row) for row in self._all(sql, (*values, limit))]

    def sealed(self, after: int, types: Sequence[str], limit: int = -1) -> list[tuple[int, str, int]]:
        """Records of some types after `after`, oldest first: number, type, UTC ms of the commit that sealed it. Test charges of
        service personnel are left out: nothing was sold. LedgerBroken."""
        sql = (
            "SELECT records.seq, records.type, entries.utc_ms FROM records JOIN entries ON entries.seq = records.entry_seq "
            f"WHERE records.seq > ? AND records.type IN ({', '.join('?' * len(types))}) AND NOT EXISTS ({_TEST}) "
            "ORDER BY records.seq LIMIT ?"
        )
        return [(int(seq), str(kind), int(utc_ms)) for seq, kind, utc_ms in self._all(sql, (after, *types, limit))]

    def public_entries(self, after: int, limit: int) -> list[Entry]:
        """Public entries after `after`, oldest first."""
        sql = f"SELECT {COLUMNS} FROM entries WHERE seq > ? AND public = 1 ORDER BY seq LIMIT ?"
        return [from_row(row) for row in self._all(sql, (after, limit))]

    def waiting(self) -> int:
        """Records the office has not acknowledged."""
        return int(self._all("SELECT count(*) FROM outbox")[0][0])

    def close(self) -> None:
        """Give back what reading needed; idempotent."""
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    # --- opening -----------------------------------------------------------------------------------------------------

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return list(self._rows(sql, values))
        except sqlite3.Error as error:
            raise LedgerBroken(f"{self.path}: {error}") from error

    def _rows(self, sql: str, values: Sequence[object]) -> Generator[Any, None, None]:
        with contextlib.closing(self._connect()) as connection:
            yield from Database(connection).execute(sql, values)

    def _connect(self) -> sqlite3.Connection:
        path = self.path if self._copy is None else Path(self._copy.name, self.path.name)
        try:
            return _read_only(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or not path.is_file():
                raise LedgerBroken(f"{path}: {error}") from error
        except sqlite3.Error as error:
            raise LedgerBroken(f"{path}: {error}") from error
        wal = path.with_name(f"{path.name}-wal")
        try:
            if not wal.exists() or wal.stat().st_size == 0:
                return _read_only(path, "immutable=1")
            self._copy = tempfile.TemporaryDirectory(prefix="ct-ledger-")
            for file in (path, wal):
                shutil.copy(file, self._copy.name)
            return _read_only(Path(self._copy.name, path.name), "mode=ro")
        except (sqlite3.Error, OSError) as error:
            raise LedgerBroken(f"{path}: cannot be read: {error}") from error


def _read_only(path: Path, how: str) -> sqlite3.Connection:
    """A connection that has read once: SQLite says only then whether it can."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def verified(entries: Iterable[Entry], start: Point = START) -> Iterator[Entry]:
    """Entries that follow `start`, each checked against the one before. LedgerBroken names the first bad one."""
    seq, head = start.seq, start.sha256
    for entry in entries:
        if entry.seq != seq + 1:
            raise LedgerBroken(f"entry {seq + 1} is missing", seq + 1)
        stored = (entry.seq, entry.stamp, entry.kind, entry.session_id, entry.public, entry.body, head)
        if entry.sha256 != hash_of(*stored):
            raise LedgerBroken("does not follow the one before: the ledger was changed or is damaged", entry.seq)
        seq, head = entry.seq, entry.sha256
        yield entry


class CoreLock:
    """The core's lock, as the service tool takes it: shared for reading, alone for devices. Nothing is created or written.

    It goes with the process. OSError if it may not be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def take(self, alone: bool) -> bool:
        """True: no core owns this ledger, and none can start before `close`. False: one does (or, `alone`, another tool)."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return True  # no core has ever started here
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
