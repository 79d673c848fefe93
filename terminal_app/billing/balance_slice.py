"""A balance slice: money of a prepaid account that the office set aside for one terminal, to be spent there offline. PURE.

The amount leaves the account when the slice is granted and what is unused returns, so the same money is never in two places:
a slice cannot be spent twice by construction. Compact JWS (ES256 by the office's key), typ balance-slice+jws, over RFC 8785
JSON. Holding a slice moves no money; spending it is the terminal's durable act, told to the office later.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from terminal_app.billing.signature import PublicKey, jws_open, jws_seal, jws_signing_input
from terminal_app.errors import SignatureInvalid

SLICE_VERSION = 1
SLICE_TYP = "balance-slice+jws"
Text = Annotated[str, Meta(pattern=r"^[!-~]{1,64}$")]


class BalanceSlice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`card` is the card's token at `terminal`; `amount_minor` what may be spent in all until `expires_utc_ms`."""

    v: int = SLICE_VERSION
    slice_id: Text
    terminal: Text
    account: Text
    card: Text
    amount_minor: Annotated[int, Meta(ge=1, le=2**53)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    granted_utc_ms: Annotated[int, Meta(ge=0, le=2**53)]
    expires_utc_ms: Annotated[int, Meta(ge=0, le=2**53)]


def make_slice(slice_: BalanceSlice, key_id: str) -> bytes:
    """The bytes the office signs (raw r||s); then `seal_slice`."""
    return jws_signing_input(SLICE_TYP, msgspec.to_builtins(slice_), key_id)


def seal_slice(signing_bytes: bytes, raw_signature: bytes) -> str:
    """The compact JWS."""
    return jws_seal(signing_bytes, raw_signature)


def open_slice(jws: str, office_key: PublicKey, terminal: str) -> BalanceSlice:
    """Verify a slice meant for `terminal`. SignatureInvalid: signature, form, version, or another terminal's slice."""
    try:
        found = msgspec.convert(jws_open(jws, office_key, SLICE_TYP), BalanceSlice)
    except msgspec.ValidationError as error:
        raise SignatureInvalid(f"balance slice: {error}") from error
    if found.v != SLICE_VERSION:
        raise SignatureInvalid(f"balance slice: version {found.v} is unknown here")
    if found.terminal != terminal:
        raise SignatureInvalid("balance slice: granted to another terminal")
    if found.expires_utc_ms <= found.granted_utc_ms:
        raise SignatureInvalid("balance slice: it never was valid")
    return found


def free_minor(slice_: BalanceSlice, used_minor: Sequence[int], now_utc_ms: int) -> int:
    """What of a slice is free now: `used_minor` are the amounts reserved or spent on it. 0 outside its time."""
    if not slice_.granted_utc_ms <= now_utc_ms < slice_.expires_utc_ms:
        return 0
    return max(0, slice_.amount_minor - sum(used_minor))
