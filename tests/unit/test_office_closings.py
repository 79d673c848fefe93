"""Daily closings: each record counted once, days as long as the clock says, energy nobody paid for is seen, frozen, signed."""

import json
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from terminal_app.billing.record import open_record, sha256_of
from terminal_app.errors import SignatureInvalid
from terminal_app.office import closing_paper, store
from terminal_app.office.accounts import Refused
from terminal_app.office.closing_energy import energy_findings, energy_rows
from terminal_app.office.closings import Closings, open_closing
from terminal_app.office.document_tables import closed_records, closings
from terminal_app.office.ingest import SentFact
from terminal_app.office.signing import OfficeKey
from terminal_app.run.office import office as command
from tests.unit.document_samples import Charger, charger_at, local_ms, rows_of, text_of
from tests.unit.office_samples import TERMINAL

BERLIN = "Europe/Berlin"
DAY = date(2026, 1, 2)


@pytest.fixture
def charger(tmp_path: Path) -> Iterator[Charger]:
    charger = charger_at(tmp_path)
    yield charger
    charger.desk.database.close()


def close(charger: Charger, day: date = DAY, threshold_wh: int = 100, zone: str = BERLIN) -> dict[str, Any]:
    made = Closings(charger.desk.database, charger.desk.key, zone, threshold_wh).make(TERMINAL, day)
    return open_closing(made["jws"], charger.desk.key.public_pem)


def energy(closing: dict[str, Any]) -> list[tuple[int, int, int]]:
    """(register delta, sessions, unexplained) per meter."""
    return [(row["moved_wh"], row["sessions_wh"] + row["tests_wh"], row["unexplained_wh"]) for row in closing["energy"]]


# --- what is counted ---------------------------------------------------------------------------------------------------


def test_a_day_with_everything(charger: Charger) -> None:
    session, _ = charger.session(local_ms("2026-01-02T08:00"))
    charger.session(local_ms("2026-01-02T10:00"), 20_000, currency="JPY")
    charger.session(local_ms("2026-01-02T12:00"), 30_000, currency="KWD")
    charger.send(charger.credit(session, 100))
    told = close(charger)
    totals = {row["currency"]: row for row in told["totals"]}
    assert [totals[one]["total_minor"] for one in ("EUR", "JPY", "KWD")] == [490, 12, 17_700]
    assert (totals["EUR"]["billed_minor"], totals["EUR"]["credited_minor"]) == (590, -100)
    assert all(row["net_minor"] + row["vat_minor"] == row["total_minor"] for row in told["totals"])
    assert all(row["net_minor"] + row["vat_minor"] == row["gross_minor"] for row in told["rates"])
    assert sum(row["gross_minor"] for row in told["rates"]) == sum(row["total_minor"] for row in told["totals"])
    assert told["chains"] == [{"chain_id": "c1", "first_seq": 1, "last_seq": 7, "records": 7}]
    assert energy(told) == [(60_000, 60_000, 0)]
    text = text_of(closing_paper.pdf_closing(told))
    for words in ("Daily closing 1 of T-0001, 2026-01-02", "4.90 EUR", "12 JPY", "17.700 KWD", "-1.00 EUR", "1 credit"):
        assert words in text, words
    rows = rows_of(closing_paper.csv_of(told))
    turnover = {row["currency"]: row["amount"] for row in rows if (row["section"], row["name"]) == ("total", "turnover")}
    assert turnover == {"EUR": "4.90", "JPY": "12", "KWD": "17.700"}


def test_what_is_open_waiting_or_doubtful_is_said(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    bad = charger.terminal.session({"energy_wh": 1})
    hold = {"hold_id": "H-9", "gateway": "main", "amount_minor": 2000, "currency": "EUR", "utc_ms": 1}
    body = json.dumps({"hold": hold, "card": None, "session_id": "S-9"})
    fact = SentFact(1, 1, "authorization_intended", "S-9", body)
    charger.desk.take(charger.terminal.batch(bad, facts=(fact,), head_seq=9, head_sha256="a" * 64))
    told = close(charger)
    assert told["quarantined"] == {"records": 1, "seqs": [3]}
    assert told["unsynced"] == 6
    assert told["open_holds"] == [{"currency": "EUR", "holds": 1, "amount_minor": 2000}]
    assert told["types"] == {"session": 1, "settlement": 1}


def test_a_late_record_stands_in_the_next_closing_and_nowhere_else(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    late = charger.session(local_ms("2026-01-02T20:00"), send=False)
    first = close(charger)
    charger.send(*late)
    assert close(charger) == first  # frozen
    charger.session(local_ms("2026-01-03T08:00"))
    second = close(charger, date(2026, 1, 3))
    assert [(row["day"], row["records"], row["sessions"]) for row in second["late"]] == [("2026-01-02", 2, 1)]
    assert second["prev"] == sha256_of(charger.desk.rows(closings)[0]["jws"])
    assert (first["number"], second["number"]) == (1, 2)
    assert first["types"]["session"] + second["types"]["session"] == 3
    assert len(charger.desk.rows(closed_records)) == 6


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 20_000), st.integers(0, 500), st.booleans()), min_size=1, max_size=6),
)
@settings(max_examples=5, deadline=None, phases=(Phase.explicit, Phase.generate))  # no shrinking: each example is slow
def test_over_any_days_each_session_counts_once_and_the_register_is_explained(
    tmp_path_factory: pytest.TempPathFactory, charges: list[tuple[int, int, int, bool]]
) -> None:
    charger, waiting, hour = charger_at(tmp_path_factory.mktemp("c")), [], 0
    told = []
    for day in range(6):
        charger.send(*waiting)
        waiting = []
        for _, energy_wh, gap_wh, late in (one for one in charges if one[0] == day):
            hour += 1
            sealed = charger.session(
                local_ms(f"2026-01-0{day + 1}T00:00") + hour % 20 * 3_600_000, energy_wh, gap_wh=gap_wh, send=False
            )
            if late or waiting:
                waiting += sealed
            else:
                charger.send(*sealed)
        told.append(close(charger, date(2026, 1, day + 1), 10**9))
    start = 1_000_000 + next((gap for _, _, gap, _ in sorted(charges, key=lambda one: one[0])), 0)
    moved = charger.registers["M-1"] - start
    rows = [row for one in told for row in one["energy"]]
    sessions = sum(row["sessions_wh"] for row in rows)
    assert sessions == sum(energy_wh for _, energy_wh, _, _ in charges)
    assert sum(row["moved_wh"] for row in rows) == moved
    assert sum(row["unexplained_wh"] for row in rows) == moved - sessions
    assert all(row["moved_wh"] == row["sessions_wh"] + row["tests_wh"] + row["unexplained_wh"] for row in rows)
    assert [one["number"] for one in told] == [1, 2, 3, 4, 5, 6]
    charger.desk.database.close()


# --- days ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2024, 2, 29), 24), (date(2025, 12, 31), 24)]
)
def test_a_day_is_as_long_as_its_clock_says(charger: Charger, day: date, hours: int) -> None:
    told = close(charger, day)
    assert told["end_utc_ms"] - told["begin_utc_ms"] == hours * 3_600_000


def test_midnight_of_the_operator_divides_the_days(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T22:59:59"))  # ends 23:59:59
    charger.session(local_ms("2026-01-02T23:00"))  # ends at 00:00
    assert close(charger)["types"] == {"session": 1, "settlement": 1}
    assert close(charger, date(2026, 1, 3))["late"] == []


def test_only_a_day_that_is_over_and_only_forward(charger: Charger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "now_ms", lambda: local_ms("2026-01-02T23:59:59"))
    with pytest.raises(Refused, match="is not over"):
        close(charger)
    monkeypatch.setattr(store, "now_ms", lambda: local_ms("2026-01-03T00:00"))
    close(charger)
    with pytest.raises(Refused, match="is closed already"):
        close(charger, date(2026, 1, 1))
    with pytest.raises(Refused, match="no terminal"):
        Closings(charger.desk.database, charger.desk.key).make("T-NONE", date(2026, 1, 1))


def test_a_clock_far_ahead_hides_no_session(charger: Charger) -> None:
    charger.session(local_ms("2099-01-01T00:00"))
    with pytest.MonkeyPatch.context() as patch:
        later = store.now_ms() + 2 * 86_400_000
        patch.setattr(store, "now_ms", lambda: later)
        yesterday = date.fromtimestamp(later // 1000 - 86_400)
        assert close(charger, yesterday)["types"]["session"] == 1


# --- energy ------------------------------------------------------------------------------------------------------------------


def test_energy_outside_sessions_is_seen_within_and_between_days(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    charger.session(local_ms("2026-01-02T10:00"), gap_wh=250)
    first = close(charger)
    assert energy(first) == [(20_250, 20_000, 250)]
    assert first["findings"] == ["connector 1, meter M-1: 250 Wh flowed outside sessions and tests (allowed are 100 Wh)"]
    charger.session(local_ms("2026-01-03T08:00"), gap_wh=40)
    second = close(charger, date(2026, 1, 3))
    assert energy(second) == [(10_040, 10_000, 40)] and second["findings"] == []
    (alarm,) = charger.desk.rows(store.alarms)
    assert alarm["kind"] == "closing" and "250 Wh" in alarm["detail"]
    assert "250 Wh flowed outside" in text_of(closing_paper.pdf_closing(first))


def test_another_meter_starts_anew(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    charger.session(local_ms("2026-01-02T10:00"), 5_000, serial="M-2", gap_wh=77)
    told = close(charger)
    assert energy(told) == [(10_000, 10_000, 0), (5_000, 5_000, 0)]


def test_a_day_without_sessions_keeps_the_registers(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    close(charger)
    assert energy(close(charger, date(2026, 1, 3))) == [(0, 0, 0)]
    charger.session(local_ms("2026-01-04T08:00"), gap_wh=500)
    assert energy(close(charger, date(2026, 1, 4))) == [(10_500, 10_000, 500)]


def test_late_sessions_explain_afterwards(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    late = charger.session(local_ms("2026-01-02T10:00"), 7_000, send=False)
    seen = charger.session(local_ms("2026-01-02T12:00"), send=False)
    rows = energy_rows(((_opened(charger, one), False) for one in (charger.terminal.records[0], seen[0])), [])
    assert rows[0]["unexplained_wh"] == 7_000
    after = energy_rows([(_opened(charger, late[0]), True)], rows)
    assert after[0]["unexplained_wh"] == -7_000
    assert energy_findings(after, 0) == []
    assert "hold 7000 Wh more" in energy_findings([after[0] | {"late_wh": 0}], 0)[0]


def test_a_register_that_goes_back_starts_anew_and_is_said(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    charger.registers["M-1"] = 500
    charger.session(local_ms("2026-01-02T10:00"), gap_wh=20)
    told = close(charger)
    assert [(row["moved_wh"], row["sessions_wh"], row["unexplained_wh"]) for row in told["energy"]] == [(20_000, 20_000, 0)]
    assert told["findings"] == ["connector 1, meter M-1: the register went back from 1010000 to 520 Wh; it starts anew there"]


def test_a_register_that_rolls_over_goes_on(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    charger.session(local_ms("2026-01-02T10:00"))
    first, second = (_opened(charger, charger.terminal.records[at]) for at in (0, 2))
    wraps = first["meter"] | {"wraps_at_wh": 1_005_000}
    second["register"] |= {"start_wh": 5_100, "stop_wh": 15_100}  # the first ended at 1 010 000 = 5 000 after the roll-over
    (row,) = energy_rows([(first | {"meter": wraps}, False), (second | {"meter": wraps}, False)], [])
    assert (row["moved_wh"], row["unexplained_wh"], row["end_wh"], row["went_back"]) == (20_100, 100, 15_100, [])


def test_a_test_is_no_sale(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    session = _opened(charger, charger.terminal.records[0])
    (row,) = energy_rows([(session | {"test": True}, False)], [])
    assert (row["sessions_wh"], row["tests_wh"], row["tests"], row["unexplained_wh"]) == (0, 10_000, 1, 0)


def _opened(charger: Charger, sent: Any) -> dict[str, Any]:
    return open_record(sent.jws, charger.terminal.record_key.spki)


def test_the_terminals_own_account_stands_beside(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    said = {"connector": 1, "serial": "M-1", "from_wh": 1_000_000, "to_wh": 1_010_030, "sessions_wh": 10_000, "tests_wh": 0}
    good, odd = json.dumps(said | {"unexplained_wh": 30, "why": "daily"}), json.dumps(said)
    at = local_ms("2026-01-02T23:30")
    facts = tuple(SentFact(n, at, "energy_balance", "", body) for n, body in enumerate((good, odd), 1))
    charger.desk.take(charger.terminal.batch(facts=facts))
    told = close(charger)
    assert [(row["meter_serial"], row["unexplained_wh"]) for row in told["energy_told"]] == [("M-1", 30)]
    assert "As the terminal told" in text_of(closing_paper.pdf_closing(told))
    assert any(row["section"] == "energy_told" for row in rows_of(closing_paper.csv_of(told)))


# --- frozen and signed --------------------------------------------------------------------------------------------------------


def test_many_at_once_make_one(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(close(charger)["number"])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [1] * 6
    assert len(charger.desk.rows(closings)) == 1


@pytest.mark.parametrize("act", ["UPDATE closings SET day = '2026-01-09'", "DELETE FROM closed_records"])
def test_nothing_of_it_can_be_changed(charger: Charger, act: str) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    close(charger)
    with pytest.raises(sa.exc.DatabaseError, match="documents never change"), charger.desk.database.write() as db:
        db.execute(sa.text(act))


def test_another_key_does_not_verify_and_the_next_closing_says_so(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    close(charger)
    jws = charger.desk.rows(closings)[0]["jws"]
    charger.desk.key = OfficeKey(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SignatureInvalid):
        open_closing(jws, charger.desk.key.public_pem)
    told = close(charger, date(2026, 1, 3))
    assert "does not verify with this office's key" in told["findings"][0]


def test_the_command_makes_lists_and_shows(charger: Charger, tmp_path: Path) -> None:
    charger.session(local_ms("2026-01-02T08:00"))
    charger.session(local_ms("2026-01-02T10:00"), gap_wh=250)
    key = tmp_path / "office.key"
    key.write_bytes(charger.desk.key._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    run, base = CliRunner().invoke, ["--db", charger.desk.url, "--key", str(key)]
    made = run(command, ["closing", "make", *base, "--day", "2026-01-02", "--timezone", BERLIN])
    assert made.exit_code == 1 and "11.80 EUR" in made.output and "250 Wh" in made.output
    assert "2026-01-02\tT-0001\t1\t11.80 EUR\t0\t1" in run(command, ["closing", "list", *base]).output
    for ending in ("pdf", "csv", "jws"):
        said = run(command, ["closing", "show", TERMINAL, "1", *base, "--out", str(tmp_path / f"c.{ending}")])
        assert said.exit_code == 0, said.output
    assert "11.80" in text_of((tmp_path / "c.pdf").read_bytes())
    assert (tmp_path / "c.jws").read_text() == charger.desk.rows(closings)[0]["jws"]
    assert run(command, ["closing", "show", TERMINAL, "2", *base]).exit_code == 1
    assert "is not a day" in run(command, ["closing", "make", TERMINAL, *base, "--day", "2026-02-30"]).output


def test_sessions_as_a_table(charger: Charger) -> None:
    charger.session(local_ms("2026-01-02T08:00"), 12_345)
    charger.session(local_ms("2026-01-02T10:00"), 20_000, currency="KWD")
    kwd, eur = rows_of(CliRunner().invoke(command, ["sessions", "--db", charger.desk.url, "--csv"]).stdout_bytes.decode())
    assert (eur["energy_kwh"], eur["net"], eur["tax"], eur["total"], eur["fees_energy"]) == (
        "12.345",
        "6.12",
        "1.16",
        "7.28",
        "7.28",
    )
    assert (eur["start"], eur["duration_s"], eur["ac_dc"], eur["payment_status"]) == (
        "2026-01-02T08:00:00+01:00",
        "3600",
        "AC",
        "captured",
    )
    assert (kwd["total"], kwd["refunded"]) == ("11.800", "0.000")
