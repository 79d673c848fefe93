"""Sync against an office that misbehaves: each record reaches the books exactly once, and nothing is believed unsigned."""

import gzip
import json
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from terminal_app import wire
from terminal_app.billing.acknowledgement import Ack, make_ack, seal_ack
from terminal_app.billing.record import sha256_of
from terminal_app.http_client import HttpClient
from terminal_app.office import store
from terminal_app.office.ingest import SentBatch
from terminal_app.office.signing import OfficeKey
from terminal_app.sync.backoff import Backoff, retry_after
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.push import MAX_ANSWER, Push
from tests.unit.office_samples import CHAIN, TERMINAL, TOKEN, Desk, Terminal, desk_at
from tests.unit.sync_samples import FakeCore
from tests.unit.test_http_client import Server

Reply = Callable[[socket.socket, bytes], None]


class Rig:
    """Terminal, core, sync and office, each real but the core; the office's HTTP answers are scripted."""

    def __init__(self, folder: Path, place: Path, records: int) -> None:
        self.terminal = Terminal()
        for _ in range(records):
            self.terminal.session()
        self.desk: Desk = desk_at(folder, self.terminal)
        self.core = FakeCore(place / "s", self.terminal, self.desk.key.public_pem)
        self.server = Server()
        self.script: list[Reply] = []
        self.batches: list[SentBatch] = []
        self.server.reply = self._reply
        self.link = CoreLink(place / "s")
        self.client = HttpClient(demo=True, max_body=MAX_ANSWER)
        self.now_s = 0.0
        self.push = Push(
            self.link,
            self.client,
            office_url=self.server.url,
            token=TOKEN,
            deadline_s=3,
            every_s=5,
            chance=random.Random(1),
        )

    def _reply(self, link: socket.socket, request: bytes) -> None:
        (self.script.pop(0) if self.script else self.honest)(link, request)

    def store(self, request: bytes) -> str:
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"authorization: bearer {TOKEN}".encode() in head.lower()
        assert f"POST /v1/terminals/{TERMINAL}/batches ".encode() in head
        batch = msgspec.json.decode(gzip.decompress(body), type=SentBatch)
        self.batches.append(batch)
        return self.desk.collector.take(batch)

    def honest(self, link: socket.socket, request: bytes) -> None:
        answer(link, 200, json.dumps({"ack": self.store(request)}).encode())

    def turn(self) -> float:
        self.now_s += 1
        return self.push.turn(self.now_s)

    def until_quiet(self, turns: int = 60) -> None:
        for _ in range(turns):
            self.turn()
            if self.core.through == len(self.terminal.records):
                return
        raise AssertionError(f"only {self.core.through} of {len(self.terminal.records)} records after {turns} turns")

    def assert_exactly_once(self) -> None:
        stored = self.desk.rows(store.records)
        assert [(row["seq"], row["jws"]) for row in stored] == [(record.seq, record.jws) for record in self.terminal.records]
        assert {row["quarantine"] for row in stored} <= {""}
        assert len(self.desk.rows(store.sessions)) == len(self.terminal.records)
        assert self.desk.rows(store.conflicts) == []
        assert self.core.through == len(self.terminal.records)

    def close(self) -> None:
        self.link.close()
        self.client.close()
        self.server.close()
        self.core.stop()
        self.desk.database.close()


def answer(link: socket.socket, status: int, body: bytes, *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    link.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@pytest.fixture
def place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def make(tmp_path: Path, place: Path) -> Iterator[Callable[[int], Rig]]:
    made: list[Rig] = []

    def build(records: int) -> Rig:
        made.append(Rig(tmp_path, place, records))
        return made[-1]

    yield build
    for rig in made:
        rig.close()


def test_everything_travels_and_is_acknowledged(make: Callable[[int], Rig]) -> None:
    rig = make(7)
    rig.core.facts = [wire.FactRow(3, 1, "session_opened", "S-1", "{}"), wire.FactRow(8, 2, "fault_raised", "", "{}")]
    assert rig.turn() == 5
    rig.assert_exactly_once()
    assert rig.core.facts_through == 8
    assert rig.core.troubles == [""]
    assert [row["seq"] for row in rig.desk.rows(store.facts)] == [3, 8]


def test_a_backlog_goes_in_full_batches_without_pause(make: Callable[[int], Rig]) -> None:
    rig = make(120)
    assert [rig.turn() for _ in range(3)] == [0, 0, 5]
    assert [len(batch.records) for batch in rig.batches] == [50, 50, 20]
    rig.assert_exactly_once()


def test_an_idle_terminal_shows_a_sign_of_life_every_minute(make: Callable[[int], Rig]) -> None:
    rig = make(0)
    for _ in range(130):
        assert rig.turn() == 5
    assert len(rig.batches) == 3
    assert all(not batch.records for batch in rig.batches)


def stores_then(link: socket.socket, request: bytes, rig: Rig, then: str) -> None:
    ack = json.dumps({"ack": rig.store(request)}).encode()
    if then == "goes silent":
        time.sleep(5)
    elif then == "hangs up":
        link.shutdown(socket.SHUT_RDWR)
    elif then == "answers 500":
        answer(link, 500, b"")
    elif then == "cuts the answer":
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + ack)
        link.shutdown(socket.SHUT_RDWR)
    elif then == "answers another thing":
        answer(link, 200, b'{"status_code": 3000}')
    elif then == "stores twice":
        rig.store(request)
        answer(link, 200, ack)
    elif then == "trickles":
        for _ in range(300):
            link.sendall(b"H")
            time.sleep(0.05)
    elif then == "redirects":
        answer(link, 307, b"", f"Location: {rig.server.url}/elsewhere")
    elif then == "sends a bomb":
        answer(link, 200, gzip.compress(bytes(30_000_000)), "Content-Encoding: gzip")
    else:
        raise AssertionError(then)


MISDEEDS = (
    "goes silent",
    "hangs up",
    "answers 500",
    "cuts the answer",
    "answers another thing",
    "stores twice",
    "trickles",
    "redirects",
    "sends a bomb",
)


@pytest.mark.parametrize("then", MISDEEDS)
def test_an_office_that_stores_and_then_misbehaves_gets_each_record_once(make: Callable[[int], Rig], then: str) -> None:
    rig = make(3)
    rig.script = [lambda link, request: stores_then(link, request, rig, then)]
    rig.turn()
    if then != "stores twice":
        assert rig.core.through == 0
        assert rig.core.troubles[-1] != ""
    rig.until_quiet()
    rig.assert_exactly_once()
    assert rig.core.troubles[-1] == ""
    for batch in rig.batches:
        assert [record.jws for record in batch.records] == [record.jws for record in rig.terminal.records]


def test_all_misdeeds_in_any_order(make: Callable[[int], Rig]) -> None:
    rig = make(9)
    chance = random.Random(7)
    quick = [deed for deed in MISDEEDS if deed not in ("goes silent", "trickles")] * 3
    chance.shuffle(quick)
    rig.script = [lambda link, request, deed=deed: stores_then(link, request, rig, deed) for deed in quick]  # type: ignore[misc]
    rig.until_quiet(100)
    rig.assert_exactly_once()


def test_a_forged_acknowledgement_lets_nothing_be_forgotten(make: Callable[[int], Rig]) -> None:
    rig = make(2)
    forger = OfficeKey(ec.generate_private_key(ec.SECP256R1()))
    head = sha256_of(rig.terminal.records[1].jws)
    ack = Ack(terminal=TERMINAL, chain_id=CHAIN, through_seq=2, head_sha256=head, facts_through=0, utc_ms=1)
    signing = make_ack(ack, forger.key_id)
    forged = json.dumps({"ack": seal_ack(signing, forger.sign(signing))}).encode()
    rig.script = [lambda link, request: answer(link, 200, forged)]
    rig.turn()
    assert rig.core.through == 0
    assert rig.core.refused
    assert "not believed" in rig.core.troubles[-1]
    rig.until_quiet()
    rig.assert_exactly_once()


def test_an_old_acknowledgement_makes_no_busy_loop(make: Callable[[int], Rig]) -> None:
    rig = make(60)
    empty = rig.terminal.batch(records_after=0)
    old = json.dumps({"ack": rig.desk.collector.take(empty)}).encode()
    rig.script = [lambda link, request: answer(link, 200, old)] * 5
    waits = [rig.turn() for _ in range(5)]
    assert all(wait > 0 for wait in waits[1:])
    assert "less than was sent" in rig.core.troubles[-1]
    rig.until_quiet()
    rig.assert_exactly_once()


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(make: Callable[[int], Rig], status: int) -> None:
    rig = make(1)
    rig.script = [lambda link, request: answer(link, status, b"busy", "Retry-After: 77")]
    assert 77 <= rig.turn() <= 77 + 2
    assert str(status) in rig.core.troubles[-1]


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_that_is_not_taken_is_halved(make: Callable[[int], Rig], status: int) -> None:
    rig = make(40)

    def small_only(link: socket.socket, request: bytes) -> None:
        body = msgspec.json.decode(gzip.decompress(request.partition(b"\r\n\r\n")[2]), type=SentBatch)
        if len(body.records) > 10:
            answer(link, status, b"")
        else:
            rig.honest(link, request)

    rig.script = [small_only] * 60
    rig.until_quiet()
    rig.assert_exactly_once()


def test_waits_grow_and_are_bounded(make: Callable[[int], Rig]) -> None:
    rig = make(1)
    rig.server.close()
    waits = [rig.turn() for _ in range(40)]
    assert max(waits) <= 300
    assert max(waits[10:]) > max(waits[:2])
    assert len(rig.core.troubles) == 1  # said once


def test_a_core_that_restarts_is_found_again(make: Callable[[int], Rig]) -> None:
    rig = make(2)
    rig.turn()
    rig.core.stop()
    assert 0 <= rig.turn() <= 10
    rig.terminal.session()
    rig.core.start()
    rig.until_quiet()
    rig.assert_exactly_once()


def test_a_late_answer_of_the_core_is_not_taken_for_the_next(make: Callable[[int], Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terminal_app.sync.core_link.ANSWER_TIMEOUT_S", 0.2)
    rig = make(2)
    rig.core.silent.set()
    rig.turn()
    assert rig.batches == []
    rig.core.silent.clear()
    rig.until_quiet()
    rig.assert_exactly_once()


def test_jitter_spreads_a_fleet() -> None:
    firsts = {round(Backoff(random.Random(seed)).failed(), 2) for seed in range(50)}
    assert len(firsts) > 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Mon, 23 Nov 2026 10:01:00 GMT", 60),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0),
        ("99999999999999", 3600),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after_in_all_its_forms(text: str, seconds: int) -> None:
    assert retry_after(text, datetime(2026, 11, 23, 10, 0, tzinfo=UTC)) == seconds
