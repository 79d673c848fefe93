"""The page about the record format names every field that is in a record, and frozen records of every type still open."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing import record, record_format, tariff_file
from terminal_app.billing.ocmf import verify
from tests.unit.test_billing_chain_records import OLD, chain

VECTORS = Path(__file__).parent.parent / "vectors"
PAGE = record_format.__doc__ or ""
OPEN_ENDED = {"trace", "meter_registers_wh", "digests", "new_key", "new_ocmf_key"}  # maps whose keys are data


def names(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for one in value for name in names(one)}
    if not isinstance(value, dict):
        return set()
    inner = {name for key, one in value.items() if key not in OPEN_ENDED for name in names(one)}
    return set(value) | inner


def test_every_field_of_every_type_is_on_the_page() -> None:
    words = set(re.findall(r"[a-z][a-z0-9_-]*", PAGE))
    for jws in (*chain(), *json.loads((VECTORS / "chain-v1-credits.json").read_text())["records"]):
        assert names(_payload(jws)) <= words, names(_payload(jws)) - words
    assert set(record.RECORD_TYPES) <= words


def _payload(jws: str) -> Any:
    middle = jws.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


def test_the_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert record_format.main() == 0
    assert "settlement: the end of a hold" in capsys.readouterr().out


def test_frozen_records_of_a_terminal_that_gave_back_and_changed_both_keys_still_verify() -> None:
    """Sealed by a running terminal: two parts of a bill, a new record key, a new key of the readings, two checkpoints."""
    frozen = json.loads((VECTORS / "chain-v1-credits.json").read_text())
    first = {one["key_id"]: bytes.fromhex(one["spki_hex"]) for one in frozen["first_record_keys"]}
    head = record.verify_chain(list(enumerate(frozen["records"], 1)), first.get)
    assert (head.seq, head.sha256, [_payload(one)["type"] for one in frozen["records"]]) == (
        len(frozen["records"]),
        frozen["head_sha256"],
        frozen["types"],
    )
    said = [_payload(one) for one in frozen["records"]]
    bill, credits = said[0], [one for one in said if one["type"] == "credit"]
    assert sum(one["totals"]["total_minor"] for one in credits) == -bill["totals"]["total_minor"]
    changes = [change for one in said if (change := record.key_change_of(one)) is not None]
    last = [one for one in said if one["type"] == "session"][-1]
    assert last["ocmf"]["key"] == changes[-1].ocmf_key_id
    assert verify(last["ocmf"]["record"], changes[-1].ocmf_spki).energy_wh == last["energy_wh"]


def test_frozen_records_of_every_type_still_open() -> None:
    frozen = json.loads((VECTORS / "chain-v1.json").read_text())
    keys = {one["key_id"]: bytes.fromhex(one["spki_hex"]) for one in frozen["record_keys"]}
    head = record.verify_chain(list(enumerate(frozen["records"], 1)), keys.get)
    assert (head.seq, head.sha256) == (6, frozen["head_sha256"])
    session = _payload(frozen["records"][0])
    assert verify(session["ocmf"]["record"], bytes.fromhex(frozen["ocmf_key_spki_hex"])).energy_wh == session["energy_wh"]
    opened = tariff_file.open_tariff_file(frozen["tariff_file"].encode(), keys[frozen["record_keys"][0]["key_id"]])
    assert (opened.version, opened.tariff.fingerprint) == (3, session["tariff"]["fingerprint"])
    assert OLD.key_id not in keys  # vectors are frozen, not made anew
