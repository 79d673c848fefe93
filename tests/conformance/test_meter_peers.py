"""Independent implementations on the other end of the line: a libmodbus slave (C), mbpoll (C) and pysunspec2.

Point 5 of the suite in meters.md section 6. What is missing on this machine is skipped with its reason;
scripts/setup.sh test installs all of it.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import threading
import tty
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from drivers.meters import profile
from drivers.meters.modbus_meter import ModbusMeter
from drivers.sim import modbus_slave
from drivers.sim.launch import Simulated
from drivers.system import SystemClock
from terminal_app.config import MeterSection
from tests.conformance.at_once import at_once
from tests.conformance.evil_devices import EvilTcp
from tests.conformance.meter_facts import FACTS, TRUTH, device, quick_copies, serial_text

SOURCE = Path(__file__).with_name("libmodbus_slave.c")
MODELS = profile.packaged()

needs_mbpoll = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed (apt: mbpoll)")
needs_pysunspec2 = pytest.mark.skipif(find_spec("sunspec2") is None, reason="pysunspec2 is not installed (pip)")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield quick_copies(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def slave_program(place: Path) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    program = place / "slave"
    built = subprocess.run(
        ["gcc", "-Wall", "-Werror", "-I/usr/include/modbus", "-o", program, SOURCE, "-lmodbus"], capture_output=True, text=True
    )
    if built.returncode and "modbus.h" in built.stderr:
        pytest.skip("libmodbus is not installed (apt: libmodbus-dev)")
    assert built.returncode == 0, built.stderr
    return program


class Slave:
    """The C program with the registers of a model."""

    def __init__(self, program: Path, name: str, *arguments: str) -> None:
        self._process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        for fc, block in device(name).items():
            self._process.stdin.writelines(f"{fc} {addr} {word}\n" for addr, word in block.items() if addr < 0xFFFF)
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        ready = self._process.stdout.readline().split()
        assert ready[:1] == ["ready"], "the slave did not start"
        self.port = int(ready[1])

    def __enter__(self) -> "Slave":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def mbpoll(*arguments: str) -> list[int]:
    """The words that mbpoll reads, once, 0-based addresses."""
    done = subprocess.run(["mbpoll", "-0", "-1", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(word, 16) for word in re.findall(r"^\[\d+\]:\s+0x([0-9A-F]{4})", done.stdout, re.MULTILINE)]


def test_a_libmodbus_slave_of_every_model_is_read_as_it_is(slave_program: Path, place: Path) -> None:
    def read(name: str) -> None:
        with Slave(slave_program, name, "tcp") as slave:
            meter = ModbusMeter(MeterSection(profile=name, host="127.0.0.1", tcp_port=slave.port), "meter 1", SystemClock(), place)
            value = meter.read()
            assert (value.energy_wh, value.power_w) == (TRUTH["energy_import_wh"], TRUTH["power_w"])
            assert value.serial == (serial_text(FACTS[name]["serial"]) if "serial" in FACTS[name] else "")
            shown = meter.shown()
            for point in set(FACTS[name]) - {"serial", "model_code"}:  # the code has its own place in no block
                assert shown[point] == TRUTH[point], point
            meter.close()

    at_once(MODELS, read)


@needs_mbpoll
@pytest.mark.parametrize("name", ["eastron-sdm630-v2", "abb-b23", "carlo-gavazzi-em580", "sunspec-201-204"])
def test_the_evidence_words_are_those_mbpoll_reads(slave_program: Path, place: Path, name: str) -> None:
    at = FACTS[name]["energy_import_wh"]
    size = {"f": 2, "I": 2, "Q": 4, "q": 4}[at.kind[0]]
    with Slave(slave_program, name, "tcp") as slave:
        kind = "4:hex" if at.fc == 3 else "3:hex"
        words = mbpoll("-m", "tcp", "-p", str(slave.port), "-t", kind, "-r", str(at.addr), "-c", str(size), "127.0.0.1")
        meter = ModbusMeter(MeterSection(profile=name, host="127.0.0.1", tcp_port=slave.port), "meter 1", SystemClock(), place)
        raw = meter.read().raw.split()[0]
        meter.close()
    assert raw.startswith(f"{at.fc}:{at.addr:04X}=" + "".join(f"{word:04X}" for word in words))


def test_a_libmodbus_slave_on_a_serial_line(slave_program: Path, place: Path) -> None:
    (ours, our_name), (theirs, their_name) = [(master, os.ttyname(slave)) for master, slave in (pty.openpty(), pty.openpty())]
    for end in (ours, theirs):
        tty.setraw(end)
    stop = threading.Event()

    def cable() -> None:
        while not stop.is_set():
            for end in select.select([ours, theirs], [], [], 0.05)[0]:
                os.write(theirs if end == ours else ours, os.read(end, 512))

    wire = threading.Thread(target=cable, daemon=True)
    wire.start()
    try:
        with Slave(slave_program, "eastron-sdm630-v2", "rtu", their_name, "7"):
            meter = ModbusMeter(MeterSection(profile="eastron-sdm630-v2", port=our_name, unit=7), "meter 1", SystemClock(), place)
            assert meter.read().energy_wh == TRUTH["energy_import_wh"]
            assert meter.identity().serial == serial_text(FACTS["eastron-sdm630-v2"]["serial"])
            meter.close()
    finally:
        stop.set()
        wire.join(10)


@needs_mbpoll
def test_mbpoll_reads_our_simulated_meter_on_both_lines(place: Path) -> None:
    with Simulated(
        "meter", place / "c", "--link", place / "tty", "--load", place / "l", "--tcp", "127.0.0.1:0", "--register-wh", "1234500"
    ) as sim:
        port = sim.facts["tcp"].split(":")[1]
        assert mbpoll("-m", "tcp", "-p", port, "-t", "3:hex", "-r", "72", "-c", "2", "127.0.0.1") == [0x449A, 0x5000]
        serial = ("-m", "rtu", "-a", "1", "-b", "9600", "-P", "none", "-t", "3:hex", "-r", "72", "-c", "2", str(place / "tty"))
        assert mbpoll(*serial) == [0x449A, 0x5000]


# --- SunSpec ----------------------------------------------------------------------------------------------------------


def sunspec_peer(port: int, unit: int):  # type: ignore[no-untyped-def]
    import sunspec2.modbus.client as client

    peer = client.SunSpecModbusClientDeviceTCP(slave_id=unit, ipaddr="127.0.0.1", ipport=port)
    peer.scan()
    return peer


@needs_pysunspec2
@pytest.mark.parametrize(("name", "model"), [("sunspec-201-204", 203), ("sunspec-211-214", 213)])
def test_pysunspec2_finds_the_same_model_and_values(place: Path, name: str, model: int) -> None:
    blocks = device(name)

    def honest(ask: bytes) -> list[tuple[float, bytes]]:
        body = modbus_slave.answer(ask[7:], blocks)
        return [(0.0, ask[:4] + (len(body) + 1).to_bytes(2) + ask[6:7] + body)]

    server = EvilTcp(lambda buffer: 12 if len(buffer) >= 12 else 0, honest)
    try:
        peer = sunspec_peer(server.port, 1)
        theirs = peer.models[model][0]
        energy, power, serial = theirs.TotWhImp.cvalue, theirs.W.cvalue, peer.models[1][0].SN.value
        peer.close()
        meter = ModbusMeter(MeterSection(profile=name, host="127.0.0.1", tcp_port=server.port), "meter 1", SystemClock(), place)
        ours = meter.read()
        meter.close()
    finally:
        server.stop()
    assert (ours.energy_wh, ours.power_w, ours.serial) == (energy, power, serial)


@needs_pysunspec2
def test_pysunspec2_walks_our_simulated_bsm(place: Path) -> None:
    flags = ("--model", "bsm-ws36a", "--unit", "42", "--tcp", "127.0.0.1:0", "--register-wh", "1234500")
    with Simulated("meter", place / "cb", "--link", place / "ttyb", "--load", place / "lb", *flags) as sim:
        port = int(sim.facts["tcp"].split(":")[1])
        peer = sunspec_peer(port, 42)
        chain = [key for key in peer.models if isinstance(key, int)]
        assert chain[:5] == [1, 10, 17, 203, 64900] and 64901 in chain and 64903 in chain
        energy = peer.models[203][0].TotWhImp.cvalue
        peer.close()
        section = MeterSection(profile="bauer-bsm-ws36a", host="127.0.0.1", tcp_port=port, unit=42)
        meter = ModbusMeter(section, "meter 1", SystemClock(), place)
        assert meter.read().energy_wh == energy == 1_234_500
        meter.close()
        by_chain = ModbusMeter(
            MeterSection(profile="sunspec-201-204", host="127.0.0.1", tcp_port=port, unit=42), "meter 1", SystemClock(), place
        )
        assert by_chain.read().energy_wh == energy
        by_chain.close()
