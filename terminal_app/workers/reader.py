"""Reader worker: owns the PC/SC library's thread. A card counts only if it is presented while the reader is armed."""

import time

import msgspec

from terminal_app.errors import CardMisread, CardMisreadReason, DeviceUnavailable
from terminal_app.ports import CardReader, Clock
from terminal_app.session.actions import ReaderWish
from terminal_app.session.events import CardFailed, CardRead, CardSeen
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

WAIT_S = 0.3
PATIENCE_S = 2.0
AGAIN_S = 0.5


class ReaderWorker(Worker):
    """Owns the card reader. An arming (`arm_no`) brings at most one card."""

    def __init__(self, reader: CardReader, clock: Clock, inbox: Post) -> None:
        super().__init__("reader", inbox)
        self._reader, self._clock = reader, clock
        self._health = Health(inbox, Device.READER, 0, PATIENCE_S)
        self._wish: ReaderWish | None = None

    def wish(self, wish: ReaderWish | None) -> None:
        """Any thread; the newest wish counts."""
        self._wish = wish

    def step(self) -> None:
        armed_before = self._wish
        try:
            seen = self._reader.wait_card(WAIT_S)
            self._health.good()
        except DeviceUnavailable as error:
            self._health.bad(error)
            time.sleep(AGAIN_S)
            return
        wish = self._wish
        if not seen or wish is None or armed_before is None or wish.arm_no != armed_before.arm_no:
            return  # no card, or one that was there before the price was on the glass: it must be presented again
        self._read(wish)

    def _read(self, wish: ReaderWish) -> None:
        request = msgspec.structs.replace(wish.request, utc_ms=self._clock.now().utc_ms)
        self.inbox.post(CardSeen(wish.arm_no))
        try:
            card = self._reader.read(request)
        except CardMisread as error:
            self.inbox.post(CardFailed(wish.arm_no, error.reason.value))
        except DeviceUnavailable as error:
            self.inbox.post(CardFailed(wish.arm_no, CardMisreadReason.ERROR.value))
            self._health.bad(error)
        else:
            self.inbox.post(CardRead(wish.arm_no, request.pay, card))
            self._reader.finish(None)

    def close(self) -> None:
        self._reader.close()
