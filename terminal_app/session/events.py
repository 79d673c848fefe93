"""Events: it happened. Volatile: lost at a crash, never stored. They come from workers, sockets and the clock. PURE."""

import msgspec

from terminal_app.screens import Button, DeclineWords
from terminal_app.session.facts import PastHold, SealedBill, StopReason
from terminal_app.values import (
    Checkout,
    Declined,
    EvseStatus,
    Fault,
    MeterIdentity,
    MeterValue,
    MoneyStep,
    Outcome,
    OutcomeUnknown,
    PaymentCard,
)


class Booted(msgspec.Struct, frozen=True):
    """Replay is over, the ledger verified: resolve what the crash left open."""


class Ticked(msgspec.Struct, frozen=True):
    """A second has passed. All time-outs are noticed here."""


class Touched(msgspec.Struct, frozen=True):
    """A driver's touch on the screen with this meaning; older meanings were refused before."""

    button: Button
    value: str


class FrameShown(msgspec.Struct, frozen=True):
    """The frame of this screen_no is on the glass; 0: nobody draws any more, the link to the UI is gone."""

    screen_no: int


class CardSeen(msgspec.Struct, frozen=True):
    """A card is in the field of the armed reader; `arm_no` names the arming."""

    arm_no: int


class CardRead(msgspec.Struct, frozen=True):
    """A card was read for a payment (`pay`) or only identified."""

    arm_no: int
    pay: bool
    card: PaymentCard


class CardFailed(msgspec.Struct, frozen=True):
    arm_no: int
    reason: str  # CardMisreadReason value


class CheckoutAnswered(msgspec.Struct, frozen=True):
    """Answer to OpenCheckout: the page, or why there is none."""

    hold_id: str
    answer: Checkout | Declined | OutcomeUnknown


class AuthorizationAnswered(msgspec.Struct, frozen=True):
    """Whether money is held: answer to Authorize; of a page, to WatchCheckout and ExpireCheckout.

    `card` comes back only if certainly nothing was sent (Declined UNREACHABLE): it may be sent elsewhere, or is wiped.
    """

    hold_id: str
    outcome: Outcome
    card: PaymentCard | None = None


class SettlementAnswered(msgspec.Struct, frozen=True):
    """Answer to the capture, void or refund with this key."""

    hold_id: str
    key: str
    outcome: Outcome


class IncrementAnswered(msgspec.Struct, frozen=True):
    """Answer to the Increment with this key."""

    hold_id: str
    key: str
    outcome: Outcome


class EvseReported(msgspec.Struct, frozen=True):
    connector: int
    status: EvseStatus


class MeterReported(msgspec.Struct, frozen=True):
    """`resolution_wh`: the step of the billed register at this value; 0 = the meter does not tell."""

    connector: int
    value: MeterValue
    resolution_wh: int = 0


class RegisterRead(msgspec.Struct, frozen=True):
    """Two agreeing readings and the identity read with them, as asked by ReadRegister with the same `purpose`."""

    connector: int
    session_id: str
    purpose: str  # "start" | "stop"
    first: MeterValue
    second: MeterValue
    identity: MeterIdentity


class RegisterUnreadable(msgspec.Struct, frozen=True):
    connector: int
    session_id: str
    purpose: str
    why: str


class MeterKeyRead(msgspec.Struct, frozen=True):
    """The public key (SPKI, hex) a signing meter shows: at the start, after every loss, and before every charge."""

    connector: int
    serial: str
    spki: str


class SignedBegun(msgspec.Struct, frozen=True):
    """The meter measures. `left_over` is a record it still held of an earlier measurement, "" if none."""

    connector: int
    session_id: str
    left_over: str = ""


class SignedEnded(msgspec.Struct, frozen=True):
    """The meter's own OCMF, verbatim: one record with both readings, or begin and end record, one per line."""

    connector: int
    session_id: str
    record: str


class SignedRefused(msgspec.Struct, frozen=True):
    """It did not begin or end (`purpose`). `refused`: the meter itself says no; otherwise it could not be asked."""

    connector: int
    session_id: str
    purpose: str  # "begin" | "end"
    why: str
    refused: bool = False


class OcmfSigned(msgspec.Struct, frozen=True):
    """Raw r||s over the payload that SignOcmf named."""

    session_id: str
    signature: bytes


class RecordSigned(msgspec.Struct, frozen=True):
    record_seq: int
    signature: bytes


class ReceiptSigned(msgspec.Struct, frozen=True):
    """Raw r||s over the line that SignReceipt named."""

    record_seq: int
    signature: bytes


class ReceiptPrinted(msgspec.Struct, frozen=True):
    receipt_number: str


class PrintFailed(msgspec.Struct, frozen=True):
    receipt_number: str
    why: str


class FaultSeen(msgspec.Struct, frozen=True):
    """A device went bad (`raised`) or is well again; workers send edges, the machine ignores repetitions."""

    fault: Fault
    raised: bool


class StopCommanded(msgspec.Struct, frozen=True):
    """Technician or office: end the session on this connector."""

    connector: int
    reason: StopReason
    actor: str
    why: str


class StartCommanded(msgspec.Struct, frozen=True):
    """Office: the driver started from the phone; `held_minor` is already held at `gateway` under `key` as `reference`."""

    connector: int
    gateway: str
    key: str
    reference: str
    held_minor: int
    label: str
    actor: str


class TestCommanded(msgspec.Struct, frozen=True):
    """Technician: charge for `seconds`, with at most `limit_a` (0 = as the connector allows), as a marked test nobody pays for."""

    connector: int
    seconds: int
    limit_a: int
    actor: str
    why: str


class LimitOrdered(msgspec.Struct, frozen=True):
    """Technician or office: limit the current of a connector, or lift that limit (None)."""

    connector: int
    limit_a: int | None
    source: str  # "service" | "office"
    actor: str
    reason: str


class SettlementOrdered(msgspec.Struct, frozen=True):
    """A person: try the next step of a hold at once (`retry`), or release it. `past`: it had become manual."""

    hold_id: str
    act: str  # "retry" | "release"
    actor: str
    reason: str
    past: PastHold | None = None
    step: MoneyStep | None = None  # of `past`: the step to repeat verbatim, or None: a new release
    kind: str = ""  # what `step` is: "capture" | "void" | "refund"
    bill: SealedBill | None = None  # of a refund: what is credited by it


class RefundOrdered(msgspec.Struct, frozen=True):
    """A person: give back `amount_minor` of what was captured."""

    past: PastHold
    amount_minor: int
    actor: str
    reason: str
    bill: SealedBill | None = None  # what is credited by it


class SessionFailed(msgspec.Struct, frozen=True):
    """From the session machine to the kiosk, within one turn: there will be no charge, tell the driver why."""

    connector: int
    words: DeclineWords
    hold_id: str


Event = (
    Booted
    | Ticked
    | Touched
    | FrameShown
    | CardSeen
    | CardRead
    | CardFailed
    | CheckoutAnswered
    | AuthorizationAnswered
    | SettlementAnswered
    | IncrementAnswered
    | EvseReported
    | MeterReported
    | RegisterRead
    | RegisterUnreadable
    | MeterKeyRead
    | SignedBegun
    | SignedEnded
    | SignedRefused
    | OcmfSigned
    | RecordSigned
    | ReceiptSigned
    | ReceiptPrinted
    | PrintFailed
    | FaultSeen
    | StopCommanded
    | StartCommanded
    | TestCommanded
    | LimitOrdered
    | SettlementOrdered
    | RefundOrdered
    | SessionFailed
)
EVENTS: tuple[type[Event], ...] = (
    Booted,
    Ticked,
    Touched,
    FrameShown,
    CardSeen,
    CardRead,
    CardFailed,
    CheckoutAnswered,
    AuthorizationAnswered,
    SettlementAnswered,
    IncrementAnswered,
    EvseReported,
    MeterReported,
    RegisterRead,
    RegisterUnreadable,
    MeterKeyRead,
    SignedBegun,
    SignedEnded,
    SignedRefused,
    OcmfSigned,
    RecordSigned,
    ReceiptSigned,
    ReceiptPrinted,
    PrintFailed,
    FaultSeen,
    StopCommanded,
    StartCommanded,
    TestCommanded,
    LimitOrdered,
    SettlementOrdered,
    RefundOrdered,
    SessionFailed,
)
