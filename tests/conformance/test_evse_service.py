"""Charge controllers as operator and technician meet them: terminal.toml, `config check`, `evse status | watch`, one wire."""

import itertools
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.evse.evse_wb import EvseWb
from drivers.evse.open import open_control
from drivers.evse.relay import Relay
from drivers.meters.modbus_meter import ModbusMeter
from drivers.sim import evse_boards, evse_modbus, modbus_slave
from drivers.sim.launch import Simulated
from drivers.system import SystemClock
from terminal_app import config
from terminal_app.config import EvseWbSection, MeterSection
from terminal_app.errors import ConfigError
from terminal_app.values import Pilot
from tests.conformance.evil_devices import EvilLine, registers
from tests.service_tool import Tool, answering
from tests.sessions import Paper, runtime_dir, site_files

EXAMPLE = Path(__file__).parents[2] / "systemd" / "terminal.toml.example"
SECTIONS = {
    "openevse": config.OpenEvseSection,
    "evse-wb": config.EvseWbSection,
    "phoenix-charx": config.PhoenixCharxSection,
    "phoenix-em": config.PhoenixEmSection,
    "relay": config.RelaySection,
}
DEADLINE_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with runtime_dir() as runtime:
        yield site_files(tmp_path, runtime)


@pytest.fixture
def tool(path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(path, capsys)


def with_evse(path: Path, *lines: str) -> Path:
    """The same terminal with another section [evse.main]."""
    old = '[evse.main]\ndriver = "openevse"\nport = "evse-port"\n'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, "\n".join(("[evse.main]", *lines, ""))))
    return path


# --- terminal.toml ----------------------------------------------------------------------------------------------------


def example_blocks() -> dict[str, list[str]]:
    """The alternatives that the example shows as comments: driver -> its lines."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for whole in EXAMPLE.read_text().splitlines():
        if not whole.startswith("#"):
            lines = []  # the block has ended; other alternatives may follow elsewhere
        if not (shown := re.match(r"#   (\w+ = .*)$", whole)):
            continue
        line = shown[1]
        if line.startswith("driver = "):
            lines = found.setdefault(line.split('"')[1], [])
        lines.append(line)
    return found


@pytest.mark.parametrize("driver", ["evse-wb", "phoenix-charx", "phoenix-em", "relay"])
def test_the_example_shows_every_key_of_every_controller(path: Path, driver: str) -> None:
    block = example_blocks()[driver]
    assert [line.split(" = ")[0] for line in block] == ["driver", *SECTIONS[driver].__struct_fields__]
    loaded = config.load(with_evse(path, *block)).evse["main"]
    assert isinstance(loaded, SECTIONS[driver])
    open_control(loaded, "evse.main", SystemClock()).close()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['driver = "evse_wb"'], r"\[evse\.main\] driver: Invalid value 'evse_wb'"),
        (['driver = "evse-wb"'], r"\[evse\.main\]: give either port \(serial\) or host"),
        (['driver = "evse-wb"', 'port = "a"', 'host = "b"'], r"\[evse\.main\]: give either port \(serial\) or host"),
        (['driver = "evse-wb"', 'port = "meter-port"'], "same controller meter-port unit 1"),
        (['driver = "phoenix-charx"', 'host = "a"'], r"\[evse\.main\]: Object missing required field `connector`"),
        (['driver = "phoenix-em"', 'host = "a"', 'model = "x"'], r"\[evse\.main\] model: Invalid enum value 'x'"),
        (['driver = "relay"', 'chip = "a"', "line = 1"], r"\[evse\.main\]: Object missing required field `current_a`"),
        (['driver = "relay"', 'chip = "a"', "line = 1", "current_a = 16", "pilot_line = 1"], "must be different lines"),
        (['driver = "openevse"', 'port = "a"', "unit = 1"], r"\[evse\.main\]: Object contains unknown field `unit`"),
    ],
)
def test_a_wrong_controller_is_named_with_its_section_and_key(path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config.load(with_evse(path, *lines))


def test_two_connectors_may_share_a_line_but_not_a_controller(path: Path) -> None:
    block = path.read_text().split("[[connector]]")[1].split("[meter.main]")[0]
    second = block.replace("number = 1", "number = 2").replace("E0001", "E0002").replace('"main"', '"b"')
    more = '[meter.b]\nprofile = "eastron-sdm630-v2"\nport = "meter-port"\nunit = 2\n\n'
    more += '[evse.b]\ndriver = "evse-wb"\nport = "meter-port"\n'
    with_evse(path, 'driver = "evse-wb"', 'port = "meter-port"', "unit = 11")
    text = (
        path.read_text()
        .replace("[meter.main]", f"[[connector]]{second}[meter.main]")
        .replace("[reader]", f"{more}unit = 12\n\n[reader]")
    )
    path.write_text(text)
    assert len(config.load(path).connector) == 2
    path.write_text(text.replace("unit = 12", "unit = 11"))
    with pytest.raises(ConfigError, match="same controller meter-port unit 11 as number 1"):
        config.load(path)


# --- the technician's tool --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", list(SECTIONS))
def test_config_check_says_which_controllers_cannot_guard_themselves(path: Path, tool: Tool, driver: str) -> None:
    if driver != "openevse":
        with_evse(path, *example_blocks()[driver])
    _, found = tool.json("config", "check")
    said = {one["where"]: one for one in found["remarks"] if one["where"].startswith("[evse.main]")}
    assert said["[evse.main]"]["state"] == "warning" and "cannot guard itself" in said["[evse.main]"]["says"]
    assert ("[evse.main] power-up" in said) == (driver == "openevse" or driver.startswith("phoenix"))
    assert ("[evse.main] port" in said or "[evse.main] chip" in said) == (not driver.startswith("phoenix"))


@pytest.fixture
def board() -> Iterator[Simulated]:
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as name:
        folder = Path(name)
        wires = ("--link", folder / "tty", "--load", folder / "load", "--cable", folder / "cable")
        with Simulated("evse", folder / "ctl", "--kind", "evse-wb", *wires) as board:
            yield board


def test_the_controller_itself_is_asked_while_no_core_runs(path: Path, tool: Tool, board: Simulated) -> None:
    Paper(path).close()
    with_evse(path, 'driver = "evse-wb"', f'port = "{board.facts["port"]}"')
    code, (row,) = tool.json("evse", "status")
    assert code == 0, row
    assert (row["driver"], row["source"], row["pilot"], row["relay"], row["authorized"]) == (
        "evse-wb",
        "controller",
        "A",
        False,
        False,
    )
    assert board.ctl("get")["allowed_a"] == 0  # with the core stopped nothing is paid for
    code, text = tool("evse", "status")
    assert code == 0 and "no car" in text and "not authorized" in text
    code, text = tool("evse", "watch", "--count", "1", "--json")
    assert code == 0 and '"changes": 0' in text
    board.ctl("fault", kind="silent")
    code, (row,) = tool.json("evse", "status")
    assert code == 2 and row["pilot"] is None and row["trouble"].startswith("timeout")
    code, _ = tool("evse", "status", "--connector", "2")
    assert code == 2 and "there is no connector 2" in tool.stderr


def test_beside_a_core_its_newest_word_is_told_and_the_controller_left_alone(path: Path, tool: Tool) -> None:
    site = Paper(path)
    site.evse(Pilot.B)
    with answering(site):
        code, (row,) = tool.json("evse", "status")
        assert code == 0, row
        assert (row["source"], row["driver"], row["pilot"], row["relay"], row["trouble"]) == ("core", "openevse", "B", False, "")
    site.close()


# --- one wire ---------------------------------------------------------------------------------------------------------


def request_size(buffer: bytes) -> int:
    return 8 if len(buffer) >= 8 else 0


def test_meter_and_controller_share_one_line_from_two_threads(tmp_path: Path) -> None:
    """Every answer reaches who asked, and the controller gets its 100 ms of rest before each of its questions."""
    board, meter = evse_boards.EvseWb(), registers()

    def both(request: bytes) -> list[tuple[float, bytes]]:
        unit, pdu = request[0], request[1:-2]
        body = evse_modbus.answer(pdu, board) if unit == 11 else modbus_slave.answer(pdu, meter)
        return [(0.0, modbus_slave.rtu_frame(unit, body))]

    line = EvilLine(tmp_path / "tty", request_size, both)
    line.plug()
    line.start()
    evse = EvseWb(EvseWbSection(port=str(line.link), unit=11), "evse.main", SystemClock())
    reader = ModbusMeter(MeterSection(profile="eastron-sdm630-v2", port=str(line.link)), "meter.main", SystemClock())
    wrong: list[object] = []
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            value = reader.read()
            if (value.energy_wh, value.power_w, value.serial) != (1_234_500, 7000, "4711"):
                wrong.append(value)

    thread = threading.Thread(target=read_on)
    evse.status()
    thread.start()
    try:
        for limit_a in (6, 16):
            evse.authorize(limit_a)
            status = evse.status()
            assert status.authorized and status.limit_a == limit_a and board.allowed_a == limit_a
        evse.revoke()
        assert board.allowed_a == 0
    finally:
        done.set()
        thread.join(DEADLINE_S)
        reader.close()
        evse.close()
        line.stop()
    assert not wrong
    asked = list(zip(line.heard, line.heard_at, strict=True))
    rests = [at - before for (_, before), (request, at) in itertools.pairwise(asked) if request[0] == 11]
    assert rests and min(rests) >= 0.09


def test_meter_controller_and_car_agree_on_the_energy() -> None:
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as name:
        folder = Path(name)
        with (
            Simulated("meter", folder / "m", "--link", folder / "mt", "--load", folder / "load") as meter,
            Simulated(
                "evse", folder / "e", "--kind", "phoenix-em", "--tcp", "127.0.0.1:0", "--load", folder / "load",
                "--cable", folder / "cable", "--max-power-w", "4000000",
            ) as board,
            Simulated("car", folder / "c", "--cable", folder / "cable", "--power-w", "5000000", "--plugged") as car,
        ):  # fmt: skip
            began = meter.ctl("get")["register_mwh"]
            host, _, port = board.facts["tcp"].rpartition(":")
            section = config.PhoenixEmSection(model="em-cp-pp-eth", host=host, tcp_port=int(port))
            evse = open_control(section, "evse.main", SystemClock())
            evse.status()
            evse.authorize(12)
            until = time.monotonic() + DEADLINE_S
            while car.ctl("get")["energy_mwh"] < 100_000 and time.monotonic() < until:
                time.sleep(0.02)
            evse.close()
            time.sleep(0.3)  # the meter's registers follow 0.2 s behind
            drawn = car.ctl("get")["lifetime_mwh"]
            assert drawn >= 100_000 and board.ctl("get")["energy_mwh"] == drawn
            assert abs(meter.ctl("get")["register_mwh"] - began - drawn) <= 1


def test_a_relay_is_a_controller_like_any_other() -> None:
    section = config.RelaySection(chip="/dev/gpiochip-none", line=1, current_a=16)
    assert isinstance(open_control(section, "evse.main", SystemClock()), Relay)
