"""charge-service over a ledger: sessions told, records verified and exported; whole, spoilt, beside a core and without one."""

import dataclasses
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyocmf import OCMF

from terminal_app.engine import operations
from terminal_app.engine.control_link import Answering
from terminal_app.engine.receipt_orders import receipt_print
from terminal_app.ledger.reading import LedgerReader
from terminal_app.screens import Button
from terminal_app.session import actions, events
from terminal_app.values import Declined, DeclineReason, OutcomeUnknown
from tests.service_tool import Tool, answering
from tests.sessions import Paper, terminal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(site.path, capsys).without_pcsc(monkeypatch)


def spoil(site: Paper, sql: str, *values: object) -> None:
    """What no program of ours would do: triggers off, then the change."""
    site.close()
    with sqlite3.connect(site.config.terminal.state_dir / "ledger.db") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute(sql, values)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_listed_shown_and_its_id_may_be_shortened(site: Paper, tool: Tool) -> None:
    first, second = site.paid_session(5_000), site.paid_session(12_345)
    site.close()
    code, found = tool.json("session", "list")
    assert code == 0 and [one["session_id"] for one in found] == [second, first]
    assert (found[0]["energy_wh"], found[0]["total_minor"], found[0]["phase"]) == (12_345, 948, "sealed")
    code, text = tool("session", "show", second)
    assert code == 0 and "12.345 kWh" in text and "9.48 EUR" in text and "visa 1111" in text and "captured" in text
    code, _ = tool("session", "show", second[:-10])
    assert code == 2 and "2 sessions begin with" in tool.stderr
    code, _ = tool("session", "show", "nothing")
    assert code == 2 and "there is no session nothing" in tool.stderr


def test_the_story_of_a_session_has_readings_money_and_every_line_of_the_bill(site: Paper, tool: Tool) -> None:
    session_id = site.paid_session(12_345)
    site.close()
    code, story = tool.json("session", "explain", session_id)
    assert code == 0
    words = " ".join(one["words"] for one in story["chapters"])
    for said in (
        "1234.560 kWh",
        "1246.905 kWh",
        "60.00 EUR shall be held on visa ending in 1111",
        "pressed Stop",
        "9.48 EUR was taken",
    ):
        assert said in words
    assert [one["kind"] for one in story["bill"]] == ["energy", "time", "flat"]
    energy = story["bill"][0]
    assert (energy["quantity"], energy["price"], energy["exact"], energy["gross_minor"]) == ("12.345", "0.59", "7.28355", 728)
    assert sum(line["gross_minor"] for line in story["bill"]) == 948
    assert {check["what"]: check["ok"] for check in story["checks"]} == {
        "record": True,
        "bill": True,
        "ledger": True,
        "money": True,
    }


def test_a_bill_that_does_not_follow_from_its_tariff_is_told(site: Paper, tool: Tool) -> None:
    """Mutation: the frozen bill in the ledger says one cent more."""
    session_id = site.paid_session(12_345)
    spoil(site, "UPDATE entries SET body = replace(body, '\"total_minor\":948', '\"total_minor\":949') WHERE kind = 'bill_frozen'")
    code, story = tool.json("session", "explain", session_id)
    assert code == 2
    assert [check["what"] for check in story["checks"] if not check["ok"]] == ["ledger"]


@pytest.mark.parametrize(
    ("outcome", "phase", "words"),
    [
        (Declined(DeclineReason.INSUFFICIENT_FUNDS, "51"), "declined", "declined: insufficient_funds 51. Nothing is held"),
        (OutcomeUnknown("timeout"), "in_doubt", "Nobody knows whether money is held: timeout"),
    ],
)
def test_a_charge_that_never_began_is_told_too(site: Paper, tool: Tool, outcome: object, phase: str, words: str) -> None:
    site.outcomes[actions.Authorize] = outcome  # type: ignore[assignment]
    site.tap()
    site.finish()
    site.close()
    code, found = tool.json("session", "list")
    assert code == 0 and found[0]["phase"] == phase
    code, text = tool("session", "explain", found[0]["session_id"])
    assert code == 0 and words in text


# --- payments --------------------------------------------------------------------------------------------------------


def test_an_open_hold_is_found_without_a_core_and_a_manual_one_asks_for_a_person(site: Paper, tool: Tool) -> None:
    site.outcomes[actions.Capture] = OutcomeUnknown("silence")
    session_id = site.paid_session()
    code, found = tool.json("payments", "open")
    assert code == 0 and [(one["session_id"], one["phase"]) for one in found] == [(session_id, "capturing")]
    site.outcomes[actions.Capture] = Declined(DeclineReason.REFUSED, "05")
    site.pass_time(3600)
    site.finish()
    code, found = tool.json("payments", "list")
    assert code == 1 and found[0]["phase"] == "manual" and found[0]["record_seq"] == 2
    code, text = tool("payments", "list")
    assert "needs a person" in text
    assert tool.json("payments", "open") == (0, [])


# --- the same through the running core -------------------------------------------------------------------------------


QUESTIONS = (
    ("session", "list"),
    ("payments", "list"),
    ("records", "list"),
    ("records", "verify"),
)


def test_the_running_core_tells_the_same_as_the_files(site: Paper, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with pages so small that everything needs several."""
    sessions = [site.paid_session(1_000 * number) for number in (3, 5, 7)]
    site.acknowledge(4)
    asked = [*QUESTIONS, *(("session", word, one) for one in sessions for word in ("show", "explain"))]
    monkeypatch.setattr(operations, "MAX_PAGE", 7)
    with answering(site):
        through_core = [tool.json(*one) for one in asked]
    site.close()
    assert [tool.json(*one) for one in asked] == through_core
    assert [code for code, _ in through_core] == [0] * len(asked)


def test_a_page_never_exceeds_what_one_message_may_carry(site: Paper, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    site.paid_session()
    monkeypatch.setattr(operations, "MAX_PAGE_BYTES", 300)
    with answering(site):
        code, found = tool.json("records", "verify")
    assert code == 0 and found["chains"][0]["checked"] == site.ledger.head[0]


# --- verify ----------------------------------------------------------------------------------------------------------


def troubles(tool: Tool) -> dict[str, int | None]:
    code, found = tool.json("records", "verify")
    bad = {one["chain"]: one["bad"] for one in found["chains"] if one["trouble"]}
    assert (code == 2) == bool(bad)
    return bad


def test_what_holds_is_said_to_hold(site: Paper, tool: Tool) -> None:
    site.paid_session(5_000)
    site.pass_time(60)
    site.wh += 40  # something used energy outside a session
    site.paid_session(7_000)
    site.acknowledge(3)
    site.close()
    assert troubles(tool) == {}
    _, text = tool("records", "verify")
    assert "40 Wh outside sessions" in text


def test_quarantined_records_want_a_person(site: Paper, tool: Tool) -> None:
    site.paid_session()
    site.acknowledge(2, quarantined=(1,))
    site.close()
    code, text = tool("records", "verify")
    assert code == 1 and "quarantined records 1" in text


@pytest.mark.parametrize(
    ("sql", "bad"),
    [
        ("UPDATE entries SET body = replace(body, '1234560', '1234561') WHERE seq = 8", {"ledger": 8}),
        ("UPDATE entries SET utc_ms = utc_ms + 1 WHERE seq = 3", {"ledger": 3}),
        ("UPDATE entries SET clock = 'X' WHERE seq = 4", {"ledger": 4}),
        ("DELETE FROM entries WHERE seq = 8", {"ledger": 8}),
        ("UPDATE records SET jws = substr(jws, 1, length(jws) - 3) || 'AAA' WHERE seq = 2", {"records": 2, "acknowledgement": 2}),
        ("UPDATE records SET sha256 = replace(sha256, substr(sha256, 1, 4), 'zzzz') WHERE seq = 3", {"records": 3}),
        ("DELETE FROM outbox WHERE record_seq = 4", {"acknowledgement": 3}),
    ],
)
def test_one_change_anywhere_is_found_and_the_entry_named(site: Paper, tool: Tool, sql: str, bad: dict[str, int]) -> None:
    site.paid_session(5_000)
    site.paid_session(7_000)
    site.acknowledge(2)
    spoil(site, sql)
    assert troubles(tool) == bad


def test_a_cut_tail_of_records_is_found_by_ledger_and_watermark(site: Paper, tool: Tool) -> None:
    site.paid_session(5_000)
    site.acknowledge(2)
    spoil(site, "DELETE FROM records WHERE seq = 2")
    assert set(troubles(tool)) == {"records", "acknowledgement"}


def test_records_of_a_foreign_key_do_not_verify_and_a_key_by_hand_does(site: Paper, tool: Tool, tmp_path: Path) -> None:
    site.paid_session()
    site.close()
    public = tmp_path / "record-public.pem"
    command = ["openssl", "pkey", "-in", str(tmp_path / "record.pem"), "-pubout", "-out", str(public)]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "record.pem").unlink()
    assert set(troubles(tool)) == {"records"}
    code, _ = tool.json("records", "verify", "--key", public)
    assert code == 0


# --- export ----------------------------------------------------------------------------------------------------------


def test_exported_readings_verify_with_pyocmf_and_records_are_the_bytes_as_signed(site: Paper, tool: Tool, tmp_path: Path) -> None:
    site.paid_session(12_345)
    records = list(site.ledger.records())
    site.close()
    out = tmp_path / "out"
    code, found = tool.json("records", "export", "--format", "ocmf", "--out", out)
    assert code == 0 and len(found["files"]) == 2
    readings, key = (next(out.glob(f"*.{end}")).read_text() for end in ("ocmf", "pub"))
    parsed = OCMF.from_string(readings)
    assert parsed.verify_signature(key)
    assert not OCMF.from_string(readings.replace("1246.905", "1246.906")).verify_signature(key)
    code, _ = tool("records", "export", "--format", "jws", "--out", out)
    assert code == 0 and [one.read_text() for one in sorted(out.glob("*.jws"))] == [one.jws for one in records]
    code, _ = tool("records", "export", "--format", "jsonl", "--out", out, "--after", 1)
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == [2] and lines[0]["jws"] == records[1].jws
    assert lines[0]["record"]["how"] == "captured"


def test_a_ledger_out_of_service_is_still_read_while_the_closed_core_holds_it(site: Paper, tool: Tool, tmp_path: Path) -> None:
    """The core in closed mode answers `status` only; verify and export go to the files."""
    site.paid_session()
    records = [one.jws for one in site.ledger.records()]
    spoil(site, "UPDATE entries SET body = replace(body, '1234560', '1234561') WHERE seq = 8")
    status = {"terminal": "T-0001", "mode": "demo", "out_of_service": "ledger", "why": "entry 8: damaged", "connectors": []}
    control = Answering(site.config.terminal.runtime_dir / "control.sock", {"status": lambda arguments, actor: status}, None)
    try:
        code, text = tool("status")
        assert code == 2 and "out of service: entry 8: damaged" in text
        assert troubles(tool) == {"ledger": 8}
        out = tmp_path / "out"
        assert tool("records", "export", "--format", "jws", "--out", out)[0] == 0
        assert [one.read_text() for one in sorted(out.glob("*.jws"))] == records
        code, _ = tool("session", "stop", 1, "--reason", "test")
        assert code == 2 and "out of service: entry 8: damaged" in tool.stderr
    finally:
        control.close()


def test_a_file_that_is_no_database_is_one_sentence(site: Paper, tool: Tool) -> None:
    site.close()
    (site.config.terminal.state_dir / "ledger.db").write_bytes(b"\xff" * 8192)
    code, _ = tool("records", "list")
    assert code == 2 and "ledger.db" in tool.stderr and "not a database" in tool.stderr
    assert set(troubles(tool)) >= {"ledger", "records"}


# --- a disk that can no longer be written ----------------------------------------------------------------------------


def test_clean_and_unclean_ledgers_are_read_from_a_read_only_file_system(site: Paper, tmp_path: Path) -> None:
    site.paid_session()
    count, state = site.ledger.head[0], site.config.terminal.state_dir
    for name, endings in (("no-shm", ("", "-wal")), ("all", ("", "-wal", "-shm"))):
        (tmp_path / "disk" / name).mkdir(parents=True)
        for ending in endings:
            shutil.copy(state / f"ledger.db{ending}", tmp_path / "disk" / name)
    site.close()
    shutil.copytree(state, tmp_path / "disk" / "clean")
    script = (
        "import sys; from pathlib import Path; from terminal_app.ledger.reading import LedgerReader\n"
        "for name in ('clean', 'no-shm', 'all'):\n"
        "    reader = LedgerReader(Path(sys.argv[1], name))\n"
        "    print(name, sum(1 for _ in reader.verified_entries()), len(reader.records())); reader.close()\n"
    )
    disk = tmp_path / "disk"
    mount = f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk} && ! touch {disk}/x 2>/dev/null"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} || exit 77; exec "$0" "$@"', sys.executable, "-c", script, str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no right to mount read-only here")
    assert done.stdout.splitlines() == [f"{name} {count} 2" for name in ("clean", "no-shm", "all")], done.stderr


def test_reading_leaves_nothing_behind_that_the_core_could_stumble_over(site: Paper, tool: Tool) -> None:
    site.paid_session()
    site.close()
    tool("records", "verify")
    again = Paper(site.path, site.wh)  # takes the lock and writes
    again.paid_session()
    assert len(again.ledger.records()) == 4
    again.close()
    assert LedgerReader(site.config.terminal.state_dir).tail[0] == again.ledger.head[0]


# --- receipts --------------------------------------------------------------------------------------------------------


def test_the_receipt_of_any_charge_comes_again_as_text_and_pdf(site: Paper, tool: Tool, tmp_path: Path) -> None:
    session_id = site.paid_session()
    site.tap()
    cancelled = site.engine.state.sessions[1].session_id
    site.turn(events.Touched(Button.CANCEL, ""))
    site.finish()
    site.close()
    code, text = tool("session", "receipt", session_id)
    assert code == 0 and "12,345 kWh" in text and "Von der Karte abgebucht" in text and "9,48 EUR" in text
    assert [one["receipt_number"][-6:] for one in tool.json("session", "list")[1]] == ["000002", "000001"], (
        "a hold alone has one too"
    )
    assert "No charge began: the driver cancelled" in tool("session", "explain", cancelled)[1]
    code, found = tool.json("session", "receipt", cancelled)
    assert code == 0 and found["number"].endswith("000002") and "Es wurde nicht geladen: abgebrochen." in found["lines"]
    code, _ = tool("session", "receipt", session_id, "--pdf", tmp_path / "receipt.pdf", "--language", "en")
    assert code == 0 and (tmp_path / "receipt.pdf").read_bytes().startswith(b"%PDF")
    code, _ = tool("session", "receipt", session_id, "--print")
    assert code == 2 and "has no [printer]" in tool.stderr


def test_a_copy_is_printed_by_the_running_core_and_stands_in_the_ledger(site: Paper) -> None:
    session_id = site.paid_session()
    site.path.write_text(site.path.read_text() + '\n[printer]\ndriver = "text"\ndevice = "paper.txt"\n')
    site.close()
    again = Paper(site.path)
    engine, told = again.engine, list[actions.PrintReceipt]()
    engine._out = dataclasses.replace(engine._out, act=told.append)
    engine.ask = lambda question, timeout_s=5.0: question()  # type: ignore[method-assign]
    answer = receipt_print(engine, {"session_id": session_id}, "somebody")
    assert answer["receipt"].endswith("000001") and told[0].lines[0] == "*** KOPIE ***"
    (act,) = [entry.fact for entry in again.ledger.entries(kinds=("service_act",))]
    assert (act.act, act.target) == ("receipt.print", session_id)
    with pytest.raises(ValueError, match="has no receipt"):
        receipt_print(engine, {"session_id": "nothing"}, "somebody")
    again.close()
