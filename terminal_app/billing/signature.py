"""ECDSA P-256 keys and signatures in their three clothes: raw r||s, DER, JWK. Only public keys come in here. PURE.

Sources: RFC 7515 and 7518 section 3.4 (ES256, raw), RFC 7517/7638 (JWK, thumbprint), RFC 5480 (SPKI), SEC 1 (DER signature).
"""

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from terminal_app.billing import canonical
from terminal_app.errors import SignatureInvalid

PublicKey = bytes | dict[str, Any]
"""A public key as SPKI (DER or PEM) or as a JWK."""
MAX_JWS_BYTES = 1024 * 1024
_REGISTRY = jws.JWSRegistry(algorithms=["ES256"])
_REGISTRY.max_payload_length = MAX_JWS_BYTES


def load_public_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    """DER or PEM SubjectPublicKeyInfo of an elliptic-curve key. SignatureInvalid if it is anything else."""
    try:
        key = load_pem_public_key(spki) if spki.lstrip().startswith(b"-----BEGIN") else load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureInvalid(f"not a public key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SignatureInvalid("not an elliptic-curve public key")
    return key


def spki_of(key: PublicKey) -> bytes:
    """Any form of a public key as DER SubjectPublicKeyInfo."""
    if isinstance(key, bytes):
        return load_public_key(key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public: dict[str, str | list[str]] = {name: key[name] for name in ("kty", "crv", "x", "y") if name in key}
    try:
        return bytes(ECKey.import_key(public).as_der(private=False))
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise SignatureInvalid(f"not a public key: {error}") from error


def jwk_of(spki: bytes) -> dict[str, Any]:
    """The public P-256 JWK (kty, crv, x, y) of an SPKI. SignatureInvalid for other curves."""
    key = load_public_key(spki)
    if key.curve.name != "secp256r1":
        raise SignatureInvalid(f"the key is on {key.curve.name}; records need P-256")
    numbers = key.public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _text(numbers.x.to_bytes(32)), "y": _text(numbers.y.to_bytes(32))}


@lru_cache(maxsize=64)  # asked for at every turn
def thumbprint(spki: bytes) -> str:
    """RFC 7638 SHA-256 thumbprint, base64url: the key id in every JWS header."""
    return _text(hashlib.sha256(canonical.canonical(jwk_of(spki))).digest())


def ocmf_key_id(spki: bytes) -> str:
    """How a record names the key of its readings: the thumbprint of a P-256 key; of any other curve, which no JWK registry need
    know, the SHA-256 of its DER SubjectPublicKeyInfo, base64url."""
    key = load_public_key(spki)
    if key.curve.name == "secp256r1":
        return thumbprint(spki)
    return _text(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())


def raw_to_der(signature: bytes) -> bytes:
    """Raw r||s (64 bytes, as JWS and PKCS#11 have it) -> DER SEQUENCE {r, s} (as OCMF has it). ValueError for another length."""
    if len(signature) != 64:
        raise ValueError(f"a raw P-256 signature has 64 bytes, not {len(signature)}")
    return utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def der_is_good(spki: bytes, signed: bytes, signature: bytes) -> bool:
    """True if the DER signature over SHA-256(signed) verifies."""
    try:
        load_public_key(spki).verify(signature, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def jws_signing_input(typ: str, payload: dict[str, Any], key_id: str) -> bytes:
    """The ASCII bytes to sign: BASE64URL(header) "." BASE64URL(RFC 8785 payload). ValueError if the payload has no such form."""
    header = {"alg": "ES256", "kid": key_id, "typ": typ}
    return f"{_text(canonical.canonical(header))}.{_text(canonical.canonical(payload))}".encode()


def jws_seal(signing_input: bytes, raw_signature: bytes) -> str:
    """Compact JWS from the signing input and its raw r||s signature."""
    if len(raw_signature) != 64:
        raise ValueError(f"an ES256 signature has 64 bytes, not {len(raw_signature)}")
    return f"{signing_input.decode('ascii')}.{_text(raw_signature)}"


def jws_key_id(compact: str) -> str:
    """The key id the header claims, before anything is verified: only good for choosing the key. SignatureInvalid."""
    header = _header(compact)
    found = header.get("kid")
    if not isinstance(found, str):
        raise SignatureInvalid("the JWS names no key")
    return found


def jws_open(compact: str, key: PublicKey, typ: str) -> dict[str, Any]:
    """Verify a compact JWS and give its payload. SignatureInvalid: form, algorithm, type, key id, signature, canonical form."""
    spki = spki_of(key)
    header = _header(compact)
    if header != {"alg": "ES256", "kid": thumbprint(spki), "typ": typ}:
        wanted = {"alg": "ES256", "typ": typ, "kid": thumbprint(spki)}
        wrong = next((name for name, value in wanted.items() if header.get(name) != value), "an unknown entry")
        raise SignatureInvalid(f"the JWS header is not ours: {wrong}")
    try:
        opened = jws.deserialize_compact(compact, ECKey.import_key(jwk_of(spki)), registry=_REGISTRY)
    except (JoseError, ValueError) as error:
        raise SignatureInvalid(f"the signature does not verify ({type(error).__name__})") from error
    try:
        payload = canonical.parse(opened.payload, MAX_JWS_BYTES)
        same = isinstance(payload, dict) and canonical.canonical(payload) == opened.payload
    except ValueError as error:
        raise SignatureInvalid(f"the signed payload is malformed: {error}") from error
    if not same:
        raise SignatureInvalid("the signed payload is not RFC 8785 JSON")
    return dict(payload)


def _header(compact: str) -> dict[str, Any]:
    if len(compact) > MAX_JWS_BYTES:
        raise SignatureInvalid(f"a JWS of {len(compact)} characters is too long")
    if not compact.isascii() or compact.count(".") != 2:
        raise SignatureInvalid("not a compact JWS")
    first = compact.partition(".")[0]
    try:
        found = canonical.parse(base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True), 4096)
    except ValueError as error:
        raise SignatureInvalid(f"the JWS header is malformed: {error}") from error
    if not isinstance(found, dict):
        raise SignatureInvalid("the JWS header is not an object")
    return found


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
