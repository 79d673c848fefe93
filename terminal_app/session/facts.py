"""Facts: what was decided and committed. The ledger is a list of these; state is what `evolve` makes of them. PURE.

Each fact embeds the readings and terms it used, so replay needs no configuration. Facts are versioned by their tag:
a changed meaning gets a new tag, old ones stay readable. No card data beyond `CardFacts`.
"""

import enum
from typing import Any

import msgspec

from terminal_app.billing.balance_slice import BalanceSlice
from terminal_app.billing.record import RecordLine
from terminal_app.screens import ReceiptLine
from terminal_app.values import CardFacts, DeclineReason, Fault, Hold, MeterIdentity, MeterValue, MoneyStep, Stamp


class StopReason(enum.Enum):
    """Why energy ended. Values are those of `screens.StopWords`."""

    TOUCH = "touch"
    SAME_CARD = "same_card"
    UNPLUGGED = "unplugged"
    HOLD_LIMIT = "hold_limit"
    CAR_FINISHED = "car_finished"
    NOT_PLUGGED = "not_plugged"
    FAULT = "fault"
    POWER_CUT = "power_cut"
    REMOTE = "remote"
    TEST_ENDED = "test_ended"  # the time of a technician's test is over, or the technician ended it


class Terminated(enum.Enum):
    """How a hold ended, as written into its settlement record."""

    CAPTURED = "captured"
    VOIDED = "voided"
    MANUAL = "manual"
    REFUNDED = "refunded"  # a part or all of what was captured before was given back
    REFUSED = "refused"  # the gateway gave nothing back; the capture stands


class Mark(msgspec.Struct, frozen=True):
    """Where a charging period begins: register and time counters at a tariff boundary (or at the start)."""

    utc_ms: int
    energy_wh: int
    charging_ms: int
    parking_ms: int


class LimitChange(msgspec.Struct, frozen=True):
    """A change of the current within a charge, as its record tells it: what was in force from then on, 0 = paused."""

    utc_ms: int
    limit_a: int
    source: str


class TerminalBooted(msgspec.Struct, frozen=True, tag="terminal_booted"):
    software: str
    config_sha256: str
    tariffs: dict[str, str]  # connector number -> fingerprint of the tariff it is sold by
    resumed_after_crash: bool
    hold_minor: int = 0  # the operator's hold
    ocmf_key_id: str = ""  # key of the terminal-made readings
    record_keys: dict[str, str] = {}  # key id -> DER SPKI, hex: whoever has the ledger can verify all of it
    ocmf_keys: dict[str, str] = {}


class SessionOpened(msgspec.Struct, frozen=True, tag="session_opened"):
    """A driver and a connector. The tariff is frozen here as canonical JSON; `free` = explicit zero tariff, no payment."""

    session_id: str
    connector: int
    tariff: str
    tariff_fingerprint: str
    free: bool
    language: str
    plug_deadline_mono_ms: int
    origin: str = "screen"  # "screen", "app": started from the driver's phone, or "service": a technician's test
    test: bool = False  # by service personnel: no driver, nothing to pay, whatever the tariff says
    test_s: int = 0  # how long a test charges at most
    test_limit_a: int = 0  # and with how much current at most; 0 = as the connector allows
    clock: str = ""  # how far the clock could be trusted when the price was fixed: "S", "I" or "U"


class AuthorizationIntended(msgspec.Struct, frozen=True, tag="authorization_intended"):
    """Committed before the gateway is asked: without it nothing is ever sent (I7)."""

    session_id: str
    hold: Hold
    card: CardFacts


class AuthorizationRerouted(msgspec.Struct, frozen=True, tag="authorization_rerouted"):
    """Certainly nothing was sent to the gateway asked first: the same hold is asked of another one, with the same card reading."""

    hold_id: str
    gateway: str
    why: str


class OfflineGranted(msgspec.Struct, frozen=True, tag="offline_granted"):
    """No gateway could be reached, and the operator's limits allow this card to charge: nothing is held, it will be owed."""

    hold_id: str
    gateway: str
    amount_minor: int
    plug_deadline_mono_ms: int


class HoldKept(msgspec.Struct, frozen=True, tag="hold_kept"):
    """After a failed start the hold waits for the same card until then (this boot's monotonic clock), then it is released."""

    hold_id: str
    until_mono_ms: int
    connector: int = 0


class HoldReused(msgspec.Struct, frozen=True, tag="hold_reused"):
    """A hold that is live serves another session of the same card: nothing more is asked of the bank."""

    hold_id: str
    session_id: str
    plug_deadline_mono_ms: int


class IncrementIntended(msgspec.Struct, frozen=True, tag="increment_intended"):
    """The hold is about to be used up: the gateway is asked to raise it by `step.amount_minor`."""

    hold_id: str
    step: MoneyStep


class IncrementEnded(msgspec.Struct, frozen=True, tag="increment_ended"):
    """What was added to the hold; 0 = the old limit stands, and why."""

    hold_id: str
    added_minor: int
    trace: dict[str, str]
    detail: str


class CheckoutOpened(msgspec.Struct, frozen=True, tag="checkout_opened"):
    """The gateway's name for the page, committed before the page is shown: what nobody can name, nobody can have paid."""

    hold_id: str
    reference: str
    expires_utc_ms: int


class AuthorizationApproved(msgspec.Struct, frozen=True, tag="authorization_approved"):
    hold_id: str
    approved_minor: int
    trace: dict[str, str]
    capture_before_utc_ms: int | None
    plug_deadline_mono_ms: int


class AuthorizationDeclined(msgspec.Struct, frozen=True, tag="authorization_declined"):
    hold_id: str
    reason: DeclineReason
    code: str


class AuthorizationUnknown(msgspec.Struct, frozen=True, tag="authorization_unknown"):
    """Nobody knows whether money is held: the session ends, the hold is reversed until answered."""

    hold_id: str
    why: str


class StartRegistered(msgspec.Struct, frozen=True, tag="start_registered"):
    """Two agreeing readings before the contactor; committed before the controller may close it."""

    session_id: str
    first: MeterValue
    second: MeterValue
    identity: MeterIdentity
    meter_key: str = ""  # SPKI, hex, of a meter that has begun to sign this session: nothing else may be billed then


class EnergyCheckpoint(msgspec.Struct, frozen=True, tag="energy_checkpoint"):
    """A committed reading while charging. `boundary`: a tariff boundary was crossed, a new charging period begins here."""

    session_id: str
    value: MeterValue
    charging_ms: int
    parking_ms: int
    boundary: bool


class StopIntended(msgspec.Struct, frozen=True, tag="stop_intended"):
    session_id: str
    reason: StopReason
    at: Stamp
    detail: str = ""
    interrupted: bool = False
    charging_ms: int = 0
    parking_ms: int = 0


class SessionAborted(msgspec.Struct, frozen=True, tag="session_aborted"):
    """Ended before any contactor closed: nobody plugged in, cancelled, or a device failed. Nothing is billed."""

    session_id: str
    reason: StopReason
    detail: str = ""


class MeterSigned(msgspec.Struct, frozen=True):
    """What the meter's own record says: the bill is made of it. `register` is our own last reading, for the next session."""

    start: MeterValue  # the register as signed at the begin
    register: MeterValue
    energy_wh: int
    meter_key: str  # SPKI, hex: what `BillFrozen.ocmf` verifies with
    page: int  # pagination of its last record
    clock: str  # the worse OCMF sync letter of both readings


class Unbilled(msgspec.Struct, frozen=True):
    """Energy that flowed and is not billed, because the meter's record of it does not hold."""

    why: str
    energy_wh: int
    register: MeterValue


class BillFrozen(msgspec.Struct, frozen=True, tag="bill_frozen"):
    """The bill: immutable from here (I10). `stop` is the final register; `ocmf` the signed readings ("" if none flowed)."""

    session_id: str
    stop: MeterValue
    energy_wh: int
    charging_ms: int
    parking_ms: int
    lines: tuple[RecordLine, ...]  # as they stand in the record
    shown_lines: tuple[ReceiptLine, ...]  # as the driver saw them
    net_minor: int
    vat_minor: int
    total_minor: int
    capture_minor: int  # what will be captured; below total only by `shortfall_minor`
    shortfall_minor: int
    ocmf: str
    pagination: int
    receipt_number: str
    receipt_code: str
    ended: Stamp
    stop_source: str  # "meter" = two agreeing readings; "checkpoint" = last committed value, the meter never came back
    not_billed: str = ""  # why energy costs nothing: "below_minimum" = less than may be measured for money here
    stop_why: str = ""  # why a checkpoint ends it: "not_back" in time | "hold_ends" before | "changed": another register answers
    signed: MeterSigned | None = None  # by the meter itself; `ocmf` is its record, verbatim, `pagination` none of ours (0)
    unbilled: Unbilled | None = None


class EnergyBalance(msgspec.Struct, frozen=True, tag="energy_balance"):
    """What became of all the energy a connector's meter counted in a time: its rise is sessions + tests + unexplained, exactly.

    `why`: "daily", or "meter_accepted" (the old meter's last account). `wraps_at_wh`: the rise is modulo this, 0 = it is plain.
    """

    connector: int
    serial: str
    from_wh: int
    to_wh: int
    sessions_wh: int
    tests_wh: int
    unexplained_wh: int
    began: Stamp
    ended: Stamp
    wraps_at_wh: int = 0
    why: str = "daily"


class MeterAccepted(msgspec.Struct, frozen=True, tag="meter_accepted"):
    """A technician says: this meter, with this register, is right. From here on it is the base.

    `unexplained_wh` is what rose between the two as far as the registers tell; None = they cannot tell (another meter, a reset).
    """

    connector: int
    old: MeterValue | None  # the last good reading before
    value: MeterValue
    actor: str
    reason: str
    unexplained_wh: int | None = None


class ShortfallBooked(msgspec.Struct, frozen=True, tag="shortfall_booked"):
    """The bill is above what is held: this much was delivered and cannot be taken. A loss of its own, never silent (I5)."""

    session_id: str
    hold_id: str
    amount_minor: int
    currency: str


class CaptureIntended(msgspec.Struct, frozen=True, tag="capture_intended"):
    hold_id: str
    step: MoneyStep


class VoidIntended(msgspec.Struct, frozen=True, tag="void_intended"):
    """A hold shall be released. One that no bill belongs to gets a receipt: `no_charge` is why nothing was sold."""

    hold_id: str
    step: MoneyStep
    reason: str
    receipt_number: str = ""
    receipt_code: str = ""
    no_charge: StopReason | None = None


class HoldEnded(msgspec.Struct, frozen=True, tag="hold_ended"):
    """The end of a hold, exactly once: captured, voided, or manual (a person must look)."""

    hold_id: str
    how: Terminated
    amount_minor: int
    trace: dict[str, str]
    detail: str
    refused: str = ""  # the gateway's reason, where a refusal ended it


class PastHold(msgspec.Struct, frozen=True):
    """A hold whose record is sealed, as the ledger tells it: what a refund or a second try of its end builds on."""

    hold: Hold
    session_id: str
    card: CardFacts
    approved_minor: int
    captured_minor: int
    refunded_minor: int
    undecided_minor: int = 0  # asked to be given back, and nobody could confirm it
    capture_before_utc_ms: int | None = None


class SealedBill(msgspec.Struct, frozen=True):
    """A sealed bill, as the ledger tells it: what a credit takes back. `credits` came before, over the lines `credited`."""

    record_seq: int
    sha256: str
    receipt_number: str
    lines: tuple[RecordLine, ...]
    credits: int = 0
    credited: tuple[RecordLine, ...] = ()


class RefundIntended(msgspec.Struct, frozen=True, tag="refund_intended"):
    """A person gives back a part or all of what was captured; never above it (I11). `bill`: the one a credit follows to."""

    past: PastHold
    step: MoneyStep
    actor: str
    reason: str
    bill: SealedBill | None = None


class CreditIntended(msgspec.Struct, frozen=True, tag="credit_intended"):
    """Money went back: so much of the bill is taken back, under a receipt number of its own. Its record follows."""

    session_id: str
    hold_id: str
    bill: SealedBill
    lines: tuple[RecordLine, ...]  # zero or below
    currency: str
    receipt_number: str
    actor: str
    reason: str


class SettlementReopened(msgspec.Struct, frozen=True, tag="settlement_reopened"):
    """A person lets the terminal try the end of a hold again that had become manual; the step follows in the same commit."""

    past: PastHold
    actor: str
    reason: str


class SealIntended(msgspec.Struct, frozen=True, tag="seal_intended"):
    """A record is about to be signed: its number, its predecessor, and the exact bytes (JWS signing input)."""

    record_seq: int
    prev_sha256: str
    record_type: str
    subject: str  # session_id, hold_id or, of key changes and checkpoints, what they are about
    signing_input: str


class Sealed(msgspec.Struct, frozen=True, tag="sealed"):
    """Signed and queued for the office, in the same commit as its outbox row. The JWS stands in `records`."""

    record_seq: int
    record_type: str
    subject: str
    sha256: str


class TariffTaken(msgspec.Struct, frozen=True, tag="tariff_taken"):
    """A connector may be sold by this tariff, from (inclusive) until (exclusive; None: until another one is taken), UTC ms.

    `tariff` as canonical JSON; `version` as its signer counts, 0 of an unsigned file; `source` "file" | "office"; the signed
    form is named by its SHA-256, and stands verbatim in the command that brought it. `actor` who sent it.
    """

    connector: int
    tariff: str
    fingerprint: str
    version: int
    valid_from_utc_ms: int
    valid_until_utc_ms: int | None
    source: str
    jws_sha256: str
    actor: str


class LawOverridden(msgspec.Struct, frozen=True, tag="law_overridden"):
    """Somebody answers for selling against a rule of the law pack; `ended`: not any more. Once per change."""

    rule: str
    by: str
    why: str
    ended: bool = False


class FaultRaised(msgspec.Struct, frozen=True, tag="fault_raised"):
    fault: Fault


class FaultCleared(msgspec.Struct, frozen=True, tag="fault_cleared"):
    fault: Fault


class ServiceAct(msgspec.Struct, frozen=True, tag="service_act"):
    """A person did something: who (Unix user), what, on what, why."""

    actor: str
    act: str
    target: str
    reason: str


class OfficeAcknowledged(msgspec.Struct, frozen=True, tag="office_acknowledged"):
    """The office's countersigned watermark, verified. `jws` is kept as received."""

    records_through: int
    head_sha256: str
    facts_through: int
    quarantined: tuple[int, ...]
    jws: str


class CommandTaken(msgspec.Struct, frozen=True, tag="command_taken"):
    """A command of the office, verified; committed before it is acted upon, so that it works once at most.

    `args` without what the ledger need not keep: of a relayed notification only its size and SHA-256.
    """

    number: int
    command_id: str
    act: str
    args: dict[str, Any]
    actor: str
    reason: str
    expires_utc_ms: int


class CommandAnswered(msgspec.Struct, frozen=True, tag="command_answered"):
    """What became of a taken command: done, with the order's own JSON, or not done, with a sentence."""

    command_id: str
    done: bool
    answer: str


class SliceIntended(msgspec.Struct, frozen=True, tag="slice_intended"):
    """The office shall set money of a card's account aside for this terminal. Asked under `key` until it is answered."""

    key: str
    gateway: str
    card: str  # the card's token: private, like the slice itself
    amount_minor: int
    currency: str
    days: int
    utc_ms: int


class SliceKept(msgspec.Struct, frozen=True, tag="slice_kept"):
    """The answer to a SliceIntended: a verified slice. `jws` as received, with the office's signature."""

    key: str
    gateway: str
    slice_: BalanceSlice
    jws: str


class SliceRefused(msgspec.Struct, frozen=True, tag="slice_refused"):
    """A SliceIntended came to nothing: the office said no, or it is too late for it."""

    key: str
    why: str


class SliceTaken(msgspec.Struct, frozen=True, tag="slice_taken"):
    """A reserve on a slice, committed before the hold counts as approved: the same money is never reserved twice."""

    hold_key: str
    slice_id: str
    amount_minor: int


class SliceSettled(msgspec.Struct, frozen=True, tag="slice_settled"):
    """The reserve shrinks to what the charge cost; 0 = nothing was spent."""

    hold_key: str
    spent_minor: int


class SliceReturning(msgspec.Struct, frozen=True, tag="slice_returning"):
    """Committed before the office is told: from here on the slice pays nothing."""

    slice_id: str


class SliceReturned(msgspec.Struct, frozen=True, tag="slice_returned"):
    """The office has what was left (or reclaims it by itself, if it could not be told in time)."""

    slice_id: str


class DenyListSet(msgspec.Struct, frozen=True, tag="deny_list_set"):
    """Cards that get nothing offline, by token; replaces the list before. Only a higher `version` is ever committed."""

    version: int
    tokens: tuple[str, ...]


class MeterKeySeen(msgspec.Struct, frozen=True, tag="meter_key_seen"):
    """The public key of a meter that signs, at its first use here: from now on this meter has no other one."""

    connector: int
    serial: str
    spki: str  # DER, hex


class MeterRecordSetAside(msgspec.Struct, frozen=True, tag="meter_record_set_aside"):
    """A record of the meter that is not billed: it does not verify, or nobody's charge belongs to it. Kept as evidence."""

    connector: int
    session_id: str  # "" = left over from before
    why: str
    record: str


class PullerAcknowledged(msgspec.Struct, frozen=True, tag="puller_acknowledged"):
    """Somebody who pulls records says how far it has them; the hash was compared with ours. Deletes and covers nothing: only the
    office's countersigned watermark does. It may go back: who restored an older copy pulls again from there."""

    client: str
    through_seq: int
    head_sha256: str


class CdrDelivered(msgspec.Struct, frozen=True, tag="cdr_delivered"):
    """The OCPI receiver has the CDR of this record: 2xx, 1000 and a Location, or read back and found to be the same.

    `part` 1: the corrected CDR of a credit record, which follows its credit CDR if a part of the bill is left.
    """

    record_seq: int
    location: str
    status: int  # the HTTP status of the answer that settled it
    part: int = 0


class CdrRejected(msgspec.Struct, frozen=True, tag="cdr_rejected"):
    """The OCPI receiver will not have the CDR of this record. The next ones go on; a person may order it again."""

    record_seq: int
    status: int
    why: str
    part: int = 0


class CdrOrderedAgain(msgspec.Struct, frozen=True, tag="cdr_ordered_again"):
    """A person lets the CDR of this record be sent again, rejected or delivered as it was."""

    record_seq: int
    actor: str
    reason: str
    part: int = 0


class LimitSet(msgspec.Struct, frozen=True, tag="limit_set"):
    """The current of a connector was limited, or a limit lifted (None). `in_force_a` is what counts after it; 0 = paused, because
    less than the least that can be given is left. `source`: "service", "office" (people: their newest order counts), or "grid", the
    share of the site's supply. `session_id` names the charge it changes; "" = none was running.
    """

    connector: int
    limit_a: int | None
    source: str
    reason: str
    in_force_a: int
    session_id: str = ""


Fact = (
    TerminalBooted
    | SessionOpened
    | AuthorizationIntended
    | AuthorizationRerouted
    | OfflineGranted
    | HoldKept
    | HoldReused
    | IncrementIntended
    | IncrementEnded
    | CheckoutOpened
    | AuthorizationApproved
    | AuthorizationDeclined
    | AuthorizationUnknown
    | StartRegistered
    | EnergyCheckpoint
    | StopIntended
    | SessionAborted
    | BillFrozen
    | EnergyBalance
    | MeterAccepted
    | ShortfallBooked
    | CaptureIntended
    | VoidIntended
    | HoldEnded
    | RefundIntended
    | CreditIntended
    | SettlementReopened
    | SealIntended
    | Sealed
    | FaultRaised
    | FaultCleared
    | ServiceAct
    | OfficeAcknowledged
    | CommandTaken
    | CommandAnswered
    | SliceIntended
    | SliceKept
    | SliceRefused
    | SliceTaken
    | SliceSettled
    | SliceReturning
    | SliceReturned
    | DenyListSet
    | TariffTaken
    | LawOverridden
    | MeterKeySeen
    | MeterRecordSetAside
    | PullerAcknowledged
    | CdrDelivered
    | CdrRejected
    | CdrOrderedAgain
    | LimitSet
)

SLICES = (SliceIntended, SliceKept, SliceRefused, SliceTaken, SliceSettled, SliceReturning, SliceReturned)
CARRIED = (PullerAcknowledged, CdrDelivered, CdrRejected, CdrOrderedAgain)
PRIVATE = (SealIntended, Sealed, OfficeAcknowledged, *SLICES, DenyListSet, PullerAcknowledged, CdrDelivered)
"""Facts the office need not see: it gets the records themselves, and has slices and deny lists in books of its own; these
name cards by their token. All others travel (DESIGN section 12.4)."""


def kind_of(fact: Fact | type[Fact]) -> str:
    """The tag of a fact or of a kind of facts, as stored."""
    tag = fact.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def encode(fact: Fact) -> bytes:
    """Stored form: JSON of the tagged struct. Deterministic for equal facts (field order of the struct)."""
    return msgspec.json.encode(fact)


_DECODER: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)


def decode(body: bytes | str) -> Fact:
    """The fact of a stored body. msgspec.ValidationError if it is not one of this version's facts."""
    return _DECODER.decode(body)
