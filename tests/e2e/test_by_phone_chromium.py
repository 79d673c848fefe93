"""The pages for phones in a real browser at phone size: what a driver sees from the scanned code to the receipt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo.site import Wanted
from terminal_app import screens as s
from tests.e2e.chromium import SMALL, phone
from tests.e2e.test_by_phone_at_the_office import ACCOUNT, PRICE, Driver
from tests.e2e.visit import Visit

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    wanted = Wanted(price=PRICE, energy_wh=6000, policy={"checkout_window_s": 120, "checkpoint_s": 5}, ui=False, by_phone=True)
    with Visit(tmp_path_factory.mktemp("chromium-page"), wanted) as visit:
        yield Driver(visit)


def test_scan_pay_watch_stop_receipt(driver: Driver, tmp_path: Path) -> None:
    visit = driver.visit
    visit.site.plug()
    code = driver.code()
    with phone(tmp_path) as mine:
        mine.open(code.url)
        assert code.check_word in mine.text
        mine.shot("1-pay")
        mine.fill(account=ACCOUNT.lower(), secret="not-it")
        mine.press("Hold")
        mine.wait("Account or secret is wrong")
        mine.shot("2-wrong")
        mine.fill(account=ACCOUNT, secret=driver.secret)
        mine.press("Hold")
        mine.wait("are held")
        mine.shot("3-held")
        visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 5)
        mine.wait("so far")  # the page renews itself
        mine.shot("4-charging")
        mine.press("Stop the charge")
        mine.wait("Stop was sent")
        mine.shot("5-stopping")
        visit.paid()
        mine.wait("EUR taken")
        mine.shot("6-charged")
        mine.press("Receipt")
        mine.wait("stopped remotely")
        mine.shot("7-receipt")
        mine.driver.back()
        mine.open(code.url)
        assert "cannot be paid again" in mine.text
        mine.shot("8-paid-page")
    visit.leave()
    visit.settled()


def test_german_on_a_small_phone_with_the_demo_wallet(driver: Driver, tmp_path: Path) -> None:
    visit = driver.visit
    code = driver.code()
    with phone(tmp_path, "de", SMALL, dark=True) as mine:
        mine.open(code.url)
        mine.shot("1-bezahlen")
        mine.press("Demo-Guthaben")
        mine.wait("sind reserviert")
        mine.shot("2-reserviert")
        mine.driver.back()  # to the form of before
        mine.press("Demo-Guthaben")
        mine.wait("sind reserviert")
        visit.glass.touch_until(s.Button.CANCEL, s.Offer)
        mine.wait("Es wurde nicht geladen")
        mine.wait("Es wurde nichts abgebucht")
        mine.shot("3-nichts")
        mine.open(f"{visit.site.office_url}/go/DEMO-0001/1")
        mine.wait("Vergleichen Sie")
        mine.shot("4-aufkleber")
    assert len([row for row in driver.holds() if row["account"].startswith("DEMO-")]) == 1
    visit.settled()
