"""A P-256 key in a PKCS#11 token (`RecordSigner`): HSM, TPM through tpm2-pkcs11, secure element; SoftHSM in tests.

The key never leaves the token and is never made here. It is named by a PKCS#11 URI (RFC 7512), e.g.
`pkcs11:token=charge;object=records?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/charge-terminal/pin`.
The PIN stands in a file of mode 0600 or narrower, never in the URI. Mechanism CKM_ECDSA over our SHA-256: every token has it.
"""

import hashlib
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import pkcs11
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11.exceptions import PKCS11Error, UserAlreadyLoggedIn
from pkcs11.types import SignMixin
from pkcs11.util.ec import encode_ec_public_key

from drivers.signers.keyfile import thumbprint
from terminal_app.errors import ConfigError, DeviceUnavailable

PIN_LIMIT = 256
SIGNATURE_BYTES = 64
_PATH_WORDS = frozenset({"token", "object", "serial"})
_QUERY_WORDS = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Where a key is: PKCS#11 module, token label (and serial, if labels are not unique), key label, file with the PIN."""

    module: Path
    token: str
    label: str
    pin_file: Path
    serial: str = ""


class Pkcs11Signer:
    """Opened at the start. ConfigError says what is wrong with URI, module, token, PIN or key. Any thread; one signs at a time."""

    def __init__(self, uri: str) -> None:
        self._where = parse_uri(uri)
        self._lock = threading.Lock()
        self._pin = _read_pin(self._where.pin_file)
        try:
            self._token = _token(self._where)
            self._session = _log_in(self._token, self._pin)
        except PKCS11Error as error:
            raise ConfigError(str(self._where.module), _name(self._where), _words(error)) from error
        try:
            self._spki = _public_key(self._session, self._where)
            self._key = _private_key(self._session, self._where)
            self.key_id = _key_id(self._spki, self._where)
        except PKCS11Error as error:
            self.close()
            raise ConfigError(str(self._where.module), _name(self._where), _words(error)) from error
        except ConfigError:
            self.close()
            raise

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo, as the token told it when it was opened."""
        return self._spki

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 over SHA-256(data) as raw r||s, 64 bytes. A lost session is opened once more; then DeviceUnavailable.

        A TPM needs some 50 to 300 ms.
        """
        digest = hashlib.sha256(data).digest()
        with self._lock:
            try:
                return self._sign(digest)
            except PKCS11Error:
                try:
                    self._open_again()
                    return self._sign(digest)
                except PKCS11Error as error:
                    raise DeviceUnavailable("signer", "pkcs11", f"{_name(self._where)}: {_words(error)}") from error

    def close(self) -> None:
        """Log out of the token; idempotent."""
        with self._lock:
            try:
                self._session.close()
            except PKCS11Error:
                return  # the token is gone already: there is nothing left to log out of

    def _sign(self, digest: bytes) -> bytes:
        signature = bytes(self._key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
        if len(signature) != SIGNATURE_BYTES:
            raise DeviceUnavailable("signer", "pkcs11", f"{_name(self._where)}: a signature of {len(signature)} bytes")
        return signature

    def _open_again(self) -> None:
        try:
            self._session.close()
        except PKCS11Error:
            pass  # it is lost: that is why we are here
        self._session = _log_in(self._token, self._pin)
        self._key = _private_key(self._session, self._where)


def parse_uri(uri: str) -> TokenKey:
    """RFC 7512 with token, object and serial, module-path and pin-source; anything else in it is refused. ConfigError."""
    found = re.fullmatch(r"pkcs11:([^?#]*)(?:\?([^#]*))?", uri)
    if found is None:
        raise ConfigError("pkcs11 URI", "", "does not begin with pkcs11:")
    path, query = _pairs(found[1], ";"), _pairs(found[2] or "", "&")
    if unknown := (path.keys() - _PATH_WORDS) | (query.keys() - _QUERY_WORDS):
        wanted = ", ".join(sorted(_PATH_WORDS | _QUERY_WORDS))
        raise ConfigError("pkcs11 URI", ", ".join(sorted(unknown)), f"unknown; known are {wanted}")
    for words, name in ((path, "token"), (path, "object"), (query, "module-path"), (query, "pin-source")):
        if not words.get(name):
            raise ConfigError("pkcs11 URI", name, "is missing")
    pin = query["pin-source"].removeprefix("file:")
    return TokenKey(Path(query["module-path"]), path["token"], path["object"], Path(pin), path.get("serial", ""))


def _pairs(text: str, separator: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if not equals or name in found:
            raise ConfigError("pkcs11 URI", name, "is no name=value, or appears twice")
        found[name] = unquote(value)
    return found


def _token(where: TokenKey) -> pkcs11.Token:
    if not where.module.is_file():
        raise ConfigError(str(where.module), "", "there is no PKCS#11 module here; is its package installed?")
    try:
        library = pkcs11.lib(str(where.module))
    except RuntimeError as error:  # what dlopen says
        raise ConfigError(str(where.module), "", f"cannot be loaded: {error}") from error
    serial = where.serial.encode() or None
    return library.get_token(token_label=where.token, token_serial=serial)


def _log_in(token: pkcs11.Token, pin: str) -> pkcs11.Session:
    """A login belongs to the whole process: where the other key of this token is open already, its login counts for us too."""
    try:
        return token.open(user_pin=pin)
    except UserAlreadyLoggedIn:
        return token.open()


def _public_key(session: pkcs11.Session, where: TokenKey) -> bytes:
    key = session.get_key(pkcs11.ObjectClass.PUBLIC_KEY, pkcs11.KeyType.EC, label=where.label)
    return bytes(encode_ec_public_key(cast(pkcs11.PublicKey, key)))


def _key_id(spki: bytes, where: TokenKey) -> str:
    key = serialization.load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(str(where.module), _name(where), "is not a P-256 key (secp256r1)")
    return thumbprint(key)


def _private_key(session: pkcs11.Session, where: TokenKey) -> SignMixin:
    return cast(SignMixin, session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.KeyType.EC, label=where.label))


def _read_pin(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")[:PIN_LIMIT]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"the PIN cannot be read: {type(error).__name__}") from error
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o177:
        raise ConfigError(str(path), "", f"mode {stat.S_IMODE(mode):04o} is wider than 0600; run: chmod 600 {path}")
    if not text.strip():
        raise ConfigError(str(path), "", "holds no PIN")
    return text.strip()


def _name(where: TokenKey) -> str:
    return f"token {where.token!r}, key {where.label!r}"


def _words(error: PKCS11Error) -> str:
    """The library's exception names are its messages."""
    said = str(error)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower() + (f": {said}" if said else "")
