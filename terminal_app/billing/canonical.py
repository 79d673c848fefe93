"""JSON in and out without floats: strict parsing to int and Decimal, canonical form by RFC 8785. PURE."""

import json
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NoReturn

import rfc8785

MAX_DEPTH = 12
MAX_DIGITS = 15  # a decimal of at most 15 significant digits survives IEEE 754 double, which RFC 8785 prescribes


def parse(raw: bytes, max_bytes: int, max_digits: int = MAX_DIGITS) -> Any:
    """JSON -> dict, list, str, int, Decimal, bool, None. ValueError: size, encoding, duplicate key, NaN, depth, digits.

    More than 15 digits are only for what is never written in canonical form again, such as somebody else's CDR.
    """
    if len(raw) > max_bytes:
        raise ValueError(f"{len(raw)} bytes exceed the limit of {max_bytes}")
    try:
        text = raw.decode("utf-8")
        found = json.loads(
            text,
            parse_float=partial(_decimal, max_digits=max_digits),
            parse_int=_integer,
            parse_constant=_no_constant,
            object_pairs_hook=_without_twins,
        )
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    _check_depth(found, MAX_DEPTH)
    return found


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes. Decimals become JSON numbers of exactly the same value; ValueError where that is impossible."""
    try:
        return rfc8785.dumps(_plain(value))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"has no canonical form: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        # The one float in this room: RFC 8785 defines numbers as doubles. Proved to carry the same decimal value.
        double = float(value)
        if Decimal(repr(double)) != value:
            raise ValueError(f"{value} cannot be written exactly")
        return double
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        raise ValueError("a float has no place in a record")
    return value


def _decimal(text: str, max_digits: int) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:  # an exponent that decimals do not have
        raise ValueError(f"the number {text[:40]} has too many digits") from error
    if len(number.as_tuple().digits) > max_digits or not -12 <= number.adjusted() <= MAX_DIGITS:
        raise ValueError(f"the number {text[:40]} has too many digits")
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise ValueError(f"the number {text[:40]} has too many digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _check_depth(value: Any, left: int) -> None:
    if left < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for one in value.values():
            _check_depth(one, left - 1)
    elif isinstance(value, list):
        for one in value:
            _check_depth(one, left - 1)
