"""A charge on a meter that signs, with the real core on a simulated device's serial line: the meter's own record is the bill,
and tools that are not ours verify it with the meter's key."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.demo.evidence import by_openssl, by_pyocmf, gather
from scripts.demo.site import Wanted
from tests.e2e.visit import Visit, wrongs

PRICE = "0.59"
VERIFIER = Path(__file__).parents[2] / "scripts" / "verify_records.py"


@pytest.mark.parametrize("meter", ["bsm-ws36a", *(pytest.param(one, marks=pytest.mark.full) for one in ("em580", "wm3m4c"))])
def test_a_charge_that_the_meter_signs(meter: str, tmp_path: Path) -> None:
    with Visit(tmp_path / "site", Wanted(price=PRICE, energy_wh=6000, ui=False, meter=meter)) as visit:
        site = visit.site
        site.wait_for("a connector for sale", lambda now: now["connectors"][0]["for_sale"], 60)
        told = site.status()["connectors"][0]
        assert told["meter_signs"] and told["meter_key"], "the key is known before anything is sold"
        visit.charge(50)
        receipt = visit.stop()
        visit.leave()
        visit.settled()
        (session,) = visit.records()
        assert session["ocmf"]["meter_key"] == told["meter_spki"] and session["ocmf"]["key"] == told["meter_key"]
        assert session["ocmf"]["clock"] in "SI" and "unbilled" not in session
        assert session["energy_wh"] >= 50 and receipt.total_minor == session["totals"]["total_minor"]
        assert session["authorization_reference"] in session["ocmf"]["record"]
        assert list(wrongs(visit, 1, PRICE)) == []
        found = gather(site)
        assert "Verified OK" in by_openssl(found) and by_pyocmf(found)
        assert site.office_rows("SELECT quarantine FROM records WHERE type = 'session'") == [("",)]
        assert site.office_rows("SELECT serial, spki FROM meter_keys") == [(session["meter"]["serial"], told["meter_spki"])]
        (alarm,) = site.office_rows("SELECT detail FROM alarms WHERE kind = 'meter-key'")
        assert told["meter_key"] in alarm[0]
    (tmp_path / "all.jws").write_text("\n".join(jws for (jws,) in site.ledger_rows("SELECT jws FROM records ORDER BY seq")))
    key = site.folder / "keys" / "record.pub.pem"
    asked = [sys.executable, str(VERIFIER), "--key", str(key), "--report", "-", str(tmp_path / "all.jws")]
    report = json.loads(subprocess.run(asked, capture_output=True, check=True, text=True).stdout)
    notes = [note for one in report["records"] for note in one["notes"]]
    assert report["ok"] and any(f"signed by meter {session['meter']['serial']}" in note for note in notes)
