"""A terminal on paper whose cards are paid by a real office's accounts over HTTP: for tests of slices and crashes.

One thread: where the core asks the engine's thread, this asks at once. `online` says whether the office is in reach.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from terminal_app.config import AccountSection
from terminal_app.engine.pocket import LedgerPocket, PocketCare
from terminal_app.ledger.store import CommitProbe
from terminal_app.office import store
from terminal_app.payments.account import AccountGateway
from terminal_app.payments.offline import Offline
from terminal_app.session import actions, events
from terminal_app.workers.slices import SliceWorker
from tests.peers.venvs import free_port
from tests.sessions import T0, Paper, runtime_dir, site_files
from tests.unit.account_samples import OfficeProcess

CARD = "5e" * 16  # the token of the card that tests/sessions.py taps
SLICE_MINOR = 4000
SECTION = """[gateway.accounts]
kind = "account"
url = "{url}"
token_file = "account.token"
slice_minor = 4000
slice_days = 7
"""


def now_ms() -> int:
    """How late it is on a paper clock when it agrees with the office's."""
    return store.now_ms() - T0


def account_files(folder: Path, runtime: Path, office: OfficeProcess, balance_minor: int = 50_000) -> tuple[Path, str]:
    """A terminal of its own at this office, and an account for the card. terminal.toml and the account's id."""
    path = site_files(folder, runtime)
    terminal, token = office.desk.terminal()
    account, _ = office.desk.account(balance_minor)
    office.desk.accounts.add_card(account, CARD, terminal)
    (folder / "account.token").write_text(token)
    (folder / "office.pem").write_bytes(office.desk.key.public_pem)
    text = path.read_text().replace('id = "T-0001"', f'id = "{terminal}"')
    begin, end = text.index("[gateway.acquirer]"), text.index("[policy]")
    path.write_text(text[:begin] + SECTION.format(url=office.url) + text[end:])
    return path, account


class AccountPaper(Paper):
    """See the module."""

    starts_online = True

    def __init__(self, path: Path, wh: int = 1_234_560, probe: CommitProbe | None = None, ms: int | None = None) -> None:
        self.online = self.starts_online
        self._gateways = dict[bool, AccountGateway]()
        super().__init__(path, wh, probe, now_ms() if ms is None else ms)

    def gateway(self) -> AccountGateway:
        """Reaches the office, or a port where nobody listens."""
        if not self._gateways:
            section = self.config.gateway["accounts"]
            assert isinstance(section, AccountSection)
            pocket = LedgerPocket(self.engine, "accounts", lambda question, timeout_s: question())
            offline = Offline(self.config.terminal.id, self.config.office.public_key.read_bytes(), pocket)
            for online, url in ((True, section.url), (False, f"http://127.0.0.1:{free_port()}")):
                there = AccountSection(url=url, token_file=section.token_file)
                self._gateways[online] = AccountGateway("accounts", there, True, offline=offline)
        return self._gateways[self.online]

    def _answer(self, action: actions.Action) -> events.Event | None:
        match action:
            case actions.Authorize(hold=hold, card=card):
                return events.AuthorizationAnswered(hold.hold_id, self.gateway().authorize(hold, card, 4))
            case actions.Capture(hold=hold, step=step):
                return events.SettlementAnswered(hold.hold_id, step.key, self.gateway().capture(hold, step, 4))
            case actions.Void(hold=hold, step=step):
                return events.SettlementAnswered(hold.hold_id, step.key, self.gateway().void(hold, step, 4))
            case _:
                return super()._answer(action)

    def care(self, steps: int = 6) -> None:
        """The slice worker's work, as much as is due now."""
        direct = PocketCare(self.engine, lambda question, timeout_s: question())
        worker = SliceWorker({"accounts": self.gateway()}, direct, self.engine.inbox, pace_s=0)
        for _ in range(steps):
            worker.step()

    def settle(self) -> None:
        """Hours pass until nothing is open any more."""
        for _ in range(40):
            if not self.engine.state.settlements and not self.engine.state.sessions:
                return
            self.pass_time(1800)
            self.finish()
        raise AssertionError(f"still open: {self.engine.state.settlements}, {self.engine.state.sessions}")

    def close(self) -> None:
        for one in self._gateways.values():
            one.close()
        super().close()


@contextlib.contextmanager
def account_terminal(folder: Path, office: OfficeProcess, balance_minor: int = 50_000) -> Iterator[tuple[AccountPaper, str]]:
    """The terminal, and the id of its driver's account."""
    with runtime_dir() as runtime:
        path, account = account_files(folder, runtime, office, balance_minor)
        with contextlib.closing(AccountPaper(path)) as site:
            yield site, account
