"""Meter worker: one reading a second for the screen, and two agreeing readings with identity for the bill."""

import time

from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.ports import EnergyMeter, Stepping
from terminal_app.session.events import MeterReported, RegisterRead, RegisterUnreadable
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

PERIOD_S = 1.0
BETWEEN_READINGS_S = 0.25
PATIENCE_S = 3.0
FaultyMeter = (DeviceUnavailable, DeviceMisread)


class MeterWorker(Worker):
    """Owns one meter. Order the billing readings with `read_register`."""

    def __init__(self, connector: int, meter: EnergyMeter, inbox: Post) -> None:
        super().__init__(f"meter {connector}", inbox)
        self._connector, self._meter = connector, meter
        self._stepping = meter if isinstance(meter, Stepping) else None
        self._health = Health(inbox, Device.METER, connector, PATIENCE_S)

    def step(self) -> None:
        began = time.monotonic()
        try:
            value = self._meter.read()
        except FaultyMeter as error:
            self._health.bad(error)
        else:
            self._health.good()
            step_wh = 0 if self._stepping is None else self._stepping.step_wh
            self.inbox.post_latest(("meter", self._connector), MeterReported(self._connector, value, step_wh))
        self.do_jobs(max(0.05, PERIOD_S - (time.monotonic() - began)))

    def read_register(self, session_id: str, purpose: str) -> None:
        """Answer: RegisterRead or RegisterUnreadable with the same purpose. Any thread."""
        self.submit(lambda: self._read_register(session_id, purpose))

    def _read_register(self, session_id: str, purpose: str) -> None:
        try:
            identity = self._meter.identity()
            first = self._meter.read()
            time.sleep(BETWEEN_READINGS_S)
            second = self._meter.read()
        except FaultyMeter as error:
            self._health.bad(error)
            self.inbox.post(RegisterUnreadable(self._connector, session_id, purpose, str(error)))
        else:
            self._health.good()
            self.inbox.post(RegisterRead(self._connector, session_id, purpose, first, second, identity))

    def close(self) -> None:
        self._meter.close()
