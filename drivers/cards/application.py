"""What the card says about its applications: the directory (PPSE) and the name to show. PURE.

Sources: EMV Book B section 3.3.2 (candidates), Book 1 section 12.3 (preferred name, label).
"""

from collections.abc import Mapping

from drivers.cards import tlv
from drivers.cards.schemes import Scheme, scheme_of


def candidates(directory: bytearray) -> list[tuple[bytes, Scheme]]:
    """Applications both sides know, best priority first. TlvError if the answer is no BER-TLV."""
    entries = tlv.find(tlv.parse(directory), 0x6F, 0xA5, 0xBF0C)
    found: list[tuple[int, bytes, Scheme]] = []
    for entry in entries.children if entries else ():
        name, priority = tlv.find((entry,), 0x61, 0x4F), tlv.find((entry,), 0x61, 0x87)
        if name is None or not 5 <= len(name.value) <= 16:
            continue
        if scheme := scheme_of(bytes(name.value)):
            rank = priority.value[0] & 0x0F if priority and len(priority.value) == 1 else 0
            found.append((rank or 16, bytes(name.value), scheme))  # 0 = no priority: last
    return [(aid, scheme) for _, aid, scheme in sorted(found, key=lambda one: one[0])]


def label(card: Mapping[int, memoryview], brand: str) -> str:
    """Preferred name or label, printable ASCII only; the brand if the card gives none (or digits instead of a name)."""
    table = card.get(0x9F11)
    preferred = 0x9F12 if table is None or bytes(table) == b"\x01" else 0x50
    for tag in (preferred, 0x50):
        text = "".join(chr(byte) for byte in card.get(tag, b"")[:16] if 0x20 <= byte < 0x7F).strip()
        if text and sum(letter.isdigit() for letter in text) <= 4:
            return text
    return brand
