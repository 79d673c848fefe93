"""A command of the office to one terminal: signed, numbered, expiring. PURE.

Compact JWS (ES256 by the office's key), typ terminal-command+jws, over RFC 8785 JSON. Opening one moves no money; whether it is
new, still valid and known is the core's question. `number` rises by one per terminal, so that a command works once at most.
"""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from terminal_app.billing.canonical import canonical, parse
from terminal_app.billing.signature import MAX_JWS_BYTES, PublicKey, jws_open, jws_seal, jws_signing_input
from terminal_app.errors import SignatureInvalid

COMMAND_VERSION = 1
COMMAND_TYP = "terminal-command+jws"
MAX_ARGS_BYTES = 256 * 1024
MAX_LIFE_MS = 30 * 86_400_000
ACT_PATTERN = r"^[a-z][a-z_]{0,30}\.[a-z][a-z_]{0,30}\Z"
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}\Z"

Words = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
UtcMs = Annotated[int, Meta(ge=0, le=2**53)]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`act` is a dotted word, `args` JSON without fractions (money in minor units), `actor` who at the office, `reason` why."""

    v: int = COMMAND_VERSION
    terminal: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,36}\Z")]
    number: Annotated[int, Meta(ge=1, le=2**53)]
    command_id: Annotated[str, Meta(pattern=ID_PATTERN)]
    act: Annotated[str, Meta(pattern=ACT_PATTERN)]
    args: dict[str, Any]
    actor: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
    reason: Words
    issued_utc_ms: UtcMs
    expires_utc_ms: UtcMs


def make_command(command: Command, key_id: str) -> bytes:
    """The bytes the office signs (raw r||s); then `seal_command`. ValueError: what no terminal would take."""
    if wrong := _wrong(command):
        raise ValueError(wrong)
    payload = msgspec.to_builtins(command)
    try:
        msgspec.convert(parse(canonical(payload), MAX_JWS_BYTES), Command)  # as a terminal will read it
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    return jws_signing_input(COMMAND_TYP, payload, key_id)


def seal_command(signing_bytes: bytes, raw_signature: bytes) -> str:
    """The compact JWS."""
    return jws_seal(signing_bytes, raw_signature)


def open_command(jws: str, office_key: PublicKey, terminal: str) -> Command:
    """Verify a command meant for `terminal`. SignatureInvalid: signature, form, version, life, or another terminal's command."""
    try:
        found = msgspec.convert(jws_open(jws, office_key, COMMAND_TYP), Command)
    except msgspec.ValidationError as error:
        raise SignatureInvalid(f"command: {error}") from error
    if found.v != COMMAND_VERSION:
        raise SignatureInvalid(f"command: version {found.v} is unknown here")
    if found.terminal != terminal:
        raise SignatureInvalid("command: it is for another terminal")
    if wrong := _wrong(found):
        raise SignatureInvalid(f"command: {wrong}")
    return found


def _wrong(command: Command) -> str:
    """What the types do not say; "" if nothing is wrong."""
    if not command.issued_utc_ms < command.expires_utc_ms <= command.issued_utc_ms + MAX_LIFE_MS:
        return "it never was valid, or for more than 30 days"
    if _has_fraction(command.args):
        return "its arguments hold a number that is no integer"
    try:
        size = len(canonical(command.args))
    except ValueError as error:
        return f"its arguments have no canonical form: {error}"
    return f"its arguments exceed {MAX_ARGS_BYTES} bytes" if size > MAX_ARGS_BYTES else ""


def _has_fraction(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_fraction(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_fraction(one) for one in value)
    return isinstance(value, (Decimal, float))
