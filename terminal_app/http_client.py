"""The one hardened HTTP client: every call of the terminal to a web service goes through it, and only it imports requests.

TLS is verified (plain http only to loopback and only in demo mode), redirects are not followed, proxies and netrc of the
environment are ignored, cookies are not kept. A call has one total deadline: requests' own timeout restarts with every
byte, so a clock of ours cuts the connection instead. Bodies are bounded before and after decompression.
"""

import contextlib
import enum
import gzip
import http.cookiejar
import ipaddress
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from terminal_app.errors import ChargeError

_CHUNK = 16 * 1024
_CONNECT_TIMEOUT_S = 10.0


class Trouble(enum.Enum):
    """Why a call gave no answer. After `URL`, `UNREACHABLE` and `TLS` certainly no request left this machine."""

    URL = "url"  # not an address this client may call
    UNREACHABLE = "unreachable"  # no connection: name, route, refused
    TLS = "tls"  # the peer is not who it should be, or speaks no TLS
    DEADLINE = "deadline"
    BROKEN = "broken"  # connection lost, or not HTTP
    REDIRECT = "redirect"
    TOO_LARGE = "too_large"  # body or decompressed body above the limit


class HttpTrouble(ChargeError):
    """No usable answer. Whether the request took effect is unknown, except as `Trouble` says."""

    def __init__(self, kind: Trouble, reason: str) -> None:
        super().__init__(f"{kind.value}: {reason}")
        self.kind, self.reason = kind, reason


class HttpAnswer(msgspec.Struct, frozen=True):
    """A complete answer of any status but a redirect. Header names are in lower case; `body` is decompressed."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """A session with connections kept alive. One thread at a time. Lives as long as its owner; `close` it."""

    def __init__(
        self,
        *,
        demo: bool,
        ca_file: Path | None = None,
        client_cert: tuple[Path, Path] | None = None,
        max_body: int = 1024 * 1024,
    ) -> None:
        """`ca_file`: trust only these certificates (PEM), else the public ones. `max_body` in bytes, decompressed."""
        self._demo, self._max_body = demo, max_body
        self._cutter = _Cutter()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file) if ca_file else True
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        if client_cert:
            self._session.cert = (str(client_cert[0]), str(client_cert[1]))
        adapter = _Adapter(self._cutter)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def call(
        self,
        method: str,
        url: str,
        *,
        deadline_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        gzip_body: bool = False,
    ) -> HttpAnswer:
        """One request, one answer, within `deadline_s` (a name that does not resolve may take the resolver's time longer).

        Raises HttpTrouble, never anything of requests. Never repeats a request.
        """
        self._refuse_unsafe(url)
        sent = {"Accept-Encoding": "gzip", "User-Agent": "charge-terminal", **(headers or {})}
        if gzip_body:
            body = gzip.compress(body, 6, mtime=0)
            sent["Content-Encoding"] = "gzip"
        patience = (min(_CONNECT_TIMEOUT_S, deadline_s), deadline_s)
        with self._cutter.after(deadline_s) as cut:
            try:
                with self._session.request(
                    method, url, data=body, headers=sent, timeout=patience, allow_redirects=False, stream=True
                ) as response:
                    answer = self._read(response)
                if not cut.is_set():
                    return answer
                raise HttpTrouble(Trouble.DEADLINE, f"no complete answer within {deadline_s:g} s")
            except (requests.RequestException, urllib3.exceptions.HTTPError, zlib.error, OSError, ValueError) as error:
                if cut.is_set():
                    raise HttpTrouble(Trouble.DEADLINE, f"no complete answer within {deadline_s:g} s") from None
                raise _translated(error) from None
            finally:
                if cut.is_set():
                    self._session.get_adapter(url).close()

    def close(self) -> None:
        self._session.close()

    def _read(self, response: requests.Response) -> HttpAnswer:
        if 300 <= response.status_code < 400:
            raise HttpTrouble(Trouble.REDIRECT, f"answered {response.status_code}: redirects are not followed")
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("gzip", "identity", ""):
            raise HttpTrouble(Trouble.BROKEN, f"answered with content encoding {encoding!r}, which was not asked for")
        opener = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        body, raw_size = bytearray(), 0
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            raw_size += len(chunk)
            if raw_size > self._max_body:
                raise HttpTrouble(Trouble.TOO_LARGE, f"the answer exceeds {self._max_body} bytes")
            body += opener.decompress(chunk, self._max_body + 1 - len(body)) if opener else chunk
            if len(body) > self._max_body:
                raise HttpTrouble(Trouble.TOO_LARGE, f"the decompressed answer exceeds {self._max_body} bytes")
        if opener and not opener.eof:
            raise HttpTrouble(Trouble.BROKEN, "the compressed answer ends too early")
        return HttpAnswer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))

    def _refuse_unsafe(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname:
            return
        if parts.scheme == "http" and self._demo and _is_loopback(parts.hostname or ""):
            return
        raise HttpTrouble(Trouble.URL, f"{parts.scheme}://{parts.hostname}: only https, or http to loopback in demo mode")


class _Cutter:
    """Ends every connection of the client when the deadline passes, whatever layer is waiting on it.

    It holds a duplicate of each socket: shutting that down reaches the connection below TLS and below any buffer. One
    timer thread per call.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._twins: dict[int, socket.socket] = {}

    def watch(self, connection: object, plug: socket.socket) -> None:
        with self._guard:
            self._twins[id(connection)] = plug.dup()

    def forget(self, connection: object) -> None:
        with self._guard:
            twin = self._twins.pop(id(connection), None)
        if twin:
            twin.close()

    @contextlib.contextmanager
    def after(self, deadline_s: float) -> Iterator[threading.Event]:
        passed = threading.Event()
        timer = threading.Timer(deadline_s, self._cut, (passed,))
        timer.daemon = True
        timer.start()
        try:
            yield passed
        finally:
            timer.cancel()

    def _cut(self, passed: threading.Event) -> None:
        passed.set()
        with self._guard:
            for twin in self._twins.values():
                with contextlib.suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """requests' transport with connections that the cutter knows. No retries."""

    def __init__(self, cutter: _Cutter) -> None:
        self._cutter = cutter
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        cutter = self._cutter

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                plug = super()._new_conn()
                cutter.watch(self, plug)
                return plug

            def close(self) -> None:
                cutter.forget(self)
                super().close()

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                plug = super()._new_conn()
                cutter.watch(self, plug)
                return plug

            def close(self) -> None:
                cutter.forget(self)
                super().close()

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _translated(error: Exception) -> HttpTrouble:
    """Only the class and the system's reason: texts of requests carry the whole address with its query."""
    if isinstance(error, HttpTrouble):
        return error
    if isinstance(error, requests.exceptions.SSLError):
        return HttpTrouble(Trouble.TLS, _innermost(error))
    if isinstance(error, requests.exceptions.ConnectTimeout) or _not_connected(error):
        return HttpTrouble(Trouble.UNREACHABLE, _innermost(error))
    if isinstance(error, requests.exceptions.Timeout):
        return HttpTrouble(Trouble.DEADLINE, "the peer went silent")
    return HttpTrouble(Trouble.BROKEN, _innermost(error))


def _not_connected(error: BaseException) -> bool:
    return any(isinstance(one, urllib3.exceptions.NewConnectionError) for one in _chain(error))


def _innermost(error: BaseException) -> str:
    *_, last = _chain(error)
    text = getattr(last, "verify_message", "") or getattr(last, "strerror", None) or ""
    return f"{text} ({type(last).__name__})" if text else type(last).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made from, outermost first; bounded."""
    one: BaseException | None = error
    for _ in range(8):
        if one is None:
            return
        yield one
        inner = getattr(one, "reason", None) or one.__cause__ or one.__context__
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in one.args if isinstance(arg, BaseException)), None)
        one = inner
