"""What meters that sign their own OCMF have in common (`SignedMeter`): writing, waiting, long texts, what was left over.

Rules for all of them. The text is passed on verbatim. A command is never repeated blindly: after an unanswered one the
device's own state says whether it was obeyed. After a lost answer nothing is believed before it was read twice alike: an
answer that comes late, even one by one for a while, cannot pass as the state of the device. `end` gives the same text
again until the next `begin`, so that a crash between reading and storing loses nothing. A measurement that is still open
at `begin` (a crash of ours, a power cut) is closed first and kept: `left_over`. Blocking times are those of the port: up
to 20 s.
"""

import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import utils

from drivers.meters import bus, profile
from drivers.meters.modbus_meter import ModbusMeter
from terminal_app.config import MeterSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable, ModbusFaultKind
from terminal_app.ports import Clock
from terminal_app.values import ClockState

LIMIT_S = 20.0
SIGNING_LIMIT_S = 15.0
POLL_S = 0.1
ATTEMPTS = 3
DOUBT_S = 20.0
AGREEING_READS = 6
MAX_WRITE = 120
MAX_READ = 100


class SigningMeter(ModbusMeter):
    """A meter of the profile's kind that signs. One thread. Subclasses: begin, end, public_key_spki."""

    read_fc = bus.READ_HOLDING

    def __init__(
        self,
        section: MeterSection,
        device_name: str,
        clock: Clock,
        overrides_dir: Path | None = profile.OVERRIDES_DIR,
        evse_id: str = "",
        offset_min: int = 0,
    ) -> None:
        """`evse_id` goes into the record as the charge point; `offset_min` is the local time's offset to UTC in it."""
        super().__init__(section, device_name, clock, overrides_dir)
        self._evse_id, self._offset_min = evse_id, offset_min
        self._session_id = ""
        self._tariff_text = ""
        self._resumed = ("", "")  # session and tariff text of a measurement that another process began
        self._left_over: bytes | None = None
        self._doubt_until = 0.0  # monotonic: an answer was lost and may still come

    def left_over(self) -> bytes | None:
        """The record of an earlier measurement that nobody fetched, once; None if there is none. Never billed by itself."""
        found, self._left_over = self._left_over, None
        return found

    def resume(self, session_id: str, tariff_text: str) -> None:
        """Whose measurement is open; believed only if this process began none itself."""
        self._resumed = (session_id, tariff_text)

    # --- registers ------------------------------------------------------------------------------------------------------

    def _get(self, addr: int, size: int, deadline: float, patience_s: float | None = None) -> tuple[int, ...]:
        """`size` registers, in pieces. A busy or silent device is asked again, a bounded number of times."""
        words: tuple[int, ...] = ()
        while len(words) < size:
            piece = min(MAX_READ, size - len(words))
            words += self._sure(partial(self._question, self.read_fc, addr + len(words), piece, (), patience_s), deadline)
        return words

    def _sure(self, question: Callable[[], bus.Question], deadline: float) -> tuple[int, ...]:
        """One read; as long as a lost answer may still come, two that agree."""
        words = self._tried(question, deadline)
        for _ in range(AGREEING_READS):
            if time.monotonic() >= self._doubt_until:
                return words
            before, words = words, self._tried(question, deadline)
            if words == before:
                return words
        raise self._misread("its answers change from one question to the next: another master, or answers that come late")

    def _put(self, addr: int, values: tuple[int, ...], deadline: float, fc: int = bus.WRITE_MANY) -> None:
        """Write data: harmless to repeat."""
        for place in range(0, len(values), MAX_WRITE):
            piece = values[place : place + MAX_WRITE]
            self._tried(partial(self._question, fc, addr + place, len(piece), piece, None), deadline)

    def _order(self, addr: int, value: int, deadline: float, fc: int = bus.WRITE_MANY) -> None:
        """Write a command, once. Unanswered is not refused: the caller looks at the device's state afterwards."""
        try:
            self._bus.ask(self._question(fc, addr, 1, (value,), None), deadline)
        except bus.ModbusFault as fault:
            self._doubt(fault)
            if fault.kind in (ModbusFaultKind.PORT, ModbusFaultKind.EXCEPTION):
                raise self._unavailable(fault) from fault

    def _tried(self, question: Callable[[], bus.Question], deadline: float) -> tuple[int, ...]:
        for attempt in range(ATTEMPTS):
            try:
                return self._bus.ask(question(), deadline)
            except bus.ModbusFault as fault:
                self._doubt(fault)
                again = fault.kind in (ModbusFaultKind.TIMEOUT, ModbusFaultKind.MISMATCH) or fault.code in (5, 6)
                if not again or attempt + 1 == ATTEMPTS or time.monotonic() > deadline:
                    raise self._unavailable(fault) from fault
        raise AssertionError("not reached")

    def _doubt(self, fault: bus.ModbusFault) -> None:
        if fault.kind in (ModbusFaultKind.TIMEOUT, ModbusFaultKind.MISMATCH):
            self._doubt_until = time.monotonic() + DOUBT_S

    def _question(self, fc: int, addr: int, size: int, values: tuple[int, ...], patience_s: float | None) -> bus.Question:
        pace = self.profile.bus
        return bus.Question(
            unit=self._unit,
            fc=fc,
            addr=addr,
            size=size,
            timeout_s=patience_s or pace.timeout_ms / 1000,
            gap_s=pace.gap_ms / 1000,
            quarantine_s=pace.quarantine_ms / 1000,
            values=values,
        )

    def _wait(self, what: str, look: Callable[[], int], done: Callable[[int], bool], limit_s: float, deadline: float) -> int:
        """Look until `done`. DeviceUnavailable (timeout) after `limit_s`."""
        until = min(deadline, time.monotonic() + limit_s)
        while not done(state := look()):
            if time.monotonic() + POLL_S >= until:
                raise DeviceUnavailable(self._device, "timeout", f"{what}: still in state {state} after {limit_s:g} s")
            time.sleep(POLL_S)
        return state

    def _text(self, addr: int, size: int, deadline: float) -> bytes:
        """ASCII text of `size` registers up to its end mark, verbatim."""
        words = self._get(addr, size, deadline)
        return struct.pack(f">{len(words)}H", *words).split(b"\0")[0]

    def _refused(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable(self._device, "refused", reason)

    def _record(self, text: bytes) -> bytes:
        """The text, if it can be an OCMF record at all. Its signature is the caller's to verify."""
        if not text.startswith(b"OCMF|{") or text.count(b"|") != 2 or not text.isascii():
            raise DeviceMisread(self._device, "mismatch", f"what it gives as OCMF is not OCMF: {text[:20]!r}")
        return text

    def _utc(self) -> tuple[int, bool]:
        """Seconds for the meter's clock, and whether they are synchronised."""
        now = self._clock.now()
        return now.utc_ms // 1000, now.clock is ClockState.SYNCHRONISED


def ascii_words(text: str, size: int) -> tuple[int, ...]:
    """Text for a field of `size` registers: ASCII (others become "?"), no pipe, cut to fit with its end mark, zeros behind it."""
    plain = text.encode("ascii", "replace").replace(b"|", b" ")[: 2 * size - 1]
    return struct.unpack(f">{size}H", plain.ljust(2 * size, b"\0"))


def minimal_der(signature: bytes) -> bytes:
    """An ECDSA DER signature with its r and s in their shortest form, as DER wants it. ValueError if it is no signature.

    Some firmware keeps leading zeros, which strict verifiers refuse; r and s themselves stay what they are.
    """
    if len(signature) < 8 or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        raise ValueError(f"{signature[:4].hex()} does not begin a DER signature")
    numbers: list[int] = []
    place = 2
    while place < len(signature):
        size = signature[place + 1] if place + 1 < len(signature) else 0
        if signature[place] != 0x02 or not 0 < size <= len(signature) - place - 2:
            raise ValueError("a DER signature is two integers")
        numbers.append(int.from_bytes(signature[place + 2 : place + 2 + size]))
        place += 2 + size
    if len(numbers) != 2:
        raise ValueError("a DER signature is two integers")
    return utils.encode_dss_signature(*numbers)
