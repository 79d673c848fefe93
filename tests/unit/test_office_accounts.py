"""The account books: whatever happens in whatever order, they balance, and no cent is taken twice or beyond what was held."""

import contextlib
import json
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule, run_state_machine_as_test

from terminal_app.billing.balance_slice import free_minor, open_slice
from terminal_app.billing.signature import jws_open
from terminal_app.errors import SignatureInvalid
from terminal_app.office import books, slices, store
from terminal_app.office.access import hash_of
from terminal_app.office.account_tables import account_slices, accounts, entries, postings
from terminal_app.office.accounts import OFFICE, Refused, Who
from terminal_app.office.books import CUSTOMER, REVENUE, Line, Posting
from terminal_app.run.office import office as command
from tests.unit.account_samples import AccountDesk

DAY_MS = 86_400_000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[AccountDesk]:
    desk = AccountDesk(f"sqlite:///{tmp_path}/office.db", tmp_path / "office.key")
    yield desk
    assert desk.trouble() == []
    desk.database.close()


def placed(desk: AccountDesk, terminal: str, card: str, amount_minor: int = 5000, key: str = "h1") -> dict[str, Any]:
    return desk.accounts.hold(terminal, key, Who(card=card), amount_minor, "EUR", True)


def balance(desk: AccountDesk, account: str) -> tuple[int, int, int]:
    (row,) = desk.rows(accounts, account=account)
    return row["balance_minor"], row["held_minor"], row["sliced_minor"]


# --- anything in any order --------------------------------------------------------------------------------------------


class BooksMachine(RuleBasedStateMachine):
    """A model of its own beside the books: plain numbers, no entries."""

    holds = Bundle("holds")
    slices_ = Bundle("slices_")
    amounts = st.integers(1, 4000)

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        self.desk = AccountDesk(f"sqlite:///{self.place}/o.db", self.place / "k")
        self.serial = 0
        self.money = 0
        self.model: dict[str, dict[str, int | str]] = {}
        self.pockets: dict[str, list[int]] = {}

    @initialize(credit=st.sampled_from([0, 2000]), opening=st.sampled_from([0, 6000, 20_000]))
    def open(self, credit: int, opening: int) -> None:
        self.credit, self.money = credit, opening
        self.terminal, _ = self.desk.terminal()
        self.account, self.card = self.desk.account(opening, kind="fleet" if credit else "prepaid", credit_minor=credit)

    def key(self) -> str:
        self.serial += 1
        return f"k{self.serial}"

    @rule(amount=amounts, again=st.booleans())
    def top_up(self, amount: int, again: bool) -> None:
        key = self.key()
        for _ in range(1 + again):
            self.desk.accounts.top_up(self.account, amount, key, "bank", "")
        self.money += amount

    @rule(target=holds, amount=amounts, partial=st.booleans(), again=st.booleans())
    def hold(self, amount: int, partial: bool, again: bool) -> Any:
        key, free = self.key(), self.money + self.credit
        for _ in range(1 + again):
            try:
                found = self.desk.accounts.hold(self.terminal, key, Who(card=self.card), amount, "EUR", partial)
            except Refused as refusal:
                assert refusal.code == "insufficient_funds"
                assert free <= 0 or (free < amount and not partial)
                return multiple()
            assert found["held_minor"] == min(free, amount) > 0
        self.model[key] = {"hold": found["hold"], "held": found["held_minor"], "state": "held", "taken": 0, "back": 0}
        self.money -= found["held_minor"]
        return key

    @rule(key=holds, amount=amounts, again=st.booleans())
    def capture(self, key: str, amount: int, again: bool) -> None:
        one, step = self.model[key], self.key()
        allowed = one["state"] == "held" and amount <= int(one["held"])
        for _ in range(1 + again):
            try:
                self.desk.accounts.capture(self.terminal, str(one["hold"]), step, amount, amount // 6)
                assert allowed
            except Refused:
                assert not allowed
        if allowed:
            one |= {"state": "captured", "taken": amount}
            self.money += int(one["held"]) - amount

    @rule(key=holds, by_key=st.booleans(), again=st.booleans())
    def void(self, key: str, by_key: bool, again: bool) -> None:
        one = self.model[key]
        allowed = one["state"] != "captured"
        for _ in range(1 + again):
            try:
                if by_key:
                    self.desk.accounts.void_by_key(self.terminal, key, self.key())
                else:
                    self.desk.accounts.void(self.terminal, str(one["hold"]), self.key())
                assert allowed
            except Refused:
                assert not allowed
        if one["state"] == "held":
            one["state"] = "voided"
            self.money += int(one["held"])

    @rule(key=holds, amount=amounts, again=st.booleans())
    def refund(self, key: str, amount: int, again: bool) -> None:
        one, step = self.model[key], self.key()
        allowed = one["state"] == "captured" and int(one["back"]) + amount <= int(one["taken"])
        for _ in range(1 + again):
            try:
                self.desk.accounts.refund(self.terminal, str(one["hold"]), step, amount)
                assert allowed
            except Refused:
                assert not allowed
        if allowed:
            one["back"] = int(one["back"]) + amount
            self.money += 0 if "strange" in one else amount

    @rule(amount=amounts)
    def void_what_never_came(self, amount: int) -> None:
        key = self.key()
        self.desk.accounts.void_by_key(self.terminal, key, self.key())
        with pytest.raises(Refused, match="released before"):
            self.desk.accounts.hold(self.terminal, key, Who(card=self.card), amount, "EUR", True)

    @rule(target=slices_, amount=amounts, again=st.booleans())
    def grant(self, amount: int, again: bool) -> Any:
        key = self.key()
        for _ in range(1 + again):
            try:
                found = self.desk.slices.grant(self.terminal, key, Who(card=self.card), amount, "EUR", 7)
            except Refused:
                assert self.money + self.credit <= 0
                return multiple()
        self.pockets[found["slice_id"]] = [found["amount_minor"], 0, 1]
        self.money -= found["amount_minor"]
        return found["slice_id"]

    @rule(slice_id=slices_, amount=amounts, again=st.booleans())
    def spend(self, slice_id: str, amount: int, again: bool) -> None:
        pocket, key, hold_key = self.pockets[slice_id], self.key(), self.key()
        allowed = bool(pocket[2]) and pocket[1] + amount <= pocket[0]
        for _ in range(1 + again):
            try:
                found = self.desk.slices.spend(self.terminal, slice_id, hold_key, key, amount)
                assert allowed and found["captured_minor"] == amount
            except Refused:
                assert not allowed
        if allowed:
            pocket[1] += amount

    @rule(target=holds, amount=amounts, known=st.booleans(), again=st.booleans())
    def receivable(self, amount: int, known: bool, again: bool) -> str:
        """Charged while nobody could be asked: always booked, below 0 if need be; not to an account if there is none."""
        key, step = self.key(), self.key()
        card = self.card if known else "f" * 32
        for _ in range(1 + again):
            found = self.desk.receivables.book(self.terminal, step, card, amount, "EUR", key)
        self.model[key] = {"hold": found["hold"], "held": amount, "state": "captured", "taken": amount, "back": 0}
        self.model[key] |= {} if known else {"strange": 1}
        self.money -= amount if known else 0
        return key

    @rule(slice_id=slices_, again=st.booleans())
    def give_back(self, slice_id: str, again: bool) -> None:
        pocket = self.pockets[slice_id]
        for _ in range(1 + again):
            self.desk.slices.give_back(self.terminal, slice_id)
        if pocket[2]:
            self.money += pocket[0] - pocket[1]
            pocket[2] = 0

    @invariant()
    def the_books_balance_and_say_what_the_model_says(self) -> None:
        assert self.desk.trouble() == []
        if not hasattr(self, "account"):
            return
        held = sum(int(one["held"]) for one in self.model.values() if one["state"] == "held")
        aside = sum(whole - spent for whole, spent, is_open in self.pockets.values() if is_open)
        assert balance(self.desk, self.account) == (self.money, held, aside)
        rows = {row["key"]: row for row in self.desk.holds(terminal=self.terminal)}
        for key, one in self.model.items():
            assert (rows[key]["state"], rows[key]["captured_minor"], rows[key]["refunded_minor"]) == (
                one["state"],
                one["taken"],
                one["back"],
            )

    def teardown(self) -> None:
        self.desk.database.close()
        shutil.rmtree(self.place)


def explore(**more: Any) -> None:
    usual = {"max_examples": 15, "stateful_step_count": 25, "deadline": None, "suppress_health_check": list(HealthCheck)}
    run_state_machine_as_test(BooksMachine, settings=settings(**{**usual, **more}))  # type: ignore[no-untyped-call]


def test_any_order_of_acts_keeps_the_books() -> None:
    explore()


def test_a_broken_booking_is_noticed(desk: AccountDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same property finds a capture that forgets to give the rest back to the customer."""
    right = books.post

    def wrong(db: Any, posting: Posting, lines: Any) -> None:
        if posting.kind == "capture":
            lines = [Line(one.book, one.amount_minor) for one in lines if one.book not in (CUSTOMER, REVENUE)]
            lines.append(Line(REVENUE, -sum(one.amount_minor for one in lines)))
        right(db, posting, lines)

    monkeypatch.setattr(books, "post", wrong)
    with pytest.raises(AssertionError):
        # That it is found counts, not how small it can be made; the first find ends it.
        explore(phases=[Phase.generate], database=None, derandomize=True, max_examples=300)


# --- keys, limits, many at once --------------------------------------------------------------------------------------


def test_the_same_key_for_another_act_is_refused(desk: AccountDesk) -> None:
    terminal, _ = desk.terminal()
    _, card = desk.account(9000)
    hold = placed(desk, terminal, card)
    with pytest.raises(Refused, match="another request"):
        placed(desk, terminal, card, amount_minor=4999)
    desk.accounts.capture(terminal, hold["hold"], "c1", 100)
    with pytest.raises(Refused, match="another request"):
        desk.accounts.capture(terminal, hold["hold"], "c1", 101)
    with pytest.raises(Refused, match="captured already"):
        desk.accounts.capture(terminal, hold["hold"], "c2", 100)


def test_terminals_may_use_the_same_keys(desk: AccountDesk) -> None:
    account, card = desk.account(9000)
    for _ in range(2):
        placed(desk, desk.terminal()[0], card, 1000)
    assert balance(desk, account) == (7000, 2000, 0)


def test_a_card_of_one_terminal_is_nobody_at_another(desk: AccountDesk) -> None:
    here, there = desk.terminal()[0], desk.terminal()[0]
    account, _ = desk.account(9000)
    token = "ab" * 16
    desk.accounts.add_card(account, token, here)
    assert placed(desk, here, token, 100)["state"] == "held"
    with pytest.raises(Refused, match="no account"):
        placed(desk, there, token, 100)


def test_an_account_id_needs_its_secret(desk: AccountDesk) -> None:
    terminal, _ = desk.terminal()
    account, _ = desk.account(9000, secret_sha256=hash_of("right"))
    bare, _ = desk.account(9000)
    for who in (Who(account=account, secret_sha256=hash_of("wrong")), Who(account=bare, secret_sha256=hash_of("")), Who()):
        with pytest.raises(Refused, match="no account"):
            desk.accounts.hold(terminal, "k1", who, 100, "EUR", False)
    right = Who(account=account, secret_sha256=hash_of("right"))
    assert desk.accounts.hold(terminal, "k2", right, 100, "EUR", False)["held_minor"] == 100


def test_limits_of_a_charge_and_of_a_day(desk: AccountDesk) -> None:
    terminal, _ = desk.terminal()
    _, card = desk.account(100_000, hold_max_minor=3000, day_max_minor=5000)
    first = placed(desk, terminal, card, 9000, "a")
    assert first["held_minor"] == 3000
    desk.accounts.capture(terminal, first["hold"], "c", 2500)
    assert placed(desk, terminal, card, 9000, "b")["held_minor"] == 2500
    with pytest.raises(Refused) as refusal:
        placed(desk, terminal, card, 1, "d")
    assert refusal.value.code == "limit_exceeded"


def test_another_currency_is_refused(desk: AccountDesk) -> None:
    terminal, _ = desk.terminal()
    _, card = desk.account(1000)
    with pytest.raises(Refused, match="EUR"):
        desk.accounts.hold(terminal, "k", Who(card=card), 100, "CHF", True)


def test_many_terminals_at_once_never_spend_a_balance_twice(desk: AccountDesk) -> None:
    account, card = desk.account(1000)
    terminals = [desk.terminal()[0] for _ in range(8)]
    gained: list[str] = []

    def run(terminal: str) -> None:
        for n in range(3):
            try:
                desk.accounts.hold(terminal, f"k{n}", Who(card=card), 300, "EUR", False)
                gained.append(terminal)
            except Refused:
                continue

    threads = [threading.Thread(target=run, args=(terminal,)) for terminal in terminals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(gained) == 3
    assert balance(desk, account) == (100, 900, 0)


def test_the_same_capture_from_many_threads_is_booked_once(desk: AccountDesk) -> None:
    account, card = desk.account(5000)
    terminal, _ = desk.terminal()
    hold = placed(desk, terminal, card)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(desk.accounts.capture(terminal, hold["hold"], "c", 700)["captured_minor"]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [700] * 6
    assert balance(desk, account) == (4300, 0, 0)


def test_a_hold_and_its_reversal_at_the_same_moment_leave_nothing_held(desk: AccountDesk) -> None:
    """Either may fail for the other's sake (the asker repeats it); in the end nothing is held, whoever came first."""
    account, card = desk.account(5000)
    terminal, _ = desk.terminal()

    def hold(key: str) -> None:
        with contextlib.suppress(Refused, sa.exc.IntegrityError):
            placed(desk, terminal, card, 100, key)

    def void(key: str) -> None:
        for _ in range(5):
            with contextlib.suppress(sa.exc.IntegrityError):
                desk.accounts.void_by_key(terminal, key, f"void-{key}")
                return

    for n in range(10):
        threads = [threading.Thread(target=act, args=(f"k{n}",)) for act in ((hold, void) if n % 2 else (void, hold))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert {row["state"] for row in desk.holds(terminal=terminal)} == {"voided"}
    assert len(desk.holds(terminal=terminal)) == 10
    assert balance(desk, account) == (5000, 0, 0)


# --- what can never change ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [entries, postings], ids=lambda table: table.name)
def test_entries_can_be_neither_changed_nor_deleted(desk: AccountDesk, table: sa.Table) -> None:
    desk.account(1000)
    with pytest.raises(sa.exc.DatabaseError), desk.database.write() as db:
        db.execute(table.update().values(amount_minor=1))
    with pytest.raises(sa.exc.DatabaseError), desk.database.write() as db:
        db.execute(table.delete())


def test_lines_that_do_not_balance_are_never_booked(desk: AccountDesk) -> None:
    account, _ = desk.account(1000)
    posting = Posting("topup", OFFICE, "x", account, 5, "EUR", 1)
    with pytest.raises(ValueError, match="add up"), desk.database.write() as db:
        books.post(db, posting, (Line(CUSTOMER, 5), Line(REVENUE, -4)))


def test_the_audit_names_a_total_that_was_tampered_with(tmp_path: Path) -> None:
    desk = AccountDesk(f"sqlite:///{tmp_path}/office.db", tmp_path / "office.key")
    account, _ = desk.account(1000)
    with desk.database.write() as db:
        db.execute(accounts.update().values(balance_minor=100_000))
    assert any(account in sentence and "100000" in sentence for sentence in desk.trouble())
    desk.database.close()


def test_opening_plus_entries_is_closing_in_every_month(desk: AccountDesk) -> None:
    account, card = desk.account(0)
    terminal, _ = desk.terminal()
    with desk.database.write() as db:
        for month, amount in ((1, 5000), (2, 700), (12, 900)):
            when = int(datetime(2025, month, 15, tzinfo=UTC).timestamp()) * 1000
            posting = Posting("topup", OFFICE, f"m{month}", account, amount, "EUR", when)
            books.post(db, posting, (Line(CUSTOMER, amount), Line("clearing:bank", -amount)))
    hold = placed(desk, terminal, card, 3000)
    desk.accounts.capture(terminal, hold["hold"], "c", 1234, vat_minor=197)
    desk.accounts.refund(terminal, hold["hold"], "r", 34)
    months = [f"{year}-{month:02d}" for year in (2025, 2026) for month in range(1, 13)]
    before = 0
    with desk.database.read() as db:
        for month in months:
            told = books.statement(db, account, month)
            assert told is not None
            assert told["opening_minor"] == before
            before = told["closing_minor"] = told["opening_minor"] + sum(row["amount_minor"] for row in told["entries"])
        assert books.statement(db, "A-NONE", "2025-01") is None
        with pytest.raises(ValueError, match="month"):
            books.statement(db, account, "2025-13")
        sums = {row["book"]: row["amount_minor"] for row in books.balances(db)}
    assert before == balance(desk, account)[0] == 6600 - 1200
    assert sums == {"clearing:bank": -6600, "customer": 5400, "hold": 0, "revenue": 1003, "vat": 197}


# --- slices -----------------------------------------------------------------------------------------------------------


def test_a_slice_verifies_only_with_the_offices_key_for_its_terminal_and_in_its_time(desk: AccountDesk, tmp_path: Path) -> None:
    terminal, _ = desk.terminal()
    _, card = desk.account(9000)
    jws = desk.slices.grant(terminal, "g", Who(card=card), 4000, "EUR", 7)["slice"]
    slice_ = open_slice(jws, desk.key.public_pem, terminal)
    assert (slice_.amount_minor, slice_.card, slice_.currency) == (4000, card, "EUR")
    assert free_minor(slice_, [1000, 500], slice_.granted_utc_ms) == 2500
    assert free_minor(slice_, [4001], slice_.granted_utc_ms) == 0
    assert free_minor(slice_, [], slice_.expires_utc_ms) == 0
    assert free_minor(slice_, [], slice_.granted_utc_ms - 1) == 0
    with pytest.raises(SignatureInvalid, match="another terminal"):
        open_slice(jws, desk.key.public_pem, "T-OTHER")
    other = AccountDesk(f"sqlite:///{tmp_path}/other.db", tmp_path / "other.key")
    with pytest.raises(SignatureInvalid):
        open_slice(jws, other.key.public_pem, terminal)
    other.database.close()
    for at in range(0, len(jws), 37):
        broken = jws[:at] + ("A" if jws[at] != "A" else "B") + jws[at + 1 :]
        with pytest.raises(SignatureInvalid):
            open_slice(broken, desk.key.public_pem, terminal)
    with pytest.raises(SignatureInvalid):
        jws_open(jws, desk.key.public_pem, "ack+jws")


def test_a_slice_is_reclaimed_only_after_its_time_and_grace(desk: AccountDesk) -> None:
    account, card = desk.account(9000)
    terminal, _ = desk.terminal()
    slice_id = desk.slices.grant(terminal, "g", Who(card=card), 4000, "EUR", 1)["slice_id"]
    desk.slices.spend(terminal, slice_id, "h", "s", 1500)
    assert slices.close_expired(desk.database, "terminal scrapped") == []
    past = store.now_ms() - slices.GRACE_MS - 1000
    with desk.database.write() as db:
        db.execute(account_slices.update().values(expires_utc_ms=past))
    assert slices.close_expired(desk.database, "terminal scrapped") == [slice_id]
    assert balance(desk, account) == (7500, 0, 0)
    with pytest.raises(Refused, match="returned or reclaimed"):
        desk.slices.spend(terminal, slice_id, "h2", "s2", 100)
    assert [row["kind"] for row in desk.rows(store.alarms)] == ["slice"]


# --- the command line -------------------------------------------------------------------------------------------------


def run(desk: AccountDesk, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(command, ["account", *arguments, "--db", desk.url])
    assert done.exit_code == code, done.output
    return done.output


def test_accounts_by_hand(desk: AccountDesk) -> None:
    terminal, _ = desk.terminal()
    card = secrets.token_hex(16)
    run(desk, "add", "FLEET-1", "--currency", "EUR", "--label", "Example fleet", "--card", card, "--fleet-credit", "50.00")
    assert "balance 25.50 EUR" in run(desk, "topup", "FLEET-1", "25.50", "--note", "transfer 1", "--key", "t1")
    assert "balance 25.50 EUR" in run(desk, "topup", "FLEET-1", "25.50", "--note", "transfer 1", "--key", "t1")
    hold = placed(desk, terminal, card, 10_000)
    assert hold["held_minor"] == 7550
    assert re.search(rf"hold\t{hold['hold']}\tFLEET-1\t{terminal}\t75.50\tEUR\t0 h", run(desk, "holds"))
    assert "FLEET-1\tExample fleet\tfleet\t-50.00\t75.50\t0.00\tEUR\tFalse" in run(desk, "list")
    assert "75.50 EUR released" in run(desk, "release", hold["hold"], "--note", "terminal stolen, by the night shift")
    told = json.loads(run(desk, "statement", "FLEET-1", "--json"))
    assert [row["kind"] for row in told["entries"]] == ["topup", "hold", "void"]
    assert told["closing_minor"] == 2550
    text = run(desk, "statement", "FLEET-1")
    assert "closing\t25.50" in text and "terminal stolen" in text
    assert "the books balance" in run(desk, "audit")
    assert "secret" not in run(desk, "list", "--json")
    run(desk, "block", "FLEET-1")
    with pytest.raises(Refused, match="blocked"):
        placed(desk, terminal, card, 100, "later")
    run(desk, "block", "FLEET-1", "--off")
    assert "balance 26.50" in run(desk, "write-off", "FLEET-1", "1.00", "--note", "goodwill, by the manager")
    assert "0 slices reclaimed" in run(desk, "reclaim", "--note", "monthly")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("add", "lower", "--currency", "EUR"), "capital letters"),
        (("add", "A-1", "--currency", "EUR", "--card", "4111"), "hex digits"),
        (("add", "A-1", "--currency", "EUR", "--hold-max", "1.005"), "--hold-max"),
        (("add", "A-1", "--currency", "EUR", "--terminal", "T-NONE"), "not registered"),
        (("topup", "A-NONE", "5"), "no account"),
        (("statement", "A-NONE"), "no account"),
        (("release", "AHnone", "--note", "x"), "no such hold"),
    ],
)
def test_what_cannot_be_done_is_one_clear_sentence(desk: AccountDesk, arguments: tuple[str, ...], word: str) -> None:
    done = CliRunner().invoke(command, ["account", *arguments, "--db", desk.url])
    assert done.exit_code in (1, 2)
    assert word in done.output
    assert "Traceback" not in done.output


def test_a_database_of_an_older_version_is_named(tmp_path: Path) -> None:
    old = store.Store(f"sqlite:///{tmp_path}/o.db", create=True)
    with old.write() as db:
        db.exec_driver_sql("DROP TABLE entries")
    old.close()
    with pytest.raises(store.NoTables, match="init"):
        store.Store(f"sqlite:///{tmp_path}/o.db")
    store.Store(f"sqlite:///{tmp_path}/o.db", create=True).close()
    store.Store(f"sqlite:///{tmp_path}/o.db").close()
