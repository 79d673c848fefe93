"""What gateways did, as the office keeps it: imported reports, and its own account books, which are a gateway too."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store
from terminal_app.office.account_tables import account_holds
from terminal_app.office.gateway_report import Report, ReportRefused
from terminal_app.office.payment_tables import gateway_reports, gateway_rows
from terminal_app.office.payment_values import ACCOUNT_BOOKS, BOOKED_LATER_MS, CLOCKS_DIFFER_MS, KINDS, GatewayRow

_NAMES = tuple(field.name for field in fields(GatewayRow))
CHUNK = 400


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `dropped`: rows of an earlier report of the period that this one, put in its place, has not."""

    new: int
    known: int
    dropped: int


def take(database: store.Store, report: Report, replace: bool = False) -> Imported:
    """Keep the rows of a report, in one commit; what is there already is left alone, so the same file changes nothing.

    Equal rows in one report are different acts (two captures); equal rows of two reports are the same one told twice.
    `replace`: rows of this gateway in the report's period that it does not list go away. ReportRefused: a row names a terminal
    that is none of this office's (the acquirer's number of it, say), so that it could never be matched with a payment.
    """
    rows = dict(_named(report.rows))
    inside = (gateway_rows.c.gateway == report.gateway) & gateway_rows.c.utc_ms.between(report.from_utc_ms, report.until_utc_ms - 1)
    with database.write() as db:
        _terminals_known(db, report)
        there = set(db.execute(sa.select(gateway_rows.c.row_id).where(inside)).scalars())
        new = [{"row_id": row_id, **_values(row)} for row_id, row in rows.items() if row_id not in there]
        if new:
            db.execute(gateway_rows.insert(), new)
        gone = sorted(there - rows.keys()) if replace else []
        for at in range(0, len(gone), CHUNK):
            db.execute(gateway_rows.delete().where(gateway_rows.c.row_id.in_(gone[at : at + CHUNK])))
        said = {"gateway": report.gateway, "from_utc_ms": report.from_utc_ms, "until_utc_ms": report.until_utc_ms}
        said |= {"sha256": report.sha256, "kinds": ",".join(report.kinds)}
        r = gateway_reports
        if replace:
            within = (r.c.from_utc_ms >= report.from_utc_ms) & (r.c.until_utc_ms <= report.until_utc_ms)
            db.execute(r.delete().where((r.c.gateway == report.gateway) & within & (r.c.sha256 != report.sha256)))
        if db.execute(sa.select(r).where(sa.and_(*(r.c[name] == value for name, value in said.items())))).first() is None:
            db.execute(r.insert().values(**said, imported_utc_ms=store.now_ms()))
    return Imported(len(new), len(rows) - len(new), len(gone))


def _terminals_known(db: Connection, report: Report) -> None:
    named = {row.terminal for row in report.rows} - {""}
    unknown = sorted(named - set(db.execute(sa.select(store.terminals.c.terminal)).scalars())) if named else []
    if unknown:
        raise ReportRefused(
            f"column terminal: {unknown[0]!r} is no terminal of this office; it must be the id of `charge-office terminal add`. "
            "Leave the column out if the report has the acquirer's own numbers"
        )


def rows_since(db: Connection, since_utc_ms: int) -> list[GatewayRow]:
    """Reported rows and those of the account books."""
    question = sa.select(*(gateway_rows.c[name] for name in _NAMES)).where(gateway_rows.c.utc_ms >= since_utc_ms)
    return [GatewayRow(**dict(row)) for row in db.execute(question).mappings()] + _account_rows(db, since_utc_ms)


def spans(db: Connection, since_utc_ms: int, now_ms: int, account_gateways: set[str]) -> list[tuple[str, str, int, int]]:
    """For `Coverage`: what each gateway reports completely, no earlier than `since_utc_ms`. The account books do always."""
    found = []
    r = gateway_reports.c
    for gateway, begin, end, kinds in db.execute(sa.select(r.gateway, r.from_utc_ms, r.until_utc_ms, r.kinds)):
        found += [(gateway, kind, max(begin, since_utc_ms), end) for kind in kinds.split(",") if end > since_utc_ms]
    until = now_ms + BOOKED_LATER_MS - CLOCKS_DIFFER_MS
    return found + [(gateway, kind, since_utc_ms, until) for gateway in account_gateways for kind in KINDS]


def _named(rows: tuple[GatewayRow, ...]) -> Iterator[tuple[str, GatewayRow]]:
    before: Counter[GatewayRow] = Counter()
    for row in rows:
        before[row] += 1
        text = "\n".join((*(str(getattr(row, name)) for name in _NAMES), str(before[row])))
        yield hashlib.sha256(text.encode()).hexdigest(), row


def _values(row: GatewayRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _NAMES}


def _account_rows(db: Connection, since_utc_ms: int) -> list[GatewayRow]:
    """A hold released before it ever came (no account) holds nothing; one paid from a slice was held by the slice."""
    h = account_holds.c
    found = []
    question = sa.select(account_holds).where((h.changed_utc_ms >= since_utc_ms) & (h.account != ""))
    for row in db.execute(question).mappings():
        acts = [("hold", row["held_minor"], row["opened_utc_ms"])] if not row["slice_id"] else []
        if row["state"] == "voided":
            acts.append(("void", row["held_minor"], row["changed_utc_ms"]))
        elif row["state"] == "captured":
            acts.append(("capture", row["captured_minor"], row["changed_utc_ms"]))
        if row["refunded_minor"]:
            acts.append(("refund", row["refunded_minor"], row["changed_utc_ms"]))
        for kind, minor, utc_ms in acts:
            said = {"about": "", "ours": row["key"], "terminal": row["terminal"]}
            found.append(GatewayRow(ACCOUNT_BOOKS, row["hold"], kind, int(minor), row["currency"], int(utc_ms), **said))
    return found
