"""The slave's side of Modbus RTU and TCP framing, own code: no Modbus library. Source: Modbus over Serial Line V1.02,
Modbus Application Protocol V1.1b3, Modbus Messaging on TCP/IP V1.0b."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
READ_HOLDING = 3
READ_INPUT = 4
WRITE_ONE = 6
WRITE_MANY = 16
MAX_WRITTEN = 123
MAX_REGISTERS = 125

Blocks = Mapping[int, Mapping[int, int]]  # function code -> register address -> 16-bit word


def crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS, as it stands on the wire (low byte first)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


def answer(pdu: bytes, blocks: Blocks) -> bytes:
    """The answer PDU to a request PDU. A function code without a block, or an address outside it, is an exception."""
    code = pdu[0]
    if code not in blocks:
        return bytes([code | 0x80, ILLEGAL_FUNCTION])
    if len(pdu) != 5:
        return bytes([code | 0x80, ILLEGAL_VALUE])
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= MAX_REGISTERS:
        return bytes([code | 0x80, ILLEGAL_VALUE])
    block = blocks[code]
    words = [block[register] for register in range(address, address + count) if register in block]
    if len(words) != count:
        return bytes([code | 0x80, ILLEGAL_ADDRESS])
    return struct.pack(f">BB{count}H", code, 2 * count, *words)


def written(pdu: bytes, write: Callable[[int, list[int]], bool]) -> bytes:
    """The answer PDU to function code 6 or 16; `write(address, words)` says whether these registers may be written."""
    code = pdu[0]
    if code == WRITE_ONE and len(pdu) == 5:
        address, *words = struct.unpack(">HH", pdu[1:])
    elif code == WRITE_MANY and len(pdu) >= 8 and len(pdu) == 6 + pdu[5] and pdu[5] == 2 * int.from_bytes(pdu[3:5], "big"):
        address, words = int.from_bytes(pdu[1:3], "big"), list(struct.unpack(f">{pdu[5] // 2}H", pdu[6:]))
    else:
        return bytes([code | 0x80, ILLEGAL_VALUE])
    if len(words) > MAX_WRITTEN:
        return bytes([code | 0x80, ILLEGAL_VALUE])
    return pdu[:5] if write(address, list(words)) else bytes([code | 0x80, ILLEGAL_ADDRESS])


def rtu_request(buffer: bytes) -> tuple[int, bytes] | None:
    """(unit, PDU) if the buffer is exactly one whole request with a good checksum."""
    if len(buffer) < 4 or crc16(buffer[:-2]) != buffer[-2:]:
        return None
    return buffer[0], buffer[1:-2]


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    frame = bytes([unit]) + pdu
    return frame + crc16(frame)
