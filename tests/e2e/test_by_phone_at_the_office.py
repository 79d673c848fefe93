"""Paying on the office's own page: real processes, the driver's phone over HTTP; watched and stopped from there."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.demo.phone import Page, Phone
from scripts.demo.site import Wanted, call
from terminal_app import screens as s
from tests.e2e.clock import NEEDS_CLOCK
from tests.e2e.visit import Visit, price_of, until

PRICE = "0.59"
ACCOUNT = "A-DRIVER-0042"


class Driver:
    """A driver with an account at the office, in front of a charger that offers to pay by phone."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.phone = visit, Phone()
        site, secret = visit.site, visit.site.folder / "driver.secret"
        books = ("--db", f"sqlite:///{site.office_db}")
        call("charge-office", "account", "add", ACCOUNT, *books, "--currency", "EUR", "--secret-file", str(secret))
        call("charge-office", "account", "topup", ACCOUNT, "200.00", *books, "--way", "bank", "--note", "test")
        self.secret = secret.read_text().strip()

    def code(self) -> s.PayByPhone:
        """Touch the button; the page's code once it is on the glass."""
        self.visit.glass.wait(s.Offer, lambda view: view.by_phone)
        self.visit.glass.touch_until(s.Button.PAY_BY_PHONE, s.PayByPhone)
        found: s.PayByPhone = self.visit.glass.wait(s.PayByPhone, lambda view: view.url)
        return found

    def watch(self, page: Page, words: str, timeout_s: float = 45.0) -> Page:
        """Load the page again until it says so."""
        return until_page(self.phone, page, words, timeout_s)

    def sticker(self) -> Page:
        """The page of the address on the charger, once somebody has paid there: then the office knows what it sells."""
        if not self.visit.records():
            self.visit.charge()
            self.visit.stop()
            self.visit.leave()
        self.visit.settled()
        return self.phone.get(f"{self.visit.site.office_url}/go/DEMO-0001/1")

    def holds(self) -> list[dict[str, Any]]:
        return self.visit.site.account_rows()


def until_page(phone: Phone, page: Page, words: str, timeout_s: float) -> Page:
    end = time.monotonic() + timeout_s
    while words not in page.text:
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {words!r}; the phone shows: {page.text}")
        time.sleep(0.3)
        page = phone.get(page.url)
    return page


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    wanted = Wanted(price=PRICE, energy_wh=3000, policy={"checkout_window_s": 60, "checkpoint_s": 5}, ui=False, by_phone=True)
    with Visit(tmp_path_factory.mktemp("office-page"), wanted) as visit:
        yield Driver(visit)


def test_scan_pay_watch_stop_receipt(driver: Driver) -> None:
    visit, phone = driver.visit, driver.phone
    visit.site.plug()
    code = driver.code()
    page = phone.get(code.url)
    assert code.check_word in page.text and "Demo car park" in page.text and "20.00 EUR" in page.text
    wrong = phone.press(page, "Hold", account=ACCOUNT, secret="not-it")
    assert "Account or secret is wrong" in wrong.text and isinstance(visit.glass.view, s.PayByPhone)
    page = phone.press(wrong, "Hold", account=ACCOUNT, secret=driver.secret)
    assert "Go on at the charger" in page.text
    visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 5)
    page = driver.watch(page, "so far")
    page = phone.press(page, "Stop the charge")
    assert "Stop was sent" in page.text
    visit.glass.wait(s.Receipt)
    receipt = visit.paid()
    page = driver.watch(page, "EUR taken")
    assert receipt.total_minor == price_of(receipt.energy_wh, PRICE)
    assert f"{receipt.total_minor // 100}.{receipt.total_minor % 100:02d} EUR taken" in page.text
    bill = phone.get(page.links["Receipt"])
    assert bill.status == 200 and "stopped remotely" in bill.text
    assert [(row["account"], row["captured_minor"]) for row in driver.holds()] == [(ACCOUNT, receipt.total_minor)]
    assert phone.get(code.url).text.count("cannot be paid again") == 1
    visit.leave()
    visit.settled()


def test_cancelled_on_the_glass_while_the_page_is_open_on_the_phone(driver: Driver) -> None:
    holds = len(driver.holds())
    page = driver.phone.get(driver.code().url)
    driver.visit.glass.touch_until(s.Button.CANCEL, s.Offer)
    late = driver.phone.press(page, "Hold", account=ACCOUNT, secret=driver.secret)
    assert late.status == 410 and "Nothing was held" in late.text
    assert len(driver.holds()) == holds
    driver.visit.settled()


@pytest.mark.parametrize("paid", [False, True])
def test_the_core_dies_while_the_page_is_open(driver: Driver, paid: bool) -> None:
    """Paid or not: the page is ended and the money released after the restart."""
    code = driver.code()
    page = driver.phone.get(code.url)
    driver.visit.kill_core()
    if paid:
        assert "Go on at" in driver.phone.press(page, "Hold", account=ACCOUNT, secret=driver.secret).text
        assert driver.holds()[-1]["state"] == "held"
    driver.visit.start_core()
    ended = "cannot be paid again" if paid else "has ended"
    until(lambda: ended in driver.phone.get(code.url).text, "the page to be ended")
    until(lambda: all(row["state"] != "held" for row in driver.holds()), "the money to be released")
    driver.visit.settled()
    driver.visit.leave()


@NEEDS_CLOCK
def test_start_by_the_sticker_stop_by_the_phone(driver: Driver) -> None:
    visit, phone = driver.visit, driver.phone
    sticker = driver.sticker()
    visit.site.plug()
    visit.glass.wait(s.Offer)
    assert "Demo car park" in sticker.text and "0.59 EUR per kWh" in sticker.text
    page = phone.press(sticker, "and start", account=ACCOUNT, secret=driver.secret)
    visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 5)
    page = driver.watch(page, "Charging")
    phone.press(sticker, "and start", account=ACCOUNT, secret=driver.secret)  # pressed again: nothing more is held
    phone.press(page, "Stop the charge")
    receipt = visit.paid()
    page = driver.watch(page, "EUR taken")
    assert f"{receipt.total_minor // 100}.{receipt.total_minor % 100:02d} EUR taken" in page.text
    hold = driver.holds()[-1]
    assert (hold["account"], hold["state"], hold["captured_minor"]) == (ACCOUNT, "captured", receipt.total_minor)
    assert phone.get(page.links["Receipt"]).status == 200
    assert visit.records()[-1]["payment"]["trace"]["hold"] == hold["hold"]
    visit.leave()
    visit.settled()


def test_a_start_that_no_charger_hears_is_free_again(driver: Driver) -> None:
    """The charger is out of reach for longer than the order lives."""
    visit, phone = driver.visit, driver.phone
    sticker = driver.sticker()
    visit.site.end("charge-terminal-sync")
    page = phone.press(sticker, "and start", account=ACCOUNT, secret=driver.secret)
    assert "Starting at the charger" in page.text and driver.holds()[-1]["state"] == "held"
    ((expires_ms,),) = visit.site.office_rows("SELECT expires_utc_ms FROM commands ORDER BY number DESC LIMIT 1")
    until(lambda: time.time() * 1000 > expires_ms + 1000, "the order to expire", 90)
    visit.site.start_sync()  # a connection of before may have got the order: now the terminal says that it has not taken it
    page = driver.watch(page, "did not start")
    assert "free again" in page.text and driver.holds()[-1]["state"] == "voided"
    visit.settled()
