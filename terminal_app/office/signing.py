"""The office's own key (P-256, PKCS#8 PEM), which countersigns acknowledgements."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from terminal_app.billing.record import thumbprint
from terminal_app.errors import ConfigError


class OfficeKey:
    """Thread-safe. `key_id` is the RFC 7638 thumbprint of the public key."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = thumbprint(self.public_pem)

    def sign(self, signing_input: bytes) -> bytes:
        """ECDSA over SHA-256 as raw r||s, 64 bytes."""
        r, s = decode_dss_signature(self._private.sign(signing_input, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)


def load(path: Path) -> OfficeKey:
    """ConfigError if the file is absent or holds no P-256 private key."""
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(str(path), "", f"cannot be read as a private key: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise ConfigError(str(path), "", "is not a P-256 private key; `charge-office init` makes one")
    return OfficeKey(private)


def create(path: Path) -> OfficeKey:
    """A new key file, mode 0600, and its public half beside it as FILE.pub. FileExistsError rather than overwriting."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    key = OfficeKey(private)
    path.with_name(path.name + ".pub").write_bytes(key.public_pem)
    return key
