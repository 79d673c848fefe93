"""By which names a hold is known at its gateway: learnt from facts and records, so that a gateway's list can be matched."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office.payment_tables import hold_terms, payment_references

SHORTEST = 6
LONGEST = 128
NAMES_NOTHING = frozenset(("auth_code", "stan", "held_minor", "captured_minor", "brand", "last4", "refund_status", "original"))
"""What a trace may say that is no name of one payment."""
OFFLINE = ("slice", "offline")
"""Kept, but no names either: they tell that the hold was granted offline, and that the gateway learns of it later."""
OWN = ("hold_id", "key")
"""Names that we gave."""


def learn(db: Connection, chain: dict[str, Any], hold_id: str, trace: dict[str, Any]) -> None:
    """Remember the references of a hold, in the caller's commit. Those that name nothing, or too little, are left out."""
    for name, value in trace.items():
        least = 1 if name in OWN else SHORTEST
        if name in NAMES_NOTHING or not isinstance(value, str) or not least <= len(value) <= LONGEST:
            continue
        key = {**_place(chain, hold_id), "reference": value}
        where = sa.and_(*(payment_references.c[column] == one for column, one in key.items()))
        if db.execute(sa.select(payment_references.c.name).where(where)).first() is None:
            db.execute(payment_references.insert().values(**key, name=name[:32]))


def learn_fact(db: Connection, chain: dict[str, Any], fact: dict[str, Any]) -> None:
    """Every name that a fact of any kind gives a hold: keys of hold and step, the page, traces."""
    past = fact.get("past")
    told = past.get("hold") if isinstance(past, dict) else fact.get("hold")
    hold = told if isinstance(told, dict) else fact
    hold_id = hold.get("hold_id")
    if not isinstance(hold_id, str) or not hold_id:
        return
    learn(db, chain, hold_id, {"hold_id": hold_id, "checkout": fact.get("reference")})
    for part in (hold, fact, fact.get("step")):
        if isinstance(part, dict):
            trace = part.get("trace")
            learn(db, chain, hold_id, {**(trace if isinstance(trace, dict) else {}), "key": part.get("key")})


def learn_term(db: Connection, chain: dict[str, Any], hold_id: str, capture_before_utc_ms: int | None) -> None:
    """Until when the gateway lets a hold be captured, if it said so."""
    if capture_before_utc_ms is None:
        return
    place = _place(chain, hold_id)
    where = sa.and_(*(hold_terms.c[column] == one for column, one in place.items()))
    db.execute(hold_terms.delete().where(where))
    db.execute(hold_terms.insert().values(**place, capture_before_utc_ms=capture_before_utc_ms))


def _place(chain: dict[str, Any], hold_id: str) -> dict[str, Any]:
    return {"terminal": chain["terminal"], "chain_id": chain["chain_id"], "hold_id": hold_id}
