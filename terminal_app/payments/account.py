"""Prepaid and fleet accounts as a payment gateway: the office's account API holds, captures, voids and refunds.

The account is found by the card's token. While the office is out of reach, a balance slice (money the office has set aside for
this terminal, see billing.balance_slice) pays instead, if one is held for the card: its capture is told to the office with
the settlement machine's own patience, under the same key until it is answered. So is the bill of a charge that the terminal's
rules granted offline without a slice: a receivable.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from terminal_app.billing.balance_slice import open_slice
from terminal_app.config import AccountPageSection, AccountSection
from terminal_app.errors import SignatureInvalid
from terminal_app.http_client import HttpAnswer
from terminal_app.payments import rest
from terminal_app.payments.offline import Offline, granted
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

POCKET_S = 2.0
"""So long the engine may take to commit a change of the pocket; a longer wait leaves the outcome unknown."""
WHY = MappingProxyType(
    {
        "insufficient_funds": DeclineReason.INSUFFICIENT_FUNDS,
        "limit_exceeded": DeclineReason.LIMIT_EXCEEDED,
        "unknown_account": DeclineReason.CARD_INVALID,
        "blocked": DeclineReason.REFUSED,
        "already_captured": DeclineReason.ALREADY_DONE,
        "already_voided": DeclineReason.ALREADY_DONE,
        "above_hold": DeclineReason.LIMIT_EXCEEDED,
        "above_captured": DeclineReason.LIMIT_EXCEEDED,
        "above_slice": DeclineReason.LIMIT_EXCEEDED,
        "slice_closed": DeclineReason.TOO_LATE,
    }
)


class Refusal(Exception):
    """A genuine no of the office: the request had no effect."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the office refused: {code}")
        self.status, self.code = status, code


class Held(msgspec.Struct, frozen=True):
    """A hold as the office tells it; more fields may come."""

    hold: str
    key: str
    state: str
    held_minor: int
    captured_minor: int
    refunded_minor: int
    currency: str
    request: str = ""
    added_minor: int = 0  # by an increment


class _No(msgspec.Struct, frozen=True):
    code: str
    request: str


class _Granted(msgspec.Struct, frozen=True):
    slice: str
    request: str


class _Self(msgspec.Struct, frozen=True):
    terminal: str


class AccountGateway:
    """ports.PaymentGateway, Increment and LookUp. Moves closed-loop money; never raises for the network. Thread-safe."""

    capabilities = GatewayCapabilities(partial_approval=True, increment=True, refund=True, look_up=True)

    def __init__(
        self,
        name: str,
        section: AccountSection | AccountPageSection,
        demo: bool,
        *,
        offline: Offline | None = None,
    ) -> None:
        """Connects to nothing. `offline` None: no slices. Raises ValueError for an unusable address, CA or token file."""
        self.name = name
        self._offline = offline
        self._token = rest.Secret(section.token_file, "token_file")
        self._rest = rest.Rest(section.url, demo=demo, ca_file=section.ca_file, max_body=64 * 1024)

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        asked = {"card": source.facts.token, "amount_minor": hold.amount_minor, "currency": hold.currency, "partial": True}
        pocket_s = self._pocket_s(deadline_s)
        try:
            found = self._post("/v1/accounts/by-card/holds", hold.key, asked, deadline_s - pocket_s, Held)
        except NotSent:
            return self._from_slice(hold, source, pocket_s)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        except Refusal as refusal:
            return Declined(WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
        if found.key != hold.key or found.state != "held" or not 0 < found.held_minor <= hold.amount_minor:
            return OutcomeUnknown(f"an answer that cannot be (state {rest.code_of(found.state)!r})")
        return Approved(found.held_minor, {"hold": found.hold, "held_minor": str(found.held_minor)})

    def increment(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """What was set aside on a slice is never raised: the office may be out of reach."""
        reference = hold.trace.get("hold")
        if reference is None:
            return Declined(DeclineReason.GATEWAY_REFUSED, "no_online_hold")
        path, asked = f"/v1/holds/{rest.segment(reference)}/increment", {"amount_minor": step.amount_minor}
        held = self._followed(path, hold, step, asked, deadline_s, lambda held: 0 < held.added_minor <= step.amount_minor)
        if not isinstance(held, Held):
            return held
        return Approved(held.added_minor, {"held_minor": str(held.held_minor)})

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        asked: dict[str, Any] = {"amount_minor": step.amount_minor}
        if slice_id := hold.trace.get("slice"):
            if trouble := self._settled(hold, step.amount_minor, deadline_s):
                return trouble
            path = f"/v1/slices/{rest.segment(slice_id)}/spend"
            asked |= {"hold_key": hold.key}
        elif granted(hold):
            card = self._offline.pocket.card(hold.key) if self._offline else ""
            if not card:
                return OutcomeUnknown("the card of this charge is not known here: it cannot be told who owes the money")
            path = "/v1/accounts/by-card/receivables"
            asked |= {"card": card, "currency": hold.currency, "hold_key": hold.key}
        elif reference := hold.trace.get("hold"):
            path = f"/v1/holds/{rest.segment(reference)}/capture"
        else:
            return OutcomeUnknown("the hold has no reference of the office: it can only be released")
        left = deadline_s - self._pocket_s(deadline_s)
        return self._done(path, hold, step, asked, left, lambda held: held.captured_minor == step.amount_minor)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """By our own key, so a hold of unknown outcome is released the same way; it can never be placed afterwards."""
        if trouble := self._settled(hold, 0, deadline_s):
            return trouble
        if "slice" in hold.trace or granted(hold):  # nothing is held at the office
            return Approved(int(hold.trace.get("held_minor", hold.amount_minor)), {})
        path, left = f"/v1/holds/by-key/{rest.segment(hold.key)}/void", deadline_s - self._pocket_s(deadline_s)
        return self._done(path, hold, step, {}, left, lambda held: held.state == "voided")

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        end = time.monotonic() + deadline_s
        reference = hold.trace.get("hold")
        if reference is None:  # paid offline: the office knows the hold by our key
            found = self._found(hold, end)
            if not isinstance(found, Held):
                return found
            reference = found.hold
        path, asked = f"/v1/holds/{rest.segment(reference)}/refund", {"amount_minor": step.amount_minor}
        left = end - time.monotonic()
        return self._done(path, hold, step, asked, left, lambda held: held.refunded_minor >= step.amount_minor)

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome:
        found = self._found(hold, time.monotonic() + deadline_s)
        if not isinstance(found, Held):
            return found
        if found.state == "held":
            return Approved(found.held_minor, {"hold": found.hold, "held_minor": str(found.held_minor)})
        if found.state == "captured":
            return Approved(found.captured_minor, {"hold": found.hold, "captured_minor": str(found.captured_minor)})
        return Declined(DeclineReason.TOO_LATE, rest.code_of(found.state))

    def check(self, deadline_s: float) -> str:
        try:
            terminal = self._ask("GET", "/v1/terminals/self", time.monotonic() + deadline_s, None, _Self).terminal
        except (NotSent, NoAnswer) as error:
            return str(error)
        except Refusal as refusal:
            return f"the office does not know this terminal's token ({refusal.status} {rest.code_of(refusal.code)})"
        if self._offline and terminal != self._offline.terminal:
            return f"the token belongs to terminal {terminal!r}, not to this one"
        return ""

    def close(self) -> None:
        self._rest.close()

    # --- slices --------------------------------------------------------------------------------------------------

    def fetch_slice(self, key: str, card: str, amount_minor: int, currency: str, days: int, deadline_s: float) -> Outcome:
        """Ask the office to set money aside for `card` here, verify the slice and keep it. The same key, the same slice."""
        if self._offline is None:
            return Declined(DeclineReason.GATEWAY_REFUSED, "no_slices_here")
        asked = {"card": card, "amount_minor": amount_minor, "currency": currency, "days": days}
        pocket_s = self._pocket_s(deadline_s)
        try:
            jws = self._post("/v1/accounts/by-card/slices", key, asked, deadline_s - pocket_s, _Granted).slice
            slice_ = open_slice(jws, self._offline.office_key, self._offline.terminal)
        except (NotSent, NoAnswer, SignatureInvalid) as error:
            return OutcomeUnknown(str(error))
        except Refusal as refusal:
            return Declined(WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
        if slice_.card != card or slice_.currency != currency or slice_.amount_minor > amount_minor:
            return OutcomeUnknown("a slice that was not asked for")
        try:
            self._offline.pocket.put(key, slice_, jws, pocket_s)
        except TimeoutError as error:
            return OutcomeUnknown(f"the slice is not kept yet: {error}")
        return Approved(slice_.amount_minor, {"slice": slice_.slice_id})

    def return_slice(self, slice_id: str, deadline_s: float) -> bool:
        """Give back what is left. Only for a slice the pocket will not use any more. True once the office has it."""
        try:
            self._post(f"/v1/slices/{rest.segment(slice_id)}/return", slice_id, {}, deadline_s, dict[str, Any])
        except (NotSent, NoAnswer, Refusal):
            return False
        return True

    def _from_slice(self, hold: Hold, source: PaymentCard, wait_s: float) -> Outcome:
        """The office was certainly not asked. Unknown only if the pocket did not answer: then its reversal frees the reserve."""
        if self._offline is None:
            return Declined(DeclineReason.UNREACHABLE)
        try:
            taken = self._offline.pocket.take(hold.key, source.facts.token, hold.currency, hold.amount_minor, wait_s)
        except TimeoutError as error:
            return OutcomeUnknown(f"the pocket of slices: {error}")
        if taken is None:
            return Declined(DeclineReason.UNREACHABLE)
        return Approved(taken.amount_minor, {"slice": taken.slice_id, "held_minor": str(taken.amount_minor)})

    def _settled(self, hold: Hold, spent_minor: int, deadline_s: float) -> OutcomeUnknown | None:
        """The reserve of the hold, if it has one, is settled; else why it is not yet."""
        try:
            if self._offline:
                self._offline.pocket.settle(hold.key, spent_minor, self._pocket_s(deadline_s))
        except TimeoutError as error:
            return OutcomeUnknown(f"the pocket of slices: {error}")
        return None

    def _pocket_s(self, deadline_s: float) -> float:
        """The part of a deadline that is kept for the pocket."""
        return min(POCKET_S, deadline_s / 4) if self._offline else 0.0

    # --- the office ----------------------------------------------------------------------------------------------

    def _followed(
        self,
        path: str,
        hold: Hold,
        step: MoneyStep,
        asked: Mapping[str, Any],
        deadline_s: float,
        is_done: Callable[[Held], bool],
    ) -> Held | Declined | OutcomeUnknown:
        """The hold after a step, if it is as the step leaves it."""
        try:
            found = self._post(path, step.key, asked, deadline_s, Held)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        except Refusal as refusal:
            if refusal.status == 401:  # a token that is being renewed decides nothing about the money
                return OutcomeUnknown(str(refusal))
            return Declined(WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
        if found.key != hold.key or not is_done(found):
            return OutcomeUnknown(f"an answer that cannot be (state {rest.code_of(found.state)!r})")
        return found

    def _done(
        self,
        path: str,
        hold: Hold,
        step: MoneyStep,
        asked: Mapping[str, Any],
        deadline_s: float,
        is_done: Callable[[Held], bool],
    ) -> Outcome:
        """A step that takes effect for its whole amount."""
        found = self._followed(path, hold, step, asked, deadline_s, is_done)
        return Approved(step.amount_minor, {"hold": found.hold}) if isinstance(found, Held) else found

    def _found(self, hold: Hold, end: float) -> Held | Declined | OutcomeUnknown:
        try:
            found = self._ask("GET", f"/v1/holds/by-key/{rest.segment(hold.key)}", end, None, Held)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        except Refusal as refusal:
            if refusal.code == "unknown_hold":
                return Declined(DeclineReason.TOO_LATE, refusal.code)
            return OutcomeUnknown(str(refusal))
        return found if found.key == hold.key else OutcomeUnknown("an answer to somebody else's question")

    def _post(self, path: str, key: str, asked: Mapping[str, Any], deadline_s: float, into: type[rest.T]) -> rest.T:
        return self._ask("POST", path, time.monotonic() + deadline_s, {"key": key, **asked}, into)

    def _ask(self, method: str, path: str, end: float, asked: Mapping[str, Any] | None, into: type[rest.T]) -> rest.T:
        """NotSent, NoAnswer, Refusal. An answer that does not name our request's key is not ours."""
        try:
            token = self._token.text()
        except ValueError as error:
            raise NotSent(str(error)) from None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = b"" if asked is None else msgspec.json.encode(asked)
        answer = self._rest.call(method, path, end, headers=headers, body=body)
        if answer.status != 200:
            raise _refusal(answer, asked)
        if asked is not None and rest.read(answer, _Echo).request != asked["key"]:
            raise NoAnswer("an answer to somebody else's question")
        return rest.read(answer, into)


class _Echo(msgspec.Struct, frozen=True):
    request: str


def _refusal(answer: HttpAnswer, asked: Mapping[str, Any] | None) -> Refusal:
    """NoAnswer if it is not the office that refuses, or not our request that it refuses."""
    no = rest.read(answer, _No)
    if asked is not None and no.request != asked["key"] and not (answer.status == 401 and not no.request):
        raise NoAnswer("an answer to somebody else's question")
    return Refusal(answer.status, no.code)
