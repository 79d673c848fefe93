"""Exports: the figures of the sealed record in others' words, accepted by tools that are not ours."""

import base64
import csv
import io
import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from terminal_app.billing import canonical, ocmf, record
from terminal_app.billing.cdr import price_cdr_with
from terminal_app.billing.exports.ocpi import Place, credit_cdr, session_cdr
from terminal_app.billing.exports.safe_xml import safe_xml
from terminal_app.billing.exports.settlement import financial_advice, notify_settlement
from terminal_app.billing.exports.table import HEADER, csv_header, csv_row
from tests.peers.venvs import python_of
from tests.unit.billing_samples import Key, component, element, head, sealed, session_bill, settled, tariff

KEY = Key()
SESSION = record.open_record(sealed(KEY), KEY.spki)
PLACE = Place("Example Street 1", "Example", "12345", "52.5200000", "13.4050000")


def settlement(**changes: Any) -> dict[str, Any]:
    return record.open_record(settled(KEY, 2, "ab" * 32, **changes), KEY.spki)


def text(body: dict[str, Any]) -> str:
    return canonical.canonical(body).decode()


# --- CDR ---------------------------------------------------------------------------------------------------------------


def test_the_cdr_carries_the_figures_of_the_record() -> None:
    cdr = session_cdr(SESSION, "2.2.1", PLACE, KEY.spki)
    said = json.loads(text(cdr))
    assert said["total_cost"] == {"excl_vat": 7.97, "incl_vat": 9.48}
    assert (said["total_energy"], said["total_time"], said["currency"]) == (12.345, 1, "EUR")
    assert said["total_fixed_cost"] == {"excl_vat": 0.84, "incl_vat": 1.0}
    assert (said["authorization_reference"], said["cdr_token"]["type"]) == ("H-7", "AD_HOC_USER")
    assert said["start_date_time"] == "2026-01-02T09:00:00.000Z"
    assert said["cdr_location"]["country"] == "DEU"
    new = json.loads(text(session_cdr(SESSION, "2.3.0", PLACE, KEY.spki)))
    assert new["total_cost"] == {"before_taxes": 7.97, "taxes": [{"name": "VAT", "percentage": 19, "amount": 1.51}]}
    assert new["tariffs"][0]["tax_included"] == "YES"


def test_the_signed_reading_goes_out_verbatim_and_still_verifies() -> None:
    signed = session_cdr(SESSION, "2.2.1", PLACE, KEY.spki)["signed_data"]
    value = signed["signed_values"][0]
    whole = base64.b64decode(value["signed_data"]).decode()
    assert whole == SESSION["ocmf"]["record"]
    assert json.loads(value["plain_data"])["RD"] == json.loads(whole.split("|")[1])["RD"]
    assert len(value["plain_data"]) <= 512  # what 2.2.1 receivers in use accept
    new = session_cdr(SESSION, "2.3.0", PLACE, KEY.spki)["signed_data"]["signed_values"][0]
    assert new["plain_data"] == whole.split("|")[1]
    assert ocmf.verify(whole, base64.b64decode(signed["public_key"])).energy_wh == 12_345
    assert len(value["signed_data"]) <= 5000


def test_a_tariff_that_2_2_1_cannot_say_exactly_is_left_out_not_bent() -> None:
    assert "tariffs" not in session_cdr(SESSION, "2.2.1")  # 0.59 with 19 % in it is no net price of four decimals
    net = tariff(element(component("ENERGY", "0.50")), included="NO")
    bill = session_bill("", tariff=net.raw, tariff_fingerprint=net.fingerprint)
    said = session_cdr(record.session_payload(head(), bill), "2.2.1")["tariffs"][0]
    assert "tax_included" not in said


def test_anyone_can_price_the_exported_cdr_again() -> None:
    _, totals = price_cdr_with(None, text(session_cdr(SESSION, "2.3.0")).encode())
    assert round(totals.total_cost.incl_vat * 100) == SESSION["totals"]["total_minor"]


def test_a_place_nobody_told_is_said_to_be_unknown() -> None:
    assert "not told" in session_cdr(SESSION, "2.2.1")["remark"]
    assert "not told" not in session_cdr(SESSION, "2.2.1", PLACE)["remark"]


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
def test_a_credit_cdr_repeats_everything_and_takes_the_total_back(version: Any) -> None:
    cdr = session_cdr(SESSION, version, PLACE)
    credit = json.loads(text(credit_cdr(cdr, version)))
    same = json.loads(text(cdr))
    assert (credit["credit"], credit["credit_reference_id"]) == (True, same["id"])
    assert credit["id"] != same["id"]
    name = "excl_vat" if version == "2.2.1" else "before_taxes"
    assert credit["total_cost"][name] == -same["total_cost"][name] == -7.97
    for key in same.keys() - {"id", "total_cost"}:
        assert credit[key] == same[key]


def test_what_does_not_fit_ocpi_is_said_not_cut() -> None:
    with pytest.raises(ValueError, match="longer"):
        session_cdr(SESSION | {"session_id": "x" * 37}, "2.2.1")


OCPI_PEER = """
import sys
from py_ocpi.modules.cdrs.v_2_2_1.schemas import Cdr
print(Cdr.parse_raw(sys.stdin.read()).id)
"""


@pytest.fixture(scope="session")
def ocpi_peer() -> Path:
    """extrawest-ocpi needs an old pydantic, therefore an environment of its own."""
    return python_of("extrawest-ocpi", [["extrawest-ocpi==2025.7.16"]])


@pytest.mark.full
def test_extrawest_ocpi_accepts_cdr_and_credit_cdr(ocpi_peer: Path) -> None:
    def peer(said: str) -> int:
        command = [str(ocpi_peer), "-c", OCPI_PEER]
        return subprocess.run(command, input=said, text=True, check=False, capture_output=True, timeout=120).returncode

    cdr = session_cdr(SESSION, "2.2.1", PLACE, KEY.spki)
    assert peer(text(cdr)) == 0
    assert peer(text(credit_cdr(cdr, "2.2.1"))) == 0
    assert peer(text(session_cdr(SESSION, "2.2.1"))) == 0
    assert peer(text({key: value for key, value in cdr.items() if key != "total_cost"})) != 0
    assert peer(text(cdr | {"currency": "EURO"})) != 0


TYPES_PEER = """
import json, sys
from ocpi_types import v2_2_1, v2_3_0, v2_3_0_payments
kinds = {"2.2.1": v2_2_1.Cdr, "2.3.0": v2_3_0.Cdr, "advice": getattr(v2_3_0_payments, "FinancialAdviceConfirmation", None)}
found = kinds[sys.argv[1]].from_dict(json.load(sys.stdin))
print(json.dumps(found.to_dict(), default=str))
"""


@pytest.mark.full
def test_ocpi_types_reads_both_versions_and_the_confirmation() -> None:
    python = python_of("ocpi-types", [["ocpi-types==0.3.0"]])

    def peer(kind: str, said: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-c", TYPES_PEER, kind]
        return subprocess.run(command, input=text(said), text=True, check=False, capture_output=True, timeout=120)

    for version in ("2.2.1", "2.3.0"):
        done = peer(version, session_cdr(SESSION, version, PLACE, KEY.spki))
        assert done.returncode == 0, done.stderr
    done = peer("advice", financial_advice(settlement(), SESSION))
    assert done.returncode == 0, done.stderr
    assert peer("2.3.0", session_cdr(SESSION, "2.3.0", PLACE) | {"total_cost": 5}).returncode != 0


# --- the money ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "amount", "code", "status", "before", "vat"),
    [
        ("captured", 948, "SUCCESS", "Settled", 7.97, 1.51),
        ("captured", 500, "PARTIAL_SUCCESS", "Settled", 4.2, 0.8),
        ("voided", 0, "SUCCESS", "Canceled", 0, 0),
        ("manual", 948, "FAILED", "Failed", 0, 0),
    ],
)
def test_settlements_as_ocpi_and_ocpp_say_them(how: str, amount: int, code: str, status: str, before: float, vat: float) -> None:
    one = settlement(how=how, amount_minor=amount, trace={"rrn": "000000000007"})
    advice = json.loads(text(financial_advice(one, SESSION)))
    assert (advice["capture_status_code"], advice["authorization_reference"], advice["currency"]) == (code, "H-7", "EUR")
    assert advice["total_costs"] == {"before_taxes": before, "taxes": [{"name": "VAT", "percentage": 19, "amount": vat}]}
    assert "Mastercard **** 0011" in advice["eft_data"]
    notified = json.loads(text(notify_settlement(one, SESSION)))
    schema = json.loads((files("ocpp") / "v21" / "schemas" / "NotifySettlementRequest.json").read_text("utf-8-sig"))
    jsonschema.validate(notified, schema)
    assert (notified["status"], notified["pspRef"], notified["receiptId"]) == (status, "000000000007", "T-0001-7")
    assert notified["settlementAmount"] == amount / 100
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(notified | {"status": "Captured"}, schema)


def test_a_settlement_without_its_session_still_goes_out() -> None:
    advice = json.loads(text(financial_advice(settlement(), None)))
    assert advice["total_costs"] == {"before_taxes": 9.48, "taxes": []}
    assert notify_settlement(settlement(), None)["transactionId"] == "S-7"


def test_no_export_carries_a_card_number() -> None:
    everything = text(financial_advice(settlement(), SESSION)) + text(session_cdr(SESSION, "2.3.0")) + csv_row(SESSION, "")
    assert not re.search(r"(?<![0-9.A])[0-9]{13,19}(?![0-9])", everything.split("signed_data")[0])


# --- CSV and XML -------------------------------------------------------------------------------------------------------


def test_csv_rows_have_one_fixed_header_and_read_back() -> None:
    odd = SESSION | {
        "terminal": '=cmd|" /C calc"!A0',
        "evse_id": '-1+cmd|" /C calc"!A0',
        "stop": {"reason": 'a "b",\nc', "interrupted": True},
    }
    table = csv_header() + csv_row(SESSION, "aa") + csv_row(settlement(), "bb") + csv_row(odd, "cc")
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert tuple(rows[0]) == HEADER
    assert (rows[0]["total"], rows[0]["energy_wh"], rows[0]["card_last4"], rows[0]["sha256"]) == ("9.48", "12345", "0011", "aa")
    assert (rows[1]["how"], rows[1]["amount"], rows[1]["type"]) == ("captured", "9.48", "settlement")
    assert rows[2]["stop_reason"] == 'a "b",\nc'
    assert rows[2]["terminal"].startswith("'=") and rows[2]["evse_id"].startswith("'-1+")
    assert table.endswith("\r\n")


def test_money_in_csv_has_the_decimals_of_its_currency() -> None:
    for currency, expected in (("JPY", "948"), ("KWD", "0.948")):
        assert csv_row(settlement(currency=currency), "").split(",")[HEADER.index("amount")] == expected


def test_transparency_xml_holds_the_reading_verbatim() -> None:
    strange = SESSION["ocmf"]["record"].replace("Eastron", "East&<ron>")
    tree = ElementTree.fromstring(safe_xml([(1, SESSION["ocmf"]["record"], KEY.spki), (2, strange, KEY.spki)]).encode())
    found = [one.text for one in tree.iter("signedData")]
    assert found == [SESSION["ocmf"]["record"], strange]
    assert bytes.fromhex(tree.findtext("value/publicKey") or "") == KEY.spki
    assert ocmf.verify(found[0] or "", KEY.spki).energy_wh == 12_345
