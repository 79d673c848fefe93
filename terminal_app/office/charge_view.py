"""What the office knows of a charge: from the terminal's facts while it runs, from its signed record afterwards. Reads only.

Figures of a running charge are those of its last checkpoint, so they may be minutes old; the record has the last word.
"""

import base64
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.model import NO_RESTRICTION, Tariff, TaxIncluded
from terminal_app.billing.tariff import parse_tariff
from terminal_app.errors import TariffRefused
from terminal_app.office import store
from terminal_app.office.command_tables import commands, gateway_references
from terminal_app.office.derived import LIVE_STATES

STARTING, PAID, OPENED, CHARGING, STOPPING = "starting", "paid", "opened", "charging", "stopping"
BILLING, BILLED, NOTHING, RELEASED = "billing", "billed", "nothing", "released"
OVER = (BILLED, NOTHING, RELEASED)
UNHEARD_MS = 7 * 86_400_000
MOST_TARIFFS = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """`phase` is one of the words above; None = not known (yet). `stop`: what became of the newest order to stop, "" = none."""

    phase: str
    station: str
    connector: int
    held_minor: int
    currency: str
    session_id: str = ""
    energy_wh: int | None = None
    cost_minor: int | None = None  # so far, or the total
    heard_utc_ms: int | None = None
    stop: str = ""
    receipt_code: str = ""
    settled: str = ""  # captured | voided | manual
    ended_utc_ms: int = 2**53

    @property
    def can_stop(self) -> bool:
        return self.phase in (OPENED, CHARGING)

    @property
    def over(self) -> bool:
        return self.phase in OVER


@dataclass(frozen=True, slots=True)
class Offer:
    """What a connector sells, as its terminal told at its last start, and for what hold. The terminal refuses another `tariff`."""

    station: str
    prices: tuple[tuple[str, Decimal], ...]  # dimension, price per kWh, h or session, taxes included
    currency: str
    hold_minor: int
    tariff: str  # fingerprint


def seen(db: Connection, row: dict[str, Any]) -> Seen:
    """Of a row of phone_charges."""
    stop = db.execute(sa.select(commands.c.state).where(commands.c.command_id == row["stop_command_id"])).scalar() or ""
    known: dict[str, Any] = {name: row[name] for name in ("station", "connector", "held_minor", "currency")} | {"stop": stop}
    if row["state"] == "released":
        return Seen(RELEASED, **known, settled="voided", ended_utc_ms=row["changed_utc_ms"])
    hold = _hold(db, row["terminal"], row["key"])
    if hold is None:
        phase = STARTING if row["state"] == "asked" else PAID
        return Seen(phase, **known, ended_utc_ms=row["made_utc_ms"] + UNHEARD_MS)
    known["session_id"] = hold["session_id"]
    record = _first(db, store.sessions, _same(store.sessions, hold))
    settled = _settled(db, hold)
    if record is not None:
        known |= {"energy_wh": record["energy_wh"], "cost_minor": record["total_minor"], "receipt_code": record["receipt_code"]}
        return Seen(BILLED, **known, settled=settled, ended_utc_ms=_came(db, record))
    live = _first(db, store.live, _same(store.live, hold))
    if live is None:
        return Seen(PAID, **known, settled=settled)
    known |= {"heard_utc_ms": live["changed_utc_ms"], "settled": settled}
    state = live["state"]
    if state not in (*LIVE_STATES, "ended"):
        return Seen(NOTHING, **known, ended_utc_ms=max(live["changed_utc_ms"], row["made_utc_ms"]))
    known |= {"energy_wh": live["energy_wh"], "cost_minor": _cost(db, live)}
    return Seen(BILLING if state == "ended" else state, **known)


def is_busy(db: Connection, terminal: str, connector: int) -> bool:
    c = store.live.c
    mine = (c.terminal == terminal) & (c.connector == connector) & c.state.in_(LIVE_STATES)
    return db.execute(sa.select(c.session_id).where(mine & (c.chain_id == _chain(db, terminal)))).first() is not None


def offer(db: Connection, terminal: str, connector: int) -> Offer | None:
    """None: nothing was ever sold there at the tariff it has now, or that has no simple words."""
    c, r = store.sessions.c, store.records.c
    mine = (c.terminal == terminal) & (c.connector == connector) & (c.chain_id == _chain(db, terminal)) & (c.hold_id != "")
    same = (r.terminal == c.terminal) & (r.chain_id == c.chain_id) & (r.seq == c.seq) & (r.quarantine == "")
    question = sa.select(c.session_id, c.currency, r.jws).select_from(store.sessions.join(store.records, same))
    last = db.execute(question.where(mine).order_by(c.seq.desc()).limit(1)).first()
    tariff = _tariff(db, terminal, last.session_id) if last else None
    if last is None or tariff is None or tariff.min_price is not None or tariff.max_price is not None:
        return None
    started = _newest(db, store.facts.c.terminal == terminal, "terminal_booted")
    now = _taken_since(db, terminal, connector) or started.get("tariffs", {}).get(str(connector))
    if now != tariff.fingerprint or not int(started.get("hold_minor", 0)):
        return None
    prices = tuple((one.type.value, one.price) for one in tariff.components)
    return Offer(_station_of(last.jws), prices, last.currency, int(started["hold_minor"]), tariff.fingerprint)


def _taken_since(db: Connection, terminal: str, connector: int) -> str:
    """Fingerprint of the tariff that a connector took, or that began, since its terminal's last start; "" if there is none."""
    f = store.facts.c
    mine = (f.terminal == terminal) & (f.chain_id == _chain(db, terminal))
    started = db.execute(
        sa.select(f.seq, f.utc_ms).where(mine & (f.kind == "terminal_booted")).order_by(f.seq.desc()).limit(1)
    ).first()
    if started is None:
        return ""
    now_ms = store.now_ms()
    recent = sa.select(f.seq, f.body).where(mine & (f.kind == "tariff_taken")).order_by(f.seq.desc()).limit(MOST_TARIFFS)
    for seq, body in db.execute(recent).all():
        fact = json.loads(body)
        begin, end = int(fact.get("valid_from_utc_ms", 0)), fact.get("valid_until_utc_ms")
        new = seq > started.seq or begin > started.utc_ms
        if fact.get("connector") == connector and new and begin <= now_ms and (end is None or now_ms < int(end)):
            return str(fact.get("fingerprint", ""))
    return ""


def _station_of(jws: str) -> str:
    """Of an accepted record, so it has the form."""
    part = jws.split(".")[1]
    payload = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return str(payload["site"]["station"])


def _hold(db: Connection, terminal: str, key: str) -> dict[str, Any] | None:
    h, r = store.holds.c, gateway_references.c
    same = (r.terminal == h.terminal) & (r.chain_id == h.chain_id) & (r.hold_id == h.hold_id)
    question = sa.select(store.holds).join(gateway_references, same).where((r.reference == key) & (h.terminal == terminal))
    found = db.execute(question).mappings().first()
    return dict(found) if found else None


def _came(db: Connection, record: dict[str, Any]) -> int:
    """When a session's record came, by the office's clock."""
    c = store.records.c
    mine = sa.and_(*(c[name] == record[name] for name in ("terminal", "chain_id", "seq")))
    return int(db.execute(sa.select(c.stored_utc_ms).where(mine)).scalar_one())


def _settled(db: Connection, hold: dict[str, Any]) -> str:
    m = store.settlements.c
    mine = (m.terminal == hold["terminal"]) & (m.chain_id == hold["chain_id"]) & (m.hold_id == hold["hold_id"])
    return str(db.execute(sa.select(m.how).where(mine)).scalar() or "")


def _same(table: sa.Table, hold: dict[str, Any]) -> sa.ColumnElement[bool]:
    c = table.c
    mine: sa.ColumnElement[bool] = (
        (c.terminal == hold["terminal"]) & (c.chain_id == hold["chain_id"]) & (c.session_id == hold["session_id"])
    )
    return mine


def _first(db: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> dict[str, Any] | None:
    found = db.execute(sa.select(table).where(where)).mappings().first()
    return dict(found) if found else None


def _chain(db: Connection, terminal: str) -> str:
    return str(db.execute(sa.select(store.terminals.c.chain_id).where(store.terminals.c.terminal == terminal)).scalar() or "")


def _fact(db: Connection, terminal: str, session_id: str, kind: str) -> dict[str, Any]:
    """The newest one of a kind in a session; empty if there is none."""
    f = store.facts.c
    return _newest(db, (f.terminal == terminal) & (f.session_id == session_id), kind)


def _newest(db: Connection, where: sa.ColumnElement[bool], kind: str) -> dict[str, Any]:
    f = store.facts.c
    question = sa.select(f.body).where(where & (f.kind == kind)).order_by(f.stored_utc_ms.desc(), f.seq.desc()).limit(1)
    body = db.execute(question).scalar()
    return dict(json.loads(body)) if body else {}


def _tariff(db: Connection, terminal: str, session_id: str) -> Tariff | None:
    """The session's tariff if it can be said in one line: always the same prices, taxes included."""
    try:
        tariff = parse_tariff(_fact(db, terminal, session_id, "session_opened")["tariff"].encode())
    except (KeyError, AttributeError, ValueError, TariffRefused):
        return None
    steady = all(one.restrictions == NO_RESTRICTION for one in tariff.elements)
    return tariff if steady and tariff.tax_included is TaxIncluded.YES else None


def _cost(db: Connection, live: dict[str, Any]) -> int | None:
    """What the last checkpoint would cost; None where it is not known or cannot be told from one reading."""
    tariff = _tariff(db, live["terminal"], live["session_id"])
    point = _fact(db, live["terminal"], live["session_id"], "energy_checkpoint")
    if tariff is None or not point or not live["energy_wh"]:
        return None
    try:
        times_ms = int(point["charging_ms"]), int(point["parking_ms"])
        period = ChargingPeriod(int(point["value"]["stamp"]["utc_ms"]), live["energy_wh"], *times_ms)
        return cost_of(tariff, (period,), "UTC").total_minor
    except (KeyError, TypeError, ValueError, TariffRefused):
        return None
