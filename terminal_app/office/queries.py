"""What is read from the database: plain dictionaries for pages, JSON and the command line."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app import units
from terminal_app.office import store
from terminal_app.office.account_tables import account_holds, account_slices
from terminal_app.office.account_tables import accounts as account_table
from terminal_app.office.derived import LIVE_STATES, OPEN_HOLDS

Rows = list[dict[str, Any]]


def _rows(db: Connection, question: sa.Select[Any]) -> Rows:
    return [dict(row) for row in db.execute(question).mappings()]


def sessions(db: Connection, limit: int, receipt_code: str = "") -> Rows:
    """Newest first, each with the settlement that ended its hold (how "" = still under way), what was given back of it and what
    of its bill was credited (zero or above), and the verdict on its record.

    A hold may be settled more than once: left to a person and captured after all. A refund, given or refused, ends nothing.
    """
    s, r, m, n = store.sessions, store.records, store.settlements, store.settlements.alias()
    mine = (
        (n.c.terminal == s.c.terminal)
        & (n.c.chain_id == s.c.chain_id)
        & (n.c.hold_id == s.c.hold_id)
        & n.c.how.not_in(("refunded", "refused"))
    )
    last = sa.select(sa.func.max(n.c.seq)).where(mine).correlate(s).scalar_subquery()
    b = store.settlements.alias()
    back = (b.c.terminal == s.c.terminal) & (b.c.chain_id == s.c.chain_id) & (b.c.hold_id == s.c.hold_id) & (b.c.how == "refunded")
    given_back = sa.select(sa.func.coalesce(sa.func.sum(b.c.amount_minor), 0)).where(back).correlate(s).scalar_subquery()
    c = store.credits
    of = (c.c.terminal == s.c.terminal) & (c.c.chain_id == s.c.chain_id) & (c.c.credited_seq == s.c.seq)
    total = sa.select(-sa.func.coalesce(sa.func.sum(c.c.total_minor), 0)).select_from(_accepted(c))
    credited = total.where(of).correlate(s).scalar_subquery()
    same = (r.c.terminal == s.c.terminal) & (r.c.chain_id == s.c.chain_id) & (r.c.seq == s.c.seq)
    settled = (m.c.terminal == s.c.terminal) & (m.c.chain_id == s.c.chain_id) & (m.c.seq == last) & (s.c.hold_id != "")
    question = (
        sa.select(
            s,
            r.c.sha256,
            r.c.quarantine,
            r.c.stored_utc_ms,
            sa.func.coalesce(m.c.how, "").label("settled"),
            m.c.amount_minor.label("settled_minor"),
            m.c.seq.label("settlement_seq"),
            given_back.label("refunded_minor"),
            credited.label("credited_minor"),
        )
        .select_from(s.join(r, same).outerjoin(m, settled))
        .order_by(s.c.end_utc_ms.desc(), s.c.seq.desc())
        .limit(limit)
    )
    if receipt_code:
        question = question.where(s.c.receipt_code == receipt_code)
    return _rows(db, question)


def records(db: Connection, terminal: str, after: int, limit: int) -> Rows:
    r = store.records
    columns = (
        r.c.terminal,
        r.c.chain_id,
        r.c.seq,
        r.c.type,
        r.c.session_id,
        r.c.sha256,
        r.c.stored_utc_ms,
        r.c.quarantine,
        r.c.jws,
    )
    question = sa.select(*columns).where(r.c.seq > after).order_by(r.c.terminal, r.c.chain_id, r.c.seq).limit(limit)
    return _rows(db, question.where(r.c.terminal == terminal) if terminal else question)


def record(db: Connection, terminal: str, seq: int, chain_id: str = "") -> dict[str, Any] | None:
    r, t = store.records, store.terminals
    chain = sa.literal(chain_id) if chain_id else sa.select(t.c.chain_id).where(t.c.terminal == terminal).scalar_subquery()
    found = _rows(db, sa.select(r).where((r.c.terminal == terminal) & (r.c.seq == seq) & (r.c.chain_id == chain)))
    return found[0] if found else None


def credits_of(db: Connection, terminal: str, chain_id: str, session_seq: int) -> Rows:
    """The accepted credits of a session's record, oldest first; money is zero or below."""
    c = store.credits
    mine = (c.c.terminal == terminal) & (c.c.chain_id == chain_id) & (c.c.credited_seq == session_seq)
    return _rows(db, sa.select(c).select_from(_accepted(c)).where(mine).order_by(c.c.seq))


def settlement_of(db: Connection, session: dict[str, Any]) -> dict[str, Any] | None:
    """The record row of the settlement that belongs to a row of `sessions`."""
    if session["settlement_seq"] is None:
        return None
    return record(db, session["terminal"], session["settlement_seq"], session["chain_id"])


def terminals(db: Connection) -> Rows:
    t, c = store.terminals, store.chains
    same = (c.c.terminal == t.c.terminal) & (c.c.chain_id == t.c.chain_id)
    chain = (c.c.through_seq, c.c.through_sha256, c.c.facts_through, c.c.claimed_seq)
    columns = (t.c.terminal, t.c.seen_utc_ms, t.c.chain_id, *chain)
    return _rows(db, sa.select(*columns).select_from(t.outerjoin(c, same)).order_by(t.c.terminal))


def live_sessions(db: Connection) -> Rows:
    table = store.live
    return _rows(db, sa.select(table).where(table.c.state.in_(LIVE_STATES)).order_by(table.c.changed_utc_ms.desc()).limit(200))


def open_holds(db: Connection) -> Rows:
    """Oldest first: an old hold is the one to look at."""
    table = store.holds
    return _rows(db, sa.select(table).where(table.c.state.in_(OPEN_HOLDS)).order_by(table.c.opened_utc_ms).limit(200))


def raised_faults(db: Connection) -> Rows:
    return _rows(db, sa.select(store.faults).order_by(store.faults.c.raised_utc_ms).limit(200))


def quarantine(db: Connection) -> Rows:
    r, c = store.records, store.conflicts
    columns = ("terminal", "chain_id", "seq", "sha256", "stored_utc_ms")
    first = sa.select(*(r.c[name] for name in columns), r.c.quarantine.label("reason")).where(r.c.quarantine != "")
    second = sa.select(*(c.c[name] for name in columns), c.c.reason)
    both = sa.union_all(first, second).subquery()
    return _rows(db, sa.select(both).order_by(both.c.stored_utc_ms.desc()).limit(200))


def alarms(db: Connection) -> Rows:
    return _rows(db, sa.select(store.alarms).order_by(store.alarms.c.id.desc()).limit(50))


def totals(db: Connection) -> Rows:
    """Per currency: sessions, energy, billed, captured. Only accepted records count, and no tests."""
    s, m = store.sessions, store.settlements
    taken = sa.select(m.c.currency, sa.func.sum(m.c.amount_minor).label("captured")).select_from(_accepted(m))
    captured = taken.where(m.c.how == "captured").group_by(m.c.currency).subquery()
    billed = sa.select(
        s.c.currency,
        sa.func.count().label("sessions"),
        sa.func.sum(s.c.energy_wh).label("energy_wh"),
        sa.func.sum(s.c.total_minor).label("billed_minor"),
    )
    sums = billed.select_from(_accepted(s)).where(~s.c.test).group_by(s.c.currency).subquery()
    question = sa.select(sums, sa.func.coalesce(captured.c.captured, 0).label("captured_minor"))
    return _rows(db, question.select_from(sums.outerjoin(captured, captured.c.currency == sums.c.currency)))


def _accepted(table: sa.Table) -> sa.Join:
    """Rows of a derived table whose record is not in quarantine."""
    r = store.records
    same = (r.c.terminal == table.c.terminal) & (r.c.chain_id == table.c.chain_id) & (r.c.seq == table.c.seq)
    return table.join(r, same & (r.c.quarantine == ""))


def key(db: Connection, terminal: str, key_id: str, purpose: str) -> str | None:
    """SPKI PEM of a registered key."""
    k = store.keys
    where = (k.c.terminal == terminal) & (k.c.key_id == key_id) & (k.c.purpose == purpose)
    return db.execute(sa.select(k.c.spki_pem).where(where)).scalar()


def account(db: Connection, account_id: str) -> dict[str, Any] | None:
    found = _rows(db, sa.select(account_table).where(account_table.c.account == account_id))
    return found[0] if found else None


def accounts(db: Connection) -> Rows:
    """Every account without its secret's hash; balance, held and sliced also in major units."""
    rows = _rows(db, sa.select(account_table).order_by(account_table.c.account))
    for row in rows:
        del row["secret_sha256"]
        row |= {name: str(units.major(row[f"{name}_minor"], row["currency"])) for name in ("balance", "held", "sliced")}
    return rows


def open_reserves(db: Connection, now_ms: int) -> Rows:
    """Open holds and slices of accounts, oldest first, with their age in whole hours."""
    h, s = account_holds.c, account_slices.c
    columns = ("reference", "account", "terminal", "amount_minor", "currency", "since_utc_ms")
    held = sa.select(sa.literal("hold").label("what"), h.hold, h.account, h.terminal, h.held_minor, h.currency, h.opened_utc_ms)
    left = s.amount_minor - s.spent_minor
    sliced = sa.select(sa.literal("slice"), s.slice_id, s.account, s.terminal, left, s.currency, s.granted_utc_ms)
    both = held.where(h.state == "held").union_all(sliced.where(~s.closed))
    rows = [dict(zip(("what", *columns), row, strict=True)) for row in db.execute(both)]
    for row in rows:
        row |= {"amount": str(units.major(row["amount_minor"], row["currency"]))}
        row["age"] = f"{max(0, now_ms - row['since_utc_ms']) // 3_600_000} h"
    return sorted(rows, key=lambda row: int(row["since_utc_ms"]))
