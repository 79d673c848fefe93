"""Chaos between terminal, office, OCPI receiver and puller: real core, sync and office processes, killed by kill -9 in between.

The office's line loses, doubles, delays, redirects and bombs what it answers; its database goes back to an old copy; the receiver
stores and says no. At the end each record is at the office once, in order, in its own bytes; each CDR at the receiver likewise;
and whoever pulls has them all, too.
"""

import contextlib
import gzip
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal_app.http_client import HttpClient, HttpTrouble
from terminal_app.ledger.reading import LedgerReader
from terminal_app.office import signing
from terminal_app.session.facts import CdrDelivered
from tests.conformance.fault_proxy import Fault, FaultProxy, Front, Reply, Request
from tests.conformance.ocpi_receiver import TOKEN, Mood, Receiver
from tests.conformance.test_sync_office import _environment
from tests.peers.venvs import free_port
from tests.sessions import Paper, runtime_dir, site_files

DEADLINE_S = 90.0
PULL_TOKEN = "puller-token-0123456789abcdef"
OFFICE_TOKEN = "a-token-of-the-terminal-0001"
LINE_FAULTS = [
    Fault.LOST,
    Fault.RESET,
    Fault.SILENT,
    Fault.TRUNCATED,
    Fault.GARBAGE,
    Fault.WRONG_FORM,
    Fault.DOUBLED_REQUEST,
    Fault.DOUBLED_ANSWER,
    Fault.BROKEN_500,
    Fault.REDIRECTED,
    Fault.UNSENT,
    Fault.TOO_MANY_429,
]
RECEIVER_MOODS = [mood for mood in Mood if mood not in (Mood.FINE, Mood.REFUSES_2001)]
BOMB = gzip.compress(bytes(32 * 1024 * 1024))
CARRIED = """
[pull]
listen = "127.0.0.1:{pull_port}"
[[pull.client]]
name = "erp"
token_file = "pull.token"
[ocpi]
url = "{receiver}"
token_file = "ocpi.token"
deadline_s = 1
"""


class Bombing(Front):
    """What the office did stays done; some answers become bombs."""

    def __init__(self, chance: random.Random) -> None:
        self._chance, self.at_rest = chance, False

    def answer(self, request: Request, proxy: FaultProxy) -> Reply:
        found = proxy.forward(request)
        if self.at_rest or self._chance.random() > 0.15:
            return found
        return Reply(200, BOMB, {"Content-Encoding": "gzip", "Content-Type": "application/json"})


class Town:
    """All parts, in one folder. `core`, `sync`, `office` are processes; the rest lives here."""

    def __init__(self, folder: Path, runtime: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.office_port, self.pull_port, self.core_deaths = free_port(), free_port(), 0
        self.front = Bombing(chance)
        self.proxy = FaultProxy(self.office_port, self.front)
        self.receiver = Receiver(guessable=chance.random() < 0.5, conflicts=chance.random() < 0.5)
        self.path = site_files(folder, runtime, self.proxy.url)
        text = self.path.read_text().replace("receipt_url", "push_every_s = 1\ndeadline_s = 1\nreceipt_url")
        self.path.write_text(text + CARRIED.format(pull_port=self.pull_port, receiver=self.receiver.url))
        for name, token in (("office", OFFICE_TOKEN), ("pull", PULL_TOKEN), ("ocpi", TOKEN)):
            (folder / f"{name}.token").write_text(token)
        self.database = folder / "office.db"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ms, self.wh = 0, 1_234_560
        self.charge(3)
        self._run("init", "--key", "office-private.pem")
        keys = "--record-key", "record.pub", "--ocmf-key", "ocmf.pub"
        self._run("terminal", "add", "T-0001", *keys, "--token-file", "office.token")

    def charge(self, sessions: int) -> None:
        """Drivers come while the core process is down: the same engine, over the same ledger."""
        site = Paper(self.path, self.wh, ms=self.ms)
        for _ in range(sessions):
            site.paid_session(500, 120)
        self.ms, self.wh = site.clock.ms, site.wh
        for name, key in (("record", site.keys.records), ("ocmf", site.keys.ocmf)):
            (self.folder / f"{name}.pub").write_bytes(signing.OfficeKey(key._key).public_pem)
        site.close()

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "terminal_app.run.office", *arguments, "--db", f"sqlite:///{self.database}"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, env=_environment())

    def start(self, name: str) -> None:
        arguments = ["--config", str(self.path)]
        if name == "office":
            arguments = ["serve", "--db", f"sqlite:///{self.database}", "--key", "office-private.pem", "--demo"]
            arguments += ["--listen", f"127.0.0.1:{self.office_port}", "--public-url", self.proxy.url]
        command = [sys.executable, "-m", f"terminal_app.run.{name}", *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=self.folder, env=_environment(), stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        if (process := self.processes.pop(name, None)) is not None:
            process.kill()
            process.wait(30)

    def copy_of_the_office(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.folder.glob("office.db*")}

    def office_forgets(self, old: dict[str, bytes]) -> None:
        for file in self.folder.glob("office.db*"):
            file.unlink()
        for name, content in old.items():
            (self.folder / name).write_bytes(content)

    @property
    def traffic(self) -> int:
        return len(self.proxy.seen) + len(self.receiver.books.tries)

    def ledger(self) -> LedgerReader:
        return LedgerReader(self.folder / "state")

    def stored(self) -> list[tuple[int, str, str]]:
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            return db.execute("SELECT seq, jws, quarantine FROM records ORDER BY seq").fetchall()

    def delivered(self) -> list[int]:
        found = [one.fact for one in self.ledger().entries(kinds=("cdr_delivered", "cdr_rejected"))]
        return [one.record_seq if isinstance(one, CdrDelivered) else -one.record_seq for one in found]  # type: ignore[union-attr]

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        self.proxy.close()
        self.receiver.close()


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, f"did not happen in time: {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def town(folder: Path, seed: int) -> Iterator[Town]:
    with runtime_dir() as runtime:
        found = Town(folder, runtime, random.Random(seed))
        try:
            yield found
        finally:
            found.close()


def chaos(here: Town, rounds: int) -> None:
    """Faults on every line, then one part dies; what it was about to do is done by who comes after."""
    chance, old = here.chance, here.copy_of_the_office()
    for name in ("office", "core", "sync"):
        here.start(name)
    victims = ["sync", "core", "forgets", "office"]
    for number in range(rounds):
        here.proxy.next(*chance.choices(LINE_FAULTS, k=chance.randint(0, 2)))
        with here.receiver.guard:
            here.receiver.moods = chance.choices(RECEIVER_MOODS, k=chance.randint(0, 2))
        before = here.traffic
        until(lambda before=before: here.traffic >= before + 3, "any traffic")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.3))
        victim = victims[number % len(victims)] if number < len(victims) else chance.choice(victims)
        if victim == "forgets":
            here.kill("office")
            here.office_forgets(old)
        else:
            here.kill(victim)
        if victim == "core":
            here.charge(2)
        if victim in ("office", "forgets"):
            here.kill("sync")  # else it waits longer and longer for an office that is back already
            here.start("office")
        here.start("sync" if victim in ("sync", "office", "forgets") else "core")
        if victim == "core":
            here.kill("sync")
            here.start("sync")


def everything_arrived(here: Town) -> None:
    here.front.at_rest = True
    here.proxy.next()
    here.receiver.moods = []
    records = [(one.seq, one.jws, "") for one in here.ledger().records()]
    cdrs = [seq for seq, _, _ in here.ledger().sealed(0, ("session", "credit"))]
    until(lambda: len(here.stored()) == len(records), "all records at the office")
    until(lambda: len(here.delivered()) >= len(cdrs), "all CDRs at the receiver")
    assert here.stored() == records
    with contextlib.closing(sqlite3.connect(here.database)) as db:
        assert db.execute("SELECT count(*) FROM conflicts").fetchone() == (0,)
    assert here.delivered() == cdrs  # each once, in order, none refused
    books = here.receiver.books
    assert not books.wrong and books.came == list(books.cdrs) and len(books.came) == len(cdrs)
    assert pulled(here) == [(seq, jws) for seq, jws, _ in records]
    receiver_forgets_and_pulls(here)
    here.kill("core")
    assert sum(1 for _ in here.ledger().verified_entries()) > len(records)


def pulled(here: Town) -> list[tuple[int, str]]:
    """By somebody who is cut off in the middle and goes on where it was."""
    found, after, client = list[tuple[int, str]](), 0, HttpClient(demo=True, max_body=8 * 1024 * 1024)
    said = {"Authorization": f"Bearer {PULL_TOKEN}"}
    url = f"http://127.0.0.1:{here.pull_port}"
    while True:
        try:
            page = json.loads(client.call("GET", f"{url}/records?after={after}&limit=5", deadline_s=20, headers=said).body)
        except HttpTrouble:
            time.sleep(0.1)  # sync is being born
            continue
        if not page["items"]:
            return found
        found += [(one["seq"], one["jws"]) for one in page["items"]]
        after = page["next_after"]
        body = json.dumps({"through_seq": after, "head_sha256": page["items"][-1]["sha256"]}).encode()
        assert client.call("POST", f"{url}/acks", deadline_s=20, headers=said, body=body).status == 200


def receiver_forgets_and_pulls(here: Town) -> None:
    """OCPI's pushing side is never told that a receiver lost what it had: it fetches that by its own date."""
    books = here.receiver.books
    lost = books.came[-3:]
    for cdr_id in lost:
        del books.cdrs[cdr_id]
    since = json.loads(books.bodies[lost[0]])["last_updated"]
    said = {"Authorization": f"Token {PULL_TOKEN}"}
    url = f"http://127.0.0.1:{here.pull_port}/ocpi/2.2.1/cdrs?date_from={since}"
    page = json.loads(HttpClient(demo=True).call("GET", url, deadline_s=20, headers=said).body)
    assert [one["id"] for one in page["data"]] == lost
    assert page["data"] == [json.loads(books.bodies[cdr_id]) for cdr_id in lost]


def test_chaos_in_short(tmp_path: Path) -> None:
    with town(tmp_path, 4) as here:
        chaos(here, 3)  # sync, core and office, which comes back with an old database
        everything_arrived(here)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(6))
def test_chaos_at_length(tmp_path: Path, seed: int) -> None:
    with town(tmp_path, seed) as here:
        chaos(here, 30)
        everything_arrived(here)
