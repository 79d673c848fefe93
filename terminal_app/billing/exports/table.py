"""Records as rows of one CSV table: RFC 4180, fixed header, UTF-8, no locale. Money in major units with a point. PURE."""

import csv
import io
import re
from typing import Any

from terminal_app import units
from terminal_app.billing.exports.ocpi import utc_text

__all__ = ["HEADER", "csv_header", "csv_line", "csv_row"]

HEADER = (
    "terminal", "chain_id", "seq", "type", "created", "demo", "session_id", "authorization_reference", "connector", "evse_id",
    "begin", "end", "clock", "charging_s", "parking_s", "meter_serial", "start_wh", "stop_wh", "energy_wh", "tariff_id",
    "tariff_fingerprint", "currency", "net", "vat", "total", "how", "amount", "authorized", "card_brand", "card_last4",
    "stop_reason", "interrupted", "receipt_number", "detail", "sha256",
)  # fmt: skip


_COMMANDS = "=+-@\t\r\n"
_NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")


def csv_header() -> str:
    return csv_line(HEADER)


def csv_row(record: dict[str, Any], sha256: str) -> str:
    """One opened record of any type; what a type does not have stays empty."""
    found = {
        name: record.get(name, "") for name in ("terminal", "chain_id", "seq", "type", "session_id", "authorization_reference")
    }
    found |= {"created": utc_text(record["created"]["utc_ms"]), "demo": _yes(record["demo"]), "sha256": sha256}
    found["receipt_number"] = record.get("receipt", {}).get("number", "")
    if record["type"] == "session":
        found |= _session(record)
    elif record["type"] == "settlement":
        currency = record["currency"]
        found |= {"how": record["how"], "currency": currency, "detail": record["detail"]}
        found |= {"amount": _money(record["amount_minor"], currency), "authorized": _money(record["authorized_minor"], currency)}
        found |= {"end": utc_text(record["ended"]["utc_ms"]), "clock": record["ended"]["clock"]}
    elif record["type"] == "credit":
        totals = record["totals"]
        found |= {"currency": totals["currency"], "detail": record["reason"]}
        found |= {key: _money(totals[f"{key}_minor"], totals["currency"]) for key in ("net", "vat", "total")}
    return csv_line(tuple(str(found.get(name, "")) for name in HEADER))


def _session(record: dict[str, Any]) -> dict[str, Any]:
    totals, payment = record["totals"], record["payment"] or {}
    card = payment.get("card") or {}
    currency = totals["currency"]
    return {
        "connector": record["connector"],
        "evse_id": record["evse_id"],
        "begin": utc_text(record["begin"]["utc_ms"]),
        "end": utc_text(record["end"]["utc_ms"]),
        "clock": max(record["begin"]["clock"], record["end"]["clock"], key="SIU".index),
        "charging_s": record["charging_ms"] // 1000,
        "parking_s": record["parking_ms"] // 1000,
        "meter_serial": record["meter"]["serial"],
        "start_wh": record["register"]["start_wh"],
        "stop_wh": record["register"]["stop_wh"],
        "energy_wh": record["energy_wh"],
        "tariff_id": record["tariff"]["id"],
        "tariff_fingerprint": record["tariff"]["fingerprint"],
        "currency": currency,
        "net": _money(totals["net_minor"], currency),
        "vat": _money(totals["vat_minor"], currency),
        "total": _money(totals["total_minor"], currency),
        "authorized": _money(payment["authorized_minor"], currency) if payment else "",
        "card_brand": card.get("brand", ""),
        "card_last4": card.get("last4", ""),
        "stop_reason": record["stop"]["reason"],
        "interrupted": _yes(record["stop"]["interrupted"]),
    }


def _money(minor: int, currency: str) -> str:
    return str(units.major(minor, currency))


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def csv_line(cells: tuple[str, ...]) -> str:
    """One line of RFC 4180, also for other tables."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(_harmless(cell) for cell in cells)
    return out.getvalue()


def _harmless(cell: str) -> str:
    """A text that a spreadsheet would run as a formula is kept a text; numbers stay numbers."""
    return f"'{cell}" if cell[:1] in _COMMANDS and cell and not _NUMBER.fullmatch(cell) else cell
