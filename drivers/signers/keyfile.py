"""A P-256 key in a PEM file (`RecordSigner`): PKCS#8, not encrypted, mode 0600 or narrower. `create` makes one."""

import base64
import hashlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from terminal_app.errors import ConfigError

SIZE_LIMIT = 16_384


class KeyFileSigner:
    """The key is read once, at the start. ConfigError names the file and what is wrong with it. Any thread."""

    def __init__(self, path: Path) -> None:
        self._key = _read(path)
        self.key_id = thumbprint(self._key.public_key())

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.DER, form)

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 over SHA-256(data) as raw r||s, 64 bytes (RFC 7518 section 3.4). Below a millisecond; never raises."""
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """RFC 7638 thumbprint of a P-256 public key: base64url, 43 characters."""
    point = key.public_numbers()
    x, y = (_base64url(number.to_bytes(32, "big")) for number in (point.x, point.y))
    return _base64url(hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode("ascii")).digest())


def create(path: Path) -> KeyFileSigner:
    """Make a new key file, mode 0600, whole or not at all, on the disk before this returns. Never overwrites.

    ConfigError if the file exists or its folder cannot be written.
    """
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(file, "wb") as stream:
                stream.write(pem)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(temporary, path)  # unlike rename, fails if the name is taken
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise ConfigError(str(path), "", "exists already; a key is never overwritten") from error
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be written: {error.strerror}") from error
    return KeyFileSigner(path)


def _read(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            pem = stream.read(SIZE_LIMIT)
    except OSError as error:
        raise ConfigError(str(path), "", f"the key cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise ConfigError(str(path), "", "is not a regular file")
    if stat.S_IMODE(mode) & 0o177:
        raise ConfigError(str(path), "", f"mode {stat.S_IMODE(mode):04o} is wider than 0600; run: chmod 600 {path}")
    if not pem.lstrip().startswith(b"-----BEGIN PRIVATE KEY-----"):
        raise ConfigError(str(path), "", "is not an unencrypted PKCS#8 PEM file (BEGIN PRIVATE KEY)")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(str(path), "", "the PEM text is damaged or of an unknown kind") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(str(path), "", "is not a P-256 key (secp256r1)")
    return key


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
