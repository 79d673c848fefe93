"""The office's countersigned acknowledgement: "every record up to here is stored". Compact JWS (ES256), typ ack+jws. PURE.

It covers a contiguous range from 1, is bound to the chain's head by hash, and lets the terminal forget what it covers (after
retention). `quarantined` records are stored too, but the office could not accept them: a person must look. Moves no money.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from terminal_app.billing.record import GENESIS
from terminal_app.billing.signature import PublicKey, jws_open, jws_seal, jws_signing_input
from terminal_app.errors import SignatureInvalid

__all__ = ["ACK_VERSION", "Ack", "make_ack", "open_ack", "seal_ack"]

ACK_VERSION = 1
ACK_TYP = "ack+jws"


class Ack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`through_seq` 0: nothing stored yet, `head_sha256` is then GENESIS, else the SHA-256 of the JWS at `through_seq`.

    `facts_through` is the newest ledger seq whose public facts are stored; `utc_ms` the office's clock.
    """

    v: int = ACK_VERSION
    terminal: str
    chain_id: str
    through_seq: Annotated[int, Meta(ge=0)]
    head_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    facts_through: Annotated[int, Meta(ge=0)]
    utc_ms: int
    quarantined: tuple[int, ...] = ()


def make_ack(ack: Ack, key_id: str) -> bytes:
    """The bytes the office signs (raw r||s); then `seal_ack`."""
    return jws_signing_input(ACK_TYP, msgspec.to_builtins(ack), key_id)


def seal_ack(signing_bytes: bytes, raw_signature: bytes) -> str:
    """The compact JWS."""
    return jws_seal(signing_bytes, raw_signature)


def open_ack(jws: str, key: PublicKey) -> Ack:
    """Verify with the office's public key. SignatureInvalid. Whether it fits our chain is the ledger's question."""
    try:
        ack = msgspec.convert(jws_open(jws, key, ACK_TYP), Ack)
    except msgspec.ValidationError as error:
        raise SignatureInvalid(f"acknowledgement: {error}") from error
    if ack.v != ACK_VERSION:
        raise SignatureInvalid(f"acknowledgement: version {ack.v} is unknown here")
    if (ack.through_seq == 0) != (ack.head_sha256 == GENESIS):
        raise SignatureInvalid("acknowledgement: head_sha256 does not fit through_seq")
    if any(not 1 <= seq <= ack.through_seq for seq in ack.quarantined):
        raise SignatureInvalid("acknowledgement: a quarantined record lies outside its range")
    return ack
