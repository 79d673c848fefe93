"""BER-TLV and data object lists: what cards send, and what attackers send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cards import dol, tlv
from drivers.cards.apdu import exchange, with_le
from terminal_app.errors import CardMisread


def shape(objects: tuple[tlv.Tlv, ...]) -> list[object]:
    return [(one.tag, shape(one.children) if one.constructed else bytes(one.value).hex()) for one in objects]


def test_order_and_duplicates_are_kept() -> None:
    directory = bytes.fromhex("BF0C 0A 6103 4F01AA 6103 4F01BB")
    assert shape(tlv.parse(directory)) == [(0xBF0C, [(0x61, [(0x4F, "aa")]), (0x61, [(0x4F, "bb")])])]


def test_padding_between_objects_is_skipped() -> None:
    assert shape(tlv.parse(bytes.fromhex("0000 5001 41 00 FF 8701 01 FFFF"))) == [(0x50, "41"), (0x87, "01")]


def test_long_lengths() -> None:
    for head, size in (("8180", 128), ("820100", 256), ("83000100", 256)):
        found = tlv.parse(bytes.fromhex("90" + head) + bytes(size))
        assert [len(one.value) for one in found] == [size]


def test_values_go_when_the_buffer_is_wiped_and_are_never_shown() -> None:
    buffer = bytearray.fromhex("5A085413330089020011")
    (pan,) = tlv.parse(buffer)
    assert "5413330089020011" not in repr(pan)
    buffer[:] = bytes(len(buffer))
    assert bytes(pan.value) == bytes(8)


@pytest.mark.parametrize(
    ("why", "content"),
    [
        ("cut value", "5A085413"),
        ("cut length", "9F10"),
        ("cut long length", "5A82 01"),
        ("indefinite length", "7080 5A01 00 0000"),
        ("length of four bytes", "5A84 00000001 00"),
        ("cut tag", "9F"),
        ("tag of four bytes", "9F818181 01 01 00"),
        ("inner object longer than outer", "7003 5A0854"),
    ],
)
def test_malformed_is_refused(why: str, content: str) -> None:
    with pytest.raises(tlv.TlvError):
        tlv.parse(bytes.fromhex(content))


def test_bombs_are_refused() -> None:
    nested = b""
    for _ in range(9):
        nested = tlv.encode(0x70, nested)
    assert tlv.parse(nested[2:])  # eight are allowed
    for bomb in (nested, b"\x50\x00" * 257, b"\x70\x82\xff\xff" * 2000, bytes(70_000)):
        with pytest.raises(tlv.TlvError):
            tlv.parse(bomb)


@given(st.binary(max_size=300))
def test_random_bytes_are_parsed_or_refused(content: bytes) -> None:
    try:
        total = sum(len(one.value) for one in tlv.primitives(tlv.parse(content)))
        assert total <= len(content)
    except tlv.TlvError:
        pass


@given(st.lists(st.tuples(st.sampled_from([0x50, 0x5A, 0x9F26, 0x9F10, 0xDF8101]), st.binary(max_size=300)), max_size=20))
def test_what_is_encoded_comes_back(objects: list[tuple[int, bytes]]) -> None:
    coded = b"".join(tlv.encode(tag, value) for tag, value in objects)
    assert [(one.tag, bytes(one.value)) for one in tlv.parse(coded)] == objects


def test_data_object_list_pads_and_cuts_as_the_format_says() -> None:
    wanted = dol.parse(memoryview(bytes.fromhex("9F0208 9F0202 9F3702 9F3706 9F7901 7003")))
    values = {0x9F02: bytes.fromhex("000000001234"), 0x9F37: bytes.fromhex("A1B2C3D4")}
    told = dol.answer(wanted, values.get)
    assert told.hex(" ") == "00 00 00 00 00 00 12 34 12 34 a1 b2 a1 b2 c3 d4 00 00 00 00 00 00"


@pytest.mark.parametrize("content", ["9F02", "9F", "9F02FF", "9F370195" * 70])
def test_unusable_data_object_lists_are_refused(content: str) -> None:
    with pytest.raises(tlv.TlvError):
        dol.parse(memoryview(bytes.fromhex(content)))


@given(st.binary(max_size=200))
def test_random_data_object_lists_never_ask_for_more_than_an_apdu(content: bytes) -> None:
    try:
        assert len(dol.answer(dol.parse(memoryview(content)), lambda tag: b"\x01\x02")) <= 250
    except tlv.TlvError:
        pass


def test_an_endless_answer_ends() -> None:
    for status in ("6110", "6C10"):
        with pytest.raises(CardMisread, match="no end"):
            exchange(lambda command, word=status: bytearray.fromhex("AA" + word), bytes.fromhex("00B2010C00"))  # type: ignore[misc]


def test_an_answer_without_status_word_is_refused() -> None:
    for answer in (b"", b"\x90"):
        with pytest.raises(CardMisread, match="status word"):
            exchange(lambda command, said=answer: bytearray(said), bytes.fromhex("00B2010C00"))  # type: ignore[misc]


def test_le_is_replaced_in_every_case_of_command() -> None:
    assert with_le(bytes.fromhex("00B2010C00"), 0x10).hex() == "00b2010c10"
    assert with_le(bytes.fromhex("80A800000283 0000".replace(" ", "")), 0x10).hex() == "80a8000002830010"
    assert with_le(bytes.fromhex("80A80000028300"), 0x10).hex() == "80a8000002830010"
