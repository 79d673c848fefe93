"""The ISO 8583 gateway through the gateway kit, against a scripted host that reads the wire with code of its own."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.config import Iso8583Section
from terminal_app.payments import message
from terminal_app.payments.iso8583 import Iso8583Gateway
from terminal_app.values import Approved, Declined, DeclineReason, OutcomeUnknown
from tests.conformance.gateway_kit import PAN, TRACK2, Act, Bench, GatewayKit, a_card, a_hold, a_step, held

FIXED = {1: 8, 3: 6, 4: 12, 7: 10, 11: 6, 12: 6, 13: 4, 18: 4, 22: 3, 23: 3, 25: 2, 37: 12, 38: 6, 39: 2, 41: 8, 42: 15, 49: 3}
FIXED |= {70: 3, 90: 42}
VARIABLE = {35: 2, 55: 3}
CODE_FOR = {
    DeclineReason.REFUSED: "05",
    DeclineReason.INSUFFICIENT_FUNDS: "51",
    DeclineReason.CARD_INVALID: "54",
    DeclineReason.AUTHENTICATION_WANTED: "1A",
    DeclineReason.LIMIT_EXCEEDED: "61",
    DeclineReason.GATEWAY_REFUSED: "30",
}


def parse(raw: bytes) -> dict[int, bytes]:
    """Independent of pyiso8583. Key 0 is the MTI."""
    fields, at = {0: raw[:4]}, 12
    bits = int.from_bytes(raw[4:12], "big")
    present = [n for n in range(1, 65) if bits >> (64 - n) & 1]
    if 1 in present:
        second = int.from_bytes(raw[12:20], "big")
        present = present[1:] + [64 + n for n in range(1, 65) if second >> (64 - n) & 1]
        at = 20
    for n in present:
        size = FIXED.get(n)
        if size is None:
            digits = VARIABLE[n]
            size, at = int(raw[at : at + digits]), at + digits
        fields[n], at = raw[at : at + size], at + size
    assert at == len(raw), "trailing bytes"
    return fields


def build(fields: dict[int, bytes]) -> bytes:
    bits = second = 0
    body = b""
    for n in sorted(n for n in fields if n):
        if n > 64:
            second |= 1 << (128 - n)
        else:
            bits |= 1 << (64 - n)
        if n in VARIABLE:
            body += str(len(fields[n])).zfill(VARIABLE[n]).encode()
        body += fields[n]
    maps = (bits | (1 << 63 if second else 0)).to_bytes(8, "big") + (second.to_bytes(8, "big") if second else b"")
    raw = fields[0] + maps + body
    return struct.pack(">H", len(raw)) + raw


class ScriptedHost:
    """Holds and captures in dictionaries, keyed by RRN as a host would; does what the script says with each answer."""

    def __init__(self) -> None:
        self.seen: list[dict[int, bytes]] = []
        self.holds: dict[bytes, int] = {}
        self.gone: set[bytes] = set()
        self.taken: dict[bytes, tuple[bytes, int]] = {}
        self._script: list[Act | DeclineReason] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def next(self, *acts: Act | DeclineReason) -> None:
        self._script = list(acts)

    def held_minor(self) -> int:
        return sum(amount for rrn, amount in self.holds.items() if rrn not in self.gone)

    def captures(self) -> list[int]:
        return [amount for _, amount in self.taken.values()]

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            self._links.append(link)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):  # a gone client, or one that speaks TLS
            self._answer_all(link)

    def _answer_all(self, link: socket.socket) -> None:
        stream = link.makefile("rb")
        while header := stream.read(2):
            request = parse(stream.read(struct.unpack(">H", header)[0]))
            self.seen.append(request)
            act = self._script.pop(0) if self._script else Act.APPROVE
            answer = self._decide(request, act)
            if act is Act.CLOSE:
                link.shutdown(socket.SHUT_RDWR)
                return
            if act is Act.SILENT:
                continue
            if act is Act.GARBAGE:
                link.sendall(b"\x00\x20" + b"\xff" * 32)
                continue
            if act is Act.SLOW:
                time.sleep(0.3)
            if act is Act.LATE:
                link.sendall(build({n: value for n, value in answer.items() if n != 11}))
                link.sendall(build({**answer, 11: b"999999", 4: b"000000000001"}))
                link.sendall(build({**answer, 0: b"0430", 4: b"000000000002"}))
                link.sendall(build({**answer, 7: b"0101000000", 4: b"000000000003"}))
                link.sendall(build({**answer, 41: b"OTHER001", 4: b"000000000004"}))
            link.sendall(build(answer) * (2 if act is Act.DUPLICATE else 1))

    def _decide(self, request: dict[int, bytes], act: Act | DeclineReason) -> dict[int, bytes]:
        mti, amount = request[0], int(request.get(4, b"0"))
        answer = {n: request[n] for n in (3, 4, 7, 11, 37, 41, 49) if n in request}
        code = b"00"
        if isinstance(act, DeclineReason):
            code = CODE_FOR[act].encode()
        elif act is Act.UNDECIDED:
            code = b"91"
        if mti == b"0100" and code in (b"00", b"91"):
            if act is Act.PARTIAL:
                amount, code = 3000, b"10"
                answer[4] = b"000000003000"
            if request[37] not in self.gone:
                self.holds[request[37]] = amount
            answer[38] = b"A12345"
        elif mti in (b"0220", b"0221"):
            before = self.taken.get(request[37])
            if request[37] in self.gone or request[37] not in self.holds:
                code = b"12"
            elif before is None:
                self.taken[request[37]] = (request[11], amount)
            elif before != (request[11], amount):
                code = b"94"
        elif mti in (b"0400", b"0401"):
            if request[37] in self.taken:
                code = b"12"
            elif request[37] in self.holds:
                self.gone.add(request[37])
            else:
                self.gone.add(request[37])
                code = b"25"
        reply_mti = mti[:2] + b"%d0" % (int(mti[2:3]) + 1)
        return {**answer, 0: reply_mti, 39: code}

    def close(self) -> None:
        self._listening.close()
        for link in self._links:
            link.close()


def section(port: int, **changes: Any) -> Iso8583Section:
    usual: dict[str, Any] = {
        "host": "127.0.0.1", "port": port, "tls": False,
        "terminal_id": "TERM0001", "merchant_id": "MERCHANT0000001",
    }  # fmt: skip
    return Iso8583Section(**{**usual, **changes})


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    host = ScriptedHost()
    yield host
    host.close()


@pytest.fixture
def bench(host: ScriptedHost) -> Bench:
    return Bench(
        Iso8583Gateway("bank", section(host.port), True),
        Iso8583Gateway("bank", section(closed_port()), True),
        host,
        tuple(CODE_FOR),
        a_card,
    )


class TestIso8583(GatewayKit):
    gateway = "iso8583"


def test_the_fields_of_an_authorization(bench: Bench, host: ScriptedHost) -> None:
    bench.gateway.authorize(a_hold(), a_card(), 5)
    (sent,) = host.seen
    assert sent[0] == b"0100"
    assert sent[35] == b"5413330089020011D4912201000000000"
    assert 2 not in sent
    assert sent[4] == b"000000005000"
    assert sent[11] == b"000041"  # serial mod 10^6
    assert sent[7] == b"1123034529"  # UTC
    assert (sent[18], sent[22], sent[23], sent[25], sent[49]) == (b"5552", b"071", b"001", b"00", b"978")
    assert sent[55] == bytes(a_card().emv)
    assert sent[37] == b"632703000041"


def test_follow_ups_name_the_original_and_carry_no_card(bench: Bench, host: ScriptedHost) -> None:
    hold = held(a_hold(), bench.gateway.authorize(a_hold(), a_card(), 5))
    bench.gateway.capture(hold, a_step(1234), 5)
    bench.gateway.void(hold, a_step(5000, serial=1000043), 5)
    bench.gateway.void(hold, a_step(5000, serial=1000043, attempt=2), 5)
    authorization, *follow_ups = host.seen
    assert [sent[0] for sent in follow_ups] == [b"0220", b"0400", b"0401"]
    for sent in follow_ups:
        assert not {2, 35, 55} & set(sent)
        assert sent[90] == b"0100" + authorization[11] + authorization[7] + b"0" * 22
        assert (sent[37], sent[38]) == (authorization[37], b"A12345")
        assert PAN.encode() not in build(sent)
    assert follow_ups[1][11] == follow_ups[2][11]
    assert follow_ups[1][7] == follow_ups[2][7]


def test_an_approval_above_what_was_asked_is_not_believed(
    bench: Bench, host: ScriptedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = host._decide
    monkeypatch.setattr(host, "_decide", lambda request, act: {**decide(request, act), 4: b"000000900000"})
    assert isinstance(bench.gateway.authorize(a_hold(), a_card(), 5), OutcomeUnknown)


def test_an_answer_in_another_currency_is_not_ours(bench: Bench, host: ScriptedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = host._decide
    monkeypatch.setattr(host, "_decide", lambda request, act: {**decide(request, act), 49: b"840"})
    assert isinstance(bench.gateway.authorize(a_hold(), a_card(), 1), OutcomeUnknown)


def test_the_sent_buffer_is_wiped_and_the_card_stays_the_callers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bytearray] = []
    encode = message.encode
    monkeypatch.setattr(message, "encode", lambda *args: built.append(encode(*args)) or built[-1])  # type: ignore[func-returns-value]
    card = a_card()
    bench.gateway.authorize(a_hold(), card, 5)
    assert built and not any(built[0])
    assert card.track2 == TRACK2


def test_a_card_with_impossible_track_data_is_refused_and_nothing_is_sent(bench: Bench, host: ScriptedHost) -> None:
    card = a_card()
    card.track2[0] = 0xAA
    assert isinstance(bench.gateway.authorize(a_hold(), card, 5), Declined)
    assert host.seen == []


def test_a_partial_hold_is_reversed_with_the_held_amount(bench: Bench, host: ScriptedHost) -> None:
    host.next(Act.PARTIAL)
    hold = held(a_hold(), bench.gateway.authorize(a_hold(), a_card(), 5))
    assert isinstance(bench.gateway.void(hold, a_step(5000), 5), Approved)
    assert host.seen[-1][4] == b"000000003000"


def test_plain_tcp_is_refused_outside_demo() -> None:
    with pytest.raises(ValueError, match="tls"):
        Iso8583Gateway("bank", section(1), False)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ca_file"):
        Iso8583Gateway("bank", section(1, tls=True, ca_file=tmp_path / "absent.pem"), False)


def test_a_host_that_does_not_speak_tls_holds_nothing(host: ScriptedHost) -> None:
    gateway = Iso8583Gateway("bank", section(host.port, tls=True, connect_timeout_s=1), False)
    outcome = gateway.authorize(a_hold(), a_card(), 3)
    assert isinstance(outcome, Declined)
    assert outcome.reason is DeclineReason.UNREACHABLE
    assert host.held_minor() == 0
