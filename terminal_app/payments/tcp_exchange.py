"""One question and its answer over a TCP or TLS connection of its own, within one total deadline.

A connection per exchange costs a handshake and buys certainty: an answer that comes too late dies with its socket and
can never be taken for the answer to something else.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path

MAX_ANSWER = 4096
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
    ) -> None:
        """Raises OSError or ssl.SSLError if a certificate file cannot be used."""
        self._host, self._port, self._connect_timeout_s = host, port, connect_timeout_s
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
        patience = min(self._connect_timeout_s, end - time.monotonic())
        if patience <= 0:
            raise NotSent("no time was left to connect")
        try:
            link = socket.create_connection((self._host, self._port), patience)
        except OSError as error:
            raise NotSent(f"{self._host}:{self._port}: {_reason(error)}") from None
        if self._tls is None:
            return link
        try:
            link.settimeout(max(0.001, min(self._connect_timeout_s, end - time.monotonic())))
            return self._tls.wrap_socket(link, server_hostname=self._host)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            link.close()
            raise NotSent(f"{self._host}:{self._port}: TLS: {_reason(error)}") from None

    def _ask(self, link: socket.socket, message: bytearray, is_ours: Callable[[bytes], bool], end: float) -> bytes:
        framed = bytearray(struct.pack(">H", len(message))) + message
        try:
            _patience(link, end)
            link.sendall(framed)
        finally:
            framed[:] = bytes(len(framed))
        for _ in range(MAX_FOREIGN):
            (length,) = struct.unpack(">H", _receive(link, 2, end))
            if not 0 < length <= MAX_ANSWER:
                raise NoAnswer(f"garbage: an answer that claims {length} bytes")
            answer = _receive(link, length, end)
            try:
                if is_ours(answer):
                    return answer
            except ValueError as error:
                raise NoAnswer(f"garbage: {error}") from None
        raise NoAnswer(f"{MAX_FOREIGN} answers came, none of them to our question")


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
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
