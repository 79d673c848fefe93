"""The receipt in one line, signed, small enough for a QR code: it stands in the fragment of the receipt's address. PURE.

A compact JWS (RFC 7515, ES256) with its public key in the header (`jwk`), so that a page verifies it with no network at all.
Who the key belongs to, the office tells (`/keys/KID.json`) or the terminal's key label. It is made from the sealed session
record, names it by number and SHA-256, and says what was billed then; what became of the money later stands on the receipt
page. Short keys:

    n number   m terminal   s seller   e EVSE id   b, t begin and end (UTC s)   k clock (S, I, U)   r registers (Wh: start, stop)
    l lines, each "kind quantity unit-price-with-VAT VAT-percent gross"   v VAT, each "percent VAT"   a total   c currency
    h held and to be captured (absent: free)   q record number   d, o base64url of the first 16 bytes of its SHA-256, 8 of the
    OCMF's

Money in minor units; a percent of "-" is no VAT. The reader is office/static/verify.js. Frozen example:
tests/vectors/compact-receipt-v1.json.
"""

import base64
import hashlib
from typing import Any

from terminal_app.billing import canonical
from terminal_app.billing.receipt import ReceiptDocument
from terminal_app.billing.signature import der_is_good, jwk_of, jws_seal, raw_to_der, spki_of, thumbprint
from terminal_app.errors import SignatureInvalid
from terminal_app.screens import PriceKind

__all__ = ["KINDS", "MAX_CHARS", "TYP", "compact_of", "open_compact", "seal", "signing_input"]

TYP = "receipt+jws"
MAX_CHARS = 1400  # a code for a phone's camera holds no more at the size of a screen
RECORD_BYTES, OCMF_BYTES = 16, 8
NO_VAT = "-"
KINDS = {
    PriceKind.ENERGY: "e",
    PriceKind.TIME: "t",
    PriceKind.FLAT: "f",
    PriceKind.PARKING: "p",
    PriceKind.LIMIT: "l",
}


def compact_of(one: ReceiptDocument, record_sha256: str, to_capture_minor: int) -> dict[str, Any]:
    """What the line says. `record_sha256` hex, of the sealed record's JWS."""
    found: dict[str, Any] = {
        "n": one.number,
        "m": one.terminal,
        "s": one.seller,
        "e": one.evse_id,
        "b": one.begin_utc_ms // 1000,
        "t": one.end_utc_ms // 1000,
        "k": one.clock,
        "r": [one.meter_start_wh, one.meter_stop_wh],
        "l": [
            f"{KINDS[line.kind]} {line.quantity} {line.price} {line.vat_percent or NO_VAT} {line.gross_minor}" for line in one.lines
        ],
        "v": [f"{rate.vat_percent or NO_VAT} {rate.vat_minor}" for rate in one.vat],
        "a": one.total_minor,
        "c": one.currency,
        "q": one.record_seq,
        "d": _text(bytes.fromhex(record_sha256)[:RECORD_BYTES]),
    }
    if one.authorized_minor:
        found["h"] = [one.authorized_minor, to_capture_minor]
    if one.ocmf:
        found["o"] = _text(hashlib.sha256(one.ocmf.encode()).digest()[:OCMF_BYTES])
    return found


def signing_input(compact: dict[str, Any], spki: bytes) -> bytes:
    """The ASCII bytes to sign with the key of `spki`, which goes along."""
    header = {"alg": "ES256", "jwk": jwk_of(spki), "typ": TYP}
    return f"{_text(canonical.canonical(header))}.{_text(canonical.canonical(compact))}".encode()


def seal(signing_bytes: bytes, raw_signature: bytes) -> str:
    """The line. ValueError if it is too long for a code, or the signature has another length."""
    line = jws_seal(signing_bytes, raw_signature)
    if len(line) > MAX_CHARS:
        raise ValueError(f"a compact receipt of {len(line)} characters fits no code")
    return line


def open_compact(line: str) -> tuple[dict[str, Any], str]:
    """What a line says and the key id (RFC 7638 thumbprint) that signed it. SignatureInvalid for anything else.

    A good signature only says that nobody changed the line since; whose key it is must be asked elsewhere.
    """
    if len(line) > MAX_CHARS or not line.isascii() or line.count(".") != 2:
        raise SignatureInvalid("not a compact receipt")
    header_text, payload_text, signature_text = line.split(".")
    header, payload = _parsed(header_text), _parsed(payload_text)
    if header.keys() != {"alg", "jwk", "typ"} or header["alg"] != "ES256" or header["typ"] != TYP:
        raise SignatureInvalid("not the header of a compact receipt")
    if not isinstance(header["jwk"], dict):
        raise SignatureInvalid("the compact receipt brings no key")
    spki, signature = spki_of(header["jwk"]), _bytes(signature_text)
    if len(signature) != 64 or not der_is_good(spki, f"{header_text}.{payload_text}".encode(), raw_to_der(signature)):
        raise SignatureInvalid("the signature does not verify")
    return payload, thumbprint(spki)


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = canonical.parse(_bytes(text), MAX_CHARS)
    except ValueError as error:
        raise SignatureInvalid(f"a part of the compact receipt is malformed: {error}") from error
    if not isinstance(found, dict):
        raise SignatureInvalid("a part of the compact receipt is not an object")
    return found


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise SignatureInvalid("a part of the compact receipt is not base64url") from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
