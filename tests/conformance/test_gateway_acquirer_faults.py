"""The ISO 8583 gateway through the fault kit: the wire proxy between it and the simulated acquirer, whose books are true.

Its acquirer has a contract for refunds and increments, as the profile file says."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.launch import Simulated
from terminal_app.payments import acquirer_profile
from terminal_app.payments.iso8583 import Iso8583Gateway
from terminal_app.ports import PaymentGateway
from terminal_app.values import Approved, Declined, DeclineReason, Hold, Outcome, OutcomeUnknown
from tests.conformance.fault_kit import FaultLine, WireFaultKit, hold_of, step_of, told
from tests.conformance.fault_proxy import Fault, WireProxy
from tests.conformance.gateway_kit import PAN, Act
from tests.conformance.test_gateway_acquirer import Acquirer, fresh_card
from tests.conformance.test_gateway_iso8583 import section
from tests.conformance.tls_kit import TlsKit, TlsLine, port_of

pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES.*")
PROFILE = """
[increment]
offered = true
[refund]
offered = true
"""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as acquirer:
        yield acquirer
    shutil.rmtree(place)


def peer_port(simulated: Simulated) -> int:
    return int(simulated.facts["port"].rsplit(":", 1)[1])


@pytest.fixture
def proxy(simulated: Simulated) -> Iterator[WireProxy]:
    simulated.ctl("clear")
    proxy = WireProxy(peer_port(simulated))
    yield proxy
    proxy.close()


@pytest.fixture
def books(simulated: Simulated) -> Acquirer:
    return Acquirer(simulated, f"WIRE{next(numbers):04d}")


@pytest.fixture
def profile(tmp_path: Path) -> acquirer_profile.AcquirerProfile:
    (tmp_path / "acquirer.toml").write_text(PROFILE)
    return acquirer_profile.load(tmp_path / "acquirer.toml")


@pytest.fixture
def gateway(proxy: WireProxy, books: Acquirer, profile: acquirer_profile.AcquirerProfile) -> Iso8583Gateway:
    return Iso8583Gateway("bank", section(proxy.port, terminal_id=books.terminal_id), True, profile=profile)


def with_a_card(gateway: PaymentGateway, hold: Hold, deadline_s: float) -> Outcome:
    return gateway.authorize(hold, fresh_card(), deadline_s)


@pytest.fixture
def line(gateway: Iso8583Gateway, proxy: WireProxy, books: Acquirer, simulated: Simulated) -> FaultLine:
    """The gateway has no clock of its own: every date comes with the hold or the step."""
    return FaultLine(gateway, proxy, books, with_a_card, lambda off_ms: gateway, lambda: simulated.ctl("forget") and None)


class TestAcquirerFaults(WireFaultKit):
    gateway = "iso8583"


@pytest.fixture
def tls_line(simulated: Simulated) -> TlsLine:
    def secure(url: str, ca_file: Path | None) -> Iso8583Gateway:
        is_tls = url.startswith("https")
        return Iso8583Gateway("bank", section(port_of(url), tls=is_tls, ca_file=ca_file, connect_timeout_s=2), False)

    return TlsLine(peer_port(simulated), secure, WireProxy, with_a_card)


class TestAcquirerTls(TlsKit):
    gateway = "iso8583"


# --- increments and refunds ------------------------------------------------------------------------------------------


def raised(gateway: Iso8583Gateway, hold: Hold, amount_minor: int) -> Hold:
    return told(hold, gateway.increment(hold, step_of(amount_minor), 10))


def approved(gateway: Iso8583Gateway) -> Hold:
    hold = hold_of()
    return told(hold, with_a_card(gateway, hold, 10))


def test_a_raised_hold_is_captured_up_to_its_new_sum(gateway: Iso8583Gateway, books: Acquirer) -> None:
    hold = raised(gateway, raised(gateway, approved(gateway), 700), 300)
    assert books.held_minor() == 6000
    assert gateway.capture(hold, step_of(6001), 10) == Declined(DeclineReason.LIMIT_EXCEEDED, "13")
    assert isinstance(gateway.capture(hold, step_of(6000), 10), Approved)
    assert books.captures() == [6000]


def test_a_reversal_is_for_the_raised_sum(gateway: Iso8583Gateway, books: Acquirer, proxy: WireProxy) -> None:
    hold = raised(gateway, approved(gateway), 700)
    outcome = gateway.void(hold, step_of(5000), 10)
    assert isinstance(outcome, Approved)
    assert outcome.amount_minor == 5700
    assert b"000000005700" in proxy.seen[-1]
    assert books.held_minor() == 0


def test_an_increment_without_an_answer_leaves_the_old_ceiling_and_nothing_behind(
    gateway: Iso8583Gateway, books: Acquirer, proxy: WireProxy
) -> None:
    hold = approved(gateway)
    proxy.next(Fault.LOST)
    assert isinstance(gateway.increment(hold, step_of(700), 10), OutcomeUnknown)
    assert books.held_minor() == 5700  # the host did it, the terminal does not know
    assert isinstance(gateway.void(hold, step_of(5000), 10), Approved)
    assert books.held_minor() == 0


@pytest.mark.parametrize("order", [DeclineReason.REFUSED, Act.PARTIAL])
def test_an_increment_may_be_refused_or_given_in_part(gateway: Iso8583Gateway, books: Acquirer, order: Act | DeclineReason) -> None:
    hold = approved(gateway)
    books.next(order)
    outcome = gateway.increment(hold, step_of(4000), 10)
    if order is Act.PARTIAL:
        assert outcome == Approved(3000, {"held_minor": "8000"})
        assert books.held_minor() == 8000
    else:
        assert outcome == Declined(DeclineReason.REFUSED, "05")
        assert books.held_minor() == 5000


def test_no_more_is_given_back_than_was_captured(gateway: Iso8583Gateway, books: Acquirer) -> None:
    hold = approved(gateway)
    assert isinstance(gateway.refund(hold, step_of(1), 10), Declined)
    assert isinstance(gateway.capture(hold, step_of(1234), 10), Approved)
    assert isinstance(gateway.refund(hold, step_of(1000), 10), Approved)
    assert gateway.refund(hold, step_of(235), 10) == Declined(DeclineReason.LIMIT_EXCEEDED, "13")
    assert isinstance(gateway.refund(hold, step_of(234), 10), Approved)
    assert books.refunds() == [1000, 234]


def test_what_the_contract_does_not_have_is_not_sent(proxy: WireProxy, books: Acquirer) -> None:
    plain = Iso8583Gateway("bank", section(proxy.port, terminal_id=books.terminal_id), True)
    assert not plain.capabilities.refund and not plain.capabilities.increment
    hold = approved(plain)
    before = len(proxy.seen)
    assert isinstance(plain.refund(hold, step_of(1), 10), Declined)
    assert isinstance(plain.increment(hold, step_of(1), 10), Declined)
    assert len(proxy.seen) == before


def test_no_follow_up_carries_the_card(gateway: Iso8583Gateway, proxy: WireProxy) -> None:
    hold = raised(gateway, approved(gateway), 700)
    gateway.capture(hold, step_of(100), 10)
    gateway.refund(hold, step_of(50), 10)
    gateway.void(hold, step_of(5000), 10)
    first, *others = proxy.seen
    assert PAN.encode() in first
    assert len(others) == 4
    assert not [one for one in others if PAN.encode() in one]


# --- profiles --------------------------------------------------------------------------------------------------------


def test_an_acquirer_that_counts_in_bcd_and_knows_no_repeats(tmp_path: Path) -> None:
    (tmp_path / "acquirer.toml").write_text(
        'length_header = "bcd"\n[capture]\nrepeat_mti = "0220"\n[reversal]\nmti = "0420"\nrepeat_mti = "0421"\n'
        '[authorize]\nfields = { "60" = "PREAUTH" }\n[codes.authorize]\n"05" = "card_invalid"\n'
    )
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    with Simulated("acquirer", place / "c", "--books", place / "b", "--length", "bcd") as acquirer:
        profile = acquirer_profile.load(tmp_path / "acquirer.toml")
        books = Acquirer(acquirer, "BCDB0001")
        gateway = Iso8583Gateway("bank", section(peer_port(acquirer), terminal_id="BCDB0001"), True, profile=profile)
        assert gateway.check(10) == ""
        hold = approved(gateway)
        for attempt in (1, 2):
            assert isinstance(gateway.capture(hold, step_of(100, attempt), 10), Approved)
        books.next(DeclineReason.REFUSED)
        assert with_a_card(gateway, hold_of(), 10) == Declined(DeclineReason.CARD_INVALID, "05")
        assert isinstance(gateway.void(hold_of(), step_of(5000, attempt=2), 10), Approved)
        sent = {mti for (mti,) in books.rows("SELECT mti FROM messages WHERE terminal=? AND direction='in'")}
        assert sent == {"0100", "0220", "0421", "0800"}
    shutil.rmtree(place)
