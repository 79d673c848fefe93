"""Statements: opening + entries = closing over any history, in the operator's months, or an alarm instead of a document."""

import shutil
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from terminal_app.office import local_time, statements, store
from terminal_app.office.account_tables import accounts as account_table
from terminal_app.office.accounts import Refused, Who
from terminal_app.office.statement_paper import csv_of, pdf_statement
from terminal_app.run.office import office as command
from tests.unit.account_samples import AccountDesk
from tests.unit.document_samples import Charger, local_ms, rows_of, text_of
from tests.unit.office_samples import TERMINAL, Desk, Terminal

BERLIN = "Europe/Berlin"
MONTHS = ("2026-02", "2026-03", "2026-04")


class Clock:
    """The office's clock, as the test sets it."""

    def __init__(self) -> None:
        self.now = local_ms("2026-02-10T12:00")

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store, "now_ms", clock)
    return clock


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[AccountDesk]:
    desk = AccountDesk(f"sqlite:///{tmp_path}/office.db", tmp_path / "office.key")
    yield desk
    desk.database.close()


def made(desk: AccountDesk, account: str, month: str, zone: str = BERLIN) -> statements.Statement:
    found = statements.make(desk.database, account, month, zone)
    assert found is not None
    return found


# --- any history ------------------------------------------------------------------------------------------------------

ACTS = ("topup", "hold", "capture", "void", "refund", "grant", "spend", "return", "receivable", "write_off")
HISTORY = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 5_000), st.integers(0, 20 * 86_400)), max_size=25)


def live_through(
    desk: AccountDesk, clock: Clock, history: list[tuple[str, int, int]], account: str, card: str, currency: str
) -> None:
    """Acts in a row, each some seconds after the one before; what is refused did not happen."""
    holds: list[str] = []
    sliced: list[str] = []
    for at, (act, amount, later_s) in enumerate(history):
        clock.now += later_s * 1000
        key = f"k{at}"
        try:
            if act == "topup":
                desk.accounts.top_up(account, amount, key, "bank", "")
            elif act == "write_off":
                desk.accounts.write_off(account, amount, key, "")
            elif act == "hold":
                holds.append(desk.accounts.hold("T-1", key, Who(card=card), amount, currency, True)["hold"])
            elif act == "receivable":
                holds.append(desk.receivables.book("T-1", key, card, amount, currency, f"h{key}")["hold"])
            elif act == "grant":
                sliced.append(desk.slices.grant("T-1", key, Who(card=card), amount, currency, 5)["slice_id"])
            elif act == "spend" and sliced:
                holds.append(desk.slices.spend("T-1", sliced[-1], f"h{key}", key, amount)["hold"])
            elif act == "return" and sliced:
                desk.slices.give_back("T-1", sliced[-1])
            elif act == "capture" and holds:
                desk.accounts.capture("T-1", holds[-1], key, amount, amount // 7)
            elif act == "void" and holds:
                desk.accounts.void("T-1", holds[-1], key)
            elif act == "refund" and holds:
                desk.accounts.refund("T-1", holds[-1], key, amount)
        except Refused:
            continue


@given(history=HISTORY, currency=st.sampled_from(("EUR", "JPY", "KWD")))
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # no shrinking: each example is slow
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_opening_and_entries_make_the_closing_over_any_history(
    monkeypatch: pytest.MonkeyPatch, history: list[tuple[str, int, int]], currency: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(store, "now_ms", clock)
    place = Path(tempfile.mkdtemp(prefix="ct-"))
    desk = AccountDesk(f"sqlite:///{place}/office.db", place / "office.key")
    try:
        account, card = desk.account(10_000, currency=currency)
        live_through(desk, clock, history, account, card, currency)
        before = (0, 0)
        month = "2026-01"
        while local_time.month_ms(month, local_time.zone(BERLIN))[0] <= clock.now:
            one = made(desk, account, month)
            assert (one.opening_minor, one.opening_reserved_minor) == before
            before = one.closing_minor, one.closing_reserved_minor
            assert one.opening_minor + sum(entry.amount_minor for entry in one.entries) == one.closing_minor
            rows = rows_of(csv_of(one))
            assert Decimal(rows[0]["balance"]) + sum(Decimal(row["amount"] or 0) for row in rows) == Decimal(rows[-1]["balance"])
            year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
            month = f"{year:04d}-{number + 1:02d}"
        (row,) = desk.rows(account_table, account=account)
        reserved = row["held_minor"] + row["sliced_minor"]
        assert before == (row["balance_minor"] + reserved, reserved)  # the last month ends where the account stands
    finally:
        desk.database.close()
        shutil.rmtree(place)


# --- what a customer reads ----------------------------------------------------------------------------------------------


def test_a_charge_is_one_entry_and_holding_changes_no_balance(desk: AccountDesk, clock: Clock) -> None:
    account, card = desk.account(5_000)
    hold = desk.accounts.hold("T-1", "h1", Who(card=card), 2_000, "EUR", False)
    granted = desk.slices.grant("T-1", "s1", Who(card=card), 1_000, "EUR", 5)
    desk.accounts.capture("T-1", hold["hold"], "c1", 948, 151)
    desk.slices.spend("T-1", granted["slice_id"], "h2", "p1", 300)
    desk.slices.give_back("T-1", granted["slice_id"])
    one = made(desk, account, "2026-02")
    told = [(entry.kind, entry.amount_minor, entry.reserved_minor) for entry in one.entries]
    assert told == [
        ("topup", 5_000, 0),
        ("hold", 0, 2_000),
        ("grant", 0, 1_000),
        ("capture", -948, -2_000),
        ("spend", -300, -300),
        ("return", 0, -700),
    ]
    assert (one.closing_minor, one.closing_reserved_minor) == (3_752, 0)
    text = text_of(pdf_statement(one, "en"))
    for words in ("Top-up", "Charge", "-9.48", "Charge (paid without network)", "-3.00", "37.52", "Held for a charge", "Hold used"):
        assert words in text
    german = text_of(pdf_statement(one, "de"))
    assert "Ladevorgang" in german and "37,52" in german


def test_a_paid_session_is_named_from_its_sealed_record(tmp_path: Path, clock: Clock) -> None:
    """The account's hold and the terminal's record find each other by the reference that the terminal kept."""
    terminal = Terminal()
    office = Desk(f"sqlite:///{tmp_path}/office.db", terminal)
    desk = AccountDesk(office.url, tmp_path / "office.key")
    account, card = desk.account(5_000)
    hold = desk.accounts.hold(TERMINAL, "h1", Who(card=card), 2_000, "EUR", False)["hold"]
    Charger(office, terminal).session(clock.now, 12_345, hold=hold)
    desk.accounts.capture(TERMINAL, hold, "c1", 728, 116)
    desk.accounts.refund(TERMINAL, hold, "r1", 100)
    one = made(desk, account, "2026-02")
    paid, back = one.entries[-2:]
    assert paid.charge is not None and back.charge == paid.charge
    assert (paid.charge.energy_wh, paid.charge.station, paid.charge.connector) == (12_345, "Example Station", 1)
    row = rows_of(csv_of(one))[-3]
    assert (row["energy_kwh"], row["receipt_number"], row["amount"], row["session_id"]) == ("12.345", "R-1", "-7.28", "S-1")
    text = text_of(pdf_statement(one, "en"))
    assert "12.345" in text and "R-1" in text and "-7.28" in text and "Example Charging" in text
    desk.database.close()
    office.database.close()


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "5000"), ("EUR", "50.00"), ("KWD", "5.000")])
def test_each_currency_has_its_own_decimals(desk: AccountDesk, clock: Clock, currency: str, amount: str) -> None:
    account, _ = desk.account(5_000, currency=currency)
    one = made(desk, account, "2026-02")
    assert rows_of(csv_of(one))[-1]["balance"] == amount
    assert f"(the month is not over) {amount}" in text_of(pdf_statement(one, "en"))


# --- months ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("month", "hours"), [("2026-03", 743), ("2026-10", 745), ("2026-11", 720), ("2028-02", 696), ("2026-12", 744)]
)
def test_a_month_is_as_long_as_its_clocks_say(month: str, hours: int) -> None:
    begin, end = local_time.month_ms(month, local_time.zone(BERLIN))
    assert end - begin == hours * 3_600_000


def test_months_follow_the_operators_clock_and_miss_nothing(desk: AccountDesk, clock: Clock) -> None:
    clock.now = local_ms("2026-03-31T23:59")
    account, _ = desk.account(1_000)  # 21:59 UTC: still March in Berlin
    clock.now = local_ms("2026-04-01T00:00")
    desk.accounts.top_up(account, 500, "k", "bank", "")  # 22:00 UTC of 31 March: April in Berlin
    march, april = made(desk, account, "2026-03"), made(desk, account, "2026-04")
    assert (march.closing_minor, april.opening_minor, april.closing_minor) == (1_000, 1_000, 1_500)
    assert made(desk, account, "2026-03", "UTC").closing_minor == 1_500
    assert rows_of(csv_of(april))[1]["moment"] == "2026-04-01T00:00:00+02:00"


def test_a_leap_day_belongs_to_february(desk: AccountDesk, clock: Clock) -> None:
    clock.now = local_ms("2028-02-29T23:30")
    account, _ = desk.account(1_000)
    assert made(desk, account, "2028-02").closing_minor == 1_000


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-01", "2026-00", "", "2026-01-01", "９９９９-01"])
def test_no_month_is_guessed(desk: AccountDesk, month: str) -> None:
    account, _ = desk.account(1_000)
    with pytest.raises(ValueError, match="is not a month"):
        statements.make(desk.database, account, month, BERLIN)


# --- books that disagree -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["balance_minor", "held_minor"])
def test_a_mismatch_is_an_alarm_and_no_document(desk: AccountDesk, clock: Clock, column: str) -> None:
    account, _ = desk.account(1_000)
    with desk.database.write() as db:
        db.execute(account_table.update().values({column: account_table.c[column] + 1}))
    with pytest.raises(statements.StatementMismatch, match="the running totals say"):
        statements.make(desk.database, account, "2026-02", BERLIN)
    (alarm,) = desk.rows(store.alarms)
    assert alarm["kind"] == "statement" and account in alarm["detail"]


def test_the_command_writes_what_the_ending_says(desk: AccountDesk, clock: Clock, tmp_path: Path) -> None:
    account, _ = desk.account(1_999)
    base = ["statement", account, "2026-02", "--db", desk.url, "--timezone", BERLIN]
    said = CliRunner().invoke(command, [*base, "--out", str(tmp_path / "s.csv")])
    assert said.exit_code == 0 and "= 19.99 EUR" in said.output
    assert rows_of((tmp_path / "s.csv").read_bytes().decode())[-1]["balance"] == "19.99"
    assert CliRunner().invoke(command, [*base, "--out", str(tmp_path / "s.pdf")]).exit_code == 0
    assert "19.99" in text_of((tmp_path / "s.pdf").read_bytes())
    for wrong, why in (
        ([*base, "--out", str(tmp_path / "s.txt")], "must end in"),
        (["statement", "A-NONE", "2026-02", "--db", desk.url, "--out", str(tmp_path / "n.csv")], "no account"),
        ([*base[:-1], "Berlin", "--out", str(tmp_path / "s.csv")], "no time zone"),
    ):
        answer = CliRunner().invoke(command, wrong)
        assert answer.exit_code != 0 and why in answer.output


def test_old_databases_get_the_tables_of_documents_by_init(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/office.db"
    old = store.Store(url, create=True)
    account = AccountDesk(url, tmp_path / "office.key").account(1_000)[0]
    with old.write() as db:
        for table in ("document_numbers", "invoices", "closings", "closed_records"):
            db.execute(sa.text(f"DROP TABLE {table}"))
    old.close()
    with pytest.raises(store.NoTables, match="not all tables"):
        store.Store(url)
    assert CliRunner().invoke(command, ["init", "--db", url, "--key", str(tmp_path / "office.key")]).exit_code == 0
    database = store.Store(url)
    one = statements.make(database, account, "2026-11", "UTC")
    assert one is not None and one.sender == ()
    database.close()
