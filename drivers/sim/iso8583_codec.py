"""ISO 8583-1:1987 with ASCII fields, binary bitmaps and a binary DE55: own code, the host's side."""

from __future__ import annotations

from dataclasses import dataclass, field


class FormatError(ValueError):
    """The bytes are not a message of this dialect; the text names the field and never shows its content."""


@dataclass(frozen=True)
class Format:
    """`length` digits or characters; with `prefix` the length stands before it in so many ASCII digits."""

    length: int
    prefix: int = 0
    numeric: bool = False
    binary: bool = False


def _n(length: int) -> Format:
    return Format(length, numeric=True)


FORMATS: dict[int, Format] = {
    2: Format(19, prefix=2, numeric=True),
    3: _n(6),
    4: _n(12),
    7: _n(10),
    11: _n(6),
    12: _n(6),
    13: _n(4),
    14: _n(4),
    18: _n(4),
    22: _n(3),
    23: _n(3),
    25: _n(2),
    35: Format(37, prefix=2),
    37: Format(12),
    38: Format(6),
    39: Format(2),
    41: Format(8),
    42: Format(15),
    48: Format(999, prefix=3),
    49: _n(3),
    55: Format(255, prefix=3, binary=True),
    60: Format(999, prefix=3),
    70: _n(3),
    90: _n(42),
}


@dataclass
class Message:
    """MTI and fields; DE55 is hex text in memory."""

    mti: str
    fields: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:  # a message may hold track data
        return f"Message({self.mti}, fields {sorted(self.fields)})"


def pack(message: Message) -> bytes:
    bitmap, body = 0, b""
    for number in sorted(message.fields):
        bitmap |= 1 << (128 - number)
        body += _packed(number, message.fields[number])
    if bitmap & (1 << 64) - 1:
        bitmap |= 1 << 127
        return message.mti.encode() + bitmap.to_bytes(16, "big") + body
    return message.mti.encode() + (bitmap >> 64).to_bytes(8, "big") + body


def _packed(number: int, value: str) -> bytes:
    form = FORMATS[number]
    data = bytes.fromhex(value) if form.binary else value.encode("ascii")
    if len(data) > form.length or (not form.prefix and len(data) != form.length):
        raise FormatError(f"DE{number}: {len(data)} characters, {form.length} fit")
    return f"{len(data):0{form.prefix}d}".encode() + data if form.prefix else data


def unpack(data: bytes) -> Message:
    """Raises FormatError."""
    mti = data[:4].decode("latin-1")
    if len(data) < 12 or not (mti.isascii() and mti.isdigit()):
        raise FormatError("no message type and bitmap at the start")
    size = 16 if data[4] & 0x80 else 8
    bitmap = int.from_bytes(data[4 : 4 + size].ljust(16, b"\0"), "big")
    position, message = 4 + size, Message(mti)
    for number in range(2, 129):
        if bitmap >> (128 - number) & 1:
            message.fields[number], position = _unpacked(number, data, position)
    if position != len(data):
        raise FormatError(f"{len(data) - position} bytes are left over after the last field")
    return message


def _unpacked(number: int, data: bytes, position: int) -> tuple[str, int]:
    form = FORMATS.get(number)
    if form is None:
        raise FormatError(f"DE{number}: not a field of this dialect")
    length = form.length
    if form.prefix:
        digits = data[position : position + form.prefix]
        position += form.prefix
        if len(digits) != form.prefix or not digits.isdigit():
            raise FormatError(f"DE{number}: the length is not {form.prefix} digits")
        length = int(digits)
        if length > form.length:
            raise FormatError(f"DE{number}: length {length}, at most {form.length}")
    value = data[position : position + length]
    if len(value) != length:
        raise FormatError(f"DE{number}: the message ends inside")
    if form.binary:
        return value.hex().upper(), position + length
    if not value.isascii() or (form.numeric and not value.isdigit()):
        raise FormatError(f"DE{number}: not {'digits' if form.numeric else 'ASCII'}")
    return value.decode("ascii"), position + length
