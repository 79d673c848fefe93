"""The Adyen gateway through the checkout kit: our double behind the fault proxy, its notifications relayed by the test."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from terminal_app.config import AdyenSection
from terminal_app.errors import SignatureInvalid
from terminal_app.payments.adyen import AdyenGateway
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown
from tests.conformance.checkout_kit import STATION, CheckoutBench, CheckoutKit, fresh_hold, fresh_step, now_ms, paid, shown
from tests.conformance.fault_proxy import Fault, FaultProxy, Request
from tests.conformance.gateway_kit import REASONS
from tests.conformance.http_rules_kit import HttpRulesKit
from tests.peers import adyen as peers
from tests.peers import openapi
from tests.peers.venvs import free_port


@pytest.fixture
def double() -> peers.AdyenDouble:
    return peers.AdyenDouble()


@pytest.fixture
def key_files(tmp_path: Path) -> tuple[Path, Path]:
    api_key, hmac_key = tmp_path / "api.key", tmp_path / "hmac.key"
    api_key.write_text(peers.API_KEY + "\n")
    hmac_key.write_text(peers.HMAC_KEY + "\n")
    return api_key, hmac_key


@pytest.fixture
def make(key_files: tuple[Path, Path]) -> Iterator[Callable[..., AdyenGateway]]:
    made: list[AdyenGateway] = []

    def gateway(url: str, demo: bool = True, off_ms: int = 0, **more: Any) -> AdyenGateway:
        usual = {"api_key_file": key_files[0], "hmac_key_file": key_files[1], "merchant_account": peers.ACCOUNT}
        section = AdyenSection(**{**usual, "url": url, "return_url": "https://office.example/thanks", **more})
        made.append(AdyenGateway("qr", section, demo, now_ms=lambda: now_ms() + off_ms))
        return made[-1]

    yield gateway
    for one in made:
        one.close()


@pytest.fixture
def bench(double: peers.AdyenDouble, make: Callable[..., AdyenGateway], key_files: tuple[Path, Path]) -> Iterator[CheckoutBench]:
    proxy = FaultProxy(0, double)
    gateway = make(proxy.url)

    def finish(hold: Hold, step: MoneyStep, outcome: Outcome) -> Outcome:
        if not (isinstance(outcome, OutcomeUnknown) and outcome.why.startswith("received")):
            return outcome
        relayed = double.told(step.key)
        assert relayed is not None, "received, but Adyen will never say what came of it"
        told = gateway.confirm(relayed)
        assert told.key == step.key
        assert told.outcome is not None
        return told.outcome

    def learn(hold: Hold, outcome: Outcome | None) -> Outcome | None:
        if not (isinstance(outcome, OutcomeUnknown) and outcome.why.startswith("paid")):
            return outcome
        relayed = double.told(hold.key)
        assert relayed is not None
        told = gateway.confirm(relayed)
        assert (told.key, told.operation, told.currency) == (hold.key, "authorize", hold.currency)
        return told.outcome

    yield CheckoutBench(
        gateway=gateway,
        unreachable=make(f"http://127.0.0.1:{free_port()}"),
        proxy=proxy,
        books=double,
        pay=double.pay,
        decline=lambda url, reason: double.decline(url),
        declines=(),
        never=dict.fromkeys(REASONS, "a refused card leaves the link open; that it expired is all that is told"),
        finish=finish,
        secrets=[peers.API_KEY, peers.HMAC_KEY, peers.HMAC_KEY.lower()],
        key_file=key_files[0],
        at=lambda url, off_ms: make(url, off_ms=off_ms),
        secure=lambda url, ca_file: make(url, demo=False, ca_file=ca_file),
        forget=lambda: None,  # it keeps keys for 7 days at least
        learn=learn,
    )
    proxy.close()


class TestAdyen(CheckoutKit):
    gateway = "adyen"


class TestAdyenHttp(HttpRulesKit):
    gateway = "adyen"


# --- notifications -------------------------------------------------------------------------------------------------


def test_the_public_vector_verifies(make: Callable[..., AdyenGateway]) -> None:
    """docs.adyen.com, verify HMAC signatures; also the vector of Adyen's own libraries."""
    item = {
        "pspReference": "7914073381342284", "originalReference": "", "merchantAccountCode": "TestMerchant",
        "merchantReference": "TestPayment-1407325143704", "amount": {"value": 1130, "currency": "EUR"},
        "eventCode": "AUTHORISATION", "success": "true",
        "additionalData": {"hmacSignature": "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},
    }  # fmt: skip
    told = make("http://127.0.0.1:1", merchant_account="TestMerchant").confirm(item)
    assert (told.key, told.operation, told.payment) == ("TestPayment-1407325143704", "authorize", "7914073381342284")
    assert told.outcome == Approved(1130, {"payment": "7914073381342284", "held_minor": "1130"})


def test_adyens_own_library_signs_and_verifies_the_same(make: Callable[..., AdyenGateway], double: peers.AdyenDouble) -> None:
    payment = peers.Payment("PSP1", "key-41-authorize", 5000, "EUR")
    envelopes = [
        double.notify(payment, event, "key-41-capture", 1234, why=why)
        for event in ("CAPTURE", "CANCELLATION")
        for why in ("", "no")
    ]
    signed = peers.ask_library(
        """answer = []
for envelope in given["envelopes"]:
    valid = util.is_valid_hmac_notification(envelope, given["key"])
    item = dict(envelope["notificationItems"][0]["NotificationRequestItem"])
    item.pop("additionalData")
    answer.append([valid, util.generate_notification_sig(item, given["key"]).decode()])""",
        envelopes=envelopes,
        key=peers.HMAC_KEY,
    )
    gateway = make("http://127.0.0.1:1")
    for envelope, (valid, theirs) in zip(envelopes, signed, strict=True):
        assert valid
        envelope["notificationItems"][0]["NotificationRequestItem"]["additionalData"]["hmacSignature"] = theirs
        assert gateway.confirm(json.dumps(envelope).encode()).key == "key-41-capture"


@pytest.mark.parametrize(
    "change",
    [
        {"pspReference": "PSP9"}, {"originalReference": "PSP9"}, {"merchantAccountCode": "Other"}, {"merchantReference": "key-42"},
        {"amount": {"value": 1235, "currency": "EUR"}}, {"amount": {"value": 1234, "currency": "USD"}}, {"eventCode": "REFUND"},
        {"success": "true"}, {"additionalData": {}}, {"additionalData": {"hmacSignature": ""}}, {"success": True},
        {"amount": {"value": "1234", "currency": "EUR"}}, {"amount": None}, {"merchantReference": "key-41:capture"},
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_notification_is_refused(make: Callable[..., AdyenGateway], double: peers.AdyenDouble, change: Any) -> None:
    envelope = double.notify(peers.Payment("PSP1", "k", 5000, "EUR"), "CAPTURE", "key-41-capture", 1234, why="no")
    envelope["notificationItems"][0]["NotificationRequestItem"].update(change)
    with pytest.raises(SignatureInvalid):
        make("http://127.0.0.1:1").confirm(json.dumps(envelope).encode())


def test_fields_cannot_be_shifted_under_one_signature(make: Callable[..., AdyenGateway]) -> None:
    """The same eight texts joined by colons, cut elsewhere."""
    item = {
        "pspReference": "PSP1", "originalReference": "", "merchantAccountCode": peers.ACCOUNT, "merchantReference": "key:5",
        "amount": {"value": 5000, "currency": "EUR"}, "eventCode": "CAPTURE", "success": "true",
    }  # fmt: skip
    item["additionalData"] = {"hmacSignature": peers.signature(item)}
    with pytest.raises(SignatureInvalid, match="colon"):
        make("http://127.0.0.1:1").confirm(item)


def test_a_notification_of_another_account_is_refused(make: Callable[..., AdyenGateway], double: peers.AdyenDouble) -> None:
    envelope = double.notify(peers.Payment("PSP1", "k", 5000, "EUR"), "CAPTURE", "key-41-capture", 1234)
    with pytest.raises(SignatureInvalid, match="another merchant account"):
        make("http://127.0.0.1:1", merchant_account="Other").confirm(envelope)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b"[" * 50_000, b'{"notificationItems": []}', b" " * 70_000, b"null"])
def test_what_is_no_notification_is_refused(make: Callable[..., AdyenGateway], raw: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        make("http://127.0.0.1:1").confirm(raw)


@pytest.mark.parametrize(
    ("event", "why", "operation", "expected"),
    [
        ("CAPTURE", "", "capture", Approved),
        ("CAPTURE", "Insufficient balance on payment", "capture", DeclineReason.TOO_LATE),
        ("CAPTURE_FAILED", "", "capture", DeclineReason.REFUSED),
        ("CANCELLATION", "", "void", Approved),
        ("CANCELLATION", "Transaction already captured", "void", DeclineReason.ALREADY_DONE),
        ("TECHNICAL_CANCEL", "", "void", Approved),
        ("CANCEL_OR_REFUND", "", "void", Approved),
        ("REFUND", "", "refund", Approved),
        ("REFUND", "Insufficient balance on payment", "refund", DeclineReason.REFUSED),
        ("REFUND_FAILED", "", "refund", DeclineReason.REFUSED),
        ("REFUNDED_REVERSED", "", "refund", DeclineReason.REFUSED),
        ("AUTHORISATION", "Refused", "authorize", None),  # the page stays open
        ("REPORT_AVAILABLE", "", "", None),
        ("CHARGEBACK", "", "", None),
    ],
)
def test_each_event_means_one_thing(
    make: Callable[..., AdyenGateway], double: peers.AdyenDouble, event: str, why: str, operation: str, expected: Any
) -> None:
    told = make("http://127.0.0.1:1").confirm(
        double.notify(peers.Payment("PSP1", "k", 5000, "EUR"), event, "key-41-x", 1234, why=why)
    )
    assert (told.key, told.operation, told.payment, told.event) == ("key-41-x", operation, "PSP1", event)
    if isinstance(expected, DeclineReason):
        assert isinstance(told.outcome, Declined)
        assert told.outcome.reason is expected
        assert told.outcome.code
    elif expected is None:
        assert told.outcome is None
    else:
        assert isinstance(told.outcome, Approved)
        assert told.outcome.amount_minor == 1234


# --- what only this gateway has ------------------------------------------------------------------------------------


def test_received_is_never_taken_for_done_and_each_retry_is_the_same_request(bench: CheckoutBench) -> None:
    hold = paid(bench)
    before = len(bench.proxy.seen)
    for attempt in (1, 2, 3):
        outcome = bench.gateway.capture(hold, fresh_step("capture", 1234, attempt), 10)
        assert isinstance(outcome, OutcomeUnknown)
        assert outcome.why.startswith("received")
    first, *others = bench.proxy.seen[before:]
    assert first.key == "key-41-capture"
    assert all((other.key, other.path, other.body) == (first.key, first.path, first.body) for other in others)
    assert bench.books.captures() == [1234]


def test_what_no_key_protects_any_more_is_not_sent_again(bench: CheckoutBench) -> None:
    hold = paid(bench)
    week_later = bench.at(bench.proxy.url, 7 * 86_400_000)
    before = len(bench.proxy.seen)
    assert isinstance(week_later.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
    assert isinstance(week_later.void(hold, fresh_step("void", 5000), 10), OutcomeUnknown)
    assert isinstance(week_later.refund(hold, fresh_step("refund", 1), 10), OutcomeUnknown)
    assert isinstance(week_later.open_checkout(fresh_hold(), STATION, 10), OutcomeUnknown)
    assert len(bench.proxy.seen) == before


def test_an_answer_about_another_payment_is_not_received(bench: CheckoutBench) -> None:
    hold = paid(bench)
    page = bench.gateway.open_checkout(fresh_hold(43), STATION, 10)
    assert isinstance(page, Checkout)
    bench.pay(page.url)
    unnamed = shown(fresh_hold(43), page)
    for faults, step in (
        ([Fault.STRANGER], lambda: bench.gateway.capture(hold, fresh_step("capture", 1234), 10)),
        ([Fault.NONE, Fault.NONE, Fault.STRANGER], lambda: bench.gateway.void(unnamed, fresh_step("void", 5000), 10)),
    ):
        bench.proxy.next(*faults)
        outcome = step()
        assert isinstance(outcome, OutcomeUnknown)
        assert not outcome.why.startswith("received")


def test_a_paid_link_is_not_approved_before_its_payment_is_named(bench: CheckoutBench) -> None:
    opened = bench.gateway.open_checkout(fresh_hold(), STATION, 10)
    assert isinstance(opened, Checkout)
    hold = shown(fresh_hold(), opened)
    bench.pay(opened.url)
    for outcome in (bench.gateway.poll_checkout(hold, 10), bench.gateway.expire_checkout(hold, 10)):
        assert isinstance(outcome, OutcomeUnknown)
        assert outcome.why.startswith("paid")
    assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
    assert bench.books.captures() == []


def test_a_link_is_single_and_captured_later(bench: CheckoutBench) -> None:
    bench.gateway.open_checkout(fresh_hold(), STATION, 10)
    (sent,) = bench.proxy.seen
    body = json.loads(sent.body)
    assert body.pop("expiresAt").endswith("+00:00")
    assert body == {
        "merchantAccount": peers.ACCOUNT,
        "amount": {"value": 5000, "currency": "EUR"},
        "reference": "key-41-authorize",
        "description": STATION,
        "returnUrl": "https://office.example/thanks",
        "manualCapture": True,
        "reusable": False,
    }
    assert (sent.key, sent.headers["x-api-key"]) == ("key-41-authorize", peers.API_KEY)


def test_a_currency_counted_otherwise_is_refused_and_not_sent(bench: CheckoutBench) -> None:
    assert isinstance(bench.gateway.open_checkout(msgspec.structs.replace(fresh_hold(), currency="ISK"), STATION, 10), Declined)
    assert bench.proxy.seen == []


@pytest.mark.parametrize("content", ["", "zz" * 32, "44782DEF", "44 78" * 16])
def test_an_unusable_hmac_key_stops_the_start_and_is_not_quoted(
    make: Callable[..., AdyenGateway], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "bad.key"
    file.write_text(content)
    with pytest.raises(ValueError, match="hmac_key_file") as caught:
        make("http://127.0.0.1:1", hmac_key_file=file)
    assert not content or content not in str(caught.value)


def whole_journey(gateway: AdyenGateway, learn: Callable[[Hold], Hold]) -> None:
    """Each request this gateway can send, whatever is answered."""
    gateway.check(30)
    page = gateway.open_checkout(fresh_hold(), STATION, 30)
    hold = msgspec.structs.replace(fresh_hold(), trace={"checkout": page.reference if isinstance(page, Checkout) else "PL1"})
    gateway.poll_checkout(hold, 30)
    gateway.expire_checkout(hold, 30)
    hold = learn(hold)
    gateway.void(hold, fresh_step("void-by-key", 5000), 30)
    named = msgspec.structs.replace(hold, trace={"payment": hold.trace.get("payment", "PSP0000000000001")})
    gateway.capture(named, fresh_step("capture", 1234), 30)
    gateway.refund(named, fresh_step("refund", 500), 30)
    gateway.void(named, fresh_step("void", 5000), 30)


@pytest.mark.full
def test_every_body_is_one_of_the_published_api(bench: CheckoutBench, double: peers.AdyenDouble) -> None:
    def pay(hold: Hold) -> Hold:
        page = bench.gateway.open_checkout(fresh_hold(99), STATION, 30)
        assert isinstance(page, Checkout)
        bench.pay(page.url)
        hold = shown(fresh_hold(99), page)
        bench.gateway.void(hold, fresh_step("void-99", 5000), 30)
        return msgspec.structs.replace(hold, trace={"payment": next(iter(double.payments))})

    assert isinstance(bench.gateway, AdyenGateway)
    whole_journey(bench.gateway, pay)
    api = openapi.Described(openapi.description("adyen.com/CheckoutService-v71.json"))
    known = {api.validate_json(one.method, one.path, one.body) for one in bench.proxy.seen}
    payments = "POST /payments/{paymentPspReference}/"
    assert known == {
        "POST /paymentMethods", "POST /paymentLinks", "GET /paymentLinks/{linkId}", "PATCH /paymentLinks/{linkId}", "POST /cancels",
        f"{payments}captures", f"{payments}refunds", f"{payments}cancels",
    }  # fmt: skip


@pytest.mark.full
def test_adyens_own_description_played_by_prism_accepts_every_request(make: Callable[..., AdyenGateway]) -> None:
    """Prism answers with fixed examples, so it judges our requests and nothing else."""
    with openapi.prism("adyen.com/CheckoutService-v71.json") as peer:
        proxy = FaultProxy(peer.port)
        try:
            whole_journey(make(proxy.url), lambda hold: hold)
            answers = [(sent.method, sent.path, reply.status) for sent, reply in proxy.forwarded]
            assert len(answers) >= 8
            assert [one for one in answers if one[2] not in (200, 201)] == []
            headers = {"x-api-key": "k", "content-type": "application/json"}
            assert proxy.forward(Request("POST", "/payments/PSP1/captures", headers, b'{"reference": "k"}')).status == 422
        finally:
            proxy.close()
