"""What stops a start, what is sold and what is not, and what a killed process leaves behind."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo.site import Wanted
from terminal_app import screens as s
from tests.e2e.visit import Visit, held_at, interrupted, rows_of, until, wrongs

PRICE = "0.59"


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """One site for the module, its core killed and started as the tests like; each leaves it as it found it."""
    wanted = Wanted(price=PRICE, energy_wh=3000, policy={"receipt_show_s": 600}, ui=False)
    with Visit(tmp_path_factory.mktemp("site"), wanted) as visit:
        yield visit


TAPS = 0


@pytest.fixture
def visit(site: Visit) -> Iterator[Visit]:
    site.offer()
    yield site
    site.glass.shows = True
    if "charge-terminal" not in site.site.processes:
        site.start_core()
    if "charge-terminal-sync" not in site.site.processes:
        site.site.start_sync()
    site.site.network(True)
    site.site.write_config()
    site.leave()
    site.settled()
    assert list(wrongs(site, TAPS, PRICE)) == []


def charge(visit: Visit) -> s.Charging:
    global TAPS
    TAPS += 1
    return visit.charge(50)


def sold_at(visit: Visit, price: str | None) -> None:
    """The same site with another price: the core starts anew with another tariff."""
    visit.end_core()
    visit.site.wanted.price = price
    visit.site.write_config()
    visit.start_core()


# --- price and money -------------------------------------------------------------------------------------------------


def test_tap_before_the_price_was_shown(visit: Visit) -> None:
    """The core has sent the price, but no frame is on the glass yet: a card on the reader means nothing."""
    global TAPS
    visit.end_core()
    visit.glass.shows = False
    visit.start_core()
    visit.glass.wait(s.Offer)
    before = visit.messages()
    visit.lay_card()
    time.sleep(3)
    view = visit.glass.view
    assert isinstance(view, s.Offer) and not view.card_ready
    assert visit.messages() == before, "the bank was asked before the price could be read"
    visit.take_card()
    visit.glass.shows = True
    visit.kill_core()
    visit.start_core()
    visit.site.plug()
    TAPS += 1
    assert isinstance(visit.tap(), s.Charging), "the same card pays once the price is on the glass"
    visit.glass.wait(s.Charging, lambda view: view.energy_wh > 0)
    visit.stop()


def test_no_tariff_is_not_for_sale(visit: Visit) -> None:
    try:
        sold_at(visit, None)
        visit.glass.wait(s.NotForSale, lambda view: view.reason is s.NotForSaleReason.NO_TARIFF)
        before = visit.messages()
        visit.site.plug()
        visit.lay_card()
        visit.glass.touch(s.Button.START)
        time.sleep(2)
        visit.take_card()
        assert isinstance(visit.glass.view, s.NotForSale)
        assert visit.messages() == before
        assert not visit.site.devices["evse"].ctl("get")["contacts_closed"]
        visit.site.unplug()
    finally:
        sold_at(visit, PRICE)


def test_explicit_zero_tariff_charges_without_payment(visit: Visit) -> None:
    bills, before = len(visit.records()), visit.messages()
    try:
        sold_at(visit, "0")
        offer = visit.glass.wait(s.Offer)
        assert offer.free and offer.hold_minor == 0
        visit.site.plug()
        visit.glass.touch_until(s.Button.START, s.Charging)
        visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 50)
        visit.glass.touch_until(s.Button.STOP, s.Receipt)
        receipt = visit.glass.wait(s.Receipt)
        assert (receipt.total_minor, receipt.money) == (0, s.MoneyWords.FREE)
        visit.leave()
        visit.settled()
        free = visit.records()[bills]
        assert free["payment"] is None and free["totals"]["total_minor"] == 0 and free["energy_wh"] >= 50
        assert visit.messages() == before, "nothing about a free charge goes to the bank"
    finally:
        sold_at(visit, PRICE)


def test_silent_bank_is_told_within_20_s_as_shipped(visit: Visit) -> None:
    """With the deadline nobody has configured."""
    global TAPS
    TAPS += 1
    visit.site.devices["acquirer"].ctl("next", answer="silent", mti="0100")
    view = visit.tap()
    assert isinstance(view, s.DeclinedView) and view.reason is s.DeclineWords.BANK_SILENT
    told = visit.glass.history[-1]
    asked = next(one for one in reversed(visit.glass.history) if isinstance(one.view, s.BankWait))
    assert isinstance(told.view, s.DeclinedView) and told.at_s - asked.at_s < 20
    visit.settled()
    assert held_at(visit.site) == []


# --- office and network ----------------------------------------------------------------------------------------------


def test_office_down_the_charge_works_and_its_record_waits(visit: Visit) -> None:
    visit.site.end("charge-office")
    charge(visit)
    until(lambda: "office" in visit.faults(), "the office fault")
    assert visit.stop().money is s.MoneyWords.CAPTURED
    visit.leave()
    visit.settled(delivered=False)
    waiting = visit.site.status()["records"]["waiting"]
    assert waiting >= 2, "bill and end of the hold wait"
    visit.site.start_office()
    visit.settled()
    until(lambda: "office" not in visit.faults(), "the office fault to clear")


def test_sync_killed_while_it_delivers(visit: Visit) -> None:
    charge(visit)
    visit.site.kill("charge-terminal-sync")
    assert visit.stop().money is s.MoneyWords.CAPTURED
    assert visit.site.status()["records"]["waiting"] > 0
    visit.site.start_sync()
    visit.settled()


def test_network_lost_while_charging(visit: Visit) -> None:
    """Acquirer and office gone: the charge goes on, ends, shows its receipt; money and records follow."""
    charge(visit)
    visit.site.network(False)
    visit.glass.touch_until(s.Button.STOP, s.Receipt)
    assert visit.glass.wait(s.Receipt).money is s.MoneyWords.SETTLING
    assert visit.site.status()["open_holds"] == 1
    visit.site.network(True)
    assert visit.paid().money is s.MoneyWords.CAPTURED
    visit.settled()


# --- power and crashes -----------------------------------------------------------------------------------------------


def test_power_cut_while_charging(visit: Visit) -> None:
    charge(visit)
    bills = len(visit.records())
    visit.site.power_cut()
    visit.glass.forget()
    visit.settled()
    (bill,) = visit.records()[bills:]
    assert interrupted(bill) == "power_cut"
    assert bill["register"]["stop_wh"] == visit.meter_wh(), "the end is what the meter says"
    assert bill["register"]["stop_source"] == "meter"
    with urllib.request.urlopen(f"{visit.site.office_url}/r/{bill['receipt']['code']}", timeout=10) as answer:
        page = answer.read().decode()
    assert re.search("interrupt", page, re.IGNORECASE), "the receipt says that the charge was interrupted"


def test_third_crash_in_a_row_is_out_of_service_but_settles(visit: Visit) -> None:
    """A core that dies again and again sells nothing more, yet takes what is owed and delivers what waits."""
    charge(visit)
    visit.site.devices["acquirer"].ctl("network", on=False)
    visit.glass.touch_until(s.Button.STOP, s.Receipt)
    for _ in range(3):
        visit.kill_core()
        visit.start_core()
        visit.site.wait_for("the core", lambda now: True)
    visit.glass.wait(s.OutOfService, lambda view: view.reason is s.OutOfServiceReason.REPEATED_CRASH)
    assert held_at(visit.site), "the capture was still owed"
    visit.site.devices["acquirer"].ctl("network", on=True)
    visit.settled()
    visit.end_core()
    visit.start_core()
    visit.offer()


def test_ledger_that_does_not_verify(visit: Visit) -> None:
    """One flipped byte: out of service, the screen and the status say why, nothing is sold; the original works again."""
    visit.end_core()
    ledger, kept = visit.site.state / "ledger.db", visit.site.folder / "kept.db"
    with contextlib.closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(ledger, kept)
    content = bytearray(ledger.read_bytes())
    spot = content.rindex(b"bill_frozen") - 20
    content[content.rindex(b'"total_minor":') + 14] ^= 0x01
    assert spot > 0
    ledger.write_bytes(content)
    try:
        visit.start_core()
        visit.glass.wait(s.OutOfService, lambda view: view.reason is s.OutOfServiceReason.LEDGER)
        status = visit.site.status()
        assert status["out_of_service"] == "ledger"
        assert "entry" in status["why"], status
        before = visit.messages()
        visit.lay_card()
        time.sleep(2)
        visit.take_card()
        assert visit.messages() == before
        exported = visit.site.folder / "exported"
        export = subprocess.run(
            [program("charge-service"), "--config", str(visit.site.config)]
            + ["records", "export", "--format", "jws", "--out", str(exported)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        sealed = {row["jws"] for row in rows_of(ledger, "SELECT jws FROM records")}
        written = "".join(path.read_text() for path in sorted(exported.rglob("*")) if path.is_file())
        assert all(jws in written for jws in sealed), (export.returncode, export.stdout, export.stderr)
    finally:
        visit.kill_core()
        for suffix in ("", "-wal", "-shm"):
            ledger.with_name(f"ledger.db{suffix}").unlink(missing_ok=True)
        shutil.copy(kept, ledger)
        ledger.chmod(0o600)
        (visit.site.state / "starts").unlink(missing_ok=True)
        visit.start_core()
    visit.offer()


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((r'driver = "openevse"', 'driver = "opnevse"'), ("[evse.main] driver", "opnevse")),
        ((r"hold_minor = \d+", "hold_mnor = 2000"), ("[policy]", "hold_mnor")),
        ((r"max_current_a = \d+\n", ""), ("[[connector]] no. 1", "max_current_a")),
        ((r"number = 1", "number = 9"), ("[[connector]] no. 1: number", "8")),
        ((r'profile = "[^"]*"', 'profile = "no-such-meter"'), ("[meter.main]", "no-such-meter")),
        ((r'meter = "main"', 'meter = "other"'), ("[[connector]] meter", "[meter.other]")),
        ((r'currency = "EUR"', 'currency = "XXQ"'), ("[terminal] currency", "XXQ")),
        ((r'time_zone = "[^"]*"', 'time_zone = "Europe/Nowhere"'), ("[terminal] time_zone", "Europe/Nowhere")),
        ((r'mode = "demo"', 'mode = "production"'), ("[gateway.acquirer] tls", "true")),
        ((r'tariff = "[^"]*"', 'tariff = "absent.json"'), ("[[connector]] tariff", "absent.json")),
        ((r'card_key = "[^"]*"', 'card_key = "absent.key"'), ("[reader]", "absent.key")),
        ((r'record = "[^"]*"', 'record = "absent.pem"'), ("[keys] record", "absent.pem")),
        ((r'public_key = "[^"]*"', 'public_key = "absent.pub"'), ("[office] public_key", "absent.pub")),
        ((r"\[policy\]", "[policy"), ("terminal.toml", "TOML")),
    ],
)
def test_wrong_configuration_stops_the_start(site: Visit, tmp_path: Path, change: tuple[str, str], told: tuple[str, ...]) -> None:
    """Exit code 2, and one sentence with file, section, key and reason; no traceback. Beside the running site."""
    text = site.site.config.read_text()
    text = text.replace(json.dumps(str(site.site.state)), json.dumps(str(tmp_path / "state")))
    text = text.replace('"tariff.json"', json.dumps(str(site.site.folder / "tariff.json")))
    wrong, count = re.subn(change[0], change[1], text, count=1)
    assert count == 1
    path = tmp_path / "terminal.toml"
    path.write_text(wrong)
    runtime = f"{site.site.sockets}/wrong"
    path.write_text(wrong.replace(json.dumps(str(site.site.sockets)), json.dumps(runtime)))
    done = subprocess.run(
        [program("charge-terminal"), "--config", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "terminal.toml" in done.stderr
    for words in told:
        assert words in done.stderr, done.stderr
