"""Card number out of tags 57 and 5A, in wipeable buffers only. EMV Book 3 Annex A, ISO/IEC 7813. PURE."""

from drivers.cards.apdu import wipe
from terminal_app.errors import CardMisread, CardMisreadReason

SEPARATOR, PAD = 0x0D, 0x0F


def _nibbles(value: memoryview) -> bytearray:
    out = bytearray(2 * len(value))  # made in full size: one that grows leaves copies behind
    for i, byte in enumerate(value):
        out[2 * i], out[2 * i + 1] = byte >> 4, byte & 0x0F
    if out and out[-1] == PAD:
        out.pop()
    return out


def consistent_pan(track2: memoryview, pan: memoryview | None) -> bytearray:
    """The card number as ASCII digits, from track 2 equivalent data, which must agree with tag 5A where the card has it.

    CardMisread ERROR if either is malformed or they differ. The caller wipes the result.
    """
    nibbles = _nibbles(track2)
    end = nibbles.find(SEPARATOR)
    digits = nibbles[:end]
    rest = nibbles[end + 1 :]
    other = _nibbles(pan) if pan is not None else None
    try:
        if end < 0 or not 8 <= len(digits) <= 19 or len(rest) < 7 or max(digits) > 9 or max(rest) > 9:
            raise CardMisread(CardMisreadReason.ERROR, "track 2 equivalent (57) is malformed")
        if other is not None and other != digits:
            raise CardMisread(CardMisreadReason.ERROR, "card number (5A) and track 2 (57) differ")
        text = bytearray(len(digits))
        for i, digit in enumerate(digits):
            text[i] = 0x30 + digit
        return text
    finally:
        for buffer in (nibbles, digits, rest, other or bytearray()):
            wipe(buffer)
