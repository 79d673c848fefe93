"""Data object lists (PDOL, CDOL1): what the card wants to be told, as tag and length pairs. EMV Book 3 section 5.4. PURE."""

from collections.abc import Callable

from drivers.cards.tlv import TlvError, is_constructed, read_tag

MAX_ENTRIES = 64
MAX_ANSWER_BYTES = 250  # a short APDU, less the template around the PDOL answer

# Format n: padded with zeros and cut on the left. Every other format: on the right. (EMV Book 3 Annex A)
NUMERIC = frozenset(
    (0x5F24, 0x5F25, 0x5F28, 0x5F2A, 0x5F30, 0x5F34, 0x5F36, 0x9A, 0x9C, 0x9F01, 0x9F02, 0x9F03, 0x9F11, 0x9F15)
    + (0x9F1A, 0x9F21, 0x9F35, 0x9F39, 0x9F3C, 0x9F3D, 0x9F41, 0x9F42, 0x9F44)
)

Source = Callable[[int], bytes | None]


def parse(data: memoryview) -> list[tuple[int, int]]:
    """(tag, length) in order. TlvError if it is cut off, too long or asks for more than one APDU can carry."""
    entries: list[tuple[int, int]] = []
    at = total = 0
    while at < len(data):
        tag, at = read_tag(data, at)
        if at >= len(data):
            raise TlvError(f"data object list: no length for tag {tag:X}")
        entries.append((tag, data[at]))
        total += data[at]
        at += 1
        if len(entries) > MAX_ENTRIES or total > MAX_ANSWER_BYTES:
            raise TlvError(f"data object list asks for more than {MAX_ENTRIES} objects or {MAX_ANSWER_BYTES} bytes")
    return entries


def answer(entries: list[tuple[int, int]], source: Source) -> bytes:
    """The values one after another, each exactly as long as asked for; what is not known is zeros (as the standard says)."""
    out = bytearray()
    for tag, length in entries:
        value = b"" if is_constructed(tag) else (source(tag) or b"")
        if tag in NUMERIC:
            out += value[-length:].rjust(length, b"\x00") if length else b""
        else:
            out += value[:length].ljust(length, b"\x00")
    return bytes(out)
