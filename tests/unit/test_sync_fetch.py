"""Sync brings commands to the core byte for byte, in order, and is in no hurry where it is not wanted."""

import json
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.http_client import HttpClient
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.fetch import MAX_ANSWER, WAIT_S, Fetch
from tests.unit.billing_samples import Key
from tests.unit.command_samples import signed
from tests.unit.office_samples import TERMINAL, TOKEN, Terminal
from tests.unit.sync_samples import FakeCore
from tests.unit.test_http_client import Server
from tests.unit.test_sync_push import answer

OFFICE = Key()


class Rig:
    """A core that believes only the office's key, sync, and an office whose answers are scripted."""

    def __init__(self, place: Path) -> None:
        self.core = FakeCore(place / "s", Terminal(), OFFICE.spki)
        self.server, self.client = Server(), HttpClient(demo=True, max_body=MAX_ANSWER)
        self.link = CoreLink(place / "s")
        self.arrived: list[int] = []
        self.now_s = 0.0
        self.fetch = Fetch(
            self.link,
            self.client,
            office_url=self.server.url,
            token=TOKEN,
            deadline_s=3,
            every_s=5,
            chance=random.Random(1),
            arrived=lambda: self.arrived.append(len(self.core.commands)),
        )

    def office_says(self, status: int, body: bytes, *headers: str, after_s: float = 0.0) -> None:
        def reply(link: socket.socket, request: bytes) -> None:
            self.now_s += after_s
            answer(link, status, body, *headers)

        self.server.reply = reply

    def turn(self) -> float:
        return self.fetch.turn(lambda: self.now_s)


@pytest.fixture
def rig() -> Iterator[Rig]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    one = Rig(place)
    yield one
    one.link.close()
    one.client.close()
    one.core.stop()
    shutil.rmtree(place)


def listed(*commands: str) -> bytes:
    return json.dumps({"commands": commands}).encode()


def test_commands_reach_the_core_as_they_came_and_the_next_question_begins_after_them(rig: Rig) -> None:
    commands = [signed(OFFICE, number=number, command_id=f"C-{number}") for number in (4, 5)]
    rig.office_says(200, listed(*commands))
    assert rig.turn() == 0.0
    assert rig.core.commands == commands and rig.arrived == [2]
    rig.office_says(200, listed(), after_s=WAIT_S)
    assert rig.turn() == 0.0, "waited long enough: ask again"
    asked = [request.decode().split()[1] for request in rig.server.requests]
    assert asked == [f"/v1/terminals/{TERMINAL}/commands?after={number}&wait_s={WAIT_S}" for number in (0, 5)]
    assert all(f"authorization: bearer {TOKEN}".encode() in request.lower() for request in rig.server.requests)


def test_one_that_is_not_believed_keeps_no_later_one_from_getting_through(rig: Rig) -> None:
    good = signed(OFFICE, number=2, command_id="C-2")
    rig.office_says(200, listed(signed(Key(), number=1), good))
    assert rig.turn() == 0.0 and rig.core.commands == [good]


def test_an_office_that_sends_only_nonsense_or_does_not_let_wait_is_asked_slowly(rig: Rig) -> None:
    rig.office_says(200, listed(signed(Key(), number=1)))
    assert rig.turn() > 0.0 and rig.arrived == []
    rig.office_says(200, listed())
    assert rig.turn() == 5.0


ODD: tuple[tuple[int, bytes], ...] = ((404, b"{}"), (503, b""), (200, b"{}"), (200, b'{"commands":[1]}'), (200, b"<html>"))
ODD += ((200, b'{"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),)


@pytest.mark.parametrize(("status", "body"), ODD)
def test_an_office_that_answers_oddly_is_asked_again_later(rig: Rig, status: int, body: bytes) -> None:
    rig.office_says(status, body, "Retry-After: 30" if status == 503 else "X: y")
    pause_s = rig.turn()
    assert pause_s >= 30.0 if status == 503 else pause_s > 0.0
    rig.office_says(200, listed(signed(OFFICE)))
    assert rig.turn() == 0.0 and len(rig.core.commands) == 1


def test_without_a_core_nobody_is_asked(rig: Rig) -> None:
    rig.core.stop()
    assert rig.turn() > 0.0 and rig.server.requests == []
    rig.core.start()
    rig.office_says(200, listed(signed(OFFICE)))
    assert rig.turn() == 0.0
