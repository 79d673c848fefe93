"""What a terminal tells the office of its holds, and a gateway's report about them, for tests."""

from typing import Any

import msgspec
import sqlalchemy as sa

from terminal_app.office import gateway_books, payment_watch, store
from terminal_app.office.gateway_report import Report, read_report
from terminal_app.office.ingest import SentFact
from terminal_app.office.payment_values import KINDS
from terminal_app.office.payment_watch import Judged
from terminal_app.session import facts as f
from terminal_app.values import CardFacts, EntryMode, Hold, MoneyStep
from tests.unit.office_samples import CHAIN, TERMINAL, Desk, Terminal

HOUR, DAY = 3_600_000, 86_400_000
T0 = 1_767_344_400_000
"""When the samples' session begins: 2026-01-02T09:00:00Z; it ends, and is settled, an hour later."""
NOW = T0 + 5 * DAY
PERIOD = (T0 - 5 * DAY, NOW)
HEADER = "reference,about,ours,kind,amount_minor,currency,utc_ms\n"
CARD = CardFacts("Mastercard", "0011", "5e" * 16, "A0000000041010", "Mastercard", EntryMode.CONTACTLESS)
TRACE = {"payment_intent": "pi_00000001", "auth_code": "A1B2C3", "held_minor": "5000"}


class Story:
    """Facts of one terminal, in order, told to a desk batch by batch."""

    def __init__(self, desk: Desk, terminal: Terminal) -> None:
        self.desk, self.terminal, self.seq = desk, terminal, 0

    def tell(self, *told: f.Fact, at: int = T0, session: str = "S-1") -> None:
        rows = tuple(
            SentFact(self.seq + n, at, f.kind_of(fact), session, msgspec.json.encode(fact).decode())
            for n, fact in enumerate(told, 1)
        )
        self.desk.take(self.terminal.batch(facts=rows, facts_after=self.seq))
        self.seq += len(rows)

    def held(self, hold_id: str = "H-7", at: int = T0, before: int | None = None, **changes: Any) -> None:
        """A session asks for a hold and gets it."""
        session = changes.pop("session", "S-1")
        trace = changes.pop("trace", TRACE)
        said = {"gateway": "main", "serial": 1000041, "utc_ms": at, "amount_minor": 5000, "currency": "EUR", "connector": 1}
        hold = Hold(hold_id=hold_id, key=f"key-of-{hold_id}", **(said | changes))
        opened = f.SessionOpened(session, 1, "{}", "00", False, "en", 0)
        approved = f.AuthorizationApproved(hold_id, hold.amount_minor, trace, before, 0)
        self.tell(opened, f.AuthorizationIntended(session, hold, CARD), approved, at=at, session=session)

    def captured(self, minor: int = 948, at: int = T0 + HOUR) -> None:
        """The samples' charge ends: facts, session record, settlement record."""
        done = f.HoldEnded("H-7", f.Terminated.CAPTURED, minor, {"charge": "ch_00000001"}, "")
        self.tell(f.CaptureIntended("H-7", MoneyStep(2, at, minor, "k")), done, at=at)
        self.desk.take(self.terminal.batch(self.terminal.session(), self.terminal.settlement(minor)))


def report(rows: str, kinds: tuple[str, ...] = KINDS, period: tuple[int, int] = PERIOD, gateway: str = "main") -> Report:
    return read_report("report.csv", (HEADER + rows).encode(), gateway, period, kinds)


def imported(desk: Desk, rows: str, replace: bool = False, **changes: Any) -> tuple[int, int, int]:
    done = gateway_books.take(desk.database, report(rows, **changes), replace)
    return done.new, done.known, done.dropped


def line(kind: str, minor: int, at: int = T0, reference: str = "pi_00000001", about: str = "", ours: str = "") -> str:
    return f"{reference},{about},{ours},{kind},{minor},EUR,{at}\n"


def findings(desk: Desk, now: int = NOW) -> list[Judged]:
    """What the office would tell at `now`; the terminal was heard a moment before."""
    with desk.database.write() as db:
        mine = (store.chains.c.terminal == TERMINAL) & (store.chains.c.chain_id == CHAIN)
        db.execute(sa.update(store.chains).where(mine).values(seen_utc_ms=now))
    with desk.database.read() as db:
        return payment_watch.findings(db, now)


def said(desk: Desk, now: int = NOW) -> list[tuple[str, str]]:
    """Class and hold of each finding that nobody accepted."""
    return [(one.finding.kind.value, one.finding.hold_id) for one in findings(desk, now) if one.accepted is None]
