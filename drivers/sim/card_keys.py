"""A demo scheme: CA, issuer and card keys, certificates and signatures as EMV Book 2 has them. Written to the standard, not to
the product. `cryptography` makes the keys; EMV's signatures are bare RSA.

A folder keeps the keys (made once) and `ca-keys.toml`, what the scheme would publish. All of 1024 bits: quick, and short enough
for one record each. The name of a card's key has the last four digits only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drivers.sim.ber_tlv import tlv

RIDS = ("A000000003", "A000000004")
CA_INDEX = "DE"
CA_EXPIRES = "2049-12-31"
BITS = 1024
CERTIFIED_UNTIL, LONG_AGO = "1249", "0124"  # MMYY
LIES = ("", "wrong_hash", "other_ca", "replay", "tampered_pan", "expired", "no_signature")
"""How a card may lie: its signature has a wrong hash; a stranger certified its issuer; it repeats the signature of an earlier
payment; its records were changed after it was made; its certificate is out of date; it does not sign at all."""


@dataclass(frozen=True)
class _Pair:
    """One key pair of 1024 bits."""

    modulus: bytes
    exponent: bytes
    private: int = field(repr=False)

    def sign(self, text: bytes) -> bytes:
        assert len(text) == len(self.modulus)
        number, modulus = int.from_bytes(text, "big"), int.from_bytes(self.modulus, "big")
        return pow(number, self.private, modulus).to_bytes(len(text), "big")


def _pair(file: Path, exponent: int) -> _Pair:
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
    else:
        key = rsa.generate_private_key(exponent, BITS)
        pem = serialization.PrivateFormat.PKCS8
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))
        file.chmod(0o600)
    numbers = key.private_numbers()
    public = numbers.public_numbers
    short = public.e.to_bytes((public.e.bit_length() + 7) // 8, "big")
    return _Pair(public.n.to_bytes(BITS // 8, "big"), short, numbers.d)


@dataclass(frozen=True)
class Chip:
    """What the issuer has put into one application: certificates by tag, and the key that signs."""

    objects: dict[str, bytes]
    key: _Pair
    lie: str
    earlier: list[bytes]  # the signature of this card's last payment

    def fast_dda(self, tags: dict[str, bytes], qualifiers: bytes) -> bytes:
        """9F69 and 9F4B of a Visa-like card: over the terminal's number, amount and currency, and what the card adds."""
        added = b"\x01" + hashlib.sha1(tags["9F26"]).digest()[:4] + qualifiers
        terminal = tags["9F37"] + tags["9F02"] + tags["5F2A"] + added
        return tlv("9F69", added) + self._signature(b"\x02" + tags["9F36"], terminal)

    def combined(self, kind_and_cryptogram: bytes, exchanged: bytes, unpredictable: bytes) -> bytes:
        """9F4B of CDA. `exchanged`: what the terminal sent and the card answers, without this."""
        number = hashlib.sha1(kind_and_cryptogram).digest()[:8]
        covered = hashlib.sha1(exchanged).digest()
        return self._signature(b"\x08" + number + kind_and_cryptogram + covered, unpredictable)

    def _signature(self, dynamic: bytes, terminal: bytes) -> bytes:
        if self.lie == "no_signature":
            return b""
        if self.lie == "replay":
            return tlv("9F4B", self.earlier[-1] if self.earlier else self._sign(dynamic, bytes(len(terminal))))
        self.earlier[:] = [self._sign(dynamic, terminal)]
        return tlv("9F4B", self.earlier[-1])

    def _sign(self, dynamic: bytes, terminal: bytes) -> bytes:
        """Signed dynamic application data: what the card tells, hashed with what the terminal told."""
        room = len(self.key.modulus) - 25 - len(dynamic)
        text = bytes([0x05, 0x01, len(dynamic)]) + dynamic + b"\xbb" * room
        digest = hashlib.sha1(text + terminal).digest()
        if self.lie == "wrong_hash":
            digest = digest[:-1] + bytes([digest[-1] ^ 1])
        return self.key.sign(b"\x6a" + text + digest + b"\xbc")


class DemoScheme:
    """The keys in `folder`. Blocks a second at most, when they are made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._earlier: dict[str, list[bytes]] = {}
        self._ca = _pair(folder / "ca.pem", 3)
        self._issuer = _pair(folder / "issuer.pem", 65_537)
        self.ca_keys = folder / "ca-keys.toml"
        if not self.ca_keys.exists():
            self.ca_keys.write_text("".join(map(self._published, RIDS)))
            self.ca_keys.chmod(0o644)

    def _published(self, rid: str) -> str:
        checked = bytes.fromhex(rid + CA_INDEX) + self._ca.modulus + self._ca.exponent
        return (
            f'[[key]]\nrid = "{rid}"\nindex = "{CA_INDEX}"\nmodulus = "{self._ca.modulus.hex().upper()}"\n'
            f"exponent = {int.from_bytes(self._ca.exponent, 'big')}\nexpires = {CA_EXPIRES}\n"
            f'sha1 = "{hashlib.sha1(checked).hexdigest().upper()}"\n\n'
        )

    def personalise(self, pan: str, static: bytes, lie: str = "") -> Chip:
        """Certificates for a card whose records and named data are `static`."""
        ca = _pair(self._folder / "stranger.pem", 3) if lie == "other_ca" else self._ca
        card = _pair(self._folder / f"card-{pan[-4:]}.pem", 3)
        until = bytes.fromhex(LONG_AGO if lie == "expired" else CERTIFIED_UNTIL)
        issuer_head = b"\x02" + bytes.fromhex(pan[:6] + "FF" + CERTIFIED_UNTIL) + b"\x00\x00\x01"
        issuer, issuer_rest = _certificate(ca, self._issuer, issuer_head, b"")
        card_head = b"\x04" + bytes.fromhex(pan.ljust(20, "F")) + until + b"\x00\x00\x02"
        own, own_rest = _certificate(self._issuer, card, card_head, static)
        objects = {
            "8F": bytes.fromhex(CA_INDEX),
            "90": issuer,
            "92": issuer_rest,
            "9F32": self._issuer.exponent,
            "9F46": own,
            "9F47": card.exponent,
            "9F48": own_rest,
        }
        return Chip(objects, card, lie, self._earlier.setdefault(pan, []))


def _certificate(above: _Pair, below: _Pair, head: bytes, static: bytes) -> tuple[bytes, bytes]:
    """The certificate of one key by the key above it, and the part of the key that has no room in it."""
    room = len(above.modulus) - len(head) - 4 - 22
    fits, rest = below.modulus[:room].ljust(room, b"\xbb"), below.modulus[room:]
    text = head + bytes([0x01, 0x01, len(below.modulus), len(below.exponent)]) + fits
    digest = hashlib.sha1(text + rest + below.exponent + static).digest()
    return above.sign(b"\x6a" + text + digest + b"\xbc"), rest
