"""The ISO 8583 gateway against a host of other authors: each message is understood, each answer is read, every fault ends
unknown. What this peer cannot do (state, partial approval) is asked of the simulated acquirer in test_gateway_acquirer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal_app.payments import acquirer_profile
from terminal_app.payments.iso8583 import Iso8583Gateway
from terminal_app.values import Approved, Declined, DeclineReason, Hold, OutcomeUnknown
from tests.conformance.fault_kit import EACH_WIRE_FAULT, hold_of, patience, step_of, told
from tests.conformance.fault_proxy import Fault, WireProxy
from tests.conformance.gateway_kit import PAN, a_card
from tests.conformance.test_gateway_iso8583 import section
from tests.peers import iso8583sim as peers
from tests.peers.venvs import PeerProcess

PROFILE = """
[increment]
offered = true
repeat_mti = "0100"
[capture]
repeat_mti = "0220"
[reversal]
repeat_mti = "0400"
[refund]
offered = true
repeat_mti = "0220"
"""
"""An acquirer with a contract for everything, which knows no repeat messages."""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerProcess]:
    with peers.host(tmp_path_factory.mktemp("iso8583sim")) as peer:
        yield peer


@pytest.fixture
def proxy(peer: PeerProcess) -> Iterator[WireProxy]:
    proxy = WireProxy(peer.port)
    yield proxy
    proxy.close()


@pytest.fixture
def at(tmp_path: Path) -> Callable[..., Iso8583Gateway]:
    (tmp_path / "acquirer.toml").write_text(PROFILE)
    profile = acquirer_profile.load(tmp_path / "acquirer.toml")

    def gateway(port: int, terminal_id: str = "TERM0001") -> Iso8583Gateway:
        return Iso8583Gateway("bank", section(port, terminal_id=terminal_id), True, profile=profile)

    return gateway


def approved(gateway: Iso8583Gateway) -> Hold:
    hold = hold_of()
    return told(hold, gateway.authorize(hold, a_card(), 10))


def test_a_whole_journey_is_understood(at: Callable[..., Iso8583Gateway], proxy: WireProxy) -> None:
    gateway = at(proxy.port)
    assert gateway.check(10) == ""
    hold = approved(gateway)
    assert hold.trace["auth_code"]
    assert hold.trace["held_minor"] == "5000"
    hold = told(hold, gateway.increment(hold, step_of(700), 10))
    assert isinstance(gateway.capture(hold, step_of(5700), 10), Approved)
    assert isinstance(gateway.capture(hold, step_of(5700, attempt=2), 10), Approved)
    assert isinstance(gateway.refund(hold, step_of(100), 10), Approved)
    assert isinstance(gateway.void(approved(gateway), step_of(5000), 10), Approved)
    assert isinstance(gateway.void(hold_of(), step_of(5000, attempt=2), 10), Approved)
    assert not [one for one in proxy.seen if PAN.encode() in one and b"0100" not in one[2:6]]


def test_refusals_are_read(at: Callable[..., Iso8583Gateway], peer: PeerProcess) -> None:
    gateway = at(peer.port)
    assert at(peer.port, peers.REFUSED).authorize(hold_of(), a_card(), 10) == Declined(DeclineReason.REFUSED, "05")
    large = Hold("h", "bank", 7, hold_of().utc_ms, 1_000_001, "EUR", 1, "k")
    assert gateway.authorize(large, a_card(), 10) == Declined(DeclineReason.INSUFFICIENT_FUNDS, "51")


def test_silence_and_a_closed_line_are_unknown_and_slowness_is_not(at: Callable[..., Iso8583Gateway], peer: PeerProcess) -> None:
    for terminal_id in (peers.DROPPED, peers.CLOSED):
        assert isinstance(at(peer.port, terminal_id).authorize(hold_of(), a_card(), 1), OutcomeUnknown)
    assert isinstance(at(peer.port, peers.CLOSED).void(hold_of(), step_of(5000), 2), OutcomeUnknown)
    assert isinstance(at(peer.port, peers.SLOW).authorize(hold_of(), a_card(), 10), Approved)


@EACH_WIRE_FAULT
def test_a_spoiled_answer_is_unknown_at_each_step_and_the_repeat_is_understood(
    at: Callable[..., Iso8583Gateway], proxy: WireProxy, fault: Fault
) -> None:
    gateway = at(proxy.port)
    hold = approved(gateway)
    proxy.next(fault)
    assert isinstance(gateway.authorize(hold_of(), a_card(), patience(fault)), OutcomeUnknown)
    for what in ("increment", "capture", "refund", "void"):
        step = step_of(100)
        proxy.next(fault)
        assert isinstance(getattr(gateway, what)(hold, step, patience(fault)), OutcomeUnknown), what
        assert isinstance(getattr(gateway, what)(hold, step_of(100, attempt=2), 10), Approved), what
