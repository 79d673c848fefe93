"""The statement of an account for a month of the operator's clock: opening + entries = closing, or no statement.

A customer's balance is all that is theirs: what is free, what running charges hold, and what is set aside for charging without
network (slices). So a charge is one entry, when it is paid; holding and setting aside only move money to the reserve and back,
and are listed as such. Everything is read from the account books; what a charge was, from its sealed record.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store
from terminal_app.office.account_tables import account_holds, accounts, entries, postings
from terminal_app.office.books import CUSTOMER, HOLD, SLICE
from terminal_app.office.local_time import month_ms, zone
from terminal_app.office.payment_tables import payment_references
from terminal_app.office.sealed import Opener, newest_session

MAX_ENTRIES = 100_000
MISMATCH = "statement"
"""The kind of the alarm that takes a statement's place."""
_RESERVED = (HOLD, SLICE)


class StatementMismatch(Exception):
    """The books do not agree with themselves: an alarm was raised, no document is made."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What was paid by an entry, as its sealed record says it."""

    session_id: str
    station: str
    connector: int
    energy_wh: int
    receipt_number: str


@dataclass(frozen=True, slots=True)
class Entry:
    """`amount_minor` changes the balance, `reserved_minor` the reserved part of it. `charge` None: not of a charge, or its record
    has not arrived."""

    posting: int
    utc_ms: int
    kind: str
    terminal: str
    amount_minor: int
    reserved_minor: int
    note: str
    charge: Charge | None


@dataclass(frozen=True, slots=True)
class Statement:
    """`sender` is the operator as the newest sealed session names it; () if there is none yet. `complete`: the month is over."""

    account: str
    label: str
    currency: str
    month: str
    time_zone: str
    sender: tuple[str, ...]
    opening_minor: int
    opening_reserved_minor: int
    entries: tuple[Entry, ...]
    closing_minor: int
    closing_reserved_minor: int
    made_utc_ms: int
    complete: bool


def make(database: store.Store, account: str, month: str, time_zone: str) -> Statement | None:
    """None: no such account. ValueError: no such month or zone, or too many entries. StatementMismatch."""
    begin_ms, end_ms = month_ms(month, zone(time_zone))
    with database.snapshot() as db:
        row = db.execute(sa.select(accounts).where(accounts.c.account == account)).mappings().first()
        if row is None:
            return None
        opening, closing = _sums(db, account, begin_ms), _sums(db, account, end_ms)
        listed = _entries(db, account, begin_ms, end_ms)
        wrong = _mismatch(db, dict(row), opening, closing, listed)
        seller = newest_session(db)
    if wrong:
        sentence = f"account {account}, {month} ({time_zone}): {wrong}; no statement was made"
        with database.write() as writing:
            store.alarm(writing, "", "", MISMATCH, sentence)
        raise StatementMismatch(sentence)
    said = seller.payload["seller"] if seller else {}
    return Statement(
        account=account,
        label=row["label"],
        currency=row["currency"],
        month=month,
        time_zone=time_zone,
        sender=tuple(line for line in (said.get("name"), said.get("address"), said.get("vat_id")) if line),
        opening_minor=opening[0],
        opening_reserved_minor=opening[1],
        entries=tuple(listed),
        closing_minor=closing[0],
        closing_reserved_minor=closing[1],
        made_utc_ms=(now := store.now_ms()),
        complete=now >= end_ms,
    )


def _amounts() -> tuple[sa.ColumnElement[int], sa.ColumnElement[int]]:
    reserved = sa.case((entries.c.book.in_(_RESERVED), entries.c.amount_minor), else_=0)
    return sa.func.coalesce(sa.func.sum(entries.c.amount_minor), 0), sa.func.coalesce(sa.func.sum(reserved), 0)


def _sums(db: Connection, account: str, before_ms: int | None) -> tuple[int, int]:
    """Balance and its reserved part before a moment (None: now), from the entries alone."""
    question = sa.select(*_amounts()).select_from(entries.join(postings)).where(entries.c.account == account)
    if before_ms is not None:
        question = question.where(postings.c.utc_ms < before_ms)
    balance, reserved = db.execute(question).one()
    return int(balance), int(reserved)


def _entries(db: Connection, account: str, begin_ms: int, end_ms: int) -> list[Entry]:
    p = postings.c
    columns = (p.posting, p.utc_ms, p.kind, p.source, p.about, p.amount_minor, p.note)
    balance, reserved = _amounts()
    question = sa.select(*columns, balance.label("change"), reserved.label("reserve")).select_from(entries.join(postings))
    question = question.where((entries.c.account == account) & (p.utc_ms >= begin_ms) & (p.utc_ms < end_ms))
    question = question.group_by(*columns).order_by(p.utc_ms, p.posting).limit(MAX_ENTRIES + 1)
    rows = db.execute(question).mappings().all()
    if len(rows) > MAX_ENTRIES:
        raise ValueError(f"account {account} has more than {MAX_ENTRIES} entries in that month")
    charges = _Charges(db)
    return [
        Entry(
            posting=int(row["posting"]),
            utc_ms=int(row["utc_ms"]),
            kind=row["kind"],
            terminal=row["source"],
            amount_minor=int(row["change"]),
            reserved_minor=int(row["reserve"]),
            note=row["note"],
            charge=charges.paid_by(dict(row)) if int(row["change"]) and row["kind"] in _PAYS else None,
        )
        for row in rows
    ]


def _mismatch(
    db: Connection, account: dict[str, Any], opening: tuple[int, int], closing: tuple[int, int], listed: list[Entry]
) -> str:
    """ "" if everything agrees: listed entries with opening and closing, all entries with the account's running totals, and every
    posting with itself."""
    told = opening[0] + sum(one.amount_minor for one in listed), opening[1] + sum(one.reserved_minor for one in listed)
    if told != closing:
        return f"opening and entries make {told[0]} ({told[1]} of it reserved), the books say {closing[0]} ({closing[1]})"
    reserved = int(account["held_minor"] + account["sliced_minor"])
    running, real = (int(account["balance_minor"]) + reserved, reserved), _sums(db, account["account"], None)
    if running != real:
        return f"all entries make {real[0]} ({real[1]} of it reserved), the running totals say {running[0]} ({running[1]})"
    mine = sa.select(entries.c.posting).where(
        (entries.c.account == account["account"]) & (entries.c.book.in_((CUSTOMER, *_RESERVED)))
    )
    sums = sa.select(entries.c.posting).where(entries.c.posting.in_(mine)).group_by(entries.c.posting)
    crooked = db.execute(sums.having(sa.func.sum(entries.c.amount_minor) != 0).order_by(entries.c.posting).limit(1)).scalar()
    return "" if crooked is None else f"posting {crooked} does not add up to 0"


_PAYS = ("capture", "spend", "receivable", "refund")


class _Charges:
    """From an entry of the books to the sealed session that it pays. One thread, one connection."""

    def __init__(self, db: Connection) -> None:
        self._db, self._opener = db, Opener(db)

    def paid_by(self, posting: dict[str, Any]) -> Charge | None:
        hold = self._hold(posting)
        if hold is None:
            return None
        s, n = store.sessions.c, payment_references.c
        same = (s.terminal == n.terminal) & (s.chain_id == n.chain_id) & (s.hold_id == n.hold_id)
        names = (n.terminal == hold["terminal"]) & n.reference.in_((hold["hold"], hold["key"]))
        question = sa.select(s.terminal, s.chain_id, s.seq).select_from(payment_references.join(store.sessions, same)).where(names)
        billed = sa.case((s.capture_minor == hold["captured_minor"], 0), else_=1)  # a hold may have served a start that failed
        found = self._db.execute(question.order_by(billed, s.seq.desc()).limit(1)).first()
        sealed = self._opener.record(*found) if found else None
        if sealed is None:
            return None
        told = sealed.payload
        return Charge(
            session_id=told["session_id"],
            station=told["site"]["station"],
            connector=told["connector"],
            energy_wh=told["energy_wh"],
            receipt_number=told["receipt"]["number"],
        )

    def _hold(self, posting: dict[str, Any]) -> dict[str, Any] | None:
        """What is spent of a slice names the slice; its hold was written in the same moment with the same amount."""
        h = account_holds.c
        where = h.hold == posting["about"]
        if posting["kind"] == "spend":
            where = (h.slice_id == posting["about"]) & (h.opened_utc_ms == posting["utc_ms"])
            where &= h.captured_minor == posting["amount_minor"]
        found = self._db.execute(sa.select(h.hold, h.key, h.terminal, h.captured_minor).where(where).limit(1)).mappings().first()
        return dict(found) if found else None
