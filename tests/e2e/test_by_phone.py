"""Paying by phone: real processes, and a Checkout simulator as the gateway (reference payments.md section 1.3)."""

import time
from collections.abc import Iterator

import pytest

from scripts.demo.site import Site, Wanted
from terminal_app import screens as s
from tests.conformance.fault_proxy import FaultProxy
from tests.e2e.visit import Visit, price_of, until
from tests.peers import stripe as peers

PRICE = "0.59"


class Phone:
    """A site with both ways to pay, and the gateway's own books."""

    def __init__(self, visit: Visit, books: peers.GetpaidBooks) -> None:
        self.visit, self.books = visit, books

    def page(self) -> s.PayByPhone:
        """Touch the button; the page's code once it is on the glass."""
        self.visit.glass.wait(s.Offer, lambda view: view.by_phone)
        self.visit.glass.touch_until(s.Button.PAY_BY_PHONE, s.PayByPhone)
        found: s.PayByPhone = self.visit.glass.wait(s.PayByPhone, lambda view: view.url)
        return found

    def nothing_is_owed(self) -> None:
        """No page can be paid any more and no money is held that nobody captured."""
        self.visit.settled()
        assert self.books.open_pages() == 0
        assert {one["status"] for one in self.books.intents()} <= {"succeeded", "canceled"}


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    folder = tmp_path_factory.mktemp("phone")
    key = folder / "stripe.key"
    key.write_text(peers.KEY + "\n")
    key.chmod(0o600)
    with peers.getpaid() as peer:
        proxy = FaultProxy(peer.port, peers.StripeFront())

        class WithPages(Site):
            def write_config(self) -> None:
                super().write_config()
                section = {"kind": "stripe", "secret_key_file": str(key), "url": proxy.url, "return_url": "https://office.example"}
                lines = "".join(f'{name} = "{value}"\n' for name, value in section.items())
                self.config.write_text(f"{self.config.read_text()}\n[gateway.phone]\n{lines}")

        wanted = Wanted(price=PRICE, energy_wh=3000, policy={"checkout_window_s": 30, "declined_show_s": 30}, ui=False)
        try:
            with Visit(folder, wanted, WithPages) as visit:
                yield Phone(visit, peers.GetpaidBooks(peer.port, proxy))
        finally:
            proxy.close()


def test_scan_pay_charge_receipt(phone: Phone) -> None:
    visit = phone.visit
    visit.site.plug()
    page = phone.page()
    phone.books.phone(page.url, "pay")
    visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 5)
    receipt = visit.stop()
    assert receipt.money is s.MoneyWords.CAPTURED and receipt.card == "Visa ···· 4242"
    assert receipt.total_minor == price_of(receipt.energy_wh, PRICE) and phone.books.captures() == [receipt.total_minor]
    payment = visit.records()[-1]["payment"]
    assert (payment["gateway"], payment["card"]["entry"]) == ("phone", "qr")
    visit.leave()
    phone.nothing_is_owed()


def test_cancelled_page_cannot_be_paid_and_a_card_pays_instead(phone: Phone) -> None:
    visit, captures = phone.visit, len(phone.books.captures())
    phone.page()
    visit.glass.touch_until(s.Button.CANCEL, s.Offer)
    assert phone.books.open_pages() == 0
    visit.charge()
    assert visit.stop().card.startswith("Mastercard")
    visit.leave()
    phone.nothing_is_owed()
    assert len(phone.books.captures()) == captures


def test_the_core_dies_while_the_page_is_open(phone: Phone) -> None:
    """Paid or not: the page is ended and the money released after the restart."""
    for paid in (False, True):
        page = phone.page()
        phone.visit.kill_core()
        if paid:
            phone.books.phone(page.url, "pay")
            assert phone.books.held_minor() > 0
        phone.visit.start_core()
        until(lambda: phone.books.open_pages() == 0, "the page to be ended")
        phone.nothing_is_owed()
        phone.visit.leave()


def test_a_page_nobody_pays_ends_by_itself(phone: Phone) -> None:
    phone.page()
    began = time.monotonic()
    told = phone.visit.glass.wait(s.DeclinedView, timeout_s=60)
    assert told.reason is s.DeclineWords.PHONE_TIMEOUT and time.monotonic() - began < 60
    phone.visit.leave()
    phone.nothing_is_owed()
