"""RAPI framing as the OpenEVSE firmware does it (rapi_proc.cpp of firmware D8): own code, the board's side."""

from __future__ import annotations

from dataclasses import dataclass

BUFFER_LIMIT = 32
ARGUMENT_LIMIT = 10


@dataclass(frozen=True)
class Order:
    """One command: its words, and the sequence id that the reply must echo (0: none was sent)."""

    words: tuple[str, ...]
    sequence: int


BAD_CHECKSUM = Order((), 0)


def xor(text: str) -> int:
    checksum = 0
    for byte in text.encode("latin-1"):
        checksum ^= byte
    return checksum


def sealed(text: str) -> bytes:
    """A line as the board sends it: XOR checksum and carriage return."""
    return f"{text}^{xor(text):02X}\r".encode("latin-1")


def reply(accepted: bool, text: str, sequence: int) -> bytes:
    parts = ["$OK" if accepted else "$NK"]
    if text:
        parts.append(text)
    if sequence:
        parts.append(f":{sequence:02X}")
    return sealed(" ".join(parts))


def parse(line: str) -> Order:
    """A line between `$` and carriage return, both left out. A wrong checksum gives BAD_CHECKSUM; none at all is taken."""
    for mark in "^*":
        body, found, checksum = line.partition(mark)
        if found:
            expected = xor("$" + body) if mark == "^" else sum(("$" + body).encode("latin-1")) & 0xFF
            if _hexadecimal(checksum[:2]) != expected:
                return BAD_CHECKSUM
            line = body
            break
    words = line.split(" ")
    if len(words) > ARGUMENT_LIMIT:
        return BAD_CHECKSUM
    sequence = 0
    if len(words) > 1 and words[-1].startswith(":"):
        sequence = _hexadecimal(words.pop()[1:3])
    return Order(tuple(words), sequence)


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


class Receiver:
    """Cuts the byte stream into lines: `$` starts anew, 32 bytes are the most, everything outside is dropped."""

    def __init__(self) -> None:
        self._line: str | None = None

    def feed(self, data: bytes) -> list[Order]:
        orders = []
        for character in data.decode("latin-1"):
            if character == "$":
                self._line = ""
            elif self._line is not None:
                if character == "\r":
                    orders.append(parse(self._line))
                    self._line = None
                elif len(self._line) >= BUFFER_LIMIT - 2:
                    self._line = None
                else:
                    self._line += character
        return orders
