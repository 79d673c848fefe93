"""The office's own page for accounts through the checkout kit, against a real office process behind the fault proxy."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.demo.phone import Page, Phone
from terminal_app.config import AccountPageSection
from terminal_app.office.access import hash_of
from terminal_app.office.phone_tables import account_checkouts
from terminal_app.payments.account_page import AccountPageGateway
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold
from tests.conformance.checkout_kit import CheckoutBench, CheckoutKit, fresh_hold, fresh_step, paid, shown
from tests.conformance.fault_proxy import FaultProxy
from tests.conformance.http_rules_kit import HttpRulesKit
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
        return Phone(language).get(url.replace("https://office.invalid", self.office.url))

    def pay(self, url: str, account: str = "", secret: str = SECRET, language: str = "en") -> Page:
        page = self.scan(url, language)
        return Phone(language).press(page, "", account=account or self.account, secret=secret)

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
        never={
            DeclineReason.AUTHENTICATION_WANTED: "the office wants no second factor",
            DeclineReason.GATEWAY_REFUSED: "the driver's account is refused, not the terminal",
        },
        finish=lambda hold, step, outcome: outcome,
        secrets=[driver.token],
        key_file=tmp_path / "token",
        at=at,
        secure=lambda url, ca_file: at(url, demo=False, ca_file=ca_file),
        forget=lambda: None,  # the office's keys are kept for ever
    )
    for gateway in made:
        gateway.close()
    proxy.close()


class TestAccountPage(CheckoutKit):
    gateway = "account-page"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], AccountPageGateway]]:
    (tmp_path / "token").write_text("a-token-of-nobody-000000000000")
    made = list[AccountPageGateway]()

    def gateway(url: str) -> AccountPageGateway:
        made.append(AccountPageGateway("phone", AccountPageSection(url=url, token_file=tmp_path / "token"), True))
        return made[-1]

    yield gateway
    for one in made:
        one.close()


class TestAccountPageHttp(HttpRulesKit):
    gateway = "account-page"


# --- what the driver sees ---------------------------------------------------------------------------------------------


def opened(bench: CheckoutBench, serial: int = 41) -> tuple[Hold, str]:
    hold = fresh_hold(serial)
    page = bench.gateway.open_checkout(hold, STATION, 10)
    assert isinstance(page, Checkout)
    return shown(hold, page), page.url


def test_the_page_names_place_connector_word_and_hold_before_anything_is_asked(bench: CheckoutBench, driver: Driver) -> None:
    page = driver.scan(opened(bench)[1])
    for words in ("Car park, level 1", "Connector 2", "ACDE", "50.00 EUR", "no payment yet"):
        assert words in page.text, words
    assert "demo" not in page.text.lower(), "the demo wallet is for demo offices"
    german = driver.scan(opened(bench)[1], "de-DE,de;q=0.9,en;q=0.8")
    assert "Ladepunkt 2" in german.text and "50,00 EUR reservieren" in german.text and '<html lang="de">' in german.html


def test_the_page_runs_no_script_and_is_kept_nowhere(bench: CheckoutBench, driver: Driver) -> None:
    page = driver.scan(opened(bench)[1])
    rules = page.headers["content-security-policy"]
    assert "default-src 'none'" in rules and "form-action 'self'" in rules and "script-src" not in rules
    assert page.headers["cache-control"] == "no-store" and page.headers["referrer-policy"] == "no-referrer"
    assert "<script" not in page.html and 'content="width=device-width' in page.html


@pytest.mark.parametrize(
    ("balance_minor", "more", "words"),
    [
        (10, {}, "balance is too low"),
        (9000, {"blocked": True}, "account is blocked"),
        (9000, {"hold_max_minor": 100}, "above the account's limit"),
    ],
)
def test_a_refusal_says_why_and_the_page_can_still_be_paid(
    bench: CheckoutBench, driver: Driver, balance_minor: int, more: dict[str, Any], words: str
) -> None:
    url = opened(bench)[1]
    refused = driver.pay(url, driver.opened(balance_minor, **more))
    assert refused.status == 402 and words in refused.text and "Nothing was held" in refused.text
    assert driver.held_minor() == 0
    assert "Held." in driver.pay(url).text and driver.held_minor() == 5000


def test_wrong_secret_unknown_account_and_no_words_are_refused_alike(bench: CheckoutBench, driver: Driver) -> None:
    url = opened(bench)[1]
    wrong, unknown = driver.pay(url, secret="not-it"), driver.pay(url, "A-NOBODY")
    assert wrong.status == unknown.status == 402
    assert "Account or secret is wrong" in wrong.text and "Account or secret is wrong" in unknown.text
    assert "fill in" in driver.pay(url, secret=" ").text
    assert driver.pay(url, f" {driver.account.lower()} ").status == 200, "small letters and blanks are a phone keyboard's"


def test_a_paid_page_is_never_paid_again(bench: CheckoutBench, driver: Driver) -> None:
    hold, url = opened(bench)
    form = driver.scan(url)  # kept by the back button
    first = driver.pay(url)
    assert first.status == 200 and "Go on at the charger" in first.text
    again = Phone().press(form, "Hold", account=driver.account, secret=SECRET)
    other = Phone().press(form, "Hold", account=driver.opened(9000), secret=SECRET)
    assert again.status == 200 and "Go on at the charger" in again.text
    assert other.status == 422 and "Another account has paid here already" in other.text
    seen = driver.scan(url)
    assert "cannot be paid again" in seen.text and driver.account not in seen.html, "a stranger learns nothing of who paid"
    assert driver.held_minor() == 5000
    bench.gateway.void(hold, fresh_step("void", 5000), 10)
    assert driver.pay(url).status == 200 and driver.held_minor() == 0, "a released hold stays released"


def test_an_ended_page_says_so_and_takes_nothing(bench: CheckoutBench, driver: Driver) -> None:
    hold, url = opened(bench)
    form = driver.scan(url)
    assert isinstance(bench.gateway.expire_checkout(hold, 10), Declined)
    late = Phone().press(form, "Hold", account=driver.account, secret=SECRET)
    assert late.status == driver.scan(url).status == 410
    assert "has ended" in late.text and "Nothing was held" in late.text
    assert driver.scan(f"{driver.office.url}/pay/{'x' * 43}").status == 404
    assert driver.held_minor() == 0


def test_a_page_that_is_opened_again_has_another_address(bench: CheckoutBench, driver: Driver) -> None:
    hold, url = opened(bench)
    bench.gateway.expire_checkout(hold, 10)
    again = bench.gateway.open_checkout(fresh_hold(), STATION, 10)
    assert isinstance(again, Checkout) and again.url != url
    assert driver.scan(url).status == 404 and driver.scan(again.url).status == 200


def test_guessing_ends_after_a_few_tries(bench: CheckoutBench, driver: Driver) -> None:
    victim = driver.opened(9000)
    url = opened(bench)[1]
    answers = [driver.pay(url, victim, f"guess-{n}").status for n in range(7)]
    assert answers.count(402) <= 5 * 2 and answers[-1] == 429, "five a minute; a new minute may begin in between"
    one_page = [driver.pay(opened(bench, 77)[1], driver.opened(9000), f"guess-{n}").status for n in range(12)]
    assert one_page == [402] * 10 + [429] * 2, "a page takes ten wrong tries, whatever the account"
    assert "Too many wrong tries" in driver.pay(opened(bench, 77)[1]).text
    assert driver.pay(opened(bench, 78)[1]).status == 200, "another page is not touched by it"
    assert driver.held_minor() == 5000


def test_good_tries_are_not_counted(bench: CheckoutBench, driver: Driver) -> None:
    """A fleet's drivers share one account."""
    assert [driver.pay(opened(bench, 100 + n)[1]).status for n in range(12)] == [200] * 12


@pytest.mark.parametrize("body", [b"account=" + b"A" * 5000, b"\xff\xfe=\x00", b"a=1&" * 50, b""])
def test_a_form_that_is_none_changes_nothing(bench: CheckoutBench, driver: Driver, body: bytes) -> None:
    page = driver.scan(opened(bench)[1])
    assert Phone().post(page.url, body).status == 422
    assert driver.held_minor() == 0


def test_the_screen_learns_why_the_last_account_was_refused(bench: CheckoutBench, driver: Driver) -> None:
    hold, url = opened(bench)
    driver.decline(url, DeclineReason.INSUFFICIENT_FUNDS)
    bench.gateway.expire_checkout(hold, 10)
    assert bench.gateway.poll_checkout(hold, 10) == Declined(DeclineReason.INSUFFICIENT_FUNDS, "insufficient_funds")


def test_another_terminal_neither_sees_nor_ends_the_page(bench: CheckoutBench, driver: Driver, tmp_path: Path) -> None:
    hold, url = opened(bench)
    token = tmp_path / "token"
    mine = token.read_text()
    token.write_text(driver.desk.terminal()[1])
    assert bench.gateway.expire_checkout(hold, 10) == Declined(DeclineReason.TOO_LATE, "unknown_checkout")
    token.write_text(mine)
    assert driver.pay(url).status == 200 and isinstance(bench.gateway.poll_checkout(hold, 10), Approved)


def test_a_killed_office_keeps_what_was_paid(bench: CheckoutBench, driver: Driver) -> None:
    hold, url = opened(bench)
    assert driver.pay(url).status == 200
    driver.office.kill()
    driver.office.start()
    assert isinstance(bench.gateway.poll_checkout(hold, 10), Approved) and driver.held_minor() == 5000


def test_what_a_phone_holds_is_captured_and_refunded_like_any_hold(bench: CheckoutBench, driver: Driver) -> None:
    hold = paid(bench)
    assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1190), 10), Approved)
    assert isinstance(bench.gateway.refund(hold, fresh_step("refund", 90), 10), Approved)
    (row,) = driver.desk.holds(terminal=driver.terminal)
    assert (row["account"], row["captured_minor"], row["refunded_minor"]) == (driver.account, 1190, 90)
