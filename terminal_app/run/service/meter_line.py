"""`charge-service meter scan | identify | watch | dump`: a line with unknown or new meters. Only reads registers."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
from rich.live import Live

from drivers.meters import interpretations, profile
from drivers.meters.profile import Line, Profile
from terminal_app.config import MeterSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.meter_profiles import decimal_text, loaded
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site

WATCH_S = 1.0
MOST_DUMPED = 4096
PIECE = 16
DUMP_PATIENCE_S = 0.5


@dataclass(frozen=True)
class Place:
    """A line as given on the command line: port or host, and settings where given."""

    port: str
    host: str
    tcp_port: int
    framing: str
    baud: int | None
    parity: str | None
    stop: int | None

    @property
    def name(self) -> str:
        return self.port or f"{self.host}:{self.tcp_port}"


def line_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--port or --host, and the line settings."""
    for option in reversed(
        (
            click.option("--port", default="", help="Serial port, e.g. /dev/serial/by-path/..."),
            click.option("--host", default="", help="Modbus TCP host, instead of --port."),
            click.option("--tcp-port", type=click.IntRange(1, 65535), default=502, show_default=True),
            click.option("--framing", type=click.Choice(["tcp", "rtu"]), default="tcp", help="With --host: rtu = serial server."),
            click.option("--baud", type=int, help="Only this speed."),
            click.option("--parity", type=click.Choice(["N", "E", "O"]), help="Only this parity."),
            click.option("--stop", type=click.IntRange(1, 2), help="Stop bits."),
        )
    ):
        command = option(command)
    return command


def _place(site: Site, what: str, given: dict[str, Any]) -> Place:
    place = Place(**{name: given[name] for name in ("port", "host", "tcp_port", "framing", "baud", "parity", "stop")})
    if bool(place.port) == bool(place.host):
        raise click.UsageError("give either --port (serial) or --host (Modbus TCP)")
    if place.port and not Path(place.port).exists():
        raise ServiceTrouble(f"{place.port} is not there; names of serial ports: ls -l /dev/serial/by-path")
    if site.path.exists():
        site.claim_devices(what)  # never beside a core that uses the line
    return place


def _address(place: Place, line: Line) -> Any:
    from drivers.meters.bus import Address

    return Address(
        port=place.port,
        baud=place.baud or line.baud,
        parity=place.parity or line.parity,
        stop=place.stop or line.stop,
        host=place.host,
        tcp_port=place.tcp_port,
        rtu=bool(place.port) or place.framing == "rtu",
    )


@contextmanager
def _bus(place: Place, line: Line) -> Iterator[Any]:
    from drivers.meters.bus import ModbusBus

    bus = ModbusBus(_address(place, line))
    try:
        yield bus
    finally:
        bus.close()


def _known_profiles() -> list[Profile]:
    own = [file.stem for file in profile.OVERRIDES_DIR.glob("*.toml")] if profile.OVERRIDES_DIR.is_dir() else []
    return [profile.load(name) for name in sorted({*profile.packaged(), *own})]


# --- scan, identify ---------------------------------------------------------------------------------------------------


@click.command()
@line_options
@click.option("--unit", type=click.IntRange(1, 247), multiple=True, help="Only these unit ids.")
@click.option("--all-units", is_flag=True, help="Unit ids 1 to 247, not only the usual ones.")
@click.option("--dry-run", is_flag=True, help="Only say what would be tried and how long it takes at most.")
@json_option
@click.pass_obj
def scan(site: Site, /, unit: tuple[int, ...], all_units: bool, dry_run: bool, **given: Any) -> int:
    """Find meters: tries line settings and unit ids in a bounded time, then ranks the profiles that fit."""
    from drivers.meters import survey

    place = _place(site, "meter scan", given)
    known = _known_profiles()
    lines = [Line(9600, "N", 1)] if place.host else survey.lines_of(known)
    lines = _chosen(lines, place)
    asked = survey.probes(lines, unit or (survey.ALL_UNITS if all_units else survey.LIKELY_UNITS))
    limit_s = math.ceil(survey.longest_s(asked))
    if dry_run:
        body = {"line": place.name, "settings": [_setting(line) for line in lines], "probes": len(asked), "at_most_s": limit_s}
        show.as_json(body) if site.as_json else show.console().print(show.facts(body.items()))
        return show.OK
    if not site.as_json:
        show.console().print(f"{len(lines)} line settings, {len(asked)} questions: at most {limit_s} s, less if a meter is found.")
    found = [_identified(place, probe.line, probe.unit, known) for probe in _answering(place, asked)]
    return _told(site, found, f"nothing answered on {place.name}: check power, A/B wires, termination, and try --all-units")


def _chosen(lines: list[Line], place: Place) -> list[Line]:
    """Those settings that agree with what was given; what was given is tried in any case."""
    if place.host:
        return lines
    fits = [
        line
        for line in lines
        if place.baud in (None, line.baud) and place.parity in (None, line.parity) and place.stop in (None, line.stop)
    ]
    if fits:
        return fits
    return [Line(place.baud or 9600, place.parity or "N", place.stop or 1)]  # type: ignore[arg-type]


def _setting(line: Line) -> str:
    return f"{line.baud} 8{line.parity}{line.stop}"


def _answering(place: Place, asked: list[Any]) -> list[Any]:
    """The probes that were answered. After the first hit the other settings are left: one line has one setting."""
    from drivers.meters import survey
    from drivers.meters.bus import ModbusFault

    hits: list[Any] = []
    with show.progress(f"asking on {place.name}", len(asked)) as done:
        try:
            for number, (probe, answered) in enumerate(survey.scan(_address(place, asked[0].line), asked), 1):
                done(number)
                if answered:
                    hits.append(probe)
        except ModbusFault as fault:
            raise ServiceTrouble(fault.reason) from fault
    return hits


@click.command()
@line_options
@click.option("--unit", type=click.IntRange(1, 247), default=1, show_default=True)
@json_option
@click.pass_obj
def identify(site: Site, /, unit: int, **given: Any) -> int:
    """Which profiles fit the meter with this unit id at these line settings (default 9600 8N1)."""
    place = _place(site, "meter identify", given)
    found = _identified(place, Line(9600, "N", 1), unit, _known_profiles())
    return _told(site, [found], f"unit {unit} on {place.name} does not answer, or no profile fits")


def _identified(place: Place, line: Line, unit: int, known: list[Profile]) -> dict[str, Any]:
    from drivers.meters import survey
    from drivers.meters.bus import ModbusFault

    candidates = []
    with _bus(place, line) as bus, show.progress(f"comparing unit {unit} with the profiles", len(known)) as done:
        try:
            for number, one in enumerate(survey.Identification(bus, unit).candidates(known), 1):
                candidates.append(one)
                done(number)
        except ModbusFault as fault:
            raise ServiceTrouble(fault.reason) from fault
        address = bus.address
    return {
        "unit": unit,
        "line": place.name,
        "setting": "tcp" if place.host else f"{address.baud} 8{address.parity}{address.stop}",
        "candidates": [
            {
                "profile": one.profile.name,
                "model": f"{one.profile.vendor} {one.profile.model}",
                "fits": one.fits,
                "points": one.points,
                "serial": one.serial,
            }
            for one in survey.ranked(candidates)
        ],
    }


def _told(site: Site, found: list[dict[str, Any]], nothing: str) -> int:
    if site.as_json:
        show.as_json(found)
    elif not found or not any(one["candidates"] for one in found):
        for one in found:
            show.console().print(f"unit {one['unit']} at {one['setting']} answers, but no profile fits: see meter dump, meter new")
        if not found:
            raise ServiceTrouble(nothing)
    else:
        rows = [
            (one["unit"], one["setting"], rank, fit["profile"], fit["model"], f"{fit['fits']}/{fit['points']}", fit["serial"])
            for one in found
            for rank, fit in enumerate(one["candidates"], 1)
        ]
        columns = ("unit", "setting", "rank", "profile", "model", "points", "serial")
        show.console().print(show.table(columns, rows, right=("unit", "rank", "points")))
    if not found:
        return show.FAULT
    return show.OK if all(one["candidates"] for one in found) else show.WARNING


# --- watch ------------------------------------------------------------------------------------------------------------


@click.command()
@line_options
@click.option("--profile", "--model", "name", required=True, help="A model's name or a profile's file.")
@click.option("--unit", type=click.IntRange(1, 247), help="As the profile says unless given.")
@click.option("--count", type=click.IntRange(1), help="So many times, then end.")
@json_option
@click.pass_obj
def watch(site: Site, /, name: str, unit: int | None, count: int | None, **given: Any) -> int:
    """Every point of one meter each second: value, step of the register, time of the answer, errors. Ends with Ctrl-C."""
    from drivers.meters.modbus_meter import ModbusMeter
    from drivers.system import SystemClock

    place, one = _place(site, "meter watch", given), loaded(name)
    section = MeterSection(
        profile=one.name if "/" not in name and not name.endswith(".toml") else str(Path(name).absolute()),
        unit=unit or one.line.unit,
        port=place.port,
        host=place.host,
        tcp_port=place.tcp_port,
        framing=place.framing,  # type: ignore[arg-type]
        baud_rate=place.baud,  # type: ignore[arg-type]
        parity=place.parity,  # type: ignore[arg-type]
        stop_bits=place.stop,  # type: ignore[arg-type]
    )
    meter = ModbusMeter(section, f"meter at {place.name}", SystemClock())
    state = {"errors": 0, "looks": 0}
    try:
        if site.as_json:
            for row in _looks(meter, state, count):
                show.as_json_line(row)
        else:
            with Live(console=show.console(), auto_refresh=False) as live:
                for row in _looks(meter, state, count):
                    live.update(_seen(row, one), refresh=True)
    finally:
        meter.close()
    return show.FAULT if state["errors"] == state["looks"] else show.WARNING if state["errors"] else show.OK


def _looks(meter: Any, state: dict[str, int], count: int | None) -> Iterator[dict[str, Any]]:
    while True:
        began = time.monotonic()
        row: dict[str, Any] = {"values": {}, "resolution_wh": None, "trouble": ""}
        try:
            row["values"] = {name: decimal_text(value) for name, value in meter.shown().items()}
            row["latency_ms"] = int((time.monotonic() - began) * 1000)
            row["resolution_wh"] = meter.identity().resolution_wh
        except (DeviceUnavailable, DeviceMisread) as error:
            row["latency_ms"] = int((time.monotonic() - began) * 1000)
            row["trouble"] = f"{error.kind}: {error.reason}"
        state["looks"] += 1
        state["errors"] += bool(row["trouble"])
        yield row | state
        if count is not None and state["looks"] >= count:
            return
        time.sleep(WATCH_S)


def _seen(row: dict[str, Any], one: Profile) -> Any:
    pairs = [(name, f"{value} {one.points[name].unit}".strip()) for name, value in row["values"].items()]
    pairs.append(("step of the register", "-" if row["resolution_wh"] is None else f"{row['resolution_wh']} Wh"))
    pairs.append(("answered in", f"{row['latency_ms']} ms"))
    pairs.append(("errors", f"{row['errors']} of {row['looks']} {row['trouble']}".strip()))
    return show.facts(pairs)


# --- dump -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("area")
@line_options
@click.option("--unit", type=click.IntRange(1, 247), default=1, show_default=True)
@click.option("--fc", type=click.Choice(["3", "4"]), default="4", show_default=True, help="3 = holding, 4 = input registers.")
@click.option("--shown", help="What the meter's display shows now, e.g. 1234.5: proposes where it is.")
@click.option("--point", default="energy_import_wh", show_default=True, help="With --shown: the point this is (display in kWh).")
@json_option
@click.pass_obj
def dump(site: Site, /, area: str, unit: int, fc: str, shown: str | None, point: str, **given: Any) -> int:
    """Registers AREA (0x0-0x60) in all readings; with --shown, what could be the displayed number, as a profile line."""
    first, last = _area(area)
    number = _number(shown)
    place = _place(site, "meter dump", given)
    words = _dumped(place, unit, int(fc), first, last)
    to_unit = Decimal(1000) if point.endswith("_wh") else Decimal(1)
    proposed = [] if number is None else [one.line(point, to_unit) for one in interpretations.matches(words, number)[:8]]
    rows = [_readings(words, addr) for addr in sorted(words)]
    if site.as_json:
        show.as_json({"fc": int(fc), "unit": unit, "registers": rows, "proposed": proposed})
    else:
        columns = ("addr", "word", "u16", "i16", "u32", "u32 little", "i32", "f32", "f32 little", "text")
        show.console().print(show.table(columns, ([row.get(name, "") for name in columns] for row in rows), right=columns[1:-1]))
        for line in proposed:
            show.console().print(line, markup=False)
        if number is not None and not proposed:
            show.console().print(f"nothing in this area can be {shown}; try the other function code, or another area")
    if not words:
        raise ServiceTrouble(f"unit {unit} on {place.name} shows none of these registers with function code {fc}")
    return show.WARNING if number is not None and not proposed else show.OK


def _area(text: str) -> tuple[int, int]:
    try:
        first, _, last = text.partition("-")
        found = int(first, 0), int(last or first, 0)
    except ValueError:
        raise click.UsageError(f"AREA: {text!r} is not registers such as 0x0-0x60") from None
    if not 0 <= found[0] <= found[1] <= 0xFFFF or found[1] - found[0] >= MOST_DUMPED:
        raise click.UsageError(f"AREA: {text!r}: 0x0 to 0xFFFF, at most {MOST_DUMPED} registers")
    return found


def _number(shown: str | None) -> Decimal | None:
    if shown is None:
        return None
    try:
        found = Decimal(shown)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise click.UsageError(f"--shown: {shown!r} is not a number such as 1234.5")
    return found


def _dumped(place: Place, unit: int, fc: int, first: int, last: int) -> dict[int, int]:
    """The words that can be read; a refused piece is read register by register."""
    from drivers.meters.bus import ModbusFault, Question
    from terminal_app.errors import ModbusFaultKind

    words: dict[int, int] = {}
    pieces = [(addr, min(PIECE, last + 1 - addr)) for addr in range(first, last + 1, PIECE)]
    answered = False
    with _bus(place, Line(9600, "N", 1)) as bus, show.progress(f"reading from {place.name}", len(pieces)) as done:

        def read(addr: int, size: int) -> bool:
            nonlocal answered
            question = Question(unit, fc, addr, size, DUMP_PATIENCE_S, 0.02, 0.2)
            try:
                words.update(enumerate(bus.ask(question, time.monotonic() + 5), addr))
            except ModbusFault as fault:
                answered = answered or fault.kind is ModbusFaultKind.EXCEPTION
                if fault.kind is ModbusFaultKind.PORT or not answered:
                    raise ServiceTrouble(fault.reason) from fault
                return False
            answered = True
            return True

        for number, (addr, size) in enumerate(pieces, 1):
            if not read(addr, size):
                pairs = [read(one, 2) for one in range(addr, addr + size - 1, 2)]
                if not any(pairs):
                    for one in range(addr, addr + size):
                        read(one, 1)
            done(number)
    return words


def _readings(words: dict[int, int], addr: int) -> dict[str, Any]:
    row: dict[str, Any] = {"addr": f"0x{addr:04X}", "word": f"{words[addr]:04X}"}
    for one in interpretations.readings(words, addr):
        name = one.type if one.order == "big" else f"{one.type} little"
        row[name] = f"{one.value:.6g}" if one.type[0] == "f" else decimal_text(one.value)
    letters = bytes(divmod(words[addr], 256))
    row["text"] = "".join(chr(letter) if 0x20 <= letter < 0x7F else "." for letter in letters)
    return row


COMMANDS = (scan, identify, watch, dump)
