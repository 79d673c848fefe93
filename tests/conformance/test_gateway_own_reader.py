"""The port takes a terminal that reads and authorises in one act: the kits over the simulated certified terminal."""

import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.sim.launch import Simulated
from terminal_app.ports import Increment, LookUp, OwnReader, PaymentGateway
from terminal_app.values import Approved, Declined, DeclineReason, Hold, Outcome, OutcomeUnknown
from tests.conformance.fault_kit import FaultLine, WireFaultKit, hold_of, step_of, told
from tests.conformance.fault_proxy import Fault, WireProxy
from tests.conformance.gateway_kit import Act, Bench, GatewayKit, a_card
from tests.conformance.own_reader_gateway import OwnReaderGateway
from tests.conformance.scenarios import scenario
from tests.conformance.tls_kit import TlsKit, TlsLine, port_of
from tests.pan_search import find_pan
from tests.peers.venvs import free_port

FAULT = {
    Act.SLOW: Fault.SLOW, Act.SILENT: Fault.SILENT, Act.CLOSE: Fault.LOST, Act.GARBAGE: Fault.GARBAGE,
    Act.DUPLICATE: Fault.DOUBLED_ANSWER, Act.LATE: Fault.STRANGER,
}  # fmt: skip
ORDER = {Act.UNDECIDED: {"answer": "undecided"}, Act.PARTIAL: {"answer": "partial", "amount_minor": 3000}}
CODE = {
    DeclineReason.REFUSED: "05",
    DeclineReason.INSUFFICIENT_FUNDS: "51",
    DeclineReason.CARD_INVALID: "54",
    DeclineReason.AUTHENTICATION_WANTED: "1A",
    DeclineReason.LIMIT_EXCEEDED: "61",
    DeclineReason.GATEWAY_REFUSED: "30",
}
VISA, MASTERCARD = "4111111111111111", "5413330089020011"
numbers = itertools.count(1)


class Terminal:
    """The process behind the proxy, its books read from its file."""

    def __init__(self, place: Path) -> None:
        self.simulated = Simulated("certified_terminal", place / "c", "--books", place / "books.json")
        self.port = int(self.simulated.facts["port"].rsplit(":", 1)[1])
        self.proxy = WireProxy(self.port, foreign=lambda answer: answer.replace(b'"id": "', b'"id": "of-another-'))
        self.place, self.seen = place, list[Any]()
        self.simulated.ctl("present")

    def next(self, *acts: Act | DeclineReason) -> None:
        self.proxy.next(*(FAULT.get(act, Fault.NONE) if isinstance(act, Act) else Fault.NONE for act in acts))
        self.simulated.ctl("clear")
        for act in acts:
            if isinstance(act, DeclineReason):
                self.simulated.ctl("next", answer="decline", code=CODE[act])
            else:
                self.simulated.ctl("next", **ORDER.get(act, {"answer": "approve"}))

    def reservations(self) -> list[dict[str, Any]]:
        return list(json.loads((self.place / "books.json").read_text())["reservations"].values())

    def held_minor(self) -> int:
        return sum(row["held_minor"] for row in self.reservations() if row["state"] in ("approved", "captured"))

    def captures(self) -> list[int]:
        return [row["captured_minor"] for row in self.reservations() if row["state"] == "captured"]

    def refunds(self) -> list[int]:
        done = json.loads((self.place / "books.json").read_text())["done"].values()
        return [one["amount_minor"] for one in done if one["op"] == "refund"]

    def close(self) -> None:
        self.proxy.close()
        self.simulated.stop()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    terminal = Terminal(place)
    yield terminal
    terminal.close()
    shutil.rmtree(place)


def never() -> bool:
    return False


def at_reader(gateway: PaymentGateway, hold: Hold, deadline_s: float) -> Outcome:
    assert isinstance(gateway, OwnReader)
    return gateway.authorize_at_reader(hold, never, deadline_s)


@pytest.fixture
def gateway(terminal: Terminal) -> OwnReaderGateway:
    return OwnReaderGateway("own", terminal.proxy.port, demo=True)


@pytest.fixture
def bench(terminal: Terminal, gateway: OwnReaderGateway) -> Bench:
    nowhere = OwnReaderGateway("own", free_port(), demo=True)
    return Bench(gateway, nowhere, terminal, tuple(CODE), a_card, ask=at_reader)


@pytest.fixture
def line(terminal: Terminal, gateway: OwnReaderGateway) -> FaultLine:
    """Neither the gateway nor the terminal's protocol has a clock; the terminal's books know each key for ever."""
    return FaultLine(gateway, terminal.proxy, terminal, at_reader, lambda off_ms: gateway, lambda: None)


@pytest.fixture
def tls_line(terminal: Terminal) -> TlsLine:
    def secure(url: str, ca_file: Path | None) -> OwnReaderGateway:
        return OwnReaderGateway("own", port_of(url), demo=False, tls=url.startswith("https"), ca_file=ca_file)

    return TlsLine(terminal.port, secure, WireProxy, at_reader)


class TestOwnReader(GatewayKit):
    gateway = "own_reader"


class TestOwnReaderFaults(WireFaultKit):
    gateway = "own_reader"


class TestOwnReaderTls(TlsKit):
    gateway = "own_reader"


class TestAtTheReader:
    """What only a gateway with a reader can have."""

    gateway = "own_reader"

    def test_it_is_found_by_its_protocols(self, gateway: OwnReaderGateway) -> None:
        assert isinstance(gateway, OwnReader) and isinstance(gateway, Increment) and isinstance(gateway, LookUp)

    @scenario("cancelled while waiting", "authorize")
    def test_it_stops_waiting_when_told_and_nothing_is_held(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        terminal.simulated.ctl("remove")
        asked, hold = itertools.count(), hold_of()
        outcome = gateway.authorize_at_reader(hold, lambda: next(asked) >= 5, 20)
        assert isinstance(outcome, Declined)
        assert outcome.reason is DeclineReason.TOO_LATE
        terminal.simulated.ctl("present")  # too late: the terminal waits for nobody
        assert terminal.held_minor() == 0
        assert gateway.authorize_at_reader(hold, never, 5) == outcome  # the same hold is never begun again

    @scenario("cancelled while waiting", "authorize")
    def test_a_card_that_came_in_that_very_moment_has_paid(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        terminal.simulated.ctl("remove")

        def stop() -> bool:
            terminal.simulated.ctl("present")
            return True

        outcome = gateway.authorize_at_reader(hold_of(), stop, 20)
        assert isinstance(outcome, Approved)
        assert terminal.held_minor() == 5000

    @scenario("cancelled while waiting", "authorize")
    def test_it_gives_up_before_its_deadline(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        terminal.simulated.ctl("remove")
        began = time.monotonic()
        assert isinstance(gateway.authorize_at_reader(hold_of(), never, 2), Declined)
        assert time.monotonic() - began < 10
        assert terminal.reservations()[-1]["state"] == "aborted"

    @scenario("card removed", "authorize")
    def test_a_card_taken_away_too_early_may_be_held_out_again(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        terminal.simulated.ctl("remove")
        outcomes: list[Outcome] = []
        hold = hold_of()
        waiting = threading.Thread(target=lambda: outcomes.append(gateway.authorize_at_reader(hold, never, 20)))
        waiting.start()
        while not terminal.simulated.ctl("get")["waiting"]:
            time.sleep(0.02)
        terminal.simulated.ctl("present", too_short=True)
        assert terminal.held_minor() == 0
        terminal.simulated.ctl("present")
        waiting.join(20)
        assert isinstance(outcomes[0], Approved)
        assert terminal.held_minor() == 5000

    def test_a_lost_approval_is_found_by_our_key_and_released(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        hold = hold_of()
        terminal.proxy.next(Fault.LOST)
        assert isinstance(gateway.authorize_at_reader(hold, never, 5), OutcomeUnknown)
        assert terminal.held_minor() == 5000
        found = gateway.look_up(hold, 5)
        assert isinstance(found, Approved)
        assert found.trace["last4"] == "0011"
        assert isinstance(gateway.void(hold, step_of(5000), 5), Approved)
        assert terminal.held_minor() == 0

    def test_the_same_card_has_the_same_token_and_no_number(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        cards = []
        for pan in (VISA, MASTERCARD, VISA):
            terminal.simulated.ctl("present", pan=pan)
            cards.append(told(hold_of(), gateway.authorize_at_reader(hold_of(), never, 5)).trace)
        assert [(card["brand"], card["last4"]) for card in cards] == [("visa", "1111"), ("mastercard", "0011"), ("visa", "1111")]
        assert cards[0]["card_token"] == cards[2]["card_token"] != cards[1]["card_token"]
        (terminal.place / "told").write_text(repr(cards))
        assert find_pan([terminal.place], VISA) == find_pan([terminal.place], MASTERCARD) == []

    def test_a_terminal_that_lost_power_still_knows_what_it_holds(self, terminal: Terminal, gateway: OwnReaderGateway) -> None:
        hold = hold_of()
        hold = told(hold, gateway.authorize_at_reader(hold, never, 5))
        terminal.simulated.process.kill()
        terminal.simulated.process.wait(20)
        step = step_of(1234)
        assert isinstance(gateway.capture(hold, step, 2), OutcomeUnknown)
        address = f"127.0.0.1:{terminal.port}"
        with Simulated("certified_terminal", terminal.place / "c2", "--books", terminal.place / "books.json", "--listen", address):
            assert isinstance(gateway.capture(hold, step, 5), Approved)
            assert isinstance(gateway.capture(hold, step, 5), Approved)
        assert terminal.captures() == [1234]
