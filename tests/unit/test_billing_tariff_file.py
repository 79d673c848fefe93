"""Signed tariff files: whole or not at all, in their time, never an older one again."""

import json
from pathlib import Path

import pytest

from drivers.signers import keyfile
from terminal_app.billing import canonical, tariff_file
from terminal_app.billing.signature import jws_seal, jws_signing_input
from terminal_app.billing.tariff_file import TariffFile, open_tariff_file
from terminal_app.errors import ChargeError, SignatureInvalid, TariffRefused
from terminal_app.run.service.cli import main
from tests.unit.billing_samples import KWH_TARIFF, T0, Key, as_json, document, sealed, tariff

KEY = Key()
SOLD = tariff(KWH_TARIFF)


def signed(key: Key = KEY, **changes: object) -> bytes:
    said = {"tariff": SOLD, "version": 3, "valid_from_utc_ms": T0, "valid_until_utc_ms": T0 + 1000} | changes
    signing_bytes = tariff_file.make_tariff_file(TariffFile(**said), key.key_id)
    return tariff_file.seal_tariff_file(signing_bytes, key.sign(signing_bytes)).encode() + b"\n"


def test_a_signed_file_gives_the_very_tariff_with_the_same_fingerprint() -> None:
    found = open_tariff_file(signed(), KEY.spki, T0, lowest_version=3)
    assert (found.tariff, found.version, found.tariff.fingerprint) == (SOLD, 3, SOLD.fingerprint)
    assert tariff_file.is_signed(signed())
    assert not tariff_file.is_signed(as_json(document(KWH_TARIFF)))


def test_every_flipped_byte_refuses_the_file() -> None:
    whole = signed().strip()
    for place in range(0, len(whole), 7):
        harmed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with pytest.raises(ChargeError):
            open_tariff_file(harmed, KEY.spki)


@pytest.mark.parametrize(("at", "good"), [(T0 - 1, False), (T0, True), (T0 + 999, True), (T0 + 1000, False)])
def test_only_in_its_time(at: int, good: bool) -> None:
    if good:
        assert open_tariff_file(signed(), KEY.spki, at).version == 3
    else:
        with pytest.raises(TariffRefused, match="not valid"):
            open_tariff_file(signed(), KEY.spki, at)


def test_an_older_version_a_stranger_and_another_kind_of_jws_are_refused() -> None:
    with pytest.raises(TariffRefused, match="older"):
        open_tariff_file(signed(), KEY.spki, T0, lowest_version=4)
    with pytest.raises(SignatureInvalid):
        open_tariff_file(signed(Key()), KEY.spki, T0)
    with pytest.raises(SignatureInvalid):
        open_tariff_file(sealed(KEY).encode(), KEY.spki, T0)
    with pytest.raises(ValueError, match="begins"):
        signed(valid_until_utc_ms=T0)


def test_a_good_signature_does_not_make_an_unknown_field_good() -> None:
    """Refused as a whole: in the wrapper and in the tariff."""
    body = {
        "v": 1,
        "version": 1,
        "valid_from_utc_ms": 0,
        "valid_until_utc_ms": None,
        "tariff": canonical.parse(SOLD.raw.encode(), 10_000),
    }
    for changed in (
        body | {"surprise": 1},
        body | {"v": 2},
        body | {"version": 0},
        body | {"tariff": body["tariff"] | {"surprise": 1}},
    ):
        signing_bytes = jws_signing_input("tariff+jws", changed, KEY.key_id)
        with pytest.raises(TariffRefused):
            open_tariff_file(jws_seal(signing_bytes, KEY.sign(signing_bytes)).encode(), KEY.spki)


def test_the_operator_signs_and_anyone_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, out, public = tmp_path / "t.json", tmp_path / "t.jws", tmp_path / "operator.pub"
    plain.write_bytes(as_json(document(KWH_TARIFF)))
    public.write_bytes(keyfile.create(tmp_path / "operator.pem").public_key_spki())
    said = ["--key", str(tmp_path / "operator.pem"), "--version", "2", "--from", "2026-01-01", "--out", str(out)]
    assert main(["tariff", "sign", str(plain), *said]) == 0
    capsys.readouterr()
    checked = ["tariff", "verify", str(out), "--key", str(public)]
    assert main([*checked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] == SOLD.fingerprint
    assert main([*checked, "--at", "2025-12-31"]) == 2
    assert main([*checked, "--lowest-version", "3"]) == 2
    assert "older" in capsys.readouterr().err
    out.write_text(out.read_text().replace("eyJ", "eyK", 1))
    assert main(checked) == 2
