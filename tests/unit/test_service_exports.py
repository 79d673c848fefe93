"""`charge-service records export` in the words of others, from a real ledger."""

import csv
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pyocmf import OCMF

from tests.service_tool import Tool
from tests.sessions import terminal

PLACE = {"address": "Example Street 1", "city": "Example", "latitude": "52.5200000", "longitude": "13.4050000"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    with terminal(tmp_path) as site:
        site.paid_session(12_345)
        site.close()
        yield Tool(site.path, capsys).without_pcsc(monkeypatch)


@pytest.mark.parametrize(("form", "files"), [("ocpi-2.2.1", 1), ("ocpi-2.3.0", 2), ("ocpp-2.1", 1), ("csv", 1), ("safe-xml", 1)])
def test_every_format_writes_its_files_and_nothing_is_in_trouble(tool: Tool, out: Path, form: str, files: int) -> None:
    code, found = tool.json("records", "export", "--format", form, "--out", out)
    assert (code, len(found["files"]), found["troubles"]) == (0, files, [])
    assert len(list(out.iterdir())) == files


def test_cdr_and_confirmation_tell_the_same_money(tool: Tool, out: Path, tmp_path: Path) -> None:
    (tmp_path / "place.json").write_text(json.dumps(PLACE))
    assert tool("records", "export", "--format", "ocpi-2.3.0", "--out", out, "--place", tmp_path / "place.json")[0] == 0
    cdr = json.loads(next(out.glob("*.cdr.json")).read_text())
    advice = json.loads(next(out.glob("*.financial-advice.json")).read_text())
    assert cdr["total_cost"] == advice["total_costs"]
    assert cdr["authorization_reference"] == advice["authorization_reference"]
    assert (cdr["total_energy"], cdr["cdr_location"]["city"]) == (12.345, "Example")
    assert cdr["signed_data"]["public_key"]


def test_a_settlement_exported_alone_still_knows_its_session(tool: Tool, out: Path) -> None:
    assert tool("records", "export", "--format", "ocpi-2.3.0", "--out", out, "--after", 1)[0] == 0
    advice = json.loads(next(out.glob("*.financial-advice.json")).read_text())
    assert advice["total_costs"]["taxes"]


def test_csv_has_every_record_and_a_second_export_is_the_same_file(tool: Tool, out: Path) -> None:
    for _ in range(2):
        assert tool("records", "export", "--format", "csv", "--out", out)[0] == 0
    rows = list(csv.DictReader((out / "records.csv").open(newline="", encoding="utf-8")))
    assert [row["type"] for row in rows] == ["session", "settlement"]
    assert rows[0]["total"] == rows[1]["amount"]


def test_the_transparency_file_verifies_with_pyocmf(tool: Tool, out: Path) -> None:
    assert tool("records", "export", "--format", "safe-xml", "--out", out)[0] == 0
    value = ElementTree.parse(next(out.glob("*.xml"))).getroot()[0]
    parsed = OCMF.from_string(value.findtext("signedData") or "")
    assert parsed.verify_signature(value.findtext("publicKey") or "")


def test_a_place_file_with_anything_unknown_is_refused(tool: Tool, out: Path, tmp_path: Path) -> None:
    (tmp_path / "place.json").write_text(json.dumps({"town": "Example"}))
    code, _ = tool("records", "export", "--format", "ocpi-2.2.1", "--out", out, "--place", tmp_path / "place.json")
    assert code == 2


# --- records show ------------------------------------------------------------------------------------------------------


def test_one_record_is_shown_after_its_signature_was_checked(tool: Tool) -> None:
    code, found = tool.json("records", "show", 1)
    assert (code, found["verified"], found["record"]["type"]) == (0, True, "session")
    code, text = tool("records", "show", 2)
    assert code == 0 and "captured" in text
    code, text = tool("records", "show", 1, "--receipt")
    assert code == 0 and "12,345 kWh" in text
    assert tool("records", "show", 2, "--receipt")[0] == 2
    assert tool("records", "show", 3)[0] == 2
    assert "none with this number" in tool.stderr


def test_a_record_of_a_stranger_is_shown_and_said_not_to_verify(tool: Tool, tmp_path: Path) -> None:
    with sqlite3.connect(next(tmp_path.rglob("ledger.db"))) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        (jws,) = db.execute("SELECT jws FROM records WHERE seq = 1").fetchone()
        db.execute("UPDATE records SET jws = ? WHERE seq = 1", (jws[:-6] + "AAAAAA",))
    code, found = tool.json("records", "show", 1)
    assert (code, found["verified"]) == (2, False)


# --- what a third party does with it -------------------------------------------------------------------------------------


def test_an_export_verifies_with_the_one_file_anybody_gets(tool: Tool, out: Path) -> None:
    for form in ("jws", "ocmf"):
        assert tool("records", "export", "--format", form, "--out", out)[0] == 0
    script = Path(__file__).parents[2] / "scripts" / "verify_records.py"

    def verify() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-I", script, out], capture_output=True, text=True, check=False, timeout=120)

    done = verify()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 records, 0 bad" in done.stdout and "not checked" not in done.stdout
    first = min(out.glob("*.jws"))
    first.write_text(first.read_text().replace("A", "B", 1))
    assert verify().returncode == 1
