"""The Stripe gateway through the checkout kit, against python-getpaid-simulator behind the fault proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.config import StripeSection
from terminal_app.payments.stripe import StripeGateway
from terminal_app.values import DeclineReason
from tests.conformance.checkout_kit import CheckoutBench, CheckoutKit, now_ms
from tests.conformance.fault_proxy import FaultProxy
from tests.peers import stripe as peers
from tests.peers.venvs import PeerProcess, free_port

DECLINE_CODE = {
    DeclineReason.REFUSED: "generic_decline",
    DeclineReason.INSUFFICIENT_FUNDS: "insufficient_funds",
    DeclineReason.CARD_INVALID: "expired_card",
    DeclineReason.AUTHENTICATION_WANTED: "authentication_required",
    DeclineReason.LIMIT_EXCEEDED: "card_velocity_exceeded",
}
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[PeerProcess]:
    with peers.getpaid() as peer:
        yield peer


@pytest.fixture
def front() -> peers.StripeFront:
    return peers.StripeFront()


@pytest.fixture
def bench(simulator: PeerProcess, front: peers.StripeFront, tmp_path: Path) -> Iterator[CheckoutBench]:
    key_file = tmp_path / "stripe.key"
    key_file.write_text(peers.KEY + "\n")
    proxy = FaultProxy(simulator.port, front)
    books = peers.GetpaidBooks(simulator.port, proxy)
    made: list[StripeGateway] = []

    def at(url: str, off_ms: int = 0) -> StripeGateway:
        section = StripeSection(secret_key_file=key_file, url=url, return_url="https://office.example/thanks")
        made.append(StripeGateway("qr", section, True, now_ms=lambda: now_ms() + off_ms))
        return made[-1]

    def decline(url: str, reason: DeclineReason) -> None:
        front.decline_code = DECLINE_CODE[reason]
        books.phone(url, "decline")

    yield CheckoutBench(
        gateway=at(proxy.url),
        unreachable=at(f"http://127.0.0.1:{free_port()}"),
        proxy=proxy,
        books=books,
        pay=lambda url: books.phone(url, "pay"),
        decline=decline,
        declines=tuple(DECLINE_CODE),
        finish=lambda hold, step, outcome: outcome,
        secrets=[peers.KEY],
        key_file=key_file,
        at=at,
    )
    for gateway in made:
        gateway.close()
    proxy.close()


class TestStripe(CheckoutKit):
    pass
