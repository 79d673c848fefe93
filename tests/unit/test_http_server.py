"""Clients that hold connections: none for ever, not even where answers may take long."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from terminal_app import http_server
from terminal_app.http_server import server
from tests.peers.venvs import free_port


async def _slow(request: Request) -> Response:
    await asyncio.sleep(0.8)
    return Response("late")


async def _large(request: Request) -> Response:
    return Response(b"x" * 8_000_000)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server without a bound per exchange, as the office's."""
    monkeypatch.setattr(http_server, "HEAD_S", 0.3)
    monkeypatch.setattr(http_server, "UNREAD_S", 0.3)
    found = free_port()
    application = Starlette(routes=[Route("/slow", _slow), Route("/large", _large)])
    listening = server(application, ("127.0.0.1", found), tls=None, at_once=8, keep_alive_s=0)
    thread = threading.Thread(target=listening.run, daemon=True)
    thread.start()
    while not listening.started:
        assert thread.is_alive()
        os.sched_yield()
    yield found
    listening.should_exit = True
    thread.join(30)


@pytest.mark.parametrize("said", [b"", b"GET /slow HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_who_never_says_what_it_wants_is_cut(port: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as plug:
        plug.sendall(said)
        assert plug.recv(1) == b""


def test_who_waits_for_an_answer_is_not(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as plug:
        plug.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b""
        while more := plug.recv(4096):
            said += more
    assert said.endswith(b"late")


def test_who_never_reads_its_answer_is_cut(port: int) -> None:
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.settimeout(10)
        plug.connect(("127.0.0.1", port))
        plug.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        threading.Event().wait(1.0)
        got = 0
        with contextlib.suppress(ConnectionError):
            while more := plug.recv(65536):
                got += len(more)
        assert got < 8_000_000
