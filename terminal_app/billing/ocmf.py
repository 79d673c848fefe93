"""Open Charge Metering Format: the terminal's own record for unsigned meters, and the verifier for every record. PURE.

Source: SAFE-eV OCMF, document version 1.4.1. We write FV "1.3", because the transparency software in the field refuses 1.4.
One record holds begin and end, every field is repeated in both readings, and the payload is ASCII: all three are what the
verifiers in use need. A record made here is evidence of what the terminal read, marked under the vendor key "U" as not
certified for legal metrology. Moves no money; what does not verify must not be billed.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

from terminal_app.billing import canonical
from terminal_app.billing.signature import der_is_good, load_public_key, raw_to_der
from terminal_app.errors import SignatureInvalid

__all__ = [
    "FORMAT_VERSION",
    "Measurement",
    "OcmfContext",
    "OcmfReading",
    "assemble",
    "payload",
    "raw_to_der",
    "sha256_of",
    "verify",
]

FORMAT_VERSION = "1.3"
MAX_OCMF_BYTES = 16 * 1024
_END_MARKS = frozenset("ELRAP")
_CURVES = {
    "ECDSA-secp192r1-SHA256": "secp192r1",
    "ECDSA-secp256k1-SHA256": "secp256k1",
    "ECDSA-secp256r1-SHA256": "secp256r1",
    "ECDSA-secp384r1-SHA256": "secp384r1",
    "ECDSA-brainpool256r1-SHA256": "brainpoolP256r1",
    "ECDSA-brainpool384r1-SHA256": "brainpoolP384r1",
    "ECDSA-brainpoolP256r1-SHA256": "brainpoolP256r1",  # as meters in the field write it (Carlo Gavazzi EM580)
    "ECDSA-brainpoolP384r1-SHA256": "brainpoolP384r1",
}
_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d),(\d{3})([+-])(\d\d)(\d\d) ([UISR])$", re.ASCII)
_OBIS = re.compile(r"^0?1-(?:[0-9A-Fa-f]{1,2}):0?([0-9A-Fa-f]{1,2})\.0?8\.0?0(?:\*(?:FF|255|00|200|198))?$")
_IMPORT_REGISTERS = frozenset({"1", "98", "9E", "B0", "B1", "B2", "B3"})
_IDENTIFICATION_LEVELS = frozenset({"NONE", "HEARSAY", "TRUSTED", "VERIFIED", "CERTIFIED", "SECURE"})


@dataclass(frozen=True, slots=True)
class OcmfReading:
    """One reading: register in Wh, UTC ms, clock letter S/I/U/R, local offset in minutes, mark (B begin; E, L, R, A, P end)."""

    utc_ms: int
    clock: str
    offset_min: int
    tx: str
    energy_wh: int
    obis: str = "01-00:B2.08.00*FF"
    status: str = "G"


@dataclass(frozen=True, slots=True)
class OcmfContext:
    """Who measured, and for whom. `id_data` is a session or authorization reference, never a card number.

    `id_type`: CARD_TXN_NR for a paid session, LOCAL or NONE otherwise; `assigned` False for a session without a payer.
    """

    gateway_id: str
    gateway_serial: str
    gateway_version: str
    pagination: int
    meter_vendor: str
    meter_model: str
    meter_serial: str
    meter_firmware: str
    id_type: str
    id_data: str
    tariff_text: str
    evse_id: str
    controller_firmware: str = ""
    assigned: bool = True
    id_level: str = "TRUSTED"
    id_flags: tuple[str, ...] = ()
    resolution_wh: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """A verified record. `begin_wh`, `end_wh` exactly as signed; `energy_wh` the whole Wh between them, never rounded up."""

    begin_wh: Decimal
    end_wh: Decimal
    energy_wh: int
    begin_utc_ms: int
    end_utc_ms: int
    clock: str  # the worse letter of both readings
    meter_serial: str
    gateway_serial: str
    pagination: str
    certified: bool  # False: made by a terminal and marked so
    time_usable: bool
    id_data: str = ""
    tariff_text: str = ""
    step_wh: int = 1  # the last digit the readings are written with, at least 1 Wh

    def names(self, reference: str) -> bool:
        """Whether this measurement is of that charge. Meters put their own words around it (Iskra, Carlo Gavazzi)."""
        return reference in re.split(r"\s+|<=>", f"{self.id_data} {self.tariff_text}")


def payload(context: OcmfContext, begin: OcmfReading, end: OcmfReading) -> bytes:
    """The ASCII payload section: these bytes are signed (ECDSA P-256 over SHA-256) and never formatted again."""
    if begin.tx != "B" or end.tx not in _END_MARKS:
        raise ValueError(f"a record needs a begin and an end reading, not {begin.tx} and {end.tx}")
    top: dict[str, Any] = {
        "FV": FORMAT_VERSION,
        "GI": context.gateway_id,
        "GS": context.gateway_serial,
        "GV": context.gateway_version,
        "PG": f"T{context.pagination}",
        "MV": context.meter_vendor,
        "MM": context.meter_model,
        "MS": context.meter_serial,
        "MF": context.meter_firmware,
        "IS": context.assigned,
        "IL": context.id_level if context.assigned else "NONE",
        "IF": list(context.id_flags),
        "IT": context.id_type,
        "ID": context.id_data[:40],
        "TT": context.tariff_text[:250],
        "CF": context.controller_firmware[:25],
        "CT": "EVSEID",
        "CI": context.evse_id,
        "U": {"certified": False, "signed_by": "terminal"},
    }
    head = json.dumps({key: value for key, value in top.items() if value != ""}, ensure_ascii=True, separators=(",", ":"))
    readings = ",".join(_reading(one, context.resolution_wh) for one in (begin, end))
    # A pipe would end the section; inside JSON strings it may be written as an escape.
    return f'{head[:-1]},"RD":[{readings}]}}'.replace("|", "\\u007c").encode("ascii")


def _reading(one: OcmfReading, resolution_wh: int) -> str:
    zone = timezone(timedelta(minutes=one.offset_min))
    local = (datetime.fromtimestamp(one.utc_ms // 1000, UTC)).astimezone(zone)
    fields = {
        "TM": json.dumps(f"{local:%Y-%m-%dT%H:%M:%S},{one.utc_ms % 1000:03d}{local:%z} {one.clock}"),
        "TX": json.dumps(one.tx),
        "RV": _kwh_text(one.energy_wh, resolution_wh),
        "RI": json.dumps(one.obis),
        "RU": '"kWh"',
        "RT": '"AC"',
        "EF": '""',
        "ST": json.dumps(one.status),
    }
    return "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}"


def _kwh_text(energy_wh: int, resolution_wh: int) -> str:
    """A JSON number whose decimals carry the meter's resolution, at least two."""
    decimals = 2 if resolution_wh % 10 == 0 and energy_wh % 10 == 0 else 3
    return f"{Decimal(energy_wh).scaleb(-3):.{decimals}f}"


def assemble(payload_section: bytes, signature_der: bytes) -> str:
    """The whole record; kept and passed on verbatim from here."""
    section = {"SA": "ECDSA-secp256r1-SHA256", "SE": "hex", "SM": "application/x-der", "SD": signature_der.hex()}
    return f"OCMF|{payload_section.decode('ascii')}|{json.dumps(section, separators=(',', ':'))}"


@lru_cache(maxsize=8)  # who judges a bill asks two or three times about the same reading
def verify(ocmf: str, public_key_spki: bytes) -> Measurement:
    """Check signature and content as the transparency software does, and what it does not (pair, resolution, known codes).

    A meter that signs begin and end apart (Bauer BSM) gives two records, one per line: both must verify and belong together.
    SignatureInvalid with the reason; then nothing of it may be billed.
    """
    bodies = [_verified(one, public_key_spki) for one in ocmf.split("\n", 2)]
    if len(bodies) > 2:
        raise SignatureInvalid("OCMF: more than a begin and an end record")
    body = bodies[-1]
    if len(bodies) == 2:
        _check_pair(bodies[0], body)
    readings = [one for record in bodies for one in record["RD"]]
    if not 2 <= len(readings) <= 100:
        raise SignatureInvalid("OCMF: RD: a begin and an end reading are needed")
    full = _inherit(readings)
    marks = [one.get("TX") for one in full]
    if marks[0] != "B" or marks[-1] not in _END_MARKS or any(mark not in ("C", "S", "T") for mark in marks[1:-1]):
        raise SignatureInvalid(f"OCMF: RD: the marks {marks} are not one begin and one end")
    for place, one in enumerate(full):
        _check_reading(one, f"RD[{place}]")
    begin, end = full[0], full[-1]
    if any((one["RI"], one["RU"], one.get("RT")) != (begin["RI"], begin["RU"], begin.get("RT")) for one in full):
        raise SignatureInvalid("OCMF: RD: the readings are of different registers")
    (begin_ms, begin_clock), (end_ms, end_clock) = _moment(begin, "RD[0]"), _moment(end, f"RD[{len(full) - 1}]")
    values = [_wh(one) for one in full]
    if any(later < earlier for earlier, later in pairwise(values)):
        raise SignatureInvalid("OCMF: RD: the register runs backwards")
    if end_ms < begin_ms:
        raise SignatureInvalid("OCMF: RD: the end is before the begin")
    if (begin_clock == "R") != (end_clock == "R"):
        raise SignatureInvalid("OCMF: RD: relative and absolute time are mixed")
    vendor = body.get("U")
    return Measurement(
        begin_wh=values[0],
        end_wh=values[-1],
        energy_wh=int(values[-1] - values[0]),
        begin_utc_ms=begin_ms,
        end_utc_ms=end_ms,
        clock=max(begin_clock, end_clock, key="RSIU".index),
        meter_serial=body["MS"],
        gateway_serial=str(body.get("GS", "")),
        pagination=body["PG"],
        certified=not (isinstance(vendor, dict) and vendor.get("certified") is False),
        id_data=_plain(body.get("ID")),
        tariff_text=_plain(body.get("TT")),
        step_wh=max(_step_wh(one) for one in full),
        time_usable="t" not in str(begin.get("EF", "")) + str(end.get("EF", "")),
    )


def sha256_of(ocmf: str) -> str:
    """Hex, of the record verbatim."""
    return hashlib.sha256(ocmf.encode()).hexdigest()


def _plain(value: object) -> str:
    return value if isinstance(value, str) else ""


def _step_wh(one: dict[str, Any]) -> int:
    exponent = one["RV"].as_tuple().exponent if isinstance(one["RV"], Decimal) else 0
    return int(max(Decimal(1), Decimal(1).scaleb(int(exponent)) * (1000 if one["RU"] == "kWh" else 1)))


def _verified(ocmf: str, spki: bytes) -> dict[str, Any]:
    """The payload of one record whose signature verifies; `RD` is a list of objects."""
    raw = ocmf.encode("utf-8", "surrogatepass")
    parts = raw.split(b"|")
    if len(raw) > MAX_OCMF_BYTES or len(parts) != 3 or parts[0] != b"OCMF":
        raise SignatureInvalid("OCMF: not `OCMF|payload|signature`")
    _check_signature(parts[1], _object(parts[2], "signature"), spki)
    body = _object(parts[1], "payload")
    readings = body.get("RD")
    if not isinstance(readings, list) or not readings or not all(isinstance(one, dict) for one in readings):
        raise SignatureInvalid("OCMF: RD: a begin and an end reading are needed")
    _check_head(body)
    return body


def _check_pair(begin: dict[str, Any], end: dict[str, Any]) -> None:
    """Begin and end record of one measurement: same meter, same user, one reading each, the end's page is the later one."""
    for name in ("GS", "MS", "IT", "ID", "IS"):
        if begin.get(name) != end.get(name):
            raise SignatureInvalid(f"OCMF: {name} of begin and end record differ")
    if len(begin["RD"]) != 1 or len(end["RD"]) != 1:
        raise SignatureInvalid("OCMF: RD: a begin and an end record have one reading each")
    if int(begin["PG"][1:]) + 1 != int(end["PG"][1:]):
        raise SignatureInvalid(f"OCMF: PG: end {end['PG']} is not next to begin {begin['PG']}")


def _object(section: bytes, name: str) -> dict[str, Any]:
    try:
        found = canonical.parse(section, MAX_OCMF_BYTES)
    except ValueError as error:
        raise SignatureInvalid(f"OCMF: {name} section: {error}") from error
    if not isinstance(found, dict):
        raise SignatureInvalid(f"OCMF: {name} section: not an object")
    return found


def _check_signature(signed: bytes, section: dict[str, Any], spki: bytes) -> None:
    if strange := [key for key in section if key not in ("SA", "SE", "SM", "SD") and key[:1] not in "UVWXYZABCDEF"]:
        raise SignatureInvalid(f"OCMF: signature section: {strange[0][:20]!r} is unknown")
    algorithm = section.get("SA", "ECDSA-secp256r1-SHA256")
    curve = load_public_key(spki).curve.name
    if _CURVES.get(algorithm) != curve:
        raise SignatureInvalid(f"OCMF: SA {algorithm} does not fit a key on {curve}")
    if section.get("SM", "application/x-der") != "application/x-der":
        raise SignatureInvalid(f"OCMF: SM {section['SM']} is unknown")
    text, encoding = section.get("SD"), section.get("SE", "hex")
    try:
        if not isinstance(text, str) or encoding not in ("hex", "base64"):
            raise ValueError(f"SE {encoding}")
        signature = bytes.fromhex(text) if encoding == "hex" else base64.b64decode(text, validate=True)
    except ValueError as error:
        raise SignatureInvalid(f"OCMF: SD cannot be decoded: {error}") from error
    if not der_is_good(spki, signed, signature):
        raise SignatureInvalid("OCMF: the signature does not verify")


def _check_head(body: dict[str, Any]) -> None:
    if not re.fullmatch(r"0\.[1-9]|1\.[0-4]", str(body.get("FV", "")), re.ASCII):
        raise SignatureInvalid(f"OCMF: FV {body.get('FV')!r} is unknown")
    if not re.fullmatch(r"T[1-9][0-9]{0,15}", str(body.get("PG", "")), re.ASCII):
        raise SignatureInvalid(f"OCMF: PG {body.get('PG')!r} is not a transaction number")
    if not isinstance(body.get("MS"), str) or not body["MS"]:
        raise SignatureInvalid("OCMF: MS: the meter has no serial number")
    if body.get("IL", "NONE") not in _IDENTIFICATION_LEVELS:
        raise SignatureInvalid(f"OCMF: IL {body.get('IL')!r}: the user assignment failed")


def _inherit(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in what a reading may leave out because it equals the one before. RI is not among it: verifiers need it each time."""
    found: list[dict[str, Any]] = []
    for one in readings:
        before = found[-1] if found else {}
        found.append({key: before[key] for key in ("RU", "RT", "ST", "TM") if key in before} | one)
    return found


def _check_reading(one: dict[str, Any], where: str) -> None:
    obis = _OBIS.match(str(one.get("RI", "")))
    if obis is None or obis[1].upper() not in _IMPORT_REGISTERS:
        raise SignatureInvalid(f"OCMF: {where}.RI {one.get('RI')!r} is not a register of imported energy")
    if one.get("RU") not in ("kWh", "Wh"):
        raise SignatureInvalid(f"OCMF: {where}.RU {one.get('RU')!r} is no unit of energy")
    if one.get("ST") != "G":
        raise SignatureInvalid(f"OCMF: {where}.ST {one.get('ST')!r}: the meter says this value is not good")
    flags = one.get("EF", "")
    if not isinstance(flags, str) or "E" in flags or set(flags) - {"t"}:
        raise SignatureInvalid(f"OCMF: {where}.EF {flags!r}: the energy value is unusable")
    value = one.get("RV")
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool) or value < 0:
        raise SignatureInvalid(f"OCMF: {where}.RV {value!r} is no register value")


def _moment(one: dict[str, Any], where: str) -> tuple[int, str]:
    found = _TIME.match(str(one.get("TM", "")))
    try:
        if found is None:
            raise ValueError
        local = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        raise SignatureInvalid(f"OCMF: {where}.TM {one.get('TM')!r} is no time") from None
    offset_s = (int(found[4]) * 60 + int(found[5])) * 60 * (-1 if found[3] == "-" else 1)
    return (int(local.timestamp()) - offset_s) * 1000 + int(found[2]), found[6]


def _wh(one: dict[str, Any]) -> Decimal:
    return Decimal(one["RV"]) * (1000 if one["RU"] == "kWh" else 1)
