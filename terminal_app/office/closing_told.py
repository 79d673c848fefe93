"""What the terminal itself told of a day, shown beside what the closing derives: its own account of each meter's energy.

Facts are not sealed records, so nothing is computed from them; where both tell of the same energy, a person can compare.
"""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store

BALANCE = "energy_balance"
MOST = 100
_FIGURES = ("connector", "from_wh", "to_wh", "sessions_wh", "tests_wh", "unexplained_wh")


def energy_told(db: Connection, terminal: str, begin_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """The accounts that the terminal closed in this time, as it told them. What another version says differently is left out."""
    f = store.facts.c
    where = (f.terminal == terminal) & (f.kind == BALANCE) & (f.utc_ms >= begin_ms) & (f.utc_ms < end_ms)
    bodies = db.execute(sa.select(f.body).where(where).order_by(f.utc_ms, f.seq).limit(MOST)).scalars()
    return [row for body in bodies if (row := _row(body)) is not None]


def _row(body: str) -> dict[str, Any] | None:
    try:
        fact = json.loads(body)
        found: dict[str, Any] = {name: int(fact[name]) for name in _FIGURES}
        return found | {"meter_serial": str(fact["serial"])[:64], "why": str(fact.get("why", ""))[:32]}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
