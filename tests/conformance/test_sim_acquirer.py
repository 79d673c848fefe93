"""The simulated acquirer: an ordinary ISO 8583 peer (pyiso8583 as independent codec) and its durable books."""

from __future__ import annotations

import copy
import shutil
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import iso8583
import pytest
from iso8583.specs import default_ascii
from pyemv.cvn import MasterCardCVN16, VisaCVN10

from drivers.sim.launch import Simulated

SPEC = copy.deepcopy(default_ascii)
SPEC["p"].update(data_enc="b", max_len=8)
SPEC["1"].update(data_enc="b", max_len=8)
SPEC["55"].update(data_enc="b", len_enc="ascii", len_type=3, max_len=255)
KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
MASTERCARD, VISA = "5413330089020011", "4761739001010010"
ANSWER_S = 20.0


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(place: Path) -> Iterator[Simulated]:
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as acquirer:
        yield acquirer


def tlv(tag: str, value: bytes) -> bytes:
    return bytes.fromhex(tag) + bytes([len(value)]) + value


def chip_data(pan: str, amount: int, atc: int, spoil: bool = False) -> bytes:
    """DE55 as a terminal would send it, with a cryptogram made as the card would."""
    visa = pan.startswith("4")
    iad = bytes.fromhex("06010A03A00000" if visa else "0110A50003020000000000000000000000FF")
    tags = {
        "9F02": bytes.fromhex(f"{amount:012d}"),
        "9F03": bytes(6),
        "9F1A": b"\x02\x76",
        "95": bytes(5),
        "5F2A": b"\x09\x78",
        "9A": b"\x26\x01\x02",
        "9C": b"\x00",
        "9F37": b"\x01\x02\x03\x04",
        "82": b"\x19\x80",
        "9F36": atc.to_bytes(2, "big"),
    }
    card = (VisaCVN10 if visa else MasterCardCVN16)(KEY, KEY, KEY, pan, "01")
    arqc = card.generate_ac(*tags.values(), iad[3:7] if visa else iad[2:8])
    if spoil:
        arqc = bytes([arqc[0] ^ 1]) + arqc[1:]
    aid = bytes.fromhex("A0000000031010" if visa else "A0000000041010")
    tags |= {"9F26": arqc, "9F27": b"\x80", "9F10": iad, "84": aid}
    return b"".join(tlv(tag, value) for tag, value in tags.items())


class Terminal:
    """Speaks to the host through a plain socket."""

    def __init__(self, host: Simulated) -> None:
        address, port = host.facts["port"].rsplit(":", 1)
        self._address = (address, int(port))
        self._stan = 0
        self.atc = 0

    def send(self, message: dict[str, Any], timeout_s: float = ANSWER_S) -> dict[str, Any] | None:
        """The answer, or None when the connection ends or time is up without one."""
        data, _ = iso8583.encode(message, SPEC)
        with socket.create_connection(self._address, timeout=timeout_s) as link:
            link.sendall(len(data).to_bytes(2, "big") + data)
            received = b""
            try:
                while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
                    part = link.recv(4096)
                    if not part:
                        return None
                    received += part
            except TimeoutError:
                return None
        return iso8583.decode(received[2:], SPEC)[0]

    def _message(self, mti: str, amount: int) -> dict[str, Any]:
        self._stan += 1
        return {
            "t": mti,
            "3": "000000",
            "4": f"{amount:012d}",
            "7": f"01021203{self._stan % 60:02d}",
            "11": f"{self._stan:06d}",
            "12": "130304",
            "13": "0102",
            "41": "CHARGE01",
            "42": "MERCHANT0000001",
            "49": "978",
        }

    def authorize(self, pan: str = MASTERCARD, amount: int = 5000, **changes: Any) -> dict[str, Any]:
        self.atc += 1
        message = self._message("0100", amount)
        spoil, atc = changes.pop("spoil", False), changes.pop("atc", self.atc)
        message |= {"18": "5552", "22": "071", "23": "001", "25": "00", "35": f"{pan}=49122010000000000"}
        message |= {"37": f"60020000{self._stan:04d}", "55": chip_data(pan, amount, atc, spoil).hex()}
        return message | changes

    def follow(self, mti: str, original: dict[str, Any], amount: int, auth_code: str | None) -> dict[str, Any]:
        message = self._message(mti, amount)
        message |= {"25": "06" if mti == "0220" else "00", "37": original["37"]}
        message["90"] = "0100" + original["11"] + original["7"] + "0" * 22
        return message | ({"38": auth_code} if auth_code else {})


@pytest.fixture
def terminal(host: Simulated) -> Terminal:
    return Terminal(host)


def books(host: Simulated, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(host.facts["books"]) as db:
        return db.execute(query).fetchall()


def states(host: Simulated) -> list[tuple[Any, ...]]:
    return books(host, "SELECT state, amount_minor, captured_minor, arqc_ok FROM authorizations ORDER BY id")


def approve(terminal: Terminal, **changes: Any) -> tuple[dict[str, Any], str]:
    request = terminal.authorize(**changes)
    answer = terminal.send(request)
    assert answer is not None and answer["39"] == "00"
    return request, answer["38"]


def code(answer: dict[str, Any] | None) -> str:
    assert answer is not None
    return str(answer["39"])


def test_sign_on(terminal: Terminal) -> None:
    answer = terminal.send({"t": "0800", "7": "0102120304", "11": "000001", "70": "301"})
    assert answer is not None and (answer["t"], answer["39"], answer["70"]) == ("0810", "00", "301")


@pytest.mark.parametrize("pan", [MASTERCARD, VISA])
def test_hold_then_capture_of_what_was_billed(host: Simulated, terminal: Terminal, pan: str) -> None:
    request = terminal.authorize(pan)
    answer = terminal.send(request)
    assert answer is not None
    assert (answer["t"], answer["39"], answer["37"], answer["11"]) == ("0110", "00", request["37"], request["11"])
    arpc = bytes.fromhex(answer["55"])
    assert arpc[:2] == b"\x91\x0a" and arpc[-2:] == b"00"
    assert states(host) == [("authorized", 5000, 0, 1)]
    completion = terminal.follow("0220", request, 726, answer["38"])
    assert code(terminal.send(completion)) == "00"
    assert states(host) == [("captured", 5000, 726, 1)]
    assert books(host, "SELECT pan_last4, auth_code FROM authorizations") == [(pan[-4:], answer["38"])]


def test_a_repeated_request_is_held_once_and_answered_alike(host: Simulated, terminal: Terminal) -> None:
    request = terminal.authorize()
    first, second = terminal.send(request), terminal.send(request)
    assert first == second
    assert states(host) == [("authorized", 5000, 0, 1)]
    assert code(terminal.send(request | {"7": "0102125959"})) == "94"


def test_a_repeated_capture_takes_the_money_once(host: Simulated, terminal: Terminal) -> None:
    request, auth_code = approve(terminal)
    completion = terminal.follow("0220", request, 700, auth_code)
    assert [code(terminal.send(completion | {"t": mti})) for mti in ("0220", "0221")] == ["00", "00"]
    assert code(terminal.send(terminal.follow("0220", request, 700, auth_code))) == "94"
    assert code(terminal.send(terminal.follow("0220", request, 800, auth_code))) == "12"
    assert states(host) == [("captured", 5000, 700, 1)]
    assert books(host, "SELECT count(*) FROM captures") == [(1,)]


@pytest.mark.parametrize(("amount", "expected"), [(5001, "13"), (0, "13"), (5000, "00")])
def test_a_capture_stays_within_the_hold(terminal: Terminal, amount: int, expected: str) -> None:
    request, auth_code = approve(terminal)
    assert code(terminal.send(terminal.follow("0220", request, amount, auth_code))) == expected


def test_a_capture_needs_its_authorization(terminal: Terminal) -> None:
    request, auth_code = approve(terminal)
    unknown = request | {"11": "777777"}
    assert code(terminal.send(terminal.follow("0220", unknown, 100, auth_code))) == "25"
    assert code(terminal.send(terminal.follow("0220", request, 100, "XXXXXX"))) == "25"


def test_reversal_releases_the_hold_and_may_be_repeated(host: Simulated, terminal: Terminal) -> None:
    request, auth_code = approve(terminal)
    reversal = terminal.follow("0400", request, 5000, None)
    assert [code(terminal.send(reversal | {"t": mti})) for mti in ("0400", "0401", "0421")] == ["00", "00", "00"]
    assert states(host) == [("reversed", 5000, 0, 1)]
    assert code(terminal.send(terminal.follow("0220", request, 100, auth_code))) == "12"


def test_reversal_after_capture_comes_too_late(host: Simulated, terminal: Terminal) -> None:
    request, auth_code = approve(terminal)
    terminal.send(terminal.follow("0220", request, 100, auth_code))
    assert code(terminal.send(terminal.follow("0400", request, 5000, auth_code))) == "12"
    assert states(host) == [("captured", 5000, 100, 1)]


def test_an_original_that_comes_after_its_reversal_holds_nothing(host: Simulated, terminal: Terminal) -> None:
    request = terminal.authorize()
    assert code(terminal.send(terminal.follow("0400", request, 5000, None))) == "00"
    assert code(terminal.send(request)) == "12"
    assert states(host) == [("reversed", 0, 0, 1)]


def test_wrong_cryptogram_and_used_counter_are_refused(host: Simulated, terminal: Terminal) -> None:
    assert code(terminal.send(terminal.authorize(spoil=True))) == "05"
    approve(terminal, atc=7)
    assert code(terminal.send(terminal.authorize(atc=7))) == "05"
    approve(terminal, atc=8)
    assert [row[0] for row in states(host)] == ["declined", "authorized", "declined", "authorized"]
    assert [row[3] for row in states(host)] == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"amount": 50_001}, "51"),
        ({"35": "5413330089020011=20012010000000000"}, "54"),
        ({"4": "000000009999"}, "30"),
        ({"49": "840"}, "30"),
        ({"55": "9F2608AAAAAAAAAAAAAAAA"}, "30"),
    ],
)
def test_reasons_to_refuse(terminal: Terminal, changes: dict[str, Any], expected: str) -> None:
    assert code(terminal.send(terminal.authorize(**changes))) == expected


def test_a_follow_up_with_card_data_is_a_format_error(terminal: Terminal) -> None:
    request, auth_code = approve(terminal)
    completion = terminal.follow("0220", request, 100, auth_code)
    assert code(terminal.send(completion | {"35": request["35"]})) == "30"


def test_partial_approval_and_ordered_refusal(host: Simulated, terminal: Terminal) -> None:
    host.ctl("next", answer="partial", amount_minor=2000)
    request = terminal.authorize()
    answer = terminal.send(request)
    assert answer is not None and (answer["39"], answer["4"]) == ("10", "000000002000")
    assert code(terminal.send(terminal.follow("0220", request, 2001, answer["38"]))) == "13"
    host.ctl("next", answer="decline", code="65")
    assert code(terminal.send(terminal.authorize())) == "65"


def test_silence_after_booking_and_before(host: Simulated, terminal: Terminal) -> None:
    host.ctl("next", answer="silent")
    assert terminal.send(terminal.authorize(), timeout_s=0.5) is None
    assert len(states(host)) == 1
    host.ctl("next", answer="lost")
    assert terminal.send(terminal.authorize(), timeout_s=0.5) is None
    host.ctl("next", answer="close")
    assert terminal.send(terminal.authorize()) is None
    assert len(states(host)) == 2


def test_an_original_held_up_on_its_way_meets_its_reversal(host: Simulated, terminal: Terminal) -> None:
    host.ctl("next", answer="hold", ms=1000, mti="0100")
    request = terminal.authorize()
    thread = threading.Thread(target=terminal.send, args=(request,))
    thread.start()
    time.sleep(0.2)
    assert code(terminal.send(terminal.follow("0400", request, 5000, None))) == "00"
    thread.join()
    assert states(host) == [("reversed", 0, 0, 1)]


def test_unreachable_and_back(host: Simulated, terminal: Terminal) -> None:
    host.ctl("network", on=False)
    with pytest.raises(ConnectionError):
        terminal.send(terminal.authorize())
    host.ctl("network", on=True)
    approve(terminal)


def test_books_survive_a_kill_and_hold_no_card_number(host: Simulated, terminal: Terminal, place: Path) -> None:
    request, auth_code = approve(terminal)
    host.process.kill()
    host.process.wait()
    written = b"".join(path.read_bytes() for path in place.glob("books.db*"))
    for form in (MASTERCARD.encode(), bytes.fromhex(MASTERCARD)):
        assert form not in written
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as again:
        assert code(Terminal(again).send(terminal.follow("0220", request, 100, auth_code))) == "00"
        assert again.ctl("sums")["currencies"]["978"] == {"held_minor": 0, "captured_minor": 100, "captured": 1}


def test_tls_when_asked_for(place: Path) -> None:
    certificate, key = place / "cert.pem", place / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
    subprocess.run(words, check=True, capture_output=True)
    flags = ("--books", place / "books.db", "--tls-cert", certificate, "--tls-key", key)
    with Simulated("acquirer", place / "c", *flags) as host:
        data, _ = iso8583.encode({"t": "0800", "7": "0102120304", "11": "000001", "70": "301"}, SPEC)
        address, port = host.facts["port"].rsplit(":", 1)
        plain = socket.create_connection((address, int(port)), timeout=ANSWER_S)
        with ssl.create_default_context(cafile=certificate).wrap_socket(plain, server_hostname=address) as link:
            link.sendall(len(data).to_bytes(2, "big") + data)
            assert iso8583.decode(link.recv(4096)[2:], SPEC)[0]["39"] == "00"
