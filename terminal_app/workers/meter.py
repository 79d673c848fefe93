"""Meter worker: one reading a second for the screen, two agreeing readings with identity for the bill, and of a meter that
signs its key, begin and end."""

import time

from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.ports import EnergyMeter, SignedMeter, Stepping
from terminal_app.session.actions import BeginSigned, EndSigned
from terminal_app.session.events import (
    Event,
    MeterKeyRead,
    MeterReported,
    RegisterRead,
    RegisterUnreadable,
    SignedBegun,
    SignedEnded,
    SignedRefused,
)
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

PERIOD_S = 1.0
BETWEEN_READINGS_S = 0.25
PATIENCE_S = 3.0
SIGNING_STEP_S = 75.0  # a key, a begin or end of 20 s each, and the readings around them
FaultyMeter = (DeviceUnavailable, DeviceMisread)


class MeterWorker(Worker):
    """Owns one meter. Order the billing readings with `read_register`; `signed` is the same meter if it signs."""

    def __init__(self, connector: int, meter: EnergyMeter, inbox: Post) -> None:
        super().__init__(f"meter {connector}", inbox)
        self._connector, self._meter = connector, meter
        self._stepping = meter if isinstance(meter, Stepping) else None
        self.signed = meter if isinstance(meter, SignedMeter) else None
        self._key_told = self.signed is None
        self._health = Health(inbox, Device.METER, connector, PATIENCE_S)
        if self.signed is not None:
            self.longest_step_s = SIGNING_STEP_S

    def step(self) -> None:
        began = time.monotonic()
        try:
            value = self._meter.read()
            step_wh = 0 if self._stepping is None else self._stepping.step_wh
            self.inbox.post_latest(("meter", self._connector), MeterReported(self._connector, value, step_wh))
            if not self._key_told:
                self._tell_key(value.serial)
        except FaultyMeter as error:
            self._bad(error)
        else:
            self._health.good()
        self.do_jobs(max(0.05, PERIOD_S - (time.monotonic() - began)))

    def _bad(self, error: DeviceUnavailable | DeviceMisread) -> None:
        """It may be another meter when it is back."""
        self._key_told = self.signed is None
        self._health.bad(error)

    def _tell_key(self, serial: str) -> None:
        assert self.signed is not None
        self.inbox.post(MeterKeyRead(self._connector, serial, self.signed.public_key_spki().hex()))
        self._key_told = True

    def read_register(self, session_id: str, purpose: str) -> None:
        """Answer: RegisterRead or RegisterUnreadable with the same purpose. Any thread."""
        self.submit(lambda: self._read_register(session_id, purpose))

    def _read_register(self, session_id: str, purpose: str) -> None:
        try:
            identity = self._meter.identity()
            if self.signed is not None and purpose == "start":
                self._tell_key(identity.serial)
            first = self._meter.read()
            time.sleep(BETWEEN_READINGS_S)
            second = self._meter.read()
        except FaultyMeter as error:
            self._bad(error)
            self.inbox.post(RegisterUnreadable(self._connector, session_id, purpose, str(error)))
        else:
            self._health.good()
            self.inbox.post(RegisterRead(self._connector, session_id, purpose, first, second, identity))

    def begin_signed(self, order: BeginSigned) -> None:
        """Answer: SignedBegun or SignedRefused. Any thread."""
        self.submit(lambda: self._signing(order, "begin"))

    def end_signed(self, order: EndSigned) -> None:
        """Answer: SignedEnded or SignedRefused. Any thread."""
        self.submit(lambda: self._signing(order, "end"))

    def _signing(self, order: BeginSigned | EndSigned, purpose: str) -> None:
        try:
            self.inbox.post(self._signed_answer(order))
        except FaultyMeter as error:
            refused = error.kind == "refused"
            if not refused:
                self._bad(error)
            self.inbox.post(SignedRefused(order.connector, order.session_id, purpose, str(error), refused))

    def _signed_answer(self, order: BeginSigned | EndSigned) -> Event:
        if self.signed is None:
            return SignedRefused(order.connector, order.session_id, "end", "the meter configured now does not sign", True)
        if isinstance(order, BeginSigned):
            self.signed.begin(order.reference, order.tariff_text)
            left_over = self.signed.left_over() or b""
            return SignedBegun(order.connector, order.session_id, left_over.decode("ascii", "replace"))
        self.signed.resume(order.reference, order.tariff_text)
        return SignedEnded(order.connector, order.session_id, self.signed.end().decode("ascii", "replace"))

    def close(self) -> None:
        self._meter.close()
