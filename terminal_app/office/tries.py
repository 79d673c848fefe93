"""How often a secret may be guessed at: so many times per page, per account and per address; a good try costs nothing.

A try is counted before the secret is looked at, so that many at once are no more than the limit.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store
from terminal_app.office.phone_tables import tries

MINUTE_MS = 60_000
KEPT_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` tries at `subject`, per minute or (`for_ever`) in all."""

    subject: str
    most: int
    for_ever: bool = False


def of_account(account: str) -> Limit:
    return Limit(f"account:{account[:36]}", 5)


def take(db: Connection, *limits: Limit) -> bool:
    """Count one try at each; False if one of them is used up (then the caller rolls back or the rest stays counted)."""
    now = store.now_ms()
    db.execute(tries.delete().where(tries.c.utc_ms < now - KEPT_MS))
    return all(_taken(db, limit, now) for limit in limits)


def _taken(db: Connection, limit: Limit, now: int) -> bool:
    mine = _place(limit, now)
    for _ in range(2):
        counted = db.execute(tries.update().where(mine & (tries.c.made < limit.most)).values(made=tries.c.made + 1, utc_ms=now))
        if counted.rowcount:
            return True
        if db.execute(sa.select(tries.c.made).where(mine)).first():
            return False
        try:
            with db.begin_nested():
                row = {"subject": limit.subject, "minute": _minute(limit, now), "made": 1, "utc_ms": now}
                db.execute(tries.insert().values(**row))
        except sa.exc.IntegrityError:  # another one's first try came in between: count at its side
            continue
        return True
    return False


def give_back(db: Connection, *limits: Limit) -> None:
    """The try was good: it does not count."""
    now = store.now_ms()
    for limit in limits:
        db.execute(tries.update().where(_place(limit, now) & (tries.c.made > 0)).values(made=tries.c.made - 1))


def _minute(limit: Limit, now: int) -> int:
    return 0 if limit.for_ever else now // MINUTE_MS


def _place(limit: Limit, now: int) -> sa.ColumnElement[bool]:
    return (tries.c.subject == limit.subject) & (tries.c.minute == _minute(limit, now))
