"""Tariffs at the office: signed and ordered by hand, pulled page by page from an OCPI endpoint, and what became of them."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from terminal_app.billing.model import TaxIncluded
from terminal_app.billing.tariff_file import TariffFile, open_tariff_file
from terminal_app.errors import TariffRefused
from terminal_app.http_client import HttpClient
from terminal_app.office import charge_view, signing, store
from terminal_app.office.command_tables import commands
from terminal_app.office.tariff_pull import MAX_PAGES, pull
from terminal_app.run.office import office
from terminal_app.session.facts import TariffTaken, TerminalBooted
from tests.unit.billing_samples import as_json, component, document, element
from tests.unit.office_samples import TERMINAL, Terminal, desk_at
from tests.unit.phone_samples import Phone
from tests.unit.test_http_client import Server
from tests.unit.test_office_commands import Counter
from tests.unit.test_sync_push import answer

TOKEN = "s3cret-token"
PLAIN = document(element(component("ENERGY", "0.59")))
PEOPLE = ["--terminal", TERMINAL, "--connector", "1", "--by", "Office", "--why", "a new price"]


class Desk:
    """A person at the office's command line, with a database and a key."""

    def __init__(self, place: Path) -> None:
        self.counter, self.place = Counter(place), place
        self.key = signing.create(place / "office-cli.key")
        self.tariff = place / "tariff.json"
        self.tariff.write_bytes(as_json(PLAIN))
        (place / "token").write_text(TOKEN + "\n")

    def say(self, *words: str, code: int = 0) -> str:
        url = self.counter.desk.url
        found = CliRunner().invoke(office, ["tariff", words[0], "--db", url, *words[1:]])
        assert found.exit_code == code, found.output
        return found.output

    def set(self, *words: str, code: int = 0) -> str:
        return self.say("set", str(self.tariff), "--key", str(self.place / "office-cli.key"), *PEOPLE, *words, code=code)

    def pull(self, url: str, *words: str, code: int = 0) -> str:
        keys = ["--key", str(self.place / "office-cli.key"), "--token-file", str(self.place / "token"), "--demo"]
        return self.say("pull", url, *keys, *PEOPLE, *words, code=code)

    @property
    def sent(self) -> list[TariffFile]:
        """What terminals will read, verified as they do."""
        args = [json.loads(row["args"]) for row in self.counter.desk.rows(commands)]
        return [open_tariff_file(one["jws"].encode(), self.key.public_pem) for one in args]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    yield one
    one.counter.desk.database.close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def test_a_tariff_is_signed_here_numbered_upwards_and_ordered(desk: Desk) -> None:
    assert "issued" in desk.set("--version", "3", "--from", "2026-01-01", "--until", "2026-02-01T00:00+01:00")
    desk.set()
    first, second = desk.sent
    assert (first.version, first.valid_from_utc_ms, first.valid_until_utc_ms) == (3, 1_767_225_600_000, 1_769_900_400_000)
    assert second.version > 1_700_000_000 and second.valid_until_utc_ms is None
    assert second.valid_from_utc_ms == 0, "at once, also at a terminal whose clock is not synchronised"
    assert first.tariff.fingerprint == second.tariff.fingerprint


def test_a_signed_file_goes_as_it_is(desk: Desk) -> None:
    desk.set("--version", "3")
    (row,) = desk.counter.desk.rows(commands)
    desk.tariff.write_text(json.loads(row["args"])["jws"] + "\n")
    desk.set()
    assert len({json.loads(one["args"])["jws"] for one in desk.counter.desk.rows(commands)}) == 1
    assert "has its version" in desk.set("--version", "4", code=2)


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"nonsense", as_json(PLAIN | {"surprise": 1}), as_json({"data": [PLAIN, PLAIN]})]
)
def test_what_is_not_one_whole_tariff_is_sent_to_nobody(desk: Desk, content: bytes) -> None:
    desk.tariff.write_bytes(content)
    assert "tariff.json" in desk.set(code=1)
    assert desk.sent == []


def test_an_unknown_terminal_and_the_plain_command_are_refused(desk: Desk) -> None:
    assert "T-0009" in desk.set("--terminal", "T-0009", code=1)
    url = desk.counter.desk.url
    words = ["command", "tariff.set", TERMINAL, "--db", url, "--key", str(desk.place / "office-cli.key"), "--by", "x", "--why", "y"]
    found = CliRunner().invoke(office, words)
    assert found.exit_code == 2 and "tariff set" in found.output


def test_the_list_tells_what_terminals_took_and_what_was_refused(desk: Desk) -> None:
    desk.set("--version", "3")
    (row,) = desk.counter.desk.rows(commands)
    desk.counter.tell("command_taken", {"number": 1, "command_id": row["command_id"], "act": "tariff.set", "args": {}})
    desk.counter.tell("command_answered", {"command_id": row["command_id"], "done": False, "answer": "de-clock: no"})
    taken = {"connector": 2, "tariff": as_json(PLAIN).decode(), "fingerprint": "f" * 64, "version": 7, "valid_from_utc_ms": 1}
    desk.counter.tell("tariff_taken", taken | {"valid_until_utc_ms": None, "source": "office", "jws_sha256": "", "actor": ""})
    rows = json.loads(desk.say("list", "--json"))
    assert {(one["state"], one["tariff"], one["answer"]) for one in rows} == {
        ("taken", "T-1", ""),
        ("order refused", "", "de-clock: no"),
    }
    assert "T-1" in desk.say("list") and desk.say("list", "--terminal", "T-0002").count("\n") == 1


# --- pulled --------------------------------------------------------------------------------------------------------------------


def ocpi(*listed: dict[str, Any], **more: Any) -> bytes:
    return as_json({"status_code": 1000, "timestamp": "2026-01-01T00:00:00Z", "data": list(listed)} | more)


def named(name: str, **more: Any) -> dict[str, Any]:
    return PLAIN | {"id": name} | more


class Endpoint:
    """An OCPI tariffs list with pages of one tariff each, as the server double tells them."""

    def __init__(self, server: Server, *listed: dict[str, Any]) -> None:
        self.server, self.pages = server, [ocpi(one) for one in listed] + [ocpi()]
        server.reply = self.reply

    @property
    def url(self) -> str:
        return f"{self.server.url}/ocpi/2.2.1/tariffs"

    def reply(self, link: socket.socket, request: bytes) -> None:
        path = request.split(b" ")[1].decode()
        page = int(path.partition("offset=")[2].partition("&")[0] or 0)
        following = f"{self.url}?offset={page + 1}&limit=1"
        more = [f'Link: <{self.url}?offset=0>; rel="prev", <{following}>; rel="next"'] if page + 1 < len(self.pages) else []
        answer(link, 200, self.pages[page], *more)


def pulled(url: str) -> list[str]:
    client = HttpClient(demo=True)
    try:
        return [one.id for one in pull(client, url, TOKEN)]
    finally:
        client.close()


def test_all_pages_are_read_with_the_token_as_ocpi_writes_it(server: Server) -> None:
    endpoint = Endpoint(server, named("A"), named("B"), named("C"))
    assert pulled(endpoint.url) == ["A", "B", "C"]
    wanted = b"Authorization: Token " + base64.b64encode(TOKEN.encode())
    assert len(server.requests) == 4 and all(wanted in one for one in server.requests)


def test_an_ocpi_2_2_1_tariff_is_converted_exactly_signed_and_sent_once(desk: Desk, server: Server) -> None:
    old = named("OLD", min_price={"excl_vat": 1})
    del old["tax_included"]
    endpoint = Endpoint(server, named("A"), old)
    assert "choose one tariff by --id; the endpoint has A, OLD" in desk.pull(endpoint.url, code=1)
    assert "issued" in desk.pull(endpoint.url, "--id", "old")
    (sent,) = desk.sent
    assert (sent.tariff.id, sent.tariff.tax_included, sent.tariff.min_price is None) == ("OLD", TaxIncluded.NO, False)
    assert "has not changed" in desk.pull(endpoint.url, "--id", "OLD")
    endpoint.pages[1] = ocpi(old | {"last_updated": "2026-02-01T00:00:00Z"})
    assert "issued" in desk.pull(endpoint.url, "--id", "OLD")
    first, second = desk.sent
    assert second.version >= first.version


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([ocpi(named("A")), ocpi(named("B", surprise=1))], "surprise"),
        ([ocpi(named("A")), ocpi(status_code=2001, status_message="no rights")], "2001 no rights"),
        ([ocpi(named("A")), b"<html>"], "is not JSON"),
        ([b'{"data": []}'], "is not an OCPI answer"),
    ],
)
def test_one_bad_page_and_nothing_is_taken(desk: Desk, server: Server, pages: list[bytes], why: str) -> None:
    endpoint = Endpoint(server)
    endpoint.pages = pages
    said = desk.pull(endpoint.url, "--id", "A", code=1)
    assert "nothing was taken" in said and why in said and desk.sent == []


def test_the_token_goes_to_nobody_else_and_pages_come_to_an_end(server: Server) -> None:
    server.reply = lambda link, _: answer(link, 200, ocpi(named("A")), 'Link: <https://elsewhere.example/t>; rel="next"')
    with pytest.raises(TariffRefused, match="another server"):
        pulled(f"{server.url}/t")
    server.reply = lambda link, _: answer(link, 200, ocpi(), f'Link: <{server.url}/t>; rel="next"')
    with pytest.raises(TariffRefused, match=f"more than {MAX_PAGES} pages"):
        pulled(f"{server.url}/t")
    server.reply = lambda link, _: answer(link, 401, b"{}")
    with pytest.raises(TariffRefused, match="HTTP 401"):
        pulled(f"{server.url}/t")


# --- what a driver's phone is offered ------------------------------------------------------------------------------------------


def test_the_office_knows_the_price_that_was_taken_after_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    phone = Phone(desk_at(tmp_path, terminal), terminal, monkeypatch)

    def told() -> str:
        with phone.desk.database.read() as db:
            return charge_view._taken_since(db, TERMINAL, 1)

    def taken(name: str, begin: int = 0, end: int | None = None, connector: int = 1) -> TariffTaken:
        return TariffTaken(connector, "{}", name, 1, begin, end, "office", "", "office: Office")

    now = store.now_ms()
    phone.tell(taken("before"))
    phone.tell(taken("later", begin=now + 60_000, end=now + 120_000))
    phone.tell(TerminalBooted("0", "0", {"1": "before"}, False))
    assert told() == "", "the start has told it"
    phone.later(61)
    assert told() == "later", "it began since"
    phone.later(60)
    assert told() == ""
    phone.tell(taken("other", connector=2))
    phone.tell(taken("new"))
    assert told() == "new"
    phone.desk.database.close()
