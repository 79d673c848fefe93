"""What the terminal tells the card: the terminal's data objects for one reading. PURE.

An unattended terminal that always goes online and can verify nobody: no PIN, no signature; only "no CVM" or the
cardholder's own device (CDCVM). Sources: EMV Book 4 Annex A, Book C-2 (9F1D), Book C-3 Annex A (9F66), cards.md 2.2-2.3.
"""

import datetime

from drivers.cards.oda import Flaw, RsaKey
from drivers.cards.schemes import Scheme
from terminal_app import units
from terminal_app.ports import CardRequest

TERMINAL_TYPE = bytes.fromhex("25")  # unattended, merchant, online and offline
CAPABILITIES = bytes.fromhex("200800")  # IC; "no CVM" only; no offline data authentication
CAPABILITIES_ODA = bytes.fromhex("200848")  # the same with DDA and CDA: CA keys are configured
ADDITIONAL_CAPABILITIES = bytes.fromhex("6000001001")  # goods, services; a display; code table 1
QUALIFIERS = bytes.fromhex("20804000")  # TTQ: qVSDC; online cryptogram required; CDCVM supported
QUALIFIERS_ODA = bytes.fromhex("21804000")  # the same with offline data authentication for online payments
RISK_DATA = bytes.fromhex("0C00000000000000")  # 9F1D: contactless "no CVM" and CDCVM
MERCHANT_CATEGORY = bytes.fromhex("5552")  # electric vehicle charging
PURCHASE = b"\x00"
AMEX_READER = bytes.fromhex("C0")  # 9F6D
AMEX_ENHANCED_READER = bytes.fromhex("18800003")  # 9F6E as terminal object: EMV partial online, mobile, mobile CVM

NO_TVR = bytes(5)
ODA_NOT_PERFORMED = 0x80  # TVR byte 1
ICC_DATA_MISSING = 0x20  # TVR byte 1
CDA_FAILED = 0x04  # TVR byte 1. "DDA failed" (08) never: a card of fast DDA has made its cryptogram before, over a TVR of zeros
EXPIRED = 0x40  # TVR byte 2
CVM_FAILED = 0x80  # TVR byte 3
ABOVE_FLOOR_LIMIT = 0x80  # TVR byte 4: the floor limit is always 0


def bcd(number: int, size: int) -> bytes:
    """Format n: `size` bytes of BCD. ValueError if it does not fit or is negative."""
    text = f"{number:0{size * 2}d}"
    if number < 0 or len(text) > size * 2:
        raise ValueError(f"{number} does not fit {size * 2} digits")
    return bytes.fromhex(text)


def terminal_objects(request: CardRequest, scheme: Scheme, unpredictable: bytes, oda: bool = False) -> dict[int, bytes]:
    """Tag -> value for PDOL, CDOL1 and DE55. Not for paying: the amount is zero. ValueError if the request is malformed.

    `oda`: this terminal authenticates chips.
    """
    when = datetime.datetime.fromtimestamp(request.utc_ms // 1000, datetime.UTC)
    objects = {
        0x9F02: bcd(request.amount_minor if request.pay else 0, 6),
        0x9F03: bytes(6),
        0x9F1A: bcd(int(request.country), 2),
        0x95: NO_TVR,
        0x5F2A: bcd(int(units.numeric_code(request.currency)), 2),
        0x5F36: bcd(units.exponent(request.currency), 1),
        0x9A: bcd(int(when.strftime("%y%m%d")), 3),
        0x9F21: bcd(int(when.strftime("%H%M%S")), 3),
        0x9C: PURCHASE,
        0x9F37: unpredictable,
        0x9F35: TERMINAL_TYPE,
        0x9F33: CAPABILITIES_ODA if oda else CAPABILITIES,
        0x9F40: ADDITIONAL_CAPABILITIES,
        0x9F66: QUALIFIERS_ODA if oda else QUALIFIERS,
        0x9F1D: RISK_DATA,
        0x9F15: MERCHANT_CATEGORY,
        0x9F09: scheme.version,
        0x9F39: b"\x07",
        0x9F41: bcd(request.serial % 10**8, 4),
        0x9F34: bytes.fromhex("3F0000"),
    }
    if scheme.brand == "American Express":
        objects |= {0x9F6D: AMEX_READER, 0x9F6E: AMEX_ENHANCED_READER}
    return objects


def authentication_results(key: RsaKey | Flaw) -> int:
    """TVR byte 1 before a card is asked for its cryptogram: with its certified key, or why without (Book 3 10.3, annex C5)."""
    match key:
        case RsaKey():
            return 0
        case Flaw.NOT_ASKED | Flaw.NOT_OFFERED:
            return ODA_NOT_PERFORMED
        case Flaw.MISSING:
            return CDA_FAILED | ICC_DATA_MISSING
        case _:
            return CDA_FAILED
