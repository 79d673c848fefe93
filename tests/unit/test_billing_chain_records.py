"""Credit, key-change and checkpoint records; and the third party's verifier over whole chains of every type."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from terminal_app.billing import canonical, chain_records, record
from terminal_app.billing.chain_records import Checkpoint, CreditBill, KeyChange
from terminal_app.errors import SignatureInvalid
from tests.unit.billing_samples import HOUR_MS, T0, Key, head, ocmf_text, session_bill, settled

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_records.py"
OLD, NEW, OCMF_KEY = Key(), Key(), Key()


def seal(payload: dict[str, Any], key: Key) -> str:
    signing_bytes = record.signing_input(payload, key.key_id)
    return record.seal(signing_bytes, key.sign(signing_bytes))


def bill(**changes: Any) -> record.SessionBill:
    return session_bill(ocmf_text(OCMF_KEY), ocmf_key=OCMF_KEY.key_id, **changes)


def credit(session: str, head_: record.RecordHead, **changes: Any) -> dict[str, Any]:
    payload = record.open_record(session, OLD.spki)
    said = dict(
        session_id="S-7",
        authorization_reference="H-7",
        credited_seq=payload["seq"],
        credited_sha256=record.sha256_of(session),
        number=1,
        reason="charged at a broken cooler",
        actor="office",
        lines=chain_records.credit_of(payload),
        currency="EUR",
        receipt_number="T-0001-8",
        credited_receipt=payload["receipt"]["number"],
    )
    return chain_records.credit_payload(head_, CreditBill(**(said | changes)))


def checkpoint(head_: record.RecordHead, **changes: Any) -> dict[str, Any]:
    said = dict(
        at=record.Moment(T0 + HOUR_MS, "S"),
        ledger_entries=40,
        ledger_sha256="cd" * 32,
        acknowledged_through=1,
        open_holds=0,
        meter_registers_wh={"21130042": 1_246_905},
        digests={"software": "ab" * 32},
    )
    return chain_records.checkpoint_payload(head_, Checkpoint(**(said | changes)))


def chain() -> list[str]:
    """Session, settlement, credit, checkpoint, key change, and a session of the new key."""
    found = [seal(record.session_payload(head(1), bill()), OLD)]

    def after(make: Callable[[record.RecordHead], dict[str, Any]], key: Key) -> None:
        found.append(seal(make(head(len(found) + 1, record.sha256_of(found[-1]))), key))

    found.append(settled(OLD, 2, record.sha256_of(found[0])))
    after(lambda h: credit(found[0], h), OLD)
    after(checkpoint, OLD)
    after(lambda h: chain_records.key_change_payload(h, KeyChange(new_spki=NEW.spki, reason="new board", actor="service")), OLD)
    later = ocmf_text(OCMF_KEY, 1_246_905, 1_259_250)
    second = dict(start_wh=1_246_905, stop_wh=1_259_250, receipt_number="T-0001-9", session_id="S-9")
    again = session_bill(later, ocmf_key=OCMF_KEY.key_id, **second)
    after(lambda h: record.session_payload(h, again), NEW)
    return found


def known(key_id: str) -> bytes | None:
    return {OLD.key_id: OLD.spki, NEW.key_id: NEW.spki}.get(key_id)


# --- the records ---------------------------------------------------------------------------------------------------------


def test_a_chain_goes_on_under_a_new_key_only_after_the_old_one_said_so() -> None:
    records = list(enumerate(chain(), 1))
    assert record.verify_chain(records, known).key_id == NEW.key_id
    without = [*records[:4], (5, seal(record.session_payload(head(5, record.sha256_of(records[3][1])), bill()), NEW))]
    with pytest.raises(SignatureInvalid, match="without a key change"):
        record.verify_chain(without, known)


def test_a_credit_is_the_bill_with_the_money_turned_round_and_a_number_of_its_own() -> None:
    first = chain()[0]
    found = credit(first, head(2, record.sha256_of(first)))
    assert found["totals"] == {"currency": "EUR", "net_minor": -797, "vat_minor": -151, "total_minor": -948}
    assert found["credits"] == {"seq": 1, "sha256": record.sha256_of(first), "receipt": "T-0001-7"}
    for changes, why in (
        ({"receipt_number": "T-0001-7"}, "receipt number"),
        ({"reason": ""}, "reason"),
        ({"credited_seq": 2}, "earlier"),
        ({"lines": bill().lines}, "asks for money"),
        ({"lines": ()}, "asks for money"),
    ):
        with pytest.raises(ValueError, match=why):
            credit(first, head(2, record.sha256_of(first)), **changes)


RATES = st.sampled_from(["", "7", "19", "20.5"])


@st.composite
def bills(draw: st.DrawFn) -> tuple[record.RecordLine, ...]:
    """Lines of several rates, net + VAT = gross; now and then a price limit takes something off."""
    found = []
    for rate, gross in draw(st.lists(st.tuples(RATES, st.integers(0, 100_000)), min_size=1, max_size=5)):
        vat = gross * 19 // 119 if rate else 0
        found.append(line("energy", rate, gross, vat))
    total = sum(one.gross_minor for one in found)
    if off := draw(st.integers(0, total // 2)):
        found.append(line("limit", found[0].vat_percent, -off, 0))
    return tuple(found)


def line(kind: str, rate: str, gross: int, vat: int) -> record.RecordLine:
    money = dict(net_minor=gross - vat, vat_minor=vat, gross_minor=gross)
    return record.RecordLine(
        kind=kind, amount=1, unit="1", quantity="1", price="1", per="session", vat_percent=rate, element=0, **money
    )


def sums(lines: Sequence[record.RecordLine]) -> tuple[int, int, int]:
    return sum(x.net_minor for x in lines), sum(x.vat_minor for x in lines), sum(x.gross_minor for x in lines)


@given(bills(), st.lists(st.integers(1, 200_000), min_size=1, max_size=6))
def test_parts_of_a_bill_add_up_to_it_and_never_beyond(billed: tuple[record.RecordLine, ...], amounts: list[int]) -> None:
    """Any parts in any order: each exactly its amount, no line above zero, no rate beyond its bill, the last leaves nothing."""
    assume(sums(billed)[2] > 0)
    credited: tuple[record.RecordLine, ...] = ()
    for asked in [*amounts, sums(billed)[2]]:
        left = sums(billed)[2] + sums(credited)[2]
        with pytest.raises(ValueError, match="cannot be credited"):
            chain_records.credit_lines(billed, credited, left + 1, "EUR")
        if not (amount := min(asked, left)):
            continue
        part = chain_records.credit_lines(billed, credited, amount, "EUR")
        assert sums(part)[2] == -amount
        assert all(max(x.net_minor, x.vat_minor, x.gross_minor) <= 0 and x.net_minor + x.vat_minor == x.gross_minor for x in part)
        credited = (*credited, *part)
        for rate in {x.vat_percent for x in part if x.vat_percent}:
            kept = [x for x in (*billed, *credited) if x.vat_percent == rate]
            assert min(sums(kept)) >= 0, f"{rate} %: more taken back than was billed"
        credit_payload = credit_of_lines(part)
        assert credit_payload["totals"]["total_minor"] == -amount
    assert sums(credited) == tuple(-one for one in sums(billed)), "everything, to the last cent of VAT"


def credit_of_lines(lines: tuple[record.RecordLine, ...]) -> dict[str, Any]:
    said = CreditBill(
        session_id="S-7",
        authorization_reference="H-7",
        credited_seq=1,
        credited_sha256="ab" * 32,
        number=1,
        reason="r",
        actor="a",
        lines=lines,
        currency="EUR",
        receipt_number="T-2",
        credited_receipt="T-1",
    )
    return chain_records.credit_payload(head(2, "ab" * 32), said)


def test_a_part_is_spread_over_the_vat_rates_and_all_at_once_keeps_the_lines() -> None:
    billed = (line("energy", "19", 1000, 160), line("parking", "7", 500, 33))
    part = chain_records.credit_lines(billed, (), 300, "EUR")
    assert [(x.vat_percent, x.gross_minor, x.vat_minor) for x in part] == [("19", -200, -32), ("7", -100, -7)]
    whole = chain_records.credit_lines(billed, (), 1500, "EUR")
    assert [(x.kind, x.amount, x.gross_minor) for x in whole] == [("energy", 1, -1000), ("parking", 1, -500)]


def test_a_checkpoint_that_contradicts_itself_is_never_sealed() -> None:
    assert checkpoint(head(4, "ab" * 32))["ledger"]["entries"] == 40
    for changes in ({"acknowledged_through": 4}, {"ledger_entries": 0}):
        with pytest.raises(ValueError, match="contradicts"):
            checkpoint(head(4, "ab" * 32), **changes)


# --- the third party's verifier ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verifier() -> Any:
    spec = importlib.util.spec_from_file_location("verify_records", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_records"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, key in (("record.pub", OLD), ("ocmf.pub", OCMF_KEY)):
        (tmp_path / name).write_text(key.spki.hex())
    return tmp_path


def run(verifier: Any, folder: Path, records: list[str], *more: str) -> tuple[int, dict[str, Any]]:
    (folder / "all.jws").write_text("\n".join(records) + "\n", encoding="utf-8", errors="surrogateescape")
    keys = ["--key", str(folder / "record.pub"), "--ocmf-key", str(folder / "ocmf.pub")]
    code = verifier.main([str(folder / "all.jws"), *keys, "--report", str(folder / "report.json"), *more])
    return code, json.loads((folder / "report.json").read_text())


def bad(report: dict[str, Any]) -> set[str]:
    return {one["name"] for one in report["records"] if not one["ok"]}


def test_it_needs_only_cryptography_and_runs_alone(folder: Path) -> None:
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name or "").split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
    (folder / "all.jws").write_text("\n".join(chain()))
    command = [sys.executable, "-I", SCRIPT, folder / "all.jws", "--key", folder / "record.pub", "--ocmf-key", folder / "ocmf.pub"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "T-0001/c1/1 session ok: 12.345 kWh, 9.48 EUR, receipt T-0001-7"
    assert "6 records, 0 bad" in done.stdout


def test_a_whole_chain_of_every_type_holds(verifier: Any, folder: Path) -> None:
    records = chain()
    code, report = run(verifier, folder, [*records[3:], *records[:3], records[0]])  # any order, and twice
    assert (code, report["ok"]) == (0, True)
    assert report["chains"] == [
        {"terminal": "T-0001", "chain_id": "c1", "first": 1, "last": 6, "head_sha256": record.sha256_of(records[-1])}
    ]
    assert [one["type"] for one in report["records"]] == ["session", "settlement", "credit", "checkpoint", "key-change", "session"]


def test_one_flipped_byte_anywhere_is_found(verifier: Any, folder: Path) -> None:
    """Every kind of byte: header, payload (OCMF in it too), signature, dots; bits low and high; in each type of record."""
    records = chain()
    for place, jws in enumerate(records):
        raw = jws.encode()
        for at in range(0, len(raw), max(1, len(raw) // 60)):
            for bit in (1, 32):
                harmed = raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
                text = harmed.decode("utf-8", "surrogateescape")
                code, report = run(verifier, folder, [*records[:place], text, *records[place + 1 :]])
                assert code == 1 and bad(report), f"record {place + 1}, byte {at}, bit {bit} went unnoticed"


def test_a_stray_bit_in_the_last_character_of_a_signature_is_found_too(verifier: Any, folder: Path) -> None:
    """64 bytes in base64url leave four bits over: a second spelling of the same signature is not the record as it was sealed."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    records = chain()
    other = alphabet[alphabet.index(records[0][-1]) ^ 1]
    assert run(verifier, folder, [records[0][:-1] + other])[0] == 1


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda r: [r[0], *r[2:]], "T-0001/c1/3"),
        (lambda r: [r[0], settled(OLD, 2, record.GENESIS)], "T-0001/c1/2"),
        (lambda r: [*r[:2], settled(OLD, 2, record.sha256_of(r[0]), how="voided", amount_minor=0)], "T-0001/c1/2"),
        (lambda r: [settled(Key(), 1, record.GENESIS)], "T-0001/c1/1"),
        (lambda r: [*r[:4], r[5]], "T-0001/c1/6"),
        (lambda r: [r[0], settled(OLD, 2, record.sha256_of(r[0]), amount_minor=5001)], "T-0001/c1/2"),
    ],
)
def test_gaps_twins_strangers_and_too_much_money_are_named(verifier: Any, folder: Path, harm: Any, named: str) -> None:
    code, report = run(verifier, folder, harm(chain()))
    assert (code, named in bad(report)) == (1, True)


def edited(change: Callable[[dict[str, Any]], None]) -> str:
    """A record whose signer himself lies: signed all the same."""
    payload = canonical.parse(canonical.canonical(record.session_payload(head(1), bill())), 1_000_000)
    change(payload)
    return seal(payload, OLD)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["totals"].update(total_minor=949), "add up"),
        (lambda p: p["lines"][0].update(gross_minor=729, net_minor=612), "makes gross"),
        (lambda p: p["lines"][0].update(price="0.60"), "price"),
        (lambda p: p["lines"][0].update(vat_percent="7"), "VAT"),
        (lambda p: p.update(energy_wh=12_346), "register moved"),
        (lambda p: p["register"].update(start_wh=1_234_000, stop_wh=1_246_345), "OCMF"),
        (lambda p: p["tariff"].update(fingerprint="00" * 32), "fingerprint"),
        (lambda p: p["ocmf"].update(record=p["ocmf"]["record"].replace("1234.560", "1234.561")), "OCMF"),
        (lambda p: p["payment"].update(authorized_minor=1), "authorized"),
        (lambda p: p["payment"].update(capture_minor=1), "total"),
        (lambda p: p.pop("lines"), "form"),
        (lambda p: p.update(seq="1"), "seq"),
        (lambda p: p.update(terminal="../../x"), "terminal"),
        (lambda p: p.update(v=2), "version"),
    ],
)
def test_even_a_signed_lie_is_found(verifier: Any, folder: Path, change: Any, said: str) -> None:
    code, report = run(verifier, folder, [edited(change)])
    assert code == 1
    assert any(said in problem for one in report["records"] for problem in one["problems"]), report


def test_an_ocmf_signature_is_checked_with_the_key_of_its_own(verifier: Any, folder: Path) -> None:
    (folder / "ocmf.pub").write_text(OLD.spki.hex())
    code, report = run(verifier, folder, chain()[:1])
    assert code == 0 and "not checked" in " ".join(report["records"][0]["notes"])
    forged = record.session_payload(head(1), session_bill(ocmf_text(Key()), ocmf_key=OLD.key_id))
    assert run(verifier, folder, [seal(forged, OLD)])[0] == 1


def test_without_keys_or_records_it_says_so(verifier: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "all.jws").write_text("\n".join(chain()))
    assert verifier.main([str(folder / "all.jws")]) == 2
    assert "--key" in capsys.readouterr().err
    assert verifier.main([str(folder)]) == 0  # keys beside the records: said to prove less
    assert "label" in capsys.readouterr().out
    assert verifier.main([str(folder / "none"), "--key", str(folder / "record.pub")]) == 2


def test_pages_of_a_chain_and_jsonl_are_read_too(verifier: Any, folder: Path) -> None:
    records = chain()
    (folder / "r.jsonl").write_text("".join(json.dumps({"seq": i, "jws": jws}) + "\n" for i, jws in enumerate(records, 1)))
    keys = ["--key", str(folder / "record.pub"), "--ocmf-key", str(folder / "ocmf.pub")]
    assert verifier.main([str(folder / "r.jsonl"), *keys]) == 0
    code, report = run(verifier, folder, records[2:5])
    assert code == 0 and "begins here" in report["records"][0]["notes"][0]
