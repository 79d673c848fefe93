"""What all charge controllers on Modbus have in common (`ChargeControl`): when they are locked, asked and believed.

The order is that of the OpenEVSE driver. Whenever contact begins or the controller may have restarted (the line was opened
anew, it answers that it is off though it was on, or on though it was off) it is switched off first, and that is read back,
together with what it would do after a power-up. The line is the shared `bus.ModbusBus`: strict, one question at a time.
None of these controllers has a watchdog register we know of, so `keepalive_s` is 0 and the terminal is the guard; what
protects from free energy after their own power-up is said in each driver.
"""

import time
from typing import NamedTuple

from drivers.meters import bus
from terminal_app.errors import ConfigError, DeviceMisread, DeviceUnavailable, ModbusFaultKind
from terminal_app.ports import Clock
from terminal_app.values import EvseStatus, Pilot

CALL_LIMIT_S = 2.0
ATTEMPTS = 2
OPEN_LIMIT_S = 1.0
RELAY_POLL_S = 0.05
LEAST_A = 6  # IEC 61851-1: the pilot cannot offer less
BUSY_CODES = (5, 6)


class Pace(NamedTuple):
    """Times of the controller in seconds, as for a meter's profile."""

    timeout_s: float
    gap_s: float
    quarantine_s: float


class Seen(NamedTuple):
    """What the controller says of itself in one look. `limit_a` is the current in force, 0 = it does not let a car charge."""

    pilot: Pilot
    relay: bool
    limit_a: int
    fault: str = ""


class ModbusControl:
    """One controller, one thread; several objects may share a line. Starting never fails for a missing line."""

    keepalive_s = 0.0

    def __init__(self, address: bus.Address, unit: int, pace: Pace, device_name: str, clock: Clock) -> None:
        self._unit, self._pace, self._device, self._clock = unit, pace, device_name, clock
        self._granted_a = 0
        self._lock_due = True
        self._met = -1  # which opening of the line the last exchange was on
        try:
            self._bus = bus.shared(address)
        except ValueError as error:
            raise ConfigError("terminal.toml", f"[{device_name}] port", str(error)) from error

    # --- what a driver adds; all block until `deadline` at most, DeviceUnavailable, DeviceMisread ---------------------

    def _look(self, deadline: float) -> Seen:
        raise NotImplementedError

    def _switch_off(self, deadline: float) -> None:
        """No car may charge from here on. Safe to repeat."""
        raise NotImplementedError

    def _switch_on(self, limit_a: int, deadline: float) -> None:
        """Limit first, then release. Safe to repeat."""
        raise NotImplementedError

    def _change_limit(self, limit_a: int, deadline: float) -> None:
        raise NotImplementedError

    def _make_safe_after_power_up(self, deadline: float) -> None:
        """What the controller does by itself after a power-up, as far as it can be set. Called while it is locked."""

    # --- ChargeControl -----------------------------------------------------------------------------------------------

    def status(self) -> EvseStatus:
        """Blocks up to 2 s. DeviceUnavailable, DeviceMisread. A controller that restarted is locked again before this answers."""
        deadline = time.monotonic() + CALL_LIMIT_S
        found = self._look(deadline)
        if self._granted_a and found.limit_a != self._granted_a:
            self._suspect_restart()  # it restarted, or somebody else switched it: what was paid for has ended
        if self._lock_due or (not self._granted_a and (found.limit_a or found.relay)):
            found = self._lock(deadline)
        fault = found.fault or ("relay_does_not_open" if found.relay and not self._granted_a else "")
        return EvseStatus(
            pilot=found.pilot,
            relay=found.relay,
            authorized=self._granted_a > 0,
            limit_a=self._granted_a,
            stamp=self._clock.now(),
            fault=fault,
        )

    def authorize(self, limit_a: int) -> None:
        """Blocks up to 2 s. Idempotent. DeviceUnavailable (and locked) if it refuses or restarts meanwhile."""
        deadline = time.monotonic() + CALL_LIMIT_S
        self._refuse_below_least(limit_a)
        if self._lock_due:
            self._lock_or_refuse(deadline)
        self._switch_on(limit_a, deadline)  # if it obeys and its answer is lost, `status` finds it on without a grant: locked
        found = self._look(deadline)
        if self._lock_due or not 0 < found.limit_a <= limit_a:
            self._lock_or_refuse(deadline)
            raise self._refused(f"the controller restarted, or does not take {limit_a} A")
        self._granted_a = found.limit_a  # less than asked for if it is configured for less

    def revoke(self) -> None:
        """Blocks up to 2 s. Idempotent. DeviceUnavailable if it is silent (then it is locked at the next contact, before
        anything else) or its contactor does not open (kind "exception")."""
        self._lock_or_refuse(time.monotonic() + CALL_LIMIT_S)

    def limit(self, limit_a: int) -> None:
        """Blocks up to 2 s. Without an authorization nothing is written: `authorize` brings its own limit."""
        deadline = time.monotonic() + CALL_LIMIT_S
        self._refuse_below_least(limit_a)
        if not self._granted_a or limit_a == self._granted_a:
            return
        self._change_limit(limit_a, deadline)
        found = self._look(deadline)
        if self._lock_due or not 0 < found.limit_a <= limit_a:
            self._suspect_restart()
            raise self._refused(f"the controller restarted, or does not take {limit_a} A")
        self._granted_a = found.limit_a

    def close(self) -> None:
        """An authorized controller is revoked as far as it still answers; the last user of the line closes it."""
        try:
            if self._granted_a:
                self.revoke()
        except (DeviceUnavailable, DeviceMisread):
            pass  # nothing more can be done from here; the next start locks it first
        finally:
            bus.release(self._bus)

    # --- never free energy -------------------------------------------------------------------------------------------

    def _lock(self, deadline: float) -> Seen:
        """Switch off, then look until it is off and its contactor open, 1 s at most; due again if it is not."""
        self._suspect_restart()
        self._switch_off(deadline)
        self._lock_due = False  # a link that is lost from here on makes it due again
        opening_until = min(deadline, time.monotonic() + OPEN_LIMIT_S)
        while True:
            found = self._look(deadline)
            if not found.limit_a and not found.relay:
                break
            if time.monotonic() + RELAY_POLL_S >= opening_until:
                self._lock_due = True
                return found
            time.sleep(RELAY_POLL_S)
        try:
            self._make_safe_after_power_up(deadline)
        except (DeviceUnavailable, DeviceMisread):
            self._lock_due = True
            raise
        return found

    def _lock_or_refuse(self, deadline: float) -> None:
        found = self._lock(deadline)
        if found.limit_a:
            raise self._refused("the controller does not switch off")
        if found.relay:
            raise self._refused("the contactor does not open (welded?)")

    def _suspect_restart(self) -> None:
        """From here on nothing is authorized, and the next order is the lock."""
        self._lock_due, self._granted_a = True, 0

    def _refuse_below_least(self, limit_a: int) -> None:
        if limit_a < LEAST_A:
            if self._granted_a:
                self._suspect_restart()
            raise self._refused(f"the controller cannot limit to {limit_a} A, only down to {LEAST_A} A")

    # --- the line ----------------------------------------------------------------------------------------------------

    def _read(self, fc: int, addr: int, size: int, deadline: float) -> tuple[int, ...]:
        return self._ask(self._question(fc, addr, size), deadline)

    def _write(self, fc: int, addr: int, value: int, deadline: float) -> None:
        self._ask(self._question(fc, addr, 1, (value,)), deadline)

    def _question(self, fc: int, addr: int, size: int, values: tuple[int, ...] = ()) -> bus.Question:
        pace = self._pace
        return bus.Question(self._unit, fc, addr, size, pace.timeout_s, pace.gap_s, pace.quarantine_s, values)

    def _ask(self, question: bus.Question, deadline: float) -> tuple[int, ...]:
        """Every question here may safely be repeated: the writes say what shall be, never what to add."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._bus.ask(question, deadline)
            except bus.ModbusFault as fault:
                self._notice_new_link()
                worth_it = fault.kind in (ModbusFaultKind.TIMEOUT, ModbusFaultKind.MISMATCH) or fault.code in BUSY_CODES
                fits = time.monotonic() + self._pace.quarantine_s + self._pace.timeout_s <= deadline
                if attempt < ATTEMPTS and worth_it and fits:
                    continue
                raise self._unavailable(fault) from fault
            self._notice_new_link()
            return answer
        raise AssertionError("unreachable")

    def _notice_new_link(self) -> None:
        """A line that was opened anew says nothing about what happened meanwhile: nothing is authorized."""
        if self._bus.connections != self._met:
            self._met = self._bus.connections
            self._suspect_restart()

    def _unavailable(self, fault: bus.ModbusFault) -> DeviceUnavailable | DeviceMisread:
        if fault.kind is ModbusFaultKind.PORT or not self._granted_a:
            self._suspect_restart()
        if fault.kind is ModbusFaultKind.MISMATCH:
            return DeviceMisread(self._device, fault.kind.value, fault.reason)
        return DeviceUnavailable(self._device, fault.kind.value, fault.reason)

    def _refused(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable(self._device, ModbusFaultKind.EXCEPTION.value, reason)

    def _misread(self, reason: str) -> DeviceMisread:
        return DeviceMisread(self._device, ModbusFaultKind.MISMATCH.value, reason)
