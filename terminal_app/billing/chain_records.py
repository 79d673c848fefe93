"""Records about other records: credit, key-change, checkpoint. Sealed and chained like all others (see `record`). PURE.

credit      takes a bill back, as a whole or in part, under its own receipt number; the bill itself is never touched.
key-change  hands the chain to a new key: signed with the old one, followed only by records of the new one.
checkpoint  what the terminal knew of itself at a moment: head, counters, digests; found again by whoever doubts the rest.
Building one moves no money: the refund of a credit is a money step of its own, with its own settlement record.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from terminal_app import units
from terminal_app.billing.record import GENESIS, Moment, RecordHead, RecordLine, head_of
from terminal_app.billing.signature import jwk_of, thumbprint
from terminal_app.billing.tariff import decimal_text

__all__ = [
    "Checkpoint",
    "CreditBill",
    "KeyChange",
    "checkpoint_payload",
    "credit_lines",
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
    """`new_spki`: DER of the P-256 key that signs from here on (the old one again if only the other key changes).

    `new_ocmf_spki`: DER of the key that signs readings from here on; empty = unchanged. `emergency`: the old key is lost; the
    owner's offline key signs instead.
    """

    new_spki: bytes
    reason: str
    actor: str
    emergency: bool = False
    new_ocmf_spki: bytes = b""


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
    return tuple(_turned(RecordLine(**line)) for line in session["lines"])


def credit_lines(
    billed: Sequence[RecordLine], credited: Sequence[RecordLine], amount_minor: int, currency: str
) -> tuple[RecordLine, ...]:
    """The lines that take `amount_minor` (above 0) of a bill back, of which `credited` (zero or below) were taken back before.

    All at once: the bill's own lines turned round. A part is spread over the VAT rates in proportion to what is left of each,
    VAT in proportion too, so that after any number of parts nothing is below zero and the last one leaves exactly nothing.
    ValueError if so much is not left.
    """
    plain = all(min(line.net_minor, line.vat_minor, line.gross_minor) >= 0 for line in billed)
    if plain and not credited and amount_minor == sum(line.gross_minor for line in billed):
        return tuple(_turned(line) for line in billed)
    left = _left(billed, credited)
    total = sum(gross for gross, _ in left.values())
    if not 0 < amount_minor <= total:
        raise ValueError(f"{amount_minor} cannot be credited: {total} of the bill are left")
    shares = {rate: amount_minor * gross // total for rate, (gross, _) in left.items()}
    missing = amount_minor - sum(shares.values())
    for rate in sorted(left, key=lambda one: -(amount_minor * left[one][0] % total))[:missing]:
        shares[rate] += 1
    return tuple(_part(rate, share, *left[rate], currency) for rate, share in shares.items() if share)


def _turned(line: RecordLine) -> RecordLine:
    money = {name: -getattr(line, name) for name in ("net_minor", "vat_minor", "gross_minor")}
    return msgspec.structs.replace(line, **money)


def _left(billed: Sequence[RecordLine], credited: Sequence[RecordLine]) -> dict[str, tuple[int, int]]:
    """VAT rate -> gross and VAT not taken back yet. A bill with a rate below zero (a price limit) is one sum without a rate."""
    odd = any(min(gross, vat, gross - vat) < 0 for gross, vat in _by_rate(billed, False).values())
    return _by_rate((*billed, *credited), odd)


def _by_rate(lines: Iterable[RecordLine], as_one: bool) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for line in lines:
        rate = "" if as_one else line.vat_percent
        gross, vat = found.get(rate, (0, 0))
        found[rate] = (gross + line.gross_minor, vat + line.vat_minor)
    return found


def _part(rate: str, share_minor: int, gross_minor: int, vat_minor: int, currency: str) -> RecordLine:
    """A share of what is left of one VAT rate."""
    vat = (2 * share_minor * vat_minor + gross_minor) // (2 * gross_minor)  # HALF_UP of share x vat / gross, in integers
    return RecordLine(
        kind="credit",
        amount=1,
        unit="1",
        quantity="1",
        price=decimal_text(units.major(share_minor, currency), 0, 15),
        per="session",
        vat_percent=rate,
        net_minor=vat - share_minor,
        vat_minor=-vat,
        gross_minor=-share_minor,
        element=-1,
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
    found = head_of(head, "key-change") | {
        "new_key": jwk_of(change.new_spki),
        "new_key_id": thumbprint(change.new_spki),
        "reason": change.reason,
        "actor": change.actor,
        "emergency": change.emergency,
    }
    if change.new_ocmf_spki:
        found |= {"new_ocmf_key": jwk_of(change.new_ocmf_spki), "new_ocmf_key_id": thumbprint(change.new_ocmf_spki)}
    return found


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
