"""Metrics and the site page: true figures of a true core, nothing of a card, and no way to hold it up or to order anything."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from terminal_app import config
from terminal_app.engine.command_link import CommandLink
from terminal_app.engine.sync_link import SyncLink
from terminal_app.errors import ConfigError
from terminal_app.session import events
from terminal_app.session.actions import Capture
from terminal_app.session.evolve import evolve
from terminal_app.session.state import initial
from terminal_app.sync import monitor
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.site_page import age
from terminal_app.values import Declined, DeclineReason, Device, Fault, OutcomeUnknown
from tests.sessions import Paper, terminal

TOKEN = "5e" * 16


class Watched:
    """A terminal on paper with its sync socket, and the monitor in front of it."""

    def __init__(self, site: Paper) -> None:
        self.site = site
        self.path = site.config.terminal.runtime_dir / "sync.sock"
        self.listening: SyncLink | None = self.listen()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.link = CoreLink(self.path)
        self.server = monitor._Server(("127.0.0.1", self.port), monitor.Lookout(self.link, self.now_s))
        self.seconds = 0.0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def now_s(self) -> float:
        """Every look is a fresh one."""
        self.seconds += 10
        return self.seconds

    def listen(self) -> SyncLink:
        return SyncLink(self.path, self.site.engine, CommandLink(self.site.engine, b"", {}), b"")

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            link.request(method, path, headers=headers)
            answer = link.getresponse()
            assert answer.getheader("Connection") == "close" and answer.getheader("Cache-Control") == "no-store"
            return answer.status, answer.read().decode()
        finally:
            link.close()

    def figures(self) -> dict[str, float]:
        """By name and labels, as Prometheus' own parser reads them."""
        status, text = self.ask("/metrics")
        assert status == 200
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {"/".join((one.name, *(value for _, value in sorted(one.labels.items())))): one.value for one in samples}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.link.close()
        if self.listening:
            self.listening.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with terminal(tmp_path) as site, contextlib.closing(Watched(site)) as one:
        yield one


def test_figures_while_charging(watched: Watched) -> None:
    quiet = watched.figures()
    assert (quiet["charge_core_up"], quiet["charge_open_holds"], quiet["charge_sessions"]) == (1, 0, 0)
    assert quiet["charge_connector_for_sale/1"] == 1 and quiet["charge_office_reachable"] == 1
    watched.site.tap()
    watched.site.charge(1_000, seconds=600)
    found = watched.figures()
    assert (found["charge_open_holds"], found["charge_sessions"], found["charge_holds_manual"]) == (1, 1, 0)
    assert found["charge_holds_overdue"] == 0
    assert found["charge_oldest_open_hold_age_seconds/held"] == 600
    assert found["charge_open_hold_minor/EUR"] == 6000
    assert found["charge_connector_register_watthours/1"] == 1_235_560


def test_figures_after_a_charge_and_with_faults(watched: Watched) -> None:
    watched.site.paid_session()
    watched.site.turn(events.FaultSeen(Fault(Device.OFFICE, 0, "unreachable", "no route"), True))
    watched.site.turn(events.FaultSeen(Fault(Device.METER, 1, "timeout", "x"), True))
    found = watched.figures()
    assert (found["charge_records_sealed"], found["charge_records_waiting"], found["charge_open_holds"]) == (2, 2, 0)
    assert (found["charge_faults"], found["charge_fault/1/meter/timeout"], found["charge_office_reachable"]) == (2, 1, 0)
    assert found["charge_connector_for_sale/1"] == 0


def test_a_hold_left_to_a_person_stays_in_sight_after_its_record_is_sealed_and_after_a_restart(watched: Watched) -> None:
    watched.site.outcomes[Capture] = Declined(DeclineReason.GATEWAY_REFUSED, "12")
    watched.site.paid_session()
    watched.site.pass_time(10)
    found = watched.figures()
    assert (found["charge_open_holds"], found["charge_holds_manual"]) == (0, 1)
    (hold_id,) = watched.site.engine.state.manual
    assert f">{hold_id}<" in watched.ask("/")[1]
    replayed = initial(watched.site.engine.standing.config)
    for entry in watched.site.ledger.entries():
        replayed = evolve(replayed, entry.fact, entry.stamp)
    assert replayed.manual == {hold_id}


def test_a_hold_that_cannot_be_settled_grows_old_in_sight(watched: Watched) -> None:
    watched.site.outcomes[Capture] = OutcomeUnknown("no answer")
    watched.site.paid_session()
    watched.site.pass_time(7200)
    assert watched.figures()["charge_oldest_open_hold_age_seconds/capturing"] > 7200
    assert "<td>3 h</td>" in watched.ask("/")[1]


class _Balance(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_what_is_the_matter_and_nothing_of_a_card(watched: Watched) -> None:
    watched.site.tap()
    watched.site.charge(1_000, seconds=600)
    watched.site.turn(events.FaultSeen(Fault(Device.READER, 0, "gone", "<script>alert(1)</script>"), True))
    status, text = watched.ask("/")
    balance = _Balance()
    balance.feed(text)
    assert status == 200 and balance.open == []
    for shown in ("Terminal T-0001", "charging", "1235.560", "60.00 EUR", "10 min", "DEMO", "acquirer", "&lt;script&gt;"):
        assert shown in text, shown
    assert "<script" not in text
    code, body = watched.ask("/status.json")
    told = json.loads(body)
    assert code == 200 and told["status"]["terminal"] == "T-0001" and told["payments"][0]["phase"] == "held"
    for said in (text, body, watched.ask("/metrics")[1]):
        assert TOKEN not in said and "visa" not in said.lower() and "1111" not in said


def test_without_a_core_the_scrape_says_so_and_the_page_too(watched: Watched) -> None:
    assert watched.listening
    watched.listening.close()
    watched.link.close()
    assert watched.figures() == {"charge_core_up": 0}
    status, text = watched.ask("/")
    assert status == 503 and "core does not answer" in text
    assert watched.ask("/status.json")[0] == 503
    watched.listening = watched.listen()
    assert watched.figures()["charge_core_up"] == 1


def test_only_questions_by_this_machines_own_name(watched: Watched) -> None:
    assert watched.ask("/", Host="localhost:1")[0] == 200
    assert watched.ask("/", Host="[::1]:9464")[0] == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:9464", ""):
        assert watched.ask("/status.json", Host=host)[0] == 421, host
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "X"):
        assert watched.ask("/", method)[0] == 405, method
    for path in ("/x", "/metrics/", "/status.json?x=1", "/../etc/passwd"):
        assert watched.ask(path)[0] == 404, path


def test_those_who_say_nothing_keep_nobody_out_for_long(watched: Watched) -> None:
    silent = [socket.create_connection(("127.0.0.1", watched.port)) for _ in range(monitor.MAX_AT_ONCE)]
    try:
        for link in silent:
            link.settimeout(60)
            assert link.recv(100) == b"", "cut after a while"
        assert watched.ask("/metrics")[0] == 200
    finally:
        for link in silent:
            link.close()


def test_one_that_dribbles_is_cut(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the silence that is allowed; the whole request does not come within its time."""
    monkeypatch.setattr(monitor, "REQUEST_S", 1.0)
    with socket.create_connection(("127.0.0.1", watched.port)) as link, pytest.raises(OSError):
        for _ in range(600):
            link.sendall(b"x")
            threading.Event().wait(0.05)


@pytest.mark.parametrize(
    "listen", ["9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "300.0.0.1:9464", "127.0.0.1:70000", "[::x]:1"]
)
def test_an_address_that_is_none_is_named(watched: Watched, listen: str) -> None:
    path = watched.site.path.with_name("other.toml")
    path.write_text(watched.site.path.read_text() + f'\n[sync]\nlisten = "{listen}"\n')
    with pytest.raises(ConfigError, match=r"other\.toml: \[sync\] listen"):
        config.load(path)
    path.write_text(watched.site.path.read_text() + '\n[sync]\nlisten = "[::1]:9464"\n')
    assert config.load(path).sync.address == ("::1", 9464)


def test_ages_in_the_largest_unit() -> None:
    assert [age(one) for one in (-5, 0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000)] == [
        "0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "2 d",
    ]  # fmt: skip
