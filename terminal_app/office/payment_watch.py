"""The discrepancy job: collects both sides, compares, and remembers what people accepted."""

import json
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import gateway_books, payment_journal, store
from terminal_app.office.account_tables import postings
from terminal_app.office.command_tables import commands
from terminal_app.office.discrepancies import compare, ordered, waiting
from terminal_app.office.payment_tables import acceptances, gateway_reports
from terminal_app.office.payment_values import ACCOUNT_BOOKS, Coverage, Finding, GatewayRow, Patience, Payment

LOOK_BACK_MS = 90 * 86_400_000
"""Open holds are compared whatever their age; ended ones for a season, and any that a gateway names in that time."""

PAUSE = 5
OLD_S = 15.0
"""Ages grow though nothing happens."""


class NoSuchFinding(Exception):
    """There is nothing of this name to accept."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    accepted_by: str
    why: str
    utc_ms: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, and who accepted it with these very amounts; None: nobody did."""

    finding: Finding
    accepted: Acceptance | None

    def told(self) -> dict[str, Any]:
        """For JSON."""
        one, yes = self.finding, self.accepted
        names = ("terminal", "chain_id", "hold_id", "session_id", "gateway", "reference", "ours_minor", "theirs_minor", "currency")
        found: dict[str, Any] = {"id": one.id, "class": one.kind.value, "severity": one.severity}
        found |= {name: getattr(one, name) for name in names}
        found |= {"since_utc_ms": one.since_utc_ms, "sentence": one.sentence}
        found |= {"next_action": one.next_action, "command": one.command, "at_terminal": one.at_terminal}
        return found | {"accepted": {"by": yes.accepted_by, "why": yes.why, "utc_ms": yes.utc_ms} if yes else None}


def findings(db: Connection, now_ms: int, patience: Patience = Patience()) -> list[Judged]:  # noqa: B008
    """Everything that does not agree now. What was accepted stays listed, marked, until its amounts change."""
    since = now_ms - LOOK_BACK_MS
    payments = payment_journal.payments_since(db, since)
    rows = gateway_books.rows_since(db, since)
    coverage = Coverage(gateway_books.spans(db, since, now_ms, _account_gateways(payments, rows)))
    found = compare(payments, rows, coverage, now_ms, patience)
    found = ordered(found + waiting(payment_journal.queues(db), now_ms, patience))
    a = acceptances.c
    judged: dict[tuple[str, str], Acceptance] = {}
    for row in db.execute(sa.select(acceptances).order_by(a.id)).mappings():
        judged[row["finding"], row["figures"]] = Acceptance(row["accepted_by"], row["why"], int(row["utc_ms"]))
    under_way = _orders_under_way(db)
    return [Judged(_as_ordered(one, under_way), judged.get((one.id, one.figures))) for one in found]


def _orders_under_way(db: Connection) -> dict[tuple[str, str], str]:
    """(terminal, hold) -> the order about its money that a terminal has not answered yet, as people read it."""
    c = commands.c
    question = sa.select(c.terminal, c.number, c.act, c.actor, c.args).where(c.state.in_(("waiting", "taken")))
    found = {}
    for terminal, number, act, actor, args in db.execute(question.where(c.act.like("payment.%"))):
        hold_id = str(json.loads(args).get("hold_id", ""))
        found[str(terminal), hold_id] = f"command {number}, {act} by {actor}"
    return found


def _as_ordered(one: Finding, under_way: dict[tuple[str, str], str]) -> Finding:
    """While an order about it is under way there is nothing to order: a second refund would be given back, too."""
    order = under_way.get((one.terminal, one.hold_id))
    if order is None:
        return one
    wait = f"Wait for the terminal: {order}, is under way; charge-office commands list says what became of it"
    return replace(one, next_action=wait, command="", at_terminal="")


def accept(database: store.Store, finding_id: str, by: str, why: str, now_ms: int) -> Finding:
    """A person has judged it: it stays listed as accepted while its amounts stay. NoSuchFinding."""
    with database.read() as db:  # comparing may take seconds: nobody waits for it to write
        found = [one.finding for one in findings(db, now_ms) if one.finding.id == finding_id]
    for one in found:
        row = {"finding": finding_id, "figures": one.figures, "accepted_by": by, "why": why, "utc_ms": now_ms}
        with database.write() as db:
            db.execute(acceptances.insert().values(**row))
        return one
    raise NoSuchFinding(f"there is no discrepancy {finding_id[:40]}; `charge-office payments discrepancies` lists them")


def version(db: Connection) -> tuple[Any, ...]:
    """Changes whenever what the payments page shows may have changed, but for the time that passes. A few cheap reads."""
    c = store.chains.c
    questions = (
        sa.select(sa.func.count(), sa.func.sum(c.facts_through), sa.func.sum(c.through_seq), sa.func.sum(c.claimed_seq)),
        sa.select(sa.func.max(gateway_reports.c.imported_utc_ms)),
        sa.select(sa.func.max(acceptances.c.id)),
        sa.select(sa.func.max(postings.c.posting)),
        sa.select(sa.func.count(), sa.func.max(commands.c.changed_utc_ms)),
    )
    return tuple(tuple(db.execute(question).one()) for question in questions)


class Watch:
    """The findings as of a moment ago, for pages that many may look at. Comparing takes time (seconds for ten thousands of
    payments): it is never done twice at once, and pauses longer than it took. Thread-safe."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._found: list[Judged] | None = None
        self._of: tuple[Any, ...] = ()
        self._again_s = self._old_s = 0.0

    def latest(self, db: Connection) -> list[Judged]:
        found = self._found
        if found is None:
            self._busy.acquire()
        elif not self._busy.acquire(blocking=False):
            return found
        try:
            began, of = time.monotonic(), version(db)
            if self._found is None or (began >= self._again_s and (of != self._of or began >= self._old_s)):
                self._found, self._of = findings(db, store.now_ms()), of
                ended = time.monotonic()
                self._again_s, self._old_s = ended + PAUSE * (ended - began), ended + OLD_S
            return self._found
        finally:
            self._busy.release()


def _account_gateways(payments: list[Payment], rows: list[GatewayRow]) -> set[str]:
    """How terminals call the office's own account books."""
    names = {name for row in rows if row.gateway == ACCOUNT_BOOKS for name in row.names}
    return {payment.gateway for payment in payments if payment.references & names} | {ACCOUNT_BOOKS}
