"""Records about other records: credit, key-change, checkpoint. Sealed and chained like all others (see `record`). PURE.

credit      takes a bill back, as a whole or in part, under its own receipt number; the bill itself is never touched.
key-change  hands the chain to a new key: signed with the old one, followed only by records of the new one.
checkpoint  what the terminal knew of itself at a moment: head, counters, digests; found again by whoever doubts the rest.
Building one moves no money: the refund of a credit is a money step of its own, with its own settlement record.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from terminal_app.billing.record import GENESIS, Moment, RecordHead, RecordLine, head_of
from terminal_app.billing.signature import jwk_of, thumbprint

__all__ = [
    "Checkpoint",
    "CreditBill",
    "KeyChange",
    "checkpoint_payload",
    "credit_of",
    "credit_payload",
    "key_change_payload",
]


class CreditBill(msgspec.Struct, frozen=True, kw_only=True):
    """Which record is credited (seq and SHA-256 of its JWS), why, and by which lines: all of them zero or below.

    `number` counts the credits of one session from 1. `authorization_reference` is that of the hold, "" if nothing was paid.
    """

    session_id: str
    authorization_reference: str
    credited_seq: int
    credited_sha256: str
    number: int
    reason: str
    actor: str
    lines: tuple[RecordLine, ...]
    currency: str
    receipt_number: str
    credited_receipt: str


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """`new_spki`: DER of the new P-256 key. `emergency`: the old key is lost; the owner's offline key signs instead."""

    new_spki: bytes
    reason: str
    actor: str
    emergency: bool = False


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's head (entries and hash), the office's watermark, open holds, and digests of what decides: name -> SHA-256."""

    at: Moment
    ledger_entries: int
    ledger_sha256: str
    acknowledged_through: int
    open_holds: int
    meter_registers_wh: dict[str, int]
    digests: dict[str, str]


def credit_of(session: dict[str, Any]) -> tuple[RecordLine, ...]:
    """The lines that take a whole session record back: same quantities and prices, money negated."""
    return tuple(
        RecordLine(**(line | {name: -line[name] for name in ("net_minor", "vat_minor", "gross_minor")}))
        for line in session["lines"]
    )


def credit_payload(head: RecordHead, bill: CreditBill) -> dict[str, Any]:
    """The credit record. ValueError if it would ask for money, or does not name what it credits."""
    if bill.credited_seq < 1 or bill.credited_seq >= head.seq or len(bill.credited_sha256) != 64 or bill.number < 1:
        raise ValueError(f"credit of session {bill.session_id}: it must name an earlier record by number and hash")
    if not bill.reason or not bill.receipt_number or bill.receipt_number == bill.credited_receipt:
        raise ValueError(f"credit of session {bill.session_id}: it needs a reason and a receipt number of its own")
    if not bill.lines or any(max(line.net_minor, line.vat_minor, line.gross_minor) > 0 for line in bill.lines):
        raise ValueError(f"credit of session {bill.session_id}: a line asks for money")
    if any(line.net_minor + line.vat_minor != line.gross_minor for line in bill.lines):
        raise ValueError(f"credit of session {bill.session_id}: net and VAT of a line do not make its gross")
    return head_of(head, "credit") | {
        "session_id": bill.session_id,
        "authorization_reference": bill.authorization_reference,
        "credits": {"seq": bill.credited_seq, "sha256": bill.credited_sha256, "receipt": bill.credited_receipt},
        "number": bill.number,
        "reason": bill.reason,
        "actor": bill.actor,
        "lines": [msgspec.to_builtins(line) for line in bill.lines],
        "totals": totals_of(bill.lines, bill.currency),
        "receipt": {"number": bill.receipt_number},
    }


def totals_of(lines: Sequence[RecordLine], currency: str) -> dict[str, Any]:
    """Sums of lines, as every record writes them."""
    return {
        "currency": currency,
        "net_minor": sum(line.net_minor for line in lines),
        "vat_minor": sum(line.vat_minor for line in lines),
        "total_minor": sum(line.gross_minor for line in lines),
    }


def key_change_payload(head: RecordHead, change: KeyChange) -> dict[str, Any]:
    """The key-change record, to be signed with the OLD key (RFC 7517 JWK, RFC 7638 id of the new one). SignatureInvalid."""
    if not change.reason:
        raise ValueError("a key change needs a reason")
    return head_of(head, "key-change") | {
        "new_key": jwk_of(change.new_spki),
        "new_key_id": thumbprint(change.new_spki),
        "reason": change.reason,
        "actor": change.actor,
        "emergency": change.emergency,
    }


def checkpoint_payload(head: RecordHead, point: Checkpoint) -> dict[str, Any]:
    """The checkpoint record."""
    if head.seq == 1 and point.acknowledged_through:
        raise ValueError("the first record cannot follow an acknowledged one")
    if point.acknowledged_through >= head.seq or (point.ledger_entries == 0) != (point.ledger_sha256 == GENESIS):
        raise ValueError("the checkpoint contradicts itself")
    return head_of(head, "checkpoint") | {
        "at": msgspec.to_builtins(point.at),
        "ledger": {"entries": point.ledger_entries, "sha256": point.ledger_sha256},
        "acknowledged_through": point.acknowledged_through,
        "open_holds": point.open_holds,
        "meter_registers_wh": dict(point.meter_registers_wh),
        "digests": dict(point.digests),
    }
