"""Records and facts carried by hand, in any order, twice, beside sync, damaged: stored once, and the terminal learns of it."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from terminal_app.engine.control_link import Answering
from terminal_app.engine.operations import operations
from terminal_app.office import signing, store
from terminal_app.office.ingest import Collector, SentBatch
from terminal_app.run.office import office
from terminal_app.sync.push import body_of
from terminal_app.wire import CdrEnded, NextBatch
from tests.conformance.carrying import Carrying
from tests.service_tool import Tool
from tests.sessions import Paper, terminal

TOKEN = "a-token-of-the-terminal-0001"


class Post:
    """A terminal, its technician, an office that knows it, and a stick (`folder`) between them."""

    def __init__(self, site: Paper, folder: Path, tool: Tool) -> None:
        self.site, self.folder, self.tool = site, folder, tool
        self.database = f"sqlite:///{folder}/office.db"
        site.config.office.token_file.write_text(TOKEN)
        for name, key in (("record", site.keys.records), ("ocmf", site.keys.ocmf)):
            (folder / f"{name}.pub").write_bytes(signing.OfficeKey(key._key).public_pem)  # type: ignore[attr-defined]
        keys = "--record-key", str(folder / "record.pub"), "--ocmf-key", str(folder / "ocmf.pub")
        self.office("init", "--key", self.key)
        self.office("terminal", "add", "T-0001", *keys, "--token-file", str(site.config.office.token_file))

    @property
    def key(self) -> str:
        return str(self.site.path.with_name("office-private.pem"))

    def office(self, *arguments: str, fails: bool = False) -> str:
        done = CliRunner().invoke(office, [*arguments, "--db", self.database])
        assert bool(done.exit_code) is fails, done.output
        return done.output

    def write(self, name: str, *options: str) -> Path:
        code, _ = self.tool("export", "write", self.folder / name, *options)
        assert code == 0, self.tool.stderr
        return self.folder / name

    def bring(self, *files: Path, fails: bool = False) -> str:
        ack = str(self.folder / "ack")
        return self.office("import", "--key", self.key, "--out", ack, "--demo", *map(str, files), fails=fails)

    @contextlib.contextmanager
    def running(self) -> Iterator[Carrying]:
        """The core runs; what a driver does, he does before or after."""
        found = Carrying(self.site)
        orders = operations(self.site.engine) | found.links.operations
        control = Answering(self.site.config.terminal.runtime_dir / "control.sock", orders, None)
        try:
            yield found
        finally:
            control.close()
            found.close()

    def rows(self, table: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.folder / "office.db")) as db:
            return db.execute(f"SELECT seq FROM {table} ORDER BY seq").fetchall()

    def books(self) -> list[Any]:
        tables = ("terminals", "chains", "records", "conflicts", "facts", "alarms")
        with contextlib.closing(sqlite3.connect(self.folder / "office.db")) as db:
            return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    def everything_is_there(self) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "office.db")) as db:
            stored = db.execute("SELECT seq, jws, quarantine FROM records ORDER BY seq").fetchall()
            assert stored == [(one.seq, one.jws, "") for one in self.site.ledger.records()]
            assert db.execute("SELECT count(*) FROM conflicts").fetchone() == (0,)

    def facts(self) -> list[tuple[int]]:
        return [(one.seq,) for one in self.site.ledger.entries() if one.public]


@pytest.fixture
def post(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Post]:
    (tmp_path / "stick").mkdir()
    with terminal(tmp_path) as site:
        for _ in range(3):
            site.paid_session(500, 120)
        yield Post(site, tmp_path / "stick", Tool(site.path, capsys))


def test_there_and_back_again(post: Post) -> None:
    with post.running() as core:
        text = post.bring(post.write("a"))
        assert "stored through record 6" in text
        post.everything_is_there()
        assert post.rows("facts") == post.facts()
        assert core.engine.state.chain.acknowledged_through == 0
        code, said = post.tool.json("export", "ack", post.folder / "ack")
        assert (code, said["acknowledged"]) == (0, 6)
        assert core.engine.state.chain.acknowledged_through == 6 and post.site.ledger.waiting() == 0
        code, said = post.tool.json("export", "write", post.folder / "b")
        assert (said["records_after"], said["records_through"]) == (6, 6)  # nothing twice


def test_any_order_and_any_overlap_end_the_same(post: Post) -> None:
    with post.running():
        first = post.write("first")
        post.bring(first)
        post.tool("export", "ack", post.folder / "ack")
    post.site.paid_session(500, 120)
    with post.running():
        second, whole = post.write("second"), post.write("whole", "--all")
    fresh = Post(post.site, post.folder / "..", post.tool)  # another office, which has nothing yet
    assert "records 1 to 6 are missing" in fresh.bring(second)
    assert fresh.rows("records") == []
    fresh.bring(second, first, second)  # put into order
    fresh.everything_is_there()
    fresh.bring(whole)
    fresh.bring(first)
    fresh.everything_is_there()
    assert fresh.rows("facts") == fresh.facts()[: len(fresh.rows("facts"))]


def test_beside_sync_nothing_is_stored_twice(post: Post) -> None:
    with post.running() as core:
        file = post.write("a")
        database = store.Store(post.database)
        collector = Collector(database, signing.load(Path(post.key)), True)
        batch = core.links.next_batch(NextBatch(max_records=4, max_facts=5))
        collector.take(msgspec.json.decode(body_of(batch), type=SentBatch))
        database.close()
        post.bring(file)
        post.everything_is_there()
        assert post.rows("facts") == post.facts()
        assert post.tool("export", "ack", post.folder / "ack")[0] == 0
        assert core.links.next_batch(NextBatch()).records == ()


def test_a_file_that_was_touched_brings_records_but_no_facts(post: Post) -> None:
    file = post.write("a")
    text = file.read_bytes()
    file.write_bytes(text.replace(b"session_opened", b"session_0pened", 1))
    said = post.bring(file)
    assert "its facts are left out" in said
    post.everything_is_there()
    assert post.rows("facts") == []
    file.write_bytes(text[:-200])  # pulled out too early
    assert "its facts are left out" in post.bring(file, fails=True)
    file.write_bytes(text)
    assert "left out" not in post.bring(file)
    assert post.rows("facts") == post.facts()


def test_a_strangers_file_fills_no_numbers_and_claims_nothing(post: Post) -> None:
    """A record that does not verify would be stored and acknowledged, and the terminal's next one would find its number taken."""
    file = post.write("a")
    post.bring(file)
    head, *_ = text = file.read_bytes().splitlines()
    forged = msgspec.json.decode(text[1]) | {
        "records_after": 6,
        "facts": [],
        "facts_after": 900,
        "facts_through": 900,
        "head_seq": 2,
    }
    jws = str(forged["records"][0]["jws"])
    before = post.books()
    for records in ([{"seq": 7, "jws": jws}], [{"seq": 3, "jws": jws}], []):
        file.write_bytes(head + b"\n" + msgspec.json.encode(forged | {"records": records}) + b"\n")
        assert "facts are left out" in post.bring(file, fails=True)
        other = msgspec.json.decode(head) | {"chain_id": "another"}
        batch = forged | {"chain_id": "another", "records_after": 0, "records": [one | {"seq": 1} for one in records]}
        file.write_bytes(msgspec.json.encode(other) + b"\n" + msgspec.json.encode(batch) + b"\n")
        post.bring(file, fails=True)
        assert post.books() == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00\xff", b'{"kind":"charge-terminal-parcel","v":2}\n', b"[" * 9999])
def test_what_is_no_such_file_is_said_in_a_sentence(post: Post, content: bytes) -> None:
    (post.folder / "x").write_bytes(content)
    assert "Error:" in post.bring(post.folder / "x", fails=True)


def test_an_acknowledgement_of_somebody_else_is_not_believed(post: Post) -> None:
    with post.running() as core:
        post.bring(post.write("a"))
        jws = (post.folder / "ack").read_text()
        for wrong in (jws[:-3] + "AA\n", "", "x\n", jws.replace(".", "", 1)):
            (post.folder / "ack").write_text(wrong)
            assert post.tool("export", "ack", post.folder / "ack")[0] == 2
        assert core.engine.state.chain.acknowledged_through == 0
        (post.folder / "ack").write_text("x\n" + jws)  # other terminals' may stand beside it
        assert post.tool("export", "ack", post.folder / "ack")[0] == 0
    assert post.tool("export", "ack", post.folder / "ack")[0] == 2
    assert "the core does not run" in post.tool.stderr


def test_cards_tokens_do_not_travel(post: Post) -> None:
    text = post.write("a").read_text()
    assert "5e" * 16 in "".join(one.body for one in post.site.ledger.entries())
    assert "5e" * 16 not in text and json.loads(text.splitlines()[0])["terminal"] == "T-0001"


def test_orders_for_cdrs_over_the_control_socket(post: Post) -> None:
    with post.running() as core:
        assert core.links._pull.cdr_ended(CdrEnded(1, 200, rejected="2001")).error == ""
        code, said = post.tool.json("records", "cdrs")
        assert (code, said["rejected"], said["fates"][0]["why"]) == (1, [1], "2001")
        assert "refused" in post.tool("records", "cdrs")[1]
        assert post.tool("records", "cdr-again", 1, "--reason", "mended")[0] == 0
        assert post.tool("records", "cdr-again", 2, "--reason", "mended")[0] == 2
        assert post.tool.json("records", "cdrs")[1]["again"] == [1]
