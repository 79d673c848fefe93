"""Register words to exact values, and how fine a register is at its present value. PURE.

Nothing is rounded on the way: a float32 is taken for the exact binary fraction it is. Source of the types: meters.md section 2.
"""

import struct
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

WordType = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "str", "iskra-t5", "iskra-t6"]
WordOrder = Literal["big", "little"]
NanRule = Literal["none", "max", "sunspec"]

# iskra-t5, iskra-t6: signed decade exponent in the high byte, 24 bits unsigned (t5) or signed (t6) below it
WIDTH: dict[str, int] = {
    "u16": 1,
    "i16": 1,
    "u32": 2,
    "i32": 2,
    "u64": 4,
    "i64": 4,
    "f32": 2,
    "f64": 4,
    "iskra-t5": 2,
    "iskra-t6": 2,
}
MAX_EXPONENT = 10  # SunSpec sunssf is -10..10; more is garbage, not a scale
# exponent bits and mantissa bits of IEEE 754 binary32 and binary64
_FLOAT = {"f32": (8, 23, ">f"), "f64": (11, 52, ">d")}
_EXACT = Context(prec=1200)  # a binary64 has at most 1074 decimals; nothing is ever rounded below this


class NoReading(ValueError):
    """The words carry no value: NaN, infinity, the model's own sentinel, or text that is not ASCII."""


def _joined(words: tuple[int, ...], order: WordOrder) -> bytes:
    ordered = words if order == "big" else words[::-1]
    return struct.pack(f">{len(ordered)}H", *ordered)


def raw_integer(words: tuple[int, ...], order: WordOrder) -> int:
    """All words as one unsigned integer; `big` = high word first."""
    return int.from_bytes(_joined(words, order), "big")


def sentinels(kind: WordType, rule: NanRule) -> tuple[int, ...]:
    """Raw words that mean "no value" by a maker's rule: `max` = all ones, or the highest signed number (ABB);
    `sunspec` = all ones, or the lowest signed number (SunSpec Information Model Specification). Floats have their NaN.
    """
    if rule == "none" or kind[0] not in "ui" or kind not in WIDTH or kind.startswith("iskra"):
        return ()
    bits = 16 * WIDTH[kind]
    if kind[0] == "u":
        return ((1 << bits) - 1,)
    return ((1 << (bits - 1)) - 1,) if rule == "max" else (1 << (bits - 1),)


def exponent(word: int) -> int:
    """A register that holds the power of ten of another one (SunSpec sunssf, Iskra). NoReading beyond -10..10 and for 0x8000."""
    value = word - 0x10000 if word & 0x8000 else word
    if abs(value) > MAX_EXPONENT:
        raise NoReading(f"the scale factor 0x{word:04X} means: no value")
    return value


def number(words: tuple[int, ...], kind: WordType, order: WordOrder, scale: Decimal, sentinels: tuple[int, ...] = ()) -> Decimal:
    """Exact value of a numeric register times `scale`. NoReading for NaN, infinity and the sentinels (raw, unsigned).

    ValueError if the number of words does not fit the type.
    """
    if kind not in WIDTH or len(words) != WIDTH[kind]:
        raise ValueError(f"{kind} does not have {len(words)} words")
    raw = raw_integer(words, order)
    if raw in sentinels:
        raise NoReading(f"0x{raw:0{4 * len(words)}X} means: no value")
    if kind in _FLOAT:
        (value,) = struct.unpack(_FLOAT[kind][2], _joined(words, order))
        exact = Decimal(value)
        if not exact.is_finite():
            raise NoReading(f"0x{raw:0{4 * len(words)}X} is not a number")
    elif kind in ("iskra-t5", "iskra-t6"):
        mantissa = raw & 0xFFFFFF
        signed = mantissa - (1 << 24) if kind == "iskra-t6" and mantissa >> 23 else mantissa
        exact = Decimal(signed).scaleb(_decade(raw), _EXACT)
    else:
        bits = 16 * len(words)
        exact = Decimal(raw - (1 << bits) if kind[0] == "i" and raw >> (bits - 1) else raw)
    return _EXACT.multiply(exact, scale)


def step(words: tuple[int, ...], kind: WordType, order: WordOrder, scale: Decimal) -> Decimal:
    """Distance to the next value the register can show: 1 for integers, the float's spacing here, times `scale`.

    float32 kWh, scale 1000: 0.0610 Wh at 1000 kWh, 15.625 Wh at 131072 kWh.
    """
    if kind in ("iskra-t5", "iskra-t6"):
        return abs(scale).scaleb(_decade(raw_integer(words, order)))
    if kind not in _FLOAT:
        return abs(scale)
    exponent_bits, mantissa_bits, _ = _FLOAT[kind]
    biased = raw_integer(words, order) >> mantissa_bits & ((1 << exponent_bits) - 1)
    power = max(biased, 1) - ((1 << (exponent_bits - 1)) - 1) - mantissa_bits
    spacing = Decimal(1 << power) if power >= 0 else _EXACT.divide(Decimal(1), Decimal(1 << -power))
    return _EXACT.multiply(spacing, abs(scale))


def _decade(raw: int) -> int:
    """The signed high byte of an Iskra register pair."""
    high = raw >> 24
    return high - 256 if high >= 128 else high


def text(words: tuple[int, ...]) -> str:
    """ASCII text, two characters a word, padding (NUL, space, 0xFF) removed. NoReading if it is not printable ASCII."""
    plain = _joined(words, "big").split(b"\0")[0].rstrip(b"\xff ").lstrip()
    if not all(0x20 <= byte < 0x7F for byte in plain):
        raise NoReading(f"{plain.hex()} is not text")
    return plain.decode("ascii")


def whole(value: Decimal) -> int:
    """The nearest integer, halves away from zero."""
    return int(value.to_integral_value(ROUND_HALF_UP))


def hexadecimal(words: tuple[int, ...]) -> str:
    return "".join(f"{word:04X}" for word in words)
