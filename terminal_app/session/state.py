"""The state of one terminal: what replay rebuilds (sessions, settlements, the seal line, counters) and what is volatile
(kiosk, telemetry, faults). Immutable structs; only `evolve` and the notes of a turn make new ones. PURE.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from terminal_app.billing.receipt import ReceiptDocument
from terminal_app.billing.tariff import Tariff
from terminal_app.config import Config
from terminal_app.screens import DeclineWords
from terminal_app.session.book import Book
from terminal_app.session.facts import (
    BillFrozen,
    CreditIntended,
    LawOverridden,
    LimitChange,
    Mark,
    RefundIntended,
    StopReason,
    Terminated,
)
from terminal_app.session.pocket import DenyList, Slices
from terminal_app.values import (
    CardFacts,
    CardRequest,
    EvseStatus,
    Fault,
    Hold,
    MeterIdentity,
    MeterValue,
    MoneyStep,
    PaymentCard,
    Stamp,
)

K = TypeVar("K")
V = TypeVar("V")


def with_item(items: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    """A copy with one item set."""
    return MappingProxyType({**items, key: value})


def without(items: Mapping[K, V], key: K) -> Mapping[K, V]:
    """A copy without one key (absent is fine)."""
    return MappingProxyType({k: v for k, v in items.items() if k != key})


class Phase(enum.Enum):
    """Session machine: where a charge on a connector is."""

    NONE = "none"  # no session
    AUTHORIZING = "authorizing"  # intent committed, the bank is asked
    CHECKOUT = "checkout"  # intent committed, a page for the driver's phone is opened or open
    AUTHORIZED = "authorized"  # money held (or free): waiting for the plug
    STARTING = "starting"  # plugged: two agreeing readings are wanted
    CHARGING = "charging"  # start register committed: the contactor may close
    STOPPING = "stopping"  # stop committed: contactor opens, two agreeing readings are wanted
    SIGNING = "signing"  # stop register read: OCMF is being signed
    SEALING = "sealing"  # bill frozen: the record is being signed


class Session(msgspec.Struct, frozen=True):
    """One driver's charge on a connector, as far as facts tell."""

    session_id: str
    connector: int
    phase: Phase
    tariff: str
    tariff_fingerprint: str
    free: bool
    language: str
    opened: Stamp
    plug_deadline_mono_ms: int
    hold_id: str = ""
    card: CardFacts | None = None
    start: MeterValue | None = None
    identity: MeterIdentity | None = None
    started: Stamp | None = None
    marks: tuple[Mark, ...] = ()
    committed: MeterValue | None = None  # newest reading in the ledger
    charging_ms: int = 0  # committed with it
    parking_ms: int = 0
    stop_reason: StopReason | None = None
    stop_at: Stamp | None = None
    stop_detail: str = ""
    stop_after: Stamp | None = None  # newest committed reading before the stop
    interrupted: bool = False
    origin: str = "screen"
    test: bool = False  # of a technician: never a sale
    test_s: int = 0
    test_limit_a: int = 0
    limits: tuple[LimitChange, ...] = ()  # newest changes of the current since the contactor may close
    limits_left_out: int = 0  # so many came before those
    reused: bool = False  # its hold was placed for an earlier attempt of the same card
    stop: MeterValue | None = None  # volatile until BillFrozen: the reading whose OCMF is being signed
    stop_source: str = ""
    stop_why: str = ""  # volatile like `stop`
    bill: BillFrozen | None = None
    meter_key: str = ""  # SPKI, hex: the meter signs this session


class SettlementPhase(enum.Enum):
    """Settlement machine: the money's own life."""

    ASKED = "asked"  # authorization intended, no answer yet
    HELD = "held"
    CAPTURING = "capturing"
    VOIDING = "voiding"
    REFUNDING = "refunding"
    ENDED = "ended"  # captured, voided, refunded or manual; its record is not sealed yet


class NoChargeReceipt(msgspec.Struct, frozen=True):
    """The receipt of a hold that pays for nothing, as committed with its release."""

    number: str
    code: str
    reason: StopReason
    at: Stamp


class Settlement(msgspec.Struct, frozen=True):
    """One hold, from intent to its sealed settlement record. `in_flight` and the pace are volatile."""

    hold: Hold
    session_id: str
    card: CardFacts
    phase: SettlementPhase
    approved_minor: int = 0
    step: MoneyStep | None = None
    step_reason: str = ""
    capture_before_utc_ms: int | None = None
    tried: tuple[str, ...] = ()  # gateways that certainly got nothing of it
    offline: bool = False  # nothing is held: it will be owed
    kept_until_mono_ms: int = 0  # after a failed start: how long it waits for the same card, and on which connector
    kept_for: int = 0
    increment: MoneyStep | None = None  # asked for, not answered
    increments: int = 0
    increment_refused: bool = False
    captured_minor: int = 0  # before this end, of a hold that is being refunded
    refunded_minor: int = 0
    refund: RefundIntended | None = None  # who gives back what of which bill
    how: Terminated | None = None
    amount_minor: int = 0
    detail: str = ""
    no_charge: NoChargeReceipt | None = None
    reopened: bool = False  # a person orders another end of what was manual: an earlier step may still be on its way
    answer_due: bool = False  # this process asked for the hold and its own answer has not come: nothing may overtake it
    first_try_mono_ms: int = 0
    in_flight: bool = False
    next_try_mono_ms: int = 0
    tries: int = 0


class Seal(msgspec.Struct, frozen=True):
    """The one outstanding seal (DESIGN section 5.6)."""

    record_seq: int
    record_type: str
    subject: str
    signing_input: str
    asked: bool = False  # volatile: SignRecord handed out since start
    asked_mono_ms: int = 0


class Carried(msgspec.Struct, frozen=True):
    """How far those have got the records who are not the office."""

    pullers: dict[str, tuple[int, str]] = {}  # name -> record it has everything through, and that record's hash
    cdrs_through: tuple[int, int] = (0, 0)  # record and part of the CDR that was delivered or rejected last, in order
    cdrs_rejected: tuple[tuple[int, int], ...] = ()  # CDRs that were refused and not ordered again, newest last
    cdrs_again: tuple[tuple[int, int], ...] = ()  # CDRs that were ordered again, oldest first


class Chain(msgspec.Struct, frozen=True):
    """Counters and heads that facts move forward; never reset (a replaced board starts a new chain_id)."""

    next_serial: int = 1
    next_pagination: int = 1
    next_receipt: int = 1
    next_record_seq: int = 1
    head_sha256: str = ""  # "" = genesis
    key_id: str = ""  # of the key that signs the next record; "" = the first one is still to come
    ocmf_key_id: str = ""  # of the key that the office knows for terminal-made readings
    checkpoint: Stamp | None = None  # when the newest checkpoint was sealed, or the ledger began
    checkpoint_seq: int = 0  # its number, 0 = none yet
    checkpoint_due: bool = False  # a key change wants one at once
    acknowledged_through: int = 0
    facts_acknowledged_through: int = 0
    commands_through: int = 0  # number of the newest command of the office that was taken
    commands_open: tuple[str, ...] = ()  # ids of those that were taken and not answered yet, oldest first
    carried: Carried = Carried()


class KioskPhase(enum.Enum):
    """Kiosk machine: what the person at the screen is doing."""

    OVERVIEW = "overview"  # choosing a connector (only with several)
    FOCUSED = "focused"  # looking at one connector
    READING = "reading"  # a card is in the field
    DECLINED = "declined"  # reading why there is no charge


class Kiosk(msgspec.Struct, frozen=True):
    """Volatile. `request` is the armed card request, `arm_no` its number; `shown` the meaning of
    the newest frame on the glass."""

    phase: KioskPhase
    connector: int
    language: str
    since_mono_ms: int = 0
    shown: str = ""  # meaning of the newest frame on the glass
    arm_no: int = 0
    request: CardRequest | None = None
    declined: DeclineWords | None = None
    declined_hold_minor: int = 0
    declined_kept_until_mono_ms: int = 0
    declined_receipt: str = ""  # code of the receipt of what was released
    offered: Tariff | None = None  # the prices on the glass: what is bought by whoever taps, whatever begins meanwhile
    offered_for: int = 0  # on which connector
    hold_minor: int = 0  # what the driver chose to have held; 0 = the operator's amount
    card: PaymentCard | None = None  # tapped while a page for the phone was open: asked for as soon as that has ended
    card_connector: int = 0


class Limits(msgspec.Struct, frozen=True):
    """How the current of a connector is limited. `grid_a` is its share of the site's supply, 0 = none (without [grid] it means
    nothing). `counted_a` is what the site must reckon with until the controller was heard after `since_mono_ms` (volatile)."""

    ordered_a: int | None = None
    ordered_by: str = ""
    in_force_a: int | None = None  # as the newest fact of this charge told it
    grid_a: int = 0
    counted_a: int = 0
    since_mono_ms: int = 0
    lowered_mono_ms: int = 0


class Live(msgspec.Struct, frozen=True):
    """Volatile telemetry of one connector. Time counters run from the committed ones of its session."""

    evse: EvseStatus | None = None
    meter: MeterValue | None = None
    meter_seen_mono_ms: int = 0
    resolution_wh: int = 0  # step of the billed register at its present value; 0 = the meter does not tell
    charging_ms: int = 0
    parking_ms: int = 0
    counted_mono_ms: int = 0
    stale_read: bool = False  # what is outstanding was asked before the car was plugged in again
    asked_read: str = ""  # purpose of the outstanding ReadRegister
    read_failures: int = 0
    read_again_mono_ms: int = 0
    car_idle_since_mono_ms: int = 0
    checkout_url: str = ""  # of the open page; "" while it is not there yet
    checkout_ends: str = ""  # why the page is being ended, "" = it is not: "cancelled", "timed_out"
    checkout_ends_mono_ms: int = 0
    granted: bool = False  # the controller was seen authorized since the start, or since the charger last withheld
    grant_since_mono_ms: int = 0  # when the charger last withheld; 0 = not in this charge
    trusted: MeterValue | None = None  # newest good reading without a session in this process
    outlier: MeterValue | None = None  # the newest reading, if it is none
    outlier_since_mono_ms: int = 0  # that is, since the last good one
    outlier_mono_ms: int = 0  # when the newest outlier came
    moved_mono_ms: int = 0  # when the register was last seen to move
    still_wms: int = 0  # by the meter's own power, since then: W x ms
    freeze_patience_ms: int = 0  # a register that was taken for frozen and was only slow: longer than the operator's patience
    open_base: MeterValue | None = None  # a good reading with the contactor open, at most a few minutes old
    open_moves: int = 0  # so often the register moved since
    ocmf_payload: bytes = b""
    ocmf_pagination: int = 0
    stopping_since_mono_ms: int = 0
    sign_asked_mono_ms: int = 0
    start_read: tuple[MeterValue, MeterValue, MeterIdentity] | None = None  # waits for the meter's begin
    asked_end: bool = False  # EndSigned is outstanding
    end_failures: int = 0


class MeterBook(msgspec.Struct, frozen=True):
    """A meter that signs: its pinned key (SPKI, hex), the page and hash of the record that was billed last."""

    spki: str
    page: int = 0
    record_sha256: str = ""


class Finished(msgspec.Struct, frozen=True):
    """A charge whose receipt is (or may be) on the screen. Volatile: rebuilt for what replay finds sealed is not needed."""

    session: Session
    since_mono_ms: int
    hold_minor: int
    card: str
    settled: Terminated | None = None
    offline: bool = False
    document: ReceiptDocument | None = None  # from the sealed record
    compact_input: bytes = b""  # what the signer was asked to sign for the QR code
    compact: str = ""
    print_due: bool = False  # automatic, as soon as its code is signed
    printing_since_mono_ms: int | None = None
    prints: int = 0
    print_failed: bool = False


class Grant(msgspec.Struct, frozen=True):
    """When a card was allowed to charge without its gateway."""

    token: str
    utc_ms: int


class Debt(msgspec.Struct, frozen=True):
    """A charge without its gateway whose payment nobody could confirm: it counts as owed until it is."""

    hold_id: str
    token: str
    amount_minor: int


class EnergyBook(msgspec.Struct, frozen=True):
    """The account of a connector's meter since `began`: from there to `last` it rose by the three sums, exactly."""

    began: MeterValue
    last: MeterValue  # as the meter shows it, up to which all is booked
    sessions_wh: int = 0
    tests_wh: int = 0
    unexplained_wh: int = 0
    wraps_at_wh: int = 0
    resolution_wh: int = 1


class State(msgspec.Struct, frozen=True):
    """Everything the rules know."""

    sessions: Mapping[int, Session]
    settlements: Mapping[str, Settlement]
    chain: Chain
    kiosk: Kiosk
    seal: Seal | None = None
    live: Mapping[int, Live] = MappingProxyType({})
    faults: Mapping[str, Fault] = MappingProxyType({})
    finished: Mapping[int, Finished] = MappingProxyType({})
    registers: Mapping[int, MeterValue] = MappingProxyType({})  # last billing reading per connector: never below it
    meters: Mapping[str, MeterBook] = MappingProxyType({})  # those that sign, by serial number
    energy: Mapping[int, EnergyBook] = MappingProxyType({})  # where the energy of each meter went since its last balance
    latched: Mapping[str, Fault] = MappingProxyType({})  # those of `faults` that a restart does not end
    slices: Slices = Slices()  # money set aside for cards at this terminal
    grants: tuple[Grant, ...] = ()  # offline, of the last weeks
    debts: tuple[Debt, ...] = ()  # offline, ended as manual
    credits: tuple[CreditIntended, ...] = ()  # their records are not sealed yet
    deny: DenyList = DenyList()
    limits: Mapping[int, Limits] = MappingProxyType({})
    manual: frozenset[str] = frozenset()  # holds that ended manual, until a person orders another end, however long ago
    book: Book = Book()  # tariffs that were taken
    overrides: Mapping[str, LawOverridden] = MappingProxyType({})  # rules of the law pack that somebody answers for
    known_utc_ms: int = 0  # of the newest fact at which somebody vouched for the clock
    now: Stamp | None = None  # time of the newest fact or turn

    def no_connector(self, number: int) -> str:
        """Why nothing can be asked of this connector, as a sentence; "" if it is there."""
        if number in self.live:
            return ""
        return f"there is no connector {number}; this terminal has {', '.join(map(str, self.live))}"


class Terms(msgspec.Struct, frozen=True):
    """What a turn may know besides state and event: time, chance and configuration come in as arguments.

    `fresh_id` is a new random UUID, `receipt_code` a new unguessable code; each is used at most once.
    """

    now: Stamp
    fresh_id: str
    receipt_code: str
    config: Config
    tariffs: Mapping[int, Tariff]  # what each connector is sold by now
    chain_id: str
    record_key_id: str
    record_spki: bytes
    ocmf_spki: bytes
    ocmf_key_id: str
    software: str
    screen_no: int
    screen_meaning: str = ""  # what that screen said; "" = as it is now. A price may have changed since it was published
    out_of_service: bool = False
    incrementing: frozenset[str] = frozenset()  # gateways that can raise a live hold
    signing: frozenset[int] = frozenset()  # connectors whose meter signs its own records
    clock_wanted: frozenset[int] = frozenset()  # connectors whose price nobody can tell before the clock is synchronised
    previous_key_id: str = ""  # the record key before this one, while it is still there; it hands the chain over
    previous_spki: bytes = b""
    change_reason: str = ""  # why keys were changed, as the configuration says
    ledger_entries: int = 0
    ledger_sha256: str = ""  # its newest entry's
    digests: Mapping[str, str] = MappingProxyType({})  # name -> SHA-256 of what decides: software, configuration ...


def initial(config: Config) -> State:
    """The state before any fact."""
    first = config.connector[0].number
    several = len(config.connector) > 1
    return State(
        sessions=MappingProxyType({}),
        settlements=MappingProxyType({}),
        chain=Chain(),
        kiosk=Kiosk(
            phase=KioskPhase.OVERVIEW if several else KioskPhase.FOCUSED,
            connector=first,
            language=config.terminal.languages[0],
        ),
        live=MappingProxyType({connector.number: Live() for connector in config.connector}),
    )


def fault_key(fault: Fault) -> str:
    return f"{fault.device.value}/{fault.connector}/{fault.kind}"


def amended_live(state: State, connector: int, **changes: object) -> State:
    """State with telemetry of one connector changed."""
    live = msgspec.structs.replace(state.live.get(connector, Live()), **changes)
    return msgspec.structs.replace(state, live=with_item(state.live, connector, live))
