"""Prepaid and fleet accounts as a payment gateway: the office's account API holds, captures, voids and refunds.

The account is found by the card's token. While the office is out of reach, a balance slice (money the office has set aside for
this terminal, see billing.balance_slice) pays instead, if one is held for the card: its capture is told to the office with
the settlement machine's own patience, under the same key until it is answered.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from terminal_app.billing.balance_slice import BalanceSlice, open_slice
from terminal_app.config import AccountSection
from terminal_app.errors import SignatureInvalid
from terminal_app.http_client import HttpAnswer
from terminal_app.payments import rest
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

_WHY = MappingProxyType(
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


@dataclass(frozen=True, slots=True)
class Taken:
    """A reserve on a slice, made for one hold."""

    slice_id: str
    amount_minor: int


class SlicePocket(Protocol):
    """Where a terminal keeps its slices and what it used of them. Every change is durable before the call returns.

    Called by two threads. Raises LedgerBroken if it cannot write (then nothing changed).
    """

    def put(self, slice_: BalanceSlice, jws: str) -> None:
        """Keep a verified slice. The same slice again changes nothing."""

    def take(self, hold_key: str, card: str, currency: str, amount_minor: int, now_utc_ms: int) -> Taken | None:
        """Reserve up to `amount_minor` of the slice with most left (`balance_slice.free_minor`); the same key, the same answer."""

    def settle(self, hold_key: str, spent_minor: int) -> None:
        """The reserve of a hold shrinks to what was spent; 0 frees it. Again, or without a reserve: nothing."""


@dataclass(frozen=True, slots=True)
class Offline:
    """What makes slices usable: who we are, whose signature counts, and where they are kept."""

    terminal: str
    office_key: bytes
    pocket: SlicePocket


class _Refusal(Exception):
    """A genuine no of the office: the request had no effect."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the office refused: {code}")
        self.status, self.code = status, code


class _Held(msgspec.Struct, frozen=True):
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
        section: AccountSection,
        demo: bool,
        *,
        offline: Offline | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Connects to nothing. `offline` None: no slices. Raises ValueError for an unusable address, CA or token file."""
        self.name = name
        self._offline, self._now_ms = offline, now_ms
        self._token = rest.Secret(section.token_file, "token_file")
        self._rest = rest.Rest(section.url, demo=demo, ca_file=section.ca_file, max_body=64 * 1024)

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        asked = {"card": source.facts.token, "amount_minor": hold.amount_minor, "currency": hold.currency, "partial": True}
        try:
            found = self._post("/v1/accounts/by-card/holds", hold.key, asked, deadline_s, _Held)
        except NotSent:
            return self._from_slice(hold, source) or Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        except _Refusal as refusal:
            return Declined(_WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
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
        if not isinstance(held, _Held):
            return held
        return Approved(held.added_minor, {"held_minor": str(held.held_minor)})

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        if slice_id := hold.trace.get("slice"):
            if self._offline:
                self._offline.pocket.settle(hold.key, step.amount_minor)
            path, asked = f"/v1/slices/{rest.segment(slice_id)}/spend", {"hold_key": hold.key, "amount_minor": step.amount_minor}
        elif reference := hold.trace.get("hold"):
            path, asked = f"/v1/holds/{rest.segment(reference)}/capture", {"amount_minor": step.amount_minor}
        else:
            return OutcomeUnknown("the hold has no reference of the office: it can only be released")
        return self._done(path, hold, step, asked, deadline_s, lambda held: held.captured_minor == step.amount_minor)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """By our own key, so a hold of unknown outcome is released the same way; it can never be placed afterwards."""
        if self._offline:
            self._offline.pocket.settle(hold.key, 0)
        if "slice" in hold.trace:
            return Approved(int(hold.trace.get("held_minor", hold.amount_minor)), {})
        path = f"/v1/holds/by-key/{rest.segment(hold.key)}/void"
        return self._done(path, hold, step, {}, deadline_s, lambda held: held.state == "voided")

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        end = time.monotonic() + deadline_s
        reference = hold.trace.get("hold")
        if reference is None:  # paid by a slice: the office knows the hold by our key
            found = self._found(hold, end)
            if not isinstance(found, _Held):
                return found
            reference = found.hold
        path, asked = f"/v1/holds/{rest.segment(reference)}/refund", {"amount_minor": step.amount_minor}
        left = end - time.monotonic()
        return self._done(path, hold, step, asked, left, lambda held: held.refunded_minor >= step.amount_minor)

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome:
        found = self._found(hold, time.monotonic() + deadline_s)
        if not isinstance(found, _Held):
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
        except _Refusal as refusal:
            return f"the office does not know this terminal's token ({rest.code_of(refusal.code)})"
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
        try:
            jws = self._post("/v1/accounts/by-card/slices", key, asked, deadline_s, _Granted).slice
            slice_ = open_slice(jws, self._offline.office_key, self._offline.terminal)
        except (NotSent, NoAnswer, SignatureInvalid) as error:
            return OutcomeUnknown(str(error))
        except _Refusal as refusal:
            return Declined(_WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
        if slice_.card != card or slice_.currency != currency or slice_.amount_minor > amount_minor:
            return OutcomeUnknown("a slice that was not asked for")
        self._offline.pocket.put(slice_, jws)
        return Approved(slice_.amount_minor, {"slice": slice_.slice_id})

    def return_slice(self, slice_id: str, deadline_s: float) -> bool:
        """Give back what is left. Only for a slice the pocket will not use any more. True once the office has it."""
        try:
            self._post(f"/v1/slices/{rest.segment(slice_id)}/return", slice_id, {}, deadline_s, dict[str, Any])
        except (NotSent, NoAnswer, _Refusal):
            return False
        return True

    def _from_slice(self, hold: Hold, source: PaymentCard) -> Approved | None:
        if self._offline is None:
            return None
        pocket, now_ms = self._offline.pocket, self._now_ms()
        taken = pocket.take(hold.key, source.facts.token, hold.currency, hold.amount_minor, now_ms)
        if taken is None:
            return None
        return Approved(taken.amount_minor, {"slice": taken.slice_id, "held_minor": str(taken.amount_minor)})

    # --- the office ----------------------------------------------------------------------------------------------

    def _followed(
        self,
        path: str,
        hold: Hold,
        step: MoneyStep,
        asked: Mapping[str, Any],
        deadline_s: float,
        is_done: Callable[[_Held], bool],
    ) -> _Held | Declined | OutcomeUnknown:
        """The hold after a step, if it is as the step leaves it."""
        try:
            found = self._post(path, step.key, asked, deadline_s, _Held)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        except _Refusal as refusal:
            if refusal.status == 401:  # a token that is being renewed decides nothing about the money
                return OutcomeUnknown(str(refusal))
            return Declined(_WHY.get(refusal.code, DeclineReason.GATEWAY_REFUSED), rest.code_of(refusal.code))
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
        is_done: Callable[[_Held], bool],
    ) -> Outcome:
        """A step that takes effect for its whole amount."""
        found = self._followed(path, hold, step, asked, deadline_s, is_done)
        return Approved(step.amount_minor, {"hold": found.hold}) if isinstance(found, _Held) else found

    def _found(self, hold: Hold, end: float) -> _Held | Declined | OutcomeUnknown:
        try:
            found = self._ask("GET", f"/v1/holds/by-key/{rest.segment(hold.key)}", end, None, _Held)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        except _Refusal as refusal:
            if refusal.code == "unknown_hold":
                return Declined(DeclineReason.TOO_LATE, refusal.code)
            return OutcomeUnknown(str(refusal))
        return found if found.key == hold.key else OutcomeUnknown("an answer to somebody else's question")

    def _post(self, path: str, key: str, asked: Mapping[str, Any], deadline_s: float, into: type[rest.T]) -> rest.T:
        return self._ask("POST", path, time.monotonic() + deadline_s, {"key": key, **asked}, into)

    def _ask(self, method: str, path: str, end: float, asked: Mapping[str, Any] | None, into: type[rest.T]) -> rest.T:
        """NotSent, NoAnswer, _Refusal. An answer that does not name our request's key is not ours."""
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


def _refusal(answer: HttpAnswer, asked: Mapping[str, Any] | None) -> _Refusal:
    """NoAnswer if it is not the office that refuses, or not our request that it refuses."""
    no = rest.read(answer, _No)
    if asked is not None and no.request != asked["key"] and not (answer.status == 401 and not no.request):
        raise NoAnswer("an answer to somebody else's question")
    return _Refusal(answer.status, no.code)
