"""One question and its answer over a TCP or TLS connection of its own, within one total deadline.

A connection per exchange costs a handshake and buys certainty: an answer that comes too late dies with its socket and
can never be taken for the answer to something else.
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path

from terminal_app.payments.resolver import Address, Resolver

MAX_ANSWER = 4096
MAX_ADDRESSES = 4
MAX_FOREIGN = 8


class NotSent(Exception):
    """Certainly nothing of the message left this machine: no connection, or no trust in the peer."""


class NoAnswer(Exception):
    """The message, or a part of it, was sent; whether it took effect is not known."""


class Wire:
    """Where the host is and how it is trusted. Immutable after construction; any thread may exchange at any time."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: bool,
        connect_timeout_s: float,
        ca_file: Path | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
        length_in_bcd: bool = False,
    ) -> None:
        """`length_in_bcd`: the two bytes before a message hold four decimal digits. Raises OSError or ssl.SSLError if a
        certificate file cannot be used."""
        self._length_in_bcd = length_in_bcd
        self._host, self._port, self._connect_timeout_s = host, port, connect_timeout_s
        self._resolver = Resolver(host, port)
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            if client_cert:
                self._tls.load_cert_chain(client_cert, client_key)

    def exchange(self, message: bytearray, is_ours: Callable[[bytes], bool], deadline_s: float) -> bytes:
        """Send one length-prefixed message; the first answer `is_ours` accepts. Blocks at most `deadline_s`.

        `is_ours` may raise ValueError: the stream is garbage. NotSent, NoAnswer.
        """
        end = time.monotonic() + deadline_s
        link = self._open(end)
        try:
            return self._ask(link, message, is_ours, end)
        except OSError as error:
            raise NoAnswer(f"connection lost after sending: {_reason(error)}") from None
        finally:
            link.close()

    def _open(self, end: float) -> socket.socket:
        """A connection ready for the message, by the first address that answers, within `connect_timeout_s`."""
        until = min(end, time.monotonic() + self._connect_timeout_s)
        where = f"{self._host}:{self._port}"
        try:
            link = _connect(self._resolver.addresses(until - time.monotonic()), until)
        except OSError as error:
            raise NotSent(f"{where}: {_reason(error)}") from None
        if self._tls is None:
            return link
        try:
            link.settimeout(max(0.001, until - time.monotonic()))
            secure = self._tls.wrap_socket(link, server_hostname=self._host, do_handshake_on_connect=False)
            return _shake_hands(secure, until)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            link.close()
            raise NotSent(f"{where}: TLS: {_reason(error)}") from None

    def _ask(self, link: socket.socket, message: bytearray, is_ours: Callable[[bytes], bool], end: float) -> bytes:
        framed = bytearray(self._header(len(message))) + message
        try:
            _patience(link, end)
            link.sendall(framed)
        finally:
            framed[:] = bytes(len(framed))
        for _ in range(MAX_FOREIGN):
            length = self._length(_receive(link, 2, end))
            if not 0 < length <= MAX_ANSWER:
                raise NoAnswer(f"garbage: an answer that claims {length} bytes")
            answer = _receive(link, length, end)
            try:
                if is_ours(answer):
                    return answer
            except ValueError as error:
                raise NoAnswer(f"garbage: {error}") from None
        raise NoAnswer(f"{MAX_FOREIGN} answers came, none of them to our question")

    def _header(self, length: int) -> bytes:
        return bytes.fromhex(f"{length:04d}") if self._length_in_bcd else struct.pack(">H", length)

    def _length(self, header: bytes) -> int:
        if not self._length_in_bcd:
            return int(struct.unpack(">H", header)[0])
        digits = header.hex()
        if not digits.isdigit():
            raise NoAnswer("garbage: a length that is not BCD")
        return int(digits)


def _connect(addresses: list[Address], until: float) -> socket.socket:
    """OSError of the last address tried, or TimeoutError."""
    last: OSError = TimeoutError("no time was left to connect")
    for family, place in addresses[:MAX_ADDRESSES]:
        left = until - time.monotonic()
        if left <= 0:
            break
        link = socket.socket(family, socket.SOCK_STREAM)
        try:
            link.settimeout(left)
            link.connect(place)
        except OSError as error:
            link.close()
            last = error
        else:
            return link
    raise last


def _shake_hands(link: ssl.SSLSocket, until: float) -> ssl.SSLSocket:
    """The TLS handshake with a total deadline: a socket's timeout alone starts anew with every byte that trickles in."""
    link.setblocking(False)
    while True:
        try:
            link.do_handshake()
        except ssl.SSLWantReadError:
            ready = _wait(link, select.POLLIN, until)
        except ssl.SSLWantWriteError:
            ready = _wait(link, select.POLLOUT, until)
        except OSError:
            link.close()
            raise
        else:
            return link
        if not ready:
            link.close()
            raise TimeoutError("the handshake took too long")


def _wait(link: socket.socket, event: int, until: float) -> bool:
    poll = select.poll()
    poll.register(link, event)
    return bool(poll.poll(max(0, int((until - time.monotonic()) * 1000))))


def _patience(link: socket.socket, end: float) -> None:
    left = end - time.monotonic()
    if left <= 0:
        raise NoAnswer("no answer in time")
    link.settimeout(left)


def _receive(link: socket.socket, count: int, end: float) -> bytes:
    got = bytearray()
    while len(got) < count:
        _patience(link, end)
        try:
            chunk = link.recv(count - len(got))
        except TimeoutError:
            raise NoAnswer("no answer in time") from None
        if not chunk:
            raise NoAnswer("the host closed the connection without an answer")
        got += chunk
    return bytes(got)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
