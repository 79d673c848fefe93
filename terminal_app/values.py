"""Values that cross rooms: time, readings, device states, outcomes, cards. Immutable; JSON through msgspec."""

import enum
from dataclasses import dataclass, field

import msgspec


class ClockState(enum.Enum):
    """How far the wall clock can be trusted (OCMF `TM` sync flag letters)."""

    SYNCHRONISED = "S"
    INFORMATIVE = "I"
    UNKNOWN = "U"


class Stamp(msgspec.Struct, frozen=True):
    """A moment: UTC and monotonic milliseconds. Durations only ever come from `mono_ms` of one `boot_id`."""

    utc_ms: int
    mono_ms: int
    boot_id: str
    clock: ClockState = ClockState.UNKNOWN


class MeterValue(msgspec.Struct, frozen=True):
    """One reading. `energy_wh` is the cumulative active import register, `power_w` the momentary active power.

    `raw` keeps the register words as hex, as evidence; `serial` is empty only if the model has none (profile says so).
    """

    energy_wh: int
    power_w: int
    serial: str
    stamp: Stamp
    raw: str = ""


class MeterIdentity(msgspec.Struct, frozen=True):
    """Who the meter is. `resolution_wh` is the step of the import register at its present value, `wraps_at_wh` the value at
    which its model is known to begin again with 0; 0 = it never does."""

    vendor: str
    model: str
    serial: str
    firmware: str = ""
    obis: str = "01-00:B2.08.00*FF"
    resolution_wh: int = 1
    profile_sha256: str = ""
    wraps_at_wh: int = 0


class Pilot(enum.Enum):
    """IEC 61851-1 Annex A control pilot state."""

    A = "A"  # no car
    B = "B"  # car connected, does not ask or may not charge
    C = "C"  # car asks for energy
    D = "D"  # asks for energy with ventilation
    E = "E"  # pilot error
    F = "F"  # controller not available


class EvseStatus(msgspec.Struct, frozen=True):
    """What the charge controller says. `relay` = its contactor is closed. `fault` is empty or a short machine word."""

    pilot: Pilot
    relay: bool
    authorized: bool
    limit_a: int
    stamp: Stamp
    fault: str = ""


# --- money -------------------------------------------------------------------------------------------------------


class EntryMode(enum.Enum):
    CONTACTLESS = "contactless"
    CHIP = "chip"
    QR = "qr"
    ACCOUNT = "account"
    OWN_READER = "own_reader"


class CardFacts(msgspec.Struct, frozen=True):
    """What may be kept of a card: never the PAN, track 2, expiry or CVV (PCI DSS 3.3.1, 3.4.1).

    `token` is HMAC-SHA256(terminal's card key, PAN), hex, truncated to 32 characters: same card, same token, here only.
    `authenticated` False also means: not asked, not offered, no CA keys.
    """

    brand: str
    last4: str
    token: str
    aid: str
    label: str
    entry: EntryMode
    cvm: str = "none"  # "none" | "device" (consumer device verified)
    cryptogram: str = ""  # tag 9F26, hex
    atc: int = 0
    authenticated: bool = False  # the chip proved its key in this very transaction (offline data authentication)


@dataclass(eq=False, slots=True)
class PaymentCard:
    """A card as read for one authorization. The secrets live in RAM until `wipe()`; repr and str never show them.

    `track2` is tag 57 as bytes, `emv` the BER-TLV for DE55 without tags 57/5A, `psn` the card sequence number (5F34).
    Not serialisable on purpose: facts embed `facts` only.
    """

    facts: CardFacts
    amount_minor: int
    currency: str
    track2: bytearray = field(repr=False)
    emv: bytearray = field(repr=False)
    psn: int = 0

    def wipe(self) -> None:
        """Overwrite the secrets; call it after the one authorization this card was read for."""
        for secret in (self.track2, self.emv):
            for i in range(len(secret)):
                secret[i] = 0

    def __reduce__(self) -> str:
        raise TypeError("a payment card is never serialised")


class CardRequest(msgspec.Struct, frozen=True):
    """What the reader shall do with the next card.

    `pay`: run a payment for `amount_minor` and bring an ARQC; otherwise only identify the card (token), e.g. to stop
    by the same card. `utc_ms` dates the cryptogram (tag 9A), `serial` is tag 9F41, `country` ISO 3166 numeric (9F1A).
    """

    pay: bool
    amount_minor: int
    currency: str
    country: str
    utc_ms: int
    serial: int


class DeclineReason(enum.Enum):
    """Why money was not given; each has words on the screen."""

    REFUSED = "refused"  # issuer said no, no detail
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CARD_INVALID = "card_invalid"  # expired, blocked, unknown, lost
    AUTHENTICATION_WANTED = "authentication_wanted"  # 1A / 65: strong authentication, no-CVM limit
    LIMIT_EXCEEDED = "limit_exceeded"
    GATEWAY_REFUSED = "gateway_refused"  # our own fault: format, merchant, configuration
    UNREACHABLE = "unreachable"  # connection refused before anything was sent: certainly no hold
    TOO_LATE = "too_late"  # the hold expired or was released by the gateway
    ALREADY_DONE = "already_done"  # capture of a reversed hold, reversal of a captured one, ...


class Approved(msgspec.Struct, frozen=True, tag="approved"):
    """The gateway did it. `trace` is what follow-ups refer by (RRN, auth code, token): no card data in it."""

    amount_minor: int
    trace: dict[str, str] = {}
    capture_before_utc_ms: int | None = None


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """The gateway answered no; nothing is held by this operation. `code` is the gateway's own code."""

    reason: DeclineReason
    code: str = ""


class OutcomeUnknown(msgspec.Struct, frozen=True, tag="unknown"):
    """Nobody knows: timeout, lost connection after sending, garbage. `why` is for the technician."""

    why: str


Outcome = Approved | Declined | OutcomeUnknown


class Hold(msgspec.Struct, frozen=True):
    """How a hold is named towards its gateway. Chosen and committed before anything is sent; stable over reboots.

    `serial` is a per-terminal counter (never reused within 10^6: ISO 8583 STAN is serial mod 10^6), `utc_ms` the moment
    of the intent (DE7), `key` the idempotency key. `trace` comes from the approval, empty before.
    """

    hold_id: str
    gateway: str
    serial: int
    utc_ms: int
    amount_minor: int
    currency: str
    connector: int
    key: str
    trace: dict[str, str] = {}


class Checkout(msgspec.Struct, frozen=True):
    """A hosted payment page opened for one hold. `url` goes into the QR code, `reference` names it at the gateway.

    The page ends by itself at `expires_utc_ms`; our own window is shorter and ends it by `expire_checkout`.
    """

    url: str
    reference: str
    expires_utc_ms: int


class MoneyStep(msgspec.Struct, frozen=True):
    """One follow-up on a hold (capture, void, refund): own serial, own key, stable over every retry. `attempt` from 1."""

    serial: int
    utc_ms: int
    amount_minor: int
    key: str
    attempt: int = 1
    statement: str = ""  # of a capture: the short code that shall stand on the bank statement, where the gateway has a field


# --- faults --------------------------------------------------------------------------------------------------------


class Device(enum.Enum):
    METER = "meter"
    EVSE = "evse"
    READER = "reader"
    GATEWAY = "gateway"
    CLOCK = "clock"
    DISK = "disk"
    LEDGER = "ledger"
    SIGNER = "signer"
    PRINTER = "printer"
    OFFICE = "office"
    UI = "ui"
    SETTLEMENT = "settlement"


class Fault(msgspec.Struct, frozen=True):
    """A device state that is raised and cleared. `connector` 0 = the whole terminal. `kind` is a short machine word."""

    device: Device
    connector: int
    kind: str
    detail: str = ""
