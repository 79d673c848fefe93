"""RAPI lines as the real board of the transcript (firmware D8.1.1) sent them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.evse import rapi
from drivers.evse.rapi import Receiver, Said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"$OK :02^38", Said("OK", (), 0x02)),
        (b"$OK 00 0 00 0200 :0A^79", Said("OK", ("00", "0", "00", "0200"), 0x0A)),
        (b"$NK 6 :13^2F", Said("NK", ("6",), 0x13)),
        (b"$NK^21", Said("NK", (), 0)),
        (b"$AT 00 00 0 0200^03", Said("AT", ("00", "00", "0", "0200"), 0)),
        (b"$AB 00 D8.1.1^5B", Said("AB", ("00", "D8.1.1"), 0)),
        (b"$OK :02^39", None),
        (b"$OK 00 0 00 0200 :0A", None),
        (b"relayCloseMs: 25", None),
        (b"$GS :01^00", None),
    ],
)
def test_lines_of_the_real_board(line: bytes, said: Said | None) -> None:
    assert rapi.parse(line) == said


def test_a_command_carries_its_sequence_id_and_the_boards_checksum() -> None:
    sent = rapi.command("GS", 0x0A)
    assert sent.startswith(b"$GS :0A^") and sent.endswith(b"\r")
    assert int(sent[-3:-1], 16) == rapi.xor(b"$GS :0A")
    assert all(len(rapi.command("SC 80 V", number)) <= 31 for number in range(1, 256)), "the board's buffer"


def test_notes_between_lines_are_dropped() -> None:
    stream = b"relayCloseMs: 25\r\nrelayHoldPwm: 75\r\n$AT 00 00 0 0200^03\r$OK $OK :02^38\r\n"
    assert [said.word for said in Receiver().feed(stream)] == ["AT", "OK"]


@given(st.binary(max_size=400), st.integers(min_value=1, max_value=50))
def test_any_bytes_before_a_good_line_cost_at_most_themselves(noise: bytes, slice_size: int) -> None:
    stream = noise + b"\r$OK :02^38\r"
    receiver = Receiver()
    said = [one for start in range(0, len(stream), slice_size) for one in receiver.feed(stream[start : start + slice_size])]
    assert said[-1] == Said("OK", (), 0x02)
