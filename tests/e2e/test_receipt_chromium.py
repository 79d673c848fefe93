"""The signed line of a receipt in a real browser: verified without the network, a change is found, a stranger's key is told."""

from collections.abc import Iterator

import pytest

from terminal_app.billing.compact_receipt import compact_of, seal, signing_input
from terminal_app.billing.receipt import receipt_code, receipt_of
from terminal_app.billing.record import open_record, sha256_of
from terminal_app.office import store
from tests.peers.chromium import Chromium, installed
from tests.unit.account_samples import OfficeProcess
from tests.unit.billing_samples import Key, sealed
from tests.unit.office_samples import TERMINAL, pem

pytestmark = pytest.mark.full
KEY = Key()
CODE = receipt_code((5).to_bytes(20))


@pytest.fixture
def office() -> Iterator[OfficeProcess]:
    office = OfficeProcess()
    with office.desk.database.write() as db:
        db.execute(store.terminals.insert().values(terminal=TERMINAL, token_sha256="0" * 64, added_utc_ms=1))
        row = {"terminal": TERMINAL, "key_id": KEY.key_id, "purpose": "record", "spki_pem": pem(KEY), "added_utc_ms": 1}
        db.execute(store.keys.insert().values(**row))
    yield office
    office.stop()


@pytest.fixture
def browser() -> Iterator[Chromium]:
    if not installed():
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    browser = Chromium(390, 844)
    yield browser
    browser.close()


def line_of(key: Key) -> str:
    text = sealed(key, receipt_number="T-0001-a1b2-000042")
    signing = signing_input(compact_of(receipt_of(open_record(text, key.spki)), sha256_of(text), 948), key.spki)
    return seal(signing, key.sign(signing))


def said(browser: Chromium) -> str:
    return str(browser.run("document.body.innerText"))


def shows(browser: Chromium, url: str, words: str) -> str:
    browser.open("about:blank")  # else only the fragment changes
    browser.open(url)
    browser.wait(lambda: words in said(browser))
    return said(browser)


@pytest.mark.parametrize("page", ["verify", f"r/{CODE}", "static/verify.html"])
def test_a_phone_checks_the_line_where_the_record_has_not_arrived(office: OfficeProcess, browser: Chromium, page: str) -> None:
    text = shows(browser, f"{office.url}/{page}#{line_of(KEY)}", "belongs to charger T-0001")
    for fact in ("signature is good", "9.48", "12.345 kWh", "1234.560 kWh", "T-0001-a1b2-000042", KEY.key_id, "1.51"):
        assert fact in text, fact


def test_a_change_and_a_stranger_s_key_are_told(office: OfficeProcess, browser: Chromium) -> None:
    line = line_of(KEY)
    changed = line[:400] + ("A" if line[400] != "A" else "B") + line[401:]
    for bad in (changed, line[:-4], "e30.e30.e30"):
        text = shows(browser, f"{office.url}/verify#{bad}", "e")
        browser.wait(lambda: "NOT fit" in said(browser) or "not a receipt" in said(browser))
        assert "signature is good" not in text
    shows(browser, f"{office.url}/verify#{line_of(Key())}", "does not know the key")


def test_once_loaded_it_needs_no_network(office: OfficeProcess, browser: Chromium) -> None:
    browser.open(f"{office.url}/verify")
    office.kill()
    browser.run(f"location.hash = {line_of(KEY)!r}")
    browser.wait(lambda: "could not be asked" in said(browser))
    assert "signature is good" in said(browser) and "9.48" in said(browser)
    office.start()
