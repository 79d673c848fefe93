"""`EnergyMeter`: what every meter driver must do, on the simulated SDM630 (RTU, TCP) and on lines that break every rule.

The fault cases are those of meters.md section 1.5: never a wrong value, bounded time, well again by itself.
"""

import contextlib
import shutil
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from drivers.meters import profile
from drivers.meters.modbus_meter import ModbusMeter
from drivers.system import SystemClock
from terminal_app.config import MeterSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.values import MeterValue
from tests.conformance.at_once import at_once
from tests.conformance.evil_devices import EvilMeter, EvilTcp, Piece, frame, registers
from tests.conformance.sim_process import SimProcess

DEADLINE_S = 20.0
TIMEOUT_S, QUARANTINE_S = 0.35, 0.08
MODEL = "eastron-sdm630-v2"
TRUE_WH, TRUE_W = 1_234_500, 7000


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def quick(folder: Path) -> Path:
    """An override folder with the same model, answering faster than the real one."""
    packaged = Path(profile.__file__).parent / "models" / f"{MODEL}.toml"
    text = packaged.read_text().replace("timeout_ms = 500", f"timeout_ms = {TIMEOUT_S * 1000:.0f}")
    text = text.replace("quarantine_ms = 400", f"quarantine_ms = {QUARANTINE_S * 1000:.0f}")
    (folder / f"{MODEL}.toml").write_text(text)
    return folder


def wait_for_reading(meter: ModbusMeter) -> MeterValue:
    """Poll as the worker does."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return meter.read()
        except (DeviceUnavailable, DeviceMisread):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


# --- the simulated meter ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def device() -> Iterator[SimProcess]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    arguments = ("--link", str(folder / "tty"), "--load", str(folder / "load"), "--tcp", "127.0.0.1:0")
    device = SimProcess(folder, "meter", *arguments)
    yield device
    device.stop()
    shutil.rmtree(folder)


@pytest.fixture
def sim(device: SimProcess) -> SimProcess:
    device.do("fault", kind="none")
    device.do("nan", on=False)
    device.do("swap", serial=4711, register_wh=TRUE_WH)
    return device


@pytest.fixture(params=["rtu", "tcp"])
def meter(request: pytest.FixtureRequest, sim: SimProcess, quick: Path) -> Iterator[ModbusMeter]:
    if request.param == "rtu":
        section = MeterSection(profile=MODEL, port=sim.facts["port"])
    else:
        host, port = sim.facts["tcp"].split(":")
        section = MeterSection(profile=MODEL, host=host, tcp_port=int(port))
    meter = ModbusMeter(section, "meter 1", SystemClock(), quick)
    yield meter
    meter.close()


def test_identity_tells_maker_model_serial_and_resolution(meter: ModbusMeter) -> None:
    identity = meter.identity()
    assert (identity.vendor, identity.model, identity.serial) == ("Eastron", "SDM630-V2", "4711")
    assert identity.resolution_wh == 1 and len(identity.profile_sha256) == 64


def test_a_reading_is_the_register_in_wh_with_its_words_and_its_moment(meter: ModbusMeter) -> None:
    clock = SystemClock()
    before = clock.now()
    value = meter.read()
    assert (value.energy_wh, value.serial) == (TRUE_WH, "4711")
    assert "449A5000" in value.raw
    assert before.mono_ms <= value.stamp.mono_ms <= clock.now().mono_ms and value.stamp.boot_id == before.boot_id


def test_readings_follow_the_register(meter: ModbusMeter, sim: SimProcess) -> None:
    for register_wh in (1_234_501, 1_234_511, 9_999_999):
        sim.do("set_register", register_wh=register_wh)
        assert meter.read().energy_wh == register_wh


def test_a_coarse_float_register_is_told_by_its_resolution(meter: ModbusMeter, sim: SimProcess) -> None:
    sim.do("set_register", register_wh=131_072_000)
    assert meter.identity().resolution_wh == 16


def test_nan_is_no_reading(meter: ModbusMeter, sim: SimProcess) -> None:
    sim.do("nan", on=True)
    with pytest.raises(DeviceMisread):
        meter.read()
    with pytest.raises(DeviceMisread):
        meter.identity()
    sim.do("nan", on=False)
    assert meter.read().energy_wh == TRUE_WH


@pytest.mark.parametrize("kind", ["silent", "exception"])
def test_a_lasting_fault_raises_and_clears_by_itself(meter: ModbusMeter, sim: SimProcess, kind: str) -> None:
    meter.read()
    sim.do("fault", kind=kind)
    for _ in range(2):
        with pytest.raises(DeviceUnavailable):
            meter.read()
    sim.do("fault", kind="none")
    assert wait_for_reading(meter).energy_wh == TRUE_WH


def test_a_meter_swapped_during_an_outage_shows_its_own_serial_number_with_the_first_reading(
    meter: ModbusMeter, sim: SimProcess
) -> None:
    meter.read()
    sim.do("fault", kind="silent")
    with pytest.raises(DeviceUnavailable):
        meter.read()
    sim.do("swap", serial=815, register_wh=5)
    sim.do("fault", kind="none")
    value = wait_for_reading(meter)
    assert (value.serial, value.energy_wh) == ("815", 5)


# --- a serial line that breaks the rules ------------------------------------------------------------------------------


@pytest.fixture
def evil(folder: Path) -> Iterator[EvilMeter]:
    device = EvilMeter(folder / "tty")
    device.start()
    yield device
    device.stop()


def on_line(evil: EvilMeter, quick: Path, unit: int = 1) -> ModbusMeter:
    return ModbusMeter(MeterSection(profile=MODEL, port=str(evil.link), unit=unit), f"meter {unit}", SystemClock(), quick)


def other_value(pdu: bytes, count: int) -> bytes:
    """A well-formed answer with `count` registers that all say something else."""
    return bytes([pdu[0], 2 * count]) + b"\x44\x55" * count


BAD: dict[str, Callable[[EvilMeter, bytes], list[Piece]]] = {
    "silence": lambda meter, ask: [],
    "wrong crc": lambda meter, ask: [(0.0, meter.reply(ask)[:-1] + b"\x00")],
    "truncated": lambda meter, ask: [(0.0, meter.reply(ask)[:-4])],
    "other unit": lambda meter, ask: [(0.0, frame(other_value(meter.pdu(ask), ask[5]), unit=9))],
    "garbage byte before 00": lambda meter, ask: [(0.0, b"\x00" + meter.reply(ask))],
    "garbage byte before ff": lambda meter, ask: [(0.0, b"\xff" + meter.reply(ask))],
    "garbage before 7e55": lambda meter, ask: [(0.0, b"\x7e\x55" + meter.reply(ask))],
    "much garbage before": lambda meter, ask: [(0.0, b"\x55" * 30 + meter.reply(ask))],
    "garbage after": lambda meter, ask: [(0.0, meter.reply(ask) + b"\x00\xff")],
    "other function code": lambda meter, ask: [(0.0, frame(bytes([7 - ask[1], *other_value(meter.pdu(ask), ask[5])[1:]])))],
    "fewer registers": lambda meter, ask: [(0.0, frame(other_value(meter.pdu(ask), ask[5] - 1)))],
    "more registers": lambda meter, ask: [(0.0, frame(other_value(meter.pdu(ask), ask[5] + 1)))],
    "length byte lies": lambda meter, ask: [(0.0, frame(bytes([ask[1], 2 * ask[5]]) + b"\x44\x55" * (ask[5] - 1)))],
    "stale and right frame at once": lambda meter, ask: [(0.0, frame(other_value(meter.pdu(ask), 3)) + meter.reply(ask))],
    "late": lambda meter, ask: [(TIMEOUT_S * 1.2, frame(other_value(meter.pdu(ask), ask[5])))],
    "late beyond the quarantine": lambda meter, ask: [(TIMEOUT_S + QUARANTINE_S * 1.3, frame(other_value(meter.pdu(ask), ask[5])))],
    "bytes apart": lambda meter, ask: [(0.002 * n, bytes([byte])) for n, byte in enumerate(meter.reply(ask))],
    "local echo": lambda meter, ask: [(0.0, ask + meter.reply(ask))],
    "busy": lambda meter, ask: [(0.0, frame(bytes([ask[1] | 0x80, 6])))],
    "acknowledge": lambda meter, ask: [(0.0, frame(bytes([ask[1] | 0x80, 5])))],
}


def on_lines(quick: Path, cases: Iterable[Any], test: Callable[[EvilMeter, ModbusMeter, Any], None]) -> None:
    """Each case on a line of its own."""

    def run(numbered: tuple[int, Any]) -> None:
        number, case = numbered
        evil = EvilMeter(quick / f"tty{number}")
        evil.plug()
        evil.start()
        meter = on_line(evil, quick)
        try:
            test(evil, meter, case)
        finally:
            meter.close()
            evil.stop()

    at_once(enumerate(cases), run)


def test_one_bad_answer_is_survived_within_the_same_reading(quick: Path) -> None:
    late_here: list[str] = []

    def survives(evil: EvilMeter, meter: ModbusMeter, name: str) -> None:
        assert wait_for_reading(meter).energy_wh == TRUE_WH
        evil.scripts = [lambda ask: BAD[name](evil, ask)]
        try:
            value = meter.read()
        except (DeviceUnavailable, DeviceMisread):
            late_here.append(name)
            value = wait_for_reading(meter)
        assert (value.energy_wh, value.power_w) == (TRUE_WH, TRUE_W)
        assert not evil.scripts

    on_lines(quick, BAD, survives)
    assert len(late_here) <= 2, f"not a busy machine any more: {late_here}"


HARMLESS = {"garbage byte before 00", "garbage byte before ff", "garbage before 7e55", "garbage after", "bytes apart"}


def test_a_lasting_bad_line_is_a_fault_and_clears_by_itself(quick: Path) -> None:
    def heals(evil: EvilMeter, meter: ModbusMeter, name: str) -> None:
        meter.read()
        evil.always = lambda ask: BAD[name](evil, ask)
        for _ in range(2):
            with pytest.raises((DeviceUnavailable, DeviceMisread)) as raised:
                meter.read()
            assert raised.value.kind in ("timeout", "mismatch", "exception")
        evil.always = None
        value = wait_for_reading(meter)
        assert (value.energy_wh, value.power_w) == (TRUE_WH, TRUE_W)

    on_lines(quick, sorted(set(BAD) - HARMLESS), heals)


def test_line_noise_around_good_answers_costs_no_reading(quick: Path) -> None:
    def unharmed(evil: EvilMeter, meter: ModbusMeter, name: str) -> None:
        evil.always = lambda ask: BAD[name](evil, ask)
        for _ in range(4):
            assert meter.read().energy_wh == TRUE_WH

    on_lines(quick, sorted(HARMLESS), unharmed)


def test_a_refusing_device_is_told_at_once_with_its_code(quick: Path) -> None:
    def told(evil: EvilMeter, meter: ModbusMeter, code: int) -> None:
        meter.read()
        evil.always = lambda ask: [(0.0, frame(bytes([ask[1] | 0x80, code])))]
        with pytest.raises(DeviceUnavailable, match=f"exception {code}") as raised:
            meter.read()
        assert raised.value.kind == "exception"
        evil.always = None
        assert wait_for_reading(meter).energy_wh == TRUE_WH

    on_lines(quick, [1, 2, 3, 4, 11], told)


def test_a_late_reply_to_one_block_is_never_the_answer_to_another(quick: Path) -> None:
    """Every delay around timeout and quarantine; the register moves on, so a stale value would show."""

    def stays_right(evil: EvilMeter, meter: ModbusMeter, delays_ms: range) -> None:
        meter.identity()

        def late(delay: float, ask: bytes) -> list[Piece]:
            return [(delay, evil.reply(ask))] if ask[5] >= 22 else [(0.0, evil.reply(ask))]

        for step, delay_ms in enumerate(delays_ms):
            evil.scripts = [partial(late, delay_ms / 1000)]
            with contextlib.suppress(DeviceUnavailable, DeviceMisread):
                meter.read()
            assert meter.points(["frequency_hz"])["frequency_hz"] == 50
            evil.blocks = registers(1234.5 + step)
            assert wait_for_reading(meter).energy_wh == TRUE_WH + 1000 * step

    on_lines(quick, [range(50 + offset, 650, 100) for offset in (0, 25, 50, 75)], stays_right)


def test_after_a_late_answer_nothing_is_asked_until_the_line_was_silent(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    meter = on_line(evil, quick)
    meter.read()
    delay = TIMEOUT_S + QUARANTINE_S / 2
    evil.scripts = [lambda ask: [(delay, evil.reply(ask))]]
    assert meter.read().energy_wh == TRUE_WH
    asked, again = evil.heard_at[-2:]
    assert again - asked >= delay + QUARANTINE_S - 0.01
    meter.close()


class Interrupted(Exception):
    """What a signal handler raises in the middle of a question."""


def test_a_question_that_was_interrupted_leaves_no_answer_for_the_next(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    meter = on_line(evil, quick)
    meter.read()

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    def late_lie(ask: bytes) -> list[Piece]:
        signal.setitimer(signal.ITIMER_REAL, 0.04)  # in the middle of this question, not before it
        return [(0.1, frame(other_value(evil.pdu(ask), ask[5])))]

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(3):
            evil.scripts = [late_lie]
            with pytest.raises(Interrupted):
                meter.read()
            assert meter.read().energy_wh == TRUE_WH
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    meter.close()


def test_an_answer_that_comes_while_nobody_asks_is_eaten(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    meter = on_line(evil, quick)
    meter.read()
    for count in (22, 24, 2):
        evil.send(frame(other_value(b"\x04", count)))
        time.sleep(0.02)
        assert meter.read().energy_wh == TRUE_WH
    meter.close()


def test_the_port_is_missing_at_the_start(evil: EvilMeter, quick: Path) -> None:
    meter = on_line(evil, quick)
    for _ in range(2):
        with pytest.raises(DeviceUnavailable) as raised:
            meter.read()
        assert raised.value.kind == "port" and str(evil.link) in str(raised.value)
    evil.plug()
    assert wait_for_reading(meter).energy_wh == TRUE_WH
    meter.close()


def test_unplugged_in_the_middle_of_a_question_and_plugged_in_again(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    meter = on_line(evil, quick)
    meter.read()

    def pull(ask: bytes) -> list[Piece]:
        evil.unplug()
        return []

    for _ in range(3):
        evil.scripts = [pull]
        with pytest.raises(DeviceUnavailable) as raised:
            meter.read()
        assert raised.value.kind == "port"
        evil.plug()
        assert wait_for_reading(meter).energy_wh == TRUE_WH
    meter.close()


def test_unplugged_while_nobody_asks(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    meter = on_line(evil, quick)
    meter.read()
    evil.unplug()
    with pytest.raises(DeviceUnavailable):
        meter.read()
    evil.plug()
    assert wait_for_reading(meter).energy_wh == TRUE_WH
    meter.close()


def test_a_meter_that_cannot_read_over_a_hole_is_read_in_parts(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    for address in range(0x38, 0x46):
        del evil.blocks[4][address]  # type: ignore[attr-defined]
    meter = on_line(evil, quick)
    assert meter.read().energy_wh == TRUE_WH
    asked = len(evil.heard)
    assert meter.read().power_w == TRUE_W
    lengths = [struct.unpack(">H", ask[4:6])[0] for ask in evil.heard[asked:]]
    assert len(lengths) == 2 and len(set(lengths)) == 2, "split for good, in blocks of different lengths"
    meter.close()


def test_another_model_is_recognised(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    evil.blocks[4][0x46] = 0  # type: ignore[index]
    meter = on_line(evil, quick)
    with pytest.raises(DeviceMisread, match="frequency_hz"):
        meter.identity()
    meter.close()


def test_values_that_no_register_can_have_are_refused(quick: Path) -> None:
    def refused(evil: EvilMeter, meter: ModbusMeter, shown: tuple[float, float]) -> None:
        evil.blocks = registers(*shown)
        with pytest.raises(DeviceMisread):
            meter.read()

    on_lines(quick, [(-1.0, 0.0), (1e15, 0.0), (1.0, 1e12), (float("inf"), 0.0), (1.0, float("nan"))], refused)


def test_two_meters_share_one_line_and_a_dead_one_does_not_harm_the_other(evil: EvilMeter, quick: Path) -> None:
    evil.plug()
    alive, dead = on_line(evil, quick), on_line(evil, quick, unit=2)
    evil.always = lambda ask: [(0.0, evil.reply(ask))] if ask[0] == 1 else []
    for _ in range(3):
        with pytest.raises(DeviceUnavailable):
            dead.read()
        assert alive.read().energy_wh == TRUE_WH
    dead.close()
    assert alive.read().energy_wh == TRUE_WH
    alive.close()


# --- the same through a serial server and over TCP ---------------------------------------------------------------------


def test_rtu_frames_over_tcp(quick: Path) -> None:
    def survives(device: EvilMeter, unused: ModbusMeter, name: str) -> None:
        server = EvilTcp(lambda buffer: 8 if len(buffer) >= 8 else 0, device.honest)
        section = MeterSection(profile=MODEL, host="127.0.0.1", tcp_port=server.port, framing="rtu")
        meter = ModbusMeter(section, "meter 1", SystemClock(), quick)
        server.scripts = [lambda ask: BAD[name](device, ask)]
        assert wait_for_reading(meter).energy_wh == TRUE_WH
        meter.close()
        server.stop()

    on_lines(quick, BAD, survives)


def mbap(ask: bytes, pdu: bytes, tid: bytes | None = None, unit: int = 1) -> bytes:
    return (tid or ask[:2]) + struct.pack(">HHB", 0, len(pdu) + 1, unit) + pdu


def test_tcp_answers_that_belong_to_another_question_are_not_believed(folder: Path, quick: Path) -> None:
    device = EvilMeter(folder / "unused")

    def true(ask: bytes) -> bytes:
        return device.pdu(ask[6:] + b"\0\0")

    def wrong(ask: bytes) -> bytes:
        return other_value(ask[7:], ask[11])

    def cut(buffer: bytes) -> int:
        return 12 if len(buffer) >= 12 else 0

    server = EvilTcp(cut, lambda ask: [(0.0, mbap(ask, true(ask)))])
    meter = ModbusMeter(MeterSection(profile=MODEL, host="127.0.0.1", tcp_port=server.port), "meter 1", SystemClock(), quick)
    bad: list[Callable[[bytes], list[Piece]]] = [
        lambda ask: [(0.0, mbap(ask, wrong(ask), tid=b"\x77\x77"))],
        lambda ask: [(0.0, mbap(ask, wrong(ask), tid=b"\0\0"))],
        lambda ask: [(0.0, mbap(ask, wrong(ask), unit=9))],
        lambda ask: [(0.0, mbap(ask, bytes([7 - ask[7]]) + wrong(ask)[1:]))],
        lambda ask: [(0.0, mbap(ask, other_value(ask[7:], ask[11] + 1)))],
        lambda ask: [(0.0, mbap(ask, wrong(ask), tid=b"\x77\x77") + mbap(ask, true(ask)))],
        lambda ask: [(0.0, mbap(ask, true(ask))[:5]), (0.05, mbap(ask, true(ask))[5:])],
        lambda ask: [(TIMEOUT_S * 1.5, mbap(ask, wrong(ask)))],
    ]
    for script in bad:
        server.scripts = [script]
        assert wait_for_reading(meter).energy_wh == TRUE_WH
    meter.close()
    server.stop()


def test_a_host_that_is_not_there_is_a_port_fault(quick: Path) -> None:
    server = EvilTcp(lambda buffer: 0, lambda ask: [])
    server.stop()
    meter = ModbusMeter(MeterSection(profile=MODEL, host="127.0.0.1", tcp_port=server.port), "meter 1", SystemClock(), quick)
    with pytest.raises(DeviceUnavailable) as raised:
        meter.read()
    assert raised.value.kind == "port"
    meter.close()
