"""What an account card can be paid from while the office is out of reach: the terminal's slices, and charges granted on credit."""

from dataclasses import dataclass
from typing import Protocol

from terminal_app.billing.balance_slice import BalanceSlice
from terminal_app.session.pocket import Taken
from terminal_app.values import Hold


class SlicePocket(Protocol):
    """Where a terminal keeps its slices and what it used of them. Every change is durable before the call returns.

    Called by three threads, never by the engine's. Each call blocks at most `wait_s`, then TimeoutError: nobody knows, and
    the same call again has one effect. LedgerBroken if it cannot be written (then nothing changed, and the process ends).
    """

    def put(self, key: str, slice_: BalanceSlice, jws: str, wait_s: float) -> None:
        """Keep the verified slice that was asked for under `key`. Again, or if nobody waits for it any more: nothing."""

    def take(self, hold_key: str, card: str, currency: str, amount_minor: int, wait_s: float) -> Taken | None:
        """Reserve up to `amount_minor` of the card's slice with most left; the same key, the same answer."""

    def settle(self, hold_key: str, spent_minor: int, wait_s: float) -> None:
        """The reserve of a hold shrinks to what was spent; 0 frees it. Again, or without a reserve: nothing."""

    def card(self, hold_key: str) -> str:
        """Token of the card a hold that has not ended was asked for; "" if there is no such hold."""


@dataclass(frozen=True, slots=True)
class Offline:
    """What makes slices usable: who we are, whose signature counts (SPKI), and where they are kept."""

    terminal: str
    office_key: bytes
    pocket: SlicePocket


def granted(hold: Hold) -> bool:
    """The terminal's own rules let this charge begin without anybody being asked: nothing is held, its bill is a receivable."""
    return hold.trace.get("offline") == "granted"
