"""The Stripe gateway through the checkout kit, against python-getpaid-simulator behind the fault proxy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from terminal_app.config import StripeSection
from terminal_app.payments.stripe import StripeGateway
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, OutcomeUnknown
from tests.conformance.checkout_kit import (
    STATION,
    CheckoutBench,
    CheckoutKit,
    fresh_hold,
    fresh_step,
    now_ms,
    paid,
    patience,
    shown,
)
from tests.conformance.fault_proxy import UNKNOWN_AFTER, Fault, FaultProxy
from tests.conformance.http_rules_kit import HttpRulesKit
from tests.peers import openapi
from tests.peers import stripe as peers
from tests.peers.certificates import certificate, server_context
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

    def at(url: str, off_ms: int = 0, demo: bool = True, ca_file: Path | None = None) -> StripeGateway:
        section = StripeSection(secret_key_file=key_file, url=url, return_url="https://office.example/thanks", ca_file=ca_file)
        made.append(StripeGateway("qr", section, demo, now_ms=lambda: now_ms() + off_ms))
        return made[-1]

    def secure(url: str, ca_file: Path | None) -> StripeGateway:
        front.livemode = True
        return at(url, demo=False, ca_file=ca_file)

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
        never={DeclineReason.GATEWAY_REFUSED: "the payer's bank refuses a card on the page, not the merchant"},
        finish=lambda hold, step, outcome: outcome,
        secrets=[peers.KEY],
        key_file=key_file,
        at=at,
        secure=secure,
        forget=front.lapse,
    )
    for gateway in made:
        gateway.close()
    proxy.close()


class TestStripe(CheckoutKit):
    gateway = "stripe"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], StripeGateway]]:
    key_file, made = tmp_path / "stripe.key", list[StripeGateway]()
    key_file.write_text(peers.KEY)

    def gateway(url: str) -> StripeGateway:
        made.append(
            StripeGateway("qr", StripeSection(secret_key_file=key_file, url=url, return_url="https://office.example/"), True)
        )
        return made[-1]

    yield gateway
    for one in made:
        one.close()


class TestStripeHttp(HttpRulesKit):
    gateway = "stripe"


def opened(bench: CheckoutBench, serial: int = 41) -> tuple[Hold, str]:
    hold = fresh_hold(serial)
    page = bench.gateway.open_checkout(hold, STATION, 10)
    assert isinstance(page, Checkout)
    return shown(hold, page), page.url


def posts(bench: CheckoutBench, end: str) -> int:
    return sum(sent.method == "POST" and sent.path.endswith(end) for sent in bench.proxy.seen)


def test_the_forms_that_are_sent(bench: CheckoutBench) -> None:
    hold = paid(bench)
    bench.gateway.capture(hold, msgspec.structs.replace(fresh_step("capture", 1234), statement="k7q2m9x4"), 10)
    bench.gateway.refund(hold, fresh_step("refund", 500), 10)
    other = paid(bench, fresh_hold(43))
    bench.gateway.void(other, fresh_step("void", 5000), 10)
    sent = [one for one in bench.proxy.seen if one.method == "POST"]
    page, capture, refund, _, cancel = (peers.form_of(one) for one in sent)
    assert int(page.pop("expires_at")) == hold.utc_ms // 1000 + 35 * 60
    assert page == {
        "mode": "payment",
        "client_reference_id": "hold-41",
        "success_url": "https://office.example/thanks",
        "cancel_url": "https://office.example/thanks",
        "payment_method_types[0]": "card",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "eur",
        "line_items[0][price_data][unit_amount]": "5000",
        "line_items[0][price_data][product_data][name]": STATION,
        "metadata[hold_key]": "key-41-authorize",
        "payment_intent_data[capture_method]": "manual",
        "payment_intent_data[description]": STATION,
        "payment_intent_data[metadata][hold_key]": "key-41-authorize",
        "payment_intent_data[metadata][hold_id]": "hold-41",
    }
    assert capture == {"amount_to_capture": "1234", "statement_descriptor_suffix": "k7q2m9x4"}, (
        "the bank statement finds the receipt"
    )
    assert refund == {"payment_intent": hold.trace["payment_intent"], "amount": "500", "metadata[step_key]": "key-41-refund"}
    assert cancel == {"cancellation_reason": "abandoned"}
    assert [one.key for one in sent] == ["key-41-authorize", "key-41-capture", "key-41-refund", "key-43-authorize", "key-41-void"]
    assert all(one.headers["stripe-version"] == "2024-06-20" for one in sent)


def test_a_paid_page_says_unpaid_and_the_hold_counts_all_the_same(bench: CheckoutBench) -> None:
    hold, url = opened(bench)
    bench.pay(url)
    (page,) = bench.books.pages()  # type: ignore[attr-defined]
    assert (page["status"], page["payment_status"]) == ("complete", "unpaid")
    outcome = bench.gateway.poll_checkout(hold, 10)
    assert isinstance(outcome, Approved)
    assert outcome.capture_before_utc_ms == peers.CAPTURE_BEFORE_S * 1000
    assert (outcome.trace["brand"], outcome.trace["last4"], outcome.trace["held_minor"]) == ("visa", "4242", "5000")


@pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
def test_a_page_found_paid_but_not_its_payment_is_polled_again(bench: CheckoutBench, fault: Fault) -> None:
    hold, url = opened(bench)
    bench.pay(url)
    bench.proxy.next(Fault.NONE, fault)
    assert isinstance(bench.gateway.poll_checkout(hold, patience(fault)), OutcomeUnknown)
    assert isinstance(bench.gateway.poll_checkout(hold, 10), Approved)


def test_a_payment_under_way_is_waited_for(bench: CheckoutBench) -> None:
    hold, url = opened(bench)
    bench.books.phone(url, "pay_delayed")  # type: ignore[attr-defined]
    assert bench.gateway.poll_checkout(hold, 10) is None
    assert isinstance(bench.gateway.expire_checkout(hold, 10), OutcomeUnknown)


def test_a_hold_the_bank_let_expire_is_too_late_and_released(bench: CheckoutBench) -> None:
    hold, url = opened(bench)
    bench.pay(url)
    outcome = bench.gateway.poll_checkout(hold, 10)
    assert isinstance(outcome, Approved)
    hold = msgspec.structs.replace(hold, trace=outcome.trace)
    bench.books.ops(url, "expire_auth")  # type: ignore[attr-defined]
    refused = bench.gateway.capture(hold, fresh_step("capture", 1234), 10)
    assert isinstance(refused, Declined)
    assert refused.reason is DeclineReason.TOO_LATE
    assert isinstance(bench.gateway.void(hold, fresh_step("void", 5000), 10), Approved)


def test_a_payment_of_another_amount_is_no_approval(bench: CheckoutBench) -> None:
    hold, url = opened(bench)
    bench.pay(url)
    for other in ({"amount_minor": 4000}, {"currency": "USD"}):
        assert isinstance(bench.gateway.poll_checkout(msgspec.structs.replace(hold, **other), 10), OutcomeUnknown)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNSENT])
def test_a_day_later_the_payment_is_read_before_a_capture_is_repeated(
    bench: CheckoutBench, front: peers.StripeFront, fault: Fault
) -> None:
    hold = paid(bench)
    bench.proxy.next(fault)
    assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
    front.lapse()
    before = posts(bench, "/capture")
    outcome = bench.at(bench.proxy.url, 25 * 3_600_000).capture(hold, fresh_step("capture", 1234, 9), 10)
    assert isinstance(outcome, Approved)
    assert outcome.amount_minor == 1234
    assert bench.books.captures() == [1234]
    assert posts(bench, "/capture") - before == (0 if fault is Fault.LOST else 1)


def test_a_day_later_a_page_is_not_opened_again_and_its_hold_is_released(bench: CheckoutBench, front: peers.StripeFront) -> None:
    bench.proxy.next(Fault.LOST)
    assert isinstance(bench.gateway.open_checkout(fresh_hold(), STATION, 10), OutcomeUnknown)
    front.lapse()
    later = bench.at(bench.proxy.url, 25 * 3_600_000)
    assert isinstance(later.open_checkout(fresh_hold(), STATION, 10), OutcomeUnknown)
    assert posts(bench, "/sessions") == 1
    assert isinstance(later.void(fresh_hold(), fresh_step("void", 5000), 10), Approved)


def test_a_paid_page_whose_reference_was_lost_is_found_by_our_key_and_released(bench: CheckoutBench) -> None:
    hold, url = opened(bench)
    bench.pay(url)
    forgotten = msgspec.structs.replace(hold, trace={})
    assert isinstance(bench.gateway.look_up(forgotten, 10), Approved)  # type: ignore[attr-defined]
    assert isinstance(bench.gateway.void(forgotten, fresh_step("void", 5000), 10), Approved)
    assert bench.books.held_minor() == 0


def test_a_page_whose_reference_was_lost_is_ended_before_another_card_is_tried(bench: CheckoutBench) -> None:
    hold, url = opened(bench)
    bench.decline(url, DeclineReason.REFUSED)
    forgotten = msgspec.structs.replace(hold, trace={})
    assert isinstance(bench.gateway.void(forgotten, fresh_step("void", 5000), 10), Approved)
    assert bench.books.open_pages() == 0


def test_a_page_under_the_same_key_but_of_another_text_is_unknown_not_refused(bench: CheckoutBench) -> None:
    opened(bench)
    assert isinstance(bench.gateway.open_checkout(fresh_hold(), "renamed station", 10), OutcomeUnknown)


def test_a_refused_request_is_our_fault_and_certain(bench: CheckoutBench) -> None:
    outcome = bench.gateway.open_checkout(msgspec.structs.replace(fresh_hold(), currency="ISK"), STATION, 10)
    assert isinstance(outcome, Declined)
    assert bench.proxy.seen == []


def test_a_test_key_is_told_in_production(bench: CheckoutBench, front: peers.StripeFront, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    proxy = FaultProxy(bench.proxy.peer_port, front, server_context(files))
    try:
        gateway = bench.secure(proxy.url, files[0])
        front.livemode = False
        assert "test mode" in gateway.check(10)
    finally:
        proxy.close()


@pytest.mark.parametrize("content", [None, "", "two words", "sk_live_\u00e9", "x" * 5000])
def test_an_unusable_key_file_stops_the_start_and_is_not_quoted(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "stripe.key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match="secret_key_file") as caught:
        StripeGateway("qr", StripeSection(secret_key_file=file, return_url="https://office.example/"), False)
    assert not content or content not in str(caught.value)


@pytest.mark.full
def test_every_request_is_one_of_the_published_api(bench: CheckoutBench, front: peers.StripeFront) -> None:
    hold = paid(bench)
    bench.gateway.capture(hold, fresh_step("capture", 1234), 10)
    bench.gateway.refund(hold, fresh_step("refund", 500), 10)
    bench.gateway.void(paid(bench, fresh_hold(43)), fresh_step("void", 5000), 10)
    forgotten, url = opened(bench, 45)
    bench.decline(url, DeclineReason.REFUSED)
    bench.gateway.void(msgspec.structs.replace(forgotten, trace={}), fresh_step("void-lost", 5000), 10)
    bench.gateway.look_up(msgspec.structs.replace(forgotten, trace={}), 10)  # type: ignore[attr-defined]
    bench.gateway.expire_checkout(forgotten, 10)
    bench.at(bench.proxy.url, 25 * 3_600_000).refund(hold, fresh_step("refund", 500), 10)
    bench.at(bench.proxy.url, -3 * 86_400_000).open_checkout(fresh_hold(44, age_ms=3 * 86_400_000), STATION, 10)
    bench.gateway.check(10)
    api = openapi.Described(openapi.description("stripe.com.json"))
    known = {api.validate_form(one.method, one.path, one.body) for one in bench.proxy.seen}
    assert known == {
        "POST /v1/checkout/sessions", "GET /v1/checkout/sessions/{session}", "POST /v1/checkout/sessions/{session}/expire",
        "GET /v1/payment_intents/{intent}", "POST /v1/payment_intents/{intent}/capture", "POST /v1/payment_intents/{intent}/cancel",
        "GET /v1/payment_intents/search", "GET /v1/checkout/sessions", "POST /v1/refunds", "GET /v1/refunds", "GET /v1/balance",
    }  # fmt: skip
    with pytest.raises(openapi.NotDescribed, match="amount"):  # a misspelt parameter is found
        api.validate_form("POST", "/v1/payment_intents/pi_1/capture", b"amount=1234")
