"""The schemes' CA public keys: the file `[reader] ca_keys`, read once at the start.

    [[key]]
    rid = "A000000004"
    index = "DE"              # hexadecimal, tag 8F
    modulus = "B0C1..."       # hexadecimal
    exponent = 3              # or 65537
    expires = 2030-12-31
    sha1 = "9A8B..."          # checksum over rid, index, modulus, exponent, as the scheme publishes it (EMV Book 2 section 11.2)

No key is shipped: the acquirer gives the current ones. Who can write this file can make cards that look genuine.
"""

import datetime
import hashlib
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from drivers.cards.oda import EXPONENTS, MAX_KEY_BYTES, CaKey, CaKeys, RsaKey
from terminal_app.config import decode
from terminal_app.errors import ConfigError

MAX_FILE_BYTES = 262_144
_WHERE = "[reader] ca_keys"


def _hex(least: int, most: int) -> Meta:
    return Meta(pattern=rf"^(?:[0-9A-Fa-f]{{2}}){{{least},{most}}}$")


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rid: Annotated[str, _hex(5, 5)]
    index: Annotated[str, _hex(1, 1)]
    modulus: Annotated[str, _hex(128, MAX_KEY_BYTES)]
    exponent: int
    expires: datetime.date
    sha1: Annotated[str, _hex(20, 20)]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[tuple[_Entry, ...], Meta(min_length=1, max_length=256)]


def load_ca_keys(file: Path) -> CaKeys:
    """All keys of the file, expired ones too: each payment asks for its own date. ConfigError names file, entry and reason."""
    try:
        with file.open("rb") as source:
            status = os.fstat(source.fileno())
            text = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError("terminal.toml", _WHERE, f"{file} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("terminal.toml", _WHERE, f"{file} is not a regular file")
    if status.st_mode & 0o022:
        mode = f"{status.st_mode & 0o777:04o}"
        raise ConfigError("terminal.toml", _WHERE, f"{file} can be written by others (mode {mode}): chmod 644 it")
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(file.name, "", f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        raw = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(file.name, "", f"is not TOML: {error}") from None
    found: dict[tuple[bytes, int], CaKey] = {}
    for number, entry in enumerate(decode(raw, _File, file).key, 1):
        name, key = _checked(entry, file, f"[[key]] no. {number}")
        if name in found:
            raise ConfigError(file.name, f"[[key]] no. {number}", f"index {entry.index} of {entry.rid} is there twice")
        found[name] = key
    return found


def _checked(entry: _Entry, file: Path, where: str) -> tuple[tuple[bytes, int], CaKey]:
    if entry.exponent not in EXPONENTS:
        raise ConfigError(file.name, f"{where}: exponent", f"must be one of {EXPONENTS}, not {entry.exponent}")
    rid, index, modulus = bytes.fromhex(entry.rid), bytes.fromhex(entry.index), bytes.fromhex(entry.modulus)
    exponent = entry.exponent.to_bytes((entry.exponent.bit_length() + 7) // 8, "big")
    checksum = hashlib.sha1(rid + index + modulus + exponent, usedforsecurity=False)
    if checksum.digest() != bytes.fromhex(entry.sha1):
        raise ConfigError(file.name, f"{where}: sha1", "does not fit rid, index, modulus and exponent: copy the key again")
    key = RsaKey(int.from_bytes(modulus, "big"), entry.exponent, len(modulus))
    if not key.sound:
        raise ConfigError(file.name, f"{where}: modulus", "begins with zeros or is even: it is no RSA modulus")
    return (rid, index[0]), CaKey(key, entry.expires)
