"""The gateway's connection: trust, names and deadlines; and the message codec's care for track 2."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from terminal_app.payments import message
from terminal_app.payments.resolver import Resolver
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent, Wire

DAY = datetime.timedelta(days=1)


def certificate(folder: Path, name: str, address: str = "127.0.0.1", begin_days: int = -1, end_days: int = 1) -> Path:
    """A self-signed certificate (NAME.pem, with its key in NAME.key) for an IP address."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
    built = built.serial_number(x509.random_serial_number())
    built = built.not_valid_before(now + begin_days * DAY).not_valid_after(now + end_days * DAY)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    signed = built.add_extension(names, False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.key").write_bytes(pem)
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return folder / f"{name}.pem"


class TlsHost:
    """Answers every message with itself."""

    def __init__(self, chain: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, chain.with_suffix(".key"))
        self.messages = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self.listening.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as link:
                    got = link.recv(4096)
                    self.messages += bool(got)
                    link.sendall(got)
            except OSError:
                plain.close()

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


def wire(port: int, ca_file: Path | None, connect_timeout_s: float = 5) -> Wire:
    return Wire("127.0.0.1", port, tls=True, connect_timeout_s=connect_timeout_s, ca_file=ca_file)


@pytest.fixture
def hosts() -> Iterator[list[TlsHost]]:
    hosts: list[TlsHost] = []
    yield hosts
    for host in hosts:
        host.close()


def test_a_trusted_host_gets_the_message(tmp_path: Path, hosts: list[TlsHost]) -> None:
    chain = certificate(tmp_path, "host")
    hosts.append(TlsHost(chain))
    assert wire(hosts[0].port, chain).exchange(bytearray(b"hello"), lambda _: True, 5) == b"hello"


@pytest.mark.parametrize("broken", ["stranger", "expired", "not yet", "other name", "public only"])
def test_an_untrusted_host_gets_nothing(tmp_path: Path, hosts: list[TlsHost], broken: str) -> None:
    good = certificate(tmp_path, "good")
    chain = {
        "stranger": lambda: certificate(tmp_path, "stranger"),
        "expired": lambda: certificate(tmp_path, "old", begin_days=-9, end_days=-1),
        "not yet": lambda: certificate(tmp_path, "young", begin_days=1, end_days=9),
        "other name": lambda: certificate(tmp_path, "other", address="127.0.0.2"),
        "public only": lambda: good,
    }[broken]()
    hosts.append(TlsHost(chain))
    trusted = {"stranger": good, "public only": None}.get(broken, chain)
    with pytest.raises(NotSent, match="TLS"):
        wire(hosts[0].port, trusted).exchange(bytearray(b"hello"), lambda _: True, 5)
    assert hosts[0].messages == 0


def test_a_handshake_that_trickles_ends_in_time() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        link, _ = listening.accept()
        try:
            for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 600:
                link.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            link.close()

    threading.Thread(target=trickle, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(NotSent):
        wire(listening.getsockname()[1], None, connect_timeout_s=1).exchange(bytearray(b"x"), lambda _: True, 5)
    assert time.monotonic() - began < 20  # the trickle would last a minute
    listening.close()


def test_an_answer_that_trickles_ends_in_time() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        link, _ = listening.accept()
        try:
            for byte in b"\x02\x00" + b"a" * 600:
                link.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            link.close()

    threading.Thread(target=trickle, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(NoAnswer):
        Wire("127.0.0.1", listening.getsockname()[1], tls=False, connect_timeout_s=1).exchange(bytearray(b"x"), lambda _: True, 1)
    assert time.monotonic() - began < 20
    listening.close()


def test_a_name_server_that_hangs_does_not_hold_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    calls: list[str] = []

    def hang(host: str, port: int, **_: object) -> list[object]:
        calls.append(host)
        released.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", port))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = Resolver("acquirer.invalid", 1)
    for _ in range(3):
        with pytest.raises(OSError, match="in time"):
            resolver.addresses(0.05)
    assert calls == ["acquirer.invalid"]  # one look-up at a time
    released.set()
    assert resolver.addresses(10) == [(socket.AF_INET, ("127.0.0.9", 1))]


def test_the_last_good_address_serves_when_the_name_server_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 1))]]

    def once(host: str, port: int, **_: object) -> list[object]:
        if answers:
            return list(answers.pop())
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", once)
    resolver = Resolver("acquirer.invalid", 1)
    first = resolver.addresses(10)
    assert resolver.addresses(10) == first
    with pytest.raises(OSError, match="cannot be resolved"):
        Resolver("other.invalid", 1).addresses(10)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_message_or_are_refused(raw: bytes) -> None:
    try:
        fields = message.decode(raw)
    except message.MalformedMessage as error:
        assert "PAN" not in str(error)
    else:
        assert "t" in fields


@given(st.text("0123456789", min_size=12, max_size=19), st.text("0123456789", min_size=7, max_size=15))
def test_track_2_becomes_de35_digit_by_digit(pan: str, rest: str) -> None:
    text = f"{pan}D{rest}"
    nibbles = text if len(text) % 2 == 0 else text + "F"
    fields = {"t": "0100", "3": "000000", "4": "000000005000", "41": "TERM0001", "55": "9F2701809F3602000A"}
    encoded = message.encode(fields, bytearray.fromhex(nibbles))
    assert message.decode(encoded)["35"] == text
    assert fields.keys() == {"t", "3", "4", "41", "55"}
    message.wipe(encoded)
    assert not any(encoded)


@pytest.mark.parametrize("track2", ["", "FF", "5413330089020011A251", "5" * 76])
def test_impossible_track_2_is_refused_without_quoting_it(track2: str) -> None:
    with pytest.raises(ValueError, match="track 2") as caught:
        message.encode({"t": "0100"}, bytearray.fromhex(track2))
    assert "5413" not in str(caught.value)
