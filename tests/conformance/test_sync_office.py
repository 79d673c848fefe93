"""Sync and office as processes of their own over real sockets: pages, tokens, limits, and kill -9 at any moment."""

import base64
import gzip
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from terminal_app.billing import ocmf
from terminal_app.billing.acknowledgement import open_ack
from terminal_app.billing.receipt import receipt_code
from terminal_app.billing.record import sha256_of
from terminal_app.http_client import HttpAnswer, HttpClient, HttpTrouble
from tests.unit.office_samples import TERMINAL, TOKEN, Terminal, pem
from tests.unit.sync_samples import FakeCore

DEADLINE_S = 60.0
CONFIG = """
[terminal]
id = "T-0001"
mode = "demo"
station = "Example Station"
operator = "Example Charging"
operator_address = "Example Street 1"
country = "DE"
time_zone = "Europe/Berlin"
currency = "EUR"
languages = ["en"]
helpline = "000"
state_dir = "{place}/state"
runtime_dir = "{place}"
[[connector]]
number = 1
label = "1"
evse_id = "DE*EXA*E1"
meter = "m"
evse = "e"
max_current_a = 16
max_power_w = 11000
[meter.m]
profile = "sdm630"
port = "/dev/null"
[evse.e]
driver = "openevse"
port = "/dev/null"
[reader]
card_key = "card.key"
[gateway.bank]
kind = "iso8583"
host = "127.0.0.1"
port = 1
tls = false
terminal_id = "TERM0001"
merchant_id = "MERCHANT0000001"
[policy]
hold_minor = 5000
[keys]
record = "record.pem"
ocmf = "ocmf.pem"
[office]
url = "{url}"
public_key = "office.pub"
token_file = "{place}/token"
receipt_url = "{url}"
push_every_s = 1
deadline_s = 5
"""


class Site:
    """One terminal's core (ours), its sync process and an office process, in a folder."""

    def __init__(self, place: Path, terminal: Terminal | None = None) -> None:
        self.place, self.terminal = place, terminal or Terminal()
        self.database = f"sqlite:///{place}/office.db"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.office: subprocess.Popen[bytes] | None = None
        self.sync: subprocess.Popen[bytes] | None = None
        self.core: FakeCore | None = None
        self.notified: list[str] = []
        (place / "token").write_text(TOKEN)
        (place / "record.pem").write_text(pem(self.terminal.record_key))
        (place / "ocmf.pem").write_text(pem(self.terminal.ocmf_key))
        (place / "terminal.toml").write_text(CONFIG.format(place=place, url=self.url))
        self.run("init", "--key", "office.key")
        keys = "--record-key", "record.pem", "--ocmf-key", "ocmf.pem"
        self.run("terminal", "add", TERMINAL, *keys, "--token-file", "token")
        self.public_key = (place / "office.key.pub").read_bytes()

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "terminal_app.run.office", *arguments, "--db", self.database]
        return subprocess.run(command, cwd=self.place, check=True, capture_output=True, text=True, env=_environment()).stdout

    def start_office(self, *flags: str) -> None:
        command = [sys.executable, "-m", "terminal_app.run.office", "serve", "--db", self.database, "--key", "office.key"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--public-url", self.url if "--demo" in flags else "https://x.invalid"]
        with (self.place / "office.log").open("ab") as log:
            self.office = subprocess.Popen([*command, *flags], cwd=self.place, env=_environment(), stderr=log, stdout=log)
        wait_for(lambda: answered(f"{self.url}/healthz"))

    def start_core(self) -> FakeCore:
        self.core = FakeCore(self.place / "sync.sock", self.terminal, self.public_key)
        return self.core

    def start_sync(self, **environment: str) -> None:
        command = [sys.executable, "-m", "terminal_app.run.sync", "--config", "terminal.toml"]
        with (self.place / "sync.log").open("ab") as log:
            self.sync = subprocess.Popen(command, cwd=self.place, env=_environment() | environment, stderr=log)

    def close(self) -> None:
        for process in (self.sync, self.office):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)
        if self.core:
            self.core.stop()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def answered(url: str) -> bool:
    client = HttpClient(demo=True)
    try:
        return client.call("GET", url, deadline_s=2).status == 200
    except HttpTrouble:
        return False
    finally:
        client.close()


@pytest.fixture
def site() -> Iterator[Site]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    site = Site(place)
    yield site
    site.close()
    shutil.rmtree(place)


class _Balance(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(site: Site, path: str) -> str:
    page = get(site, path).body.decode()
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []
    return page


def get(site: Site, path: str, **headers: str) -> HttpAnswer:
    client = HttpClient(demo=True)
    try:
        return client.call("GET", site.url + path, deadline_s=10, headers=headers)
    finally:
        client.close()


def post(site: Site, body: bytes, token: str = TOKEN, terminal: str = TERMINAL, **headers: str) -> HttpAnswer:
    client = HttpClient(demo=True)
    try:
        said = {"Authorization": f"Bearer {token}", **headers}
        url = f"{site.url}/v1/terminals/{terminal}/batches"
        return client.call("POST", url, deadline_s=30, headers=said, body=body)
    finally:
        client.close()


def test_kill_9_of_sync_and_office_at_any_moment(site: Site) -> None:
    for _ in range(400):
        site.terminal.session()
    core = site.start_core()
    site.start_office("--demo")
    for round_no in range(6):
        site.start_sync()
        before = core.through
        wait_for(lambda before=before: core.through > before or core.through == 400)  # type: ignore[misc]
        assert site.sync and site.office
        if round_no % 2:
            site.office.kill()
            site.office.wait(10)
            site.start_office("--demo")
        site.sync.kill()
        site.sync.wait(10)
    site.start_sync()
    wait_for(lambda: core.through == 400)
    books = sqlite3.connect(site.place / "office.db")
    stored = books.execute("SELECT seq, jws, quarantine FROM records ORDER BY seq").fetchall()
    books.close()
    assert stored == [(record.seq, record.jws, "") for record in site.terminal.records]
    assert core.refused == []


def test_sync_tells_the_service_manager_and_ends_cleanly(site: Site) -> None:
    site.start_core()
    site.start_office("--demo")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(site.place / "n"))
        manager.settimeout(DEADLINE_S)
        site.start_sync(NOTIFY_SOCKET=str(site.place / "n"))
        said = [manager.recv(200).decode() for _ in range(3)]
        assert said[0] == "READY=1"
        assert said[1].startswith("WATCHDOG=1")
        assert site.sync
        site.sync.send_signal(signal.SIGTERM)
        assert site.sync.wait(10) == 0
        while (last := manager.recv(200).decode()) != "STOPPING=1":
            assert last.startswith("WATCHDOG=1")


def test_sync_without_a_token_names_file_section_and_key(site: Site) -> None:
    (site.place / "token").unlink()
    command = [sys.executable, "-m", "terminal_app.run.sync", "--config", "terminal.toml"]
    ended = subprocess.run(command, cwd=site.place, env=_environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "terminal.toml: [office] token_file:" in ended.stderr


def test_receipt_page_waits_then_tells_everything(site: Site) -> None:
    code = receipt_code((1).to_bytes(20))
    site.start_office("--demo")
    waiting = get(site, f"/r/{code}")
    assert waiting.status == 202
    assert "on its way" in page_of(site, f"/r/{code}")
    core = site.start_core()
    site.terminal.session()
    site.start_sync()
    wait_for(lambda: core.through == 1)
    page = get(site, f"/r/{code}")
    assert page.status == 200
    text = page_of(site, f"/r/{code}")
    for shown in (
        "9.48 EUR",
        "12.345 kWh",
        "1234.560 kWh",
        "1246.905 kWh",
        "19 %",
        "21130042",
        "R-1",
        "Payment is being completed",
    ):
        assert shown in text, shown
    site.terminal.settlement()
    wait_for(lambda: core.through == 2)
    text = get(site, f"/r/{code}").body.decode()
    assert "9.48 EUR taken" in text
    assert "40.52 EUR of the reserved amount released" in text
    assert "script" not in text
    german = get(site, f"/r/{code}", **{"Accept-Language": "de-DE,de;q=0.9"}).body.decode()
    assert "9,48 EUR abgebucht" in german
    assert "1234,560 kWh" in german
    signed, key = get(site, f"/r/{code}/ocmf"), get(site, f"/r/{code}/key")
    assert ocmf.verify(signed.body.decode(), bytes.fromhex(key.body.decode())).energy_wh == 12345
    assert get(site, f"/r/{code}/record").body.decode() == site.terminal.records[0].jws
    assert get(site, "/r/short").status == 404
    assert "given back" not in page_of(site, f"/r/{code}") + page_of(site, "/")
    for number, minor in enumerate((100, 250), 3):
        site.terminal.settlement(minor, "refunded")
        wait_for(lambda number=number: core.through == number)
    assert "9.48 EUR taken" in page_of(site, f"/r/{code}") and "3.50 EUR of it given back" in page_of(site, f"/r/{code}")
    assert "captured 9.48 EUR, 3.50 EUR given back" in page_of(site, "/")


def test_a_signed_record_that_is_no_bill_shows_as_under_review(site: Site) -> None:
    core = site.start_core()
    site.start_office("--demo")
    site.terminal.session(spoil={"tariff": {"id": "x", "fingerprint": "x", "json": "{}"}})
    site.terminal.session(spoil={"energy_wh": 1})
    site.start_sync()
    wait_for(lambda: core.through == 2)
    assert "could not confirm" in page_of(site, f"/r/{receipt_code((1).to_bytes(20))}")
    assert "under review" in page_of(site, f"/r/{receipt_code((2).to_bytes(20))}")


def test_overview_and_json_show_what_is_stored(site: Site) -> None:
    core = site.start_core()
    site.start_office("--demo")
    site.terminal.session()
    site.terminal.settlement()
    site.terminal.session(spoil={"energy_wh": 1})
    site.start_sync()
    wait_for(lambda: core.through == 3)
    page = page_of(site, "/")
    for shown in (TERMINAL, "R-1", "captured 9.48 EUR", "verified", "quarantine"):
        assert shown in page, shown
    sessions = json.loads(get(site, "/v1/sessions").body)["sessions"]
    assert {(row["receipt_number"], row["settled"]) for row in sessions} >= {("R-1", "captured")}
    records = json.loads(get(site, "/v1/records?terminal=T-0001&after=1").body)["records"]
    assert [row["seq"] for row in records] == [2, 3]
    exact = get(site, "/v1/records/T-0001/1")
    assert exact.body.decode() == site.terminal.records[0].jws
    assert exact.headers["x-record-sha256"] == sha256_of(site.terminal.records[0].jws)
    assert get(site, "/v1/records/T-0001/99").status == 404
    assert json.loads(site.run("records", "--json"))[0]["jws"] == site.terminal.records[0].jws
    assert json.loads(site.run("sessions", "--json"))[-1]["energy_wh"] == 12345


def test_operators_need_their_token_outside_demo(site: Site) -> None:
    site.start_office("--operator-token-file", "operator")
    token = (site.place / "operator").read_text().strip()
    for path in ("/", "/v1/sessions", "/v1/records", "/v1/records/T-0001/1"):
        assert get(site, path).status == 401
        assert get(site, path, Authorization="Bearer wrong").status == 401
    assert get(site, "/v1/sessions", Authorization=f"Bearer {token}").status == 200
    basic = base64.b64encode(f"office:{token}".encode()).decode()
    assert get(site, "/", Authorization=f"Basic {basic}").status == 200


def batch_body(site: Site, **changes: Any) -> bytes:
    return msgspec.json.encode(site.terminal.batch(**changes))


def test_terminals_need_their_own_token_and_address(site: Site) -> None:
    site.start_office("--demo")
    body = batch_body(site)
    assert post(site, body, token="wrong").status == 401
    assert post(site, body, terminal="T-9").status == 401
    assert post(site, batch_body(site, terminal="T-9")).status == 400
    ack = json.loads(post(site, body).body)["ack"]
    assert open_ack(ack, site.public_key).through_seq == 0
    stored = b"".join(file.read_bytes() for file in site.place.glob("office.db*"))
    assert TOKEN.encode() not in stored


NO_BATCHES = (
    (gzip.compress(bytes(200_000_000)), "gzip", 413),
    (bytes(3_000_000), "identity", 413),
    (b"{}", "identity", 400),
    (b"\xff" * 100, "gzip", 400),
    (gzip.compress(b"{}")[:-4], "gzip", 400),
    (b"{}", "br", 400),
    (b'{"v":2}', "identity", 400),
    (b"[" * 100_000, "identity", 400),
)


def test_bodies_that_are_no_batches(site: Site) -> None:
    site.start_office("--demo")
    for number, (body, encoding, status) in enumerate(NO_BATCHES):
        try:
            assert post(site, body, **{"Content-Encoding": encoding}).status == status, number
        except HttpTrouble:
            assert status == 413, number  # refused while we were still sending
    assert answered(f"{site.url}/healthz")


def test_an_office_that_was_never_made_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "terminal_app.run.office", "sessions", "--db", f"sqlite:///{tmp_path}/none.db"]
    ended = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "charge-office init" in ended.stderr
    assert not (tmp_path / "none.db").exists()


def test_a_malformed_fact_alone_in_its_batch_is_taken(site: Site) -> None:
    site.start_office("--demo")
    body = json.loads(batch_body(site))
    odd = {"seq": 7, "utc_ms": -5, "kind": "No Kind", "session_id": "", "body": "\x00"}
    answer = post(site, json.dumps(body | {"facts": [odd], "facts_through": 7}).encode())
    assert answer.status == 200
    assert open_ack(json.loads(answer.body)["ack"], site.public_key).facts_through == 7
