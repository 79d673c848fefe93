"""Charges granted offline without a slice: booked in any case, exactly once, and whatever nobody agreed to is said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.office import books, store
from terminal_app.office.account_tables import accounts
from terminal_app.office.accounts import Refused, Who
from tests.unit.account_samples import AccountDesk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[AccountDesk]:
    desk = AccountDesk(f"sqlite:///{tmp_path}/office.db", tmp_path / "office.key")
    yield desk
    assert desk.trouble() == []
    desk.database.close()


def balance(desk: AccountDesk, account: str) -> int:
    return int(desk.rows(accounts, account=account)[0]["balance_minor"])


def book(desk: AccountDesk) -> dict[str, int]:
    with desk.database.read() as db:
        return {row["book"]: row["amount_minor"] for row in books.balances(db)}


def alarms(desk: AccountDesk) -> list[str]:
    return [row["detail"] for row in desk.rows(store.alarms, kind="receivable")]


def charged(
    desk: AccountDesk, card: str, amount_minor: int = 700, key: str = "c1", hold: str = "h1", **more: Any
) -> dict[str, Any]:
    return desk.receivables.book("T-1", key, card, amount_minor, more.get("currency", "EUR"), hold)


def test_a_negative_balance_is_the_receivable_and_an_alarm_says_it(desk: AccountDesk) -> None:
    account, card = desk.account(500)
    first = charged(desk, card)
    assert charged(desk, card) == first
    assert (first["state"], first["captured_minor"]) == ("captured", 700)
    assert balance(desk, account) == -200
    assert book(desk)["revenue"] == 700 and "receivable" not in book(desk)
    (said,) = alarms(desk)
    assert "is at -200, may fall to 0" in said
    assert desk.trouble() == []  # a debt that was never asked for is no defect of the books
    with pytest.raises(Refused, match="balance is too low"):
        desk.accounts.hold("T-1", "h2", Who(card=card), 100, "EUR", True)
    desk.accounts.top_up(account, 1000, "t1", "bank", "")
    assert balance(desk, account) == 800


def test_within_the_credit_nobody_is_alarmed(desk: AccountDesk) -> None:
    account, card = desk.account(500, kind="fleet", credit_minor=300)
    charged(desk, card)
    assert balance(desk, account) == -200 and alarms(desk) == []


@pytest.mark.parametrize("who", ["nobody", "blocked", "foreign"])
def test_what_no_account_can_owe_stands_in_the_offices_book(desk: AccountDesk, who: str) -> None:
    account, card = desk.account(5000, blocked=who == "blocked", currency="CHF" if who == "foreign" else "EUR")
    found = charged(desk, "0" * 32 if who == "nobody" else card)
    charged(desk, "0" * 32 if who == "nobody" else card)
    assert balance(desk, account) == 5000
    assert book(desk)["receivable"] == -700 and book(desk)["revenue"] == 700
    (said,) = alarms(desk)
    assert "700 EUR charged offline (h1)" in said
    desk.accounts.refund("T-1", found["hold"], "r1", 200)
    assert book(desk)["receivable"] == -500 and balance(desk, account) == 5000


def test_one_charge_is_one_receivable_whatever_the_key(desk: AccountDesk) -> None:
    account, card = desk.account(5000)
    charged(desk, card)
    for key, amount, hold in (("c1", 701, "h1"), ("c2", 700, "h1")):
        with pytest.raises(Refused) as refusal:
            charged(desk, card, amount, key, hold)
        assert refusal.value.code == "key_reused"
    assert balance(desk, account) == 4300


def test_a_hold_released_unseen_makes_room_and_a_living_one_does_not(desk: AccountDesk) -> None:
    account, card = desk.account(5000)
    desk.accounts.void_by_key("T-1", "h1", "v1")
    assert charged(desk, card)["captured_minor"] == 700
    desk.accounts.hold("T-1", "h2", Who(card=card), 1000, "EUR", True)
    with pytest.raises(Refused):
        charged(desk, card, key="c2", hold="h2")
    assert any("there is a hold already, held" in one for one in alarms(desk))
    assert balance(desk, account) == 5000 - 700 - 1000


def test_a_strange_currency_is_refused(desk: AccountDesk) -> None:
    with pytest.raises(Refused, match="not an ISO 4217"):
        charged(desk, "0" * 32, currency="QQQ")


def test_the_audit_still_finds_a_balance_that_nobody_charged(tmp_path: Path) -> None:
    desk = AccountDesk(f"sqlite:///{tmp_path}/office.db", tmp_path / "office.key")
    account, card = desk.account(500)
    charged(desk, card)
    with desk.database.write() as db:
        posting = books.Posting("capture", "T-1", "wrong", account, 900, "EUR", store.now_ms())
        books.post(db, posting, (books.Line(books.CUSTOMER, -900), books.Line(books.REVENUE, 900)))
    assert any("below its credit" in one for one in desk.trouble())
    desk.database.close()
