"""Gapless numbers: taken in the commit that writes the numbered thing, so a rollback takes none and none is given twice."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office.document_tables import document_numbers


def locked(db: Connection, series: str) -> int:
    """The last number of a series (0 = none yet), kept from other writers until the caller's commit."""
    c = document_numbers.c
    question = sa.select(c.last).where(c.series == series).with_for_update()
    found = db.execute(question).scalar()
    if found is not None:
        return int(found)
    try:
        with db.begin_nested():
            db.execute(document_numbers.insert().values(series=series, last=0))
    except sa.exc.IntegrityError:
        pass  # another writer made the row a moment ago
    return int(db.execute(question).scalar_one())


def take(db: Connection, series: str) -> int:
    """The next number of a series, from 1."""
    number = locked(db, series) + 1
    db.execute(document_numbers.update().where(document_numbers.c.series == series).values(last=number))
    return number
