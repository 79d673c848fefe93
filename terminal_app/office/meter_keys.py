"""Public keys of meters that sign their own readings: the first one a verified record shows is kept, and a person compares it with
the meter's label; every other one sends the record to quarantine, until the operator keeps another key by name."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store
from terminal_app.office.verify import Verdict


def known(db: Connection, terminal: str) -> dict[str, str]:
    """Serial number -> SPKI, hex."""
    table = store.meter_keys
    return {row.serial: row.spki for row in db.execute(sa.select(table).where(table.c.terminal == terminal))}


def first_seen(db: Connection, terminal: str, chain_id: str, kept: dict[str, str], verdict: Verdict) -> None:
    """Keep the key of an accepted record whose meter is new, also in `kept`."""
    payload = verdict.payload or {}
    spki = "" if verdict.reason or payload.get("type") != "session" else payload["ocmf"].get("meter_key", "")
    if not spki or payload["meter"]["serial"] in kept:
        return
    serial, key_id = payload["meter"]["serial"], payload["ocmf"]["key"]
    kept[serial] = spki
    keep(db, terminal, serial, key_id, spki)
    detail = f"meter {serial} signs with key {key_id}, seen for the first time: compare it with the meter's label"
    store.alarm(db, terminal, chain_id, "meter-key", detail)


def find(db: Connection, terminal: str, serial: str) -> dict[str, Any] | None:
    row = db.execute(sa.select(store.meter_keys).where(_one(terminal, serial))).mappings().first()
    return None if row is None else dict(row)


def keep(db: Connection, terminal: str, serial: str, key_id: str, spki: str) -> None:
    """This and no other is the meter's key from here on."""
    db.execute(store.meter_keys.delete().where(_one(terminal, serial)))
    row = {"terminal": terminal, "serial": serial, "key_id": key_id, "spki": spki, "added_utc_ms": store.now_ms()}
    db.execute(store.meter_keys.insert().values(**row))


def _one(terminal: str, serial: str) -> sa.ColumnElement[bool]:
    return (store.meter_keys.c.terminal == terminal) & (store.meter_keys.c.serial == serial)
