"""Any Modbus meter that a profile describes (`EnergyMeter`). The profile is the model; here is only the order of reading.

Starting never fails for a missing port: `read` says DeviceUnavailable until the port is there, then works by itself.
Only a wrong profile or line setting stops the start (ConfigError).
"""

import time
from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, Decimal
from functools import partial
from pathlib import Path

from drivers.meters import bus, decode, profile, sunspec
from drivers.meters.plan import Block, Planner
from drivers.meters.profile import Point
from terminal_app.config import MeterSection
from terminal_app.errors import ConfigError, DeviceMisread, DeviceUnavailable, ModbusFaultKind
from terminal_app.ports import Clock
from terminal_app.values import MeterIdentity, MeterValue, Stamp

READ_LIMIT_S = 2.0
IDENTITY_LIMIT_S = 3.0
SERIAL_AGE_MS = 10_000  # nobody changes a meter faster; after any fault the serial number is read again at once
MAX_ENERGY_WH = 10**13
MAX_POWER_W = 10**8
ATTEMPTS = 2
NO_READING = "no_reading"  # the register carries the maker's mark for "no value": an answer, but none to bill by
BUSY_CODES = (5, 6)  # acknowledge, device busy: the only exceptions worth asking again for
REFUSED_CODES = (2, 3)  # illegal address, illegal value: the block may be too long or cross a hole


def _whole_step(billed: Point, words: dict[str, tuple[int, ...]]) -> int:
    """Wh from the present value of a register to the next one it can show; at least 1."""
    return max(1, int(billed.step(words[billed.name]).to_integral_value(ROUND_CEILING)))


def _undated(block: Block) -> None:
    """For reads whose moment nobody needs."""


class ModbusMeter:
    """One meter on a shared line. One thread per object; several objects may share a port."""

    def __init__(
        self, section: MeterSection, device_name: str, clock: Clock, overrides_dir: Path | None = profile.OVERRIDES_DIR
    ) -> None:
        self.profile = profile.load(section.profile, overrides_dir)
        self._device = device_name
        self._clock = clock
        self._unit = section.unit
        self._planner = Planner(self.profile.bus)
        self._serial = ""
        self._serial_at: Stamp | None = None
        self.step_wh = 0  # of the billed register at its last value; 0 = not read yet
        self._placed: dict[str, Point] = {}  # the points at their addresses on this device
        line = self.profile.line
        address = bus.Address(
            port=section.port,
            baud=section.baud_rate or line.baud,
            parity=section.parity or line.parity,
            stop=section.stop_bits or line.stop,
            host=section.host,
            tcp_port=section.tcp_port,
            rtu=bool(section.port) or section.framing == "rtu",
        )
        try:
            self._bus = bus.shared(address)
        except ValueError as error:
            raise ConfigError("terminal.toml", f"[{device_name}] port", str(error)) from error

    # --- EnergyMeter -------------------------------------------------------------------------------------------------

    def identity(self) -> MeterIdentity:
        """Reads serial number, identify points and the billed register. Blocks up to 3 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + IDENTITY_LIMIT_S
        self._serial_at = None
        self._read_serial(deadline)
        points = self._points(deadline)
        billed = points[self.profile.billing.register]
        rules = [rule for rule in self.profile.identify if rule.point in points]  # a short SunSpec model has fewer points
        words = self._words([billed, *(points[rule.point] for rule in rules)], deadline)
        for rule in rules:
            value = self._number(points[rule.point], words)
            scaled = value if rule.alt_scale is None else value * rule.alt_scale
            if not (rule.min <= value <= rule.max or rule.min <= scaled <= rule.max):
                reason = f"is not a {self.profile.model}: {rule.point} is {value:f}, expected {rule.min} to {rule.max}"
                raise self._misread(reason)
        self._number(billed, words)  # no identity from a register without a value
        return MeterIdentity(
            vendor=self.profile.vendor,
            model=self.profile.model,
            serial=self._serial,
            resolution_wh=_whole_step(billed, words),
            profile_sha256=self.profile.sha256,
            wraps_at_wh=self.profile.billing.wraps_at,
        )

    def read(self) -> MeterValue:
        """Billed register (nearest Wh) and power (nearest W), stamped before they were asked for. Blocks up to 2 s.

        The serial number is the one read within the last 10 s, and always one read after the last fault.
        DeviceUnavailable (port, timeout, exception), DeviceMisread (mismatch: foreign answer, NaN, impossible value).
        """
        deadline = time.monotonic() + READ_LIMIT_S
        now = self._clock.now()
        if self._serial_at is None or not 0 <= now.mono_ms - self._serial_at.mono_ms < SERIAL_AGE_MS:
            self._read_serial(deadline)
        points = self._points(deadline)
        billed, power = points[self.profile.billing.register], points["power_w"]
        stamps: dict[str, Stamp] = {}

        def dated(block: Block) -> None:
            stamps.update(dict.fromkeys((point.name for point in block.points), self._clock.now()))

        words = self._words([billed, power], deadline, dated)
        energy_wh = decode.whole(self._number(billed, words))
        power_w = decode.whole(self._number(power, words))
        if not 0 <= energy_wh <= MAX_ENERGY_WH:
            raise self._misread(f"{billed.name} is {energy_wh} Wh, which no meter can show")
        if abs(power_w) > MAX_POWER_W:
            raise self._misread(f"power_w is {power_w} W, which is impossible")
        self.step_wh = _whole_step(billed, words)
        raw = " ".join(f"{one.fc}:{one.addr:04X}={decode.hexadecimal(words[one.name])}" for one in (billed, power))
        return MeterValue(energy_wh=energy_wh, power_w=power_w, serial=self._serial, stamp=stamps[billed.name], raw=raw)

    def close(self) -> None:
        """Give the line back; the last meter of a port closes it. Not to be used afterwards."""
        bus.release(self._bus)

    # --- for the technician ------------------------------------------------------------------------------------------

    def points(self, names: Iterable[str]) -> dict[str, Decimal | str]:
        """Exact values of any points of the profile. Blocks up to 3 s. DeviceUnavailable, DeviceMisread; KeyError."""
        deadline = time.monotonic() + IDENTITY_LIMIT_S
        placed = self._points(deadline)
        wanted = [placed[name] for name in names]
        words = self._words(wanted, deadline)
        return {point.name: self._value(point, words) for point in wanted}

    def shown(self) -> dict[str, Decimal | str]:
        """Every point that has a reading now. Blocks up to 3 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + IDENTITY_LIMIT_S
        placed = self._points(deadline)
        found: dict[str, Decimal | str] = {}
        for name, words in self._words(list(placed.values()), deadline).items():
            try:
                found[name] = placed[name].value(words)
            except decode.NoReading:
                continue
        return found

    # --- reading -----------------------------------------------------------------------------------------------------

    def _points(self, deadline: float) -> dict[str, Point]:
        """Where the points are on this device: as the profile says, or found along the SunSpec chain (again after a fault)."""
        wanted = self.profile.sunspec
        if not self._placed and wanted is None:
            self._placed = self.profile.points
        elif not self._placed and wanted is not None:
            try:
                points = self.profile.points
                read = partial(self._chain_words, deadline)
                chain = sunspec.walk(read, wanted.start, sunspec.complete(wanted, points))
                placed = sunspec.resolved(points, wanted, chain)
                sunspec.confirm(read, points, wanted, chain)
            except bus.ModbusFault as fault:
                raise self._unavailable(fault) from fault
            except sunspec.NotSunSpec as error:
                raise self._misread(str(error)) from error
            for name in (self.profile.billing.register, "power_w"):
                if name not in placed:
                    raise self._misread(f"its SunSpec model is too short for {name}")
            self._placed = placed
        return self._placed

    def _chain_words(self, deadline: float, addr: int, size: int) -> tuple[int, ...]:
        return self._ask(Block(bus.READ_HOLDING, addr, size, ()), deadline, lambda: None)

    def _read_serial(self, deadline: float) -> None:
        point = self._points(deadline).get("serial")
        if point is not None:
            value = self._value(point, self._words([point], deadline))
            self._serial = value if isinstance(value, str) else f"{value:f}"
        self._serial_at = self._clock.now()

    def _words(
        self, points: list[Point], deadline: float, sending: Callable[[Block], None] = _undated
    ) -> dict[str, tuple[int, ...]]:
        """The words of each point, the word of its scale factor last."""
        places = {place.name: place for point in points for place in point.registers()}
        words = self._registers(places, deadline, sending)
        return {point.name: tuple(word for place in point.registers() for word in words[place.name]) for point in points}

    def _registers(self, places: dict[str, Point], deadline: float, sending: Callable[[Block], None]) -> dict[str, tuple[int, ...]]:
        """The register words of each place, by as few questions as the meter stands."""
        words: dict[str, tuple[int, ...]] = {}
        failures = 0
        while missing := [point for point in places.values() if point.name not in words]:
            block = self._planner.blocks(missing)[0]
            interrupted = True
            try:
                answer = self._ask(block, deadline, partial(sending, block))
                interrupted = False
            except bus.ModbusFault as fault:
                interrupted = False
                if fault.code in REFUSED_CODES and self._planner.refused(block):
                    continue
                failures += 1
                if self._worth_asking_again(fault, block, deadline) and failures < ATTEMPTS:
                    continue
                raise self._unavailable(fault) from fault
            finally:
                if interrupted:  # by a signal: its answer may still come, the next question must have another length
                    self._planner.unanswered(block)
            failures = 0
            for point in block.points:
                start = point.addr - block.addr
                words[point.name] = answer[start : start + point.count]
        return words

    def _unavailable(self, fault: bus.ModbusFault) -> DeviceUnavailable | DeviceMisread:
        """What the port's caller hears; the meter may be another one when it is back."""
        self._forget()
        if fault.kind is ModbusFaultKind.MISMATCH:
            return self._misread(fault.reason)
        return DeviceUnavailable(self._device, fault.kind.value, fault.reason)

    def _forget(self) -> None:
        self._serial_at = None
        if self.profile.sunspec is not None:
            self._placed = {}

    def _worth_asking_again(self, fault: bus.ModbusFault, block: Block, deadline: float) -> bool:
        """Whether another attempt makes sense and still fits before the deadline."""
        unanswered = fault.kind in (ModbusFaultKind.TIMEOUT, ModbusFaultKind.MISMATCH)
        if unanswered:
            self._planner.unanswered(block)
        pace = self.profile.bus
        fits = time.monotonic() + (pace.quarantine_ms + pace.timeout_ms) / 1000 <= deadline
        return fits and (unanswered or fault.code in BUSY_CODES)

    def _ask(self, block: Block, deadline: float, sending: Callable[[], None]) -> tuple[int, ...]:
        pace = self.profile.bus
        question = bus.Question(
            unit=self._unit,
            fc=block.fc,
            addr=block.addr,
            size=block.size,
            timeout_s=pace.timeout_ms / 1000,
            gap_s=pace.gap_ms / 1000,
            quarantine_s=pace.quarantine_ms / 1000,
        )
        return self._bus.ask(question, deadline, sending)

    def _value(self, point: Point, words: dict[str, tuple[int, ...]]) -> Decimal | str:
        try:
            return point.value(words[point.name])
        except decode.NoReading as error:
            self._forget()
            raise DeviceMisread(self._device, NO_READING, f"{point.name}: {error}") from error

    def _number(self, point: Point, words: dict[str, tuple[int, ...]]) -> Decimal:
        value = self._value(point, words)
        if isinstance(value, str):
            raise self._misread(f"{point.name} is text, not a number")
        return value

    def _misread(self, reason: str) -> DeviceMisread:
        self._forget()
        return DeviceMisread(self._device, ModbusFaultKind.MISMATCH.value, reason)
