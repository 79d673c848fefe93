"""The Stripe gateway's follow-ups against localstripe, a second peer of other authors, behind the fault proxy.

localstripe has no checkout pages: the holds are made past the adapter. Its own books say what happened to the money.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.config import StripeSection
from terminal_app.payments.stripe import StripeGateway
from terminal_app.values import Approved, Declined, DeclineReason, Hold, OutcomeUnknown
from tests.conformance.checkout_kit import fresh_hold, fresh_step, now_ms, patience
from tests.conformance.fault_proxy import UNKNOWN_AFTER, Fault, FaultProxy
from tests.peers import stripe as peers
from tests.peers.venvs import PeerProcess

EACH_FAULT = pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)


@pytest.fixture(scope="module")
def peer() -> Iterator[PeerProcess]:
    with peers.localstripe() as peer:
        yield peer


@pytest.fixture
def books(peer: PeerProcess) -> peers.LocalstripeBooks:
    return peers.LocalstripeBooks(peer.port)


@pytest.fixture
def front() -> peers.LocalstripeFront:
    return peers.LocalstripeFront()


@pytest.fixture
def proxy(peer: PeerProcess, front: peers.LocalstripeFront) -> Iterator[FaultProxy]:
    proxy = FaultProxy(peer.port, front)
    yield proxy
    proxy.close()


@pytest.fixture
def section(proxy: FaultProxy, tmp_path: Path) -> StripeSection:
    key_file = tmp_path / "stripe.key"
    key_file.write_text(peers.KEY)
    return StripeSection(secret_key_file=key_file, url=proxy.url, return_url="https://office.example/thanks")


@pytest.fixture
def gateway(section: StripeSection) -> Iterator[StripeGateway]:
    gateway = StripeGateway("qr", section, True)
    yield gateway
    gateway.close()


@pytest.fixture
def hold(books: peers.LocalstripeBooks) -> Hold:
    return fresh_hold(trace={"payment_intent": books.hold(5000), "held_minor": "5000"})


@EACH_FAULT
def test_a_capture_through_faults_takes_the_money_once(
    gateway: StripeGateway, proxy: FaultProxy, books: peers.LocalstripeBooks, hold: Hold, fault: Fault
) -> None:
    proxy.next(fault)
    assert isinstance(gateway.capture(hold, fresh_step("capture", 1234), patience(fault)), OutcomeUnknown)
    outcome = gateway.capture(hold, fresh_step("capture", 1234, 2), 10)
    assert isinstance(outcome, Approved)
    assert outcome.amount_minor == 1234
    charge = books.charge(hold.trace["payment_intent"])
    assert charge["captured"]
    assert charge["amount"] - charge["amount_refunded"] == 1234


@EACH_FAULT
def test_a_release_through_faults_releases(
    gateway: StripeGateway, proxy: FaultProxy, books: peers.LocalstripeBooks, hold: Hold, fault: Fault
) -> None:
    proxy.next(fault)
    assert isinstance(gateway.void(hold, fresh_step("void", 5000), patience(fault)), OutcomeUnknown)
    assert isinstance(gateway.void(hold, fresh_step("void", 5000, 2), 10), Approved)
    assert books.status(hold.trace["payment_intent"]) == "canceled"
    refused = gateway.capture(hold, fresh_step("capture", 1234), 10)
    assert isinstance(refused, Declined)
    assert refused.reason is DeclineReason.ALREADY_DONE


@EACH_FAULT
def test_a_refund_through_faults_is_given_once(
    gateway: StripeGateway, proxy: FaultProxy, books: peers.LocalstripeBooks, hold: Hold, fault: Fault
) -> None:
    assert isinstance(gateway.capture(hold, fresh_step("capture", 1234), 10), Approved)
    before = books.refunds(hold.trace["payment_intent"])
    proxy.next(fault)
    assert isinstance(gateway.refund(hold, fresh_step("refund", 500), patience(fault)), OutcomeUnknown)
    assert isinstance(gateway.refund(hold, fresh_step("refund", 500, 2), 10), Approved)
    assert sorted(books.refunds(hold.trace["payment_intent"])) == sorted([*before, 500])


def test_a_captured_hold_is_not_released(gateway: StripeGateway, books: peers.LocalstripeBooks, hold: Hold) -> None:
    assert isinstance(gateway.capture(hold, fresh_step("capture", 777), 10), Approved)
    outcome = gateway.void(hold, fresh_step("void", 5000), 10)
    assert isinstance(outcome, Declined)
    assert outcome.reason is DeclineReason.ALREADY_DONE
    assert books.status(hold.trace["payment_intent"]) == "succeeded"


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNSENT])
def test_a_day_later_the_state_is_read_first(
    section: StripeSection, gateway: StripeGateway, proxy: FaultProxy, front: peers.LocalstripeFront, hold: Hold, fault: Fault
) -> None:
    proxy.next(fault)
    assert isinstance(gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
    front.lapse()
    later = StripeGateway("qr", section, True, now_ms=lambda: now_ms() + 25 * 3_600_000)
    outcome = later.capture(hold, fresh_step("capture", 1234, 9), 10)
    later.close()
    assert isinstance(outcome, Approved)
    assert outcome.amount_minor == 1234
