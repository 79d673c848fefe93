"""An office with one terminal, an account and drivers' charges; the terminal's facts are told one by one, time is set by hand."""

import json
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from terminal_app.office import store
from terminal_app.office.access import hash_of
from terminal_app.office.account_tables import account_holds, postings
from terminal_app.office.accounts import Accounts, NewAccount, Who
from terminal_app.office.charges import Charges, Start
from terminal_app.office.command_tables import commands
from terminal_app.office.commands import Commands
from terminal_app.office.ingest import SentFact, SentRecord
from terminal_app.office.phone_tables import phone_charges
from terminal_app.session import facts as f
from tests.unit.office_samples import TERMINAL, Desk, Terminal

ACCOUNT, SECRET = "A-DRIVER-0042", "the-secret-of-an-account-holder"
WHO = Who(account=ACCOUNT, secret_sha256=hash_of(SECRET))


class Phone:
    """`office.later(s)` lets time pass; `tell` is a fact of the terminal that arrives."""

    def __init__(self, desk: Desk, terminal: Terminal, clock: pytest.MonkeyPatch) -> None:
        self.terminal, self.desk = terminal, desk
        self.commands = Commands(self.desk.database, self.desk.key)
        self.charges = Charges(self.desk.database, self.commands)
        self.accounts = Accounts(self.desk.database)
        self.accounts.add(NewAccount(ACCOUNT, "EUR", secret_sha256=WHO.secret_sha256))
        self.accounts.top_up(ACCOUNT, 10_000_000, "top-1", "bank", "test")
        self._sent, self._now = 0, store.now_ms()
        clock.setattr(store, "now_ms", lambda: self._now)

    def later(self, seconds: float) -> None:
        self._now += int(seconds * 1000)

    def start(self, once: str = "0" * 32, who: Who = WHO, hold_minor: int = 2000, connector: int = 1) -> str:
        return self.charges.start(Start(TERMINAL, connector, once, "Car park", hold_minor, "EUR", ""), who)

    def tell(self, fact: f.Fact, session_id: str = "S-1") -> None:
        self.tell_raw(f.kind_of(fact), msgspec.json.encode(fact).decode(), session_id)

    def tell_raw(self, kind: str, body: str, session_id: str = "") -> None:
        after, self._sent = self._sent, self._sent + 1
        sent = SentFact(self._sent, self._now, kind, session_id, body)
        self.desk.take(self.terminal.batch(facts=(sent,), facts_after=after))

    def deliver(self, record: SentRecord) -> None:
        self.desk.take(self.terminal.batch(record, facts_after=self._sent))

    def answer(self, command_id: str, done: bool) -> None:
        self.tell_raw("command_answered", json.dumps({"command_id": command_id, "done": done, "answer": "{}"}))

    def charge(self, token: str) -> dict[str, Any]:
        (row,) = self.rows(phone_charges, phone_charges.c.token == token)
        return row

    def hold(self, token: str) -> str:
        (row,) = self.rows(account_holds, account_holds.c.key == self.charge(token)["key"])
        return str(row["state"])

    def voids(self, token: str) -> int:
        hold = self.charge(token)["hold"]
        return len(self.rows(postings, (postings.c.kind == "void") & (postings.c.about == hold)))

    def orders(self, act: str) -> list[dict[str, Any]]:
        return self.rows(commands, commands.c.act == act)

    def rows(self, table: sa.Table, where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        with self.desk.database.read() as db:
            return [dict(row) for row in db.execute(sa.select(table).where(where)).mappings()]
