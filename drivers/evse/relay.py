"""A contactor at a GPIO line (`ChargeControl`): the simplest controller, for outlets without a control pilot of their own.

Fail-open: the line begins inactive, is active only while this program holds an authorization, and the driver opens it at
every doubt. But a line is only as safe as its chip: when a process dies, some kernels leave the last level. Therefore
`keepalive_s` is 0 (it cannot guard itself) and a relay that needs a steady pulse, or a hardware watchdog, belongs before the
contactor. It cannot tell the car a current: `current_a` is what the installation allows, and less is refused.
Opening is never delayed. Contactors wear by quick cycles, so closing waits: `min_off_s` after the opening, and after a
closing shorter than `min_on_s` by the missing time more. With a feedback contact a weld is seen; with a pilot line the
contactor closes only while a car is connected, else a car is taken to be there always. Not tried on real hardware (`gpio`).
"""

import time
from collections.abc import Callable

from drivers.evse.gpio import GpiodLines, Lines
from terminal_app.config import RelaySection
from terminal_app.errors import DeviceUnavailable, ModbusFaultKind
from terminal_app.ports import Clock
from terminal_app.values import EvseStatus, Pilot

SETTLE_S = 0.2  # contactors take 15 to 50 ms, their auxiliary contact bounces
OPEN_LIMIT_S = 1.0
POLL_S = 0.02
REOPEN_S = 1.0
Open = Callable[[RelaySection], Lines]


def open_lines(section: RelaySection) -> Lines:
    """The lines of a configured relay. OSError, ImportError."""
    inputs = {
        line: low
        for line, low in (
            (section.feedback_line, section.feedback_active_low),
            (section.pilot_line, section.pilot_active_low),
        )
        if line is not None
    }
    return GpiodLines(section.chip, {section.line: section.active_low}, inputs)


class Relay:
    """One contactor. One thread. `opener` and `monotonic` (seconds) are arguments so that tests need no hardware and no waits."""

    keepalive_s = 0.0

    def __init__(
        self,
        section: RelaySection,
        device_name: str,
        clock: Clock,
        opener: Open = open_lines,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section, self._device, self._clock = section, device_name, clock
        self._opener, self._monotonic = opener, monotonic
        self._lines: Lines | None = None
        self._authorized = False
        self._closed = False  # what was ordered
        self._ordered_at = monotonic()
        self._may_close_at = monotonic() + section.min_off_s  # nobody knows when it was open last
        self._reopen_at = 0.0
        self._refuses = False  # it did not close when told to

    # --- ChargeControl -----------------------------------------------------------------------------------------------

    def status(self) -> EvseStatus:
        """Reads the inputs and closes or opens as they demand. Blocks less than 0.1 s. DeviceUnavailable."""
        connected = self._connected()
        self._order(self._authorized and connected and not self._refuses and self._monotonic() >= self._may_close_at)
        relay, fault = self._contact(), ""
        if relay != self._closed and self._monotonic() - self._ordered_at >= SETTLE_S:
            fault = "relay_does_not_open" if relay else "relay_does_not_close"
            if not relay:
                self._refuses = True
                self._order(False)
        elif self._refuses:
            fault = "relay_does_not_close"
        pilot = Pilot.A if not connected else Pilot.C if relay else Pilot.B
        return EvseStatus(
            pilot=pilot,
            relay=relay,
            authorized=self._authorized,
            limit_a=self._section.current_a if self._authorized else 0,
            stamp=self._clock.now(),
            fault=fault,
        )

    def authorize(self, limit_a: int) -> None:
        """From now on `status` closes the contactor as soon as a car is connected and it may close. DeviceUnavailable."""
        self._refuse_less(limit_a)
        if self._contact() and not self._closed:
            raise self._refused("the contactor is closed though it was opened (welded?)")
        self._authorized = True
        self.status()

    def revoke(self) -> None:
        """Open at once and wait for the feedback, 1 s at most. DeviceUnavailable (kind "exception": weld)."""
        self._authorized = self._refuses = False
        self._order(False)
        until = self._monotonic() + OPEN_LIMIT_S
        while self._contact():
            if self._monotonic() >= until:
                raise self._refused("the contactor does not open (welded?)")
            time.sleep(POLL_S)

    def limit(self, limit_a: int) -> None:
        """Nothing can be told to the car; less than `current_a` opens the contactor. DeviceUnavailable."""
        self._refuse_less(limit_a)

    def close(self) -> None:
        """Open the contactor and give the lines back."""
        self._authorized = False
        if self._lines is not None:
            try:
                self._order(False)
            except DeviceUnavailable:
                return
            self._lines.close()
            self._lines = None

    # --- lines -------------------------------------------------------------------------------------------------------

    def _refuse_less(self, limit_a: int) -> None:
        if limit_a < self._section.current_a:
            self._authorized = False
            self._order(False)
            raise self._refused(f"a relay cannot limit to {limit_a} A; its outlet gives {self._section.current_a} A (current_a)")

    def _connected(self) -> bool:
        return self._section.pilot_line is None or self._read(self._section.pilot_line)

    def _contact(self) -> bool:
        """The contactor as its feedback shows it; without one, as ordered."""
        held = self._held()
        if self._section.feedback_line is None:
            return self._closed
        try:
            return held.read(self._section.feedback_line)
        except OSError as error:
            raise self._gone(error) from error

    def _read(self, line: int) -> bool:
        try:
            return self._held().read(line)
        except OSError as error:
            raise self._gone(error) from error

    def _order(self, closed: bool) -> None:
        """Tell the line what shall be, always: writing it again is harmless and heals a level somebody else changed."""
        held = self._held()
        try:
            held.write(self._section.line, closed)
        except OSError as error:
            raise self._gone(error) from error
        if closed != self._closed:
            now = self._monotonic()
            if not closed:
                missing_s = max(0.0, self._section.min_on_s - (now - self._ordered_at))
                self._may_close_at = now + self._section.min_off_s + missing_s
            self._closed, self._ordered_at = closed, now

    def _held(self) -> Lines:
        if self._lines is not None:
            return self._lines
        if self._monotonic() < self._reopen_at:
            raise DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, f"{self._section.chip} is gone; next try soon")
        try:
            self._lines = self._opener(self._section)
        except (OSError, ImportError) as error:
            self._reopen_at = self._monotonic() + REOPEN_S
            reason = f"{self._section.chip} cannot be opened; check chip, line numbers, permissions and the package gpiod ({error})"
            raise DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, reason) from error
        return self._lines

    def _gone(self, error: OSError) -> DeviceUnavailable:
        """Without its lines the relay is on its own: nothing is authorized, and they are requested anew (inactive)."""
        lines, self._lines = self._lines, None
        self._authorized, self._closed = False, False
        self._ordered_at = self._monotonic()
        self._may_close_at = self._ordered_at + self._section.min_off_s
        if lines is not None:
            try:
                lines.close()
            except OSError:
                pass  # it is gone already
        return DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, f"{self._section.chip} was lost ({error})")

    def _refused(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable(self._device, ModbusFaultKind.EXCEPTION.value, reason)
