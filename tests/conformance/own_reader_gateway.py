"""A gateway whose terminal reads and authorises by itself: ports.PaymentGateway, OwnReader, Increment and LookUp over the
simulated certified terminal (`drivers/sim/certified_terminal.py`, which says how its wire goes). It shows that the port takes
such a terminal; a real one is a file like this in `terminal_app/payments/`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from terminal_app.payments.tcp_exchange import NoAnswer, NotSent, Wire
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

POLL_S = 0.05
WHY = {
    "51": DeclineReason.INSUFFICIENT_FUNDS,
    "54": DeclineReason.CARD_INVALID,
    "1A": DeclineReason.AUTHENTICATION_WANTED,
    "61": DeclineReason.LIMIT_EXCEEDED,
    "30": DeclineReason.GATEWAY_REFUSED,
    "busy": DeclineReason.GATEWAY_REFUSED,
    "key_reused": DeclineReason.GATEWAY_REFUSED,
    "captured": DeclineReason.ALREADY_DONE,
    "not_held": DeclineReason.ALREADY_DONE,
    "above_held": DeclineReason.LIMIT_EXCEEDED,
    "above_captured": DeclineReason.LIMIT_EXCEEDED,
    "unknown": DeclineReason.TOO_LATE,
}


class Told(msgspec.Struct, frozen=True):
    """An answer, and the reservation in it."""

    op: str
    id: str
    result: str
    code: str = ""
    state: str = ""
    held_minor: int = 0
    added_minor: int = 0
    captured_minor: int = 0
    brand: str = ""
    last4: str = ""
    card_token: str = ""


class OwnReaderGateway:
    """Moves money in all but `check`; never raises for the network. Thread-safe. A reservation's id is the hold's key."""

    capabilities = GatewayCapabilities(partial_approval=True, increment=True, refund=True, look_up=True)

    def __init__(self, name: str, port: int, *, demo: bool, tls: bool = False, ca_file: Path | None = None) -> None:
        if not tls and not demo:
            raise ValueError(f"gateway {name}: tls must be true outside demo mode (https, as it were)")
        self.name = name
        self._wire = Wire("127.0.0.1", port, tls=tls, connect_timeout_s=3, ca_file=ca_file)

    # --- the reader ----------------------------------------------------------------------------------------------

    def authorize_at_reader(self, hold: Hold, stop_waiting: Callable[[], bool], deadline_s: float) -> Outcome:
        end = time.monotonic() + deadline_s
        asked = {"amount_minor": hold.amount_minor, "currency": hold.currency}
        try:
            told = self._ask("begin", hold.key, end, **asked)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        try:
            while told.state == "waiting":
                time.sleep(POLL_S)
                is_over = stop_waiting() or time.monotonic() > end - 1
                told = self._ask("abort" if is_over else "find", hold.key, end)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        return _reserved(hold, told)

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome:
        try:
            told = self._ask("find", hold.key, time.monotonic() + deadline_s)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        if told.state == "captured":
            return Approved(told.captured_minor, {})
        return OutcomeUnknown("a card is waited for") if told.state == "waiting" else _reserved(hold, told)

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        """Takes no card. Nothing is sent."""
        return Declined(DeclineReason.GATEWAY_REFUSED, "reads cards itself")

    def increment(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        told = self._settle("increment", hold, step, deadline_s)
        if not isinstance(told, Told):
            return told
        if not 0 < told.added_minor <= step.amount_minor:
            return OutcomeUnknown("raised, but by an amount that cannot be")
        return Approved(told.added_minor, {"held_minor": str(told.held_minor)})

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        told = self._settle("capture", hold, step, deadline_s)
        return Approved(told.captured_minor, {}) if isinstance(told, Told) else told

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        told = self._settle("void", hold, step, deadline_s)
        return Approved(int(hold.trace.get("held_minor", hold.amount_minor)), {}) if isinstance(told, Told) else told

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        told = self._settle("refund", hold, step, deadline_s)
        return Approved(step.amount_minor, {}) if isinstance(told, Told) else told

    def check(self, deadline_s: float) -> str:
        try:
            told = self._ask("echo", f"echo-{time.monotonic_ns()}", time.monotonic() + deadline_s)
        except (NotSent, NoAnswer) as error:
            return str(error)
        return "" if told.result == "ok" else f"the terminal answered {told.result}"

    def close(self) -> None:
        """Nothing stays open between exchanges."""

    # --- questions -----------------------------------------------------------------------------------------------

    def _settle(self, op: str, hold: Hold, step: MoneyStep, deadline_s: float) -> Told | Declined | OutcomeUnknown:
        end = time.monotonic() + deadline_s
        try:
            told = self._ask(op, step.key, end, reservation=hold.key, amount_minor=step.amount_minor)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        if told.result == "ok":
            return told
        return Declined(WHY.get(told.code, DeclineReason.REFUSED), told.code)

    def _ask(self, op: str, key: str, end: float, **more: Any) -> Told:
        """NotSent, NoAnswer. An answer to somebody else is waited past."""
        found: list[Told] = []

        def is_ours(raw: bytes) -> bool:
            try:
                told = msgspec.json.decode(raw, type=Told)
            except msgspec.MsgspecError as error:
                raise ValueError("not an answer of the terminal") from error
            if (told.op, told.id) == (op, key):
                found.append(told)
            return bool(found)

        question = bytearray(msgspec.json.encode({"op": op, "id": key, **more}))
        self._wire.exchange(question, is_ours, max(0.001, end - time.monotonic()))
        if found[0].result not in ("ok", "refused"):
            raise NoAnswer("the terminal's bank did not decide")
        return found[0]


def _reserved(hold: Hold, told: Told) -> Outcome:
    if told.result == "refused":
        return Declined(WHY.get(told.code, DeclineReason.REFUSED), told.code)
    match told.state:
        case "approved" if 0 < told.held_minor <= hold.amount_minor:
            card = {"brand": told.brand, "last4": told.last4, "card_token": told.card_token}
            return Approved(told.held_minor, {**card, "held_minor": str(told.held_minor)})
        case "declined":
            return Declined(WHY.get(told.code, DeclineReason.REFUSED), told.code)
        case "aborted" | "voided":
            return Declined(DeclineReason.TOO_LATE, told.state)
        case other:
            return OutcomeUnknown(f"a reservation that cannot be ({other})")
