"""ISO 8583 messages as bytes. The only file that imports pyiso8583 (`iso8583`).

Track 2 never becomes a `str`, which could not be overwritten: the codec sees a placeholder of the same length, and the
digits are written into the finished buffer, which the caller wipes after sending.
"""

import copy
from typing import Any

import iso8583
from iso8583.specs import default_ascii

_PLACEHOLDER = "0"


def _wire_spec() -> dict[str, dict[str, Any]]:
    """ASCII fields, binary bitmaps, DE55 as raw BER-TLV behind an ASCII LLL, no header."""
    spec: dict[str, dict[str, Any]] = copy.deepcopy({name: dict(field) for name, field in default_ascii.items()})
    spec["h"]["max_len"] = 0
    spec["p"]["data_enc"] = "b"
    spec["1"]["data_enc"] = "b"
    spec["55"].update(data_enc="b", len_enc="ascii", len_type=3, max_len=255)
    return spec


SPEC = _wire_spec()


class MalformedMessage(ValueError):
    """Bytes that are no ISO 8583 message of this wire. The text names the field, never its content."""


def encode(fields: dict[str, str], track2: bytearray | None = None) -> bytearray:
    """The message without its length header. `fields` by number, "t" = MTI. The caller wipes the result.

    `track2` is tag 57 (BCD digits, separator D, filled up with F); it becomes DE35.
    """
    if track2 is None:
        message, _ = iso8583.encode(dict(fields), SPEC)
        return message
    digits = _track2_text(track2)
    try:
        message, parts = iso8583.encode({**fields, "35": _PLACEHOLDER * len(digits)}, SPEC)
        at = 0
        for name in ["t", "p", *sorted((n for n in parts if n.isdigit()), key=int)]:
            part = parts[name]
            if name == "35":
                at += len(part["len"])
                message[at : at + len(digits)] = digits
                return message
            at += len(part["len"]) + len(part["data"])
        raise AssertionError("the codec dropped DE35")
    finally:
        wipe(digits)


def decode(message: bytes | bytearray) -> dict[str, str]:
    """Fields by number, "t" = MTI. Raises MalformedMessage."""
    try:
        fields, _ = iso8583.decode(message, SPEC)
    except iso8583.DecodeError as error:
        raise MalformedMessage(f"{error.msg}: field {error.field}") from None
    return dict(fields)


def wipe(secret: bytearray) -> None:
    """Overwrite in place (best effort: copies inside TLS and the kernel are out of reach)."""
    secret[:] = bytes(len(secret))


def _track2_text(track2: bytearray) -> bytearray:
    text = bytearray()
    for byte in track2:
        for nibble in (byte >> 4, byte & 0x0F):
            if nibble <= 9:
                text.append(0x30 + nibble)
            elif nibble == 0x0D:
                text.append(ord("D"))
            elif nibble != 0x0F:
                wipe(text)
                raise ValueError("track 2 holds a nibble that is neither digit, separator nor filler")
    if not 1 <= len(text) <= 37:
        length = len(text)
        wipe(text)
        raise ValueError(f"track 2 has {length} characters; 1 to 37 are possible")
    return text
