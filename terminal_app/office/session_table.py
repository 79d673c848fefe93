"""Sessions as a table for the people of drivers and operators: one line each, RFC 4180, fixed header, no locale.

Every figure is read from the sealed record; times are local to the site, with their offset. Records that do not verify, or lie in
quarantine, are left out: `charge-office sessions` lists them.
"""

import json
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from terminal_app import units
from terminal_app.billing.exports.table import csv_line
from terminal_app.office import queries
from terminal_app.office.closing_energy import is_test
from terminal_app.office.local_time import moment_text
from terminal_app.office.sealed import Opener

HEADER = (
    "session_id", "site", "station", "port", "ac_dc", "start", "end", "duration_s", "charging_s", "energy_kwh", "activation",
    "fees_energy", "fees_time", "fees_session", "fees_idle", "fees_other", "net", "tax", "total", "currency", "payment_status",
    "refunded", "receipt_number",
)  # fmt: skip
_FEES = {"energy": "fees_energy", "time": "fees_time", "flat": "fees_session", "parking": "fees_idle"}


def csv_of(db: Connection, limit: int) -> str:
    """The newest first."""
    opener, lines = Opener(db), [csv_line(HEADER)]
    for row in queries.sessions(db, limit):
        if sealed := opener.record(row["terminal"], row["chain_id"], row["seq"]):
            found = _row(sealed.payload) | _money(row)
            lines.append(csv_line(tuple(str(found.get(name, "")) for name in HEADER)))
    return "".join(lines)


def _row(session: dict[str, Any]) -> dict[str, Any]:
    where, totals = ZoneInfo(session["site"]["time_zone"]), session["totals"]
    fees = dict.fromkeys(("fees_energy", "fees_time", "fees_session", "fees_idle", "fees_other"), 0)
    for line in session["lines"]:
        fees[_FEES.get(line["kind"], "fees_other")] += line["gross_minor"]
    begin, end = session["begin"]["utc_ms"], session["end"]["utc_ms"]
    minor = fees | {"net": totals["net_minor"], "tax": totals["vat_minor"], "total": totals["total_minor"]}
    return {
        "session_id": session["session_id"],
        "site": session["site"]["station"],
        "station": session["terminal"],
        "port": session["connector"],
        "ac_dc": _current(session),
        "start": moment_text(begin, where),
        "end": moment_text(end, where),
        "duration_s": (end - begin) // 1000,
        "charging_s": session["charging_ms"] // 1000,
        "energy_kwh": units.kwh(session["energy_wh"]),
        "activation": "test" if is_test(session) else _activation(session["payment"]),
        "currency": totals["currency"],
        "receipt_number": session["receipt"]["number"],
        **{name: units.major(value, totals["currency"]) for name, value in minor.items()},
    }


def _activation(payment: dict[str, Any] | None) -> str:
    """How the charge was opened: the way of the card, "page" for a phone, "free"; a technician's run is a "test"."""
    if payment is None:
        return "free"
    card = payment.get("card") or {}
    return str(card.get("entry", "card")) if card else "page"


def _current(session: dict[str, Any]) -> str:
    """AC or DC as the measurement says it (OCMF RD[0].RT); "" if it does not."""
    section = session["ocmf"]["record"].split("|")
    try:
        readings = json.loads(section[1])["RD"] if len(section) == 3 else []
        return str(readings[0].get("RT", "")) if readings else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""  # in a form of another meter: not told


def _money(row: dict[str, Any]) -> dict[str, Any]:
    status = row["settled"] or ("settling" if row["hold_id"] else "free")
    return {"payment_status": status, "refunded": units.major(int(row["refunded_minor"]), row["currency"])}
