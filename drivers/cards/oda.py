"""Chip authentication (offline data authentication): did the card prove that it holds the key its scheme certified? PURE.

A chain of RSA signatures that can be read back: the scheme's CA key opens the issuer's certificate (90), the issuer's key
opens the card's (9F46), the card's key opens what the card signed for this very payment (9F4B). Two forms of the last one:
CDA with GENERATE AC (EMV Book 2 section 6.6) and fast DDA of Visa-like cards (Book C-3 annex C). SDA and contact DDA are
not done. Chapter 5: CA keys; section 6.3: issuer certificate; 6.4: card certificate; annex A2.1: the signature scheme.

Whatever a card sends, an answer comes out: a key or cryptogram, or a `Flaw`. Sizes are limited by the standard (248 bytes).
Numbers and bytes made here hold the card number for a moment and cannot be wiped (Python's `int`); nothing keeps them.
"""

import datetime
import enum
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Card = Mapping[int, memoryview]
"""What the card gave: tag -> value."""

MAX_KEY_BYTES = 248  # Book 2 annex B2.1
MIN_KEY_BYTES = 64
EXPONENTS = (3, 65_537)
HEADER, TRAILER = 0x6A, 0xBC
ISSUER_FORMAT, CARD_FORMAT, DYNAMIC_FORMAT = 0x02, 0x04, 0x05
SHA_1, RSA = 0x01, 0x01
HASH_BYTES = 20
ISSUER_OVERHEAD, CARD_OVERHEAD, DYNAMIC_OVERHEAD = 36, 42, 25  # bytes of a certificate that are not key or dynamic data
FAST_DDA_VERSION = 0x01


class Flaw(enum.Enum):
    """Why a card is not authenticated. One word for the log; never a byte of the card."""

    NOT_ASKED = "not_asked"  # no CA keys, or nothing was to be paid
    NOT_OFFERED = "not_offered"  # the card cannot
    NO_CA_KEY = "no_ca_key"  # the scheme's key of this index is not in our file, or out of date
    MISSING = "missing"  # a certificate or exponent is absent
    LENGTH = "length"
    SIGNATURE = "signature"  # absent, or opened with the key above it no signature: another key made it, or it is damaged
    ALGORITHM = "algorithm"  # not SHA-1 with RSA
    HASH = "hash"  # the certificate does not belong to these data: records or signed values were changed
    HOLDER = "holder"  # the certificate of another card number, or of another issuer
    EXPIRED = "expired"
    KEY = "key"  # the certified key cannot be one
    TRANSACTION = "transaction"  # the signature is good, but for another payment, cryptogram or answer


class _Flawed(Exception):
    """Stays in this module."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A public key of `size` bytes."""

    modulus: int = field(repr=False)
    exponent: int
    size: int

    @property
    def sound(self) -> bool:
        full = self.modulus.bit_length() > 8 * (self.size - 1) and self.modulus.bit_length() <= 8 * self.size
        return MIN_KEY_BYTES <= self.size <= MAX_KEY_BYTES and full and self.modulus % 2 == 1 and self.exponent in EXPONENTS


@dataclass(frozen=True, slots=True)
class CaKey:
    """A scheme's certification authority key: valid up to and including `expires`."""

    key: RsaKey
    expires: datetime.date


CaKeys = Mapping[tuple[bytes, int], CaKey]
"""(RID of five bytes, index) -> key."""


def card_key(
    ca_keys: CaKeys, aid: bytes, card: Card, pan: bytearray, signed: Sequence[memoryview] | None, today: datetime.date
) -> RsaKey | Flaw:
    """The card's public key, certified for this card number and these records, or what is wrong (sections 6.3, 6.4).

    `pan` is digits in ASCII; `signed` the records to be authenticated as Book 3 section 10.3 cuts them, None if they cannot be.
    """
    try:
        return _card_key(card, _issuer_key(ca_keys, aid, card, pan, today), pan, signed, today)
    except _Flawed as flawed:
        return flawed.flaw


def combined(key: RsaKey, card: Card, unpredictable: bytes, exchanged: Iterable[bytes | memoryview]) -> bytes | Flaw:
    """CDA: the cryptogram (9F26) out of the answer to GENERATE AC, or what is wrong with its signature (section 6.6.2).

    `exchanged` is what the transaction hash covers: PDOL values, CDOL1 values, then the answer's objects but 9F4B.
    """
    if 0x9F4B not in card:
        return Flaw.SIGNATURE
    try:
        dynamic = _dynamic_data(key, card, unpredictable)
    except _Flawed as flawed:
        return flawed.flaw
    number = dynamic[0] if dynamic else 0  # length of the ICC dynamic number (9F4C)
    if not 2 <= number <= 8 or len(dynamic) < 1 + number + 1 + 8 + HASH_BYTES:
        return Flaw.LENGTH
    rest = dynamic[1 + number :]
    kind, cryptogram, covered = rest[:1], rest[1:9], rest[9 : 9 + HASH_BYTES]
    told = card.get(0x9F27)
    if told is None or kind != bytes(told) or covered != _sha1(exchanged):
        return Flaw.TRANSACTION
    return cryptogram


def fast(key: RsaKey, card: Card, terminal: Mapping[int, bytes]) -> Flaw | None:
    """fDDA: None if the card signed this payment's unpredictable number, amount and currency (Book C-3 annex C)."""
    related = card.get(0x9F69)  # card authentication related data: version, the card's own number, its qualifiers (CTQ)
    if related is None:
        return Flaw.MISSING
    if not 5 <= len(related) <= 16 or related[0] != FAST_DDA_VERSION:
        return Flaw.LENGTH
    try:
        _dynamic_data(key, card, terminal[0x9F37] + terminal[0x9F02] + terminal[0x5F2A] + bytes(related))
    except _Flawed as flawed:
        return flawed.flaw
    qualifiers = card.get(0x9F6C)
    if len(related) >= 7 and qualifiers is not None and related[5:7] != qualifiers:
        return Flaw.TRANSACTION  # "verified on the device" was put there by somebody else
    return None


# --- certificates ---------------------------------------------------------------------------------------------------


def _issuer_key(ca_keys: CaKeys, aid: bytes, card: Card, pan: bytearray, today: datetime.date) -> RsaKey:
    """Section 6.3."""
    index = _given(card, 0x8F)
    ca = ca_keys.get((aid[:5], index[0])) if len(index) == 1 else None
    if ca is None or ca.expires < today:
        raise _Flawed(Flaw.NO_CA_KEY)
    text = _opened(ca.key, _given(card, 0x90), ISSUER_FORMAT)
    exponent, remainder = _given(card, 0x9F32), card.get(0x92, memoryview(b""))
    _hashed(text, remainder, exponent)
    issuer = text[2:6].hex().upper().rstrip("F")
    if not 3 <= len(issuer) <= 8 or not issuer.isdecimal() or not pan.startswith(issuer.encode()):
        raise _Flawed(Flaw.HOLDER)
    _valid(text[6:8], today)
    return _certified(text, 11, ISSUER_OVERHEAD, remainder, exponent, ca.key.size)


def _card_key(card: Card, issuer: RsaKey, pan: bytearray, signed: Sequence[memoryview] | None, today: datetime.date) -> RsaKey:
    """Section 6.4."""
    if signed is None:
        raise _Flawed(Flaw.HASH)
    text = _opened(issuer, _given(card, 0x9F46), CARD_FORMAT)
    exponent, remainder = _given(card, 0x9F47), card.get(0x9F48, memoryview(b""))
    _hashed(text, remainder, exponent, *signed, *_named_data(card))
    if text[2:12].hex().upper().rstrip("F").encode() != pan:
        raise _Flawed(Flaw.HOLDER)
    _valid(text[12:14], today)
    return _certified(text, 17, CARD_OVERHEAD, remainder, exponent, issuer.size)


def _named_data(card: Card) -> tuple[memoryview, ...]:
    """The static data authentication tag list (9F4A) may name the AIP and nothing else (Book 3 section 10.3)."""
    named = card.get(0x9F4A)
    if named is None:
        return ()
    if bytes(named) != b"\x82":
        raise _Flawed(Flaw.HASH)
    return (_given(card, 0x82),)


def _dynamic_data(key: RsaKey, card: Card, terminal: bytes) -> bytes:
    """What the card signed, if `terminal` is what it signed it for (sections 6.5.2 and 6.6.2)."""
    text = _opened(key, _given(card, 0x9F4B), DYNAMIC_FORMAT)
    if text[2] != SHA_1:
        raise _Flawed(Flaw.ALGORITHM)
    size = text[3]
    if size > key.size - DYNAMIC_OVERHEAD:
        raise _Flawed(Flaw.LENGTH)
    if text[-1 - HASH_BYTES : -1] != _sha1((text[1 : -1 - HASH_BYTES], terminal)):
        raise _Flawed(Flaw.TRANSACTION)
    return text[4 : 4 + size]


def _given(card: Card, tag: int) -> memoryview:
    value = card.get(tag)
    if value is None:
        raise _Flawed(Flaw.MISSING)
    return value


def _opened(key: RsaKey, signature: memoryview, form: int) -> bytes:
    """Annex A2.1: the signed text, as long as the key; header, format and trailer are as they must be."""
    if len(signature) != key.size:
        raise _Flawed(Flaw.LENGTH)
    number = int.from_bytes(signature, "big")
    if number >= key.modulus:
        raise _Flawed(Flaw.SIGNATURE)
    text = pow(number, key.exponent, key.modulus).to_bytes(key.size, "big")
    if text[0] != HEADER or text[1] != form or text[-1] != TRAILER:
        raise _Flawed(Flaw.SIGNATURE)
    return text


def _hashed(text: bytes, *beside: memoryview) -> None:
    """The hash covers the certificate from its format on, then what does not fit into it."""
    if text[-1 - HASH_BYTES : -1] != _sha1((text[1 : -1 - HASH_BYTES], *beside)):
        raise _Flawed(Flaw.HASH)


def _sha1(parts: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.sha1(usedforsecurity=False)  # the only hash that EMV certificates know (Book 2 annex B3.1)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _valid(month: bytes, today: datetime.date) -> None:
    """MMYY: up to the last day of that month. Years 50 to 99 are of the last century (Book 4 section 6.7.3)."""
    digits = month.hex()
    if not digits.isdecimal() or not 1 <= int(digits[:2]) <= 12:
        raise _Flawed(Flaw.EXPIRED)
    year = int(digits[2:])
    if (year + (2000 if year < 50 else 1900), int(digits[:2])) < (today.year, today.month):
        raise _Flawed(Flaw.EXPIRED)


def _certified(text: bytes, at: int, overhead: int, remainder: memoryview, exponent: memoryview, above: int) -> RsaKey:
    """The key in a certificate. `at` is where hash, algorithm, key length and exponent length stand; then come its first bytes."""
    if text[at] != SHA_1 or text[at + 1] != RSA:
        raise _Flawed(Flaw.ALGORITHM)
    size, room = text[at + 2], above - overhead
    if size > above or len(exponent) != text[at + 3] or len(remainder) != max(0, size - room):
        raise _Flawed(Flaw.LENGTH)
    digits = text[at + 4 : at + 4 + min(size, room)] + bytes(remainder)
    key = RsaKey(int.from_bytes(digits, "big"), int.from_bytes(exponent, "big"), size)
    if not key.sound:
        raise _Flawed(Flaw.KEY)
    return key
