"""The office's database through SQLAlchemy Core: SQLite (WAL, FULL) by default, PostgreSQL by URL.

`records`, `conflicts` and `facts` are the truth, as received; the other tables are derived from them for quick pages.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from terminal_app.office import (
    account_tables,
    command_tables,
    document_tables,
    payment_tables,
    phone_tables,
    receipt_tables,
    upgrades,
)
from terminal_app.office.metadata import Big, metadata

__all__ = ["NoTables", "Store", "alarm", "metadata", "now_ms"]
__all__ += ["account_tables", "command_tables", "document_tables", "payment_tables", "phone_tables", "receipt_tables"]

terminals = sa.Table(
    "terminals",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("token_sha256", sa.String(64), nullable=False),
    sa.Column("added_utc_ms", Big, nullable=False),
    sa.Column("seen_utc_ms", Big),
    sa.Column("chain_id", sa.String(64)),
)
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("key_id", sa.String(64), primary_key=True),
    sa.Column("purpose", sa.String(8), primary_key=True),  # "record" | "ocmf"
    sa.Column("spki_pem", sa.Text, nullable=False),
    sa.Column("added_utc_ms", Big, nullable=False),
)
meter_keys = sa.Table(  # of meters that sign: the first key seen of a meter is its key
    "meter_keys",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("serial", sa.String(64), primary_key=True),
    sa.Column("key_id", sa.String(64), nullable=False),
    sa.Column("spki", sa.Text, nullable=False),  # DER, hex
    sa.Column("added_utc_ms", Big, nullable=False),
)
chains = sa.Table(
    "chains",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("through_seq", Big, nullable=False),
    sa.Column("through_sha256", sa.String(64), nullable=False),
    sa.Column("facts_through", Big, nullable=False),
    sa.Column("claimed_seq", Big, nullable=False),
    sa.Column("claimed_sha256", sa.String(64), nullable=False),
    sa.Column("seen_utc_ms", Big, nullable=False),
)
records = sa.Table(
    "records",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("jws", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),  # "" = could not be opened
    sa.Column("session_id", sa.String(64), nullable=False, index=True),
    sa.Column("stored_utc_ms", Big, nullable=False),
    sa.Column("quarantine", sa.Text, nullable=False),  # "" = accepted, else why not
)
conflicts = sa.Table(
    "conflicts",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("jws", sa.Text, nullable=False),
    sa.Column("stored_utc_ms", Big, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("utc_ms", Big, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("session_id", sa.String(64), nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("stored_utc_ms", Big, nullable=False),
)
stray_facts = sa.Table(
    "stray_facts",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("sent", sa.Text, nullable=False),  # as it came, but for characters no database takes
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("stored_utc_ms", Big, nullable=False),
)
alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("utc_ms", Big, nullable=False),
    sa.Column("terminal", sa.String(36), nullable=False),
    sa.Column("chain_id", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.UniqueConstraint("terminal", "chain_id", "kind", "detail"),
)

# --- derived ---------------------------------------------------------------------------------------------------------

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("session_id", sa.String(64), nullable=False, index=True),
    sa.Column("connector", sa.Integer, nullable=False),
    sa.Column("evse_id", sa.String(48), nullable=False),
    sa.Column("begin_utc_ms", Big, nullable=False),
    sa.Column("end_utc_ms", Big, nullable=False, index=True),
    sa.Column("energy_wh", Big, nullable=False),
    sa.Column("net_minor", Big, nullable=False),
    sa.Column("vat_minor", Big, nullable=False),
    sa.Column("total_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("hold_id", sa.String(64), nullable=False, index=True),
    sa.Column("authorized_minor", Big, nullable=False),
    sa.Column("capture_minor", Big, nullable=False),
    sa.Column("card", sa.String(64), nullable=False),
    sa.Column("stop_reason", sa.String(32), nullable=False),
    sa.Column("receipt_number", sa.String(64), nullable=False),
    sa.Column("receipt_code", sa.String(64), nullable=False, index=True),
    sa.Column("test", sa.Boolean, nullable=False),  # of service personnel: never a sale
)
settlements = sa.Table(
    "settlements",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("session_id", sa.String(64), nullable=False, index=True),
    sa.Column("hold_id", sa.String(64), nullable=False, index=True),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("ended_utc_ms", Big, nullable=False),
)
credits = sa.Table(
    "credits",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("session_id", sa.String(64), nullable=False, index=True),
    sa.Column("hold_id", sa.String(64), nullable=False),
    sa.Column("credited_seq", Big, nullable=False, index=True),
    sa.Column("number", Big, nullable=False),  # counts the credits of one bill from 1
    sa.Column("receipt_number", sa.String(64), nullable=False),
    sa.Column("net_minor", Big, nullable=False),  # money: zero or below, as in the record
    sa.Column("vat_minor", Big, nullable=False),
    sa.Column("total_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("utc_ms", Big, nullable=False),
)
key_changes = sa.Table(
    "key_changes",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("key_id", sa.String(64), nullable=False),  # signs what comes after `seq`
    sa.Column("ocmf_key_id", sa.String(64), nullable=False),  # "" = unchanged
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("learned_utc_ms", Big, nullable=False),
)
checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("utc_ms", Big, nullable=False),
    sa.Column("ledger_entries", Big, nullable=False),
    sa.Column("ledger_sha256", sa.String(64), nullable=False),
    sa.Column("acknowledged_through", Big, nullable=False),
    sa.Column("open_holds", Big, nullable=False),
    sa.Column("registers", sa.Text, nullable=False),  # JSON: meter serial -> Wh
    sa.Column("digests", sa.Text, nullable=False),  # JSON: name -> SHA-256
)
ocmf_pages = sa.Table(
    "ocmf_pages",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("key_id", sa.String(64), nullable=False, index=True),
    sa.Column("page", Big, nullable=False),
)
live = sa.Table(
    "live",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.String(64), primary_key=True),
    sa.Column("connector", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("start_wh", Big),
    sa.Column("energy_wh", Big),
    sa.Column("changed_utc_ms", Big, nullable=False),
)
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("hold_id", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.String(64), nullable=False),
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("card", sa.String(64), nullable=False),
    sa.Column("opened_utc_ms", Big, nullable=False),
    sa.Column("changed_utc_ms", Big, nullable=False),
)
faults = sa.Table(
    "faults",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("device", sa.String(32), primary_key=True),
    sa.Column("connector", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("raised_utc_ms", Big, nullable=False),
)


class NoTables(Exception):
    """The database is not an office's."""


class Store:
    """One database. Thread-safe: every read and write takes a connection of its own."""

    def __init__(self, url: str, create: bool = False) -> None:
        """Opens; with `create` makes what is missing. NoTables; sqlalchemy.exc.SQLAlchemyError if it cannot be reached."""
        path = sa.make_url(url).database or ""
        if not create and url.startswith("sqlite") and not Path(path).is_file():
            raise NoTables("there is no such file; `charge-office init` makes it")
        self.engine = _engine(url)
        if create:
            metadata.create_all(self.engine)
            upgrades.upgrade(self.engine)
        elif missing := upgrades.missing(self.engine):
            many = "no tables of an office" if terminals.name in missing else "not all tables and columns of this version"
            raise NoTables(f"holds {many}; `charge-office init` makes what is missing")

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing, durable when the block is left. One writer at a time on SQLite."""
        with self.engine.begin() as db:
            yield db

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that never waits for a writer."""
        with self.engine.connect().execution_options(reading=True) as db:
            yield db

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """As `read`, and all questions of the block see one and the same moment, whatever is written meanwhile."""
        level = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(reading=True, **level) as db:
            yield db

    def close(self) -> None:
        self.engine.dispose()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def alarm(db: Connection, terminal: str, chain_id: str, kind: str, detail: str) -> None:
    """Something a person must look at. Said once, however often it happens."""
    same = (alarms.c.terminal == terminal) & (alarms.c.chain_id == chain_id)
    same &= (alarms.c.kind == kind) & (alarms.c.detail == detail)
    if db.execute(sa.select(alarms.c.id).where(same)).first() is None:
        db.execute(alarms.insert().values(utc_ms=now_ms(), terminal=terminal, chain_id=chain_id, kind=kind, detail=detail))


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": 10})

    @sa.event.listens_for(engine, "connect")
    def settle(raw: object, _: object) -> None:
        """Per connection: only WAL with FULL keeps what was acknowledged through a power cut (measured)."""
        raw.isolation_level = None  # type: ignore[attr-defined]
        cursor = raw.cursor()  # type: ignore[attr-defined]
        (mode,) = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        cursor.execute("PRAGMA synchronous=FULL")
        (level,) = cursor.execute("PRAGMA synchronous").fetchone()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()
        if (mode, level) != ("wal", 2):
            raise RuntimeError(f"the database does not take WAL and FULL: journal_mode {mode}, synchronous {level}")

    @sa.event.listens_for(engine, "begin")
    def begin(db: Connection) -> None:
        db.exec_driver_sql("BEGIN" if db.get_execution_options().get("reading") else "BEGIN IMMEDIATE")

    return engine
