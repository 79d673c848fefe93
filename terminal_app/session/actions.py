"""Actions: please do. Handed to workers only after the turn's facts are committed; each reports back with one event.

What must hold continuously is no action but a wish computed from the state (`machine.wishes`): contactor and reader. PURE.
"""

import msgspec

from terminal_app.values import CardRequest, Hold, MoneyStep, PaymentCard


class Authorize(msgspec.Struct, frozen=True):
    """Ask the gateway for money, once. Answer: AuthorizationAnswered."""

    hold: Hold
    card: PaymentCard
    not_after_mono_ms: int  # later it is not sent any more: nothing is held then


class OpenCheckout(msgspec.Struct, frozen=True):
    """Open a page on which the driver's phone can pay. `station` is shown to the payer. Answer: CheckoutAnswered."""

    hold: Hold
    station: str
    not_after_mono_ms: int  # later it is not sent any more: there is no page then


class WatchCheckout(msgspec.Struct, frozen=True):
    """Ask for the page's state until it is paid or has ended. Answer: AuthorizationAnswered, at most one."""

    hold: Hold


class ExpireCheckout(msgspec.Struct, frozen=True):
    """Watch it no longer, and end it: nobody shall pay any more. Answer: AuthorizationAnswered."""

    hold: Hold


class Capture(msgspec.Struct, frozen=True):
    """Answer: SettlementAnswered."""

    hold: Hold
    step: MoneyStep


class Void(msgspec.Struct, frozen=True):
    """Answer: SettlementAnswered."""

    hold: Hold
    step: MoneyStep


class Refund(msgspec.Struct, frozen=True):
    """Answer: SettlementAnswered."""

    hold: Hold
    step: MoneyStep


class Increment(msgspec.Struct, frozen=True):
    """Raise a live hold by `step.amount_minor`. Answer: IncrementAnswered."""

    hold: Hold
    step: MoneyStep


class ReadRegister(msgspec.Struct, frozen=True):
    """Two agreeing readings. Answer: RegisterRead or RegisterUnreadable."""

    connector: int
    session_id: str
    purpose: str


class BeginSigned(msgspec.Struct, frozen=True):
    """The meter shall open a signed measurement. Answer: SignedBegun or SignedRefused."""

    connector: int
    session_id: str
    reference: str  # what its record names
    tariff_text: str


class EndSigned(msgspec.Struct, frozen=True):
    """The meter shall close it and give its record; the same again when asked again. Answer: SignedEnded or SignedRefused."""

    connector: int
    session_id: str
    reference: str
    tariff_text: str


class SignOcmf(msgspec.Struct, frozen=True):
    """Answer: OcmfSigned."""

    session_id: str
    payload: bytes


class SignRecord(msgspec.Struct, frozen=True):
    """Answer: RecordSigned."""

    record_seq: int
    signing_input: bytes
    key_id: str = ""  # of the key that must sign; "" = the present one


class SignReceipt(msgspec.Struct, frozen=True):
    """Sign the line for the receipt's QR code with the record key. Answer: ReceiptSigned; none is no harm."""

    record_seq: int
    signing_input: bytes


class PrintReceipt(msgspec.Struct, frozen=True):
    """Answer: ReceiptPrinted or PrintFailed. `qr` is the content of a code below the lines."""

    receipt_number: str
    lines: tuple[str, ...]
    qr: str


Action = (
    Authorize
    | OpenCheckout
    | WatchCheckout
    | ExpireCheckout
    | Increment
    | Capture
    | Void
    | Refund
    | ReadRegister
    | BeginSigned
    | EndSigned
    | SignOcmf
    | SignRecord
    | SignReceipt
    | PrintReceipt
)


class ReaderWish(msgspec.Struct, frozen=True):
    """What the reader shall do with the next card; None as a wish = rest. A changed `arm_no` is a new arming."""

    arm_no: int
    request: CardRequest


class EvseWish(msgspec.Struct, frozen=True):
    """Whether the car may draw energy, and how much. Enforced continuously by the controller's worker."""

    authorized: bool
    limit_a: int
