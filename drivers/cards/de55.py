"""DE55: what of card and terminal goes to the issuer, as BER-TLV. Duplicates and card numbers never (cards.md 2.5). PURE."""

from collections.abc import Mapping

from drivers.cards import tlv
from drivers.cards.dol import Source
from terminal_app.errors import CardMisread, CardMisreadReason

# of the request, in this order
TAGS = (
    (0x9F26, 0x9F27, 0x9F10, 0x9F37, 0x9F36, 0x95, 0x9A, 0x9C, 0x9F02, 0x5F2A, 0x82, 0x9F1A, 0x9F34, 0x9F03, 0x9F33)
    + (0x9F35, 0x84, 0x9F09, 0x9F41)
)  # fmt: skip
OF_CARD = (0x9F6E, 0x9F7C)  # form factor, customer exclusive data: only as the card gave them
MAX_BYTES = 255


def de55(source: Source, card: Mapping[int, memoryview]) -> bytearray:
    """CardMisread ERROR if an object is missing or they do not fit. The caller wipes the result."""
    out = bytearray()
    for tag in TAGS:
        value = source(tag)
        if value is None:
            raise CardMisread(CardMisreadReason.ERROR, f"tag {tag:X} is missing")
        out += tlv.encode(tag, value)
    for tag in OF_CARD:
        own = card.get(tag)
        if own is not None and len(own) <= 32:
            out += tlv.encode(tag, own)
    if len(out) > MAX_BYTES:
        raise CardMisread(CardMisreadReason.ERROR, f"card data of {len(out)} bytes does not fit DE55")
    return out
