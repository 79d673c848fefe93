"""Prepaid and fleet accounts by phone: the office shows a page for one hold, the driver pays there with account and secret.

What was paid is a hold of the account gateway, and is captured, released and refunded as one.
"""

import time
from collections.abc import Callable

import msgspec

from terminal_app.config import AccountPageSection
from terminal_app.payments import rest
from terminal_app.payments.account import WHY, AccountGateway, Refusal
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

CHECK_WORD_SEPARATOR = " / "


class _Page(msgspec.Struct, frozen=True):
    """A page as the office tells it; more fields may come."""

    key: str
    reference: str
    url: str
    state: str
    amount_minor: int
    currency: str
    expires_utc_ms: int
    hold: str
    refused_as: str


class AccountPageGateway(AccountGateway):
    """ports.PaymentGateway, CheckoutGateway and LookUp. Moves closed-loop money; never raises for the network. Thread-safe."""

    def __init__(self, name: str, section: AccountPageSection, demo: bool) -> None:
        """Connects to nothing. Raises ValueError for an unusable address, CA or token file."""
        super().__init__(name, section, demo)
        self._demo = demo

    # --- the page ------------------------------------------------------------------------------------------------

    def open_checkout(self, hold: Hold, station: str, deadline_s: float) -> Checkout | Declined | OutcomeUnknown:
        place, separator, check_word = station.rpartition(CHECK_WORD_SEPARATOR)
        asked = {"hold_id": hold.hold_id, "connector": hold.connector, "amount_minor": hold.amount_minor}
        asked |= {"currency": hold.currency, "station": place if separator else station}
        asked |= {"check_word": check_word if separator else ""}
        try:
            page = self._post("/v1/checkouts", hold.key, asked, deadline_s, _Page)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        except Refusal as refusal:
            return Declined(WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
        if not _is_of(page, hold) or page.state != "open" or not rest.page_address(page.url, demo=self._demo):
            return OutcomeUnknown(f"a page that cannot be shown (state {rest.code_of(page.state)!r})")
        return Checkout(page.url, page.reference, page.expires_utc_ms)

    def poll_checkout(self, hold: Hold, deadline_s: float) -> Outcome | None:
        end = time.monotonic() + deadline_s
        return self._seen(hold, lambda path: self._ask("GET", path, end, None, _Page))

    def expire_checkout(self, hold: Hold, deadline_s: float) -> Outcome:
        outcome = self._seen(hold, lambda path: self._post(f"{path}/expire", hold.key, {}, deadline_s, _Page))
        if isinstance(outcome, Declined):  # ended unpaid, whatever the last account was told
            return Declined(DeclineReason.TOO_LATE, outcome.code)
        return outcome or OutcomeUnknown("the page is still open")

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        """Not offered: cards go to the account gateway. Nothing is sent."""
        return Declined(DeclineReason.GATEWAY_REFUSED, "pays by QR only")

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        if not 0 < step.amount_minor <= int(hold.trace.get("held_minor", hold.amount_minor)):
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount outside the hold")
        return super().capture(hold, step, deadline_s)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Ends the page first, unless it is known as paid; what was paid in that very moment is released."""
        end = time.monotonic() + deadline_s
        if "hold" not in hold.trace:
            ended = self.expire_checkout(hold, deadline_s)
            if isinstance(ended, Declined):
                return Approved(step.amount_minor, {"ended_as": ended.code})
            if isinstance(ended, OutcomeUnknown):
                return ended
        return super().void(hold, step, end - time.monotonic())

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome:
        end = time.monotonic() + deadline_s
        if "hold" not in hold.trace:
            seen = self.poll_checkout(hold, deadline_s)
            if not isinstance(seen, Approved):
                return seen or OutcomeUnknown("the page is still open")
        return super().look_up(hold, end - time.monotonic())

    def _seen(self, hold: Hold, ask: Callable[[str], _Page]) -> Outcome | None:
        """What the office says of the page. None = open."""
        try:
            page = ask(f"/v1/checkouts/by-key/{rest.segment(hold.key)}")
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        except Refusal as refusal:
            if refusal.code == "unknown_checkout":  # nobody was ever shown a page: nobody can have paid
                return Declined(DeclineReason.TOO_LATE, refusal.code)
            return OutcomeUnknown(str(refusal))
        if not _is_of(page, hold):
            return OutcomeUnknown("an answer to somebody else's question")
        match page.state:
            case "open":
                return None
            case "paid" if page.hold:
                return Approved(page.amount_minor, {"hold": page.hold, "held_minor": str(page.amount_minor)})
            case "expired":
                code = rest.code_of(page.refused_as)
                return Declined(WHY.get(code, DeclineReason.TOO_LATE), code or "expired")
        return OutcomeUnknown(f"a page that cannot be (state {rest.code_of(page.state)!r})")


def _is_of(page: _Page, hold: Hold) -> bool:
    """The page of this hold: by our own key, and by what it asks for."""
    return (page.key, page.amount_minor, page.currency) == (hold.key, hold.amount_minor, hold.currency)
