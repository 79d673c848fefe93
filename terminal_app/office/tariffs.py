"""Tariffs on their way to terminals: signed by the office, ordered as commands, and what the terminals say they took."""

import json
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.model import Tariff
from terminal_app.billing.tariff_file import TariffFile, make_tariff_file, open_tariff_file, seal_tariff_file
from terminal_app.errors import SignatureInvalid, TariffRefused
from terminal_app.office import store
from terminal_app.office.command_tables import commands
from terminal_app.office.signing import OfficeKey

ACT = "tariff.set"
TAKEN = "tariff_taken"
ON_ITS_WAY = ("waiting", "taken", "done")


def next_version() -> int:
    """Seconds since 1970: rises by itself, whoever signs next and wherever."""
    return int(time.time())


def sign(tariff: Tariff, key: OfficeKey, version: int, valid_from_utc_ms: int, valid_until_utc_ms: int | None) -> str:
    """A signed tariff file by the office's key. ValueError if its validity contradicts itself."""
    signing = make_tariff_file(TariffFile(tariff, version, valid_from_utc_ms, valid_until_utc_ms), key.key_id)
    return seal_tariff_file(signing, key.sign(signing))


def is_sent(db: Connection, key: OfficeKey, terminal: str, connectors: Sequence[int], tariff: Tariff) -> bool:
    """Whether the last order for these connectors brought this very tariff, until further notice, and was not refused."""
    c = commands.c
    question = sa.select(c.args, c.state).where((c.terminal == terminal) & (c.act == ACT)).order_by(c.number.desc()).limit(50)
    for args, state in db.execute(question).all():
        sent = json.loads(args)
        if set(sent["connectors"]) & set(connectors):
            same = set(sent["connectors"]) >= set(connectors) and state in ON_ITS_WAY
            return same and _carries(sent["jws"], key, tariff)
    return False


def _carries(jws: str, key: OfficeKey, tariff: Tariff) -> bool:
    try:
        file = open_tariff_file(jws.encode(), key.public_pem)
    except (SignatureInvalid, TariffRefused):
        return False  # signed by another key, or before a rule that refuses it now
    return file.tariff.fingerprint == tariff.fingerprint and file.valid_until_utc_ms is None


def listed(db: Connection, terminal: str, limit: int) -> list[dict[str, Any]]:
    """What terminals took, newest first, as they told it; and orders that no terminal has taken, with the reason."""
    f, c = store.facts.c, commands.c
    taken = sa.select(f.terminal, f.utc_ms, f.body).where(f.kind == TAKEN).order_by(f.utc_ms.desc()).limit(limit)
    orders = sa.select(c.terminal, c.issued_utc_ms, c.args, c.state, c.answer).where((c.act == ACT) & (c.state != "done"))
    orders = orders.order_by(c.issued_utc_ms.desc()).limit(limit)
    if terminal:
        taken, orders = taken.where(f.terminal == terminal), orders.where(c.terminal == terminal)
    rows = [_taken(*row) for row in db.execute(taken).all()]
    rows += [_ordered(*row) for row in db.execute(orders).all()]
    return sorted(rows, key=lambda row: -int(row["utc_ms"]))[:limit]


def _taken(terminal: str, utc_ms: int, body: str) -> dict[str, Any]:
    fact = json.loads(body)
    names = ("version", "valid_from_utc_ms", "valid_until_utc_ms", "fingerprint", "source")
    row = {"terminal": terminal, "utc_ms": utc_ms, "connectors": [fact.get("connector")], "state": "taken"}
    return row | {"tariff": _id_of(fact.get("tariff"))} | {name: fact.get(name) for name in names} | {"answer": ""}


def _id_of(text: Any) -> str:
    """Facts are read leniently here: they come from another program, perhaps a newer one."""
    try:
        return str(json.loads(text)["id"])
    except (TypeError, KeyError, ValueError):
        return ""


def _ordered(terminal: str, utc_ms: int, args: str, state: str, answer: str) -> dict[str, Any]:
    connectors = json.loads(args)["connectors"]
    names = ("tariff", "version", "valid_from_utc_ms", "valid_until_utc_ms", "fingerprint")
    row = {"terminal": terminal, "utc_ms": utc_ms, "connectors": connectors, "state": f"order {state}"}
    return row | dict.fromkeys(names, "") | {"source": "office", "answer": answer}
