"""A contactless reader behind PC/SC, as the port `CardReader`.

Read top-down: configuration (`[reader]`), the slot, the port's methods, what errors become. One worker thread calls it.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import Protocol

from drivers.cards.ca_keys import load_ca_keys
from drivers.cards.card_token import load_card_key, token_of
from drivers.cards.emv_contactless import read_card
from drivers.cards.pcsc import Category, PcscError, PcscSlot, Seen
from terminal_app.config import ReaderSection
from terminal_app.errors import CardMisread, CardMisreadReason, DeviceUnavailable
from terminal_app.ports import CardRequest, Clock
from terminal_app.values import CardFacts, EntryMode, PaymentCard

log = logging.getLogger("charge.reader")

READ_S = 5.0  # the port's promise for `read`
APDU_S = 2.5  # real cards need 5 to 60 ms, slow phones some hundred
SHORTEST_S = 0.5  # what even the last APDU before the end gets: less would call a slow card a stuck reader
SETTLE_S = 1.5  # a reader that came back may report an empty field before it has looked
PAUSE_S = 0.5  # between two attempts while reader or service are away


class Slot(Protocol):
    """What a reader needs of PC/SC; `pcsc.PcscSlot` is the real one."""

    @property
    def stuck(self) -> bool: ...
    def wait_free(self, wait_s: float) -> bool: ...
    def watch(self, wait_s: float) -> Seen: ...
    def connect(self, timeout_s: float) -> None: ...
    def transmit(self, command: bytes, timeout_s: float) -> bytearray: ...
    def disconnect(self) -> None: ...
    def close(self) -> None: ...


class PcscReader:
    """`section` names the reader and the files of keys; ConfigError if one is unfit. Opens nothing before the first call."""

    def __init__(
        self,
        section: ReaderSection,
        clock: Clock,
        slot: Slot | None = None,
        chance: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._key = load_card_key(section.card_key)
        self._ca_keys = load_ca_keys(section.ca_keys) if section.ca_keys is not None else {}
        self._slot: Slot = slot if slot is not None else PcscSlot(section.name, section.pcsc_socket)
        self._clock, self._chance = clock, chance
        self._away = False  # the last attempt failed: pause before the next, so that a caller's loop stays slow
        self._taken: int | None = None  # the presentation already reported; None = the field was empty since
        self._blind = False  # a reported card lay there when the reader was lost: what lies there afterwards is not new
        self._back_ms = 0  # when the reader came back last

    def wait_card(self, wait_s: float) -> bool:
        """True once per presentation, as soon as a card is in the field; False after `wait_s`. DeviceUnavailable."""
        end_ms = self._clock.now().mono_ms + int(wait_s * 1000)
        if self._slot.stuck and not self._slot.wait_free(wait_s):
            raise DeviceUnavailable("reader", "stuck", "a card does not answer; it must be taken away")
        if self._away:
            time.sleep(min(wait_s, PAUSE_S))
        while True:
            left_s = max(0, end_ms - self._clock.now().mono_ms) / 1000
            try:
                seen = self._slot.watch(left_s)
            except PcscError as error:
                raise self._unavailable(error) from None
            now_ms = self._clock.now().mono_ms
            if self._away:
                self._away, self._back_ms = False, now_ms
            if self._is_new(seen, now_ms):
                return True
            if now_ms >= end_ms:
                return False

    def read(self, request: CardRequest) -> PaymentCard:
        """Run the card in the field, at most 5 s. CardMisread, DeviceUnavailable. Moves no money.

        Without `request.pay` a Visa-like card still makes a cryptogram (for amount zero); it is dropped unseen.
        """
        end_ms = self._clock.now().mono_ms + int(READ_S * 1000)

        def transmit(command: bytes) -> bytearray:
            left_s = (end_ms - self._clock.now().mono_ms) / 1000
            if left_s <= 0:
                raise CardMisread(CardMisreadReason.ERROR, f"the card took longer than {READ_S:.0f} s")
            return self._slot.transmit(command, max(left_s, SHORTEST_S) if left_s < APDU_S else APDU_S)

        try:
            self._slot.connect(APDU_S)
            try:
                reading = read_card(transmit, request, self._chance, self._ca_keys)
            finally:
                self._slot.disconnect()
        except PcscError as error:
            raise self._translated(error) from None
        if request.pay and self._ca_keys:
            log.info("chip authentication of a card of %s: %s", reading.brand, reading.flaw.value if reading.flaw else "good")
        try:
            facts = CardFacts(
                brand=reading.brand,
                last4=reading.pan[-4:].decode("ascii"),
                token=token_of(self._key, reading.pan),
                aid=reading.aid,
                label=reading.label,
                entry=EntryMode.CONTACTLESS,
                cvm="device" if reading.verified_on_device else "none",
                cryptogram=reading.cryptogram,
                atc=reading.atc,
                authenticated=reading.flaw is None,
            )
            amount_minor = request.amount_minor if request.pay else 0
            return PaymentCard(
                facts, amount_minor, request.currency, bytearray(reading.track2), bytearray(reading.emv), reading.psn
            )
        finally:
            reading.wipe()

    def finish(self, issuer_answer: bytes | None) -> None:
        """Nothing to do: a contactless card has left long before the issuer answers."""

    def close(self) -> None:
        self._slot.close()

    def _is_new(self, seen: Seen, now_ms: int) -> bool:
        if not seen.present:
            if not self._blind or now_ms - self._back_ms > SETTLE_S * 1000:
                self._taken, self._blind = None, False
            return False
        if self._blind:
            self._taken, self._blind = seen.presentation, False
            return False
        if self._taken == seen.presentation:
            return False
        self._taken = seen.presentation
        return True

    def _translated(self, error: PcscError) -> CardMisread | DeviceUnavailable:
        match error.category:
            case Category.NO_CARD | Category.REMOVED | Category.IO:
                return CardMisread(CardMisreadReason.REMOVED, error.detail)
            case Category.RESET:
                return CardMisread(CardMisreadReason.ERROR, "the card was reset while it was read")
        return self._unavailable(error)

    def _unavailable(self, error: PcscError) -> DeviceUnavailable:
        """What lay in the field is only unknown when pcscd or the reader were gone: else insertions were still counted."""
        self._away = True
        if error.category in (Category.NO_SERVICE, Category.NO_READER):
            self._blind = self._blind or self._taken is not None
        kind = "stuck" if error.category is Category.TIMEOUT else error.category.value
        return DeviceUnavailable("reader", kind, error.detail)
