"""The office's own page for accounts through the checkout kit, against a real office process behind the fault proxy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.config import AccountPageSection
from terminal_app.office.access import hash_of
from terminal_app.office.phone_tables import account_checkouts
from terminal_app.payments.account_page import AccountPageGateway
from terminal_app.values import DeclineReason
from tests.browser import Browser, Page
from tests.conformance.checkout_kit import CheckoutBench, CheckoutKit
from tests.conformance.fault_proxy import FaultProxy
from tests.peers.venvs import free_port
from tests.unit.account_samples import OfficeProcess

STATION = "Car park, level 1 / 2 / ACDE"
SECRET = "the-secret-of-an-account-holder"
DECLINES = (
    DeclineReason.INSUFFICIENT_FUNDS,
    DeclineReason.CARD_INVALID,
    DeclineReason.REFUSED,
    DeclineReason.LIMIT_EXCEEDED,
)


class Driver:
    """Drivers with accounts at the office, their phones, and the office's books of one terminal."""

    def __init__(self, office: OfficeProcess) -> None:
        self.office, self.desk = office, office.desk
        self.terminal, self.token = office.desk.terminal()
        self.account = self.opened(1_000_000)
        self._pages: dict[str, Page] = {}

    def opened(self, balance_minor: int, **more: Any) -> str:
        return self.desk.account(balance_minor, secret_sha256=hash_of(SECRET), **more)[0]

    def scan(self, url: str, language: str = "en") -> Page:
        """The page of an address that the office gave out; the public name leads to the process of this test."""
        return Browser(language).get(url.replace("https://office.invalid", self.office.url))

    def pay(self, url: str, account: str = "", secret: str = SECRET, language: str = "en") -> Page:
        page = self.scan(url, language)
        return Browser(language).press(page, "", account=account or self.account, secret=secret)

    def decline(self, url: str, reason: DeclineReason) -> None:
        match reason:
            case DeclineReason.INSUFFICIENT_FUNDS:
                self.pay(url, self.opened(10))
            case DeclineReason.CARD_INVALID:
                self.pay(url, secret="wrong")
            case DeclineReason.REFUSED:
                self.pay(url, self.opened(9000, blocked=True))
            case _:
                self.pay(url, self.opened(9000, hold_max_minor=100))

    def held_minor(self) -> int:
        rows = [row for row in self.desk.holds(terminal=self.terminal) if row["state"] != "voided"]
        return sum(row["captured_minor"] if row["state"] == "captured" else row["held_minor"] for row in rows)

    def captures(self) -> list[int]:
        return [row["captured_minor"] for row in self.desk.holds(terminal=self.terminal, state="captured")]

    def refunds(self) -> list[int]:
        return [row["refunded_minor"] for row in self.desk.holds(terminal=self.terminal) if row["refunded_minor"]]

    def open_pages(self) -> int:
        return len(self.desk.rows(account_checkouts, terminal=self.terminal, state="open"))


@pytest.fixture(scope="module")
def office() -> Iterator[OfficeProcess]:
    process = OfficeProcess()
    yield process
    assert process.desk.trouble() == []
    log = process.log()
    process.close()
    assert "Traceback" not in log and "/pay/" not in log and SECRET not in log


@pytest.fixture
def driver(office: OfficeProcess) -> Driver:
    return Driver(office)


@pytest.fixture
def bench(driver: Driver, tmp_path: Path) -> Iterator[CheckoutBench]:
    (tmp_path / "token").write_text(driver.token)
    proxy = FaultProxy(driver.office.port)
    made: list[AccountPageGateway] = []

    def at(url: str, off_ms: int = 0, demo: bool = True, ca_file: Path | None = None) -> AccountPageGateway:
        made.append(AccountPageGateway("phone", AccountPageSection(url=url, token_file=tmp_path / "token", ca_file=ca_file), demo))
        return made[-1]

    yield CheckoutBench(
        gateway=at(proxy.url),
        unreachable=at(f"http://127.0.0.1:{free_port()}"),
        proxy=proxy,
        books=driver,
        pay=driver.pay,  # type: ignore[arg-type]
        decline=driver.decline,
        declines=DECLINES,
        finish=lambda hold, step, outcome: outcome,
        secrets=[driver.token],
        key_file=tmp_path / "token",
        at=at,
        secure=lambda url, ca_file: at(url, demo=False, ca_file=ca_file),
    )
    for gateway in made:
        gateway.close()
    proxy.close()


class TestAccountPage(CheckoutKit):
    pass
