"""Records whose readings the meter signed, after the charge: told, verified, exported; at the office; by the verifier for all."""

import hashlib
import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from pyocmf import OCMF

from terminal_app.billing import ocmf
from terminal_app.billing.signature import ocmf_key_id
from terminal_app.errors import SignatureInvalid
from terminal_app.office import store
from terminal_app.office.ingest import SentFact
from terminal_app.run.office_meters import meter_key
from terminal_app.session import events
from terminal_app.session.signed import record_fault
from tests.service_tool import Tool, answering
from tests.sessions import SERIAL, Paper, terminal
from tests.simulation.signing_meter import SigningMeter, key_id
from tests.unit.office_samples import TERMINAL, Desk, Terminal, desk_at

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_records.py"
START_WH, STOP_WH, BEGUN_MS = 1_234_560, 1_246_905, 1_767_344_400_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(site.path, capsys).without_pcsc(monkeypatch)


def verified_by_anyone(folder: Path, *more: str) -> tuple[int, Any]:
    asked = [sys.executable, str(SCRIPT), *more, "--report", "-", str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else done.stderr


@pytest.mark.parametrize("apart", [False, True])
def test_exports_hold_the_meters_own_key_and_anyone_can_verify_them(site: Paper, tool: Tool, tmp_path: Path, apart: bool) -> None:
    meter = SigningMeter(apart=apart)
    site.sign_with(meter)
    site.paid_session(12_345)
    site.paid_session(1_000)
    record_key = site.keys.records.public_key_spki()
    site.close()
    code, findings = tool.json("records", "verify")
    assert code == 0, findings
    out = tmp_path / "out"
    assert tool("records", "export", "--format", "ocmf", "--out", out)[0] == 0
    (first, _), keys = sorted(out.glob("*.ocmf")), {one.read_text() for one in out.glob("*.pub")}
    assert first.read_text() == meter.measured[0] and keys == {meter.spki.hex()}
    assert all(OCMF.from_string(one).verify_signature(meter.spki.hex()) for one in first.read_text().split("\n"))
    assert tool("records", "export", "--format", "safe-xml", "--out", out)[0] == 0
    tree = ElementTree.parse(sorted(out.glob("*.xml"))[0]).getroot()
    values = [(one.findtext("signedData"), one.findtext("publicKey"), one.get("context")) for one in tree.iter("value")]
    contexts = ["Transaction.Begin", "Transaction.End"] if apart else [None]
    assert values == [
        (text, meter.spki.hex(), context) for text, context in zip(meter.measured[0].split("\n"), contexts, strict=True)
    ]
    assert tool("records", "export", "--format", "ocpi-2.2.1", "--out", out)[0] == 0
    cdr = json.loads(next(one for one in sorted(out.glob("*.cdr.json"))).read_text())
    assert [one["nature"] for one in cdr["signed_data"]["signed_values"]] == (["Start", "End"] if apart else ["End"])
    jws = tmp_path / "jws"
    assert tool("records", "export", "--format", "jws", "--out", jws)[0] == 0
    (tmp_path / "record.pub").write_text(record_key.hex())
    code, report = verified_by_anyone(jws, "--key", str(tmp_path / "record.pub"))
    assert code == 0 and report["ok"]
    notes = [note for one in report["records"] for note in one["notes"]]
    assert any(f"signed by meter {SERIAL}; compare its key {key_id(meter.spki)}" in note for note in notes)


def test_what_is_not_billed_verifies_too_and_says_why(site: Paper, tool: Tool, tmp_path: Path) -> None:
    meter = SigningMeter()
    site.sign_with(meter)
    site.tap()
    site.charge(5_000)
    assert meter.open is not None
    meter.open = ("another charge", *meter.open[1:])
    for _ in range(4):
        site.stop()
        site.pass_time(10)
    site.close()
    code, _ = tool.json("records", "verify")
    assert code == 0
    assert tool("records", "export", "--format", "jsonl", "--out", tmp_path / "out")[0] == 0
    session = json.loads((tmp_path / "out" / "records.jsonl").read_text().splitlines()[0])["record"]
    assert session["unbilled"]["energy_wh"] == 5_000 and "does not name this charge" in session["unbilled"]["why"]
    assert session["totals"]["total_minor"] == session["energy_wh"] == 0 and session["ocmf"]["record"] == ""


def test_status_and_read_say_who_signs_and_a_person_clears_a_refused_record(site: Paper, tool: Tool) -> None:
    with answering(site):
        assert "by terminal" in tool("status")[1]
        assert tool.json("meter", "read")[1][0]["signs"] is False
    meter = SigningMeter()
    site.sign_with(meter)
    with answering(site):
        assert f"by meter {key_id(meter.spki)[:8]}" in tool("status")[1]
        row = tool.json("meter", "read")[1][0]
        assert (row["signs"], row["spki"]) == (True, meter.spki.hex())
        code, _ = tool("meter", "trust", 1, "--reason", "looked at it")
        assert code == 2 and "no record that was refused" in tool.stderr
    site.turn(events.FaultSeen(record_fault(1, "OCMF: the signature does not verify"), True))
    with answering(site):
        code, text = tool("meter", "trust", 1, "--reason", "looked at it")
        assert code == 0 and "does not verify" in text
        until = time.monotonic() + 30
        while tool.json("status")[1]["faults"]:
            assert time.monotonic() < until
    assert [one.fact.act for one in site.ledger.entries(kinds=("service_act",))] == ["meter.trust"]  # type: ignore[union-attr]


# --- at the office -----------------------------------------------------------------------------------------------------


def measured(meter: SigningMeter, start_wh: int = START_WH, stop_wh: int = STOP_WH) -> dict[str, Any]:
    """What a session's record says of its meter-signed reading."""
    meter.begin("H-7", "0.59 EUR/kWh", start_wh, BEGUN_MS)
    text, spki = meter.end(stop_wh, BEGUN_MS + 3_600_000), meter.spki
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"record": text, "sha256": digest, "key": ocmf_key_id(spki), "meter_key": spki.hex(), "clock": "S"}


def office(tmp_path: Path, *readings: dict[str, Any]) -> tuple[Desk, Terminal]:
    sender = Terminal()
    desk = desk_at(tmp_path, sender)
    for one in readings:
        sender.session(spoil={"ocmf": one})
    desk.take(sender.batch(*sender.records))
    return desk, sender


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.BrainpoolP384R1()], ids=lambda one: one.name)
def test_the_office_keeps_the_first_key_it_sees_of_a_meter_and_asks_for_a_look(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    meter = SigningMeter(curve=curve)
    desk, _ = office(tmp_path, measured(meter), measured(meter))
    assert set(desk.reasons().values()) == {""}
    (row,) = desk.rows(store.meter_keys)
    assert (row["serial"], row["spki"]) == (SERIAL, meter.spki.hex())
    (alarm,) = desk.rows(store.alarms)
    assert alarm["kind"] == "meter-key" and row["key_id"] in alarm["detail"]


def test_the_office_is_told_what_is_not_billed_and_why(tmp_path: Path) -> None:
    sender = Terminal()
    desk = desk_at(tmp_path, sender)
    bill = {"session_id": "S-1", "energy_wh": 0, "unbilled": {"why": "OCMF: no", "energy_wh": 500}}
    body = json.dumps(bill | {"type": "bill_frozen"})
    desk.take(sender.batch(facts=(SentFact(1, BEGUN_MS, "bill_frozen", "S-1", body),)))
    (alarm,) = desk.rows(store.alarms)
    assert (alarm["kind"], alarm["detail"]) == ("unbilled", "500 Wh of session S-1 are not billed: OCMF: no")


def test_another_key_of_the_same_meter_goes_to_quarantine(tmp_path: Path) -> None:
    first = SigningMeter()
    desk, sender = office(tmp_path, measured(first), measured(SigningMeter(8)), measured(first))
    reasons = desk.reasons()
    assert (reasons[1], reasons[3]) == ("", "") and "another public key" in reasons[2]
    assert len(desk.rows(store.meter_keys)) == 1
    sender.session()  # signed by the terminal, on a meter that signs
    desk.take(sender.batch(sender.records[-1]))
    assert "signs its own readings" in desk.reasons()[4]


def test_the_operator_keeps_the_key_on_the_label_and_the_record_is_taken(tmp_path: Path) -> None:
    first, second = SigningMeter(), SigningMeter(8)
    desk, _ = office(tmp_path, measured(first), measured(second))
    (tmp_path / "label.hex").write_text(second.spki.hex() + "\n")
    arguments = ["--db", desk.url, TERMINAL, SERIAL]
    done = CliRunner().invoke(meter_key, [*arguments, "--key", str(tmp_path / "label.hex")])
    assert done.exit_code == 0 and second.spki.hex() in done.output
    assert desk.collector.recheck(TERMINAL) == (1, 0)
    assert "no key is kept" in CliRunner().invoke(meter_key, [*arguments[:-1], "999"]).output
    assert "not a public key" in CliRunner().invoke(meter_key, [*arguments, "--key", __file__]).output.replace(
        "cannot be read as", "not"
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"meter_key": SigningMeter(8).spki.hex()}, "not the one its id names"),
        ({"meter_key": "00"}, "not a public key"),
        ({"meter_key": SigningMeter(8).spki.hex(), "key": ocmf_key_id(SigningMeter(8).spki)}, "does not verify"),
    ],
)
def test_a_key_that_does_not_fit_is_not_kept(tmp_path: Path, change: dict[str, str], word: str) -> None:
    desk, _ = office(tmp_path, measured(SigningMeter()) | change)
    assert word in desk.reasons()[1] and desk.rows(store.meter_keys) == []


# --- small parts --------------------------------------------------------------------------------------------------------


def test_begin_and_end_signed_apart_must_be_neighbours() -> None:
    meter = SigningMeter(apart=True)
    meter.begin("R", "", START_WH, BEGUN_MS)
    text = meter.end(STOP_WH, BEGUN_MS + 1000)
    assert ocmf.verify(text, meter.spki).energy_wh == 12_345
    begin, end = text.split("\n")
    later = meter.changed(end, '"PG": "T102"', '"PG": "T103"')
    with pytest.raises(SignatureInvalid, match="not next to"):
        ocmf.verify(f"{begin}\n{later}", meter.spki)


@pytest.mark.parametrize(
    ("id_data", "tariff_text", "found"),
    [("R-1", "", True), ("R-1 T-1 abc", "", True), ("", "T-1 abc<=>R-1", True), ("R-12", "", False), ("", "", False)],
)
def test_a_record_names_a_charge_by_the_whole_word(id_data: str, tariff_text: str, found: bool) -> None:
    meter = SigningMeter()
    meter.begin("R", "", START_WH, BEGUN_MS)
    text = meter.changed(meter.end(STOP_WH, BEGUN_MS), '"ID": "R", "TT": ""', f'"ID": "{id_data}", "TT": "{tariff_text}"')
    assert ocmf.verify(text, meter.spki).names("R-1") is found


def test_a_key_is_named_the_same_way_by_terminal_and_verifier() -> None:
    brainpool = SigningMeter(curve=ec.BrainpoolP384R1()).spki
    assert ocmf_key_id(SigningMeter().spki) == key_id(SigningMeter().spki)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ocmf_key_id(brainpool))
