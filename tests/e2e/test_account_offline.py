"""A prepaid card at a whole terminal: paid online, then, with the office gone, from the slice; killed, restarted, told once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.cards.card_token import load_card_key, token_of
from scripts.demo.site import TERMINAL, TEST_PANS, Site, Wanted
from terminal_app import screens as s
from tests.e2e.clock import NEEDS_CLOCK
from tests.e2e.visit import Visit, price_of, until
from tests.unit.account_samples import AccountDesk

PRICE = "0.59"
SLICE_MINOR = 400
OPENING_MINOR = 10_000
POLICY = {"hold_minor": 900, "min_useful_hold_minor": 100, "declined_show_s": 30, "settle_retry_s": 1}


class AccountSite(Site):
    """The site's cards are paid by accounts of its own office."""

    def write_config(self) -> None:
        super().write_config()
        text = self.config.read_text()
        begin, end = text.index("[gateway.acquirer]"), text.index("[policy]")
        section = {"kind": "account", "url": self.office_url, "token_file": str(self.folder / "keys/office.token")}
        lines = "".join(f'{key} = "{value}"\n' for key, value in section.items())
        whole = f"[gateway.accounts]\n{lines}slice_minor = {SLICE_MINOR}\nslice_days = 7\n\n"
        self.config.write_text(text[:begin] + whole + text[end:])
        desk = self.desk()
        self.account, _ = desk.account(OPENING_MINOR)
        desk.accounts.add_card(self.account, self.card_token(), TERMINAL)
        desk.database.close()

    def card_token(self) -> str:
        key = load_card_key(self.folder / "keys/card.key")
        return token_of(key, bytearray(TEST_PANS[self.wanted.brand].encode()))

    def desk(self) -> AccountDesk:
        return AccountDesk(f"sqlite:///{self.office_db}", self.folder / "keys/office.pem")


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    with Visit(tmp_path, Wanted(price=PRICE, energy_wh=6000, policy=POLICY, ui=False), AccountSite) as visit:
        yield visit


def rows(visit: Visit, query: str) -> list[tuple[Any, ...]]:
    return visit.site.office_rows(query)


def kinds(visit: Visit) -> list[str]:
    return [kind for (kind,) in visit.site.ledger_rows("SELECT kind FROM entries ORDER BY seq")]


@NEEDS_CLOCK
def test_a_card_pays_online_then_from_its_slice_without_the_office(visit: Visit) -> None:
    site = visit.site
    assert isinstance(site, AccountSite)
    visit.charge(at_least_wh=50)
    visit.stop()
    visit.leave()
    until(lambda: "slice_kept" in kinds(visit), "the slice")
    assert rows(visit, "SELECT amount_minor, spent_minor FROM account_slices") == [(SLICE_MINOR, 0)]

    site.kill("charge-office")
    visit.charge(at_least_wh=50)
    assert "slice_taken" in kinds(visit)
    visit.kill_core()  # in the middle of a charge that nobody but the ledger knows of
    visit.start_core()
    visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 50)
    visit.glass.touch_until(s.Button.STOP, s.Receipt)
    visit.leave()
    visit.kill_core()
    visit.start_core()
    visit.offer()
    site.plug()
    left = visit.tap()  # the rest of the slice is less than the whole: what was spent is not spent again
    assert not isinstance(left, s.DeclinedView), left
    visit.glass.wait(s.Charging, lambda view: view.energy_wh >= 50)
    visit.glass.touch_until(s.Button.STOP, s.Receipt)
    visit.leave()

    site.start_office()
    visit.settled()
    bills = [one["totals"]["total_minor"] for one in visit.records("session")]
    assert bills == [price_of(one["energy_wh"], PRICE) for one in visit.records("session")] and len(bills) == 3
    held = [one["payment"]["authorized_minor"] for one in visit.records("session")]
    assert held == [900, SLICE_MINOR, SLICE_MINOR - bills[1]]
    assert [one["how"] for one in visit.records("settlement")] == ["captured"] * 3
    assert rows(visit, "SELECT amount_minor, spent_minor FROM account_slices") == [(SLICE_MINOR, bills[1] + bills[2])]
    booked = rows(visit, "SELECT captured_minor FROM account_holds WHERE state = 'captured' ORDER BY opened_utc_ms")
    assert sorted(one for (one,) in booked) == sorted(bills)
    desk = site.desk()
    assert desk.trouble() == []
    (balance,) = rows(visit, f"SELECT balance_minor FROM accounts WHERE account = '{site.account}'")
    assert balance == (OPENING_MINOR - bills[0] - SLICE_MINOR,)
    desk.database.close()
    told = "".join(body for (body,) in rows(visit, "SELECT body FROM facts"))
    assert site.card_token() not in told and "slice_" not in told  # what names a card by its token stays at the terminal
