"""Receipts as the office has them: found by code, made again from the signed bytes alone.

A code finds a session record or, for a hold that paid for nothing, the settlement record that carries the receipt. Nothing is
shown that the signature does not cover.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app import units
from terminal_app.billing.receipt import SHORT_CODE, ReceiptDocument, receipt_of, receipt_of_hold
from terminal_app.billing.record import open_record
from terminal_app.billing.signature import jws_key_id
from terminal_app.errors import SignatureInvalid
from terminal_app.office import queries, store
from terminal_app.office.receipt_tables import hold_receipts

CODE = re.compile(r"^[a-z2-7]{32}$", re.ASCII)
SHORT = re.compile(rf"^[a-z2-7]{{{SHORT_CODE}}}$", re.ASCII)
SHORT_AT_MOST = 20  # receipts whose codes begin alike: chance makes one, never so many


@dataclass(frozen=True, slots=True)
class Found:
    """What belongs to a code. `session` None: a hold that paid for nothing; its record is `settlement`, and `row` is that."""

    session: dict[str, Any] | None
    settlement: dict[str, Any] | None
    last: dict[str, Any] | None  # the newest end of the same hold, of one without a session
    row: dict[str, Any]
    refunded_minor: int = 0

    @property
    def payload(self) -> dict[str, Any]:
        found = self.session or self.settlement
        assert found is not None
        return found

    @property
    def waits_for_money(self) -> bool:
        return self.session is not None and self.settlement is None and self.session["payment"] is not None

    def document(self) -> ReceiptDocument:
        """KeyError, TypeError, ValueError and the like for a signed record that is not readable as a bill."""
        if self.session is not None:
            return receipt_of(self.session, self.settlement)
        return receipt_of_hold(self.payload, self.last)


class Receipts:
    """Reads the database; any thread."""

    def __init__(self, database: store.Store) -> None:
        self._database = database

    def find(self, code: str) -> Found | None:
        """None for a code that is none, or whose record has not arrived or does not verify."""
        if not CODE.match(code):
            return None
        with self._database.read() as db:
            if rows := queries.sessions(db, 1, code):
                return self._of_session(db, rows[0])
            h = hold_receipts
            row = db.execute(sa.select(h).where(h.c.receipt_code == code)).mappings().first()
            return self._of_hold(db, dict(row)) if row else None

    def by_short(self, short: str, amount: Decimal, day: str) -> str:
        """The full code of the one receipt that agrees in short code, amount taken (major units) and local day (YYYY-MM-DD) of
        begin or end; "" if there is none, or more than one."""
        if not SHORT.match(short):
            return ""
        s = store.sessions.c
        alike = s.receipt_code.between(short, short + "z" * (32 - SHORT_CODE))  # by the index, which LIKE does not use
        with self._database.read() as db:
            rows = db.execute(sa.select(s.receipt_code, s.capture_minor, s.currency).where(alike).limit(SHORT_AT_MOST)).all()
        codes = [str(code) for code, taken, currency in rows if units.major(taken, currency) == amount]
        fitting = [code for code in codes if (one := self.find(code)) is not None and day in _days(one)]
        return fitting[0] if len(fitting) == 1 else ""

    def key(self, terminal: str, key_id: str, purpose: str) -> bytes | None:
        """SPKI PEM of a registered key."""
        with self._database.read() as db:
            pem = queries.key(db, terminal, key_id, purpose)
        return pem.encode() if pem else None

    def whose_key(self, key_id: str) -> tuple[str, bytes] | None:
        """The terminal whose record key this is, and the key."""
        k = store.keys.c
        with self._database.read() as db:
            row = db.execute(sa.select(k.terminal, k.spki_pem).where((k.key_id == key_id) & (k.purpose == "record"))).first()
        return (str(row[0]), str(row[1]).encode()) if row else None

    def _of_session(self, db: Connection, row: dict[str, Any]) -> Found | None:
        session_row = queries.record(db, row["terminal"], row["seq"], row["chain_id"])
        settlement_row = queries.settlement_of(db, row)
        if session_row is None or (session := self._opened(session_row)) is None:
            return None
        settlement = self._opened(settlement_row) if settlement_row else None
        return Found(session, settlement, None, session_row, int(row["refunded_minor"]))

    def _of_hold(self, db: Connection, found: dict[str, Any]) -> Found | None:
        row = queries.record(db, found["terminal"], found["seq"], found["chain_id"])
        if row is None or (settlement := self._opened(row)) is None:
            return None
        m = store.settlements.c
        same = (m.terminal == found["terminal"]) & (m.chain_id == found["chain_id"]) & (m.hold_id == found["hold_id"])
        newest = db.execute(sa.select(sa.func.max(m.seq)).where(same)).scalar()
        last_row = queries.record(db, found["terminal"], newest, found["chain_id"]) if newest else None
        return Found(None, settlement, self._opened(last_row) if last_row else None, row)

    def _opened(self, row: dict[str, Any]) -> dict[str, Any] | None:
        try:
            pem = self.key(row["terminal"], jws_key_id(row["jws"]), "record")
            return open_record(row["jws"], pem) if pem else None
        except SignatureInvalid:
            return None


def _days(one: Found) -> set[str]:
    """Local days on which the charge began and ended: a bank statement may name either."""
    session = one.payload
    zone = ZoneInfo(session["site"]["time_zone"])
    moments = (session[end]["utc_ms"] // 1000 for end in ("begin", "end"))
    return {datetime.fromtimestamp(moment, UTC).astimezone(zone).date().isoformat() for moment in moments}
