"""The SunSpec model chain: where on this device a model is. PURE but for the reads it is given.

Source: SunSpec Device Information Model Specification V1.1, section 6: the mark "SunS" at register 40000, 50000 or 0,
then models as ID, length (registers after the header), data; the ID 0xFFFF ends the chain.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from drivers.meters.bus import ModbusFault
from drivers.meters.profile import Point, SunSpec
from terminal_app.errors import ModbusFaultKind

MARK = (0x5375, 0x6E53)  # "SunS"
END = 0xFFFF
MOST_MODELS = 64
CONFIRMED_SIZE = 4

Read = Callable[[int, int], tuple[int, ...]]  # address, count -> words; ModbusFault


class Header(NamedTuple):
    """A model on the device: `addr` of its ID register, `length` in registers after ID and length."""

    model: int
    addr: int
    length: int


class NotSunSpec(Exception):
    """The device has no chain at any start address, or the wanted model is not in it. Caught by the meter driver."""


def walk(read: Read, start: Collection[int], enough: Callable[[list[Header]], bool]) -> list[Header]:
    """The models in order, until `enough` says so or the chain ends. NotSunSpec; ModbusFault if the line fails."""
    for first in start:
        try:
            if read(first, 2) != MARK:
                continue
        except ModbusFault as fault:
            if fault.kind is ModbusFaultKind.EXCEPTION:
                continue
            raise
        return _models(read, first + 2, enough)
    places = ", ".join(str(one) for one in start)
    raise NotSunSpec(f'no "SunS" at register {places}: not a SunSpec device, or another unit id')


def _models(read: Read, addr: int, enough: Callable[[list[Header]], bool]) -> list[Header]:
    found: list[Header] = []
    while len(found) < MOST_MODELS and addr + 2 <= 0x10000 and not enough(found):
        try:
            model, length = read(addr, 2)
        except ModbusFault as fault:
            if fault.kind is ModbusFaultKind.EXCEPTION and found:
                break  # a chain without its end mark
            raise
        if model == END:
            break
        found.append(Header(model, addr, length))
        addr += 2 + length
    return found


def confirm(read: Read, points: dict[str, Point], wanted: SunSpec, chain: Collection[Header]) -> None:
    """Read the headers that count once more, in another length: a late answer may have passed as one of them. NotSunSpec."""
    needed = {point.model for point in points.values()} | set(wanted.models)
    for header in chain:
        if header.model in needed and read(header.addr, CONFIRMED_SIZE)[:2] != (header.model, header.length):
            raise NotSunSpec(f"model {header.model} at {header.addr} reads differently the second time")


def resolved(points: dict[str, Point], wanted: SunSpec, chain: Collection[Header]) -> dict[str, Point]:
    """The points at their places on this device; those beyond the length of a shorter model are left out. NotSunSpec."""
    headers = {one.model: one for one in reversed(list(chain))}
    own = next((headers[model] for model in wanted.models if model in headers), None)
    if own is None:
        there = ", ".join(str(one.model) for one in chain) or "none"
        raise NotSunSpec(f"none of the models {', '.join(map(str, wanted.models))} is in the chain (there: {there})")
    placed: dict[str, Point] = {}
    for name, point in points.items():
        header = own if point.model in wanted.models else headers.get(point.model or 0)
        if header is None or max(point.end, (point.sf or 0) + 1) > header.length + 2:
            continue
        sf = None if point.sf is None else header.addr + point.sf
        placed[name] = Point(
            point.name, point.fc, header.addr + point.addr, point.count, point.type, point.word_order,
            point.scale, point.nan, sf, point.alone,
        )  # fmt: skip
    return placed


def complete(wanted: SunSpec, points: dict[str, Point]) -> Callable[[list[Header]], bool]:
    """True once every model that the points need has been seen: the rest of the chain need not be read."""
    others = {point.model for point in points.values() if point.model not in wanted.models}

    def enough(chain: list[Header]) -> bool:
        seen = {one.model for one in chain}
        return bool(seen & set(wanted.models)) and others <= seen

    return enough
