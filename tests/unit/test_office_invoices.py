"""Invoices: one per session in force, numbers without a gap whatever happens, figures of the bill to the cent, frozen as issued."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal_app import units
from terminal_app.billing import record
from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.invoice import Buyer, Document, credit_note, invoice
from terminal_app.office import invoices as invoices_room
from terminal_app.office import store
from terminal_app.office.accounts import Refused
from terminal_app.office.buyer_form import FIELDS, buyer_of, typed
from terminal_app.office.document_tables import document_numbers, invoices
from terminal_app.office.document_words import DOCUMENT_WORDS
from terminal_app.office.invoice_cases import _why_not, document_of, of_month
from terminal_app.office.invoice_paper import csv_of, pdf_invoice
from terminal_app.office.invoices import MAX_DOCUMENTS, Invoices
from terminal_app.run.office import office as command
from tests.unit.billing_samples import BERLIN, HOUR_MS, T0, Key, component, element, head, ocmf_text, session_bill, tariff
from tests.unit.document_samples import Charger, charger_at, code_of, local_ms, rows_of, text_of

BUYER = Buyer(name="Example Works GmbH", street="Example Street 7", city="12345 Example", country="DE", vat_id="DE123456789")
OTHER = Buyer(name="Other Works GmbH", street="Example Street 8", city="12345 Example", country="AT", reference="PO-7")
AT = local_ms("2026-01-02T10:00")


@pytest.fixture
def charger(tmp_path: Path) -> Iterator[Charger]:
    charger = charger_at(tmp_path)
    yield charger
    charger.desk.database.close()


def office(charger: Charger) -> Invoices:
    return Invoices(charger.desk.database, "Europe/Berlin")


def code(charger: Charger, at: int = 0) -> str:
    return code_of(charger.terminal.records[at], charger.terminal)


def kept(charger: Charger) -> list[dict[str, Any]]:
    return sorted(charger.desk.rows(invoices), key=lambda row: int(row["running"]))


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_paper_says_the_bill_to_the_cent(charger: Charger) -> None:
    charger.session(AT, 12_345)
    row = office(charger).issue(code(charger), BUYER, "en")
    assert (row["net_minor"], row["vat_minor"], row["gross_minor"]) == (612, 116, 728)
    text = text_of(row["pdf"])
    for words in (
        "Invoice DEMO-INV-",
        "Example Works GmbH Example Street 7 12345 Example DE",
        "Example Charging",
        "DE123456789",
        "Delivery period 2026-01-02 10:00:00 CET – 2026-01-02 11:00:00 CET",
        "Receipt number R-1",
        "12.345 kWh 0.495798 19 % 6.12 7.28",
        "19 % 6.12 EUR 1.16 EUR 7.28 EUR",
        "Total 6.12 EUR 1.16 EUR 7.28 EUR",
        "Paid: 7.28 EUR",
        "DEMO",
    ):
        assert words in text, words


def test_a_card_is_named_by_its_last_digits(charger: Charger) -> None:
    bill = session_bill(ocmf_text(charger.terminal.ocmf_key, pagination=1))
    charger.terminal.measured = 1
    first = charger.terminal.session(page=1, payment=bill.payment)
    charger.send(first, charger.terminal.settlement(948, session=1))
    text = text_of(office(charger).issue(code(charger), BUYER, "de")["pdf"])
    assert "Bezahlt mit Karte Mastercard ···· 0011: 9,48 EUR" in text
    assert "Rechnung DEMO-INV-" in text


@pytest.mark.parametrize(("currency", "gross"), [("JPY", "6"), ("EUR", "5.90"), ("KWD", "5.900")])
def test_each_currency_has_its_own_decimals(charger: Charger, currency: str, gross: str) -> None:
    charger.session(AT, 10_000, currency=currency)
    row = office(charger).issue(code(charger), BUYER, "en")
    assert f"Total {units.major(row['net_minor'], currency)} {currency}" in text_of(row["pdf"])
    assert f"{gross} {currency}" in text_of(row["pdf"])
    assert rows_of(csv_of(kept(charger)))[0]["gross"] == gross


@given(
    prices=st.lists(
        st.tuples(
            st.sampled_from(("ENERGY", "FLAT", "TIME")),
            st.decimals("0.01", "9.99", places=4),
            st.sampled_from(("19", "7", "0", "5.5", None)),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one[0],
    ),
    energy_wh=st.integers(1, 99_999),
    included=st.sampled_from(("YES", "NO")),
    currency=st.sampled_from(("EUR", "JPY", "KWD")),
)
@settings(max_examples=60, deadline=None)
def test_net_and_vat_make_gross_and_the_bills_sums_are_kept(
    prices: list[tuple[str, Decimal, str | None]], energy_wh: int, included: str, currency: str
) -> None:
    session = _priced(prices, energy_wh, included, currency)
    said = {"issued_utc_ms": AT, "time_zone": "UTC", "language": "en", "buyer": BUYER, "captured_minor": 1, "given_back_minor": 0}
    document = invoice(session, number="N-1", record_sha256="0" * 64, **said)  # type: ignore[arg-type]
    totals = session["totals"]
    assert (document.net_minor, document.vat_minor) == (totals["net_minor"], totals["vat_minor"])
    assert document.gross_minor == totals["total_minor"] == document.net_minor + document.vat_minor
    for one in document.rates:
        assert one.net_minor + one.vat_minor == one.gross_minor
        assert one.gross_minor == sum(line["gross_minor"] for line in session["lines"] if line["vat_percent"] == one.vat_percent)
    note = credit_note(document, number="N-2", issued_utc_ms=AT, cause="cancel", reason="x")
    assert (note.net_minor, note.vat_minor, note.gross_minor) == tuple(-minor for minor in _sums(document))
    if not document.gross_minor:
        return
    with pytest.raises(ValueError, match="does not fit"):  # it is taken back already
        credit_note(document, number="N-3", issued_utc_ms=AT, cause="credit", reason="x", lines=note.lines, before=[note])


def _sums(document: Document) -> tuple[int, int, int]:
    return document.net_minor, document.vat_minor, document.gross_minor


def _priced(prices: list[tuple[str, Decimal, str | None]], energy_wh: int, included: str, currency: str) -> dict[str, Any]:
    sold = tariff(element(*(component(kind, str(price), vat) for kind, price, vat in prices)), included=included, currency=currency)
    periods = (ChargingPeriod(T0, energy_wh, HOUR_MS),)
    cost = cost_of(sold, periods, BERLIN)
    bill = session_bill(
        "",
        start_wh=0,
        stop_wh=energy_wh,
        energy_wh=energy_wh,
        tariff=sold.raw,
        lines=record.record_lines(cost),
        currency=currency,
        net_minor=cost.net_minor,
        vat_minor=cost.vat_minor,
        total_minor=cost.total_minor,
    )
    return record.session_payload(head(), bill)


# --- one in force, frozen ---------------------------------------------------------------------------------------------


def test_asking_again_gives_the_same_bytes(charger: Charger) -> None:
    charger.session(AT)
    first = office(charger).issue(code(charger), BUYER, "en")
    again = office(charger).issue(code(charger), BUYER, "de")
    assert (again["number"], again["pdf"]) == (first["number"], first["pdf"])
    assert len(kept(charger)) == 1
    assert pdf_invoice(document_of(first)) == first["pdf"]


def test_other_buyer_data_takes_the_invoice_back_and_issues_a_new_one(charger: Charger) -> None:
    charger.session(AT)
    first = office(charger).issue(code(charger), BUYER, "en")
    second = office(charger).issue(code(charger), OTHER, "en")
    _, note, last = kept(charger)
    assert last["number"] == second["number"] != first["number"]
    assert (note["kind"], note["about"], note["gross_minor"]) == ("credit", first["number"], -first["gross_minor"])
    text = text_of(note["pdf"])
    assert f"Takes back invoice {first['number']}" in text and "Example Works GmbH" in text and "-5.90" in text
    assert "Your reference PO-7" in text_of(second["pdf"])
    offer = office(charger).offer(code(charger))
    assert offer.current is not None and offer.current["number"] == second["number"]


def test_the_buyer_cannot_be_changed_for_ever(charger: Charger) -> None:
    charger.session(AT)
    with pytest.raises(Refused, match="at most"):
        for at in range(MAX_DOCUMENTS):
            office(charger).issue(code(charger), msgspec.structs.replace(BUYER, reference=f"PO-{at}"), "en")
    assert len(kept(charger)) <= MAX_DOCUMENTS


@pytest.mark.parametrize("act", ["UPDATE invoices SET gross_minor = 0, net_minor = 0, vat_minor = 0", "DELETE FROM invoices"])
def test_what_was_issued_can_be_neither_changed_nor_deleted(charger: Charger, act: str) -> None:
    charger.session(AT)
    office(charger).issue(code(charger), BUYER, "en")
    with pytest.raises(sa.exc.DatabaseError, match="documents never change"), charger.desk.database.write() as db:
        db.execute(sa.text(act))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_many_at_once_get_numbers_without_a_gap_and_a_session_only_one(charger: Charger) -> None:
    for hour in range(4):
        charger.session(AT + hour * 7_200_000)
    codes = [code(charger, at) for at in range(0, 8, 2)]
    got: list[tuple[str, str]] = []

    def ask(one: str) -> None:
        got.append((one, office(charger).issue(one, BUYER, "en")["number"]))

    threads = [threading.Thread(target=ask, args=(one,)) for one in codes * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(got) == 12 and len(set(got)) == 4
    assert [row["running"] for row in kept(charger)] == [1, 2, 3, 4]


def test_a_crash_between_number_and_paper_leaves_no_gap(charger: Charger, monkeypatch: pytest.MonkeyPatch) -> None:
    charger.session(AT)
    charger.session(AT + 7_200_000)
    office(charger).issue(code(charger), BUYER, "en")

    def broken(document: Document) -> bytes:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(invoices_room, "pdf_invoice", broken)
        with pytest.raises(RuntimeError, match="the power went"):
            office(charger).issue(code(charger, 2), BUYER, "en")
        with pytest.raises(RuntimeError, match="the power went"):
            office(charger).issue(code(charger), OTHER, "en")
    assert office(charger).issue(code(charger, 2), BUYER, "en")["running"] == 2
    assert [row["running"] for row in kept(charger)] == [1, 2]
    assert {row["last"] for row in charger.desk.rows(document_numbers) if row["series"] != "invoices"} == {2}


def test_each_year_of_the_operators_clock_begins_at_one(charger: Charger, monkeypatch: pytest.MonkeyPatch) -> None:
    charger.session(AT)
    charger.session(AT + 7_200_000)
    monkeypatch.setattr(store, "now_ms", lambda: local_ms("2026-12-31T23:59"))
    assert office(charger).issue(code(charger), BUYER, "en")["number"] == "DEMO-INV-2026-000001"
    monkeypatch.setattr(store, "now_ms", lambda: local_ms("2027-01-01T00:00"))
    assert office(charger).issue(code(charger, 2), BUYER, "en")["number"] == "DEMO-INV-2027-000001"
    with charger.desk.database.read() as db:
        assert [row["number"] for row in of_month(db, "2027-01", "Europe/Berlin")] == ["DEMO-INV-2027-000001"]


# --- credits and cancelling -------------------------------------------------------------------------------------------


def test_a_sealed_credit_becomes_a_credit_note_once(charger: Charger) -> None:
    session, _ = charger.session(AT)
    first = office(charger).issue(code(charger), BUYER, "en")
    charger.send(charger.credit(session, 200))
    assert len(office(charger).follow_credits()) == 1
    assert office(charger).follow_credits() == []
    _, note = kept(charger)
    assert (note["about"], note["gross_minor"], note["net_minor"] + note["vat_minor"]) == (first["number"], -200, -200)
    assert "correction of the bill: meter misread" in text_of(note["pdf"])
    last = office(charger).cancel(first["number"], "Desk", "asked by phone")
    assert last["gross_minor"] == 200 - first["gross_minor"]
    assert "cancelled by the operator: asked by phone" in text_of(last["pdf"])


def test_a_credit_that_fits_no_invoice_is_told_and_stops_nothing(charger: Charger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following goes on in the background for as long as the office serves: nothing may end it."""
    made = [charger.session(AT + hour * 7_200_000)[0] for hour in range(2)]
    for at in (0, 2):
        office(charger).issue(code(charger, at), BUYER, "en")
    for session in made:
        charger.send(charger.credit(session, 200))
    with monkeypatch.context() as patch:
        once = iter([ValueError("a credit note of -900 does not fit")])

        def crooked(*about: Any, **said: Any) -> Document:
            for error in once:
                raise error
            return credit_note(*about, **said)

        patch.setattr(invoices_room, "credit_note", crooked)
        assert len(office(charger).follow_credits()) == 1
    assert [row["detail"] for row in charger.desk.rows(store.alarms) if row["kind"] == "credit-note"]
    assert [row["running"] for row in kept(charger)] == [1, 2, 3]


def test_a_new_buyer_gets_the_credits_again(charger: Charger) -> None:
    session, _ = charger.session(AT)
    charger.send(charger.credit(session, 200))
    office(charger).issue(code(charger), BUYER, "en")
    office(charger).issue(code(charger), OTHER, "en")
    sums = [(row["kind"], row["gross_minor"]) for row in kept(charger)]
    assert sums == [("invoice", 590), ("credit", -200), ("credit", -390), ("invoice", 590), ("credit", -200)]
    assert sum(minor for _, minor in sums) == 390


def test_what_was_credited_whole_gets_no_invoice(charger: Charger) -> None:
    session, _ = charger.session(AT)
    charger.send(charger.credit(session))
    assert office(charger).offer(code(charger)).why_not == "given_back"


def test_cancelling_again_gives_the_same_credit_note(charger: Charger) -> None:
    charger.session(AT)
    first = office(charger).issue(code(charger), BUYER, "en")
    note = office(charger).cancel(first["number"], "Desk", "wrong")
    assert office(charger).cancel(first["number"], "Other", "again")["number"] == note["number"]
    assert office(charger).offer(code(charger)).current is None
    with pytest.raises(Refused, match="no invoice"):
        office(charger).cancel(note["number"], "Desk", "a credit note is none")


# --- who gets one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "why_not"),
    [("captured", ""), ("voided", "settling"), ("manual", "manual"), ("", "settling"), ("refunded", "given_back")],
)
def test_no_invoice_before_the_money_is_known(charger: Charger, how: str, why_not: str) -> None:
    charger.session(AT, send=False)
    session, captured = charger.terminal.records
    charger.terminal.records.pop()
    sent = [session]
    if how == "refunded":
        sent += [
            charger.terminal.settlement(590, session=1, hold_id="H-1"),
            charger.terminal.settlement(590, "refunded", 1, hold_id="H-1"),
        ]
    elif how:
        amount = {"captured": 590, "voided": 5000}.get(how, 0)
        sent.append(charger.terminal.settlement(amount, how, 1, hold_id="H-1"))
    charger.send(*sent)  # released, though the record says captured: that settlement lies in quarantine
    assert captured and office(charger).offer(code(charger)).why_not == why_not
    if why_not:
        with pytest.raises(Refused):
            office(charger).issue(code(charger), BUYER, "en")
        assert kept(charger) == []


def test_a_record_in_quarantine_gets_none(charger: Charger) -> None:
    charger.terminal.record_key = Key()  # not registered
    charger.session(AT)
    assert office(charger).offer(code(charger)).why_not in ("review", "unknown")
    with pytest.raises(Refused):
        office(charger).issue(code(charger), BUYER, "en")


def test_a_free_session_gets_none(charger: Charger) -> None:
    charger.session(AT, price=element(component("ENERGY", "0")), payment=None)
    assert office(charger).offer(code(charger)).why_not == "unpaid"


def test_without_the_sellers_vat_id_a_real_sale_gets_none(charger: Charger) -> None:
    session = record.session_payload(head(demo=False), session_bill(""))
    assert _why_not(session, [{"how": "captured"}], 948, 0, 0) == "seller"
    assert _why_not(session | {"seller": {"vat_id": "DE1"}}, [{"how": "captured"}], 948, 0, 0) == ""


# --- the form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, ""),
        ({"name": "x"}, "bad_name"),
        ({"name": "=HYPERLINK(1)"}, "bad_name"),
        ({"name": "A" * 101}, "bad_name"),
        ({"name": "Works\u202e GmbH"}, "bad_name"),
        ({"street": ""}, "bad_street"),
        ({"city": "-1 Town"}, "bad_city"),
        ({"country": "Deutschland"}, "bad_country"),
        ({"country": "de"}, ""),
        ({"vat_id": "de 123.456-789"}, ""),
        ({"vat_id": "123"}, "bad_vat_id"),
        ({"reference": "@x"}, "bad_reference"),
        ({"reference": "x" * 41}, "bad_reference"),
        ({"name": "Ｅxample   Works"}, ""),
    ],
)
def test_what_is_typed_is_judged(change: dict[str, str], wrong: str) -> None:
    fields = typed({name: getattr(BUYER, name) for name in FIELDS} | change)
    found = buyer_of(fields)
    assert (found if isinstance(found, str) else "") == wrong
    assert not wrong or wrong in DOCUMENT_WORDS["en"]
    if isinstance(found, Buyer) and "vat_id" in change:
        assert found.vat_id == "DE123456789"


def test_every_language_has_all_words() -> None:
    assert DOCUMENT_WORDS["en"].keys() == DOCUMENT_WORDS["de"].keys()
    for name, text in DOCUMENT_WORDS["en"].items():
        assert text.count("{") == DOCUMENT_WORDS["de"][name].count("{"), name


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_lists_shows_and_cancels(charger: Charger, tmp_path: Path) -> None:
    charger.session(AT)
    number = office(charger).issue(code(charger), BUYER, "en")["number"]
    month = datetime.fromtimestamp(store.now_ms() // 1000, UTC).strftime("%Y-%m")
    run = CliRunner().invoke
    base = ["--db", charger.desk.url]
    told = run(command, ["invoice", "list", *base, "--month", month, "--out", str(tmp_path / "i.csv")])
    assert number in told.output and "5.90 EUR" in told.output
    (row,) = rows_of((tmp_path / "i.csv").read_bytes().decode())
    assert (row["number"], row["net"], row["vat"], row["gross"], row["buyer_name"]) == (number, "4.96", "0.94", "5.90", BUYER.name)
    assert run(command, ["invoice", "show", number, *base, "--out", str(tmp_path / "i.pdf")]).exit_code == 0
    assert (tmp_path / "i.pdf").read_bytes() == kept(charger)[0]["pdf"]
    assert '"number": "' + number in run(command, ["invoice", "show", number, *base]).output
    assert "takes back 5.90 EUR" in run(command, ["invoice", "cancel", number, *base, "--by", "Desk", "--why", "wrong"]).output
    assert run(command, ["invoice", "cancel", "X-1", *base, "--by", "Desk", "--why", "wrong"]).exit_code == 1
