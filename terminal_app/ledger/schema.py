"""Tables of the ledger, made by sqlite-utils migrations. STRICT; entries and records are never updated or deleted."""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("ledger")


@migrations()
def m001_first(db: Database) -> None:
    """Entries (the chain of facts), sealed records, and the outbox of records the office has not acknowledged yet."""
    db.execute(
        """CREATE TABLE entries (
            seq INTEGER PRIMARY KEY, utc_ms INTEGER NOT NULL, mono_ms INTEGER NOT NULL, boot_id TEXT NOT NULL,
            clock TEXT NOT NULL, kind TEXT NOT NULL, session_id TEXT NOT NULL, public INTEGER NOT NULL,
            body TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT"""
    )
    db.execute("CREATE INDEX entries_session ON entries (session_id) WHERE session_id <> ''")
    db.execute(
        """CREATE TABLE records (
            seq INTEGER PRIMARY KEY, type TEXT NOT NULL, subject TEXT NOT NULL, jws TEXT NOT NULL,
            sha256 TEXT NOT NULL, entry_seq INTEGER NOT NULL REFERENCES entries (seq)) STRICT"""
    )
    db.execute("CREATE TABLE outbox (record_seq INTEGER PRIMARY KEY REFERENCES records (seq)) STRICT")
    db.execute("CREATE TABLE identity (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
    for table in ("entries", "records"):
        for verb in ("UPDATE", "DELETE"):
            db.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
