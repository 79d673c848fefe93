"""A card and a reader slot without PC/SC: the simulated EMV card, answering a transmit function, with accidents on order.

The issuer here is pyemv alone: it sees what an acquirer would see (DE55, card number, sequence) and nothing else.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any

from drivers.cards.apdu import Transmit
from drivers.cards.pcsc import Category, PcscError, Seen
from drivers.sim.card_keys import DemoScheme
from drivers.sim.emv_card import DEFAULT_PANS, EmvCard, Personalisation
from terminal_app.ports import CardRequest
from terminal_app.values import Stamp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyemv.tlv
    from pyemv.cvn import MasterCardCVN16, VisaCVN10

ISSUER_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
PANS = DEFAULT_PANS
PAY = CardRequest(pay=True, amount_minor=5000, currency="EUR", country="276", utc_ms=1_795_405_552_000, serial=7)
IDENTIFY = CardRequest(pay=False, amount_minor=0, currency="EUR", country="276", utc_ms=1_795_405_552_000, serial=8)

Rewrite = Callable[[int, bytes, bytes], bytes]


def emv_card(*profiles: str, cdcvm: bool = False, scheme: DemoScheme | None = None, lie: str = "") -> EmvCard:
    """With the keys of a `scheme` the card can prove itself, or lie."""
    counter = [0]

    def next_atc(pan: str) -> int:
        counter[0] += 1
        return counter[0]

    applications = [Personalisation(profile, PANS[profile], cdcvm=cdcvm, scheme=scheme, lie=lie) for profile in profiles]
    return EmvCard(applications, ISSUER_KEY, bytes.fromhex("04A1B2C3D4E580"), next_atc)


def answers(card: EmvCard, rewrite: Rewrite | None = None, seen: list[bytes] | None = None) -> Transmit:
    """The card as a transmit function. `rewrite(index, command, answer)` may change what it says."""
    count = [-1]

    def transmit(command: bytes) -> bytearray:
        count[0] += 1
        if seen is not None:
            seen.append(bytes(command))
        answer = card.answer(command)
        return bytearray(rewrite(count[0], command, answer) if rewrite else answer)

    return transmit


def issuer_accepts(emv: bytes | bytearray, pan: str, sequence: str = "01") -> bool:
    """Does the cryptogram in DE55 fit the rest of DE55, as the issuer of the card sees it?"""
    tags = pyemv.tlv.decode(bytes(emv), flatten=True)
    visa: Any
    mastercard: Any
    signed: list[Any] = [tags[tag] for tag in ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36")]
    if tags["84"].hex().upper().startswith("A000000003"):
        visa = VisaCVN10(ISSUER_KEY, ISSUER_KEY, ISSUER_KEY, pan, sequence)
        return bytes(visa.generate_ac(*signed, tags["9F10"][3:7])) == tags["9F26"]
    mastercard = MasterCardCVN16(ISSUER_KEY, ISSUER_KEY, ISSUER_KEY, pan, sequence)
    return bytes(mastercard.generate_ac(*signed, tags["9F10"][2:8])) == tags["9F26"]


class RealClock:
    def now(self) -> Stamp:
        return Stamp(utc_ms=time.time_ns() // 1_000_000, mono_ms=time.monotonic_ns() // 1_000_000, boot_id="test")


class ScriptedSlot:
    """A slot as `PcscSlot` offers it; no thread, no waiting. Set the fields to let accidents happen."""

    def __init__(self, transmit: Transmit | None = None) -> None:
        self.answers = transmit
        self.stuck = False
        self.presentation = 1
        self.failure: PcscError | None = None  # of every call, while it is set
        self.fail_at: tuple[int, PcscError] | None = None  # of one APDU, by index; it also takes the card away if REMOVED
        self.sent = 0
        self.connected = False

    def insert(self, transmit: Transmit) -> None:
        self.answers, self.presentation = transmit, self.presentation + 1

    def remove(self) -> None:
        self.answers, self.presentation = None, self.presentation + 1

    def wait_free(self, wait_s: float) -> bool:
        return not self.stuck

    def watch(self, wait_s: float) -> Seen:
        self._fail()
        return Seen("scripted", self.answers is not None, self.presentation, 0)

    def connect(self, timeout_s: float) -> None:
        self._fail()
        if self.answers is None:
            raise PcscError(Category.NO_CARD, "no card")
        self.connected, self.sent = True, 0

    def transmit(self, command: bytes, timeout_s: float) -> bytearray:
        self._fail()
        if self.fail_at is not None and self.sent == self.fail_at[0]:
            error, self.fail_at = self.fail_at[1], None
            if error.category is Category.REMOVED:
                self.remove()
            raise error
        if self.answers is None:
            raise PcscError(Category.REMOVED, "removed")
        self.sent += 1
        return self.answers(command)

    def disconnect(self) -> None:
        self.connected = False

    def close(self) -> None:
        self.connected = False

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
