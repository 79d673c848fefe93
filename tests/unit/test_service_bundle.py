"""The support archive gives nothing away, and `config check` finds what would stop the core."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.card_keys import DemoScheme
from terminal_app.run.service.redaction import scrubbed
from terminal_app.session import events
from terminal_app.session.facts import CommandAnswered, CommandTaken, ServiceAct
from terminal_app.values import Device, Fault
from tests.pan_search import find_pan, forms_of
from tests.service_tool import Tool, answering
from tests.sessions import PAN, Paper, terminal

OTHER_PAN = "5413330089020011"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(site.path, capsys).without_pcsc(monkeypatch)


def journal(folder: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journalctl that says `text`."""
    (folder / "lines").write_bytes(text)
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\ncat {folder / 'lines'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def unpacked(archive: Path, folder: Path) -> dict[str, str]:
    with tarfile.open(archive) as packed:
        packed.extractall(folder)
    return {one.name: one.read_text() for one in folder.rglob("*") if one.is_file()}


def test_nothing_secret_is_in_the_archive_even_if_somebody_wrote_it_down(
    site: Paper, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Card numbers in a reason, a fault, a station name's URL and every log form; keys and tokens lie beside the configuration."""
    site.paid_session()
    site.engine.commit_outside_a_turn(ServiceAct("root", "note", "1", f"driver of card {OTHER_PAN} complained"))
    order = CommandTaken(1, "C-1", "session.stop", {"connector": 1}, "Office", f"card {OTHER_PAN} is not theirs", 1)
    site.engine.commit_outside_a_turn(order)
    site.engine.commit_outside_a_turn(CommandAnswered("C-1", False, f"no session of {OTHER_PAN}"))
    site.turn(events.FaultSeen(Fault(Device.READER, 0, "stuck", f"track {PAN}D2912201"), True))
    lines = b"\n".join(b"2026-11-23T04:15:58+0000 core: " + form for form in forms_of(OTHER_PAN) if b"\n" not in form)
    secrets = {name: (tmp_path / name).read_text() for name in ("record.pem", "ocmf.pem", "office.token")}
    journal(tmp_path, lines + b"\n" + "\n".join(secrets.values()).encode(), monkeypatch)
    toml = site.path.read_text().replace('"http://127.0.0.1:1"', '"http://user:pa55word@127.0.0.1:1/?key=abc"')
    site.path.write_text(toml)
    archive = tmp_path / "support.tar.gz"
    with answering(site):
        code, _ = tool("bundle", "--out", archive)
    assert code == 0 and archive.stat().st_mode & 0o777 == 0o600
    documents = unpacked(archive, tmp_path / "unpacked")
    assert set(documents) == {"versions.json", "config.json", "status.json", "check.json", "ledger.json", "log.txt"}
    for pan in (PAN, OTHER_PAN):
        assert find_pan([tmp_path / "unpacked", archive], pan) == []
    everything = "".join(documents.values())
    for secret in ("5e" * 16, "s3cret-office-token", "pa55word", "key=abc"):
        assert secret not in everything
    for pem in (secrets["record.pem"], secrets["ocmf.pem"]):
        assert not any(line in everything for line in pem.splitlines()[1:-1])
    assert "is not theirs" in everything and "no session of" in everything
    assert "complained" in everything and "12345" in documents["ledger.json"]  # still of use


def test_the_search_would_find_what_scrubbing_lets_through(
    site: Paper, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: without scrubbing, the same archive gives the number away."""
    monkeypatch.setattr("terminal_app.run.service.bundle.scrubbed", lambda text: text)
    site.engine.commit_outside_a_turn(ServiceAct("root", "note", "1", f"card {OTHER_PAN}"))
    site.close()
    tool("bundle", "--out", tmp_path / "support.tar.gz")
    unpacked(tmp_path / "support.tar.gz", tmp_path / "unpacked")
    assert find_pan([tmp_path / "unpacked"], OTHER_PAN)


def test_what_a_supporter_needs_survives_scrubbing() -> None:
    line = "2026-11-23T04:15:58.123456+0000 WARNING charge.engine: meter.main: no answer within 300 ms (/dev/serial/by-path)"
    assert scrubbed(line) == line
    assert scrubbed("ConnectionRefusedError at 127.0.0.1:8583") == "ConnectionRefusedError at 127.0.0.1:8583"


def test_an_archive_of_a_terminal_in_trouble_is_made_all_the_same(site: Paper, tool: Tool, tmp_path: Path) -> None:
    site.close()
    (site.config.terminal.state_dir / "ledger.db").write_bytes(b"\xff" * 8192)
    code, found = tool.json("bundle", "--out", tmp_path / "support.tar.gz")
    assert code == 1 and found["incomplete"] == ["ledger.json"]
    assert "not a database" in unpacked(tmp_path / "support.tar.gz", tmp_path / "unpacked")["ledger.json"]
    assert tool("bundle", "--out", tmp_path / "no" / "folder.tar.gz")[0] == 2
    assert "choose another place" in tool.stderr


# --- config check ----------------------------------------------------------------------------------------------------


def remarks(tool: Tool, *arguments: object) -> tuple[int, dict[str, str]]:
    code, found = tool.json("config", "check", *arguments)
    return code, {one["where"]: one["state"] for one in found["remarks"]}


def test_a_good_configuration_warns_only_of_what_is_true(site: Paper, tool: Tool, tmp_path: Path) -> None:
    code, found = remarks(tool)
    assert code == 1 and "fault" not in found.values()
    assert found["[evse.main]"] == "warning"  # this controller cannot guard itself
    assert found["[meter.main] port"] == "warning"  # not plugged in


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hold_minor = 6000", "hold_minor = 6000\nhold_major = 60", "hold_major"),
        ('time_zone = "Europe/Berlin"', 'time_zone = "Europe/Berlim"', "[terminal] time_zone"),
        ('country = "DE"', 'country = "D"', "[terminal] country"),
        ('mode = "demo"', 'mode = "production"', "tls"),
        ("number = 1", "number = 9", "connector"),
    ],
)
def test_a_wrong_key_type_or_range_is_named(site: Paper, tool: Tool, old: str, new: str, said: str) -> None:
    site.path.write_text(site.path.read_text().replace(old, new))
    code, text = tool("config", "check")
    assert code == 2 and said in text and "terminal.toml" in text
    assert tool("status")[0] == 2 and said in tool.stderr


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("record.pem", "[keys] record"),
        ("card.key", "[reader] card_key"),
        ("office.pem", "[office] public_key"),
        ("office.token", "[office] token_file"),
        ("tariff.json", "[[connector]] tariff"),
    ],
)
def test_each_file_it_names_is_tried(site: Paper, tool: Tool, tmp_path: Path, file: str, where: str) -> None:
    (tmp_path / file).write_text("")
    code, found = remarks(tool)
    assert code == 2 and [name for name, state in found.items() if state == "fault"] == [where]
    (tmp_path / file).unlink()
    code, found = remarks(tool)
    assert code == 2 and found[where] == "fault"


def test_ca_keys_are_tried_if_there_are_any(site: Paper, tool: Tool, tmp_path: Path) -> None:
    assert "[reader] ca_keys" not in remarks(tool)[1]
    site.path.write_text(
        site.path.read_text().replace('card_key = "card.key"', 'card_key = "card.key"\nca_keys = "scheme/ca-keys.toml"')
    )
    code, found = remarks(tool)
    assert code == 2 and found["[reader] ca_keys"] == "fault"
    DemoScheme(tmp_path / "scheme")
    assert remarks(tool)[1]["[reader] ca_keys"] == "ok"


def test_offline_charging_without_ca_keys_is_remarked(site: Paper, tool: Tool, tmp_path: Path) -> None:
    text = site.path.read_text() + "\n[offline]\ncard_minor = 5000\nterminal_minor = 50000\n"
    site.path.write_text(text)
    assert remarks(tool)[1]["[offline]"] == "warning"
    site.path.write_text(text.replace('card_key = "card.key"', 'card_key = "card.key"\nca_keys = "scheme/ca-keys.toml"'))
    DemoScheme(tmp_path / "scheme")
    assert "[offline]" not in remarks(tool)[1]


def test_another_file_can_be_checked_before_it_is_installed(site: Paper, tool: Tool, tmp_path: Path) -> None:
    other = tmp_path / "new.toml"
    other.write_text(site.path.read_text().replace('meter = "main"', 'meter = "other"'))
    code, found = tool.json("config", "check", "--config", other)
    assert code == 2 and "there is no section [meter.other]" in found["remarks"][0]["says"]
