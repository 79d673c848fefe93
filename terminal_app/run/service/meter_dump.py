"""`charge-service meter dump`: registers in all readings, and where the number on the display could be."""

import time
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from drivers.meters import interpretations
from drivers.meters.profile import Line
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.meter_line import Place, line_options, opened, place_of
from terminal_app.run.service.meter_profiles import decimal_text
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site

MOST_DUMPED = 4096
PIECE = 16
TRIES = 3
DUMP_PATIENCE_S = 0.5


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
    place = place_of(site, "meter dump", given)
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
    with opened(place, Line(9600, "N", 1)) as bus, show.progress(f"reading from {place.name}", len(pieces)) as done:

        def read(addr: int, size: int, tries: int = TRIES) -> bool:
            """False if the device refuses it. A lost answer is no refusal: asked again, for nothing may be left out unsaid."""
            nonlocal answered
            question = Question(unit, fc, addr, size, DUMP_PATIENCE_S, 0.02, 0.2)
            try:
                words.update(enumerate(bus.ask(question, time.monotonic() + 5), addr))
            except ModbusFault as fault:
                answered = answered or fault.kind is ModbusFaultKind.EXCEPTION
                if fault.kind is ModbusFaultKind.PORT or not answered:
                    raise ServiceTrouble(fault.reason) from fault
                if fault.kind is not ModbusFaultKind.EXCEPTION and tries > 1:
                    return read(addr, size, tries - 1)
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


COMMANDS = (dump,)
