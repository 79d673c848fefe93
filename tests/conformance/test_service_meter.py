"""`charge-service meter scan | identify | watch | check | decode | dump | new`, as a technician calls them."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.meters import profile, survey
from drivers.meters.bus import Address
from drivers.meters.profile import Line
from drivers.sim import modbus_slave
from drivers.sim.launch import Simulated
from terminal_app.run.service import cli, show
from tests.conformance.evil_devices import EvilMeter, Piece
from tests.conformance.meter_facts import SERIAL, TRUTH, device

NOWHERE = "/nonexistent/terminal.toml"  # no configuration on this machine: nothing to lock


def run(*words: str) -> int:
    return cli.main(["--config", NOWHERE, "meter", *words])


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = show.OK) -> Any:
    capsys.readouterr()
    assert run(*words, "--json") == code, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test machine may be busier than a meter."""
    monkeypatch.setattr(survey, "PROBE_PATIENCE_S", 0.4)


@pytest.fixture(scope="module")
def line() -> Iterator[EvilMeter]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    made = EvilMeter(folder / "tty")
    made.plug()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


def becomes(line: EvilMeter, name: str, unit: int = 1) -> str:
    """The device on the line is this model under this unit id; other ids stay silent. Its port."""
    line.blocks = device(name, lies=False)
    for block in (3, 4):  # a real meter shows something between its points
        held = line.blocks[block]
        line.blocks[block].update({at: held.get(at, 0) for one in list(held) for at in range(max(0, one - 8), one + 8)})  # type: ignore[attr-defined]

    def honest(ask: bytes) -> list[Piece]:
        return [(0.0, modbus_slave.rtu_frame(unit, line.pdu(ask)))] if ask[0] == unit else []

    line.always = honest
    return str(line.link)


# --- offline ----------------------------------------------------------------------------------------------------------


def test_decode_gives_value_and_unit_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("decode", "--model", "eastron-sdm630-v2", "--point", "energy_import_wh", "--words", "449A,5000")
    wanted = {"model": "eastron-sdm630-v2", "point": "energy_import_wh", "value": "1234500", "unit": "Wh"}
    assert answer(capsys, *words) == wanted
    assert run(*words) == show.OK and capsys.readouterr().out.strip() == "1234500 Wh"


@pytest.mark.parametrize(
    ("model", "point", "words", "value", "unit"),
    [
        ("abb-b23", "power_w", "FFFF FF9C", "-1", "W"),
        ("abb-b23", "frequency_hz", "138A", "50.02", "Hz"),
        ("carlo-gavazzi-em340", "energy_import_wh", "0x3039,0x0000", "1234500", "Wh"),
        ("iskra-wm3m4c", "energy_import_wh", "0000,04D2,0001", "12340", "Wh"),
        ("bauer-bsm-ws36a", "serial", "303031425A5231353231303730303036", "001BZR1521070006", ""),
        ("eastron-sdm630-v2", "current_l1_a", "3DCC,CCCD", "0.100000001490116119384765625", "A"),
    ],
)
def test_decode_is_exact(capsys: pytest.CaptureFixture[str], model: str, point: str, words: str, value: str, unit: str) -> None:
    found = answer(capsys, "decode", "--model", model, "--point", point, "--words", words)
    assert (found["value"], found["unit"]) == (value, unit)


def test_decode_says_when_words_carry_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("decode", "--model", "eastron-sdm630-v2", "--point", "power_w", "--words", "7FC0,0000")
    found = answer(capsys, *words, code=show.WARNING)
    assert found["value"] is None and "not a number" in found["reason"]


@pytest.mark.parametrize(
    "words",
    [
        ("decode", "--model", "eastron-sdm630-v2", "--point", "power_w", "--words", "7FC0"),
        ("decode", "--model", "eastron-sdm630-v2", "--point", "power_w", "--words", "7FC0,G000"),
        ("decode", "--model", "eastron-sdm630-v2", "--point", "power_w", "--words", "7FC0,1FFFF"),
        ("decode", "--model", "eastron-sdm630-v2", "--point", "colour", "--words", "7FC0"),
        ("decode", "--model", "eastron-sdm630-v2"),
        ("dump", "banana", "--port", "/dev/null"),
        ("dump", "0x0-0x60", "--port", "/dev/null", "--shown", "much"),
        ("scan",),
        ("identify", "--port", "/dev/null", "--host", "localhost"),
    ],
)
def test_wrong_usage_is_told_as_such(words: tuple[str, ...]) -> None:
    assert run(*words) == show.USAGE


def test_an_unknown_model_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("decode", "--model", "no-such", "--point", "power_w", "--words", "0") == show.FAULT
    assert "eastron-sdm630-v2" in capsys.readouterr().err


def test_check_accepts_a_sound_profile_and_shows_its_reading_plan(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "check", "eastron-sdm630-v2")
    assert found["state"] == "ok" and found["vectors"] == 3
    assert {"fc": 4, "addr": 0x34, "size": 24} in found["plan"]


def test_check_warns_of_a_coarse_register_and_a_missing_serial_number(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "check", "carlo-gavazzi-em340", code=show.WARNING)
    assert any("100 Wh" in one for one in found["remarks"]) and any("serial" in one for one in found["remarks"])


def test_check_names_what_is_wrong_in_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = profile.text_of(profile.load("eastron-sdm630-v2", None))
    Path("mine.toml").write_text(text.replace("power_w = { addr = 0x34 }", "power_w = { addr = 0x49 }"))
    found = answer(capsys, "check", "mine.toml", code=show.FAULT)
    assert "overlaps" in found["error"] and "mine.toml" in found["error"]
    Path("mine.toml").write_text(text.replace("value = 1234500", "value = 1"))
    assert "the words give 1234500" in answer(capsys, "check", "mine.toml", code=show.FAULT)["error"]


def test_every_packaged_profile_passes_its_own_check(capsys: pytest.CaptureFixture[str]) -> None:
    for name in profile.packaged():
        assert run("check", name) in (show.OK, show.WARNING), name
    assert {one["name"] for one in answer(capsys, "models")} >= set(profile.packaged())


def test_new_writes_a_skeleton_that_passes_check_and_never_overwrites(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("new", "--from", "abb-b23", "--output", "mine.toml") == show.OK
    assert run("check", "mine.toml") == show.OK
    assert run("new", "--from", "abb-b23", "--output", "mine.toml") == show.FAULT
    assert "not overwritten" in capsys.readouterr().err
    assert "5B14" in answer(capsys, "new", "--from", "abb-b23")["content"]


# --- on a line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["abb-b23", "sunspec-201-204", "dzg-dvh4013"])
def test_identify_ranks_the_right_model_first(capsys: pytest.CaptureFixture[str], line: EvilMeter, name: str) -> None:
    port = becomes(line, name)
    [found] = answer(capsys, "identify", "--port", port)
    best = found["candidates"][0]
    kin = {"abb-b23": ("abb-b23", "abb-b24")}
    assert best["profile"] in kin.get(name, (name,))
    assert best["fits"] == best["points"]
    assert str(SERIAL) in best["serial"] or name == "dzg-dvh4013"


def test_scan_finds_unit_and_profile_and_leaves_the_other_settings(capsys: pytest.CaptureFixture[str], line: EvilMeter) -> None:
    port = becomes(line, "eastron-sdm630-v2", unit=105)
    [found] = answer(capsys, "scan", "--port", port, "--unit", "7", "--unit", "105")
    assert (found["unit"], found["setting"]) == (105, "9600 8N1")
    assert found["candidates"][0]["profile"] == "eastron-sdm630-v2"


def test_scan_over_all_usual_settings_is_bounded_and_says_how_long_it_may_take(
    capsys: pytest.CaptureFixture[str], line: EvilMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = becomes(line, "eastron-sdm630-v2", unit=199)
    monkeypatch.undo()
    dry = answer(capsys, "scan", "--port", port, "--dry-run")
    assert "9600 8N1" in dry["settings"] and "19200 8E1" in dry["settings"] and dry["at_most_s"] < 60
    assert answer(capsys, "scan", "--port", port, "--dry-run", "--all-units")["probes"] == 247 * len(dry["settings"])
    assert answer(capsys, "scan", "--port", port, "--baud", "9600", "--parity", "N", code=show.FAULT) == []


def test_a_device_no_profile_knows_is_still_found(capsys: pytest.CaptureFixture[str], line: EvilMeter) -> None:
    port = becomes(line, "eastron-sdm630-v2")
    line.blocks = {4: dict.fromkeys(range(200), 3), 3: {}}
    [found] = answer(capsys, "scan", "--port", port, "--unit", "1", code=show.WARNING)
    assert found["candidates"] == []


def test_watch_shows_every_point_the_step_and_the_errors(capsys: pytest.CaptureFixture[str], line: EvilMeter) -> None:
    port = becomes(line, "eastron-sdm630-v2")
    found = answer(capsys, "watch", "--port", port, "--profile", "eastron-sdm630-v2", "--count", "1")
    assert found["values"]["energy_import_wh"] == str(TRUTH["energy_import_wh"])
    assert (found["resolution_wh"], found["errors"]) == (1, 0)
    line.always = lambda ask: []
    found = answer(capsys, "watch", "--port", port, "--profile", "eastron-sdm630-v2", "--count", "1", code=show.FAULT)
    assert found["errors"] == 1 and "timeout" in found["trouble"]


@pytest.mark.parametrize(
    ("name", "fc", "area", "wanted"),
    [
        (
            "eastron-sdm630-v2",
            "4",
            "0x30-0x60",
            'energy_import_wh = { addr = 0x48, type = "f32", word_order = "big", scale = 1000 }',
        ),
        (
            "carlo-gavazzi-em340",
            "4",
            "0x20-0x60",
            'energy_import_wh = { addr = 0x34, type = "i32", word_order = "little", scale = 100 }',
        ),
        ("abb-b23", "3", "0x5000-0x5010", 'energy_import_wh = { addr = 0x5002, type = "i32", word_order = "big", scale = 10 }'),
    ],
)
def test_dump_proposes_the_profile_line_for_what_the_display_shows(
    capsys: pytest.CaptureFixture[str], line: EvilMeter, name: str, fc: str, area: str, wanted: str
) -> None:
    port = becomes(line, name)
    found = answer(capsys, "dump", area, "--fc", fc, "--port", port, "--shown", "1234.5")
    assert wanted in found["proposed"]


def test_dump_shows_what_can_be_read_and_leaves_out_what_is_refused(capsys: pytest.CaptureFixture[str], line: EvilMeter) -> None:
    port = becomes(line, "eastron-sdm630-v2")
    for addr in range(0x50, 0x60):
        line.blocks[4].pop(addr, None)  # type: ignore[attr-defined]
    found = answer(capsys, "dump", "0x46-0x5F", "--port", port)
    assert [one["addr"] for one in found["registers"]] == [f"0x{addr:04X}" for addr in range(0x46, 0x50)]
    assert found["registers"][2]["f32"] == "1234.5"
    assert run("dump", "0x46-0x4F", "--port", port, "--shown", "999999.75") == show.WARNING


def test_a_meter_behind_modbus_tcp_is_found_by_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    flags = ("--link", folder / "tty", "--load", folder / "l", "--tcp", "127.0.0.1:0", "--unit", "5")
    with Simulated("meter", folder / "c", *flags) as sim:
        port = sim.facts["tcp"].split(":")[1]
        [found] = answer(capsys, "scan", "--host", "127.0.0.1", "--tcp-port", port, "--unit", "3", "--unit", "5")
        assert (found["unit"], found["setting"]) == (5, "tcp")
        assert found["candidates"][0]["profile"] == "eastron-sdm630-v2"
        words = ("dump", "0x48-0x49", "--host", "127.0.0.1", "--tcp-port", port, "--unit", "5")
        assert [one["word"] for one in answer(capsys, *words)["registers"]] == ["449A", "5000"]
    shutil.rmtree(folder)


def test_a_port_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("identify", "--port", "/dev/ttyNOWHERE") == show.FAULT
    assert "/dev/ttyNOWHERE is not there" in capsys.readouterr().err


# --- the search itself ------------------------------------------------------------------------------------------------


def test_every_probe_is_counted_before_the_first_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    lines = survey.lines_of(profile.load(name, None) for name in profile.packaged())
    assert Line(9600, "N", 1) == lines[0] and Line(19200, "E", 1) in lines and Line(115200, "N", 1) in lines
    asked = survey.probes(lines, survey.ALL_UNITS)
    assert len(asked) == 247 * len(lines) == len(set(asked))
    assert survey.longest_s(asked) < 300


def test_a_port_nobody_can_open_is_a_fault(tmp_path: Path) -> None:
    from drivers.meters.bus import ModbusFault

    with pytest.raises(ModbusFault):
        list(survey.scan(Address(port=str(tmp_path / "no")), survey.probes([Line(9600, "N", 1)], [1])))
