"""Metrics and the site monitor page over plain HTTP, for the site's own network: /metrics, / and /status.json. Read only.

The core has no listening port, so sync looks for whoever asks. Everything is bounded: requests at once, their time, their
size, and how often the core is looked at. Moves no money and changes nothing.
"""

import contextlib
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

import msgspec

from terminal_app.errors import WireError
from terminal_app.sync import metrics, site_page
from terminal_app.sync.core_link import CoreLink
from terminal_app.wire import Seen

log = logging.getLogger(__name__)
MAX_AT_ONCE = 4
REQUEST_S = 10.0
SILENCE_S = 5.0
FRESH_S = 1.0
BIND_AGAIN_S = 30.0
CONTENT_TYPES = {
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/": "text/html; charset=utf-8",
    "/status.json": "application/json",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Lookout:
    """The newest look at the core, at most FRESH_S old. Any thread; one looks at a time."""

    def __init__(self, core: CoreLink, now_s: Callable[[], float] = time.monotonic) -> None:
        self._core, self._now_s = core, now_s
        self._guard = threading.Lock()
        self._seen: Seen | None = None
        self._seen_s = 0.0

    def look(self) -> Seen:
        """WireError: the core does not answer."""
        with self._guard:
            if self._seen is None or self._now_s() - self._seen_s >= FRESH_S:
                self._seen = None
                self._seen = self._core.look()
                self._seen_s = self._now_s()
            return self._seen


def answer(path: str, lookout: Lookout) -> tuple[int, bytes]:
    """Status and body of one of CONTENT_TYPES. Without a core a scrape says so and is a good one; the page is not."""
    try:
        seen = lookout.look()
    except WireError as error:
        if path == "/metrics":
            return 200, metrics.text_of(None)
        return 503, site_page.no_core(str(error)).encode() if path == "/" else msgspec.json.encode({"error": str(error)})
    if path == "/metrics":
        return 200, metrics.text_of(seen)
    return 200, site_page.page(seen).encode() if path == "/" else msgspec.json.encode(seen)


class Monitor:
    """Listens until the process ends. What keeps it from listening is logged and tried again: records matter more."""

    def __init__(self, address: tuple[str, int], core: CoreLink) -> None:
        self._address, self._lookout = address, Lookout(core)
        self._pause = threading.Event()  # never set

    def run(self) -> None:
        """The monitor's thread."""
        while True:
            try:
                with _Server(self._address, self._lookout) as server:
                    server.serve_forever()
            except OSError as error:
                host, port = self._address
                log.error("no metrics at %s:%d: %s; again in %.0f s", host, port, error.strerror or error, BIND_AGAIN_S)
            self._pause.wait(BIND_AGAIN_S)


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], lookout: Lookout) -> None:
        here = ipaddress.ip_address(address[0])
        self.address_family = socket.AF_INET6 if here.version == 6 else socket.AF_INET
        self.lookout = lookout
        self.hosts = frozenset({"localhost", "127.0.0.1", "::1", str(here)}) if here.is_loopback else None
        self._free = threading.BoundedSemaphore(MAX_AT_ONCE)
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        """Without the library's look-up of our own name, which may wait for a DNS server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """However slowly somebody speaks or reads: after REQUEST_S the connection is cut."""
        cut = threading.Timer(REQUEST_S, _cut, (request,))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for metrics broke off", exc_info=True)


def _cut(plug: socket.socket) -> None:
    """Closing would not do: the handler's files hold the connection open."""
    with contextlib.suppress(OSError):
        plug.shutdown(socket.SHUT_RDWR)


class _Request(BaseHTTPRequestHandler):
    """One request, one answer, no keep-alive."""

    server: _Server
    timeout = SILENCE_S

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command != "GET":
            self._say(405, b"only GET\n", {"Allow": "GET"})
        elif self.server.hosts is not None and _host_of(self.headers.get("Host", "")) not in self.server.hosts:
            self._say(421, b"ask for this machine by its own name\n", {})  # another site's page in a browser here
        elif self.path not in CONTENT_TYPES:
            self._say(404, b"there are /, /metrics and /status.json\n", {})
        else:
            return True
        return False

    def do_GET(self) -> None:
        status, body = answer(self.path, self.server.lookout)
        self._say(status, body, {"Content-Type": CONTENT_TYPES[self.path]})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain; charset=utf-8"} | HEADERS | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "charge-terminal"

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s %s", self.address_string(), format % args)


def _host_of(header: str) -> str:
    """The name in a Host header, without the port: "[::1]:9464" -> "::1"."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
