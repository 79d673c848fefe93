"""Double entry: postings whose lines add up to 0, running totals per account, the statement, and the audit of all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office.account_tables import account_holds, account_slices, accounts, entries, postings

CUSTOMER, HOLD, SLICE, REVENUE, VAT, LOSS = "customer", "hold", "slice", "revenue", "vat", "loss"
RECEIVABLE = "receivable"
_TOTALS = {CUSTOMER: "balance_minor", HOLD: "held_minor", SLICE: "sliced_minor"}


@dataclass(frozen=True, slots=True)
class Posting:
    """Why money moved. (`source`, `kind`, `key`) is unique: the same act is never booked twice."""

    kind: str
    source: str
    key: str
    account: str
    amount_minor: int
    currency: str
    utc_ms: int
    about: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """`amount_minor` > 0 is owed to the book's owner. Books customer, hold and slice belong to the posting's account."""

    book: str
    amount_minor: int


def post(db: Connection, posting: Posting, lines: Sequence[Line]) -> None:
    """Book it, in the caller's commit. ValueError if the lines do not balance; IntegrityError if it is booked already."""
    if sum(line.amount_minor for line in lines) != 0:
        raise ValueError(f"{posting.kind} {posting.key}: the lines do not add up to 0")
    row = {name: getattr(posting, name) for name in ("kind", "source", "key", "account", "amount_minor", "utc_ms", "about", "note")}
    number = db.execute(postings.insert().values(**row).returning(postings.c.posting)).scalar_one()
    changes: dict[str, Any] = {}
    for at, line in enumerate(line for line in lines if line.amount_minor):
        owner = posting.account if line.book in _TOTALS else ""
        entry = {"book": line.book, "account": owner, "amount_minor": line.amount_minor, "currency": posting.currency}
        db.execute(entries.insert().values(posting=number, line=at, **entry))
        if owner:
            column = _TOTALS[line.book]
            changes[column] = changes.get(column, accounts.c[column]) + line.amount_minor
    if changes:
        db.execute(accounts.update().where(accounts.c.account == posting.account).values(**changes))


def booked(db: Connection, source: str, kind: str, key: str) -> dict[str, Any] | None:
    """The posting of an act, if it was booked."""
    where = (postings.c.source == source) & (postings.c.kind == kind) & (postings.c.key == key)
    found = db.execute(sa.select(postings).where(where)).mappings().first()
    return dict(found) if found else None


def statement(db: Connection, account: str, month: str) -> dict[str, Any] | None:
    """What moved on an account in a UTC month ("2026-11"): opening + entries = closing. None: no such account. ValueError."""
    begin_ms, end_ms = _month(month)
    found = db.execute(sa.select(accounts).where(accounts.c.account == account)).mappings().first()
    if found is None:
        return None
    mine = (entries.c.account == account) & (entries.c.book == CUSTOMER)
    joined = entries.join(postings, postings.c.posting == entries.c.posting)
    total = sa.select(sa.func.coalesce(sa.func.sum(entries.c.amount_minor), 0)).select_from(joined).where(mine)
    opening = int(db.execute(total.where(postings.c.utc_ms < begin_ms)).scalar_one())
    columns = (postings.c.posting, postings.c.utc_ms, postings.c.kind, postings.c.source, postings.c.about, postings.c.note)
    question = sa.select(*columns, entries.c.amount_minor).select_from(joined).where(mine)
    question = question.where((postings.c.utc_ms >= begin_ms) & (postings.c.utc_ms < end_ms)).order_by(entries.c.posting)
    rows = [dict(row) for row in db.execute(question).mappings()]
    return {
        "account": account,
        "label": found["label"],
        "month": month,
        "time_zone": "UTC",
        "currency": found["currency"],
        "opening_minor": opening,
        "entries": rows,
        "closing_minor": opening + sum(row["amount_minor"] for row in rows),
        "now": {name: int(found[f"{name}_minor"]) for name in ("balance", "held", "sliced")},
    }


def balances(db: Connection) -> list[dict[str, Any]]:
    """Sum of each book per currency. Together they are 0."""
    sums = sa.select(entries.c.book, entries.c.currency, sa.func.sum(entries.c.amount_minor).label("amount_minor"))
    rows = db.execute(sums.group_by(entries.c.book, entries.c.currency).order_by(entries.c.currency, entries.c.book)).mappings()
    return [{**row, "amount_minor": int(row["amount_minor"])} for row in rows]


def trouble(db: Connection) -> list[str]:
    """The audit: every sentence is a defect. Reads everything; runs as long as the books are thick."""
    found = []
    sums = sa.select(entries.c.posting, sa.func.sum(entries.c.amount_minor)).group_by(entries.c.posting, entries.c.currency)
    found += [
        f"posting {number}: its lines add up to {total}"
        for number, total in db.execute(sums.having(sa.func.sum(entries.c.amount_minor) != 0))
    ]
    parts = sa.select(entries.c.account, entries.c.book, sa.func.sum(entries.c.amount_minor)).where(entries.c.account != "")
    real = {(account, book): int(total) for account, book, total in db.execute(parts.group_by(entries.c.account, entries.c.book))}
    h, s = account_holds.c, account_slices.c
    open_holds = sa.select(h.account, sa.func.sum(h.held_minor)).where(h.state == "held").group_by(h.account)
    open_slices = sa.select(s.account, sa.func.sum(s.amount_minor - s.spent_minor)).where(~s.closed).group_by(s.account)
    listed = {(account, HOLD): int(total) for account, total in db.execute(open_holds)}
    listed |= {(account, SLICE): int(total) for account, total in db.execute(open_slices)}
    offline = sa.select(entries.c.account, -sa.func.sum(entries.c.amount_minor)).join(postings).group_by(entries.c.account)
    offline = offline.where((postings.c.kind == "receivable") & (entries.c.book == CUSTOMER))
    unasked = {account: int(total) for account, total in db.execute(offline)}  # charged without asking: the balance gave way
    for row in db.execute(sa.select(accounts).order_by(accounts.c.account)).mappings():
        for book, column in _TOTALS.items():
            place = (row["account"], book)
            if int(row[column]) != real.get(place, 0):
                found.append(f"account {row['account']}: {column} is {row[column]}, its entries say {real.get(place, 0)}")
            if book != CUSTOMER and real.get(place, 0) != listed.get(place, 0):
                found.append(f"account {row['account']}: {real.get(place, 0)} in {book}, open are {listed.get(place, 0)}")
        if row["balance_minor"] < -row["credit_minor"] - unasked.get(row["account"], 0):
            found.append(f"account {row['account']}: balance {row['balance_minor']} is below its credit of {row['credit_minor']}")
    return found


def _month(month: str) -> tuple[int, int]:
    try:
        begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{month[:20]!r} is not a month like 2026-11") from None
    end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000
