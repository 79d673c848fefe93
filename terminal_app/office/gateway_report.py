"""A gateway's own list of what it did, as a CSV file; any acquirer's settlement report becomes one by renaming columns.

UTF-8, comma, first line = header. Columns, in any order:
  reference     the gateway's name of this act (payment id, RRN, ...); needed
  kind          hold | capture | void | refund; needed (what a hold was raised by is a hold too)
  amount_minor  integer minor units, or
  amount        decimal in major units with a point, like 12.50; one of the two is needed; never negative
  currency      ISO 4217 code; needed
  utc           2026-11-26T16:25:00Z (or with an offset), or utc_ms: milliseconds since 1970; one of the two is needed
  about         the reference of the payment this act belongs to, if it has one of its own
  ours          our hold id or key, if the gateway carries it
  terminal      our terminal's id, if the gateway carries it; never the acquirer's own number of it
A file that is not understood in every line is refused as a whole: half a list would make discrepancies of its own.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from terminal_app import units
from terminal_app.office.payment_values import KINDS, GatewayRow

MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 500_000
MAX_MINOR = 10**12
NEEDED = frozenset(("reference", "kind", "currency"))
EITHER = (("amount_minor", "amount"), ("utc", "utc_ms"))
KNOWN = NEEDED.union(("about", "ours", "terminal"), *EITHER)


class ReportRefused(Exception):
    """Nothing was imported. The text is file:line: reason."""


@dataclass(frozen=True, slots=True)
class Report:
    """One gateway's list from `from_utc_ms` until before `until_utc_ms`; `kinds`: of these it lists all there were."""

    gateway: str
    from_utc_ms: int
    until_utc_ms: int
    kinds: tuple[str, ...]
    sha256: str
    rows: tuple[GatewayRow, ...]


def read_report(name: str, data: bytes, gateway: str, period: tuple[int, int], kinds: tuple[str, ...]) -> Report:
    """`name` is how the file is called in the reason; `period` from (inclusive), until (exclusive). ReportRefused."""
    if len(data) > MAX_BYTES:
        raise ReportRefused(f"{name}:1: larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportRefused(f"{name}:{data.count(10, 0, error.start) + 1}: is not UTF-8") from error
    rows: list[GatewayRow] = []
    for line, row in _rows(name, text, gateway):
        if len(rows) >= MAX_ROWS:
            raise ReportRefused(f"{name}:{line}: more than {MAX_ROWS} rows")
        if not period[0] <= row.utc_ms < period[1]:
            raise ReportRefused(f"{name}:{line}: lies outside the period the report is said to cover")
        rows.append(row)
    return Report(gateway, *period, kinds, hashlib.sha256(data).hexdigest(), tuple(rows))


def _rows(name: str, text: str, gateway: str) -> Iterator[tuple[int, GatewayRow]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for fields in lines:
            if not header:
                header = _header(fields)
            elif fields:
                if len(fields) != len(header):
                    raise ValueError(f"{len(fields)} fields, the header has {len(header)}")
                yield lines.line_num, _row(dict(zip(header, fields, strict=True)), gateway)
    except (csv.Error, ValueError) as error:
        raise ReportRefused(f"{name}:{max(lines.line_num, 1)}: {error}") from error
    if not header:
        raise ReportRefused(f"{name}:1: is empty; the first line names the columns")


def _header(fields: list[str]) -> list[str]:
    header = [field.strip() for field in fields]
    if unknown := sorted(set(header) - KNOWN):
        raise ValueError(f"column {unknown[0][:40]!r} is not known; columns are {', '.join(sorted(KNOWN))}")
    if len(set(header)) < len(header):
        raise ValueError("a column stands there twice")
    if missing := sorted(NEEDED - set(header)):
        raise ValueError(f"column {missing[0]} is missing")
    for first, second in EITHER:
        if (first in header) == (second in header):
            raise ValueError(f"one of the columns {first} and {second} is needed, and not both")
    return header


def _row(said: dict[str, str], gateway: str) -> GatewayRow:
    """ValueError says what is wrong with the line."""
    currency, kind = said["currency"].strip(), said["kind"].strip()
    units.exponent(currency)
    if kind not in KINDS:
        raise ValueError(f"kind {kind[:20]!r} is none of {', '.join(KINDS)}")
    reference = _text(said, "reference", 128)
    if not reference:
        raise ValueError("reference is empty")
    minor = _whole(said["amount_minor"], "amount_minor") if "amount_minor" in said else units.to_minor(said["amount"], currency)
    if not 0 <= minor <= MAX_MINOR or (minor == 0 and kind in ("capture", "refund")):
        raise ValueError(f"an amount of {minor} minor units cannot be a {kind}")
    utc_ms = _whole(said["utc_ms"], "utc_ms") if "utc_ms" in said else _moment(said["utc"])
    about, ours, terminal = _text(said, "about", 128), _text(said, "ours", 128), _text(said, "terminal", 36)
    return GatewayRow(gateway, reference, kind, minor, currency, utc_ms, "" if about == reference else about, ours, terminal)


def _text(said: dict[str, str], name: str, longest: int) -> str:
    text = said.get(name, "").strip()
    if len(text) > longest or not text.isprintable():
        raise ValueError(f"{name} is longer than {longest} characters or not printable")
    return text


def _whole(text: str, name: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise ValueError(f"{name} {text[:20]!r} is not a whole number")
    return int(text)


def _moment(text: str) -> int:
    """UTC ms of an ISO 8601 moment that says its offset."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"utc {text[:40]!r} is not a moment like 2026-11-26T16:25:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"utc {text[:40]!r} does not say its offset; UTC ends in Z")
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1000 + moment.microsecond // 1000
