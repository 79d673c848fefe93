"""Controller worker: enforces the contactor wish and reports the control pilot twice a second.

It orders `authorize` once per wish: a controller that restarts in the middle of a charge stays locked, and the rules end
the session with the truth. `revoke` is repeated until the controller says that its contactor is open.
"""

import threading
import time

from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.ports import ChargeControl
from terminal_app.session.actions import EvseWish
from terminal_app.session.events import EvseReported
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

PERIOD_S = 0.5
PATIENCE_S = 3.0


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
        try:
            self._obey(wish)
            status = self._control.status()
            if not wish.authorized and (status.authorized or status.relay):
                self._control.revoke()
                status = self._control.status()
        except (DeviceUnavailable, DeviceMisread) as error:
            self._health.bad(error)
        else:
            self._health.good()
            self.inbox.post_latest(("evse", self._connector), EvseReported(self._connector, status))
        self._changed.wait(max(0.05, PERIOD_S - (time.monotonic() - began)))

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
        except (DeviceUnavailable, DeviceMisread):
            pass  # nothing more can be done from here; its next contact locks it first
        self._control.close()
