"""Exceptions that somebody catches. Everything else is a value (see `values.Outcome`). PURE."""

from enum import Enum


class ChargeError(Exception):
    """Base of every error this program raises on purpose; the message is fit for a technician."""


class ConfigError(ChargeError):
    """A configuration file, key, type or range is wrong. The message reads `file: [section] key: reason`."""

    def __init__(self, file: str, where: str, reason: str) -> None:
        super().__init__(f"{file}: {where}: {reason}" if where else f"{file}: {reason}")


class ModbusFaultKind(Enum):
    """Why a device could not be read, in words a technician can act on (meters.md section 1.6)."""

    PORT = "port"  # the serial port or TCP host cannot be opened: adapter, cable, address
    TIMEOUT = "timeout"  # no or incomplete answer: power, wiring, unit id, line settings
    MISMATCH = "mismatch"  # an answer that does not belong to the question
    EXCEPTION = "exception"  # the device refused (Modbus exception, RAPI $NK, status word)


class DeviceUnavailable(ChargeError):
    """The device cannot be reached now. `device` as configured ("meter 1"), `kind` a short machine word."""

    def __init__(self, device: str, kind: str, reason: str) -> None:
        super().__init__(f"{device}: {reason}")
        self.device, self.kind, self.reason = device, kind, reason


class DeviceMisread(ChargeError):
    """The device answered, but the answer cannot be trusted (length, range, serial, checksum)."""

    def __init__(self, device: str, kind: str, reason: str) -> None:
        super().__init__(f"{device}: {reason}")
        self.device, self.kind, self.reason = device, kind, reason


class CardMisreadReason(Enum):
    """Why a card gave no payment; each has words on the screen."""

    REMOVED = "removed"  # taken away too early: ask to hold it longer
    NOT_SUPPORTED = "not_supported"  # no application in common, or mag-stripe mode
    REFUSED_BY_CARD = "refused_by_card"  # the card answered AAC or a refusing status word
    SEVERAL = "several"  # more than one card in the field
    ERROR = "error"  # the card or the reader broke the protocol


class CardMisread(ChargeError):
    """A card was presented but gave no payment; nothing was sent anywhere, no money moved."""

    def __init__(self, reason: CardMisreadReason, detail: str) -> None:
        super().__init__(f"card: {reason.value}: {detail}")
        self.reason = reason


class LedgerBroken(ChargeError):
    """The ledger cannot be trusted or written: chain does not verify, disk full, read-only. `entry` is the first bad seq."""

    def __init__(self, reason: str, entry: int | None = None) -> None:
        super().__init__(reason if entry is None else f"entry {entry}: {reason}")
        self.entry = entry


class LedgerBusy(LedgerBroken):
    """Another process owns this ledger: it is not broken, it is in use."""


class ImpossibleEvent(ChargeError):
    """An event that cannot happen in this state: our own defect. Never appended; ends the process (DESIGN section 6)."""


class WireError(ChargeError):
    """The other end of a Unix socket broke the protocol: version, size, form."""


class SignatureInvalid(ChargeError):
    """A signature, chain link or countersignature does not verify. The message names the entry."""


class TariffRefused(ChargeError):
    """A tariff (or what a CDR carries for pricing) is malformed, unknown or unlawful; it is refused as a whole."""
