"""Billing records: sealed, chained, never edited. Compact JWS (ES256) over RFC 8785 JSON. PURE; moves no money.

A record's identity is (terminal, chain_id, seq); seq is gapless from 1; `prev` is the SHA-256 (hex) of the previous compact
JWS, `GENESIS` for the first. Header {alg: ES256, kid: RFC 7638 thumbprint, typ: billing-record+jws}. The compact string is
stored as signed and never made again. Types: session, settlement here; credit, key-change, checkpoint in `chain_records`.
Times are UTC ms with the clock's state (S synchronised, I informative, U unknown). Money in minor units, energy in Wh.
Prices and quantities are decimal texts. The whole format: `record_format`. Frozen examples of every version: tests/vectors.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from terminal_app.billing import canonical
from terminal_app.billing.cost import ChargingPeriod, Cost, CostLine
from terminal_app.billing.no_charge import NoCharge, card_payload, no_charge_payload
from terminal_app.billing.signature import (
    MAX_JWS_BYTES,
    PublicKey,
    jwk_of,
    jws_key_id,
    jws_open,
    jws_seal,
    jws_signing_input,
    spki_of,
    thumbprint,
)
from terminal_app.billing.tariff import decimal_text
from terminal_app.errors import SignatureInvalid
from terminal_app.screens import PriceKind
from terminal_app.values import CardFacts, MeterIdentity, Stamp

__all__ = [
    "GENESIS",
    "RECORD_TYPES",
    "RECORD_VERSION",
    "ChainHead",
    "KeyChange",
    "Moment",
    "Payment",
    "RecordHead",
    "RecordLine",
    "SessionBill",
    "SettlementBill",
    "claims_of",
    "head_of",
    "jwk_of",
    "key_change_of",
    "moment",
    "open_record",
    "record_lines",
    "seal",
    "session_payload",
    "settlement_payload",
    "sha256_of",
    "signer_of",
    "signing_input",
    "thumbprint",
    "verify_chain",
]

RECORD_VERSION = 1
RECORD_TYP = "billing-record+jws"
RECORD_TYPES = ("session", "settlement", "credit", "key-change", "checkpoint")
GENESIS = "0" * 64
"""`prev` of the first record of a chain. The chain's identity stands in every record, so it need not be in here."""


class Moment(msgspec.Struct, frozen=True):
    """UTC ms and how far the clock could be trusted: "S", "I" or "U"."""

    utc_ms: int
    clock: str


def moment(stamp: Stamp) -> Moment:
    return Moment(stamp.utc_ms, stamp.clock.value)


class RecordHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every record says first. `created` is when it was sealed."""

    terminal: str
    chain_id: str
    seq: int
    prev: str
    created: Moment
    software: str
    demo: bool


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """How a session was paid: `hold_id` is the authorization reference, `trace` what the gateway knows it by.

    `card` None: not by card. Never more of a card than CardFacts.
    """

    gateway: str
    hold_id: str
    authorized_minor: int
    capture_minor: int
    shortfall_minor: int = 0
    card: CardFacts | None = None
    trace: dict[str, str] = {}


_UNITS = {
    PriceKind.ENERGY: ("Wh", "kWh"),
    PriceKind.TIME: ("ms", "h"),
    PriceKind.PARKING: ("ms", "h"),
    PriceKind.FLAT: ("1", "session"),
    PriceKind.LIMIT: ("1", "session"),
}


class RecordLine(msgspec.Struct, frozen=True, kw_only=True):
    """A bill line: the exact `amount` in `unit`, `price` as the tariff has it `per` kWh, h or session, rounded money, and which
    rule applied: `element` of the tariff (-1: a price limit), `stepped` and `late` parts of the amount (see CostLine).

    `quantity` is the amount as people read it: kWh, minutes, sessions.
    """

    kind: str
    amount: int
    unit: str
    quantity: str
    price: str
    per: str
    vat_percent: str
    net_minor: int
    vat_minor: int
    gross_minor: int
    element: int
    stepped: int = 0
    late: int = 0


class SessionBill(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a session record says. `payment` None: a free session. `lines` from `record_lines(cost)`."""

    session_id: str
    connector: int
    evse_id: str
    operator: str
    operator_address: str
    vat_id: str
    station: str
    country: str
    time_zone: str
    begin: Moment
    end: Moment
    charging_ms: int
    parking_ms: int
    meter: MeterIdentity
    start_wh: int
    stop_wh: int
    stop_source: str
    energy_wh: int
    tariff_id: str
    tariff: str  # canonical JSON, as parse_tariff gave it
    tariff_fingerprint: str
    periods: tuple[ChargingPeriod, ...]
    lines: tuple[RecordLine, ...]
    currency: str
    net_minor: int
    vat_minor: int
    total_minor: int
    payment: Payment | None
    stop_reason: str
    interrupted: bool
    receipt_number: str
    receipt_code: str
    ocmf: str
    ocmf_key: str  # thumbprint of the OCMF key ("" without OCMF)
    max_power_w: int = 0  # of the outlet, 0 = not told
    current: str = ""  # "AC" or "DC"
    interrupted_from: Moment | None = None  # newest reading before an interruption, and when it was noticed
    interrupted_until: Moment | None = None
    not_billed: str = ""  # why energy costs nothing; see billing.law
    meter_key: str = ""  # SPKI, hex, if the meter itself signed: all that is needed to verify `ocmf`
    meter_clock: str = ""  # and the worse sync letter of its readings
    unbilled_why: str = ""  # why energy that flowed is not billed; then nothing is
    unbilled_wh: int = 0
    test: bool = False  # by service personnel: never a sale
    limits: tuple[tuple[int, int, str], ...] = ()  # changes of the current: UTC ms, A in force from then on (0 = paused), source
    limits_left_out: int = 0  # changes before those
    stop_why: str = ""


class SettlementBill(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a hold: `how` is captured, voided, manual or refunded; `amount_minor` what really moved by it."""

    session_id: str
    hold_id: str
    gateway: str
    how: str
    amount_minor: int
    authorized_minor: int
    currency: str
    ended: Moment
    trace: dict[str, str] = {}
    detail: str = ""
    receipt_number: str = ""
    no_charge: NoCharge | None = None  # the receipt of a hold that no bill belongs to


def record_lines(cost: Cost) -> tuple[RecordLine, ...]:
    """All lines of a cost as a record says them."""
    return tuple(_record_line(line) for line in cost.lines)


def _record_line(line: CostLine) -> RecordLine:
    unit, per = _UNITS[line.kind]
    return RecordLine(
        kind=line.kind.value,
        amount=line.amount,
        unit=unit,
        quantity=decimal_text(line.quantity, 0, 3),
        price=decimal_text(line.price, 0, 15),
        per=per,
        vat_percent="" if line.vat_percent is None else decimal_text(line.vat_percent, 0),
        net_minor=line.net_minor,
        vat_minor=line.vat_minor,
        gross_minor=line.gross_minor,
        element=line.element,
        stepped=line.stepped,
        late=line.late,
    )


def _meter(meter: MeterIdentity) -> dict[str, Any]:
    """`wraps_at_wh` only of a model that rolls over."""
    told: dict[str, Any] = msgspec.to_builtins(meter)
    if not meter.wraps_at_wh:
        del told["wraps_at_wh"]
    return told


def _register(bill: SessionBill) -> dict[str, Any]:
    """`stop_why` only where a checkpoint ends the bill."""
    told = {"start_wh": bill.start_wh, "stop_wh": bill.stop_wh, "stop_source": bill.stop_source}
    return told | ({"stop_why": bill.stop_why} if bill.stop_why else {})


def session_payload(head: RecordHead, bill: SessionBill) -> dict[str, Any]:
    """The session record as plain JSON values. ValueError if the bill contradicts itself (then nothing may be sealed)."""
    if bill.energy_wh != bill.stop_wh - bill.start_wh:
        raise ValueError(
            f"session {bill.session_id}: {bill.energy_wh} Wh billed, but the register moved {bill.stop_wh - bill.start_wh}"
        )
    for name, total in (("net_minor", bill.net_minor), ("vat_minor", bill.vat_minor), ("gross_minor", bill.total_minor)):
        if sum(getattr(line, name) for line in bill.lines) != total:
            raise ValueError(f"session {bill.session_id}: the lines do not add up to the total ({name})")
    if bill.unbilled_why and (bill.energy_wh or bill.total_minor):
        raise ValueError(f"session {bill.session_id}: billed, although it must not be: {bill.unbilled_why}")
    return (
        head_of(head, "session")
        | _only_if_so(bill)
        | {
            "session_id": bill.session_id,
            "authorization_reference": bill.payment.hold_id if bill.payment else "",
            "connector": bill.connector,
            "evse_id": bill.evse_id,
            **({"outlet": {"max_power_w": bill.max_power_w, "current": bill.current}} if bill.max_power_w else {}),
            "seller": {"name": bill.operator, "address": bill.operator_address, "vat_id": bill.vat_id},
            "site": {"station": bill.station, "country": bill.country, "time_zone": bill.time_zone},
            "begin": msgspec.to_builtins(bill.begin),
            "end": msgspec.to_builtins(bill.end),
            "charging_ms": bill.charging_ms,
            "parking_ms": bill.parking_ms,
            "meter": _meter(bill.meter),
            "register": _register(bill),
            "energy_wh": bill.energy_wh,
            "tariff": {"id": bill.tariff_id, "fingerprint": bill.tariff_fingerprint, "json": bill.tariff},
            "periods": [_period(one) for one in bill.periods],
            "lines": [msgspec.to_builtins(line) for line in bill.lines],
            "totals": {
                "currency": bill.currency,
                "net_minor": bill.net_minor,
                "vat_minor": bill.vat_minor,
                "total_minor": bill.total_minor,
            },
            "payment": None if bill.payment is None else _payment(bill.payment),
            "stop": {"reason": bill.stop_reason, "interrupted": bill.interrupted, **_interruption(bill)},
            "receipt": {"number": bill.receipt_number, "code": bill.receipt_code},
            "ocmf": _ocmf(bill),
        }
    )


def _only_if_so(bill: SessionBill) -> dict[str, Any]:
    """What few records say: absent means no test, no change of the current, and that energy was billed as the tariff says."""
    found: dict[str, Any] = {"test": True} if bill.test else {}
    if bill.limits:
        found["limits"] = [{"utc_ms": utc_ms, "limit_a": limit_a, "source": source} for utc_ms, limit_a, source in bill.limits]
    if bill.limits_left_out:
        found["limits_left_out"] = bill.limits_left_out
    if bill.not_billed:
        found["not_billed"] = bill.not_billed
    if bill.unbilled_why:
        found["unbilled"] = {"why": bill.unbilled_why, "energy_wh": bill.unbilled_wh}
    return found


def _interruption(bill: SessionBill) -> dict[str, Any]:
    if bill.interrupted_from is None or bill.interrupted_until is None:
        return {}
    return {"from": msgspec.to_builtins(bill.interrupted_from), "until": msgspec.to_builtins(bill.interrupted_until)}


def _ocmf(bill: SessionBill) -> dict[str, Any]:
    sha256 = hashlib.sha256(bill.ocmf.encode()).hexdigest() if bill.ocmf else ""
    by_meter = {"meter_key": bill.meter_key, "clock": bill.meter_clock} if bill.meter_key else {}
    return {"record": bill.ocmf, "sha256": sha256, "key": bill.ocmf_key, **by_meter}


def settlement_payload(head: RecordHead, bill: SettlementBill) -> dict[str, Any]:
    """The settlement record: what became of the money of one authorization."""
    return head_of(head, "settlement") | {
        "session_id": bill.session_id,
        "authorization_reference": bill.hold_id,
        "gateway": bill.gateway,
        "how": bill.how,
        "amount_minor": bill.amount_minor,
        "authorized_minor": bill.authorized_minor,
        "currency": bill.currency,
        "ended": msgspec.to_builtins(bill.ended),
        "trace": dict(bill.trace),
        "detail": bill.detail,
        "receipt": {"number": bill.receipt_number} if bill.no_charge is None else no_charge_payload(bill.no_charge),
    }


def head_of(head: RecordHead, record_type: str) -> dict[str, Any]:
    """What every record begins with. ValueError for a number below 1 or a malformed link."""
    if head.seq < 1 or len(head.prev) != 64:
        raise ValueError(f"record {head.seq}: seq begins at 1, prev is 64 hex digits")
    return {"v": RECORD_VERSION, "type": record_type, **msgspec.to_builtins(head)}


def _period(one: ChargingPeriod) -> dict[str, int]:
    found = {name: getattr(one, name) for name in ("start_utc_ms", "energy_wh", "charging_ms", "parking_ms")}
    flow = {name: getattr(one.flow, name) for name in ("min_power_w", "max_power_w", "min_current_ma", "max_current_ma")}
    return found | {name: value for name, value in flow.items() if value is not None}


def _payment(one: Payment) -> dict[str, Any]:
    return {
        "gateway": one.gateway,
        "hold_id": one.hold_id,
        "authorized_minor": one.authorized_minor,
        "capture_minor": one.capture_minor,
        "shortfall_minor": one.shortfall_minor,
        "trace": dict(one.trace),
        "card": card_payload(one.card),
    }


# --- sealing and opening -------------------------------------------------------------------------------------------


def signing_input(payload: dict[str, Any], key_id: str) -> bytes:
    """The bytes the signer signs; commit them before (SealIntended). ValueError if the payload has no canonical form."""
    return jws_signing_input(RECORD_TYP, payload, key_id)


def signer_of(signing_bytes: str) -> str:
    """The id of the key that must sign these bytes."""
    return jws_key_id(f"{signing_bytes}.")


def claims_of(signing_bytes: bytes) -> dict[str, Any]:
    """The payload that will be signed. For our own bytes, as signing_input made them."""
    body = signing_bytes.split(b".")[1]
    found: dict[str, Any] = canonical.parse(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)), MAX_JWS_BYTES)
    return found


def seal(signing_bytes: bytes, raw_signature: bytes) -> str:
    """The compact JWS. From here on only this string counts."""
    return jws_seal(signing_bytes, raw_signature)


def open_record(jws: str, key: PublicKey) -> dict[str, Any]:
    """Verify one record against a public key (JWK or SPKI) and give its payload. SignatureInvalid with the reason."""
    payload = jws_open(jws, key, RECORD_TYP)
    if payload.get("v") != RECORD_VERSION or payload.get("type") not in RECORD_TYPES:
        raise SignatureInvalid(f"record version {payload.get('v')!r}, type {payload.get('type')!r} is unknown here")
    return payload


def sha256_of(jws: str) -> str:
    """SHA-256 of the compact JWS as stored, hex: the chain's link and the record's name in acknowledgements."""
    return hashlib.sha256(jws.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where a chain stands: last seq (0 = empty) and the SHA-256 of its JWS. `key_id` must sign the next; "" = any known."""

    seq: int = 0
    sha256: str = GENESIS
    key_id: str = ""


START = ChainHead()


def verify_chain(
    records: Iterable[tuple[int, str]],
    key_of: Callable[[str], PublicKey | None],
    start: ChainHead = START,
    terminal: str = "",
    chain_id: str = "",
) -> ChainHead:
    """Verify records (seq, jws) following `start`; `key_of` gives the public key of a key id, None if unknown.

    The key may only change by a `key-change` record signed with the old key; from there on the key it names is known, too.
    SignatureInvalid names the first bad entry.
    """
    head, learned = start, dict[str, PublicKey]()

    def known(key_id: str) -> PublicKey | None:
        return learned.get(key_id) or key_of(key_id)

    for seq, jws in records:
        try:
            payload = _linked(head, seq, jws, known, (terminal, chain_id))
            change = key_change_of(payload)
        except SignatureInvalid as error:
            raise SignatureInvalid(f"record {seq}: {error}") from error
        terminal, chain_id = payload["terminal"], payload["chain_id"]
        key_id = jws_key_id(jws)
        if change is not None:
            key_id, learned[change.key_id] = change.key_id, change.spki
        head = ChainHead(seq, sha256_of(jws), key_id)
    return head


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What a verified key-change record announces, as DER SPKI; `ocmf_key_id` empty: the key of the readings stays."""

    key_id: str
    spki: bytes
    ocmf_key_id: str = ""
    ocmf_spki: bytes = b""


def key_change_of(payload: dict[str, Any]) -> KeyChange | None:
    """The new keys of a key-change record, each with the name it must have; None for other records. SignatureInvalid."""
    if payload["type"] != "key-change":
        return None
    key_id, spki = _announced(payload, "new_key")
    if "new_ocmf_key" not in payload:
        return KeyChange(key_id, spki)
    return KeyChange(key_id, spki, *_announced(payload, "new_ocmf_key"))


def _announced(payload: dict[str, Any], name: str) -> tuple[str, bytes]:
    jwk, key_id = payload.get(name), payload.get(f"{name}_id")
    if not isinstance(jwk, dict) or not isinstance(key_id, str):
        raise SignatureInvalid(f"the key change has no {name}")
    spki = spki_of(jwk)
    if thumbprint(spki) != key_id:
        raise SignatureInvalid(f"{name} is not the key it names")
    return key_id, spki


def _linked(
    head: ChainHead, seq: int, jws: str, key_of: Callable[[str], PublicKey | None], identity: tuple[str, str]
) -> dict[str, Any]:
    key_id = jws_key_id(jws)
    if head.key_id and key_id != head.key_id:
        raise SignatureInvalid(f"signed by key {key_id} without a key change")
    key = key_of(key_id)
    if key is None:
        raise SignatureInvalid(f"signed by the unknown key {key_id}")
    payload = open_record(jws, key)
    if seq != head.seq + 1 or payload.get("seq") != seq:
        raise SignatureInvalid(f"does not follow record {head.seq}: it calls itself {payload.get('seq')}")
    if payload.get("prev") != head.sha256:
        raise SignatureInvalid(f"is not linked to record {head.seq}")
    for name, wanted in zip(("terminal", "chain_id"), identity, strict=True):
        if not isinstance(payload.get(name), str) or (wanted and payload[name] != wanted):
            raise SignatureInvalid(f"belongs to {name} {payload.get(name)!r}")
    return payload
