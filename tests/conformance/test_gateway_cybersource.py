"""The CyberSource gateway through the gateway kit, against a stateful double behind the fault proxy; the vendor's own client
is the oracle for signatures and field names (test_peer_*)."""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from terminal_app.config import CyberSourceSection
from terminal_app.payments import cybersource_wire as wire
from terminal_app.payments.cybersource import CyberSourceGateway
from terminal_app.ports import PaymentGateway
from terminal_app.values import Approved, Declined, DeclineReason, EntryMode, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard
from tests.conformance.cybersource_double import FORBIDDEN, KEY_ID, MERCHANT, SECRET, CyberSource, tags_of
from tests.conformance.fault_kit import FaultLine, HttpFaultKit, hold_of, step_of, told
from tests.conformance.fault_proxy import UNKNOWN_AFTER, Fault, FaultProxy
from tests.conformance.gateway_kit import EMV, PAN, TRACK2, Act, Bench, GatewayKit, a_card, a_hold, a_step, held
from tests.conformance.http_rules_kit import HttpRulesKit
from tests.conformance.tls_kit import TlsKit, TlsLine
from tests.pan_search import find_pan, search_bytes
from tests.peers.venvs import free_port, python_of

FAULT = {
    Act.SLOW: Fault.SLOW, Act.SILENT: Fault.SILENT, Act.CLOSE: Fault.LOST, Act.GARBAGE: Fault.GARBAGE,
    Act.DUPLICATE: Fault.DOUBLED_ANSWER, Act.UNDECIDED: Fault.BROKEN_500,
}  # fmt: skip
REASON = {
    DeclineReason.REFUSED: ("PROCESSOR_DECLINED", "05"),
    DeclineReason.INSUFFICIENT_FUNDS: ("INSUFFICIENT_FUND", "51"),
    DeclineReason.CARD_INVALID: ("EXPIRED_CARD", "54"),
    DeclineReason.AUTHENTICATION_WANTED: ("GENERAL_DECLINE", "1A"),
    DeclineReason.LIMIT_EXCEEDED: ("EXCEEDS_CREDIT_LIMIT", "61"),
    DeclineReason.GATEWAY_REFUSED: ("INVALID_MERCHANT_CONFIGURATION", ""),
}
HOUR_MS = 3_600_000


class Peer:
    def __init__(self, double: CyberSource, proxy: FaultProxy) -> None:
        self.double, self.proxy = double, proxy
        self.seen: list[Any] = []

    def next(self, *acts: Act | DeclineReason) -> None:
        self.proxy.next(*(FAULT.get(act, Fault.NONE) if isinstance(act, Act) else Fault.NONE for act in acts))
        plans: list[dict[str, Any]] = []
        for act in acts:
            if isinstance(act, DeclineReason):
                reason, code = REASON[act]
                plans.append({"status": "DECLINED", "reason": reason, "code": code})
            elif act is Act.PARTIAL:
                plans.append({"status": "PARTIAL_AUTHORIZED", "held": "30.00"})
            else:
                plans.append({})
        self.double.script = plans

    def held_minor(self) -> int:
        return sum(round(float(one.held) * 100) for one in self.double.payments.values() if one.state != "reversed")

    def captures(self) -> list[int]:
        return [round(float(one.capture["amount"]) * 100) for one in self.double.payments.values() if one.capture]

    def refunds(self) -> list[int]:
        return [round(float(each["amount"]) * 100) for one in self.double.payments.values() for each in one.refunds]


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[CyberSourceGateway] = []
        self.double = CyberSource()
        self.proxy = FaultProxy(self.double.port)
        self.peer = Peer(self.double, self.proxy)
        self.secret = folder / "secret"
        self.secret.write_text(SECRET + "\n")
        self.now_ms = lambda: time.time_ns() // 1_000_000
        self.gateway, self.unreachable = self.at(self.proxy.url), self.at(f"http://127.0.0.1:{free_port()}")

    def at(self, url: str, **more: Any) -> CyberSourceGateway:
        said = {"merchant_id": MERCHANT, "key_id": KEY_ID, "shared_secret_file": self.secret, "terminal_id": "TERM0001"}
        self.made.append(CyberSourceGateway("visa", CyberSourceSection(**said, url=url, increments=True), True, **more))
        return self.made[-1]

    def close(self) -> None:
        for gateway in self.made:
            gateway.close()
        self.proxy.close()
        self.double.close()


def aged(hold: Hold, age_ms: int) -> Hold:
    """The hold, asked for that long ago: the double checks the real clock."""
    values = {name: getattr(hold, name) for name in hold.__struct_fields__}
    return Hold(**{**values, "utc_ms": time.time_ns() // 1_000_000 - age_ms})


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def bench(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The kit's holds carry a fixed date; only the first minute after a hold matters here."""
    monkeypatch.setattr("terminal_app.payments.cybersource.REVERSAL_AFTER_MS", -(10**15))
    return Bench(stage.gateway, stage.unreachable, stage.peer, tuple(REASON), a_card)


class TestCyberSource(GatewayKit):
    gateway = "cybersource"


@pytest.fixture
def line(stage: Stage) -> FaultLine:
    """The service has no keys to forget. It compares the request's date with its own clock."""

    def ask(gateway: PaymentGateway, hold: Hold, deadline_s: float) -> Outcome:
        return gateway.authorize(hold, a_card(), deadline_s)

    def at(off_ms: int) -> CyberSourceGateway:
        return stage.at(stage.proxy.url, now_ms=lambda: time.time_ns() // 1_000_000 + off_ms)

    twice = ("refund", "increment")
    return FaultLine(stage.gateway, stage.proxy, stage.peer, ask, at, lambda: None, needs_clock=True, twice_by_others=twice)


class TestCyberSourceFaults(HttpFaultKit):
    gateway = "cybersource"


@pytest.fixture
def make(stage: Stage) -> Callable[[str], CyberSourceGateway]:
    return stage.at


class TestCyberSourceHttp(HttpRulesKit):
    gateway = "cybersource"


@pytest.fixture
def tls_line(stage: Stage) -> TlsLine:
    def secure(url: str, ca_file: Path | None) -> CyberSourceGateway:
        said = {"merchant_id": MERCHANT, "key_id": KEY_ID, "shared_secret_file": stage.secret, "terminal_id": "TERM0001"}
        return CyberSourceGateway("visa", CyberSourceSection(**said, url=url, ca_file=ca_file), False)

    return TlsLine(stage.double.port, secure)


class TestCyberSourceTls(TlsKit):
    gateway = "cybersource"


def test_a_request_that_arrives_twice_holds_once(stage: Stage) -> None:
    hold = aged(a_hold(), HOUR_MS)
    stage.proxy.next(Fault.DOUBLED_REQUEST)
    assert isinstance(stage.gateway.authorize(hold, a_card(), 5), OutcomeUnknown)  # the second one is told DUPLICATE_REQUEST
    assert isinstance(stage.gateway.void(hold, a_step(5000), 5), Approved)
    assert stage.peer.held_minor() == 0


def test_a_lost_capture_stays_unknown_until_the_search_service_shows_it_and_is_never_taken_twice(stage: Stage) -> None:
    hold = held(aged(a_hold(), HOUR_MS), stage.gateway.authorize(a_hold(), a_card(), 5))
    stage.double.search_late = True
    stage.proxy.next(Fault.LOST)
    for attempt in (1, 2, 3):
        assert isinstance(stage.gateway.capture(hold, a_step(1234, attempt=attempt), 5), OutcomeUnknown)
    stage.double.search_late = False
    assert isinstance(stage.gateway.capture(hold, a_step(1234, attempt=4), 5), Approved)
    assert stage.peer.captures() == [1234]


def test_a_lost_refund_is_given_once(stage: Stage) -> None:
    hold = held(aged(a_hold(), HOUR_MS), stage.gateway.authorize(a_hold(), a_card(), 5))
    hold = held(hold, stage.gateway.capture(hold, a_step(1234), 5))
    step = MoneyStep(9, time.time_ns() // 1_000_000, 234, "refund-key-9")
    stage.proxy.next(Fault.LOST)
    assert isinstance(stage.gateway.refund(hold, step, 5), OutcomeUnknown)
    stage.double.search_late = True
    again = MoneyStep(9, step.utc_ms, 234, "refund-key-9", attempt=2)
    assert isinstance(stage.gateway.refund(hold, again, 5), OutcomeUnknown)
    stage.double.search_late = False
    assert isinstance(stage.gateway.refund(hold, again, 5), Approved)
    (payment,) = stage.double.payments.values()
    assert [refund["amount"] for refund in payment.refunds] == ["2.34"]


def test_a_refund_of_unknown_age_is_looked_for_before_it_is_sent(stage: Stage) -> None:
    """After a restart nobody knows whether the first attempt was sent: the intent's age says that it may have been."""
    hold = told(hold_of(), stage.gateway.authorize(a_hold(), a_card(), 5))
    hold = told(hold, stage.gateway.capture(hold, step_of(1234), 5))
    step = step_of(234, off_ms=-60_000)
    stage.proxy.next(Fault.NONE, Fault.LOST)
    for _ in range(3):
        assert isinstance(stage.gateway.refund(hold, step, 5), OutcomeUnknown | Approved)
    assert stage.peer.refunds() in ([], [234])
    young = step_of(100)
    stage.proxy.next(Fault.LOST)
    assert isinstance(stage.gateway.refund(hold, young, 5), OutcomeUnknown)
    restarted = msgspec.structs.replace(young, utc_ms=young.utc_ms - 60_000)  # attempt 1 again, a minute later
    assert isinstance(stage.gateway.refund(hold, restarted, 5), Approved)
    assert stage.peer.refunds().count(100) == 1


def test_a_raised_hold_is_reversed_and_captured_whole(stage: Stage) -> None:
    hold = told(hold_of(), stage.gateway.authorize(a_hold(), a_card(), 5))
    hold = told(hold, stage.gateway.increment(hold, step_of(700), 5))
    assert isinstance(stage.gateway.capture(hold, step_of(5700), 5), Approved)
    hold = told(hold_of(), stage.gateway.authorize(a_hold(5), a_card(), 5))
    hold = told(hold, stage.gateway.increment(hold, step_of(700), 5))
    assert isinstance(stage.gateway.void(hold, step_of(5000), 5), Approved)
    assert stage.peer.held_minor() == 5700


def test_a_refused_increment_leaves_the_hold(stage: Stage) -> None:
    hold = told(hold_of(), stage.gateway.authorize(a_hold(), a_card(), 5))
    stage.peer.next(DeclineReason.INSUFFICIENT_FUNDS)
    outcome = stage.gateway.increment(hold, step_of(700), 5)
    assert outcome == Declined(DeclineReason.INSUFFICIENT_FUNDS, "INSUFFICIENT_FUND")
    assert stage.peer.held_minor() == 5000
    contract = CyberSourceSection(
        merchant_id=MERCHANT, key_id=KEY_ID, shared_secret_file=stage.secret, terminal_id="TERM0001", url=stage.proxy.url
    )
    before = len(stage.proxy.seen)
    without = CyberSourceGateway("visa", contract, True)
    assert isinstance(without.increment(hold, step_of(700), 5), Declined)
    assert not without.capabilities.increment
    assert len(stage.proxy.seen) == before


def test_a_refund_is_never_above_the_capture(stage: Stage) -> None:
    hold = held(aged(a_hold(), HOUR_MS), stage.gateway.authorize(a_hold(), a_card(), 5))
    assert isinstance(stage.gateway.capture(hold, a_step(1234), 5), Approved)
    found = stage.gateway.refund(hold, a_step(1235, serial=8), 5)  # without the capture's id: it is looked up
    assert found == Declined(DeclineReason.LIMIT_EXCEEDED, "INVALID_AMOUNT")
    assert isinstance(stage.gateway.refund(hold, a_step(1234, serial=9), 5), Approved)


def test_a_timeout_reversal_waits_a_minute(stage: Stage) -> None:
    young = aged(a_hold(), 5_000)
    stage.proxy.next(Fault.LOST)
    stage.gateway.authorize(young, a_card(), 2)
    before = len(stage.proxy.seen)
    assert isinstance(stage.gateway.void(young, a_step(5000), 5), OutcomeUnknown)
    assert len(stage.proxy.seen) == before
    assert isinstance(stage.gateway.void(aged(a_hold(), 61_000), a_step(5000, attempt=2), 5), Approved)
    assert stage.peer.held_minor() == 0


def test_a_partial_hold_is_reversed_with_the_held_amount(stage: Stage) -> None:
    stage.peer.next(Act.PARTIAL)
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), a_card(), 5))
    assert isinstance(stage.gateway.void(hold, a_step(5000), 5), Approved)
    sent = json.loads(stage.double.seen[-1]["body"])
    assert sent["reversalInformation"]["amountDetails"] == {"totalAmount": "30.00", "currency": "EUR"}


@pytest.mark.parametrize(
    "plan",
    [
        {"status": "AUTHORIZED_RISK_DECLINED"},
        {"status": "AUTHORIZED_PENDING_REVIEW"},
        {"status": "AUTHORIZED", "held": "30.00"},
        {"status": "PARTIAL_AUTHORIZED", "held": "50.01"},
        {"status": "PARTIAL_AUTHORIZED", "held": "0.00"},
        {"status": "PARTIAL_AUTHORIZED", "held": "10.001"},
        {"status": "UNHEARD_OF"},
        {"status": "DECLINED", "reason": "ISSUER_UNAVAILABLE"},
        {"http": 502},
    ],
)
def test_an_answer_nobody_may_use_is_unknown_and_reversed(stage: Stage, plan: dict[str, Any]) -> None:
    stage.double.script = [plan]
    hold = aged(a_hold(), HOUR_MS)
    assert isinstance(stage.gateway.authorize(hold, a_card(), 5), OutcomeUnknown)
    assert isinstance(stage.gateway.void(hold, a_step(5000), 5), Approved)
    assert stage.peer.held_minor() == 0


def test_a_capture_above_the_hold_is_refused(stage: Stage) -> None:
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), a_card(), 5))
    assert stage.gateway.capture(hold, a_step(5001), 5) == Declined(DeclineReason.LIMIT_EXCEEDED, "EXCEEDS_AUTH_AMOUNT")


# --- who we are -------------------------------------------------------------------------------------------------------


def test_a_wrong_secret_or_clock_decides_nothing_about_held_money_and_check_says_so(stage: Stage) -> None:
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), a_card(), 5))
    assert stage.gateway.check(5) == ""
    stage.double.clock_off_s = 4000
    assert "clock" in stage.gateway.check(5)
    assert stage.gateway.authorize(a_hold(5), a_card(), 5) == Declined(DeclineReason.GATEWAY_REFUSED, "http_401")
    assert isinstance(stage.gateway.capture(hold, a_step(100), 5), OutcomeUnknown)
    stage.double.clock_off_s = 0
    stage.secret.write_text("b3RoZXI=")
    assert isinstance(stage.gateway.capture(hold, a_step(100), 5), OutcomeUnknown)
    stage.secret.write_text(SECRET)  # a renewed secret works without a restart
    assert isinstance(stage.gateway.capture(hold, a_step(100, attempt=2), 5), Approved)


@pytest.mark.parametrize("content", ["", "not base64!", "two words"])
def test_an_unusable_secret_file_is_named(stage: Stage, content: str) -> None:
    stage.secret.write_text(content)
    with pytest.raises(ValueError, match="shared_secret_file"):
        stage.at(stage.proxy.url)


# --- the card -----------------------------------------------------------------------------------------------------------


def test_the_fields_of_an_authorization(stage: Stage) -> None:
    stage.gateway.authorize(a_hold(), a_card(), 5)
    sent = json.loads(stage.double.seen[-1]["body"])
    assert sent["pointOfSaleInformation"] == {
        "terminalId": "TERM0001",
        "catLevel": 2,
        "entryMode": "contactless",
        "terminalCapability": 5,
        "emv": {"tags": EMV.hex().upper(), "cardSequenceNumber": "001"},
        "trackData": ";5413330089020011=4912201000000000?",
    }
    assert sent["orderInformation"]["amountDetails"] == {"totalAmount": "50.00", "currency": "EUR"}
    assert sent["processingInformation"]["capture"] is False
    assert sent["processingInformation"]["authorizationOptions"] == {"partialAuthIndicator": True}


def test_a_chip_card_is_told_as_contact(stage: Stage) -> None:
    card = a_card()
    card.facts = type(card.facts)("Visa", "0011", "0" * 32, "A0000000031010", "VISA", EntryMode.CHIP)
    stage.gateway.authorize(a_hold(), card, 5)
    point = json.loads(stage.double.seen[-1]["body"])["pointOfSaleInformation"]
    assert (point["entryMode"], point["terminalCapability"]) == ("contact", 4)


def test_sensitive_tags_never_leave_in_the_chip_data() -> None:
    secret = b"".join(bytes.fromhex(tag) + b"\x02\x12\x34" for tag in sorted(FORBIDDEN))
    long = bytes.fromhex("9F7C8180") + bytes(128)
    template = bytes.fromhex("700857065413330089D4")
    kept = bytes.fromhex(wire.emv_tags(bytearray(secret + EMV + template + long + secret)))
    assert kept == EMV + long
    assert not FORBIDDEN & set(tags_of(EMV))


@pytest.mark.parametrize("raw", ["", "9F", "9F26", "9F2608", "9F260801", "9F268108", "9F8080808000", "570F"])
def test_broken_chip_data_is_refused_and_nothing_is_sent(stage: Stage, raw: str) -> None:
    card = a_card()
    card.emv = bytearray.fromhex(raw)
    assert isinstance(stage.gateway.authorize(a_hold(), card, 5), Declined)
    assert stage.proxy.seen == []


@pytest.mark.parametrize("track2", [b"", b"\xaa" * 9, TRACK2[:4], bytes.fromhex("5413330089020011"), TRACK2 * 2])
def test_a_card_with_impossible_track_data_is_refused_and_nothing_is_sent(stage: Stage, track2: bytes) -> None:
    card = a_card()
    card.track2 = bytearray(track2)
    outcome = stage.gateway.authorize(a_hold(), card, 5)
    assert isinstance(outcome, Declined)
    assert "541333" not in repr(outcome)
    assert stage.proxy.seen == []


def test_the_sent_buffer_is_wiped_and_the_card_stays_the_callers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bytearray] = []
    make = wire.body_with_track
    monkeypatch.setattr(wire, "body_with_track", lambda *args: built.append(make(*args)) or built[-1])  # type: ignore[func-returns-value]
    card = a_card()
    stage.gateway.authorize(a_hold(), card, 5)
    assert built and not any(built[0])
    assert card.track2 == TRACK2


def test_follow_ups_carry_no_card_and_nothing_written_holds_one(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    said: list[object] = []
    hold = held(aged(a_hold(), HOUR_MS), stage.gateway.authorize(a_hold(), a_card(), 5))
    said += [hold, stage.gateway.capture(hold, a_step(100), 5), stage.gateway.void(hold, a_step(5000, serial=3), 5)]
    for number, fault in enumerate(UNKNOWN_AFTER):
        stage.proxy.next(fault)
        card: PaymentCard = a_card()
        said += [stage.gateway.authorize(a_hold(100 + number), card, 1), card, stage.gateway]
    for request in stage.double.seen:
        if request["path"] != "/pts/v2/payments":
            assert search_bytes(request["body"] + request["path"].encode(), PAN) == []
    (tmp_path / "log").write_text(caplog.text + repr(said))
    assert find_pan([tmp_path], PAN) == []


# --- the vendor's own client as the oracle ------------------------------------------------------------------------------

SDK = [["cybersource-rest-client-python==0.0.80"]]
ORACLE = Path(__file__).parents[1] / "peers" / "cybersource_oracle.py"


def ask_oracle(question: dict[str, Any]) -> dict[str, Any]:
    python = python_of("cybersource", SDK)
    command = [str(python), str(ORACLE)]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def test_peer_the_vendors_client_signs_the_same_and_knows_every_field(stage: Stage) -> None:
    """One journey with every kind of request; each is signed again and its body read by the vendor's client."""
    hold = held(aged(a_hold(), HOUR_MS), stage.gateway.authorize(a_hold(), a_card(), 5))
    assert isinstance(stage.gateway.increment(hold, step_of(700), 5), Approved)
    assert isinstance(stage.gateway.capture(hold, a_step(100), 5), Approved)
    assert isinstance(stage.gateway.refund(hold, a_step(10, serial=5), 5), Approved)
    other = held(a_hold(6), stage.gateway.authorize(a_hold(6), a_card(), 5))
    assert isinstance(stage.gateway.void(other, a_step(5000, serial=7), 5), Approved)
    assert isinstance(stage.gateway.void(aged(a_hold(8), HOUR_MS), a_step(5000, serial=9), 5), Approved)
    requests = [
        {**one, "body": one["body"].decode(), "headers": one["headers"], "host": one["headers"]["host"]}
        for one in stage.double.seen
    ]
    found = ask_oracle({"merchant": MERCHANT, "key_id": KEY_ID, "secret": SECRET, "requests": requests})
    assert found["signatures"] == [one["headers"]["signature"] for one in stage.double.seen]
    assert found["unknown_fields"] == []
    assert len({request["path"].rpartition("/")[2] for request in requests}) >= 5


def test_peer_an_unknown_field_would_be_noticed() -> None:
    request = {
        "method": "POST",
        "path": "/pts/v2/payments",
        "host": "h",
        "body": json.dumps({"pointOfSaleInformation": {"emv": {"tag": "9F26"}}, "orderInfo": {}}),
        "headers": {"date": "Mon, 23 Nov 2026 00:00:00 GMT"},
    }
    found = ask_oracle({"merchant": MERCHANT, "key_id": KEY_ID, "secret": SECRET, "requests": [request]})
    assert found["unknown_fields"] == ["orderInfo", "pointOfSaleInformation.emv.tag"]


def test_the_signature_of_a_known_request_is_the_vendors() -> None:
    """Frozen from the vendor's client 0.0.80, so that the format is watched where it cannot be installed."""
    body = b'{"clientReferenceInformation":{"code":"TC50171_3"}}'
    said = {"merchant": MERCHANT, "host": "apitest.cybersource.com", "date": "Mon, 23 Nov 2026 03:45:29 GMT"}
    secret = base64.b64decode(SECRET)
    posted = wire.sign(KEY_ID, secret, **said, method="POST", target="/pts/v2/payments", body=body)
    asked = wire.sign(KEY_ID, secret, **said, method="GET", target="/tss/v2/transactions/7", body=b"")
    assert posted["Signature"] == POST_SIGNATURE
    assert asked["Signature"] == GET_SIGNATURE


POST_SIGNATURE = (
    'keyid="08c94330-f618-42a3-b09d-e1e43be5efda", algorithm="HmacSHA256", '
    'headers="host date request-target digest v-c-merchant-id", signature="cDMnh7yh55zCfyZAdsQbGYBXIdFAubia9VnRCt1LnRA="'
)
GET_SIGNATURE = (
    'keyid="08c94330-f618-42a3-b09d-e1e43be5efda", algorithm="HmacSHA256", '
    'headers="host date request-target v-c-merchant-id", signature="Cu29Z9k0qHZdUh9ZtLERrNQGvFcHm1ONqznJbv0kOhk="'
)
