"""The ISO 8583 gateway through the gateway kit, against the simulated acquirer: a process with a codec, cryptogram check
and durable books of its own. What is asserted is read in those books."""

import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.cryptogram import TEST_ISSUER_KEY, cryptogram
from drivers.sim.launch import Simulated
from terminal_app.payments.iso8583 import Iso8583Gateway
from terminal_app.values import Approved, Declined, DeclineReason, OutcomeUnknown, PaymentCard
from tests.conformance.gateway_kit import PAN, TRACK2, Act, Bench, GatewayKit, a_card, a_hold, a_step, held
from tests.conformance.test_gateway_iso8583 import CODE_FOR, closed_port, section

FAULT = {Act.SILENT: "silent", Act.CLOSE: "close", Act.GARBAGE: "garbage", Act.LATE: "stranger", Act.DUPLICATE: "twice"}
pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES.*")
AID = "A0000000041010"
numbers = itertools.count(1)


def fresh_card(spoil: bool = False) -> PaymentCard:
    """Chip data with a true ARQC over 50.00 EUR and a transaction counter never used before."""
    tags = {
        "9F02": bytes.fromhex("000000005000"), "9F03": bytes(6), "9F1A": b"\x02\x76", "95": bytes(5), "5F2A": b"\x09\x78",
        "9A": b"\x26\x11\x23", "9C": b"\x00", "9F37": b"\x01\x02\x03\x04", "82": b"\x19\x80",
        "9F36": next(numbers).to_bytes(2, "big"), "9F10": bytes.fromhex("0110A50003020000000000000000000000FF"),
    }  # fmt: skip
    arqc = cryptogram(TEST_ISSUER_KEY, AID, PAN, "01", tags)
    tags |= {"9F26": bytes(8) if spoil else arqc, "9F27": b"\x80", "84": bytes.fromhex(AID)}
    card = a_card()
    card.emv = bytearray(b"".join(bytes.fromhex(tag) + bytes([len(value)]) + value for tag, value in tags.items()))
    return card


class Acquirer:
    """The process, seen by one test: a terminal id of its own keeps the books apart."""

    def __init__(self, simulated: Simulated, terminal_id: str) -> None:
        self.simulated, self.terminal_id = simulated, terminal_id
        self.seen: list[object] = []

    def next(self, *acts: Act | DeclineReason) -> None:
        self.simulated.ctl("clear")
        for act in acts:
            if isinstance(act, DeclineReason):
                self.simulated.ctl("next", answer="decline", code=CODE_FOR[act])
            elif act is Act.UNDECIDED:
                self.simulated.ctl("next", answer="decline", code="91")
            elif act is Act.PARTIAL:
                self.simulated.ctl("next", answer="partial", amount_minor=3000)
            elif act is Act.SLOW:
                self.simulated.ctl("next", answer="late", ms=300)
            elif act in FAULT:
                self.simulated.ctl("next", answer=FAULT[act])

    def rows(self, question: str) -> list[tuple[int]]:
        books = sqlite3.connect(f"file:{self.simulated.facts['books']}?mode=ro", uri=True)
        try:
            return books.execute(question, (self.terminal_id,)).fetchall()
        finally:
            books.close()

    def held_minor(self) -> int:
        return sum(
            n
            for (n,) in self.rows("SELECT amount_minor FROM authorizations WHERE terminal=? AND state IN ('authorized','captured')")
        )

    def captures(self) -> list[int]:
        return [n for (n,) in self.rows("SELECT captured_minor FROM authorizations WHERE terminal=? AND state='captured'")]

    def refunds(self) -> list[int]:
        return [n for (n,) in self.rows("SELECT amount_minor FROM refunds WHERE terminal=?")]


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as acquirer:
        yield acquirer
    shutil.rmtree(place)


@pytest.fixture
def acquirer(simulated: Simulated) -> Acquirer:
    simulated.ctl("clear")
    return Acquirer(simulated, f"TERM{next(numbers):04d}")


@pytest.fixture
def bench(acquirer: Acquirer) -> Bench:
    port = int(acquirer.simulated.facts["port"].rsplit(":", 1)[1])
    return Bench(
        Iso8583Gateway("bank", section(port, terminal_id=acquirer.terminal_id), True),
        Iso8583Gateway("bank", section(closed_port()), True),
        acquirer,
        tuple(CODE_FOR),
        fresh_card,
    )


class TestAcquirer(GatewayKit):
    gateway = "iso8583"


def test_a_forged_cryptogram_is_refused(bench: Bench) -> None:
    outcome = bench.gateway.authorize(a_hold(), fresh_card(spoil=True), 5)
    assert isinstance(outcome, Declined)
    assert outcome.reason is DeclineReason.REFUSED


def test_a_reversal_that_overtakes_its_authorization_wins(bench: Bench, acquirer: Acquirer) -> None:
    assert isinstance(bench.gateway.void(a_hold(), a_step(5000), 5), Approved)
    assert isinstance(bench.gateway.authorize(a_hold(), fresh_card(), 5), Declined)
    assert acquirer.held_minor() == 0


@pytest.mark.parametrize("fault", ["lost", "close_before"])
def test_a_request_that_never_arrived_leaves_nothing_held(bench: Bench, acquirer: Acquirer, fault: str) -> None:
    acquirer.simulated.ctl("next", answer=fault)
    assert isinstance(bench.gateway.authorize(a_hold(), fresh_card(), 1), OutcomeUnknown)
    assert isinstance(bench.gateway.void(a_hold(), a_step(5000), 5), Approved)
    assert acquirer.held_minor() == 0


def test_a_lost_completion_is_captured_by_its_repeat(bench: Bench, acquirer: Acquirer) -> None:
    hold = held(a_hold(), bench.gateway.authorize(a_hold(), fresh_card(), 5))
    acquirer.simulated.ctl("next", answer="lost", mti="0220")
    assert isinstance(bench.gateway.capture(hold, a_step(1499), 1), OutcomeUnknown)
    assert acquirer.captures() == []
    assert isinstance(bench.gateway.capture(hold, a_step(1499, attempt=2), 5), Approved)
    assert acquirer.captures() == [1499]


def test_no_form_of_the_card_number_in_the_books(bench: Bench, acquirer: Acquirer) -> None:
    assert isinstance(bench.gateway.authorize(a_hold(), fresh_card(), 5), Approved)
    books = Path(acquirer.simulated.facts["books"])
    written = b"".join(file.read_bytes() for file in books.parent.glob(books.name + "*"))
    assert PAN.encode() not in written
    assert TRACK2[:8] not in written
