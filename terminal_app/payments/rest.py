"""One question to a payment service over HTTPS and its answer as a typed value, within a total deadline.

All HTTP goes through `http_client` (TLS, no redirects, body cap). `NotSent` and `NoAnswer` mean the same as on the ISO 8583
wire: after the first certainly nothing happened, after the second nobody knows.
"""

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from terminal_app.http_client import HttpAnswer, HttpClient, HttpTrouble, Trouble
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent

T = TypeVar("T")
_CERTAINLY_NOT_SENT = frozenset({Trouble.URL, Trouble.UNREACHABLE, Trouble.TLS})
_MAX_SECRET = 4096
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
HOUR_MS = 3600 * 1000


class Secret:
    """A secret in a file, read at each use: a renewed key works without a restart. Never shown by repr, str or pickle."""

    def __init__(self, file: Path, what: str) -> None:
        """Raises ValueError if the file holds no usable secret now."""
        self._file, self._what = file, what
        self.text()

    def text(self) -> str:
        """One line of printable ASCII. ValueError names the file, never its content."""
        try:
            with self._file.open("rb") as opened:
                raw = opened.read(_MAX_SECRET + 1)
        except OSError as error:
            raise ValueError(f"{self._what} {self._file} cannot be read: {error.strerror}") from None
        found = raw.strip()
        if not found or len(raw) > _MAX_SECRET or any(not 0x21 <= byte <= 0x7E for byte in found):
            raise ValueError(f"{self._what} {self._file} must hold one line of printable characters without spaces")
        return found.decode("ascii")

    def __reduce__(self) -> str:
        raise TypeError("a secret is never serialised")


class Rest:
    """A service at one base address. Thread-safe: each call borrows a client with connections of its own."""

    def __init__(self, base_url: str, *, demo: bool, ca_file: Path | None, max_body: int = 512 * 1024) -> None:
        """Connects to nothing. Raises ValueError for an address or CA file that cannot be used."""
        parts = urlsplit(base_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and demo):
            raise ValueError("url must begin with https:// outside demo mode")
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("url must be a plain address like https://host/path")
        if ca_file is not None and not ca_file.is_file():
            raise ValueError(f"ca_file {ca_file} cannot be read")
        self._base = base_url.rstrip("/")
        self._demo, self._ca_file, self._max_body = demo, ca_file, max_body
        self._guard = threading.Lock()
        self._idle: list[HttpClient] = []

    def call(self, method: str, path: str, end: float, *, headers: Mapping[str, str], body: bytes = b"") -> HttpAnswer:
        """`end` is the monotonic moment by which it is over. Raises NotSent, NoAnswer (also for 409, 429 and 5xx)."""
        left = end - time.monotonic()
        if left <= 0:
            raise NoAnswer("no time was left to ask")
        with self._borrowed() as client:
            try:
                answer = client.call(method, self._base + path, deadline_s=left, headers=headers, body=body)
            except HttpTrouble as trouble:
                kind = NotSent if trouble.kind in _CERTAINLY_NOT_SENT else NoAnswer
                raise kind(str(trouble)) from None
        if answer.status in (408, 409, 425, 429) or answer.status >= 500:
            raise NoAnswer(f"answered {answer.status}: nothing was decided")
        return answer

    def close(self) -> None:
        with self._guard:
            clients, self._idle = self._idle, []
        for client in clients:
            client.close()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[HttpClient]:
        with self._guard:
            client = self._idle.pop() if self._idle else None
        client = client or HttpClient(demo=self._demo, ca_file=self._ca_file, max_body=self._max_body)
        try:
            yield client
        finally:
            with self._guard:
                self._idle.append(client)


def read(answer: HttpAnswer, into: type[T]) -> T:
    """The JSON body as `into`. Raises NoAnswer for anything else; the text quotes nothing of the body."""
    try:
        return msgspec.json.decode(answer.body, type=into)
    except msgspec.ValidationError as error:
        raise NoAnswer(f"garbage: an answer {answer.status} of the wrong form: {_where(error)}") from None
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise NoAnswer(f"garbage: an answer {answer.status} that is not JSON") from None


def code_of(text: Any) -> str:
    """A machine word of the peer, fit for a record: bounded and without anything but code characters."""
    return text if isinstance(text, str) and _CODE.fullmatch(text) else ""


def segment(reference: str) -> str:
    """One path segment: a reference of the peer cannot lead to another path."""
    return quote(reference, safe="")


def key_protects(intended_utc_ms: int, now_utc_ms: int, trusted_ms: int) -> bool:
    """True while the service certainly still knows the idempotency key of an intent; a clock that went back counts as no."""
    return -HOUR_MS <= now_utc_ms - intended_utc_ms < trusted_ms


def page_address(url: str, *, demo: bool) -> bool:
    """May this address be shown to a driver? https only, no login in it, short enough for a QR code (version 40-L)."""
    parts = urlsplit(url)
    right_scheme = parts.scheme == "https" or (demo and parts.scheme == "http")
    return right_scheme and bool(parts.hostname) and not parts.username and len(url) <= 2048 and url.isascii() and url.isprintable()


def _where(error: msgspec.ValidationError) -> str:
    found = re.search(r"at `(\$[\w.\[\]]*)`$", str(error))
    return found[1] if found else "$"
