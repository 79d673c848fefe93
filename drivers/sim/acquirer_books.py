"""The acquirer's books: SQLite, durable before any answer leaves. Never a PAN. Schema: see `acquirer`."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drivers.sim.control import SimulationError

SCHEMA = """
CREATE TABLE IF NOT EXISTS authorizations (
  id INTEGER PRIMARY KEY, terminal TEXT NOT NULL, merchant TEXT NOT NULL, stan TEXT NOT NULL, rrn TEXT NOT NULL,
  transmitted_at TEXT NOT NULL, auth_code TEXT NOT NULL, amount_minor INTEGER NOT NULL, requested_minor INTEGER NOT NULL,
  currency TEXT NOT NULL, pan_last4 TEXT NOT NULL, aid TEXT NOT NULL, atc INTEGER NOT NULL, arqc_ok INTEGER NOT NULL,
  response TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('authorized', 'captured', 'reversed', 'declined')),
  captured_minor INTEGER NOT NULL DEFAULT 0 CHECK (captured_minor BETWEEN 0 AND amount_minor),
  issuer_answer TEXT NOT NULL, created_at TEXT NOT NULL, changed_at TEXT NOT NULL,
  UNIQUE (terminal, rrn, stan)) STRICT;
CREATE TABLE IF NOT EXISTS captures (
  id INTEGER PRIMARY KEY, authorization_id INTEGER NOT NULL REFERENCES authorizations (id), terminal TEXT NOT NULL,
  stan TEXT NOT NULL, rrn TEXT NOT NULL, amount_minor INTEGER NOT NULL, response TEXT NOT NULL, at TEXT NOT NULL,
  UNIQUE (terminal, rrn, stan)) STRICT;
CREATE TABLE IF NOT EXISTS increments (
  id INTEGER PRIMARY KEY, authorization_id INTEGER NOT NULL REFERENCES authorizations (id), terminal TEXT NOT NULL,
  stan TEXT NOT NULL, rrn TEXT NOT NULL, amount_minor INTEGER NOT NULL, response TEXT NOT NULL, at TEXT NOT NULL,
  UNIQUE (terminal, rrn, stan)) STRICT;
CREATE TABLE IF NOT EXISTS refunds (
  id INTEGER PRIMARY KEY, authorization_id INTEGER NOT NULL REFERENCES authorizations (id), terminal TEXT NOT NULL,
  stan TEXT NOT NULL, rrn TEXT NOT NULL, amount_minor INTEGER NOT NULL, response TEXT NOT NULL, at TEXT NOT NULL,
  UNIQUE (terminal, rrn, stan)) STRICT;
CREATE TABLE IF NOT EXISTS reversals (
  id INTEGER PRIMARY KEY, authorization_id INTEGER REFERENCES authorizations (id), terminal TEXT NOT NULL,
  original_stan TEXT NOT NULL, original_rrn TEXT NOT NULL, original_transmitted_at TEXT NOT NULL,
  response TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY, at TEXT NOT NULL, direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
  mti TEXT NOT NULL, stan TEXT NOT NULL, rrn TEXT NOT NULL, terminal TEXT NOT NULL, amount_minor INTEGER,
  response TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cards (card_key TEXT PRIMARY KEY, last_atc INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS secret (value BLOB NOT NULL) STRICT;
"""

Row = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Books:
    """One thread. Raises SimulationError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(SCHEMA)
            with self.atomic():
                if not self.rows("SELECT value FROM secret"):
                    self._db.execute("INSERT INTO secret VALUES (?)", (secrets.token_bytes(32),))
        except sqlite3.Error as error:
            raise SimulationError(f"{path}: cannot keep books there: {error}") from None
        self._secret: bytes = self.rows("SELECT value FROM secret")[0]["value"]

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """All or nothing, on the disk when it is left."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[Row]:
        return [dict(row) for row in self._db.execute(query, values)]

    def insert(self, table: str, **row: object) -> int:
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        number = self._db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(row.values())).lastrowid
        assert number is not None
        return number

    def set_state(self, authorization: int, state: str, captured_minor: int) -> None:
        self._db.execute(
            "UPDATE authorizations SET state = ?, captured_minor = ?, changed_at = ? WHERE id = ?",
            (state, captured_minor, now(), authorization),
        )

    def add_to_hold(self, authorization: int, added_minor: int) -> None:
        self._db.execute(
            "UPDATE authorizations SET amount_minor = amount_minor + ?, changed_at = ? WHERE id = ?",
            (added_minor, now(), authorization),
        )

    def link_reversal(self, reversal: int, authorization: int) -> None:
        self._db.execute("UPDATE reversals SET authorization_id = ? WHERE id = ?", (authorization, reversal))

    def log(self, direction: str, mti: str, fields: dict[int, str]) -> None:
        amount = fields.get(4)
        self.insert(
            "messages",
            at=now(),
            direction=direction,
            mti=mti,
            stan=fields.get(11, ""),
            rrn=fields.get(37, ""),
            terminal=fields.get(41, "").strip(),
            amount_minor=int(amount) if amount else None,
            response=fields.get(39, ""),
        )

    def _card_key(self, pan: str, sequence: str) -> str:
        return hmac.new(self._secret, f"{pan}/{sequence}".encode(), hashlib.sha256).hexdigest()

    def last_atc(self, pan: str, sequence: str) -> int:
        """The highest transaction counter seen of a card; -1 before the first."""
        found = self.rows("SELECT last_atc FROM cards WHERE card_key = ?", self._card_key(pan, sequence))
        return int(found[0]["last_atc"]) if found else -1

    def see_atc(self, pan: str, sequence: str, atc: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO cards VALUES (?, ?)", (self._card_key(pan, sequence), atc))

    def sums(self) -> dict[str, Row]:
        """Per currency: how many authorizations in each state, what is held and what was captured."""
        result: dict[str, Row] = {}
        query = """SELECT currency, state, count(*) AS count, sum(amount_minor) AS amount,
                   sum(captured_minor) AS captured FROM authorizations GROUP BY currency, state"""
        for row in self.rows(query):
            sums = result.setdefault(row["currency"], {"held_minor": 0, "captured_minor": 0})
            sums[row["state"]] = row["count"]
            sums["held_minor"] += row["amount"] if row["state"] == "authorized" else 0
            sums["captured_minor"] += row["captured"]
        return result

    def close(self) -> None:
        self._db.close()
