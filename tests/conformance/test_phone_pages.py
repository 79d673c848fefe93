"""Watching, stopping and starting a charge from the phone, as drivers and their programs meet it, against an office process."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from scripts.demo.phone import Page, Phone
from terminal_app.office import store
from terminal_app.office.access import hash_of
from terminal_app.office.command_tables import commands
from terminal_app.office.ingest import Collector, SentFact
from terminal_app.office.phone_tables import phone_charges
from terminal_app.session import facts as f
from terminal_app.values import CardFacts, EntryMode, Hold, MeterIdentity, MeterValue, Stamp
from tests.unit.account_samples import OfficeProcess
from tests.unit.billing_samples import KWH_TARIFF, tariff
from tests.unit.office_samples import TERMINAL, Terminal, pem

SECRET = "the-secret-of-an-account-holder"
AT = Stamp(1_767_344_400_000, 1000, "boot-1")
CARD = CardFacts("", "0042", "", "", "", EntryMode.ACCOUNT)


class Town:
    """An office, a terminal that has sold one charge, and a driver with an account and a phone."""

    def __init__(self) -> None:
        self.office = OfficeProcess()
        self.desk = self.office.desk
        self.terminal, self.sent = Terminal(), 0
        self.desk.terminal(TERMINAL)
        with self.desk.database.write() as db:
            for purpose, key in (("record", self.terminal.record_key), ("ocmf", self.terminal.ocmf_key)):
                row = {"terminal": TERMINAL, "key_id": key.key_id, "purpose": purpose, "spki_pem": pem(key), "added_utc_ms": 1}
                db.execute(store.keys.insert().values(**row))
        self.collector = Collector(self.desk.database, self.desk.key, True)
        self.account, _ = self.desk.account(1_000_000, secret_sha256=hash_of(SECRET))
        self.phone = Phone()

    def tell(self, session_id: str, *told: f.Fact) -> None:
        for fact in told:
            after, self.sent = self.sent, self.sent + 1
            sent = SentFact(self.sent, AT.utc_ms, f.kind_of(fact), session_id, msgspec.json.encode(fact).decode())
            self.collector.take(self.terminal.batch(facts=(sent,), facts_after=after))

    def boots(self, fingerprint: str) -> None:
        self.tell("", f.TerminalBooted("0", "0" * 64, {"1": fingerprint}, False, hold_minor=2000))

    def sells(self) -> None:
        """A charge of somebody else, long ago: now the office knows what this charger sells."""
        sold = tariff(KWH_TARIFF)
        opened = f.SessionOpened("S-1", 1, sold.raw, sold.fingerprint, False, "en", 0)
        hold = Hold("H-7", "fleet", 1, AT.utc_ms, 2000, "EUR", 1, "key-of-somebody")
        self.tell("S-1", opened, f.AuthorizationIntended("S-1", hold, CARD), f.AuthorizationApproved("H-7", 8000, {}, None, 0))
        self.boots(sold.fingerprint)
        self.collector.take(self.terminal.batch(self.terminal.session(), facts_after=self.sent))

    def takes(self, token: str, session_id: str) -> None:
        """The terminal does what the newest start says."""
        (charge,) = self.desk.rows(phone_charges, token=token)
        hold = Hold(f"H-{session_id}", "fleet", 1, AT.utc_ms, charge["held_minor"], "EUR", 1, charge["key"])
        value = MeterValue(1000, 0, "21130042", AT)
        self.tell(
            session_id,
            f.SessionOpened(session_id, 1, tariff(KWH_TARIFF).raw, "00", False, "en", 0),
            f.AuthorizationIntended(session_id, hold, CARD),
            f.StartRegistered(session_id, value, value, MeterIdentity("Eastron", "SDM630", "21130042")),
        )

    def open(self, path: str) -> Page:
        return self.phone.get(self.office.url + path)

    def orders(self, act: str) -> list[dict[str, Any]]:
        return self.desk.rows(commands, act=act)

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        request = urllib.request.Request(self.office.url + path, b"" if method == "POST" else None, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    town = Town()
    not_yet = town.open(f"/go/{TERMINAL}/1")
    assert not_yet.status == 404 and "cannot be started by phone here" in not_yet.text
    town.sells()
    yield town
    assert town.desk.trouble() == []
    log = town.office.log()
    town.office.close()
    assert "Traceback" not in log and "/c/" not in log and SECRET not in log


def started(town: Town) -> tuple[str, Page]:
    """Start by the sticker; the charge's token and its page."""
    page = town.phone.press(town.open(f"/go/{TERMINAL}/1"), "and start", account=town.account, secret=SECRET)
    return page.url.rpartition("/")[2], page


def test_the_sticker_shows_station_connector_price_and_hold_and_warns(town: Town) -> None:
    page = town.open(f"/go/{TERMINAL}/1")
    for words in (
        "Example Station",
        "0.59 EUR per kWh",
        "1.00 EUR per charge",
        "20.00 EUR",
        "Compare",
        "could be wrong",
        "no payment yet",
    ):
        assert words in page.text, words
    german = Phone("de").get(f"{town.office.url}/go/{TERMINAL}/1")
    assert "0,59 EUR je kWh" in german.text and "20,00 EUR reservieren und starten" in german.text
    for path in (f"/go/{TERMINAL}/2", "/go/T-NONE/1", "/go/..%2F..%2Fetc/1"):
        assert town.open(path).status == 404
    assert town.orders("session.start") == []


def test_start_watch_stop(town: Town) -> None:
    sticker = town.open(f"/go/{TERMINAL}/1")
    wrong = town.phone.press(sticker, "and start", account=town.account, secret="not-it")
    assert wrong.status == 402 and "Account or secret is wrong" in wrong.text
    page = town.phone.press(wrong, "and start", account=town.account, secret=SECRET)
    again = town.phone.press(sticker, "and start", account=town.account, secret=SECRET)  # the form of before: the back button
    assert again.url == page.url and len(town.orders("session.start")) == 1
    assert "Starting at the charger" in page.text and "20.00 EUR are held" in page.text
    assert 'http-equiv="refresh"' in page.html and "Stop" not in page.text
    token = page.url.rpartition("/")[2]
    town.takes(token, "S-2")
    page = town.open(f"/c/{token}")
    assert "Charging" in page.text and "0.000 kWh" in page.text
    page = town.phone.press(page, "Stop the charge")
    assert "Stop was sent" in page.text and page.url.endswith(f"/c/{token}"), "loading again stops nothing twice"
    (stop,) = town.orders("session.stop")
    assert json.loads(stop["args"]) == {"connector": 1, "session_id": "S-2"} and stop["actor"] == "driver by phone"
    busy = town.phone.press(town.open(f"/go/{TERMINAL}/1"), "and start", account=town.account, secret=SECRET)
    assert busy.status == 422 and "Another charge runs on this connector" in busy.text
    town.tell("S-2", f.StopIntended("S-2", f.StopReason.REMOTE, AT))
    assert "Stopping" in town.open(f"/c/{token}").text
    record = town.terminal.session(session_id="S-2")
    town.collector.take(town.terminal.batch(record, facts_after=town.sent))
    page = town.open(f"/c/{token}")
    assert "Charged" in page.text and town.phone.get(page.links["Receipt"]).status == 200
    assert Phone("de").get(page.url).text.count("Geladen") == 1


def test_another_price_than_the_office_knows_is_not_offered(town: Town) -> None:
    started(town)
    town.boots("ab" * 32)
    assert town.open(f"/go/{TERMINAL}/1").status == 404
    town.boots(tariff(KWH_TARIFF).fingerprint)
    assert town.open(f"/go/{TERMINAL}/1").status == 200


def test_a_price_that_changes_while_the_form_is_open_is_read_again(town: Town) -> None:
    started(town)
    before = len(town.orders("session.start"))
    page = town.open(f"/go/{TERMINAL}/1")
    stale = town.phone.press(page, "and start", account=town.account, secret=SECRET, tariff="00" * 32)
    assert stale.status == 422 and "price has changed" in stale.text and len(town.orders("session.start")) == before


def test_programs_watch_and_stop_by_the_same_token(town: Town) -> None:
    token, _ = started(town)
    status, told = town.ask("GET", f"/v1/app/{token}")
    assert (status, told["phase"], told["held_minor"], told["can_stop"]) == (200, "starting", 2000, False)
    assert town.ask("POST", f"/v1/app/{token}/stop")[1]["code"] == "nothing_to_stop"
    town.takes(token, "S-3")
    assert town.ask("GET", f"/v1/app/{token}")[1]["can_stop"] is True
    for _ in range(2):
        status, told = town.ask("POST", f"/v1/app/{token}/stop")
        assert (status, told["stop"]) == (200, "waiting")
    assert town.ask("GET", f"/v1/app/{'x' * 43}")[0] == town.ask("POST", f"/v1/app/{'x' * 43}/stop")[0] == 404
    town.tell("S-3", f.SessionAborted("S-3", f.StopReason.REMOTE))
    assert town.ask("GET", f"/v1/app/{token}")[1]["phase"] == "nothing"


def test_a_start_that_no_charger_fetches_is_released_by_itself(town: Town) -> None:
    """By the running office, without anybody looking."""
    token, page = started(town)
    with town.desk.database.write() as db:  # the minute is over
        mine = commands.c.command_id == town.orders("session.start")[-1]["command_id"]
        db.execute(commands.update().where(mine).values(expires_utc_ms=store.now_ms()))
    end = time.monotonic() + 60
    while "did not start" not in page.text and time.monotonic() < end:
        time.sleep(0.2)
        page = town.open(f"/c/{token}")
    assert "The charger did not start" in page.text and "20.00 EUR that were held are free again" in page.text
    (charge,) = town.desk.rows(phone_charges, token=token)
    assert town.desk.holds(key=charge["key"])[0]["state"] == "voided"
