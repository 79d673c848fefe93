"""Controller worker: enforces the contactor wish and reports the control pilot twice a second.

It orders `authorize` once per wish: a controller that restarts in the middle of a charge stays locked, and the rules end
the session with the truth. `revoke` is repeated until the controller says that its contactor is open.
"""

import threading
import time
from collections.abc import Callable

from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.ports import ChargeControl
from terminal_app.session.actions import EvseWish
from terminal_app.session.events import EvseReported
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

PERIOD_S = 0.5
PATIENCE_S = 3.0
FaultyControl = (DeviceUnavailable, DeviceMisread)


class EvseWorker(Worker):
    """Owns one charge controller."""

    def __init__(self, connector: int, control: ChargeControl, inbox: Post) -> None:
        super().__init__(f"evse {connector}", inbox)
        self._connector, self._control = connector, control
        self._health = Health(inbox, Device.EVSE, connector, PATIENCE_S)
        self._wish = EvseWish(False, 0)
        self._granted: EvseWish | None = None
        self._changed = threading.Event()

    def wish(self, wish: EvseWish) -> None:
        """Any thread; the newest wish counts."""
        self._wish = wish
        self._changed.set()

    def step(self) -> None:
        began = time.monotonic()
        self._changed.clear()
        wish = self._wish
        trouble = self._tried(lambda: self._obey(wish))
        try:
            status = self._control.status()
            if not wish.authorized and (status.authorized or status.relay):
                trouble = self._tried(self._control.revoke) or trouble
                status = self._control.status()
        except FaultyControl as error:
            self._health.bad(error)
        else:
            self.inbox.post_latest(("evse", self._connector), EvseReported(self._connector, status))
            if trouble is None:
                self._health.good()
            else:
                self._health.bad(trouble)
        self._changed.wait(max(0.05, PERIOD_S - (time.monotonic() - began)))

    def _tried(self, order: Callable[[], None]) -> DeviceUnavailable | DeviceMisread | None:
        """An order that fails does not hide what the controller says of itself: a welded contactor must be seen."""
        try:
            order()
        except FaultyControl as error:
            return error
        return None

    def _obey(self, wish: EvseWish) -> None:
        if not wish.authorized:
            if self._granted is not None:
                self._control.revoke()
                self._granted = None
        elif self._granted is None:
            self._control.authorize(wish.limit_a)
            self._granted = wish
        elif self._granted.limit_a != wish.limit_a:
            self._control.limit(wish.limit_a)
            self._granted = wish

    def close(self) -> None:
        try:
            self._control.revoke()
        except FaultyControl:
            pass  # nothing more can be done from here; its next contact locks it first
        self._control.close()
