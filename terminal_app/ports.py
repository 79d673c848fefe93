"""The ports: what the core asks of devices and gateways. Small Protocols; one conformance suite per port (tests/conformance).

Every method blocks its caller, which is always one worker thread that owns the object; none is called from two threads.
Drivers translate library errors at the border: only `DeviceUnavailable`, `DeviceMisread` and `CardMisread` come out.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from terminal_app.values import CardRequest as CardRequest
from terminal_app.values import (
    Checkout,
    Declined,
    EvseStatus,
    Hold,
    MeterIdentity,
    MeterValue,
    MoneyStep,
    Outcome,
    OutcomeUnknown,
    PaymentCard,
    Stamp,
)


class Clock(Protocol):
    """The only source of time of the core. Never blocks, never raises, any thread."""

    def now(self) -> Stamp: ...


class EnergyMeter(Protocol):
    """A cumulative active import register, in Wh. Moves no money."""

    def identity(self) -> MeterIdentity:
        """Who the meter is, read from it (serial number included). Blocks up to 3 s. DeviceUnavailable, DeviceMisread."""

    def read(self) -> MeterValue:
        """One reading: register, power, time of the request. Blocks up to 2 s. DeviceUnavailable, DeviceMisread.

        Only what is physically possible as a register is checked here (range, NaN); plausibility against earlier
        readings is the session's rule.
        """

    def close(self) -> None: ...


@runtime_checkable
class Stepping(Protocol):
    """A meter that tells how coarse its register is (second Protocol). Never blocks, moves no money."""

    step_wh: int
    """Wh from the last value that `read` gave to the next one the register can show; 0 before the first."""


@runtime_checkable
class SignedMeter(Protocol):
    """A meter that signs its own OCMF (second Protocol, found once in run/). The bytes are passed on verbatim."""

    def begin(self, session_id: str, tariff_text: str) -> None:
        """Open a signed measurement; one that is still open is closed first and kept. Blocks up to 20 s.

        DeviceUnavailable ("refused": the meter says no), DeviceMisread; then it may have begun all the same.
        """

    def left_over(self) -> bytes | None:
        """What `begin` closed or found without anybody having fetched it, once; None if nothing. Does not block."""

    def resume(self, session_id: str, tariff_text: str) -> None:
        """Whose measurement is open, told before `end` by a process that did not begin it. Does not block."""

    def end(self) -> bytes:
        """Close it and give the OCMF string as the meter made it, the same until the next `begin`. Blocks up to 20 s.

        DeviceUnavailable ("refused": none is open), DeviceMisread.
        """

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the meter's key. Blocks up to 20 s. DeviceUnavailable, DeviceMisread."""


class CardReader(Protocol):
    """A contactless/chip reader. `read` moves no money by itself: it only brings the cryptogram."""

    def wait_card(self, wait_s: float) -> bool:
        """True as soon as a card is in the field, False after `wait_s`. DeviceUnavailable if the reader is gone.

        A card that stays in the field after `read` counts as new only after it was taken away.
        """

    def read(self, request: CardRequest) -> PaymentCard:
        """Run the EMV transaction with the card in the field. Blocks up to 5 s. CardMisread, DeviceUnavailable.

        With `request.pay` False the card has empty `emv` and no cryptogram.
        """

    def finish(self, issuer_answer: bytes | None) -> None:
        """Give the issuer's DE55 answer to a contact card still in the slot; nothing for contactless. Never raises."""

    def close(self) -> None: ...


class GatewayCapabilities(msgspec.Struct, frozen=True):
    partial_approval: bool = False
    increment: bool = False
    refund: bool = False
    look_up: bool = False


class PaymentGateway(Protocol):
    """Money moves here. Never raises for the network: the answer is a value (`Approved | Declined | OutcomeUnknown`).

    The engine has committed the intent (Hold or MoneyStep) before any call; the same call with the same arguments may
    be repeated after a crash and must have one effect. `Declined` and `Approved` may only be returned for a genuine
    answer of the gateway, or (Declined UNREACHABLE, authorize only) when certainly nothing was sent.
    Each call blocks at most its `deadline_s`. May be called by three threads (authorizing,
    checkout, settling).

    However old a step is, repeating it takes effect once; the gateway sees to that, not its caller. Where the service forgets
    idempotency keys (Stripe after 24 h) or never had any (CyberSource), a repeat first reads what became of the step and sends
    it only if that shows nothing; where nothing can be read (Adyen after 7 days), an old step stays unknown and is not sent
    again. The office's books never forget a key; an ISO 8583 host knows a repeat by STAN and RRN, and refuses it by the
    original's state. `MoneyStep.attempt` above 1 says that it may have been sent before; a caller that cannot know says so too.
    """

    name: str
    capabilities: GatewayCapabilities

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        """Reserve `hold.amount_minor`. Never repeated for one card reading."""

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Take `step.amount_minor` of an approved hold; the rest is released."""

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Release a hold, known or of unknown outcome (then this is the reversal: repeated until answered)."""

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Give back up to what was captured."""

    def check(self, deadline_s: float) -> str:
        """Prove link and credentials without moving money. Empty text = well, else what is wrong."""

    def close(self) -> None: ...


@runtime_checkable
class LookUp(Protocol):
    """Second Protocol: a gateway that can be asked what became of an operation, by our own key."""

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome: ...


@runtime_checkable
class Increment(Protocol):
    """Second Protocol: a gateway that can raise a live hold. `capabilities.increment` says whether this one's contract has it."""

    def increment(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Add `step.amount_minor` to the hold, once per key. Approved.amount_minor = what was ADDED, at most what was asked; its
        trace replaces the entries of the same name in the hold's trace, so that a capture or void covers the raised total.

        Declined and OutcomeUnknown leave the old ceiling standing. Never raises for the network.
        """


@runtime_checkable
class OwnReader(Protocol):
    """Second Protocol: a certified terminal that reads the card and authorises in one act; no card data comes near us.

    The same rules as PaymentGateway: intent committed before, never raises for the network. `authorize` of such a gateway takes
    no card; capture, void and refund of the hold go through PaymentGateway, a hold of unknown outcome is voided by our own key.
    """

    def authorize_at_reader(self, hold: Hold, stop_waiting: Callable[[], bool], deadline_s: float) -> Outcome:
        """Ask for a card and reserve `hold.amount_minor` on it. Blocks until answered, at most `deadline_s`.

        `stop_waiting` is asked several times a second, on this thread; once it is true the terminal is told to stop waiting. A
        card that was read in that very moment is still answered Approved. Declined TOO_LATE: nobody paid, nothing is
        held. `Approved.trace` carries brand, last4 and card_token (same card, same token, at this terminal).
        """


@runtime_checkable
class CheckoutGateway(Protocol):
    """Second Protocol: a gateway whose driver pays on a hosted page (QR). `Hold.trace["checkout"]` is `Checkout.reference`,
    committed before the page is shown: a page whose reference was never committed cannot have been paid.

    The same rules as PaymentGateway: intent committed before, never raises for the network, repeatable with one effect.
    Capture, void and refund of the hold go through PaymentGateway with the trace of the approval.
    """

    def open_checkout(self, hold: Hold, station: str, deadline_s: float) -> Checkout | Declined | OutcomeUnknown:
        """Open a page for `hold.amount_minor`, to be paid but not captured. `station` is shown to the payer."""

    def poll_checkout(self, hold: Hold, deadline_s: float) -> Outcome | None:
        """What became of it: None = still open, Approved = money is held, Declined = ended without a hold."""

    def expire_checkout(self, hold: Hold, deadline_s: float) -> Outcome:
        """End the page. Approved = the driver paid in that very moment (money is held); Declined TOO_LATE = nothing is held."""


class Confirmation(msgspec.Struct, frozen=True):
    """What a genuine notification of a gateway says.

    `key` is our own reference: the hold's key for `authorize`, the step's key for the others (a void may name the hold's).
    `payment` is the gateway's name of the payment. `outcome` None = nothing is decided by it: a card was refused while the
    page stays open, or an event of no concern (`operation` is empty then).
    """

    key: str
    operation: str  # "authorize" | "capture" | "void" | "refund" | ""
    payment: str
    event: str
    currency: str  # of the outcome's amount; another than the hold's is nobody's approval
    outcome: Outcome | None


@runtime_checkable
class Notified(Protocol):
    """Second Protocol: a gateway that tells what it did by notifications, which the office relays as they came."""

    def confirm(self, notification: bytes) -> Confirmation:
        """Check that it is genuine. SignatureInvalid. No network, any thread; moves no money."""


class ChargeControl(Protocol):
    """The charge controller (IEC 61851). Power-up, link loss and restart of it mean: not authorized. Moves no money."""

    keepalive_s: float
    """Longest pause between `status` calls it tolerates before it revokes by itself; 0 = it cannot guard itself."""

    def status(self) -> EvseStatus:
        """Blocks up to 2 s. DeviceUnavailable, DeviceMisread. Re-establishes 'not authorized' after a controller restart."""

    def authorize(self, limit_a: int) -> None:
        """Let the car draw up to `limit_a`. Idempotent."""

    def revoke(self) -> None:
        """Open the contactor and keep it open. Idempotent."""

    def limit(self, limit_a: int) -> None:
        """Change the current limit of a running charge."""

    def close(self) -> None: ...


class RecordSigner(Protocol):
    """A P-256 key. Signing is not repeatable bit by bit; what was sealed is never signed again."""

    key_id: str
    """RFC 7638 thumbprint of the public key."""

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 over SHA-256(data) as raw r||s, 64 bytes. Blocks up to 2 s. DeviceUnavailable."""


class ReceiptPrinter(Protocol):
    """One printer, one thread. It moves no money, and nothing but paper ever waits for it.

    DeviceUnavailable: kind "paper", "cover", "port" or "timeout".
    """

    def print_receipt(self, lines: Sequence[str], qr: str) -> None:
        """All lines, and a code with `qr` in it ("" = none) below. Blocks up to 60 s; after an error a part may be on paper."""

    def check(self) -> None:
        """Raises if it is known that nothing can be printed now. Blocks up to 10 s."""
