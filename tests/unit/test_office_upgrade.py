"""`charge-office init` on the database of an older version: nothing is lost, and what this version needs is there."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from terminal_app.office import store, upgrades
from terminal_app.run.office import office

OLD = Path(__file__).parent.parent / "vectors" / "office-first-version.sql"
"""A database as the first version's `init` and a terminal with two sessions left it."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "office.db") as db:
        db.executescript(OLD.read_text())
    db.close()
    return f"sqlite:///{tmp_path}/office.db"


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(office, [str(word) for word in words])
    return done.exit_code, done.output


def test_without_init_it_says_so_and_after_it_everything_works(url: str, tmp_path: Path) -> None:
    key = tmp_path / "office.pem"
    code, said = run("sessions", "--db", url)
    assert code == 1 and "`charge-office init` makes what is missing" in said and len(said.splitlines()) == 1
    for _ in range(2):
        code, said = run("init", "--db", url, "--key", key)
        assert code == 0, said
    code, said = run("sessions", "--db", url)
    assert code == 0 and said.count("948\tEUR\tcaptured\t0\tFalse") == 2
    code, said = run("closing", "make", "T-0001", "--db", url, "--key", key, "--day", "2026-01-02")
    assert "closing 1\t2026-01-02\t18.96 EUR" in said
    assert run("init", "--db", url, "--key", tmp_path / "other.pem")[0] == 0
    code, said = run("closing", "make", "--db", url, "--key", tmp_path / "other.pem", "--day", "2026-01-02")
    assert code == 1 and said.startswith("T-0001\t") and len(said.splitlines()) == 1, "signed with another key: said, no crash"
    database = store.Store(url)
    with database.read() as db:
        assert db.execute(sa.select(sa.func.count()).select_from(store.records)).scalar() == 4
    database.close()


def test_every_column_that_an_older_database_lacks_is_in_the_list(url: str) -> None:
    """Whoever adds a column to a table adds its upgrade."""
    old = sa.inspect(store.Store(url, create=True).engine)
    for table in store.metadata.sorted_tables:
        assert {column.name for column in table.columns} == {one["name"] for one in old.get_columns(table.name)}, table.name
    assert upgrades.missing(store.Store(url).engine) == set()
