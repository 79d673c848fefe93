"""A meter that signs, as a thing outside the terminal: it survives every crash of it, gives its last record again and again, and
closes what was left open when a new measurement begins. Written without the product's code."""

import base64
import hashlib
import json
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

SERIAL = "21130042"


class SigningMeter:
    """`measured` are all records it ever made, oldest first. `apart`: begin and end are two records, one per line."""

    def __init__(self, secret: int = 7, apart: bool = False, curve: ec.EllipticCurve | None = None) -> None:
        self.key, self.apart = ec.derive_private_key(secret, curve or ec.SECP256R1()), apart
        self.page = 100
        self.open: tuple[str, str, int, int] | None = None  # reference, tariff text, Wh, UTC ms
        self.record = ""
        self.measured: list[str] = []

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def begin(self, reference: str, tariff_text: str, register_wh: int, utc_ms: int) -> str:
        """What was left over from before, "" if nothing was."""
        left = self.record
        if self.open:
            left = self.end(register_wh, utc_ms)
        self.open, self.record = (reference, tariff_text, register_wh, utc_ms), ""
        self.page += 1
        return left

    def end(self, register_wh: int, utc_ms: int) -> str:
        """The record; "" if no measurement was open and none is kept."""
        if self.open:
            reference, tariff_text, begin_wh, begun_ms = self.open
            readings = [_reading("B", begin_wh, begun_ms), _reading("E", register_wh, utc_ms)]
            head = {"FV": "1.2", "GS": SERIAL, "MS": SERIAL, "IS": True, "IT": "NONE", "ID": reference, "TT": tariff_text}
            parts = [[one] for one in readings] if self.apart else [readings]
            self.page += len(parts) - 1
            pages = range(self.page - len(parts) + 1, self.page + 1)
            texts = [json.dumps({**head, "PG": f"T{page}", "RD": part}) for page, part in zip(pages, parts, strict=True)]
            self.record, self.open = "\n".join(map(self.signed, texts)), None
            self.measured.append(self.record)
        return self.record

    def signed(self, payload: str) -> str:
        signature = self.key.sign(payload.encode(), ec.ECDSA(SHA256()))
        return f"OCMF|{payload}|" + json.dumps({"SA": f"ECDSA-{self.key.curve.name}-SHA256", "SD": signature.hex()})

    def changed(self, record: str, before: str, after: str) -> str:
        """The record with another payload, signed by this meter all the same."""
        payload = record.split("|")[1]
        assert before in payload
        return self.signed(payload.replace(before, after))


def _reading(mark: str, wh: int, utc_ms: int) -> dict[str, object]:
    moment = f"{datetime.fromtimestamp(utc_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S},{utc_ms % 1000:03d}+0000 S"
    return {"TM": moment, "TX": mark, "RV": wh / 1000, "RI": "1-0:1.8.0", "RU": "kWh", "RT": "AC", "EF": "", "ST": "G"}


def opened(record: str, spki: bytes) -> tuple[dict[str, object], int]:
    """Payload and energy of a record whose signature verifies with `spki`."""
    _, payload, section = record.split("|")
    key = load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(bytes.fromhex(json.loads(section)["SD"]), payload.encode(), ec.ECDSA(SHA256()))
    body = json.loads(payload)
    first, last = (round(one["RV"] * 1000) for one in body["RD"])
    return body, last - first


def key_id(spki: bytes) -> str:
    """RFC 7638, by hand."""
    key = load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    x, y = (base64.urlsafe_b64encode(one.to_bytes(32)).rstrip(b"=").decode() for one in (numbers.x, numbers.y))
    jwk = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(jwk.encode()).digest()).rstrip(b"=").decode()
