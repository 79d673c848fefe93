"""BER-TLV as EMV uses it (EMV book 3, annex B): own small code for the card and the issuer."""

from __future__ import annotations

from collections.abc import Iterable


def tlv(tag: str, value: bytes | str | Iterable[bytes]) -> bytes:
    """One data object; text is hex, several values are joined."""
    if isinstance(value, str):
        data = bytes.fromhex(value)
    elif isinstance(value, bytes):
        data = value
    else:
        data = b"".join(value)
    length = bytes([len(data)]) if len(data) < 0x80 else b"\x81" + bytes([len(data)])
    return bytes.fromhex(tag) + length + data


def parse(data: bytes) -> dict[str, bytes]:
    """The data objects on the top level: tag in hex -> value. Raises ValueError; a tag that comes twice is an error."""
    found: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        tag, position = _tag(data, position)
        length, position = _length(data, position)
        if position + length > len(data):
            raise ValueError(f"{tag}: the data end inside")
        if tag in found:
            raise ValueError(f"{tag}: comes twice")
        found[tag] = data[position : position + length]
        position += length
    return found


def parse_dol(data: bytes) -> list[tuple[str, int]]:
    """A data object list: tags and lengths, in order."""
    wanted, position = [], 0
    while position < len(data):
        tag, position = _tag(data, position)
        wanted.append((tag, data[position]))
        position += 1
    return wanted


def _tag(data: bytes, position: int) -> tuple[str, int]:
    start = position
    position += 1
    if data[start] & 0x1F == 0x1F:
        while position < len(data) and data[position] & 0x80:
            position += 1
        position += 1
    return data[start:position].hex().upper(), position


def _length(data: bytes, position: int) -> tuple[int, int]:
    if position >= len(data):
        raise ValueError("a length is missing")
    first = data[position]
    if first < 0x80:
        return first, position + 1
    if first == 0x81 and position + 1 < len(data):
        return data[position + 1], position + 2
    raise ValueError("a length is longer than this code takes")
