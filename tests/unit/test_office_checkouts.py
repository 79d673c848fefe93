"""Pages for phones by rule: paying against ending in either order and at once, time that runs out, words for everything."""

import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from terminal_app.office import store
from terminal_app.office.access import hash_of
from terminal_app.office.accounts import Refused, Who
from terminal_app.office.checkouts import PAGE_LIFE_MS, Checkouts, NewCheckout
from terminal_app.office.phone_tables import account_checkouts, phone_charges
from terminal_app.office.phone_words import PHONE_WORDS
from tests.unit.account_samples import AccountDesk

SECRET = "the-secret-of-an-account-holder"


class Place:
    def __init__(self, desk: AccountDesk) -> None:
        self.desk = desk
        self.checkouts = Checkouts(self.desk.database)
        self.terminal, _ = self.desk.terminal()
        self.who = self.driver()

    def driver(self, balance_minor: int = 100_000) -> Who:
        name, _ = self.desk.account(balance_minor, secret_sha256=hash_of(SECRET))
        return Who(account=name, secret_sha256=hash_of(SECRET))

    def open(self, key: str = "key-1", amount_minor: int = 2000) -> str:
        new = NewCheckout(key, "H-1", 1, "Car park / 1", "ACDE", amount_minor, "EUR")
        return str(self.checkouts.open(self.terminal, new)["token"])

    def held(self) -> list[int]:
        return [row["held_minor"] for row in self.desk.holds(terminal=self.terminal, state="held")]

    def state(self, key: str = "key-1") -> str:
        (row,) = self.desk.rows(account_checkouts, key=key)
        return str(row["state"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(AccountDesk(f"sqlite:///{tmp_path}/office.db", tmp_path / "office.key"))
    yield place
    assert place.desk.trouble() == []
    place.desk.database.close()


def test_paid_before_it_is_ended(place: Place) -> None:
    token = place.open()
    place.checkouts.pay(token, place.who)
    assert place.checkouts.expire(place.terminal, "key-1")["state"] == "paid"
    assert place.held() == [2000]


def test_ended_before_it_is_paid(place: Place) -> None:
    token = place.open()
    assert place.checkouts.expire(place.terminal, "key-1")["state"] == "expired"
    with pytest.raises(Refused, match="has ended"):
        place.checkouts.pay(token, place.who)
    assert place.held() == []


@pytest.mark.parametrize("round_no", range(6))
def test_paid_and_ended_at_once_both_sides_are_told_the_same(place: Place, round_no: int) -> None:
    """Two payers, one of them twice, and the terminal that ends the page, all in the same moment."""
    token, start = place.open(), Barrier(4)
    other = place.driver()

    def pay(who: Who) -> str:
        start.wait(20)
        try:
            return place.checkouts.pay(token, who)
        except Refused as refusal:
            return refusal.code

    def end() -> str:
        start.wait(20)
        return str(place.checkouts.expire(place.terminal, "key-1")["state"])

    with ThreadPoolExecutor(4) as pool:
        paying = [pool.submit(pay, who) for who in (place.who, place.who, other)]
        ended = pool.submit(end).result(60)
    told = [one.result(60) for one in paying]
    assert place.state() == ended
    if ended == "paid":
        (row,) = place.desk.holds(terminal=place.terminal)
        winner = row["account"]
        assert (row["key"], row["state"], row["held_minor"]) == ("key-1", "held", 2000)
        (charge,) = place.desk.rows(phone_charges, key="key-1")
        assert told == [charge["token"] if who.account == winner else "paid_by_another" for who in (place.who, place.who, other)]
    else:
        assert told == ["expired"] * 3 and place.held() == []


def test_a_page_whose_time_is_over_is_not_paid_and_never_comes_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    token, began = place.open(), store.now_ms()
    monkeypatch.setattr(store, "now_ms", lambda: began + PAGE_LIFE_MS + 5000)
    page = place.checkouts.page(token)
    assert page is not None and page["state"] == "expired"
    with pytest.raises(Refused, match="has ended"):
        place.checkouts.pay(token, place.who)
    assert place.checkouts.look(place.terminal, "key-1")["state"] == "expired"
    monkeypatch.setattr(store, "now_ms", lambda: began)  # the office's clock is set back
    with pytest.raises(Refused, match="has ended"):
        place.checkouts.pay(token, place.who)


def test_a_hold_that_was_released_by_key_cannot_be_paid_any_more(place: Place) -> None:
    token = place.open()
    place.desk.accounts.void_by_key(place.terminal, "key-1", "void-1")
    with pytest.raises(Refused) as refusal:
        place.checkouts.pay(token, place.who)
    assert refusal.value.code == "already_voided" and place.held() == []


def test_the_same_key_with_another_amount_is_another_request(place: Place) -> None:
    place.open()
    with pytest.raises(Refused, match="another request"):
        place.open(amount_minor=2001)


def test_many_guesses_at_once_are_no_more_than_the_limit(place: Place) -> None:
    token, wrong = place.open(), Who(account=place.who.account, secret_sha256=hash_of("guess"))

    def guess(_: int) -> str:
        with pytest.raises(Refused) as refusal:
            place.checkouts.pay(token, wrong)
        return refusal.value.code

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(guess, range(16)))
    assert told.count("unknown_account") <= 10 and "too_many_tries" in told


def test_a_demo_wallet_pays_one_page_and_holds_only_its_money(place: Place) -> None:
    token = place.open()
    for _ in range(2):
        place.checkouts.pay(token, place.checkouts.demo_wallet(token))
    (row,) = place.desk.holds(terminal=place.terminal)
    assert row["account"].startswith("DEMO-AC") and place.held() == [2000]


@pytest.mark.parametrize("language", list(PHONE_WORDS))
def test_every_language_says_the_same_things(language: str) -> None:
    def holes(words: dict[str, str]) -> dict[str, Any]:
        return {name: sorted(one[1] or "" for one in string.Formatter().parse(text) if one[1]) for name, text in words.items()}

    assert holes(PHONE_WORDS[language]) == holes(PHONE_WORDS["en"])
    assert all(text.strip() for text in PHONE_WORDS[language].values())
