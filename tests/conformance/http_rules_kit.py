"""What every HTTP call of every gateway keeps: no redirect is followed, one total deadline, a body cap, no proxy of the
environment. Subclass with a `make` fixture; every entry point of the port is asked, against servers that misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from terminal_app.ports import CheckoutGateway, Increment, LookUp, PaymentGateway
from terminal_app.values import Approved, Checkout
from tests.conformance.fault_kit import hold_of, step_of
from tests.conformance.gateway_kit import a_card
from tests.conformance.scenarios import scenario

TRACE = dict.fromkeys(("id", "hold", "payment", "payment_intent", "capture"), "x1") | {"held_minor": "5000"}
DEADLINE_S = 1.0
MOST_READ = 4 * 1024 * 1024


class Misbehaving:
    """A server on loopback: `answer` writes to each connection after it has read the head of a request."""

    def __init__(self, answer: Callable[[socket.socket, threading.Event], None]) -> None:
        self.asked: list[str] = []
        self.written = 0
        self._answer, self._stopping = answer, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += link.recv(4096) or b"\r\n\r\n"
                self.asked.append(head.split(b"\r\n")[0].decode("latin-1"))
                self._answer(link, self._stopping)
            except OSError:
                return

    def close(self) -> None:
        self._stopping.set()
        self._listening.close()


def redirecting(link: socket.socket, stopping: threading.Event) -> None:
    link.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def dripping(link: socket.socket, stopping: threading.Event) -> None:
    link.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while not stopping.wait(0.05):
        link.sendall(b" ")


def entry_points(gateway: PaymentGateway) -> dict[str, Callable[[], Any]]:
    """Everything of the port that asks the peer. A hold that names its objects, and one that names only a page."""
    hold, page = hold_of(trace=TRACE), hold_of(trace={"checkout": "x1"})
    asked: dict[str, Callable[[], Any]] = {
        "capture": lambda: gateway.capture(hold, step_of(1), DEADLINE_S),
        "void": lambda: gateway.void(hold, step_of(5000), DEADLINE_S),
        "refund": lambda: gateway.refund(hold, step_of(1), DEADLINE_S),
        "check": lambda: gateway.check(DEADLINE_S),
    }
    if isinstance(gateway, CheckoutGateway):
        asked["open"] = lambda: gateway.open_checkout(hold_of(), "Station", DEADLINE_S)
        asked["poll"] = lambda: gateway.poll_checkout(page, DEADLINE_S)
        asked["expire"] = lambda: gateway.expire_checkout(page, DEADLINE_S)
    else:
        asked["authorize"] = lambda: gateway.authorize(hold_of(), a_card(), DEADLINE_S)
    if isinstance(gateway, LookUp):
        asked["look_up"] = lambda: gateway.look_up(page, DEADLINE_S)
    if isinstance(gateway, Increment):
        asked["increment"] = lambda: gateway.increment(hold, step_of(1), DEADLINE_S)
    return asked


class HttpRulesKit:
    @pytest.fixture
    def server(self) -> Iterator[Callable[[Callable[[socket.socket, threading.Event], None]], Misbehaving]]:
        made: list[Misbehaving] = []

        def start(answer: Callable[[socket.socket, threading.Event], None]) -> Misbehaving:
            made.append(Misbehaving(answer))
            return made[-1]

        yield start
        for one in made:
            one.close()

    @scenario("no redirect", "all")
    def test_no_redirect_is_followed(self, make: Callable[[str], PaymentGateway], server: Any) -> None:
        peer = server(redirecting)
        for name, ask in entry_points(make(peer.url)).items():
            assert _is_no_answer(ask()), name
            assert peer.asked, name
        assert not [line for line in peer.asked if "/elsewhere" in line]

    @scenario("total deadline", "all")
    def test_an_answer_that_drips_ends_at_the_total_deadline(self, make: Callable[[str], PaymentGateway], server: Any) -> None:
        peer = server(dripping)
        for name, ask in entry_points(make(peer.url)).items():
            before, began = len(peer.asked), time.monotonic()
            assert _is_no_answer(ask()), name
            assert time.monotonic() - began < DEADLINE_S + 8, name
            assert len(peer.asked) > before, name

    @scenario("body cap", "all")
    def test_a_huge_answer_is_cut_off(self, make: Callable[[str], PaymentGateway], server: Any) -> None:
        written: list[list[int]] = []  # per connection

        def huge(link: socket.socket, stopping: threading.Event) -> None:
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n")
            mine = [0]
            written.append(mine)
            while not stopping.is_set():
                mine[0] += link.send(b" " * 65536)

        for name, ask in entry_points(make(server(huge).url)).items():
            written.clear()
            assert _is_no_answer(ask()), name
            assert written and max(written)[0] < MOST_READ + 8 * 1024 * 1024, name  # the rest are socket buffers

    @scenario("no proxy of the environment", "all")
    def test_no_proxy_of_the_environment_is_used(
        self, make: Callable[[str], PaymentGateway], server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy, peer = server(redirecting), server(redirecting)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        for ask in entry_points(make(peer.url)).values():
            ask()
        assert proxy.asked == []
        assert peer.asked


def _is_no_answer(outcome: object) -> bool:
    """Nothing is approved, no page is shown, and a check says what is wrong."""
    return not isinstance(outcome, Approved | Checkout) and outcome not in ("", None)
