"""The downlink over real processes: an order at the office, sync that waits for it, a core that does it once and says so."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from terminal_app.billing.command import open_command
from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.sync_link import SyncLink
from terminal_app.http_client import HttpAnswer, HttpClient
from terminal_app.run.core import spki_of
from terminal_app.session import events
from terminal_app.session.facts import CommandAnswered, CommandTaken, SessionOpened, StopIntended
from tests.conformance import test_sync_office
from tests.conformance.test_sync_office import Site, answered, get, wait_for
from tests.sessions import T0, TARIFF, Paper, site_files
from tests.unit.office_samples import TERMINAL, TOKEN

site = test_sync_office.site
KWH: dict[str, Any] = {"price_components": [{"type": "ENERGY", "price": 0.79, "vat": 19, "step_size": 1}]}
ORDER: dict[str, Any] = {"terminal": TERMINAL, "act": "session.stop", "args": {"connector": 1}, "by": "Office", "reason": "a call"}


def post(site: Site, path: str, body: bytes, **headers: str) -> HttpAnswer:
    client = HttpClient(demo=True)
    try:
        return client.call("POST", site.url + path, deadline_s=30, headers=headers, body=body)
    finally:
        client.close()


def order(site: Site, **changes: Any) -> dict[str, Any]:
    answer = post(site, "/v1/commands", json.dumps(ORDER | changes).encode(), **{"Content-Type": "application/json"})
    assert answer.status == 201, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def fetch(site: Site, after: int = 0, wait_s: int = 0, token: str = TOKEN, terminal: str = TERMINAL) -> HttpAnswer:
    path = f"/v1/terminals/{terminal}/commands?after={after}&wait_s={wait_s}"
    client = HttpClient(demo=True)
    try:
        return client.call("GET", site.url + path, deadline_s=40, headers={"Authorization": f"Bearer {token}"})
    finally:
        client.close()


def commands_of(site: Site, answer: HttpAnswer) -> list[int]:
    assert answer.status == 200, answer.body
    return [open_command(jws, site.public_key, TERMINAL).number for jws in json.loads(answer.body)["commands"]]


# --- a real core ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def charger(site: Site, tmp_path: Path) -> Iterator[Paper]:
    """A terminal with true rules and a true ledger behind the sync socket; its keys are registered at the office."""
    place = tmp_path / "terminal"
    place.mkdir()
    path = site_files(place, site.place, site.url)
    path.write_text(path.read_text() + "push_every_s = 1\n")
    shutil.copy(site.place / "office.key.pub", place / "office.pem")
    (place / "office.token").write_text(TOKEN)
    charger = Paper(path)
    for name, key in (("record", charger.keys.records), ("ocmf", charger.keys.ocmf)):
        pem = load_der_public_key(key.public_key_spki()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (site.place / f"{name}.pem").write_bytes(pem)
    site.run("terminal", "add", TERMINAL, "--record-key", "record.pem", "--ocmf-key", "ocmf.pem", "--token-file", "token")
    shutil.copy(path, site.place / "terminal.toml")
    for name in ("office.pem", "office.token", "record.pem", "ocmf.pem", "card.key", "tariff.json"):
        if not (site.place / name).exists():
            shutil.copy(place / name, site.place / name)
    yield charger
    charger.close()


class Turning:
    """The charger's engine on its own thread, with the sync socket."""

    def __init__(self, charger: Paper) -> None:
        self.charger = charger
        office = spki_of(charger.config.office.public_key)
        commands = CommandLink(charger.engine, office, acts_of(charger.engine))
        self._thread = threading.Thread(target=charger.engine.run, daemon=True)
        self._thread.start()
        self._link = SyncLink(charger.config.terminal.runtime_dir / "sync.sock", charger.engine, commands, office)

    def facts(self, kind: type) -> list[Any]:
        return [one.fact for one in self.charger.ledger.entries() if isinstance(one.fact, kind)]

    def __enter__(self) -> "Turning":
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self.charger.engine.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_a_stop_ordered_at_the_office_ends_the_charge_and_is_told_as_done(site: Site, charger: Paper) -> None:
    charger.tap()
    charger.charge(1_000, seconds=600)
    site.start_office("--demo")
    with Turning(charger) as core:
        site.start_sync()
        # the paper clock is years behind: what needs a clock is refused, a stop is not
        issued = order(site)
        refused = order(site, act="payment.refund", args={"hold_id": "H", "amount_minor": 100})
        wait_for(lambda: state(site, issued)["state"] == "done")
        wait_for(lambda: state(site, refused)["state"] == "refused")
        wait_for(lambda: core.facts(StopIntended) != [])
        (stop,) = core.facts(StopIntended)
        assert "Office" in stop.detail
        assert charger.engine.state.chain.commands_through == 2
        assert json.loads(state(site, issued)["answer"])["ordered"] is True
        assert state(site, refused)["answer"]
        assert len(core.facts(CommandTaken)) == len(core.facts(CommandAnswered)) == 2
    listed = site.run("commands", "list", "--key", "office.key")
    assert "session.stop" in listed and "done" in listed and "refused" in listed


def test_a_tariff_of_the_office_is_what_the_terminal_sells_by(site: Site, charger: Paper) -> None:
    """From the command line through office, sync and core into the ledger; a refusal comes back with the rule it broke."""
    charger.clock.ms = time.time_ns() // 1_000_000 - T0  # the terminal's clock is right: orders about prices need one
    for name, elements in (("T-2", [KWH]), ("T-3", [KWH | {"restrictions": {"start_time": "22:10"}}, KWH])):
        (site.place / f"{name}.json").write_text(json.dumps(TARIFF | {"id": name, "elements": elements}))
    site.start_office("--demo")
    people = ("--terminal", TERMINAL, "--connector", "1", "--by", "Office", "--why", "a new price")
    with Turning(charger) as core:
        site.start_sync()
        for name in ("T-2", "T-3"):
            site.run("tariff", "set", f"{name}.json", "--key", "office.key", "--from", "2026-01-01", *people)
        wait_for(lambda: len(core.facts(CommandAnswered)) == 2)
        assert charger.engine.terms().tariffs[1].id == "T-2"
        wait_for(lambda: "order refused" in site.run("tariff", "list"))
    listed = site.run("tariff", "list")
    assert "T-2" in listed and "taken" in listed and "de-quarter-hours" in listed
    charger.turn(events.Ticked())
    charger.paid_session()
    (opened,) = core.facts(SessionOpened)
    assert json.loads(opened.tariff)["id"] == "T-2"


def state(site: Site, issued: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(site, f"/v1/commands/{issued['command_id']}").body)
    return found


def test_sync_killed_again_and_again_brings_each_command_once(site: Site, charger: Paper) -> None:
    site.start_office("--demo")
    with Turning(charger) as core:
        for number in range(1, 5):
            site.start_sync()
            order(site)
            wait_for(lambda number=number: charger.engine.state.chain.commands_through == number)  # type: ignore[misc]
            assert site.sync
            site.sync.kill()
            site.sync.wait(10)
        assert [one.number for one in core.facts(CommandTaken)] == [1, 2, 3, 4]


def test_metrics_and_site_page_of_a_running_terminal(site: Site, charger: Paper) -> None:
    """From the core's own look through the real carrier; the office need not be there for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    settings = site.place / "terminal.toml"
    settings.write_text(settings.read_text() + f'\n[sync]\nlisten = "127.0.0.1:{port}"\n')
    charger.tap()
    with Turning(charger):
        site.start_sync()
        wait_for(lambda: answered(f"http://127.0.0.1:{port}/status.json"))
        client = HttpClient(demo=True)
        text = client.call("GET", f"http://127.0.0.1:{port}/metrics", deadline_s=30).body.decode()
        page = client.call("GET", f"http://127.0.0.1:{port}/", deadline_s=30).body.decode()
        client.close()
    assert "charge_core_up 1.0" in text and "charge_open_holds 1.0" in text
    assert "Terminal T-0001" in page and "60.00 EUR" in page


# --- waiting -------------------------------------------------------------------------------------------------------------


def in_another_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def test_who_waits_is_woken_by_an_order(site: Site) -> None:
    site.start_office("--demo")
    thread, found = in_another_thread(lambda: fetch(site, wait_s=20))
    time.sleep(0.5)
    assert not found, "it waits"
    order(site)
    thread.join(30)
    assert commands_of(site, found[0]) == [1]
    assert commands_of(site, fetch(site, after=1, wait_s=1)) == []


def test_an_order_of_another_process_is_found_too(site: Site) -> None:
    site.start_office("--demo")
    thread, found = in_another_thread(lambda: fetch(site, wait_s=20))
    said = site.run("command", "session.stop", TERMINAL, "--key", "office.key", "--connector", "1", "--by", "A", "--why", "b")
    assert "command 1 for terminal T-0001 issued" in said
    thread.join(30)
    assert commands_of(site, found[0]) == [1]


def test_a_server_told_to_stop_keeps_nobody_waiting(site: Site) -> None:
    site.start_office("--demo")
    thread, found = in_another_thread(lambda: fetch(site, wait_s=20))
    time.sleep(0.5)
    assert site.office
    site.office.terminate()
    site.office.wait(30)
    thread.join(30)
    assert commands_of(site, found[0]) == []
    assert "timeout graceful shutdown" not in (site.place / "office.log").read_text()


def test_many_waiting_terminals_leave_room_for_others(site: Site) -> None:
    site.start_office("--demo")
    crowd = [in_another_thread(lambda: fetch(site, wait_s=20)) for _ in range(12)]
    wait_for(lambda: sum(bool(found) for _, found in crowd) >= 8)  # four wait, the others are answered at once
    order(site)
    for thread, _ in crowd:
        thread.join(30)
    assert sorted(len(commands_of(site, found[0])) for _, found in crowd) == [0] * 8 + [1] * 4


# --- who may -------------------------------------------------------------------------------------------------------------


def test_only_the_terminal_fetches_and_only_operators_order(site: Site) -> None:
    site.start_office("--operator-token-file", "operator")
    token = {"Authorization": f"Bearer {(site.place / 'operator').read_text().strip()}"}
    body, kind = json.dumps(ORDER).encode(), {"Content-Type": "application/json"}
    assert post(site, "/v1/commands", body, **kind).status == 401
    assert get(site, "/v1/commands").status == get(site, "/v1/commands/C-1").status == 401
    assert post(site, "/v1/commands", body, **token, **{"Content-Type": "text/plain"}).status == 415
    assert post(site, "/v1/commands", body, **token).status == 415
    issued = json.loads(post(site, "/v1/commands", body, **token, **kind).body)
    assert get(site, f"/v1/commands/{issued['command_id']}", **token).status == 200
    assert get(site, "/v1/commands/none", **token).status == 404
    assert fetch(site, token="wrong").status == fetch(site, terminal="T-0009").status == 401
    assert commands_of(site, fetch(site)) == [1]
    for query in ("after=-1", "after=x", "wait_s=21", "after=99999999999999999999"):
        assert get(site, f"/v1/terminals/{TERMINAL}/commands?{query}", Authorization=f"Bearer {TOKEN}").status == 400


NO_ORDERS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"terminal": "T-0009"}, 404),
    ({"act": "coffee.make"}, 422),
    ({"args": {"connector": 9}}, 422),
    ({"args": [1]}, 400),
    ({"ttl_s": 1}, 422),
    ({"more": 1}, 400),
    ({"reason": ""}, 400),
    ({"args": {"connector": 1, "text": "\ud800"}}, 400),
)


def test_orders_that_are_none(site: Site) -> None:
    site.start_office("--demo")
    for changes, status in NO_ORDERS:
        answer = post(site, "/v1/commands", json.dumps(ORDER | changes).encode(), **{"Content-Type": "application/json"})
        assert answer.status == status, (changes, answer.body)
    assert commands_of(site, fetch(site)) == []
