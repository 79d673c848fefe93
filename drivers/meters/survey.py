"""What is on an unknown line: which line settings and unit ids answer, and which profile fits what answers there.

Only reads. Every search is bounded: `probes` gives all questions before the first is asked, so that the time can be
shown (`longest_s`). One thread; needs the line for itself. Order of the search: meters.md section 6.
"""

import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from drivers.meters import bus, decode
from drivers.meters.bus import Address, ModbusBus, ModbusFault, Question
from drivers.meters.plan import Planner
from drivers.meters.profile import Line, Point, Profile
from drivers.meters.sunspec import NotSunSpec, complete, resolved, walk
from terminal_app.errors import ModbusFaultKind

LIKELY_UNITS = (*range(1, 11), 33, 42, 105, 201)
ALL_UNITS = (*LIKELY_UNITS, *(unit for unit in range(1, 248) if unit not in LIKELY_UNITS))
USUAL_LINES = tuple((baud, parity) for baud in (9600, 19200, 38400, 115200) for parity in ("N", "E"))
PROBE_PATIENCE_S = 0.06
PROBE_QUIET_S = 0.02
OPENING_S = 0.1
PATIENCE_S, QUIET_S, MOST_SILENT = 0.4, 0.2, 2  # to identify what did answer a probe
CHARS_OF_A_PROBE = 8 + 9 + 7
PLAUSIBLE: dict[str, tuple[Decimal, Decimal]] = {
    "hz": (Decimal(45), Decimal(65)),
    "v": (Decimal(60), Decimal(500)),
    "a": (Decimal(-5000), Decimal(5000)),
    "w": (Decimal(-10_000_000), Decimal(10_000_000)),
    "wh": (Decimal(0), Decimal(10) ** 12),
}


class Probe(NamedTuple):
    """Is there anybody with this unit id at these line settings?"""

    line: Line
    unit: int

    @property
    def longest_s(self) -> float:
        return PROBE_PATIENCE_S + PROBE_QUIET_S + CHARS_OF_A_PROBE * 11 / self.line.baud


class Candidate(NamedTuple):
    """How well a profile fits. `identified`: all its identify rules hold; `fits` of `points` are readable and plausible."""

    profile: Profile
    identified: bool
    fits: int
    points: int
    serial: str
    reason: str  # why it is not the model, or ""

    @property
    def rank(self) -> tuple[bool, Decimal, int]:
        return self.identified, Decimal(self.fits) / max(self.points, 1), self.fits


def lines_of(profiles: Iterable[Profile]) -> list[Line]:
    """Line settings worth trying: how the models leave the factory, most common first, then the usual ones."""
    counted: dict[tuple[int, str, int], int] = {}
    for one in profiles:
        key = (one.line.baud, one.line.parity, one.line.stop)
        counted[key] = counted.get(key, 0) + 1
    known = sorted(counted, key=lambda key: -counted[key])
    usual = [(baud, parity, 1) for baud, parity in USUAL_LINES if (baud, parity, 1) not in counted]
    return [Line(baud, parity, stop) for baud, parity, stop in (*known, *usual)]  # type: ignore[arg-type]


def probes(lines: Iterable[Line], units: Iterable[int]) -> list[Probe]:
    """Every question of a scan, in order."""
    units = tuple(units)
    return [Probe(line, unit) for line in lines for unit in units]


def longest_s(asked: Iterable[Probe]) -> float:
    """How long a scan takes if nobody answers."""
    asked = list(asked)
    return sum(one.longest_s for one in asked) + OPENING_S * len({one.line for one in asked})


def at(base: Address, line: Line) -> Address:
    """The same port with other line settings."""
    return base._replace(baud=line.baud, parity=line.parity, stop=line.stop)


def scan(base: Address, asked: Iterable[Probe]) -> Iterator[tuple[Probe, bool]]:
    """Ask each probe; True if a device answered (a refusal is an answer). ModbusFault if the port cannot be opened at all.

    The settings of the first answer are those of the line: the others are left out then, as are settings that this port
    cannot do.
    """
    line: ModbusBus | None = None
    refused: ModbusFault | None = None
    settled: Line | None = None
    opened = False
    unable: set[Line] = set()
    try:
        for probe in asked:
            if probe.line in unable or settled not in (None, probe.line):
                continue
            if line is None or line.address != at(base, probe.line):
                if line is not None:
                    line.close()
                line = ModbusBus(at(base, probe.line))
            try:
                answered = _answers(line, probe)
            except ModbusFault as fault:
                unable.add(probe.line)
                refused = fault
                continue
            opened = True
            settled = probe.line if answered else settled
            yield probe, answered
    finally:
        if line is not None:
            line.close()
    if refused is not None and not opened:
        raise refused


def _answers(line: ModbusBus, probe: Probe) -> bool:
    question = Question(probe.unit, bus.READ_INPUT, 0, 2, probe.longest_s, PROBE_QUIET_S, PROBE_QUIET_S)
    try:
        line.ask(question, time.monotonic() + 5)
    except ModbusFault as fault:
        if fault.kind is ModbusFaultKind.PORT:
            raise
        return fault.kind is ModbusFaultKind.EXCEPTION
    return True


class Identification:
    """One device: what it answered is kept, so that many profiles cost few questions."""

    def __init__(self, line: ModbusBus, unit: int) -> None:
        self._line, self._unit = line, unit
        self._known: dict[tuple[int, int, int], tuple[int, ...] | None] = {}
        self._silent = 0

    def candidates(self, profiles: Iterable[Profile]) -> Iterator[Candidate]:
        """How each profile fits, in the order given. ModbusFault if the port is lost."""
        for profile in profiles:
            yield self._tried(profile)

    def _tried(self, profile: Profile) -> Candidate:
        self._silent = 0
        wanted = profile.sunspec
        points = profile.points
        if wanted is not None:
            try:
                chain = walk(lambda addr, size: self._asked(profile, 3, addr, size), wanted.start, complete(wanted, points))
                points = resolved(points, wanted, chain)
            except NotSunSpec as error:
                return Candidate(profile, False, 0, len(points), "", str(error))
            except ModbusFault as fault:
                return Candidate(profile, False, 0, len(points), "", fault.reason)
        first = {profile.billing.register, "serial", *(rule.point for rule in profile.identify)}
        values = self._values(profile, {name: point for name, point in points.items() if name in first})
        reason = self._reason(profile, values)
        if reason:
            return Candidate(profile, False, 0, len(profile.points), "", reason)
        values |= self._values(profile, {name: point for name, point in points.items() if name not in first})
        serial = values.get("serial", "")
        serial = serial if isinstance(serial, str) else f"{serial:f}"
        fits = sum(1 for name, value in values.items() if _plausible(name, value))
        return Candidate(profile, True, fits, len(profile.points), serial, "")

    def _values(self, profile: Profile, points: dict[str, Point]) -> dict[str, Decimal | str]:
        values: dict[str, Decimal | str] = {}
        for name, found in self._words(profile, points).items():
            try:
                values[name] = points[name].value(found)
            except decode.NoReading:
                continue
        return values

    def _reason(self, profile: Profile, values: dict[str, Decimal | str]) -> str:
        billed = values.get(profile.billing.register)
        if not isinstance(billed, Decimal) or not _plausible("wh", billed):
            return f"{profile.billing.register} gives no plausible value"
        if "serial" in profile.points and "serial" not in values:
            return "serial gives no value"
        for rule in profile.identify:
            value = values.get(rule.point)
            if not isinstance(value, Decimal):
                return f"{rule.point} gives no value"
            scaled = value * (rule.alt_scale or 1)
            if not (rule.min <= value <= rule.max or rule.min <= scaled <= rule.max):
                return f"{rule.point} is {value:f}, not {rule.min} to {rule.max}"
        return ""

    def _words(self, profile: Profile, points: dict[str, Point]) -> dict[str, tuple[int, ...]]:
        places = {place.name: place for point in points.values() for place in point.registers()}
        planner = Planner(profile.bus)
        words: dict[str, tuple[int, ...]] = {}
        given_up: set[str] = set()
        while missing := [place for name, place in places.items() if name not in words and name not in given_up]:
            block = planner.blocks(missing)[0]
            try:
                answer = self._asked(profile, block.fc, block.addr, block.size)
            except ModbusFault:
                if not planner.refused(block):
                    given_up |= {place.name for place in block.points}
                continue
            for place in block.points:
                words[place.name] = answer[place.addr - block.addr :][: place.count]
        return {
            name: tuple(word for place in point.registers() for word in words[place.name])
            for name, point in points.items()
            if all(place.name in words for place in point.registers())
        }

    def _asked(self, profile: Profile, fc: int, addr: int, size: int) -> tuple[int, ...]:
        """As the device answered before, or now. A device that stays silent twice is asked no more by this profile."""
        key = (fc, addr, size)
        if key not in self._known and self._silent < MOST_SILENT:
            question = Question(self._unit, fc, addr, size, PATIENCE_S, profile.bus.gap_ms / 1000, QUIET_S)
            try:
                self._known[key] = self._line.ask(question, time.monotonic() + 5)
            except ModbusFault as fault:
                if fault.kind is ModbusFaultKind.PORT:
                    raise
                self._silent += fault.kind is not ModbusFaultKind.EXCEPTION
                self._known[key] = None
        answer = self._known.get(key)
        if answer is None:
            raise ModbusFault(ModbusFaultKind.EXCEPTION, f"unit {self._unit} FC{fc} 0x{addr:04X}+{size} is refused", 2)
        return answer


def _plausible(name: str, value: Decimal | str) -> bool:
    if isinstance(value, str):
        return bool(value)
    low, high = PLAUSIBLE.get(name.rpartition("_")[2], (Decimal(0), Decimal(10) ** 12))
    return low <= value <= high


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Best first; only those that can be the model."""
    return sorted((one for one in candidates if one.identified), key=lambda one: one.rank, reverse=True)
