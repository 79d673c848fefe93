"""The card applications this terminal takes. PURE data.

AIDs: EMVCo RID list and the schemes' public AID tables. `version` is tag 9F09 (application version of the terminal).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scheme:
    """`aid` is matched as a prefix of what the card offers (EMV Book B section 3.3.2.5)."""

    aid: bytes
    brand: str
    version: bytes
    gpo_cryptogram: bool  # the answer to GET PROCESSING OPTIONS is the cryptogram; no GENERATE AC (Book C-3, C-6)


SCHEMES = (
    Scheme(bytes.fromhex("A0000000041010"), "Mastercard", b"\x00\x02", False),
    Scheme(bytes.fromhex("A0000000043060"), "Maestro", b"\x00\x02", False),
    Scheme(bytes.fromhex("A0000000031010"), "Visa", b"\x00\x96", True),
    Scheme(bytes.fromhex("A0000000032010"), "Visa Electron", b"\x00\x96", True),
    Scheme(bytes.fromhex("A0000000032020"), "V Pay", b"\x00\x96", True),
    Scheme(bytes.fromhex("A00000002501"), "American Express", b"\x00\x01", False),
    Scheme(bytes.fromhex("A0000001523010"), "Discover/Diners", b"\x00\x01", True),
)


def scheme_of(aid: bytes) -> Scheme | None:
    """The scheme whose AID begins what the card offers, None if this terminal does not take it."""
    return next((one for one in SCHEMES if aid.startswith(one.aid)), None)
