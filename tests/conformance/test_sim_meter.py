"""The simulated SDM630 on its wire: raw bytes, pymodbus as independent master, and the faults it can be told to show."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import struct
import tempfile
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

from drivers.sim.control import SimulationError, encode
from drivers.sim.launch import Simulated

SILENCE_S = 0.5
ANSWER_S = 10.0


def crc(frame: str) -> str:
    """Bit by bit as in Modbus over Serial Line V1.02, section 6.2.2."""
    value = 0xFFFF
    for byte in bytes.fromhex(frame):
        value ^= byte
        for _ in range(8):
            value, carry = value >> 1, value & 1
            value ^= 0xA001 * carry
    return value.to_bytes(2, "little").hex().upper()


READ_IMPORT = "010400480002" + crc("010400480002")  # unit 1, FC4, register 0x48, two registers
IMPORT = "010404449A5000" + crc("010404449A5000")  # 1234.5 kWh as float32 is 449A5000


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def start(place: Path, *flags: str) -> Simulated:
    return Simulated("meter", place / "c", "--link", place / "tty", "--load", place / "l", *flags)


@pytest.fixture
def meter(place: Path) -> Iterator[Simulated]:
    with start(place, "--tcp", "127.0.0.1:0", "--serial", "305419896") as running:
        yield running


class Line:
    """A serial port without any library."""

    def __init__(self, path: Path) -> None:
        self._port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._port)

    def ask(self, request: str, size: int, wait_s: float = ANSWER_S) -> str:
        os.write(self._port, bytes.fromhex(request))
        return self.read(size, wait_s)

    def read(self, size: int, wait_s: float) -> str:
        received, deadline = b"", time.monotonic() + wait_s
        while len(received) < size and (left := deadline - time.monotonic()) > 0:
            if select.select([self._port], [], [], left)[0]:
                received += os.read(self._port, 512)
        return received.hex().upper()

    def close(self) -> None:
        os.close(self._port)


@pytest.fixture
def line(meter: Simulated, place: Path) -> Iterator[Line]:
    port = Line(place / "tty")
    yield port
    port.close()


def import_kwh(reply: str) -> float:
    return struct.unpack(">f", bytes.fromhex(reply)[3:7])[0]


def test_reading_the_import_register_byte_by_byte(line: Line) -> None:
    assert line.ask(READ_IMPORT, 9) == IMPORT


def test_request_in_two_pieces_is_one_request(line: Line) -> None:
    line.ask(READ_IMPORT[:6], 0, 0)
    assert line.ask(READ_IMPORT[6:], 9).startswith("010404")


def test_wrong_function_address_and_count_are_exceptions(line: Line) -> None:
    for request, answer in (
        ("010300480002", "018302"),
        ("010100480002", "018101"),
        ("0104F0000002", "018402"),
        ("010400000000", "018403"),
    ):
        assert line.ask(request + crc(request), 5) == answer + crc(answer)


@pytest.mark.parametrize("frame", ["020400480002" + crc("020400480002"), "010400480002" + "0000", "0104"])
def test_other_unit_and_broken_requests_stay_unanswered(line: Line, frame: str) -> None:
    assert line.ask(frame, 1, SILENCE_S) == ""
    assert line.ask(READ_IMPORT, 9).startswith("010404")


def test_pymodbus_reads_all_of_it_by_rtu_and_tcp(meter: Simulated, place: Path) -> None:
    host, port = meter.facts["tcp"].split(":")
    for client in (ModbusSerialClient(str(place / "tty"), baudrate=9600, timeout=5), ModbusTcpClient(host, port=int(port))):
        with contextlib.closing(client):
            assert client.connect()
            answer = client.read_input_registers(0x00, count=76, device_id=1)
            values = client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32)
            assert isinstance(values, list)
            assert values[:3] == [230.0] * 3
            assert (values[0x34 // 2], values[0x46 // 2], values[0x48 // 2]) == (0.0, 50.0, 1234.5)
            serial = client.read_holding_registers(0xFC00, count=2, device_id=1).registers
            assert serial[0] << 16 | serial[1] == 305_419_896
            assert client.read_holding_registers(0x48, count=2, device_id=1).exception_code == 2


def test_a_load_is_counted_until_its_wire_is_cut(meter: Simulated, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(place / "l"))
        begin_ns = time.monotonic_ns()
        wire.sendall(encode({"power_w": 3_600_000, "at_ns": begin_ns}))
        wire.sendall(encode({"power_w": 0, "at_ns": begin_ns + 1}))
        wire.sendall(encode({"power_w": 7200, "at_ns": time.monotonic_ns()}))
        time.sleep(0.6)
        assert meter.ctl("get")["power_w"] == 7200
    time.sleep(0.4)
    state = meter.ctl("get")
    assert state["power_w"] == 0
    assert 1_234_500_000 + 2 * 550 <= state["register_mwh"] < 1_234_600_000


@pytest.mark.parametrize(
    ("kind", "begins", "size"),
    [("truncated", "010404449A50", 6), ("wrong_unit", "020404", 9), ("garbage_before", "7E010404", 10), ("exception", "018404", 5)],
)
def test_faults_on_the_wire_end_when_told(meter: Simulated, line: Line, kind: str, begins: str, size: int) -> None:
    meter.ctl("fault", kind=kind, times=1)
    assert line.ask(READ_IMPORT, size).startswith(begins)
    assert line.ask(READ_IMPORT, 9) == IMPORT


def test_checksum_fault_silence_and_late_reply(meter: Simulated, line: Line) -> None:
    meter.ctl("fault", kind="crc", times=1)
    assert line.ask(READ_IMPORT, 9) != IMPORT
    meter.ctl("fault", kind="silent")
    assert line.ask(READ_IMPORT, 1, SILENCE_S) == ""
    meter.ctl("fault", kind="late", ms=600)
    assert line.ask(READ_IMPORT, 1, 0.2) == ""
    assert line.read(9, ANSWER_S) == IMPORT
    meter.ctl("fault", kind="none")
    assert line.ask(READ_IMPORT, 9) == IMPORT
    with pytest.raises(SimulationError, match="unknown"):
        meter.ctl("fault", kind="nonsense")


def test_frozen_register_nan_reset_and_another_meter(meter: Simulated, line: Line, place: Path) -> None:
    meter.ctl("freeze", on=True)
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(place / "l"))
        wire.sendall(encode({"power_w": 10_000_000}))
        time.sleep(0.6)
        assert import_kwh(line.ask(READ_IMPORT, 9)) == 1234.5
        assert meter.ctl("get")["register_wh"] > 1_234_500
    meter.ctl("freeze", on=False)
    assert import_kwh(line.ask(READ_IMPORT, 9)) > 1234.5
    meter.ctl("nan", on=True)
    assert line.ask(READ_IMPORT, 9)[6:14] == "7FC00000"
    meter.ctl("nan", on=False)
    time.sleep(0.4)
    meter.ctl("set_register")
    assert import_kwh(line.ask(READ_IMPORT, 9)) == 0
    assert meter.ctl("swap", serial=77, register_wh=5000)["serial"] == 77
    assert import_kwh(line.ask(READ_IMPORT, 9)) == 5


def test_port_pulled_out_and_plugged_in_again(meter: Simulated, place: Path) -> None:
    line = Line(place / "tty")
    meter.ctl("unplug")
    assert not (place / "tty").exists()
    with pytest.raises(OSError, match="Input/output error"):
        line.ask(READ_IMPORT, 9)
    line.close()
    meter.ctl("plug")
    for _ in range(2):  # clients come and go
        line = Line(place / "tty")
        assert line.ask(READ_IMPORT, 9).startswith("010404")
        line.close()


def test_line_speed_is_kept_when_asked_for(place: Path) -> None:
    with start(place, "--baud", "9600"):
        line = Line(place / "tty")
        begin = time.monotonic()
        reply = line.ask("01040000004C" + crc("01040000004C"), 157)
        assert len(reply) == 2 * 157
        assert time.monotonic() - begin >= (8 + 3.5 + 157) * 10 / 9600
        line.close()


def test_errors_at_the_start_say_what_to_do(place: Path) -> None:
    (place / "taken").write_text("")
    with pytest.raises(SimulationError, match="not a symbolic link; choose another name"):
        Simulated("meter", place / "c", "--link", place / "taken", "--load", place / "l")
    with pytest.raises(SimulationError, match="shorter than 100 bytes"):
        Simulated("meter", place / "c", "--link", place / "tty", "--load", place / ("x" * 100))
    (place / "s").write_text("{}")
    with pytest.raises(SimulationError, match="not the state of a meter"):
        start(place, "--state", str(place / "s"))
