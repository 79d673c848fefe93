"""What an invoice is made of: the session with its money and its credits, from signed bytes, and the documents about it so far."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.invoice import Document
from terminal_app.office import queries, store
from terminal_app.office.document_tables import invoices
from terminal_app.office.local_time import month_ms, zone
from terminal_app.office.sealed import Opener, Sealed

MAX_LISTED = 50_000
BUYER, CANCEL, CREDIT = "buyer", "cancel", "credit"
ENDS = (BUYER, CANCEL)
"""Causes of the credit notes that take back all that is left of an invoice."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A session with its money and its credits, from the signed bytes, and the documents about it."""

    sealed: Sealed
    captured_minor: int
    given_back_minor: int
    credits: tuple[Sealed, ...]
    documents: tuple[Row, ...]
    why_not: str

    @property
    def current(self) -> Row | None:
        """The invoice in force: no credit note ended it."""
        ended = {row["about"] for row in self.documents if row["cause"] in ENDS}
        alive = [row for row in self.documents if row["kind"] == "invoice" and row["number"] not in ended]
        return alive[-1] if alive else None

    def notes(self, number: str) -> list[Row]:
        return [row for row in self.documents if row["about"] == number]


def of_month(db: Connection, month: str, time_zone: str) -> list[Row]:
    """All documents issued in a local month, in the order of their numbers. ValueError: no such month, or too many."""
    begin_ms, end_ms = month_ms(month, zone(time_zone))
    c = invoices.c
    question = sa.select(invoices).where((c.issued_utc_ms >= begin_ms) & (c.issued_utc_ms < end_ms)).limit(MAX_LISTED + 1)
    rows = [dict(row) for row in db.execute(question.order_by(c.series, c.running)).mappings()]
    if len(rows) > MAX_LISTED:
        raise ValueError(f"{month} has more than {MAX_LISTED} documents")
    return rows


def by_number(db: Connection, number: str) -> Row | None:
    found = db.execute(sa.select(invoices).where(invoices.c.number == number)).mappings().first()
    return dict(found) if found else None


def document_of(row: Row) -> Document:
    return msgspec.json.decode(row["content"], type=Document)


def documents_about(db: Connection, sealed: Sealed) -> tuple[Row, ...]:
    c = invoices.c
    where = (c.terminal == sealed.terminal) & (c.chain_id == sealed.chain_id) & (c.seq == sealed.seq)
    return tuple(dict(row) for row in db.execute(sa.select(invoices).where(where).order_by(c.place)).mappings())


def case_of_code(db: Connection, code: str) -> Case | None:
    rows = queries.sessions(db, 1, code)
    if not rows:
        return None
    row = queries.record(db, rows[0]["terminal"], rows[0]["seq"], rows[0]["chain_id"])
    if row is not None and row["quarantine"]:
        return Case(Sealed(row["terminal"], row["chain_id"], row["seq"], row["sha256"], {}), 0, 0, (), (), "review")
    return case_of_session(db, Opener(db).opened(row) if row else None)


def again(db: Connection, case: Case) -> Case:
    """The case with the documents written meanwhile in this commit."""
    return replace(case, documents=documents_about(db, case.sealed))


def case_of_session(db: Connection, sealed: Sealed | None) -> Case | None:
    if sealed is None or sealed.payload["type"] != "session":
        return None
    settlements = _sealed_about(db, sealed, "settlement")
    mine = [
        one.payload for one in settlements if one.payload["authorization_reference"] == sealed.payload["authorization_reference"]
    ]
    ends = [one for one in mine if one["how"] not in ("refunded", "refused")]
    given_back = sum(one["amount_minor"] for one in mine if one["how"] == "refunded")
    credits = tuple(one for one in _sealed_about(db, sealed, "credit") if one.payload["credits"]["sha256"] == sealed.sha256)
    captured = ends[-1]["amount_minor"] if ends and ends[-1]["how"] == "captured" else 0
    why_not = _why_not(sealed.payload, ends, captured, given_back, sum(one.payload["totals"]["total_minor"] for one in credits))
    return Case(sealed, captured, given_back, credits, documents_about(db, sealed), why_not)


def _sealed_about(db: Connection, sealed: Sealed, record_type: str) -> list[Sealed]:
    """Accepted records of a type about the session, opened, in the order of their numbers."""
    r = store.records.c
    where = (r.terminal == sealed.terminal) & (r.session_id == sealed.payload["session_id"]) & (r.type == record_type)
    opener = Opener(db)
    rows = db.execute(sa.select(store.records).where(where).order_by(r.chain_id, r.seq)).mappings().all()
    return [one for row in rows if (one := opener.opened(dict(row))) is not None]


def _why_not(session: Row, ends: list[Row], captured_minor: int, given_back_minor: int, credited_minor: int) -> str:
    """ "" = an invoice can be had; else a word of the pages (not_...)."""
    if session["payment"] is None or session["totals"]["total_minor"] <= 0:
        return "unpaid"
    if not ends:
        return "settling"
    if ends[-1]["how"] == "manual":
        return "manual"
    if captured_minor <= 0:
        return "unpaid"
    taxed = any(line["vat_percent"] for line in session["lines"])
    if taxed and not session["seller"]["vat_id"] and not session["demo"]:
        return "seller"  # section 14 (4) no. 2 UStG, Art. 226 (3): without it the paper is no invoice
    if given_back_minor >= captured_minor or session["totals"]["total_minor"] + credited_minor <= 0:
        return "given_back"
    return ""
