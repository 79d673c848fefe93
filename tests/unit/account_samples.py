"""An office with accounts, for tests: the database directly, and a `charge-office serve` process over it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from terminal_app.office import books, signing, store
from terminal_app.office.access import hash_of
from terminal_app.office.account_tables import account_holds, account_slices, entries
from terminal_app.office.accounts import Accounts, NewAccount
from terminal_app.office.receivables import Receivables
from terminal_app.office.slices import Slices

START_TIMEOUT_S = 60
OPERATOR = "operator-token-of-the-tests-0001"


class AccountDesk:
    """The account side of an office, in this process, on a database file that an office process may share."""

    def __init__(self, url: str, key_file: Path) -> None:
        self.url = url
        self.key = signing.load(key_file) if key_file.exists() else signing.create(key_file)
        self.database = store.Store(url, create=True)
        self.accounts = Accounts(self.database)
        self.slices = Slices(self.database, self.key)
        self.receivables = Receivables(self.database)

    def terminal(self, name: str = "") -> tuple[str, str]:
        """A new terminal: its id and its bearer token."""
        name, token = name or f"T-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
        with self.database.write() as db:
            row = {"terminal": name, "token_sha256": hash_of(token), "added_utc_ms": 1}
            db.execute(store.terminals.insert().values(**row))
        return name, token

    def account(self, balance_minor: int, blocked: bool = False, **more: Any) -> tuple[str, str]:
        """A new account: its id and the token of its card, valid at every terminal."""
        name, card = f"A-{secrets.token_hex(4).upper()}", secrets.token_hex(16)
        self.accounts.add(NewAccount(name, **{"currency": "EUR", **more}))
        self.accounts.add_card(name, card)
        if balance_minor:
            self.accounts.top_up(name, balance_minor, secrets.token_hex(8), "bank", "test")
        self.accounts.block(name, blocked)
        return name, card

    def rows(self, table: sa.Table, **where: Any) -> list[dict[str, Any]]:
        question = sa.select(table)
        for name, value in where.items():
            question = question.where(table.c[name] == value)
        with self.database.read() as db:
            return [dict(row) for row in db.execute(question).mappings()]

    def holds(self, **where: Any) -> list[dict[str, Any]]:
        return self.rows(account_holds, **where)

    def slice_rows(self, **where: Any) -> list[dict[str, Any]]:
        return self.rows(account_slices, **where)

    def entries_of(self, account: str) -> list[tuple[str, int]]:
        return [(row["book"], row["amount_minor"]) for row in self.rows(entries, account=account)]

    def trouble(self) -> list[str]:
        with self.database.read() as db:
            found = books.trouble(db)
            per_currency: dict[str, int] = {}
            for row in books.balances(db):
                per_currency[row["currency"]] = per_currency.get(row["currency"], 0) + row["amount_minor"]
        return found + [f"all books of {currency} add up to {total}" for currency, total in per_currency.items() if total]


class OfficeProcess:
    """`charge-office serve` on loopback, over an AccountDesk of this process. Can be killed and started again."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        self.desk = AccountDesk(f"sqlite:///{self.place}/office.db", self.place / "office.key")
        (self.place / "operator").write_text(OPERATOR)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "terminal_app.run.office", "serve", "--db", self.desk.url, "--key", "office.key"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--public-url", "https://office.invalid"]
        command += ["--operator-token-file", "operator"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self.place / "office.log").open("ab") as page:
            self._process = subprocess.Popen(command, cwd=self.place, env=environment, stdout=page, stderr=page)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert time.monotonic() < end and self._process.poll() is None, (self.place / "office.log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> None:
        """As a service manager does it."""
        assert self._process
        self._process.terminate()
        self._process.wait(20)

    def log(self) -> str:
        return (self.place / "office.log").read_text()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def close(self) -> None:
        self.kill()
        self.desk.database.close()
        shutil.rmtree(self.place)
