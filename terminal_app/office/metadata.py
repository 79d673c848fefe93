"""The one list of the office's tables. Modules that define tables import it; `store` opens them all."""

import sqlalchemy as sa

metadata = sa.MetaData()
Big = sa.BigInteger


def append_only(table: sa.Table, sentence: str) -> None:
    """Rows of the table can be neither changed nor deleted: triggers on SQLite and PostgreSQL refuse it with `sentence`."""
    for act in ("UPDATE", "DELETE"):
        name = f"{table.name}_no_{act.lower()}"
        head = f"CREATE TRIGGER {name} BEFORE {act} ON {table.name}"
        refuse = f"BEGIN RAISE EXCEPTION '{sentence}'; END"
        for dialect, text in (
            ("sqlite", f"{head} BEGIN SELECT RAISE(ABORT, '{sentence}'); END"),
            ("postgresql", f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger AS $$ {refuse} $$ LANGUAGE plpgsql"),
            ("postgresql", f"{head} FOR EACH ROW EXECUTE FUNCTION {name}()"),
        ):
            rule = sa.DDL(text)  # type: ignore[no-untyped-call]
            sa.event.listen(table, "after_create", rule.execute_if(dialect=dialect))
