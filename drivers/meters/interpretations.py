"""Unknown registers in all readings, and which of them could be the number on the meter's display. PURE.

For the technician who adds a meter: `charge-service meter dump`.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from drivers.meters import decode
from drivers.meters.decode import WordOrder, WordType

TRIED: tuple[WordType, ...] = ("f32", "i32", "u32", "i64", "u64", "f64", "i16", "u16", "iskra-t6", "iskra-t5")
SCALES = tuple(Decimal(10) ** power for power in (0, -1, -2, -3, 1, 2, 3))
SIGNIFICANT = Decimal(100)  # below this many steps of the raw register, a match says nothing


class Reading(NamedTuple):
    """The words at `addr` taken as one type."""

    addr: int
    type: WordType
    order: WordOrder
    value: Decimal


class Match(NamedTuple):
    """This reading times `scale` is what the display shows."""

    reading: Reading
    scale: Decimal

    def line(self, point: str, to_unit: Decimal) -> str:
        """The line for [points]: `to_unit` leads from the display's unit to the point's (1000: kWh shown, Wh wanted)."""
        scale = _short(self.scale * to_unit)
        order = f', word_order = "{self.reading.order}"' if decode.WIDTH[self.reading.type] > 1 else ""
        return f'{point} = {{ addr = 0x{self.reading.addr:02X}, type = "{self.reading.type}"{order}, scale = {scale} }}'


def readings(words: Mapping[int, int], addr: int) -> list[Reading]:
    """All readings that begin at `addr`; those that are no number are left out."""
    found: list[Reading] = []
    for kind in TRIED:
        width = decode.WIDTH[kind]
        if any(place not in words for place in range(addr, addr + width)):
            continue
        own = tuple(words[place] for place in range(addr, addr + width))
        orders: tuple[WordOrder, ...] = ("big", "little") if width > 1 and not kind.startswith("iskra") else ("big",)
        for order in orders:
            try:
                found.append(Reading(addr, kind, order, decode.number(own, kind, order, Decimal(1))))
            except decode.NoReading:
                continue
    return found


def matches(words: Mapping[int, int], shown: Decimal) -> list[Match]:
    """What could be the shown number, most convincing first: rounded or cut to the digits of the display it is equal."""
    exponent = shown.as_tuple().exponent
    digit = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    found: list[tuple[tuple[Decimal, int, int, int], Match]] = []
    for addr in sorted(words):
        for reading in readings(words, addr):
            for order, scale in enumerate(SCALES):
                value = reading.value * scale
                if abs(value - shown) >= digit or abs(value) > Decimal(10) ** 13:
                    continue
                rounded = value.quantize(digit, ROUND_HALF_UP) == shown
                width = decode.WIDTH[reading.type]
                raw = abs(reading.value) if reading.type[0] != "f" else SIGNIFICANT
                key = (Decimal(raw < SIGNIFICANT), 0 if rounded else 1, abs(width - 2), order)
                found.append((key, Match(reading, scale)))
    return [match for _, match in sorted(found, key=lambda one: one[0])]


def _short(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
