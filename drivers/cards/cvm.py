"""Cardholder verification at a terminal that can verify nobody: "no CVM" or the cardholder's own device. PURE.

Sources: EMV Book 3 section 10.5 (CVM list), Book 4 A4 (CVM results, 9F34), Book C-2 CVM selection (on-device).
The issuer decides what to make of it; above its own limit it answers "authentication wanted" (65, 1A).
"""

from dataclasses import dataclass

NO_CVM = 0x1F
AIP_CVM_SUPPORTED = 0x10  # byte 1
AIP_ON_DEVICE = 0x02  # byte 1, Book C-2

NOT_DONE = bytes.fromhex("3F0000")
FAILED = bytes.fromhex("3F0001")
ON_DEVICE = bytes.fromhex("010002")
NO_CVM_DONE = bytes.fromhex("1F0002")


@dataclass(frozen=True, slots=True)
class Verification:
    """`results` is tag 9F34; `device` = the cardholder's device verified; `failed` sets TVR byte 3 bit 8."""

    results: bytes
    device: bool = False
    failed: bool = False


def verify(aip: bytes, cvm_list: bytes | None, amount_minor: int, same_currency: bool) -> Verification:
    """The outcome for a card that makes its cryptogram with GENERATE AC.

    A device that can verify its holder (AIP) is always asked to: the CVM limit is zero, because a hold is rarely small.
    """
    if aip[0] & AIP_ON_DEVICE:
        return Verification(ON_DEVICE, device=True)
    if not aip[0] & AIP_CVM_SUPPORTED or cvm_list is None:
        return Verification(NOT_DONE)
    limit_x = int.from_bytes(cvm_list[0:4], "big")
    limit_y = int.from_bytes(cvm_list[4:8], "big")
    for i in range(8, len(cvm_list) - 1, 2):
        code, condition = cvm_list[i], cvm_list[i + 1]
        method = code & 0x3F
        if not _applies(condition, method == NO_CVM, amount_minor, same_currency, limit_x, limit_y):
            continue
        if method == NO_CVM:
            return Verification(bytes([code, condition, 0x02]))
        if not code & 0x40:  # this one must be done, or the verification fails
            break
    return Verification(FAILED, failed=True)


def verified_by_gpo(qualifiers: bytes | None) -> Verification:
    """The outcome for a card whose GPO answer is the cryptogram: CTQ (9F6C) byte 2 bit 8 = done on the device."""
    if qualifiers is not None and len(qualifiers) == 2 and qualifiers[1] & 0x80:
        return Verification(ON_DEVICE, device=True)
    return Verification(NO_CVM_DONE)


def _applies(condition: int, supported: bool, amount: int, same_currency: bool, limit_x: int, limit_y: int) -> bool:
    """Table 40 of Book 3 for a purchase without cash."""
    match condition:
        case 0x00 | 0x02:
            return True
        case 0x03:
            return supported
        case 0x06:
            return same_currency and amount < limit_x
        case 0x07:
            return same_currency and amount > limit_x
        case 0x08:
            return same_currency and amount < limit_y
        case 0x09:
            return same_currency and amount > limit_y
    return False  # cash, cashback and unknown conditions
