"""A question on a Modbus line, and which received bytes are exactly its answer. PURE.

Sources: Modbus over Serial Line V1.02 (RTU frame, CRC), Modbus Application Protocol V1.1b3 (PDUs), Modbus Messaging on
TCP/IP V1.0b (MBAP). Strict on purpose, meters.md section 1.6: unit, function code, length, echo of what was written, CRC or
transaction id must all be those of the question.
"""

import struct
from typing import NamedTuple

READ_COILS, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_ONE, WRITE_MANY = 1, 3, 4, 5, 6, 16
COIL_ON = 0xFF00
MAX_GLITCH = 4  # noise bytes of the line driver's turnaround before a good frame


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_CRC = _table()


def crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS as it stands on the wire: low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


class Question(NamedTuple):
    """Read `size` registers (1..125) from `addr` of `unit` by function code 3 or 4; times of the device in seconds.

    With function code 1: read `size` coils, answered as 0 and 1. With function code 6 or 16: write `values` there, with 5
    one coil (0 or 1); the answer is empty. Nothing else changes: one attempt, strict.
    """

    unit: int
    fc: int
    addr: int
    size: int
    timeout_s: float
    gap_s: float
    quarantine_s: float
    values: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"unit {self.unit} FC{self.fc} 0x{self.addr:04X}+{self.size}"

    @property
    def answer_head(self) -> bytes:
        """How the PDU of the right answer begins."""
        if not self.values:
            return bytes([self.fc, self._read_bytes])
        if self.fc == WRITE_COIL:
            return struct.pack(">BHH", self.fc, self.addr, COIL_ON if self.values[0] else 0)
        return struct.pack(">BHH", self.fc, self.addr, self.values[0] if self.fc == WRITE_ONE else self.size)

    @property
    def answer_size(self) -> int:
        """Bytes of the PDU of the right answer."""
        return 5 if self.values else 2 + self._read_bytes

    @property
    def _read_bytes(self) -> int:
        return (self.size + 7) // 8 if self.fc == READ_COILS else 2 * self.size


def rtu_answer(received: bytes, question: Question) -> tuple[bytes, bytes]:
    """(the exact RTU frame that answers the question or nothing, the bytes around it). CRC checked."""
    for start in range(min(MAX_GLITCH + 1, len(received))):
        for head, size in (
            (bytes([question.unit]) + question.answer_head, 3 + question.answer_size),
            (bytes([question.unit, question.fc | 0x80]), 5),
        ):
            frame = received[start : start + size]
            whole = len(frame) == size and frame.startswith(head)
            if whole and crc16(frame[:-2]) == frame[-2:]:
                return frame, received[:start] + received[start + size :]
    return b"", received


def tcp_answer(received: bytes, sent: bytes, question: Question) -> tuple[bytes, bytes]:
    """(the exact Modbus TCP frame that answers the question or nothing, the other bytes): transaction id, unit, code, length."""
    foreign, rest = b"", received
    while len(rest) >= 6:
        size = 6 + int.from_bytes(rest[4:6], "big")
        frame = rest[:size]
        if len(frame) < size:
            break
        rest = rest[size:]
        body = frame[7:]
        right = body.startswith(question.answer_head) and len(body) == question.answer_size
        refused = len(body) == 2 and body[0] == question.fc | 0x80
        if frame[:4] == sent[:2] + b"\0\0" and frame[6] == question.unit and (right or refused):
            return frame, foreign + rest
        foreign += frame
    return b"", foreign + rest
