"""RAPI framing, the terminal's side. PURE. Source: OpenEVSE firmware rapi_proc.h; a transcript of firmware D8.1.1.

A line is `$words :SS^XK` and a carriage return: SS = sequence id 01..FF, echoed in the reply, XK = XOR of all bytes
before `^`. The board also prints notes without `$` in the stream (`relayCloseMs: 25`) and unasked lines ($AT, $AB, $AN).
"""

import re
from typing import NamedTuple

LINE_LIMIT = 96
_LINE = re.compile(
    rb"^\$(?P<word>OK|NK|AT|AB|AN)(?P<words>(?: [^ :^*$]+)*)(?: :(?P<sequence>[0-9A-F]{2}))?\^(?P<check>[0-9A-F]{2})$"
)


class Said(NamedTuple):
    """One line of the board with a right checksum. `sequence` 0 = none: unasked, or the board could not read us."""

    word: str
    words: tuple[str, ...]
    sequence: int


def xor(content: bytes) -> int:
    check = 0
    for byte in content:
        check ^= byte
    return check


def command(words: str, sequence: int) -> bytes:
    """The bytes of a command: "SC 13 V", 0x12 -> b"$SC 13 V :12^..\\r"."""
    content = f"${words} :{sequence:02X}".encode("ascii")
    return content + f"^{xor(content):02X}\r".encode("ascii")


def parse(line: bytes) -> Said | None:
    """None for whatever is not a whole line of the board: notes, damaged bytes, wrong or missing checksum."""
    found = _LINE.match(line)
    if found is None or xor(line[: found.start("check") - 1]) != int(found["check"], 16):
        return None
    sequence = int(found["sequence"], 16) if found["sequence"] else 0
    return Said(found["word"].decode("ascii"), tuple(found["words"].decode("latin-1").split()), sequence)


class Receiver:
    """Cuts the stream into lines: `$` begins a new one wherever it stands, everything outside is dropped. Bounded."""

    def __init__(self) -> None:
        self._line: bytearray | None = None

    def feed(self, received: bytes) -> list[Said]:
        said = []
        for byte in received:
            if byte == 0x24:  # $
                self._line = bytearray(b"$")
            elif self._line is None:
                continue
            elif byte in b"\r\n":
                whole = parse(bytes(self._line))
                self._line = None
                if whole is not None:
                    said.append(whole)
            elif len(self._line) >= LINE_LIMIT:
                self._line = None
            else:
                self._line.append(byte)
        return said
