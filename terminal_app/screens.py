"""The screen as data, and the two-way messages between core and UI. Numbers, enums and message ids: no prose, no pixels.

Core -> UI: `Show` (always the whole screen). UI -> core: `UiHello`, `Shown`, `Touch`. Newline-delimited JSON (wire.py).
`screen_no` changes only when the meaning changes; `revision` with every figure. A touch carries the `screen_no` it was
made on; the core refuses a touch on an older meaning. Money in minor units, energy in Wh, time in s and UTC ms.
"""

import enum

import msgspec

UI_PROTOCOL = 1


class PriceKind(enum.Enum):
    """Kinds of price lines in the order the law wants them shown (AFIR Art. 5(4)): kWh, minute, session, other."""

    ENERGY = "energy"  # per kWh
    TIME = "time"  # per minute of charging
    FLAT = "flat"  # per session
    PARKING = "parking"  # per minute after charging
    LIMIT = "limit"  # correction to the least or most a session costs; as a price line: notes "minimum", "maximum"


class PriceLine(msgspec.Struct, frozen=True):
    """One price component, VAT included. `price` is a decimal text in major units per `kind`'s unit ("0.59").

    `note` is a message id for a condition ("from_min" ...), with `note_args`; empty = applies always.
    """

    kind: PriceKind
    price: str
    note: str = ""
    note_args: dict[str, str] = {}


class ConnectorState(enum.Enum):
    FREE = "free"
    PLUGGED = "plugged"
    BUSY = "busy"
    FINISHED = "finished"
    NOT_FOR_SALE = "not_for_sale"


class ConnectorTile(msgspec.Struct, frozen=True):
    connector: int
    label: str
    state: ConnectorState


class NotForSaleReason(enum.Enum):
    NO_TARIFF = "no_tariff"
    UNLAWFUL_TARIFF = "unlawful_tariff"
    CLOCK = "clock"
    METER = "meter"
    EVSE = "evse"
    READER = "reader"
    GATEWAY = "gateway"
    DISK = "disk"
    LOCKED = "locked"
    SERVICE = "service"  # service personnel are testing it


class OutOfServiceReason(enum.Enum):
    STARTING = "starting"
    LEDGER = "ledger"
    SIGNER = "signer"
    DISK = "disk"
    REPEATED_CRASH = "repeated_crash"
    NO_CORE = "no_core"  # said by the UI itself when the link is gone for 3 s
    SERVICE = "service"


class DeclineWords(enum.Enum):
    """Why the driver got no charge; each is a sentence in every language, and says what to do next."""

    REFUSED = "refused"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CARD_INVALID = "card_invalid"
    AUTHENTICATION_WANTED = "authentication_wanted"
    LIMIT_EXCEEDED = "limit_exceeded"
    BANK_UNREACHABLE = "bank_unreachable"
    BANK_SILENT = "bank_silent"  # no answer in time; whatever was held is being released
    CARD_REMOVED = "card_removed"
    CARD_NOT_SUPPORTED = "card_not_supported"
    CARD_REFUSED = "card_refused"
    CARD_SEVERAL = "card_several"
    CARD_ERROR = "card_error"
    PHONE_UNREACHABLE = "phone_unreachable"  # no page for the phone could be opened
    PHONE_TIMEOUT = "phone_timeout"  # nobody paid on the phone in time
    DEVICE_FAULT = "device_fault"  # charger broke before energy flowed; the hold is released
    HOLD_KEPT = "hold_kept"  # charger broke before energy flowed; the same card may try again without a second hold
    NOT_PLUGGED = "not_plugged"  # approved, but nobody plugged in; the hold is released
    CANCELLED = "cancelled"  # the driver changed their mind; the hold is released
    OFFLINE_REFUSED = "offline_refused"  # the bank is out of reach, and this card may not charge without it


class ChargePhase(enum.Enum):
    STARTING = "starting"
    CHARGING = "charging"
    CAR_PAUSED = "car_paused"  # the car does not ask for energy
    WITHHELD = "withheld"  # the charger gives none for now: too little for all, or limited by order; it goes on by itself
    METER_LOST = "meter_lost"  # figures are the last known ones
    METER_AWAITED = "meter_awaited"  # it is over; the bill waits for the meter, and the hold with it
    STOPPING = "stopping"


class StopWords(enum.Enum):
    """Why the charge ended, as told to the driver."""

    TOUCH = "touch"
    SAME_CARD = "same_card"
    UNPLUGGED = "unplugged"
    HOLD_LIMIT = "hold_limit"
    CAR_FINISHED = "car_finished"
    NOT_PLUGGED = "not_plugged"
    FAULT = "fault"
    POWER_CUT = "power_cut"
    REMOTE = "remote"
    TEST_ENDED = "test_ended"


class MoneyWords(enum.Enum):
    """Where the driver's money is, as told on the receipt."""

    FREE = "free"
    SETTLING = "settling"  # capture or release is on its way; nothing to do
    CAPTURED = "captured"  # taken; the rest of the hold is released
    RELEASED = "released"  # nothing taken, hold released
    MANUAL = "manual"  # the operator is looking after it
    RECEIVABLE = "receivable"  # charged without the bank: it will be taken from the account


class HoldChoice(msgspec.Struct, frozen=True):
    """An amount the driver may choose to have held. `energy_wh` > 0: it was offered as so much energy, else as money."""

    amount_minor: int
    energy_wh: int = 0


class Overview(msgspec.Struct, frozen=True, tag="overview"):
    """Several connectors: the driver chooses one (touch SELECT with the connector number)."""

    tiles: tuple[ConnectorTile, ...]


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Price, hold and how to pay. Touches: START (only when free), PAY_BY_PHONE (only `by_phone`), BACK (several connectors),
    HOLD (value = index into `choices`).

    `hold_minor` 0 means the hold amount is not needed (free). `card_ready`: the reader is armed, "tap now" may be shown.
    `several`: there are other connectors to go back to. `by_card`, `by_phone`: the ways to pay that work now.
    `choices`: other amounts the driver may choose, empty = no choice; `hold_minor` is the chosen one. `offline`: the bank
    is out of reach, and only cards that may charge without it can be used.
    """

    connector: int
    label: str
    prices: tuple[PriceLine, ...]
    vat_percent: str
    free: bool
    hold_minor: int
    plugged: bool
    card_ready: bool
    several: bool = False
    by_card: bool = True
    by_phone: bool = False
    choices: tuple[HoldChoice, ...] = ()
    offline: bool = False


class NotForSale(msgspec.Struct, frozen=True, tag="not_for_sale"):
    """A connector that cannot be bought now, and why. Touch: BACK (`several` connectors)."""

    connector: int
    label: str
    reason: NotForSaleReason
    several: bool = False


class ReadingCard(msgspec.Struct, frozen=True, tag="reading_card"):
    """Hold the card still."""

    connector: int


class BankWait(msgspec.Struct, frozen=True, tag="bank_wait"):
    """The bank is being asked. `waited_s` counts up, `longest_s` is our own deadline. `offline`: none can be reached, only the
    card is checked, and nothing will be held."""

    connector: int
    hold_minor: int
    waited_s: int
    longest_s: int
    offline: bool = False


class PayByPhone(msgspec.Struct, frozen=True, tag="pay_by_phone"):
    """A page for the driver's phone, as a QR code. Touch: CANCEL. `url` is "" while the page is being opened.

    `check_word` stands on the page, too: it tells this page from a forged one. `ending`: the page is being ended now.
    `by_card`: a card may be tapped instead; that ends the page.
    """

    connector: int
    label: str
    hold_minor: int
    url: str
    check_word: str
    left_s: int
    ending: bool = False
    by_card: bool = False


class DeclinedView(msgspec.Struct, frozen=True, tag="declined"):
    """No charge, and why. `held_minor` > 0: that much is being released now. Touch: OK. Goes away by itself.

    What may help instead: `by_phone` (touch PAY_BY_PHONE), `lower_hold_minor` > 0: a lower hold (touch LOWER_HOLD).
    With HOLD_KEPT `held_minor` stays held for `kept_s`: the same card may be tapped again; else, or by touching OK, it is released.
    `qr`: address of the receipt of what was released, "" = none.
    """

    connector: int
    reason: DeclineWords
    held_minor: int
    back_in_s: int
    by_phone: bool = False
    lower_hold_minor: int = 0
    kept_s: int = 0
    qr: str = ""


class PlugIn(msgspec.Struct, frozen=True, tag="plug_in"):
    """Approved (or free): please plug in. Touch: CANCEL (releases the hold). `reused`: the hold of an earlier attempt serves."""

    connector: int
    label: str
    hold_minor: int
    card: str  # "Mastercard ···· 0011", empty when free
    left_s: int
    reused: bool = False


class Charging(msgspec.Struct, frozen=True, tag="charging"):
    """Live figures. Touch: STOP. `cost_minor` is what the bill would be now. `owed`: nothing is held, it will be owed by the
    account; `hold_minor` is then the most that can be charged."""

    connector: int
    label: str
    phase: ChargePhase
    energy_wh: int
    cost_minor: int
    seconds: int
    power_w: int
    hold_minor: int
    card: str
    prices: tuple[PriceLine, ...]
    owed: bool = False


class PrintWords(enum.Enum):
    """What paper there is."""

    NONE = "none"  # no printer
    READY = "ready"
    BUSY = "busy"
    DONE = "done"
    FAILED = "failed"  # worth another try
    OUT = "out"  # the printer has a fault


class ReceiptLine(msgspec.Struct, frozen=True):
    """One bill line, VAT included: quantity as decimal text in `kind`'s unit (kWh, minutes, sessions)."""

    kind: PriceKind
    quantity: str
    price: str
    vat_percent: str
    gross_minor: int


class Receipt(msgspec.Struct, frozen=True, tag="receipt"):
    """The bill. Touch: DONE; PRINT if there is a printer that can. `qr` is the receipt's address ("" = not available), with
    the signed line behind "#" once there is one; `number` the receipt number."""

    connector: int
    label: str
    number: str
    lines: tuple[ReceiptLine, ...]
    total_minor: int
    vat_minor: int
    energy_wh: int
    seconds: int
    meter_start_wh: int
    meter_stop_wh: int
    meter_serial: str
    hold_minor: int
    money: MoneyWords
    stop: StopWords
    card: str
    qr: str
    interrupted: bool
    printing: PrintWords = PrintWords.NONE


class OutOfService(msgspec.Struct, frozen=True, tag="out_of_service"):
    reason: OutOfServiceReason


View = (
    Overview | Offer | NotForSale | ReadingCard | BankWait | PayByPhone | DeclinedView | PlugIn | Charging | Receipt | OutOfService
)
VIEWS: tuple[type[View], ...] = (
    Overview,
    Offer,
    NotForSale,
    ReadingCard,
    BankWait,
    PayByPhone,
    DeclinedView,
    PlugIn,
    Charging,
    Receipt,
    OutOfService,
)


class Screen(msgspec.Struct, frozen=True):
    """The whole screen. `utc_ms` is for the clock in the corner, `time_zone` an IANA name, `language` an ISO 639-1 code."""

    screen_no: int
    revision: int
    view: View
    language: str
    languages: tuple[str, ...]
    currency: str
    station: str
    helpline: str
    utc_ms: int
    time_zone: str
    demo: bool


class Button(enum.Enum):
    SELECT = "select"  # value = connector number
    BACK = "back"
    START = "start"  # free charging only
    PAY_BY_PHONE = "pay_by_phone"
    HOLD = "hold"  # value = index into Offer.choices
    LOWER_HOLD = "lower_hold"  # on a refusal: offer again, with a lower hold
    CANCEL = "cancel"
    STOP = "stop"
    OK = "ok"
    PRINT = "print"
    DONE = "done"
    LANGUAGE = "language"  # value = ISO 639-1 code


class Show(msgspec.Struct, frozen=True, tag="show"):
    screen: Screen


class UiHello(msgspec.Struct, frozen=True, tag="ui_hello"):
    protocol: int


class Shown(msgspec.Struct, frozen=True, tag="shown"):
    """The frame with this `screen_no` is on the glass."""

    screen_no: int


class Touch(msgspec.Struct, frozen=True, tag="touch"):
    screen_no: int
    button: Button
    value: str = ""


UiToCore = UiHello | Shown | Touch
CoreToUi = Show
