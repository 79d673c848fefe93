"""OCMF: made by us, verified by others; made or changed by others, judged by us."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyocmf
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from terminal_app.billing import ocmf
from terminal_app.billing.signature import der_is_good
from terminal_app.errors import SignatureInvalid
from tests.unit.billing_samples import HOUR_MS, T0, Key, ocmf_context, ocmf_text

KEY = Key()


def resigned(change: Callable[[dict[str, Any]], object], key: Key = KEY, algorithm: str = "ECDSA-secp256r1-SHA256") -> str:
    """A record as some other meter might make it: changed, then correctly signed."""
    body = json.loads(ocmf_text(KEY).split("|")[1])
    change(body)
    section = json.dumps(body).encode()
    return f"OCMF|{section.decode()}|" + json.dumps({"SA": algorithm, "SD": key.der(section).hex()})


def test_a_record_of_ours_says_what_was_measured() -> None:
    found = ocmf.verify(ocmf_text(KEY), KEY.spki)
    assert (found.energy_wh, found.begin_utc_ms, found.end_utc_ms, found.clock) == (12_345, T0, T0 + HOUR_MS, "S")
    assert (found.meter_serial, found.gateway_serial, found.pagination, found.certified) == ("21130042", "T-0001", "T7", False)


def test_pyocmf_verifies_it() -> None:
    found = pyocmf.OCMF.from_string(ocmf_text(KEY))
    assert found.verify_signature(KEY.spki.hex())
    assert [float(one.RV) for one in found.payload.RD] == [1234.56, 1246.905]
    assert [str(one.RU.value) for one in found.payload.RD] == ["kWh", "kWh"]
    assert not pyocmf.OCMF.from_string(ocmf_text(KEY).replace("1246.905", "1246.906")).verify_signature(KEY.spki.hex())


def test_openssl_verifies_it(tmp_path: Path) -> None:
    _, section, signature = ocmf_text(KEY).split("|")
    (tmp_path / "payload").write_text(section)
    (tmp_path / "signature").write_bytes(bytes.fromhex(json.loads(signature)["SD"]))
    (tmp_path / "key.der").write_bytes(KEY.spki)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.der", "-keyform", "DER", "-signature", "signature", "payload"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Verified OK")


def test_every_reading_repeats_every_field_and_all_is_ascii() -> None:
    """The transparency software finds no stop value without RI, and judges UTF-8 by the charset of its machine."""
    text = ocmf_text(KEY, tariff_text="0,59 € | Ladung", evse_id="DE*EXA*E1")
    assert text.isascii() and text.count("|") == 2
    body = json.loads(text.split("|")[1])
    assert body["FV"] == "1.3" and body["TT"] == "0,59 € | Ladung"
    assert [set(one) for one in body["RD"]] == [{"TM", "TX", "RV", "RI", "RU", "RT", "EF", "ST"}] * 2


def test_decimals_carry_the_resolution_of_the_meter() -> None:
    context = ocmf_context(resolution_wh=10)
    section = ocmf.payload(context, ocmf.OcmfReading(T0, "I", -210, "B", 100), ocmf.OcmfReading(T0, "I", -210, "R", 2_000_010))
    assert b'"RV":0.10,' in section and b'"RV":2000.01,' in section and b"-0330 I" in section


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b["RD"][1].update(RV=1.0), "backwards"),
        (lambda b: b["RD"][1].update(ST="M"), "not good"),
        (lambda b: b["RD"][0].update(EF="E"), "unusable"),
        (lambda b: b["RD"][1].update(EF="x"), "unusable"),
        (lambda b: b["RD"][1].pop("RI"), "RI"),
        (lambda b: b["RD"][1].update(RI="01-00:C2.08.00*FF"), "imported"),
        (lambda b: b["RD"][1].update(RI="01-00:B1.08.00*FF"), "different registers"),
        (lambda b: b["RD"][1].update(RU="mOhm"), "unit"),
        (lambda b: b["RD"][1].update(RV="1300"), "RV"),
        (lambda b: b["RD"][1].update(TX="C"), "one begin and one end"),
        (lambda b: b["RD"].pop(), "begin and an end"),
        (lambda b: b["RD"].insert(1, dict(b["RD"][0])), "one begin and one end"),
        (lambda b: b["RD"].insert(1, dict(b["RD"][0], TX="X")), "one begin and one end"),
        (lambda b: b["RD"][1].update(TM="2026-01-02T09:00:00,000+0100 S"), "before"),
        (lambda b: b["RD"][1].update(TM="2026-01-02T12:00:00,000+0100"), "no time"),
        (lambda b: b["RD"][1].update(TM="2026-01-02T12:00:00,000+0100 R"), "mixed"),
        (lambda b: b.update(PG="F7"), "PG"),
        (lambda b: b.update(FV="2.0"), "FV"),
        (lambda b: b.update(IL="MISMATCH"), "IL"),
        (lambda b: b.pop("MS"), "MS"),
    ],
)
def test_a_correctly_signed_record_that_must_not_be_billed_is_refused(
    change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(SignatureInvalid, match=reason):
        ocmf.verify(resigned(change), KEY.spki)


def test_one_flipped_bit_anywhere_is_found() -> None:
    raw = ocmf_text(KEY).encode()
    for place in range(0, len(raw), 3):
        broken = bytearray(raw)
        broken[place] ^= 1
        if bytes(broken).lower() == raw.lower():
            continue
        with pytest.raises(SignatureInvalid):
            ocmf.verify(broken.decode("latin-1"), KEY.spki)


@pytest.mark.parametrize("text", ["", "OCMF|{}|{}", "OCMF|" + "x" * 20_000 + "|{}", "OCMF|{}|{}|{}", "ocmf|{}|{}"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(SignatureInvalid):
        ocmf.verify(text, KEY.spki)


def test_another_key_and_another_curve_are_refused() -> None:
    with pytest.raises(SignatureInvalid, match="does not verify"):
        ocmf.verify(ocmf_text(KEY), Key().spki)
    with pytest.raises(SignatureInvalid, match="does not fit"):
        ocmf.verify(ocmf_text(KEY), Key(ec.SECP384R1()).spki)
    with pytest.raises(SignatureInvalid, match="not a public key"):
        ocmf.verify(ocmf_text(KEY), b"nonsense")


def test_records_of_meters_with_other_curves_and_units_verify() -> None:
    brainpool = Key(ec.BrainpoolP256R1())

    def as_wh(body: dict[str, Any]) -> None:
        body.pop("U")
        for one, value in zip(body["RD"], (1000, 2500.5), strict=True):
            one.update(RV=value, RU="Wh", RI="01-00:98.08.00*FF")
        for name in ("ST", "RU", "RT"):
            body["RD"][1].pop(name)

    found = ocmf.verify(resigned(as_wh, brainpool, "ECDSA-brainpool256r1-SHA256"), brainpool.spki)
    assert (found.energy_wh, str(found.end_wh), found.certified) == (1500, "2500.5", True)


def test_raw_and_der_signatures_are_the_same_numbers() -> None:
    assert der_is_good(KEY.spki, b"text", ocmf.raw_to_der(KEY.sign(b"text")))
    with pytest.raises(ValueError, match="64 bytes"):
        ocmf.raw_to_der(b"short")
