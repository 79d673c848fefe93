"""BER-TLV as cards send it: ordered, with duplicates and padding, every dimension limited. PURE.

Source: EMV Book 3 Annex B, ISO/IEC 7816-4 section 5.2.2. Values are memoryviews onto the answer's buffer, so that
wiping the buffer wipes every value, and no repr ever shows card bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_DEPTH = 8
MAX_TAG_BYTES = 3
MAX_LENGTH_BYTES = 3
MAX_OBJECTS = 256  # of one answer; the longest real record has about 30
MAX_BYTES = 65_536


class TlvError(ValueError):
    """The bytes are no BER-TLV within our limits. The text names the offset and the rule, never a value."""


@dataclass(frozen=True, slots=True, eq=False)
class Tlv:
    """One data object. `children` is filled for constructed tags, in the order they came, duplicates included."""

    tag: int
    value: memoryview
    children: tuple["Tlv", ...] = ()

    @property
    def constructed(self) -> bool:
        return is_constructed(self.tag)


def is_constructed(tag: int) -> bool:
    """Bit 6 of the first tag byte."""
    while tag > 0xFF:
        tag >>= 8
    return bool(tag & 0x20)


def parse(answer: bytearray | bytes | memoryview) -> tuple[Tlv, ...]:
    """All data objects of an answer. Raises TlvError on anything malformed or beyond the limits."""
    if len(answer) > MAX_BYTES:
        raise TlvError(f"more than {MAX_BYTES} bytes")
    left = [MAX_OBJECTS]
    return tuple(_objects(memoryview(answer), 0, 1, left))


def _objects(view: memoryview, start: int, depth: int, left: list[int]) -> Iterator[Tlv]:
    at = 0
    while at < len(view):
        if view[at] in (0x00, 0xFF):  # padding before, between and after objects
            at += 1
            continue
        tag, at = read_tag(view, at, start)
        length, at = _length(view, at, start)
        if at + length > len(view):
            raise TlvError(f"tag {tag:X} at offset {start + at} is longer than what holds it")
        if depth > MAX_DEPTH:
            raise TlvError(f"nested deeper than {MAX_DEPTH} at offset {start}")
        left[0] -= 1
        if left[0] < 0:
            raise TlvError(f"more than {MAX_OBJECTS} objects")
        value = view[at : at + length]
        children = tuple(_objects(value, start + at, depth + 1, left)) if is_constructed(tag) else ()
        yield Tlv(tag, value, children)
        at += length


def read_tag(view: memoryview, at: int, start: int = 0) -> tuple[int, int]:
    """The tag at `at` and the offset behind it. `start` is only added to the offset named in a TlvError."""
    begin = at
    tag = view[at]
    at += 1
    if tag & 0x1F == 0x1F:
        while True:
            if at >= len(view):
                raise TlvError(f"tag cut off at offset {start + begin}")
            if at - begin >= MAX_TAG_BYTES:
                raise TlvError(f"tag longer than {MAX_TAG_BYTES} bytes at offset {start + begin}")
            tag = tag << 8 | view[at]
            at += 1
            if not view[at - 1] & 0x80:
                break
    return tag, at


def _length(view: memoryview, at: int, start: int) -> tuple[int, int]:
    if at >= len(view):
        raise TlvError(f"length missing at offset {start + at}")
    first = view[at]
    at += 1
    if first < 0x80:
        return first, at
    count = first & 0x7F
    if not 1 <= count <= MAX_LENGTH_BYTES:  # 0x80 is the indefinite form, not allowed on cards
        raise TlvError(f"length form {first:02X} at offset {start + at - 1}")
    if at + count > len(view):
        raise TlvError(f"length cut off at offset {start + at}")
    return int.from_bytes(view[at : at + count], "big"), at + count


def without(value: memoryview, tag: int) -> Iterator[memoryview]:
    """The objects of a template's value as they came, tag and length included, but those with `tag`. `value` was parsed before."""
    at = 0
    while at < len(value):
        if value[at] in (0x00, 0xFF):
            at += 1
            continue
        found, behind = read_tag(value, at)
        length, behind = _length(value, behind, 0)
        if found != tag:
            yield value[at : behind + length]
        at = behind + length


def find(objects: Iterable[Tlv], *path: int) -> Tlv | None:
    """The first object at a path of tags from the top, e.g. find(answer, 0x6F, 0xA5, 0x9F38)."""
    here: Iterable[Tlv] = objects
    found: Tlv | None = None
    for tag in path:
        found = next((one for one in here if one.tag == tag), None)
        if found is None:
            return None
        here = found.children
    return found


def primitives(objects: Iterable[Tlv]) -> Iterator[Tlv]:
    """Every primitive object, depth first."""
    for one in objects:
        if one.constructed:
            yield from primitives(one.children)
        else:
            yield one


def encode(tag: int, value: bytes | bytearray | memoryview) -> bytes:
    """One object. Lengths up to 65535, shortest form."""
    name = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    size = len(value)
    if size < 0x80:
        length = bytes([size])
    elif size <= 0xFF:
        length = bytes([0x81, size])
    elif size <= 0xFFFF:
        length = b"\x82" + size.to_bytes(2, "big")
    else:
        raise TlvError(f"tag {tag:X}: {size} bytes are too long")
    return name + length + bytes(value)
