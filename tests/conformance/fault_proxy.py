"""A proxy between a gateway and its peer that spoils what comes back *after* the request was forwarded, or the request itself.

HTTP/1.1 with keep-alive on loopback, optionally TLS with any certificate. The peer behind it is somebody else's program; a
`Front` may answer before it or mend what it answers, where the peer lacks what its original has.
"""

import contextlib
import enum
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PEER_TIMEOUT_S = 30


class Fault(enum.Enum):
    """What happens to one exchange. From LOST on the peer has done what was asked."""

    NONE = "none"
    UNSENT = "unsent"  # the request never reaches the peer; the connection dies
    LOST = "lost"  # done, the connection closes without an answer
    RESET = "reset"  # done, the connection is reset
    SILENT = "silent"  # done, nothing comes until the asker leaves
    SLOW = "slow"  # done, answered 300 ms late
    TRUNCATED = "truncated"  # done, half of the answer comes
    GARBAGE = "garbage"  # done, the answer is 200 and not JSON
    WRONG_FORM = "wrong_form"  # done, the answer is 200 and JSON of another form
    STRANGER = "stranger"  # done, the answer names another object
    DOUBLED_ANSWER = "doubled_answer"  # done, the answer comes twice
    DOUBLED_REQUEST = "doubled_request"  # the request reaches the peer twice, the second answer comes back
    BROKEN_500 = "500"  # done, answered 500
    BUSY_503 = "503"  # done, answered 503 by something in between
    REDIRECTED = "redirected"  # done, answered 307
    HTML_403 = "html_403"  # not done: something in between refuses with a page of its own
    FORBIDDEN_403 = "403"  # not done: the key may not, at this moment
    MISSING_404 = "404"  # not done: the object is not known, at this moment
    CONFLICT_409 = "409"  # not done: the same is under way
    TOO_MANY_429 = "429"  # not done: asked too often


UNKNOWN_AFTER = tuple(
    Fault(one)
    for one in ("unsent", "lost", "reset", "silent", "truncated", "garbage", "wrong_form", "stranger", "500", "503", "redirected")
)
"""After these nobody can know the outcome."""


REFUSED_FOR_NOW = tuple(Fault(one) for one in ("html_403", "403", "404", "409", "429"))
"""Answers that say nothing about the money: to be asked again."""
CLOSING = (Fault.UNSENT, Fault.LOST, Fault.RESET, Fault.SILENT, Fault.TRUNCATED)
"""These end the connection; all others leave it to the next request."""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes = field(repr=False)

    @property
    def key(self) -> str:
        return self.headers.get("idempotency-key", "")


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @classmethod
    def of(cls, status: int, content: Any, **headers: str) -> "Reply":
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


class Front:
    """Between the faults and the peer. The default lets everything pass."""

    def answer(self, request: Request, proxy: "FaultProxy") -> Reply:
        return proxy.forward(request)


class FaultProxy:
    """Listens on loopback. `next(...)` are the faults of the exchanges to come; afterwards none. Any thread."""

    def __init__(self, peer_port: int, front: Front | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.peer_port, self.front = peer_port, front or Front()
        self.seen: list[Request] = []
        self.forwarded: list[tuple[Request, Reply]] = []
        self._script: list[Fault] = []
        self._guard = threading.Lock()
        self.stopping = threading.Event()
        self._server = _Server(self, tls)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def next(self, *faults: Fault) -> None:
        with self._guard:
            self._script = list(faults)

    def fault_for(self, request: Request) -> Fault:
        with self._guard:
            self.seen.append(request)
            return self._script.pop(0) if self._script else Fault.NONE

    def forward(self, request: Request) -> Reply:
        """Ask the peer over a connection of its own."""
        link = http.client.HTTPConnection("127.0.0.1", self.peer_port, timeout=PEER_TIMEOUT_S)
        try:
            headers = {k: v for k, v in request.headers.items() if k not in ("connection", "accept-encoding", "content-length")}
            link.request(request.method, request.path, request.body or None, headers)
            answer = link.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() in ("content-type", "date", "location")}
            reply = Reply(answer.status, answer.read(), kept)
        finally:
            link.close()
        with self._guard:
            self.forwarded.append((request, reply))
        return reply

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: FaultProxy, tls: ssl.SSLContext | None) -> None:
        self.proxy, self._tls = proxy, tls
        super().__init__(("127.0.0.1", 0), _Exchange)

    def get_request(self) -> tuple[socket.socket, Any]:
        link, who = super().get_request()
        if self._tls:
            link = self._tls.wrap_socket(link, server_side=True, do_handshake_on_connect=False)
        return link, who

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left or refused our certificate is what the tests are about."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_any(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        fault = proxy.fault_for(request)
        self.close_connection = fault in CLOSING
        if fault is Fault.UNSENT:
            return
        if fault in REFUSED_FOR_NOW:
            self.wfile.write(_bytes(_refusal(fault)))
            return
        reply = proxy.front.answer(request, proxy)
        if fault is Fault.DOUBLED_REQUEST:
            reply = proxy.front.answer(request, proxy)
        with contextlib.suppress(OSError):
            self._spoil(fault, reply)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_any

    def _spoil(self, fault: Fault, reply: Reply) -> None:
        match fault:
            case Fault.LOST:
                self.connection.shutdown(socket.SHUT_RDWR)
            case Fault.RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case Fault.SILENT:
                self.server.proxy.stopping.wait(0.05)
                self.connection.settimeout(60)
                self.connection.recv(1)
            case Fault.TRUNCATED:
                whole = _bytes(reply)
                self.wfile.write(whole[: len(whole) - len(reply.body) // 2 - 1])
            case Fault.GARBAGE:
                self.wfile.write(_bytes(Reply(200, b"\x00\xff<html>" + b"[" * 5000)))
            case Fault.WRONG_FORM:
                self.wfile.write(_bytes(Reply.of(200, {"id": 7, "status": ["paid"], "amount": "1.5"})))
            case Fault.STRANGER:
                self.wfile.write(_bytes(_somebody_elses(reply)))
            case Fault.DOUBLED_ANSWER:
                self.wfile.write(_bytes(reply) * 2)
            case Fault.BROKEN_500 | Fault.BUSY_503:
                self.wfile.write(_bytes(Reply.of(int(fault.value), {"error": {"type": "api_error"}})))
            case Fault.REDIRECTED:
                self.wfile.write(_bytes(Reply(307, b"", {"Location": "/elsewhere"})))
            case _:
                if fault is Fault.SLOW:
                    time.sleep(0.3)
                self.wfile.write(_bytes(reply))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""


def _refusal(fault: Fault) -> Reply:
    if fault is Fault.HTML_403:
        return Reply(403, b"<html>blocked</html>", {"Content-Type": "text/html"})
    status = int(fault.value)
    vendors = {"error": {"type": "invalid_request_error"}, "status": status, "errorCode": "010", "errorType": "security"}
    return Reply.of(status, vendors)


def _bytes(reply: Reply) -> bytes:
    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    head = f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, 'Unknown')}\r\n"
    return head.encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n" + reply.body


def _somebody_elses(reply: Reply) -> Reply:
    """The same answer, about another object and another hold."""

    def other(value: Any) -> Any:
        if isinstance(value, dict):
            names = (
                "id",
                "key",
                "client_reference_id",
                "payment_intent",
                "reference",
                "pspReference",
                "paymentPspReference",
                "paymentReference",
            )
            return {k: f"{v[:4]}stranger" if k in names and isinstance(v, str) else other(v) for k, v in value.items()}
        return [other(one) for one in value] if isinstance(value, list) else value

    return Reply.of(reply.status, other(reply.json))


WIRE_UNKNOWN_AFTER = (Fault.UNSENT, Fault.LOST, Fault.RESET, Fault.SILENT, Fault.TRUNCATED, Fault.GARBAGE)
"""Those of UNKNOWN_AFTER that a wire without HTTP can have."""


class WireProxy:
    """The same for messages behind a two-byte length (ISO 8583 over TCP): one connection per exchange, relayed frame by frame."""

    def __init__(self, peer_port: int, tls: ssl.SSLContext | None = None, foreign: Callable[[bytes], bytes] | None = None) -> None:
        """`foreign` makes of an answer one to somebody else: STRANGER sends it before the true one."""
        self._peer_port, self._tls, self._foreign = peer_port, tls, foreign
        self.seen: list[bytes] = []
        self._script: list[Fault] = []
        self._stopping = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"  # as FaultProxy has it; the port is what counts
        threading.Thread(target=self._accept, daemon=True).start()

    def next(self, *faults: Fault) -> None:
        self._script = list(faults)

    def close(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(link,), daemon=True).start()

    def _relay(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link, contextlib.ExitStack() as open_links:
            link.settimeout(PEER_TIMEOUT_S)
            if self._tls:
                link = open_links.enter_context(self._tls.wrap_socket(link, server_side=True))
            question = _frame(link)
            if question:
                self.seen.append(question)
            fault = self._script.pop(0) if self._script else Fault.NONE
            if not question or fault is Fault.UNSENT:
                return
            answer = self._ask(question)
            if fault is Fault.DOUBLED_REQUEST:
                answer = self._ask(question)
            match fault:
                case Fault.LOST:
                    return
                case Fault.RESET:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case Fault.SILENT:
                    link.recv(1)
                case Fault.TRUNCATED:
                    link.sendall(answer[: len(answer) // 2])
                case Fault.GARBAGE:
                    link.sendall(b"\x00\x20" + b"\xff" * 32)
                case Fault.DOUBLED_ANSWER:
                    link.sendall(answer * 2)
                case Fault.STRANGER if self._foreign:
                    content = self._foreign(answer[2:])
                    link.sendall(len(content).to_bytes(2, "big") + content + answer)
                case _:
                    self._stopping.wait(0.3 if fault is Fault.SLOW else 0)
                    link.sendall(answer)

    def _ask(self, question: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self._peer_port), PEER_TIMEOUT_S) as peer:
            peer.sendall(question)
            return _frame(peer)


def _frame(link: socket.socket) -> bytes:
    """A whole message with its length, or nothing."""
    stream = link.makefile("rb")
    header = stream.read(2)
    length = int.from_bytes(header, "big")
    content = stream.read(length)
    return header + content if len(header) == 2 and len(content) == length else b""
