"""OpenEVSE charge controller over RAPI (`ChargeControl`). The only file that imports pyserial for it.

The board boots *enabled*: after a restart it would charge for nothing. So whenever contact begins or the board may have
restarted ($AB, state 00, its charge timer ran backwards, the port was lost, it woke up unasked) the next thing sent is
FS (sleep: relay open) and S4 1 (authorization lock, where the build has it), and that is verified before anything else.
Between its boot and the next poll a board without BOOTLOCK can close its relay unpaid; nothing outside the board can
prevent that. The standard build has no heartbeat supervision (SY is answered $NK): it cannot guard itself, `keepalive_s`
is 0 and the terminal is the guard. FF (switch off a safety check) and FR (restart) are never sent.
Facts: meters.md section 4.2, openevse-rapi-transcript.txt (firmware D8.1.1).
"""

import termios
import time

import serial

from drivers.evse import rapi
from drivers.evse.openevse_state import CHARGING, STARTING, BoardState
from drivers.evse.rapi import Said
from terminal_app.config import OpenEvseSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable, ModbusFaultKind
from terminal_app.ports import Clock
from terminal_app.values import EvseStatus

CALL_LIMIT_S = 2.0
REPLY_TIMEOUT_S = 0.6  # FD took 0.31 s on the real board
ATTEMPTS = 3
RELAY_POLL_S = 0.05
OPEN_LIMIT_S = 1.0
WAKE_LIMIT_S = 0.5
REOPEN_FIRST_S = 0.5
REOPEN_LAST_S = 2.0
READ_SLICE_S = 0.02
TIMER_TOLERANCE_S = 5
NEVER_SENT = ("FF", "FR")


class OpenEvse:
    """One board on one serial port. One thread. Starting never fails for a missing port: `status` says so until it is there."""

    keepalive_s = 0.0

    def __init__(self, section: OpenEvseSection, device_name: str, clock: Clock) -> None:
        self._section = section
        self._device = device_name
        self._clock = clock
        self._port: serial.Serial | None = None
        self._receiver = rapi.Receiver()
        self._sequence = 0
        self._authorized = False
        self._limit_a = 0
        self._lock_due = True
        self._has_auth_lock: bool | None = None
        self._timer: tuple[int, float] | None = None  # the board's charge timer and when it was read (monotonic)
        self._silent = False
        self._reopen_at = 0.0
        self._pause_s = REOPEN_FIRST_S

    # --- ChargeControl -----------------------------------------------------------------------------------------------

    def status(self) -> EvseStatus:
        """Blocks up to 2 s. DeviceUnavailable, DeviceMisread. A board that restarted is locked again before this answers.

        `pilot` is what the car shows, also while the board sleeps; E = pilot diode fault, F = board starting or disabled.
        """
        deadline = time.monotonic() + CALL_LIMIT_S
        self._meet(deadline)
        locking = self._lock_due
        found = self._lock(deadline) if locking else self._state(deadline)
        if self._authorized and found.asleep:
            self._suspect_restart()  # put to sleep at the board itself: what was paid for has ended
        unpaid = not self._authorized and (found.awake or found.relay)  # restarted, or woken by its button
        if not locking and (self._lock_due or unpaid):
            found = self._lock(deadline)
        fault = found.fault or ("relay_does_not_open" if found.relay and not self._authorized else "")
        return EvseStatus(
            pilot=found.shown,
            relay=found.relay,
            authorized=self._authorized,
            limit_a=self._limit_a if self._authorized else 0,
            stamp=self._clock.now(),
            fault=fault,
        )

    def authorize(self, limit_a: int) -> None:
        """Current limit first, then unlock and wake: the pilot never offers more than `limit_a`. Blocks up to 2 s. Idempotent.

        DeviceUnavailable (and locked) if the board restarts meanwhile, refuses, or cannot go as low as `limit_a`.
        """
        deadline = time.monotonic() + CALL_LIMIT_S
        self._meet(deadline)
        if self._lock_due:
            self._lock_or_refuse(deadline)
        if self._lock_due:
            raise self._refused("the board is starting")
        self._set_limit(limit_a, deadline)
        if self._has_auth_lock:
            self._order("S4 0", deadline)
        self._order("FE", deadline)
        waking_until = time.monotonic() + WAKE_LIMIT_S
        while (found := self._state(deadline)).asleep and not self._lock_due and time.monotonic() < waking_until:
            time.sleep(RELAY_POLL_S)
        if self._lock_due or found.asleep:
            self._lock_or_refuse(deadline)
            raise self._refused("the board restarted or did not wake up")
        self._authorized, self._timer = True, None

    def revoke(self) -> None:
        """Sleep and lock, and wait until the relay is open. Blocks up to 2 s. Idempotent.

        DeviceUnavailable if the board is silent (it is locked at the next contact, before anything else) or the relay
        does not open (kind "exception": weld).
        """
        deadline = time.monotonic() + CALL_LIMIT_S
        self._suspect_restart()
        self._meet(deadline)
        self._lock_or_refuse(deadline)

    def limit(self, limit_a: int) -> None:
        """Blocks up to 2 s. A limit above what the board is configured for is clamped by it; `status` tells the real one."""
        deadline = time.monotonic() + CALL_LIMIT_S
        self._meet(deadline)
        if self._lock_due:
            self._lock_or_refuse(deadline)
        self._set_limit(limit_a, deadline)

    def close(self) -> None:
        """An authorized board is revoked, as far as it still answers: nobody would be left to stop it. Then the port closes."""
        try:
            if self._authorized:
                self.revoke()
        except (DeviceUnavailable, DeviceMisread):
            pass  # nothing more can be done from here; the next start locks it first
        finally:
            self._shut()

    # --- never free energy -------------------------------------------------------------------------------------------

    def _meet(self, deadline: float) -> None:
        """Open the port if need be, hear what the board said meanwhile, and after silence find out whether it restarted."""
        self._open()
        self._hear()
        if self._silent and self._authorized:
            self._state(deadline)

    def _lock(self, deadline: float) -> BoardState:
        """Sleep and lock, then look until the relay is open and the board asleep, 1 s at most; due again if it is not."""
        self._suspect_restart()
        self._lock_due = False  # whatever is heard from here on makes it due again
        if not self._accepted("FS", deadline):
            self._lock_due = True
            raise self._refused("FS: the board refused to sleep")
        if self._has_auth_lock is not False:
            self._has_auth_lock = self._accepted("S4 1", deadline)
        opening_until = time.monotonic() + OPEN_LIMIT_S
        while True:
            found = self._state(deadline)
            if not found.relay and not found.awake:
                return found
            if time.monotonic() + RELAY_POLL_S >= min(opening_until, deadline):
                self._lock_due = True
                return found
            time.sleep(RELAY_POLL_S)

    def _lock_or_refuse(self, deadline: float) -> None:
        found = self._lock(deadline)
        if found.relay:
            raise self._refused("the relay does not open (welded?)")
        if found.awake:
            raise self._refused("the board does not go to sleep")

    def _suspect_restart(self) -> None:
        """From here on nothing is authorized, and the next thing sent is the lock."""
        self._lock_due = True
        self._authorized, self._limit_a, self._timer = False, 0, None

    def _compare_timer(self, found: BoardState) -> None:
        """The charge timer goes on with the clock as long as the board did not restart; silence leaves no other proof."""
        now = time.monotonic()
        if self._authorized and self._timer is not None:
            before_s, at = self._timer
            drift = found.elapsed_s - before_s - (now - at)
            backwards = found.elapsed_s < before_s
            if backwards or (self._silent and not (found.state == CHARGING and abs(drift) <= TIMER_TOLERANCE_S)):
                self._suspect_restart()
        elif self._authorized and self._silent:
            self._suspect_restart()
        self._silent = False
        self._timer = (found.elapsed_s, now) if self._authorized and found.state == CHARGING else None

    # --- commands ----------------------------------------------------------------------------------------------------

    def _state(self, deadline: float) -> BoardState:
        said = self._ask("GS", deadline)
        try:
            if said.word != "OK":
                raise ValueError("refused")
            found = BoardState(said.words)
        except ValueError as error:
            raise DeviceMisread(self._device, ModbusFaultKind.MISMATCH.value, f"GS: {error}") from error
        if found.state == STARTING:
            self._suspect_restart()
        self._compare_timer(found)
        return found

    def _set_limit(self, limit_a: int, deadline: float) -> None:
        """SC answers $NK with the value it took instead, when that differs."""
        said = self._ask(f"SC {limit_a} V", deadline)
        if said.word == "OK":
            taken = limit_a
        elif len(said.words) == 1 and said.words[0].isdigit():
            taken = int(said.words[0])
        else:
            raise self._refused(f"SC {limit_a}: the board refused")
        if taken > limit_a:
            self._lock_or_refuse(deadline)
            raise self._refused(f"the board cannot limit to {limit_a} A, only down to {taken} A: put to sleep")
        self._limit_a = taken

    def _refused(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable(self._device, ModbusFaultKind.EXCEPTION.value, reason)

    def _order(self, words: str, deadline: float) -> None:
        if not self._accepted(words, deadline):
            raise self._refused(f"{words}: the board refused")

    def _accepted(self, words: str, deadline: float) -> bool:
        return self._ask(words, deadline).word == "OK"

    def _ask(self, words: str, deadline: float) -> Said:
        """The board's answer to this very command (sequence id matched). Every command here may safely be repeated."""
        if words.split()[0] in NEVER_SENT:
            raise ValueError(f"{words}: never sent by a payment terminal")
        for _ in range(ATTEMPTS):
            if time.monotonic() >= deadline:
                break
            self._sequence = self._sequence % 255 + 1
            self._write(rapi.command(words, self._sequence))
            until = min(deadline, time.monotonic() + REPLY_TIMEOUT_S)
            unread = False
            while not unread and time.monotonic() < until:
                for said in self._hear():
                    if said.sequence == self._sequence and said.word in ("OK", "NK"):
                        return said
                    unread = unread or (said.word == "NK" and said.sequence == 0)  # the command arrived damaged
        self._silent = True
        if not self._authorized:
            self._lock_due = True
        reason = f"no answer to {words}; check power, cable and baud rate (it is deaf for 10 s after a restart)"
        raise DeviceUnavailable(self._device, ModbusFaultKind.TIMEOUT.value, reason)

    # --- the port ----------------------------------------------------------------------------------------------------

    def _hear(self) -> list[Said]:
        """What the board said since; waits up to 20 ms for more. Signs of a restart are noted on the way."""
        if self._port is None:
            raise DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, f"{self._section.port} is not open")
        try:
            heard = self._receiver.feed(self._port.read(max(1, self._port.in_waiting)))
        except OSError as error:
            raise self._gone(error) from error
        for said in heard:
            if said.word == "AB" or (said.word == "AT" and said.words[:1] == ("00",)):
                self._suspect_restart()
            elif said.word == "AT":
                self._timer = None  # the car paused or went on: the charge timer may begin anew
        return heard

    def _write(self, line: bytes) -> None:
        if self._port is None:
            raise DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, f"{self._section.port} is not open")
        try:
            self._port.write(line)
        except OSError as error:
            raise self._gone(error) from error

    def _open(self) -> None:
        if self._port is not None:
            return
        now = time.monotonic()
        if now < self._reopen_at:
            raise DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, f"{self._section.port} is gone; next try soon")
        try:
            self._port = serial.Serial(
                self._section.port, self._section.baud_rate, timeout=READ_SLICE_S, write_timeout=REPLY_TIMEOUT_S, exclusive=True
            )
        except (OSError, ValueError, termios.error) as error:
            self._reopen_at = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, REOPEN_LAST_S)
            reason = f"{self._section.port} cannot be opened; check adapter, cable and permissions ({error})"
            raise DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, reason) from error
        self._pause_s, self._receiver = REOPEN_FIRST_S, rapi.Receiver()
        self._suspect_restart()

    def _gone(self, error: OSError) -> DeviceUnavailable:
        self._shut()
        return DeviceUnavailable(self._device, ModbusFaultKind.PORT.value, f"{self._section.port} was lost ({error})")

    def _shut(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None
        self._suspect_restart()
