"""An OCPI receiver's CDRs module with books of its own, which misbehaves as it is told: what the pushing side must survive.

It judges what it gets: a CDR that comes again under its id must come in the same bytes, and first comings must be in order.
"""

import contextlib
import enum
import gzip
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "receiver-token-0123456789abcdef"


class Mood(enum.Enum):
    """What one POST meets. Those marked * have stored the CDR."""

    FINE = "fine"  # *
    STORES_SILENT = "stores, then says nothing until the asker leaves"  # *
    STORES_RESET = "stores, then resets"  # *
    STORES_3000 = "stores, then 200 with 3000"  # *
    STORES_TRICKLE = "stores, then drips its answer"  # *
    STORES_NO_LOCATION = "stores, 1000 without a Location"  # *
    STORES_BOMB = "stores, then an endless body"  # *
    STORES_GZIP_BOMB = "stores, then a small body that unpacks to gigabytes"  # *
    STORES_HTML = "stores, then 200 and a page"  # *
    LATER_3000 = "200 with 3000"
    REFUSES_2001 = "200 with 2001"
    BUSY_503 = "503"
    REDIRECT = "307"
    UNAUTHORIZED = "401"


KEEPS = tuple(mood for mood in Mood if mood.name == "FINE" or mood.name.startswith("STORES"))


@dataclass
class Books:
    """What the receiver has: id -> body and place; `came`: ids in the order they first came; `wrong`: what must not happen."""

    cdrs: dict[str, bytes] = field(default_factory=dict)
    came: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    tries: list[tuple[str, str]] = field(default_factory=list)  # id, X-Request-ID
    wrong: list[str] = field(default_factory=list)


class Receiver:
    """Listens on loopback. `moods` are those of the POSTs to come, then FINE. `guessable` False: a CDR can be read back only at
    the Location it was given."""

    def __init__(self, guessable: bool = True, conflicts: bool = True, port: int = 0) -> None:
        self.books, self.moods, self.guessable, self.conflicts = Books(), list[Mood](), guessable, conflicts
        self.refuses: set[str] = set()
        self.guard, self.stopping = threading.RLock(), threading.Event()
        self._server = _Server(self, port)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/ocpi/cdrs"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def place(self, cdr_id: str) -> str:
        return f"{self.url}/{cdr_id}" if self.guessable else f"{self.url}/at/{cdr_id[::-1]}"

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes, request_id: str) -> tuple[str, Mood, bool]:
        """Judge and perhaps keep. Id, mood, and whether it was there already."""
        with self.guard:
            cdr_id = str(json.loads(body)["id"])
            books = self.books
            if not request_id or request_id in {one for _, one in books.tries}:
                books.wrong.append(f"{cdr_id}: X-Request-ID {request_id!r} is not new")
            books.tries.append((cdr_id, request_id))
            if books.bodies.setdefault(cdr_id, body) != body:
                books.wrong.append(f"{cdr_id}: came in other bytes")
            if cdr_id not in books.came:
                books.came.append(cdr_id)
            mood = self.moods.pop(0) if self.moods else Mood.FINE
            if cdr_id in self.refuses:
                mood = Mood.REFUSES_2001
            known = cdr_id in books.cdrs
            if mood in KEEPS:
                books.cdrs[cdr_id] = body
            return cdr_id, mood, known


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, receiver: Receiver, port: int) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", port), _Exchange)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever left is what the tests are about."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        receiver = self.server.receiver
        with receiver.guard:
            found = next((body for cdr_id, body in receiver.books.cdrs.items() if receiver.place(cdr_id) == self._whole), None)
        if found is None:
            self._say(404, {"status_code": 2003, "status_message": "no such CDR"})
        else:
            self._say(200, {"status_code": 1000, "data": json.loads(found)})

    @property
    def _whole(self) -> str:
        return f"http://127.0.0.1:{self.server.receiver.port}{self.path}"

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.headers["Authorization"].startswith("Token "):
            receiver.books.wrong.append("no token")
        cdr_id, mood, known = receiver.take(body, self.headers.get("X-Request-ID", ""))
        place = {"Location": receiver.place(cdr_id)}
        with contextlib.suppress(OSError):
            match mood:
                case Mood.FINE | Mood.STORES_NO_LOCATION if known and receiver.conflicts:
                    self._say(409, {"status_code": 2000, "status_message": "exists"}, {} if receiver.guessable else place)
                case Mood.FINE:
                    self._say(201, {"status_code": 1000}, place)
                case Mood.STORES_NO_LOCATION:
                    self._say(200, {"status_code": 1000})
                case Mood.STORES_3000 | Mood.LATER_3000:
                    self._say(200, {"status_code": 3000, "status_message": "database"}, place)
                case Mood.REFUSES_2001:
                    self._say(200, {"status_code": 2001, "status_message": "no such tariff"})
                case Mood.BUSY_503 | Mood.UNAUTHORIZED:
                    self._say(503 if mood is Mood.BUSY_503 else 401, {}, {"Retry-After": "0"})
                case Mood.REDIRECT:
                    self._say(307, {}, {"Location": "/elsewhere"})
                case Mood.STORES_HTML:
                    self._say(200, b"<html>welcome</html>")
                case Mood.STORES_GZIP_BOMB:
                    self._say(201, gzip.compress(bytes(64 * 1024 * 1024)), place | {"Content-Encoding": "gzip"})
                case _:
                    self._ruin(mood, place)

    def _ruin(self, mood: Mood, place: dict[str, str]) -> None:
        self.close_connection = True
        plug, receiver = self.connection, self.server.receiver
        if mood is Mood.STORES_RESET:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            plug.close()
        elif mood is Mood.STORES_SILENT:
            plug.settimeout(60)
            plug.recv(1)
        else:
            head = f"HTTP/1.1 201 Created\r\nLocation: {place['Location']}\r\nContent-Length: 999999999\r\n\r\n".encode()
            plug.sendall(head)
            chunk = b" " if mood is Mood.STORES_TRICKLE else bytes(65536)
            while not receiver.stopping.wait(0.05 if mood is Mood.STORES_TRICKLE else 0):
                plug.sendall(chunk)

    def _say(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps({"timestamp": "2026-01-01T00:00:00Z", **content}).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""
