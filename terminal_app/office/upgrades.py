"""From an older version's database to this one's: columns that tables got since. New tables are simply made.

Each statement leaves the rows as true as they were, and is skipped where its column is there already: `init` may run as often
as one likes. SQLite and PostgreSQL.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from terminal_app.office.metadata import metadata

ADDED_COLUMNS = {
    ("sessions", "test"): "BOOLEAN NOT NULL DEFAULT FALSE",  # before there were tests, every session was a sale
}


def upgrade(engine: Engine) -> None:
    """In one commit. The tables are there."""
    lacking = _lacking_columns(engine)
    with engine.begin() as db:
        for (table, column), kind in ADDED_COLUMNS.items():
            if (table, column) in lacking:
                db.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def missing(engine: Engine) -> set[str]:
    """Names of tables, and of columns as table.column, that the database lacks."""
    there = set(sa.inspect(engine).get_table_names())
    return (set(metadata.tables) - there) | {f"{table}.{column}" for table, column in _lacking_columns(engine)}


def _lacking_columns(engine: Engine) -> set[tuple[str, str]]:
    found, inspector = set[tuple[str, str]](), sa.inspect(engine)
    for name, column in ADDED_COLUMNS:
        if inspector.has_table(name) and column not in {one["name"] for one in inspector.get_columns(name)}:
            found.add((name, column))
    return found
