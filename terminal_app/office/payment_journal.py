"""What the office knows of payments, from facts and records: rows for pages and lists, values for the comparison."""

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store
from terminal_app.office.derived import LIVE_STATES, OPEN_HOLDS
from terminal_app.office.payment_tables import gateway_rows, hold_terms, payment_references
from terminal_app.office.payment_values import Payment, Queue, Settled
from terminal_app.office.references import OFFLINE, OWN

Place = tuple[str, str, str]
Row = dict[str, Any]


def payments_since(db: Connection, since_utc_ms: int) -> list[Payment]:
    """Every hold that is open, changed since, or is named by a gateway's row since."""
    wanted = _wanted(since_utc_ms)
    names: dict[Place, set[str]] = defaultdict(set)
    given: dict[Place, list[str]] = defaultdict(list)
    offline: set[Place] = set()
    for place, row in _of(db, payment_references, wanted, ("reference", "name")):
        if row["name"] in OFFLINE:
            offline.add(place)
            continue
        names[place].add(row["reference"])
        if row["name"] not in OWN:
            given[place].append(row["reference"])
    before = {place: int(row["capture_before_utc_ms"]) for place, row in _of(db, hold_terms, wanted, ("capture_before_utc_ms",))}
    settled: dict[Place, list[Settled]] = defaultdict(list)
    for place, row in _of(db, store.settlements, wanted, ("seq", "how", "amount_minor", "currency", "ended_utc_ms")):
        settled[place].append(Settled(row["how"], int(row["amount_minor"]), row["currency"], int(row["ended_utc_ms"])))
    bills = dict(_of(db, store.sessions, wanted, _BILL))
    told = dict(_of(db, store.holds, wanted, _HOLD))
    live = _live(db)
    found = []
    for place in sorted(told.keys() | bills.keys() | settled.keys()):
        bill = bills.get(place)
        hold = told.get(place) or _untold(bill, settled[place])
        found.append(
            Payment(
                terminal=place[0],
                chain_id=place[1],
                hold_id=place[2],
                **hold,
                capture_before_utc_ms=before.get(place),
                references=frozenset(names[place]),
                known_as=tuple(given[place]),
                offline=place in offline,
                live=bill is None and (place[0], place[1], hold["session_id"]) in live,
                billed_minor=None if bill is None else int(bill["capture_minor"]),
                settled=tuple(settled[place]),
            )
        )
    return found


_HOLD = ("session_id", "gateway", "state", "amount_minor", "currency", "opened_utc_ms", "changed_utc_ms")
_BILL = ("session_id", "capture_minor", "authorized_minor", "currency", "begin_utc_ms", "end_utc_ms")


def _untold(bill: Row | None, settled: list[Settled]) -> Row:
    """What a `holds` row would say of a hold whose facts never came."""
    if bill is not None:
        said = (
            bill["session_id"],
            "",
            "",
            int(bill["authorized_minor"]),
            bill["currency"],
            bill["begin_utc_ms"],
            bill["end_utc_ms"],
        )
    else:
        said = ("", "", "", 0, settled[-1].currency, settled[0].utc_ms, settled[-1].utc_ms)
    return dict(zip(_HOLD, said, strict=True))


def queues(db: Connection) -> list[Queue]:
    """Of each terminal that was ever heard: its newest chain."""
    t, c, r, h, v = store.terminals.c, store.chains.c, store.records.c, store.holds.c, store.live.c
    newest = sa.select(sa.func.max(r.stored_utc_ms)).where((r.terminal == t.terminal) & (r.chain_id == t.chain_id))
    held = sa.select(sa.func.count()).where((h.terminal == t.terminal) & (h.chain_id == t.chain_id) & h.state.in_(OPEN_HOLDS))
    running = sa.select(sa.func.count()).where((v.terminal == t.terminal) & (v.chain_id == t.chain_id) & v.state.in_(LIVE_STATES))
    came = sa.func.coalesce(newest.scalar_subquery(), t.added_utc_ms)
    counts = (came, held.scalar_subquery(), running.scalar_subquery())
    columns = (t.terminal, t.chain_id, c.seen_utc_ms, c.through_seq, c.claimed_seq, *counts)
    joined = store.terminals.join(store.chains, (c.terminal == t.terminal) & (c.chain_id == t.chain_id))
    return [Queue(*row) for row in db.execute(sa.select(*columns).select_from(joined))]


def open_register(db: Connection, limit: int) -> list[Row]:
    """Open holds, the oldest first, each with what its gateway said about its end."""
    h, b = store.holds.c, hold_terms.c
    same = (b.terminal == h.terminal) & (b.chain_id == h.chain_id) & (b.hold_id == h.hold_id)
    question = sa.select(store.holds, b.capture_before_utc_ms).select_from(store.holds.outerjoin(hold_terms, same))
    question = question.where(h.state.in_(OPEN_HOLDS)).order_by(h.opened_utc_ms, h.hold_id).limit(limit)
    return [dict(row) for row in db.execute(question).mappings()]


def with_age(rows: list[Row], now_ms: int) -> list[Row]:
    """Each hold with its age in whole seconds."""
    return [row | {"age_s": max(0, now_ms - row["opened_utc_ms"]) // 1000} for row in rows]


def open_sums(db: Connection) -> list[Row]:
    """Per currency: how many holds are open, how much they hold, since when the oldest."""
    h = store.holds.c
    sums = (sa.func.count().label("holds"), sa.func.sum(h.amount_minor).label("amount_minor"))
    question = sa.select(h.currency, *sums, sa.func.min(h.opened_utc_ms).label("oldest_utc_ms"))
    rows = db.execute(question.where(h.state.in_(OPEN_HOLDS)).group_by(h.currency).order_by(h.currency)).mappings()
    return [{**row, "amount_minor": int(row["amount_minor"])} for row in rows]


def listed(db: Connection, limit: int, state: str = "", gateway: str = "", terminal: str = "") -> list[Row]:
    """Payments, the newest first; "" does not filter."""
    h, s, m = store.holds.c, store.sessions.c, store.settlements.c
    page = sa.select(store.holds)
    for column, value in ((h.state, state), (h.gateway, gateway), (h.terminal, terminal)):
        page = page.where(column == value) if value else page
    newest = page.order_by(h.opened_utc_ms.desc(), h.hold_id).limit(limit).subquery()  # the sums only of what is listed
    n = newest.c
    mine = (m.hold_id == n.hold_id) & (m.terminal == n.terminal) & (m.chain_id == n.chain_id)
    moved = [
        sa.select(sa.func.sum(m.amount_minor))
        .where(mine & (m.how == how))
        .correlate(newest)
        .scalar_subquery()
        .label(f"{how}_minor")
        for how in ("captured", "refunded")
    ]
    same = (s.hold_id == n.hold_id) & (s.terminal == n.terminal) & (s.chain_id == n.chain_id)
    bill = (s.capture_minor.label("billed_minor"), s.receipt_number, s.receipt_code)
    question = sa.select(newest, *bill, *moved).select_from(newest.outerjoin(store.sessions, same))
    rows = db.execute(question.order_by(n.opened_utc_ms.desc(), n.hold_id)).mappings()
    return [
        {name: int(value) if name.endswith("_minor") and value is not None else value for name, value in row.items()}
        for row in rows
    ]


def choices(db: Connection) -> dict[str, list[str]]:
    """What the lists can be filtered by."""
    h = store.holds.c
    columns = {"state": h.state, "gateway": h.gateway, "terminal": h.terminal}
    return {name: sorted(db.execute(sa.select(column).distinct().limit(500)).scalars()) for name, column in columns.items()}


def _wanted(since_utc_ms: int) -> sa.Subquery:
    h, s, m, p, g = store.holds.c, store.sessions.c, store.settlements.c, payment_references.c, gateway_rows.c
    parts = [
        _places(store.holds).where(h.state.in_(OPEN_HOLDS) | (h.changed_utc_ms >= since_utc_ms)),
        _places(store.sessions).where((s.hold_id != "") & (s.end_utc_ms >= since_utc_ms)),
        _places(store.settlements).where((m.hold_id != "") & (m.ended_utc_ms >= since_utc_ms)),
    ]
    for name in (g.ours, g.about, g.reference):
        named = payment_references.join(gateway_rows, name == p.reference)
        parts.append(_places(payment_references).select_from(named).where(g.utc_ms >= since_utc_ms))
    return sa.union(*parts).subquery()


def _places(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table.c.terminal, table.c.chain_id, table.c.hold_id)


def _of(db: Connection, table: sa.Table, wanted: sa.Subquery, names: tuple[str, ...]) -> list[tuple[Place, Row]]:
    """The named columns of the wanted holds' rows, in the order of the first one. By hold id alone, which is quick everywhere;
    a hold id that two terminals share brings a row too many, which nobody asks for."""
    c = table.c
    columns = (c.terminal, c.chain_id, c.hold_id, *(c[name] for name in names))
    question: sa.Select[Any] = sa.select(*columns).where(c.hold_id.in_(sa.select(wanted.c.hold_id))).order_by(c[names[0]])
    return [((row[0], row[1], row[2]), dict(zip(names, row[3:], strict=True))) for row in db.execute(question)]


def _live(db: Connection) -> set[Place]:
    v = store.live.c
    rows = db.execute(sa.select(v.terminal, v.chain_id, v.session_id).where(v.state.in_(LIVE_STATES)))
    return {(row[0], row[1], row[2]) for row in rows}
