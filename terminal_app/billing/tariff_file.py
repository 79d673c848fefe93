"""Tariff files signed by the operator: compact JWS (ES256, typ tariff+jws) over RFC 8785 JSON. PURE, moves no money.

One file carries one tariff, its version and from when until when it may be sold by. It is taken as a whole or refused as a
whole: signature, form, every field of the tariff, period of validity, and a version not below the one that is in use already
(an old file with an old price cannot be put back). The tariff's fingerprint is that of the tariff alone, as in every record.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from terminal_app.billing import canonical
from terminal_app.billing.model import Tariff
from terminal_app.billing.signature import MAX_JWS_BYTES, PublicKey, jws_open, jws_seal, jws_signing_input
from terminal_app.billing.tariff import tariff_from
from terminal_app.errors import SignatureInvalid, TariffRefused

__all__ = ["TARIFF_FILE_TYP", "TariffFile", "is_signed", "make_tariff_file", "open_tariff_file", "seal_tariff_file"]

TARIFF_FILE_TYP = "tariff+jws"
FILE_VERSION = 1


@dataclass(frozen=True, slots=True)
class TariffFile:
    """`version` counts upwards per tariff id. Valid from (inclusive) until (exclusive; None: until replaced), UTC ms."""

    tariff: Tariff
    version: int
    valid_from_utc_ms: int
    valid_until_utc_ms: int | None = None

    def valid_at(self, utc_ms: int) -> bool:
        """Both the file's and the tariff's own validity count."""
        begun = self.valid_from_utc_ms <= utc_ms and (self.valid_until_utc_ms is None or utc_ms < self.valid_until_utc_ms)
        return begun and self.tariff.valid_at(utc_ms)


class _Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int
    version: Annotated[int, Meta(ge=1)]
    valid_from_utc_ms: Annotated[int, Meta(ge=0)]
    valid_until_utc_ms: Annotated[int, Meta(ge=0)] | None
    tariff: dict[str, Any]


def make_tariff_file(file: TariffFile, key_id: str) -> bytes:
    """The bytes the operator signs (raw r||s); then `seal_tariff_file`. ValueError if the file contradicts itself."""
    if file.version < 1:
        raise ValueError(f"version {file.version}: versions begin at 1")
    if file.valid_until_utc_ms is not None and file.valid_until_utc_ms <= file.valid_from_utc_ms:
        raise ValueError("the file ends before it begins to be valid")
    body = {
        "v": FILE_VERSION,
        "version": file.version,
        "valid_from_utc_ms": file.valid_from_utc_ms,
        "valid_until_utc_ms": file.valid_until_utc_ms,
        "tariff": canonical.parse(file.tariff.raw.encode(), MAX_JWS_BYTES),
    }
    return jws_signing_input(TARIFF_FILE_TYP, body, key_id)


def seal_tariff_file(signing_bytes: bytes, raw_signature: bytes) -> str:
    """The compact JWS: the content of the file."""
    return jws_seal(signing_bytes, raw_signature)


def is_signed(raw: bytes) -> bool:
    """Whether a file looks like a signed one (a compact JWS) rather than plain JSON. Says nothing about its truth."""
    return raw.lstrip()[:3] == b"eyJ" and raw.count(b".") == 2


def open_tariff_file(raw: bytes, key: PublicKey, at_utc_ms: int | None = None, lowest_version: int = 1) -> TariffFile:
    """Verify with the operator's public key. SignatureInvalid, or TariffRefused for what is signed but cannot be sold by.

    `at_utc_ms`: must be valid then (None: not asked). `lowest_version`: the version already in use.
    """
    try:
        text = raw.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise SignatureInvalid("tariff file: not a compact JWS") from error
    try:
        body = msgspec.convert(jws_open(text, key, TARIFF_FILE_TYP), _Payload)
    except msgspec.ValidationError as error:
        raise TariffRefused(f"tariff file: {error}") from error
    if body.v != FILE_VERSION:
        raise TariffRefused(f"tariff file: form {body.v} is unknown here")
    if body.version < lowest_version:
        raise TariffRefused(f"tariff file: version {body.version} is older than version {lowest_version}, which is in use")
    tariff = tariff_from(body.tariff, canonical.canonical(body.tariff).decode())
    found = TariffFile(tariff, body.version, body.valid_from_utc_ms, body.valid_until_utc_ms)
    if at_utc_ms is not None and not found.valid_at(at_utc_ms):
        raise TariffRefused(f"tariff file: version {body.version} of {tariff.id} is not valid at this moment")
    return found
