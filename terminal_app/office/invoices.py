"""Invoices per session: issued on request, taken back by credit notes, never changed, numbered without a gap.

Number, document and its PDF are written in one commit. A session has at most one invoice in force: asking again gives the same
one; other buyer data takes it back and issues a new one. A sealed credit of the session becomes a credit note by itself
(`follow_credits`). What may have an invoice is said by `Offer.why_not`. Moves no money.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.invoice import Buyer, Document, credit_note, invoice, record_document_lines
from terminal_app.office import numbering, store
from terminal_app.office.accounts import Refused
from terminal_app.office.document_tables import invoices
from terminal_app.office.invoice_cases import (
    BUYER,
    CANCEL,
    CREDIT,
    ENDS,
    MAX_LISTED,
    Case,
    Row,
    again,
    by_number,
    case_of_code,
    case_of_session,
    document_of,
    documents_about,
)
from terminal_app.office.invoice_paper import pdf_invoice
from terminal_app.office.local_time import day_of, zone
from terminal_app.office.sealed import Opener

MAX_DOCUMENTS = 12
"""Per session, so that nobody fills the books by changing the buyer again and again."""
_ALL = "invoices"
"""The series of nothing: its row is locked by whoever writes any invoice."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a receipt's page may do. `why_not` "" = an invoice can be had; `current` is the one in force, `documents` all so far."""

    why_not: str
    documents: tuple[Row, ...] = ()
    current: Row | None = None


class Invoices:
    """Thread-safe; every method is one commit. Refused (code for the page), SQLAlchemyError (then nothing was issued)."""

    def __init__(self, database: store.Store, time_zone: str = "UTC", series: str = "INV") -> None:
        """ValueError for an unknown time zone. The year of a number is the year of that zone."""
        self._database, self._time_zone, self._series, self._zone = database, time_zone, series, zone(time_zone)

    def offer(self, code: str) -> Offer:
        with self._database.read() as db:
            case = case_of_code(db, code)
        if case is None:
            return Offer("unknown")
        return Offer(case.why_not, case.documents, case.current)

    def issue(self, code: str, buyer: Buyer, language: str) -> Row:
        """The invoice in force for this buyer."""
        with self._database.write() as db:
            numbering.locked(db, _ALL)
            case = case_of_code(db, code)
            if case is None:
                raise Refused(404, "not_unknown", "there is no such record")
            current = case.current
            if current is not None and document_of(current).buyer == buyer:
                return current
            if case.why_not:
                raise Refused(409, f"not_{case.why_not}", f"no invoice: {case.why_not}")
            if len(case.documents) + 2 + len(case.credits) > MAX_DOCUMENTS:
                raise Refused(429, "too_often", f"a session has at most {MAX_DOCUMENTS} documents")
            if current is not None:
                self._take_back(db, case, current, BUYER, "", "")
            row = self._invoice(db, case, buyer, language)
            self._follow(db, again(db, case))
            return row

    def cancel(self, number: str, actor: str, reason: str) -> Row:
        """The credit note that takes back what is left of an invoice. Again: the same one."""
        with self._database.write() as db:
            numbering.locked(db, _ALL)
            row = by_number(db, number)
            if row is None or row["kind"] != "invoice":
                raise Refused(404, "unknown", f"there is no invoice {number}")
            case = case_of_session(db, Opener(db).record(row["terminal"], row["chain_id"], row["seq"]))
            if case is None:
                raise Refused(409, "unreadable", f"the record of invoice {number} cannot be opened any more")
            ended = [note for note in case.notes(number) if note["cause"] in ENDS]
            return ended[0] if ended else self._take_back(db, case, row, CANCEL, actor, reason)

    def follow_credits(self) -> list[str]:
        """A credit note for every sealed credit of a session whose invoice is in force. Their numbers. An alarm tells of one that
        cannot be made."""
        r, i = store.records, invoices
        same = (r.c.terminal == i.c.terminal) & (r.c.session_id == i.c.session_id)
        note = i.alias()
        told = sa.exists().where((note.c.about == i.c.number) & (note.c.cause.in_((*ENDS, sa.literal("credit:") + r.c.sha256))))
        open_ = (
            sa.select(i.c.terminal, i.c.chain_id, i.c.seq)
            .select_from(r.join(i, same))
            .where((r.c.type == "credit") & (r.c.quarantine == "") & (i.c.kind == "invoice") & ~told)
        )
        with self._database.read() as db:
            waiting = db.execute(open_.distinct().limit(MAX_LISTED)).all()
        issued: list[str] = []
        for place in waiting:
            try:
                with self._database.write() as db:
                    numbering.locked(db, _ALL)
                    case = case_of_session(db, Opener(db).record(*place))
                    issued += self._follow(db, case) if case else []
            except ValueError as error:  # it does not fit its invoice: nothing was issued, and the next ones do not wait for it
                with self._database.write() as db:
                    store.alarm(db, place[0], place[1], "credit-note", f"no credit note for record {place[2]}: {error}")
        return issued

    # --- in the caller's commit, with all series locked ------------------------------------------------------------------

    def _invoice(self, db: Connection, case: Case, buyer: Buyer, language: str) -> Row:
        def made(number: str, now_ms: int) -> Document:
            return invoice(
                case.sealed.payload,
                number=number,
                issued_utc_ms=now_ms,
                time_zone=self._time_zone,
                language=language,
                buyer=buyer,
                captured_minor=case.captured_minor,
                given_back_minor=case.given_back_minor,
                record_sha256=case.sealed.sha256,
            )

        return self._written(db, case, made, cause="", actor="", reason="")

    def _take_back(self, db: Connection, case: Case, row: Row, cause: str, actor: str, reason: str) -> Row:
        original, before = document_of(row), [document_of(note) for note in case.notes(row["number"])]

        def made(number: str, now_ms: int) -> Document:
            return credit_note(original, number=number, issued_utc_ms=now_ms, cause=cause, reason=reason, before=before)

        return self._written(db, case, made, cause=cause, actor=actor, reason=reason)

    def _follow(self, db: Connection, case: Case) -> list[str]:
        current = case.current
        if current is None:
            return []
        original, notes, issued = document_of(current), case.notes(current["number"]), []
        for credit in case.credits:
            cause = f"{CREDIT}:{credit.sha256}"
            if any(note["cause"] == cause for note in notes):
                continue
            lines = record_document_lines(credit.payload, case.sealed.payload["tariff"]["json"])
            reason, before = str(credit.payload["reason"])[:200], [document_of(note) for note in notes]

            def made(number: str, now_ms: int, lines: Any = lines, reason: str = reason, before: Any = before) -> Document:
                said = {"number": number, "issued_utc_ms": now_ms, "cause": CREDIT, "reason": reason}
                return credit_note(original, lines=lines, before=before, **said)  # type: ignore[arg-type]

            notes.append(self._written(db, case, made, cause=cause, actor="", reason=reason))
            issued.append(notes[-1]["number"])
        return issued

    def _written(
        self, db: Connection, case: Case, made: Callable[[str, int], Document], *, cause: str, actor: str, reason: str
    ) -> Row:
        """Takes the number, makes paper and row. All of it or nothing: the caller's commit decides."""
        now = store.now_ms()
        prefix = f"DEMO-{self._series}" if case.sealed.payload["demo"] else self._series
        series = f"{prefix}-{day_of(now, self._zone).year:04d}"
        running = numbering.take(db, series)
        document = made(f"{series}-{running:06d}", now)
        places = [int(row["place"]) for row in documents_about(db, case.sealed)]
        row = {
            "number": document.number,
            "series": series,
            "running": running,
            "kind": "credit" if document.about else "invoice",
            "terminal": case.sealed.terminal,
            "chain_id": case.sealed.chain_id,
            "seq": case.sealed.seq,
            "place": max(places, default=0) + 1,
            "session_id": document.session_id,
            "receipt_number": document.receipt_number,
            "about": document.about,
            "cause": cause,
            "actor": actor,
            "reason": reason,
            "currency": document.currency,
            "net_minor": document.net_minor,
            "vat_minor": document.vat_minor,
            "gross_minor": document.gross_minor,
            "issued_utc_ms": now,
            "content": msgspec.json.encode(document).decode(),
            "pdf": pdf_invoice(document),
        }
        db.execute(invoices.insert().values(**row))
        return row
