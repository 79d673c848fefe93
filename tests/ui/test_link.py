"""The link to the core over a real socket: newest screen only, reconnects for ever, survives nonsense."""

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal_app.screens import UI_PROTOCOL, Show, Shown, UiHello, UiToCore
from terminal_app.wire import Endpoint, Listener, WireError
from ui import samples
from ui.link import CoreLink

PATIENCE_S = 20.0


class FakeCore:
    """Listens, keeps what the UI said, and shows what it is told to."""

    def __init__(self, path: Path) -> None:
        self.heard: list[object] = []
        self.clients: list[Endpoint] = []
        self._listener = Listener(path, UiToCore, self._serve)

    def _serve(self, endpoint: Endpoint) -> None:
        self.clients.append(endpoint)
        while True:
            self.heard.append(endpoint.receive(None))

    def show(self, screen_no: int) -> None:
        self.clients[-1].send(Show(samples.screen(samples.charging(), screen_no=screen_no)))

    def close(self) -> None:
        self._listener.close()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.01)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def link(folder: Path) -> Iterator[CoreLink]:
    made = CoreLink(folder / "ui.sock")
    made.start()
    yield made
    made.close()


def test_it_says_hello_and_keeps_only_the_newest_screen(folder: Path, link: CoreLink) -> None:
    core = FakeCore(folder / "ui.sock")
    until(lambda: core.heard == [UiHello(UI_PROTOCOL)])
    for number in range(1, 6):
        core.show(number)
    until(lambda: link._newest is not None and link._newest.screen.screen_no == 5)
    received = link.newest()
    assert received is not None and received.screen.screen_no == 5
    assert link.newest() is None
    assert link.send(Shown(5))
    until(lambda: Shown(5) in core.heard)
    core.close()


def test_it_comes_back_when_the_core_does_and_counts_connections(folder: Path, link: CoreLink) -> None:
    numbers = []
    for _ in range(2):
        core = FakeCore(folder / "ui.sock")
        until(lambda core=core: core.heard)
        core.show(1)
        until(lambda: link._newest is not None)
        received = link.newest()
        assert received is not None
        numbers.append(received.connection)
        core.close()
    assert numbers[1] > numbers[0]
    until(lambda: not link.send(Shown(1)))
    assert link.silent_for_s() >= 0


def test_nonsense_ends_the_connection_not_the_link(folder: Path, link: CoreLink) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(PATIENCE_S)
    server.bind(str(folder / "ui.sock"))
    server.listen()
    first, _ = server.accept()
    first.sendall(b'{"type":"show","screen":{"screen_no":"seven"}}\n')
    second, _ = server.accept()
    assert link.newest() is None
    for plug in (first, second, server):
        plug.close()


def test_a_send_without_a_core_is_told_so(folder: Path) -> None:
    alone = CoreLink(folder / "nobody.sock")
    assert alone.send(Shown(1)) is False
    alone.close()


def test_the_fake_core_would_notice_a_wrong_message(folder: Path) -> None:
    """Mutation: the contract is checked by the decoder, so a misspelt message cannot pass these tests."""
    core = FakeCore(folder / "ui.sock")
    plug = socket.socket(socket.AF_UNIX)
    plug.connect(str(folder / "ui.sock"))
    other: Endpoint = Endpoint(plug, Show)
    plug.sendall(b'{"type":"shown"}\n')
    with pytest.raises(WireError):
        other.receive(PATIENCE_S)
    assert core.heard == []
    core.close()
