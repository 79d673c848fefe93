"""The books of all gateways of a simulated world. They survive every crash of the terminal, as the real ones do."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from terminal_app.values import Hold
from tests.simulation.gateways import PAGES, TAPPED, Account, Gateway, Host, Stripe

T = TypeVar("T")
BY_NAME: dict[str, Gateway] = {
    "acquirer": Host(),
    "phone": Stripe(),
    **{one.kind: one for one in (*TAPPED, *PAGES)},
}
"""Doubles by the gateway's name in the configuration."""


@dataclass
class Books:
    """Accounts by gateway and hold."""

    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)

    def ask(self, hold: Hold, what: Callable[[Gateway, Account], tuple[Account, T]]) -> T:
        """A request arrives at the hold's gateway."""
        place = hold.gateway, hold.hold_id
        account, answer = what(BY_NAME[hold.gateway], self.of(hold))
        if account != Account(hold.hold_id):
            self.accounts[place] = account
        return answer

    def of(self, hold: Hold) -> Account:
        return self.accounts.get((hold.gateway, hold.hold_id), Account(hold.hold_id))

    def page(self, hold_id: str) -> Account:
        """The account whose page was opened for this hold."""
        return next(one for one in self.accounts.values() if one.hold_id == hold_id and one.page)

    def change(self, hold_id: str, how: Callable[[Account], Account]) -> None:
        """Something happens to a hold without the terminal: a payment on a page, a notification, an expiry."""
        for place, account in self.accounts.items():
            if place[1] == hold_id:
                self.accounts[place] = how(account)

    @property
    def pages(self) -> list[Account]:
        return [one for one in self.accounts.values() if one.page]

    @property
    def taps(self) -> Counter[int]:
        """How often each card reading asked for money."""
        return Counter(tap for one in self.accounts.values() for tap in one.taps)

    @property
    def captured_minor(self) -> int:
        return sum(one.captured_minor for one in self.accounts.values())

    @property
    def refunded_minor(self) -> int:
        return sum(one.refunded_minor for one in self.accounts.values())

    @property
    def moved(self) -> list[tuple[str, int, list[int], bool]]:
        """All that happened here, without names that differ from run to run."""
        return [
            (place[0], one.approved_minor, [n for _, n in one.captures], one.refunded_minor, one.released)
            for place, one in self.accounts.items()
        ]
