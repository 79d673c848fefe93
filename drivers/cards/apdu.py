"""One command to a card and its whole answer: GET RESPONSE (61xx) and wrong Le (6Cxx) are followed here. PURE.

Source: ISO/IEC 7816-4 section 5.1 and 7816-3 (T=0 procedure); contactless cards behind T=1 readers rarely use it.
"""

from collections.abc import Callable

from terminal_app.errors import CardMisread, CardMisreadReason

Transmit = Callable[[bytes], bytearray]
"""C-APDU in, R-APDU with status word out; the buffer belongs to the caller, who wipes it."""

OK = 0x9000
MAX_PARTS = 8


def exchange(transmit: Transmit, command: bytes) -> tuple[bytearray, int]:
    """(body, status word) of one command. CardMisread ERROR if the card answers nonsense or without end."""
    body = bytearray()
    answer = transmit(command)
    for _ in range(MAX_PARTS):
        if len(answer) < 2:
            raise CardMisread(CardMisreadReason.ERROR, "answer without status word")
        sw1, sw2 = answer[-2], answer[-1]
        body += memoryview(answer)[:-2]
        wipe(answer)
        if sw1 == 0x61:
            answer = transmit(bytes([command[0] & 0x03, 0xC0, 0x00, 0x00, sw2]))
        elif sw1 == 0x6C:
            wipe(body)
            body = bytearray()
            answer = transmit(with_le(command, sw2))
        else:
            return body, sw1 << 8 | sw2
    wipe(answer)
    wipe(body)
    raise CardMisread(CardMisreadReason.ERROR, f"no end after {MAX_PARTS} parts of one answer")


def with_le(command: bytes, le: int) -> bytes:
    """The same short command with another Le."""
    if len(command) <= 5:
        return command[:4] + bytes([le])
    return command[: 5 + command[4]] + bytes([le])


def case4(cla: int, ins: int, p1: int, p2: int, data: bytes) -> bytes:
    """A short command with data and Le = 00."""
    return bytes([cla, ins, p1, p2, len(data)]) + data + b"\x00"


def wipe(buffer: bytearray) -> None:
    for i in range(len(buffer)):
        buffer[i] = 0
