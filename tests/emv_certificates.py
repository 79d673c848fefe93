"""A CA, an issuer and a card with keys of any length, and certificates that are wrong in one place although well signed.

Written from EMV Book 2 (sections 6.3, 6.4, 6.5, annex A2.1) beside the product's reader and beside the simulated card.
"""

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from drivers.cards.oda import CaKey, CaKeys, RsaKey

AID = bytes.fromhex("A0000000041010")
PAN = b"5413330089020011"
RECORDS = bytes.fromhex("5F2403491231" + "5F2503240101")
TODAY = datetime.date(2026, 11, 24)
INDEX = 0xF7

Change = Callable[[bytearray], None]


def as_is(text: bytearray) -> None:
    pass


def sign(key: rsa.RSAPrivateKey, text: bytes | bytearray) -> bytes:
    numbers = key.private_numbers()
    size = key.key_size // 8
    assert len(text) == size
    return pow(int.from_bytes(text, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")


def sealed(key: rsa.RSAPrivateKey, body: bytes | bytearray, beside: bytes, around: Change = as_is) -> bytes:
    """`body` with hash, header and trailer, signed. `around` spoils the text after the hash was made."""
    text = bytearray(b"\x6a" + bytes(body) + hashlib.sha1(bytes(body) + beside).digest() + b"\xbc")
    around(text)
    return sign(key, text)


@dataclass
class Papers:
    """What the card shows. `issuer` and `card` change a certificate before it is hashed and signed, `after` behind that."""

    ca: rsa.RSAPrivateKey
    issuer_key: rsa.RSAPrivateKey
    card_key: rsa.RSAPrivateKey
    issuer: Change = as_is
    card: Change = as_is
    after: Change = as_is
    given: dict[int, bytes] = field(default_factory=dict)

    def shown(self) -> dict[int, memoryview]:
        tags: dict[int, bytes] = {0x8F: bytes([INDEX]), 0x9F32: exponent(self.issuer_key), 0x9F47: exponent(self.card_key)}
        head = bytes.fromhex("02" + "541333FF" + "1249" + "000001")
        tags[0x90], tags[0x92] = self._certificate(self.ca, self.issuer_key, head, self.issuer, b"")
        head = bytes.fromhex("04" + PAN.decode() + "FFFF" + "1249" + "000002")
        tags[0x9F46], tags[0x9F48] = self._certificate(self.issuer_key, self.card_key, head, self.card, RECORDS)
        tags |= self.given
        return {tag: memoryview(value) for tag, value in tags.items() if value}

    def _certificate(
        self, above: rsa.RSAPrivateKey, below: rsa.RSAPrivateKey, head: bytes, change: Change, static: bytes
    ) -> tuple[bytes, bytes]:
        modulus, short = below.private_numbers().public_numbers.n.to_bytes(below.key_size // 8, "big"), exponent(below)
        room = above.key_size // 8 - 22 - len(head) - 4
        body = bytearray(head + bytes([1, 1, len(modulus), len(short)]) + modulus[:room].ljust(room, b"\xbb"))
        change(body)
        return sealed(above, body, modulus[room:] + short + static, self.after), modulus[room:]

    @property
    def ca_keys(self) -> CaKeys:
        size = self.ca.key_size // 8
        numbers = self.ca.private_numbers().public_numbers
        return {(AID[:5], INDEX): CaKey(RsaKey(numbers.n, numbers.e, size), datetime.date(2030, 12, 31))}


def exponent(key: rsa.RSAPrivateKey) -> bytes:
    number = key.private_numbers().public_numbers.e
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def put(at: int, value: str) -> Change:
    """Write these bytes there."""

    def change(text: bytearray) -> None:
        for place, byte in enumerate(bytes.fromhex(value), at):
            text[place] = byte

    return change
