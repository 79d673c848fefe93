"""Tariffs, keys and bills for the billing tests. Keys are made here and thrown away; only frozen vectors live in files."""

import json
from decimal import Decimal
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from terminal_app.billing import ocmf, record
from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.receipt import receipt_code
from terminal_app.billing.tariff import Tariff, parse_tariff
from terminal_app.values import CardFacts, EntryMode, MeterIdentity

BERLIN = "Europe/Berlin"
T0 = 1_767_344_400_000  # 2026-01-02 10:00 in Berlin, a Friday
HOUR_MS = 3_600_000


def component(kind: str, price: str, vat: str | None = "19", step: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = {"type": kind, "price": Decimal(price), "step_size": step}
    return found if vat is None else found | {"vat": Decimal(vat)}


def element(*components: dict[str, Any], **restrictions: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"price_components": list(components)}
    return found | {"restrictions": restrictions} if restrictions else found


def document(*elements: dict[str, Any], included: str = "YES", currency: str = "EUR", **more: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "EXA",
        "id": "T-1",
        "currency": currency,
        "tax_included": included,
        "elements": list(elements),
        "last_updated": "2026-01-01T00:00:00Z",
    } | more


def as_json(value: Any) -> bytes:
    """JSON with Decimals written as the numbers they are."""
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(key).encode() + b":" + as_json(one) for key, one in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(as_json, value)) + b"]"
    return str(value).encode() if isinstance(value, Decimal) else json.dumps(value).encode()


def tariff(*elements: dict[str, Any], **more: Any) -> Tariff:
    return parse_tariff(as_json(document(*elements, **more)))


KWH_TARIFF = element(component("ENERGY", "0.59"), component("FLAT", "1.00"), component("TIME", "1.20"))


class Key:
    """A P-256 key that signs as RecordSigner does: raw r||s."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.private = ec.generate_private_key(curve or ec.SECP256R1())
        self.spki = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def key_id(self) -> str:
        return record.thumbprint(self.spki)

    def der(self, signed: bytes) -> bytes:
        return self.private.sign(signed, ec.ECDSA(SHA256()))

    def sign(self, signed: bytes) -> bytes:
        r, s = utils.decode_dss_signature(self.der(signed))
        return r.to_bytes(32) + s.to_bytes(32)


def ocmf_context(**changes: Any) -> ocmf.OcmfContext:
    said = dict(
        gateway_id="charge-terminal",
        gateway_serial="T-0001",
        gateway_version="0.1.0",
        pagination=7,
        meter_vendor="Eastron",
        meter_model="SDM630-Modbus V2",
        meter_serial="21130042",
        meter_firmware="1.15",
        id_type="CARD_TXN_NR",
        id_data="S-7",
        tariff_text="0.59 EUR/kWh",
        evse_id="DE*EXA*E1",
        controller_firmware="8.2.3",
    )
    return ocmf.OcmfContext(**(said | changes))


def ocmf_text(
    key: Key,
    start_wh: int = 1_234_560,
    stop_wh: int = 1_246_905,
    *,
    begin_ms: int = T0,
    end_ms: int = T0 + HOUR_MS,
    **changes: Any,
) -> str:
    begin = ocmf.OcmfReading(begin_ms, "S", 60, "B", start_wh)
    end = ocmf.OcmfReading(end_ms, "S", 60, "L", stop_wh)
    section = ocmf.payload(ocmf_context(**changes), begin, end)
    return ocmf.assemble(section, ocmf.raw_to_der(key.sign(section)))


def head(seq: int = 1, prev: str = record.GENESIS, **changes: Any) -> record.RecordHead:
    said = dict(
        terminal="T-0001",
        chain_id="c1",
        seq=seq,
        prev=prev,
        created=record.Moment(T0 + HOUR_MS, "S"),
        software="0.1.0",
        demo=True,
    )
    return record.RecordHead(**(said | changes))


def session_bill(ocmf_record: str, **changes: Any) -> record.SessionBill:
    sold = tariff(KWH_TARIFF)
    periods = (ChargingPeriod(T0, 12_345, HOUR_MS),)
    cost = cost_of(sold, periods, BERLIN)
    said = dict(
        session_id="S-7",
        connector=1,
        evse_id="DE*EXA*E1",
        operator="Example Charging",
        operator_address="Example Street 1, 12345 Example",
        vat_id="",
        station="Example Station",
        country="DE",
        time_zone=BERLIN,
        begin=record.Moment(T0, "S"),
        end=record.Moment(T0 + HOUR_MS, "S"),
        charging_ms=HOUR_MS,
        parking_ms=0,
        meter=MeterIdentity("Eastron", "SDM630-Modbus V2", "21130042", "1.15"),
        start_wh=1_234_560,
        stop_wh=1_246_905,
        stop_source="meter",
        energy_wh=12_345,
        tariff_id=sold.id,
        tariff=sold.raw,
        tariff_fingerprint=sold.fingerprint,
        periods=periods,
        lines=record.record_lines(cost),
        currency="EUR",
        net_minor=cost.net_minor,
        vat_minor=cost.vat_minor,
        total_minor=cost.total_minor,
        payment=record.Payment(
            gateway="main",
            hold_id="H-7",
            authorized_minor=5000,
            capture_minor=cost.total_minor,
            card=CardFacts("Mastercard", "0011", "5e" * 16, "A0000000041010", "Mastercard", EntryMode.CONTACTLESS),
            trace={"rrn": "000000000007", "auth_code": "A1B2C3"},
        ),
        stop_reason="touch",
        interrupted=False,
        receipt_number="T-0001-7",
        receipt_code=receipt_code(bytes(range(20))),
        ocmf=ocmf_record,
        ocmf_key="",
    )
    return record.SessionBill(**(said | changes))


def sealed(key: Key, seq: int = 1, prev: str = record.GENESIS, **changes: Any) -> str:
    payload = record.session_payload(head(seq, prev), session_bill(ocmf_text(key), **changes))
    signing_bytes = record.signing_input(payload, key.key_id)
    return record.seal(signing_bytes, key.sign(signing_bytes))


def settled(key: Key, seq: int, prev: str, **changes: Any) -> str:
    said = dict(
        session_id="S-7",
        hold_id="H-7",
        gateway="main",
        how="captured",
        amount_minor=948,
        authorized_minor=5000,
        currency="EUR",
        ended=record.Moment(T0 + HOUR_MS, "S"),
    )
    payload = record.settlement_payload(head(seq, prev), record.SettlementBill(**(said | changes)))
    signing_bytes = record.signing_input(payload, key.key_id)
    return record.seal(signing_bytes, key.sign(signing_bytes))
