"""Sealed records and acknowledgements: what they say, who can verify them, and what is found when they are touched."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey

from terminal_app.billing import acknowledgement, ocmf, record
from terminal_app.billing.receipt import receipt_code, receipt_of
from terminal_app.errors import SignatureInvalid
from terminal_app.screens import MoneyWords
from tests.unit.billing_samples import Key, head, ocmf_text, sealed, session_bill, settled

KEY = Key()
VECTORS = Path(__file__).parent.parent / "vectors"


def chain(length: int = 4) -> list[tuple[int, str]]:
    found, prev = [], record.GENESIS
    for seq in range(1, length + 1):
        jws = sealed(KEY, seq, prev) if seq % 2 else settled(KEY, seq, prev)
        found.append((seq, jws))
        prev = record.sha256_of(jws)
    return found


def known(key_id: str) -> bytes | None:
    return KEY.spki if key_id == KEY.key_id else None


def test_a_record_opens_with_everything_needed_to_recompute_it() -> None:
    found = record.open_record(sealed(KEY), record.jwk_of(KEY.spki))
    assert (found["type"], found["v"], found["seq"], found["prev"]) == ("session", 1, 1, record.GENESIS)
    assert found["authorization_reference"] == "H-7"
    assert found["totals"] == {"currency": "EUR", "net_minor": 797, "vat_minor": 151, "total_minor": 948}
    assert hashlib.sha256(found["tariff"]["json"].encode()).hexdigest() == found["tariff"]["fingerprint"]
    assert hashlib.sha256(found["ocmf"]["record"].encode()).hexdigest() == found["ocmf"]["sha256"]
    assert ocmf.verify(found["ocmf"]["record"], KEY.spki).energy_wh == found["energy_wh"]
    assert found["payment"]["card"]["last4"] == "0011"
    assert "5e5e5e5e" not in json.dumps(found)  # the card's token never leaves the terminal


def test_debian_jose_and_joserfc_verify_it(tmp_path: Path) -> None:
    jws = sealed(KEY)
    (tmp_path / "record.jws").write_text(jws)
    (tmp_path / "key.jwk").write_text(json.dumps(record.jwk_of(KEY.spki)))

    def jose(text: str) -> int:
        (tmp_path / "record.jws").write_text(text)
        command = ["jose", "jws", "ver", "-i", "record.jws", "-k", "key.jwk"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=False).returncode

    assert jose(jws) == 0
    assert jose(jws.replace(".eyJ", ".fyJ", 1)) != 0
    opened = joserfc_jws.deserialize_compact(jws, ECKey.import_key(record.jwk_of(KEY.spki)), algorithms=["ES256"])
    assert opened.headers()["typ"] == "billing-record+jws"
    assert opened.headers()["kid"] == ECKey.import_key(record.jwk_of(KEY.spki)).thumbprint() == KEY.key_id


def test_a_bill_that_contradicts_itself_is_never_sealed() -> None:
    """field-failures: evcc #13390, #18073 (energy is not end minus begin); CitrineOS (lines and total differ)."""
    bill = session_bill("")
    for changes in ({"stop_wh": bill.stop_wh + 1}, {"total_minor": bill.total_minor + 1}, {"vat_minor": 0}):
        with pytest.raises(ValueError, match="S-7"):
            record.session_payload(head(), session_bill("", **changes))


def test_a_whole_chain_verifies_and_gives_its_head() -> None:
    records = chain()
    found = record.verify_chain(records, known)
    assert (found.seq, found.sha256) == (4, record.sha256_of(records[-1][1]))
    first = record.verify_chain(records[:2], known)
    assert record.verify_chain(records[2:], known, start=first) == found
    assert record.verify_chain([], known) == record.ChainHead()


def other_identity(records: list[tuple[int, str]]) -> list[tuple[int, str]]:
    prev = record.sha256_of(records[0][1])
    payload = record.session_payload(head(2, prev, chain_id="c2"), session_bill(""))
    signing_bytes = record.signing_input(payload, KEY.key_id)
    return [records[0], (2, record.seal(signing_bytes, KEY.sign(signing_bytes)))]


def stranger(records: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [records[0], (2, sealed(Key(), 2, record.sha256_of(records[0][1])))]


@pytest.mark.parametrize(
    ("harm", "first_bad"),
    [
        (lambda r: [r[0], r[2], r[3]], "record 3"),
        (lambda r: [r[0], r[0]], "record 1"),
        (lambda r: [r[1]], "record 2"),
        (lambda r: [r[0], (2, r[1][1][:-4] + ("AAAA" if r[1][1][-4:] != "AAAA" else "BBBB"))], "record 2"),
        (lambda r: [r[0], (2, r[1][1] + "\n")], "record 2"),
        (lambda r: [r[0], (2, sealed(KEY, 2, record.GENESIS))], "record 2"),
        (other_identity, "record 2"),
        (stranger, "record 2"),
    ],
)
def test_the_first_bad_entry_of_a_chain_is_named(
    harm: Callable[[list[tuple[int, str]]], list[tuple[int, str]]], first_bad: str
) -> None:
    with pytest.raises(SignatureInvalid, match=first_bad):
        record.verify_chain(harm(chain()), known)


def test_a_key_changes_only_by_a_record_signed_with_the_old_one() -> None:
    new = Key()
    first = sealed(KEY)
    change = {"type": "key-change", "new_key_id": new.key_id, "v": 1, "terminal": "T-0001", "chain_id": "c1", "seq": 2}
    change |= {"new_key": record.jwk_of(new.spki)}
    signing_bytes = record.signing_input(change | {"prev": record.sha256_of(first)}, KEY.key_id)
    second = record.seal(signing_bytes, KEY.sign(signing_bytes))
    third = sealed(new, 3, record.sha256_of(second))
    keys = {KEY.key_id: KEY.spki, new.key_id: new.spki}
    assert record.verify_chain([(1, first), (2, second), (3, third)], keys.get).key_id == new.key_id
    del keys[new.key_id]  # the old key has said what the new one is
    assert record.verify_chain([(1, first), (2, second), (3, third)], keys.get).key_id == new.key_id
    keys[new.key_id] = new.spki
    with pytest.raises(SignatureInvalid, match=r"record 2.*key change"):
        record.verify_chain([(1, first), (2, sealed(new, 2, record.sha256_of(first)))], keys.get)


def test_one_flipped_character_anywhere_in_a_record_is_found() -> None:
    jws = sealed(KEY)
    for place in range(0, len(jws), 61):
        broken = jws[:place] + ("A" if jws[place] != "A" else "B") + jws[place + 1 :]
        with pytest.raises(SignatureInvalid):
            record.open_record(broken, KEY.spki)


@pytest.mark.parametrize("text", ["", "a.b.c", "a.b", "e30.e30.e30", "é.é.é", "." * 2])
def test_what_is_no_jws_is_refused(text: str) -> None:
    with pytest.raises(SignatureInvalid):
        record.open_record(text, KEY.spki)


def test_another_algorithm_or_type_is_refused() -> None:
    signing_bytes = acknowledgement.make_ack(ack(), KEY.key_id)
    with pytest.raises(SignatureInvalid, match="typ"):
        record.open_record(acknowledgement.seal_ack(signing_bytes, KEY.sign(signing_bytes)), KEY.spki)
    none = "eyJhbGciOiJub25lIn0." + sealed(KEY).split(".")[1] + "."
    with pytest.raises(SignatureInvalid, match="alg"):
        record.open_record(none, KEY.spki)


def test_a_signed_payload_in_another_spelling_is_refused() -> None:
    """Two spellings of one record would be two records: only the canonical form counts."""
    header, payload, _ = sealed(KEY).split(".")
    spelled = json.dumps(json.loads(base64.urlsafe_b64decode(payload + "===")), indent=1).encode()
    signing_bytes = f"{header}.{base64.urlsafe_b64encode(spelled).rstrip(b'=').decode()}".encode()
    with pytest.raises(SignatureInvalid, match="8785"):
        record.open_record(record.seal(signing_bytes, KEY.sign(signing_bytes)), KEY.spki)


def test_a_float_never_gets_into_a_record() -> None:
    with pytest.raises(ValueError, match="float"):
        record.signing_input({"amount": 1.5}, KEY.key_id)


def ack(**changes: object) -> acknowledgement.Ack:
    said = dict(
        terminal="T-0001", chain_id="c1", through_seq=4, head_sha256="ab" * 32, facts_through=90, utc_ms=1, quarantined=(2,)
    )
    return acknowledgement.Ack(**(said | changes))  # type: ignore[arg-type]


def sealed_ack(key: Key, **changes: object) -> str:
    signing_bytes = acknowledgement.make_ack(ack(**changes), key.key_id)
    return acknowledgement.seal_ack(signing_bytes, key.sign(signing_bytes))


def test_an_acknowledgement_opens_with_the_office_key_only() -> None:
    office = Key()
    assert acknowledgement.open_ack(sealed_ack(office), office.spki) == ack()
    with pytest.raises(SignatureInvalid):
        acknowledgement.open_ack(sealed_ack(Key()), office.spki)
    with pytest.raises(SignatureInvalid):
        acknowledgement.open_ack(sealed(KEY), KEY.spki)


@pytest.mark.parametrize(
    "changes", [{"v": 2}, {"through_seq": 0}, {"head_sha256": record.GENESIS}, {"quarantined": (5,)}, {"head_sha256": "x"}]
)
def test_an_acknowledgement_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SignatureInvalid):
        acknowledgement.open_ack(sealed_ack(KEY, **changes), KEY.spki)


def test_the_receipt_is_made_from_the_records_alone() -> None:
    session = record.open_record(sealed(KEY), KEY.spki)
    waiting = receipt_of(session)
    assert (waiting.total_minor, waiting.energy_wh, waiting.meter_start_wh, waiting.meter_stop_wh) == (
        948,
        12_345,
        1_234_560,
        1_246_905,
    )
    assert [(one.quantity, one.price, one.gross_minor) for one in waiting.lines] == [
        ("12.345", "0.59", 728),
        ("60", "0.02", 120),
        ("1", "1.00", 100),
    ]
    assert [(one.vat_percent, one.net_minor, one.vat_minor, one.gross_minor) for one in waiting.vat] == [("19", 797, 151, 948)]
    assert (waiting.money, waiting.captured_minor) == (MoneyWords.SETTLING, 0)
    for how, words, captured in (
        ("captured", MoneyWords.CAPTURED, 948),
        ("voided", MoneyWords.RELEASED, 0),
        ("manual", MoneyWords.MANUAL, 0),
    ):
        found = receipt_of(session, record.open_record(settled(KEY, 2, "ab" * 32, how=how), KEY.spki))
        assert (found.money, found.captured_minor) == (words, captured)
    free = receipt_of(record.session_payload(head(), session_bill("", payment=None)))
    assert (free.money, free.card_last4) == (MoneyWords.FREE, "")


def test_a_receipt_code_carries_160_bits_and_types_easily() -> None:
    assert receipt_code(bytes(range(20))) == "aaaqeayeaudaocajbifqydiob4ibceqt"
    with pytest.raises(ValueError, match="20 random bytes"):
        receipt_code(bytes(19))


def test_frozen_records_of_version_1_still_open() -> None:
    frozen = json.loads((VECTORS / "billing-v1.json").read_text())
    spki = bytes.fromhex(frozen["record_key_spki_hex"])
    head_found = record.verify_chain(
        [(1, frozen["session_jws"]), (2, frozen["settlement_jws"])],
        lambda key_id: spki if key_id == frozen["record_key_id"] else None,
    )
    assert head_found.sha256 == frozen["head_sha256"]
    session = record.open_record(frozen["session_jws"], spki)
    assert session["ocmf"]["record"] == frozen["ocmf"]
    measured = ocmf.verify(frozen["ocmf"], bytes.fromhex(frozen["ocmf_key_spki_hex"]))
    assert measured.energy_wh == session["energy_wh"] == 12_345
    assert receipt_of(session, record.open_record(frozen["settlement_jws"], spki)).captured_minor == 948
    acknowledged = acknowledgement.open_ack(frozen["ack_jws"], bytes.fromhex(frozen["office_key_spki_hex"]))
    assert (acknowledged.through_seq, acknowledged.head_sha256) == (2, frozen["head_sha256"])
    assert ocmf_text(KEY).split('"RD"')[0] == frozen["ocmf"].split('"RD"')[0]
