"""Register decoding, profiles and the reading plan. No line, no device."""

import math
import struct
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU

from drivers.meters import decode, profile
from drivers.meters.framing import Question, crc16, rtu_answer, tcp_answer
from drivers.meters.plan import Block, Planner
from drivers.meters.profile import Pace, Point
from terminal_app.errors import ConfigError

MODEL = "eastron-sdm630-v2"
words_of = st.integers(min_value=0, max_value=0xFFFF)
one = Decimal(1)

# --- decode -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "order", "scale", "value"),
    [
        ((0x449A, 0x5000), "f32", "big", "1000", "1234500"),
        ((0x5000, 0x449A), "f32", "little", "1000", "1234500"),
        ((0xFFFF,), "i16", "big", "0.1", "-0.1"),
        ((0xFFFF,), "u16", "big", "0.1", "6553.5"),
        ((0x0001, 0x0000), "u32", "big", "1", "65536"),
        ((0x0001, 0x0000), "u32", "little", "1", "1"),
        ((0xFFFF, 0xFFFE), "i32", "big", "1", "-2"),
        ((0, 0, 0, 0x00FF), "u64", "big", "10", "2550"),
        ((0x00FF, 0, 0, 0), "i64", "little", "1", "255"),
        ((0x3DCC, 0xCCCD), "f32", "big", "1", "0.100000001490116119384765625"),
        ((0x3FF0, 0, 0, 1), "f64", "big", "1", "1.0000000000000002220446049250313080847263336181640625"),
    ],
)
def test_words_mean_exactly_this(
    words: tuple[int, ...], kind: decode.WordType, order: decode.WordOrder, scale: str, value: str
) -> None:
    assert decode.number(words, kind, order, Decimal(scale)) == Decimal(value)


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0xFFC0, 1), (0x7F80, 0), (0xFF80, 0), (0xFFFF, 0xFFFF)])
def test_nan_and_infinity_are_no_reading(words: tuple[int, ...]) -> None:
    with pytest.raises(decode.NoReading):
        decode.number(words, "f32", "big", one)


def test_the_models_own_sentinel_is_no_reading() -> None:
    with pytest.raises(decode.NoReading, match="0xFFFFFFFF"):
        decode.number((0xFFFF, 0xFFFF), "u32", "big", one, (0xFFFFFFFF,))


@pytest.mark.parametrize(
    ("kwh", "step_wh"),
    [(1000.0, "0.06103515625"), (8192.0, "0.9765625"), (50_000.0, "3.90625"), (131_072.0, "15.625"), (1e6, "62.5")],
)
def test_the_step_of_a_float_register_grows_with_its_value(kwh: float, step_wh: str) -> None:
    words = struct.unpack(">HH", struct.pack(">f", kwh))
    assert decode.step(words, "f32", "big", Decimal(1000)) == Decimal(step_wh)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=0, max_value=2.0**100))
def test_the_step_is_the_distance_to_the_next_float(value: float) -> None:
    raw = struct.unpack(">I", struct.pack(">f", value))[0]
    this, following = (struct.unpack(">HH", struct.pack(">I", raw + more)) for more in (0, 1))
    distance = decode.number(following, "f32", "big", one) - decode.number(this, "f32", "big", one)
    assert math.isclose(distance, decode.step(this, "f32", "big", one)) or value == 0


@given(st.binary(max_size=300))
def test_the_checksum_is_that_of_an_independent_implementation(content: bytes) -> None:
    assert crc16(content) == FramerRTU.compute_CRC(content).to_bytes(2, "big")


@given(st.lists(words_of, max_size=9), st.sampled_from([*decode.WIDTH, "str"]), st.sampled_from(["big", "little"]))
def test_random_words_are_a_value_or_a_clear_refusal(words: list[int], kind: decode.WordType, order: decode.WordOrder) -> None:
    try:
        value = decode.number(tuple(words), kind, order, Decimal("0.001"))
        assert value.is_finite() and isinstance(decode.whole(value), int)
    except ValueError:
        pass
    try:
        assert decode.text(tuple(words)).isprintable() or not words
    except decode.NoReading:
        pass


def test_text_without_its_padding() -> None:
    assert decode.text((0x4142, 0x3120, 0x0000)) == "AB1"
    with pytest.raises(decode.NoReading):
        decode.text((0x41E9,))


# --- profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", profile.packaged())
def test_every_packaged_profile_is_sound_and_has_a_vector_for_what_it_bills(name: str) -> None:
    found = profile.load(name, None)
    assert found.billing.register in {vector.point for vector in found.vectors}
    assert found.identify


def packaged_text() -> str:
    return (Path(profile.__file__).parent / "models" / f"{MODEL}.toml").read_text()


def test_the_technicians_profile_wins_over_the_packaged_one(tmp_path: Path) -> None:
    (tmp_path / f"{MODEL}.toml").write_text(packaged_text().replace("baud = 9600", "baud = 19200"))
    assert profile.load(MODEL, tmp_path).line.baud == 19200
    assert profile.load(MODEL, tmp_path / "missing").line.baud == 9600
    own = tmp_path / "mine.toml"
    own.write_text(packaged_text())
    assert profile.load(str(own), None).sha256 == profile.load(MODEL, None).sha256


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('parity = "N"', 'parity = "X"', "[line] parity"),
        ("timeout_ms = 500", "timeout_ms = 0", "[bus] timeout_ms"),
        ("schema = 1", "schema = 2", "schema"),
        ("schema = 1", "schema = 1\ncolour = 3", "colour"),
        ("power_w = { addr = 0x34 }", "power_w = { addr = 0x49 }", "overlaps"),
        ("power_w = { addr = 0x34 }", "power_w = { addr = 0xFFFF }", "0xFFFF"),
        ("power_w = { addr = 0x34 }", "", "power_w"),
        ("power_w = { addr = 0x34 }", 'power_w = { addr = 0x34, type = "f31" }', "f31"),
        ("power_w = { addr = 0x34 }", "power_w = { addr = 0x34, scale = 0 }", "scale"),
        ('register = "energy_import_wh"', 'register = "power_w"', "[billing] register"),
        ("value = 1234500", "value = 1234501", "the words give 1234500"),
        ('point = "frequency_hz"', 'point = "voltage_l9_v"', "voltage_l9_v"),
        ("pad = 2", "pad = 2, forbidden = [[0x40, 0x48]]", "forbidden"),
        ("[points]", "[points", "is not TOML"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_key_and_reason(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / f"{MODEL}.toml"
    assert old in packaged_text()
    path.write_text(packaged_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as raised:
        profile.load(MODEL, tmp_path)
    assert says in str(raised.value) and path.name in str(raised.value)


def test_unknown_and_unreadable_profiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is .*{MODEL}"):
        profile.load("no-such-meter", tmp_path)
    with pytest.raises(ConfigError, match="absolute path"):
        profile.load("mine.toml", tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        profile.load(str(tmp_path / "mine.toml"), tmp_path)


# --- plan -------------------------------------------------------------------------------------------------------------


def pace(**changes: object) -> Pace:
    fields: dict[str, object] = {
        "timeout_ms": 500,
        "gap_ms": 20,
        "quarantine_ms": 400,
        "max_regs": 40,
        "fallback_max_regs": 6,
        "max_hole": 18,
    }
    return Pace(**{**fields, **changes})  # type: ignore[arg-type]


def point(addr: int, count: int = 2, fc: int = 4) -> Point:
    return Point(f"p{fc}_{addr}", fc, addr, count, "f32", "big", one, ())


spots = st.sets(st.integers(min_value=0, max_value=150), min_size=1, max_size=20)


@given(spots, st.integers(min_value=2, max_value=60), st.integers(min_value=0, max_value=30))
def test_every_point_is_read_once_in_blocks_within_the_models_limits(places: set[int], max_regs: int, max_hole: int) -> None:
    forbidden = ((41, 43), (90, 90))
    points = [point(3 * place) for place in places if not any(3 * place <= b and a < 3 * place + 2 for a, b in forbidden)]
    blocks = Planner(pace(max_regs=max_regs, max_hole=max_hole, fallback_max_regs=2, forbidden=forbidden)).blocks(points)
    assert sorted(one.addr for block in blocks for one in block.points) == sorted(one.addr for one in points)
    for block in blocks:
        assert block.size <= max_regs
        assert all(block.addr <= one.addr and one.end <= block.addr + block.size for one in block.points)
        assert not any(block.addr <= last and first < block.addr + block.size for first, last in forbidden)
        assert all(after.addr - before.end <= max_hole for before, after in pairwise(block.points))


def test_blocks_of_one_function_code_differ_in_length() -> None:
    planner = Planner(pace(max_hole=0, pad=2))
    points = [point(address) for address in (0, 10, 20, 30)]
    lengths = [block.size for one in points for block in planner.blocks([one])]
    assert lengths == [2, 4, 6, 8]
    assert [block.size for block in planner.blocks(points)] == lengths, "the same block keeps its length"


def test_an_unanswered_block_is_asked_again_with_another_length_that_no_other_block_has() -> None:
    planner = Planner(pace(max_hole=0, pad=2))
    first, second = point(0), point(10)
    seen = []
    for _ in range(6):
        [block], [other] = planner.blocks([first]), planner.blocks([second])
        assert block.size != other.size
        seen.append(block.size)
        planner.unanswered(block)
    assert all(before != after for before, after in pairwise(seen)) and len(set(seen)) >= 3


def test_a_refused_block_is_cut_at_its_widest_hole_and_stays_cut() -> None:
    planner = Planner(pace(fallback_max_regs=40))
    points = [point(0), point(4), point(20)]
    [whole] = planner.blocks(points)
    assert planner.refused(whole)
    assert [[one.addr for one in block.points] for block in planner.blocks(points)] == [[0, 4], [20]]


@given(spots)
def test_refusals_end(places: set[int]) -> None:
    """A meter that refuses everything is asked a bounded number of times, at the end without any padding."""
    planner = Planner(pace())
    points = [point(3 * place) for place in places]
    for _ in range(4 * len(points) + 1):
        blocks: list[Block] = planner.blocks(points)
        if not any([planner.refused(block) for block in blocks]):
            break
    else:
        raise AssertionError("never ends")
    assert all(block.size == 2 for block in planner.blocks(points))


# --- what counts as the answer to a written register ------------------------------------------------------------------


def rtu(body: bytes) -> bytes:
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


WRITTEN = Question(1, 16, 0x7040, 2, 1.0, 0.0, 0.1, (0x42, 7))
WRITTEN_ONE = Question(1, 6, 7051, 1, 1.0, 0.0, 0.1, (0x4200,))


@pytest.mark.parametrize(
    ("question", "answer"),
    [(WRITTEN, "0110704000 02"), (WRITTEN_ONE, "01061B8B4200"), (WRITTEN, "019002"), (WRITTEN_ONE, "018604")],
)
def test_the_echo_of_a_write_and_its_refusal_are_answers(question: Question, answer: str) -> None:
    frame = rtu(bytes.fromhex(answer))
    assert rtu_answer(frame, question) == (frame, b"")
    assert rtu_answer(b"\x00" + frame + b"\xff", question) == (frame, b"\x00\xff")
    tcp = b"\0\7\0\0" + len(frame[:-2]).to_bytes(2) + frame[:-2]
    assert tcp_answer(tcp, tcp[:2], question) == (tcp, b"")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (WRITTEN, "011070410002"),  # another register
        (WRITTEN, "011070400001"),  # fewer registers
        (WRITTEN, "021070400002"),  # another unit
        (WRITTEN, "010670400002"),  # another function code
        (WRITTEN_ONE, "01061B8B4201"),  # another value
        (WRITTEN_ONE, "01061B8C4200"),
        (WRITTEN, "01040400000000"),  # a late reading
    ],
)
def test_the_echo_of_another_write_is_no_answer(question: Question, answer: str) -> None:
    frame = rtu(bytes.fromhex(answer))
    assert rtu_answer(frame, question)[0] == b""
    tcp = b"\0\7\0\0" + len(frame[:-2]).to_bytes(2) + frame[:-2]
    assert tcp_answer(tcp, tcp[:2], question)[0] == b""


# --- types of single makers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "value", "step"),
    [
        ((0xFE00, 0x138A), "iskra-t5", "50.02", "0.01"),
        ((0x03FF, 0xFFFF), "iskra-t5", "16777215000", "1000"),
        ((0x00FF, 0xFFFF), "iskra-t6", "-1", "1"),
        ((0xFF80, 0x0000), "iskra-t6", "-838860.8", "0.1"),
    ],
)
def test_decade_exponent_and_24_bits(words: tuple[int, ...], kind: decode.WordType, value: str, step: str) -> None:
    assert decode.number(words, kind, "big", one) == Decimal(value)
    assert decode.step(words, kind, "big", one) == Decimal(step)


@pytest.mark.parametrize(("word", "power"), [(0, 0), (1, 1), (0xFFFE, -2), (10, 10), (0xFFF6, -10)])
def test_a_scale_factor_is_a_power_of_ten(word: int, power: int) -> None:
    assert decode.exponent(word) == power


@pytest.mark.parametrize("word", [0x8000, 11, 0xFFF5, 0x7FFF])
def test_a_scale_factor_beyond_its_range_means_no_value(word: int) -> None:
    with pytest.raises(decode.NoReading):
        decode.exponent(word)


@pytest.mark.parametrize(
    ("kind", "rule", "sentinel"),
    [
        ("u16", "max", 0xFFFF),
        ("i32", "max", 0x7FFFFFFF),
        ("u64", "max", 0xFFFFFFFFFFFFFFFF),
        ("i16", "sunspec", 0x8000),
        ("u32", "sunspec", 0xFFFFFFFF),
    ],
)
def test_the_makers_mark_for_no_value(kind: decode.WordType, rule: decode.NanRule, sentinel: int) -> None:
    assert decode.sentinels(kind, rule) == (sentinel,)
    assert decode.sentinels(kind, "none") == decode.sentinels("f32", rule) == decode.sentinels("iskra-t6", rule) == ()
