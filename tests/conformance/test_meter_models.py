"""Every packaged meter profile: what it reads from a device built from the register table, and how it behaves on the line.

Part of the suite in meters.md section 6; which test shows which of its twelve points: test_twelve_points.py.
"""

import random
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from drivers.meters import decode, profile
from drivers.meters.modbus_meter import ModbusMeter
from drivers.meters.plan import Planner
from drivers.sim import modbus_slave
from drivers.system import SystemClock
from terminal_app.config import MeterSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from tests.conformance.at_once import at_once
from tests.conformance.evil_devices import EvilMeter, Piece
from tests.conformance.meter_facts import FACTS, METER, SERIAL, SUNSPEC_AT, TRUTH, device, quick_copies, serial_text

MODELS = profile.packaged()
UNIT = 1


@pytest.fixture(scope="module")
def line() -> Iterator[EvilMeter]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    device_ = EvilMeter(folder / "tty")
    device_.plug()
    device_.start()
    yield device_
    device_.stop()
    shutil.rmtree(folder)


def shows(line: EvilMeter, name: str) -> None:
    """The line's device becomes this model. Register 0x0B of a Gavazzi is its code only when it is asked for alone."""
    line.blocks, line.scripts, line.always = device(name), [], None
    line.heard.clear()

    def honest(ask: bytes) -> list[Piece]:
        if ask[0] != UNIT:
            return []
        if "model_code" in FACTS[name] and ask[1:6] == b"\x04\x00\x0b\x00\x01":
            return [(0.0, modbus_slave.rtu_frame(UNIT, struct.pack(">BBH", 4, 2, TRUTH["model_code"])))]
        return [(0.0, line.reply(ask))]

    line.always = honest


@pytest.fixture(scope="module")
def own() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield quick_copies(folder)
    shutil.rmtree(folder)


def meter_of(line: EvilMeter, name: str, own: Path) -> ModbusMeter:
    section = MeterSection(profile=name, port=str(line.link), unit=UNIT, baud_rate=115200, parity="N", stop_bits=1)
    return ModbusMeter(section, "meter 1", SystemClock(), own)


def test_every_profile_has_its_facts_and_every_fact_its_profile() -> None:
    assert set(MODELS) == set(FACTS)


def on_a_line_of_its_own(name: str, test: Callable[[EvilMeter], None]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    line = EvilMeter(folder / "tty")
    line.plug()
    line.start()
    shows(line, name)
    try:
        test(line)
    finally:
        line.stop()
        shutil.rmtree(folder)


def read_and_compare(name: str, line: EvilMeter, own: Path) -> None:
    meter = meter_of(line, name, own)
    try:
        shown = meter.shown()
        assert set(shown) == set(FACTS[name]), "points of the profile that the table does not know, or the other way"
        for point, value in shown.items():
            assert value == (serial_of(name, value) if point == "serial" else TRUTH[point]), point
        value = meter.read()
        assert (value.energy_wh, value.power_w) == (TRUTH["energy_import_wh"], TRUTH["power_w"])
        assert value.serial == (serial_text(FACTS[name]["serial"]) if "serial" in FACTS[name] else "")
        assert meter.identity().resolution_wh in (1, 10, 100)
    finally:
        meter.close()
    one = profile.load(name, None)
    for ask in line.heard:
        fc, addr, size = struct.unpack(">BHH", ask[1:6])
        assert fc in (3, 4) and size <= one.bus.max_regs, "the meter is asked for no more than it stands"
        assert not any(addr <= last and first < addr + size for first, last in one.bus.forbidden)


def serial_of(name: str, like: Decimal | str) -> Decimal | str:
    text = serial_text(FACTS[name]["serial"])
    return text if isinstance(like, str) else Decimal(text)


def test_every_point_of_every_profile_is_read_right_from_a_device_whose_other_registers_lie(own: Path) -> None:
    at_once(MODELS, lambda name: on_a_line_of_its_own(name, lambda line: read_and_compare(name, line, own)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fc = 4", "fc = 3"),
        ('word_order = "little"', 'word_order = "big"'),
        ("addr = 0x34, scale = 100", "addr = 0x36, scale = 100"),
        ("addr = 0x34, scale = 100", "addr = 0x34, scale = 1000"),
        ("addr = 0x28, scale", 'addr = 0x28, type = "f32", scale'),
        (", alone = true", ""),
    ],
)
def test_a_wrong_profile_does_not_pass(line: EvilMeter, own: Path, old: str, new: str) -> None:
    """The known-bad variants of the suite above."""
    file = own / "carlo-gavazzi-em340.toml"
    good = file.read_text()
    bad = good.replace(old, new, 1)
    bad = re.sub(r"\n\[\[vectors]].*", "\n", bad, flags=re.DOTALL)  # else the embedded vectors find it already
    assert bad != good
    file.write_text(bad)
    shows(line, "carlo-gavazzi-em340")
    meter = meter_of(line, "carlo-gavazzi-em340", own)
    try:
        shown = meter.shown()
        assert any(shown.get(point) != TRUTH[point] for point in FACTS["carlo-gavazzi-em340"])
    except (DeviceMisread, DeviceUnavailable):
        pass
    finally:
        meter.close()
        file.write_text(good)


@pytest.mark.parametrize("name", MODELS)
def test_a_profile_is_sound_and_says_where_it_is_from(name: str) -> None:
    one = profile.load(name, None)
    assert one.source and one.billing.approval
    assert one.billing.register in {vector.point for vector in one.vectors}
    assert one.identify
    assert "serial" in one.points or "serial" in one.note, "what is not known is said"
    for block in Planner(one.bus).blocks(place for point in one.points.values() for place in point.registers()):
        assert block.size <= one.bus.max_regs
    text = profile.text_of(one)
    assert len(text.splitlines()) <= 80


def test_a_unit_that_reads_no_long_blocks_is_read_in_short_ones(own: Path) -> None:
    """SDM72: some read 80 registers, some only 10."""

    def read(name: str, line: EvilMeter) -> None:
        honest = line.always
        assert honest is not None
        longest = max(10, max(point.count for point in profile.load(name, None).points.values()))

        def short(ask: bytes) -> list[Piece]:
            if struct.unpack(">H", ask[4:6])[0] > longest:
                return [(0.0, modbus_slave.rtu_frame(UNIT, bytes([ask[1] | 0x80, 3])))]
            return honest(ask)

        line.always = short
        meter = meter_of(line, name, own)
        assert meter.read().energy_wh == TRUTH["energy_import_wh"]
        meter.close()

    short_ones = [name for name in MODELS if profile.load(name, None).bus.fallback_max_regs < 16]
    at_once(short_ones, lambda name: on_a_line_of_its_own(name, lambda line: read(name, line)))


# --- SunSpec ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [40_000, 50_000, 0])
def test_a_sunspec_meter_is_found_at_each_start_address(line: EvilMeter, own: Path, start: int) -> None:
    shows(line, "sunspec-201-204")
    held = device("sunspec-201-204", lies=False)[3]
    line.blocks = {3: {addr - SUNSPEC_AT + start: word for addr, word in held.items()} | {}, 4: {}}
    line.blocks[3].update({addr: line.blocks[3].get(addr, 0) for addr in range(start, start + 200)})
    meter = meter_of(line, "sunspec-201-204", own)
    assert meter.read().energy_wh == TRUTH["energy_import_wh"]
    meter.close()


@pytest.mark.parametrize("model", [201, 202, 203, 204])
def test_all_integer_models_and_models_before_them_in_the_chain(line: EvilMeter, own: Path, model: int) -> None:
    shows(line, "sunspec-201-204")
    held = device("sunspec-201-204", lies=False)[3]
    moved = {(addr + 30 if addr >= METER else addr): word for addr, word in held.items()}
    moved |= {METER: 17, METER + 1: 28} | {METER + 30: model}
    line.blocks = {3: dict.fromkeys(range(SUNSPEC_AT, SUNSPEC_AT + 300), 0) | moved, 4: {}}
    meter = meter_of(line, "sunspec-201-204", own)
    assert meter.read().energy_wh == TRUTH["energy_import_wh"]
    meter.close()


def test_points_a_model_does_not_implement_are_left_out_and_the_rest_is_read(line: EvilMeter, own: Path) -> None:
    shows(line, "sunspec-201-204")
    for phase in (9, 10, 4, 5):
        line.blocks[3][METER + phase] = 0x8000  # type: ignore[index]
    meter = meter_of(line, "sunspec-201-204", own)
    shown = meter.shown()
    assert "voltage_l1_v" in shown and "voltage_l2_v" not in shown
    meter.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({SUNSPEC_AT: 0}, "SunS"),
        ({METER: 103}, "none of the models"),
        ({METER + 1: 40}, "too short"),
        ({METER + 54: 0x8000}, "scale factor"),
        ({METER + 54: 77}, "scale factor"),
    ],
)
def test_a_chain_that_has_no_meter_is_told(line: EvilMeter, own: Path, change: dict[int, int], says: str) -> None:
    shows(line, "sunspec-201-204")
    for addr in (50_000, 0):
        line.blocks[3].pop(addr, None)  # type: ignore[attr-defined]
    line.blocks[3].update(change)  # type: ignore[attr-defined]
    meter = meter_of(line, "sunspec-201-204", own)
    with pytest.raises(DeviceMisread, match=says):
        meter.identity()
    meter.close()


def test_another_meter_after_an_outage_is_searched_anew(line: EvilMeter, own: Path) -> None:
    shows(line, "sunspec-201-204")
    meter = meter_of(line, "sunspec-201-204", own)
    assert meter.read().serial == f"S{SERIAL}"
    honest, line.always = line.always, lambda ask: []
    with pytest.raises(DeviceUnavailable):
        meter.read()
    line.always = honest
    held = device("sunspec-201-204", lies=False)[3]
    moved = {(addr + 30 if addr >= METER else addr): word for addr, word in held.items()}
    line.blocks = {3: dict.fromkeys(range(SUNSPEC_AT, SUNSPEC_AT + 300), 0) | moved | {METER: 17, METER + 1: 28}, 4: {}}
    assert meter.read().energy_wh == TRUTH["energy_import_wh"]
    meter.close()


def test_a_late_answer_that_passes_as_a_header_is_found_out(line: EvilMeter, own: Path) -> None:
    """The chain says another place once; the second look does not."""
    shows(line, "sunspec-201-204")
    honest = line.always
    assert honest is not None
    lies = [True]

    def once(ask: bytes) -> list[Piece]:
        if ask[2:6] == struct.pack(">HH", METER, 2) and lies:
            lies.clear()
            return [(0.0, modbus_slave.rtu_frame(UNIT, struct.pack(">BBHH", 3, 4, 203, 90)))]
        return honest(ask)

    line.always = once
    meter = meter_of(line, "sunspec-201-204", own)
    with pytest.raises(DeviceMisread, match="second time"):
        meter.read()
    assert meter.read().energy_wh == TRUTH["energy_import_wh"]
    meter.close()


# --- decode never crashes ---------------------------------------------------------------------------------------------


def rounds() -> list[object]:
    return [pytest.param(20_000, id="small"), pytest.param(1_000_000, id="million", marks=pytest.mark.full)]


@pytest.mark.parametrize("count", rounds())
def test_random_words_are_a_value_or_no_reading(count: int) -> None:
    """Every point of every profile in turn, with random words and with the words that makers use as marks."""
    chance = random.Random(20_261_123)
    points = [point for name in MODELS for point in profile.load(name, None).points.values()]
    marks = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FC0, 0x7F80)
    used = 0
    while used < count:
        point = points[used % len(points)]
        size = sum(place.count for place in point.registers())
        words = tuple(chance.choice(marks) if chance.random() < 0.3 else chance.getrandbits(16) for _ in range(size))
        used += size
        try:
            value = point.value(words)
            if isinstance(value, Decimal):
                assert value.is_finite() and isinstance(decode.whole(value), int)
                assert point.step(words) > 0
        except decode.NoReading:
            pass
