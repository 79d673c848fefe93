"""Is a card number anywhere in what was written? Searches files for a known test PAN in every form it is likely to leak in.

A scanner by pattern and check digit misses dumps, BCD, repr and base64 (payments.md section 7); with a known number all
its forms can be spelled out. The middle six digits alone are left out: they match by chance.

    python -m tests.pan_search DIR [DIR ...] --pan 5413330089020011      exit code: 0 not found, 1 found, 2 usage

What is found is told by file, form and offset; the number itself is never printed.
"""

import argparse
import base64
import gzip
import json
import mmap
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

SHORTEST_FORM = 7
MOST_INFLATED = 64 * 1024 * 1024


class Found(NamedTuple):
    """`offset` counts in the inflated bytes if the form's name ends in " in gzip"."""

    file: Path
    form: str
    offset: int


def _groups(text: str, size: int, glue: str) -> str:
    return glue.join(text[i : i + size] for i in range(0, len(text), size))


def _base64_cores(plain: bytes) -> Iterator[bytes]:
    """What base64 makes of `plain` in the middle of other bytes, whatever those are: three alignments."""
    for before in range(3):
        coded = base64.b64encode(bytes(before) + plain)
        first = -(-before * 8 // 6)
        last = (before + len(plain)) * 8 // 6
        yield coded[first:last]


def _nibble_forms(digits: str) -> dict[str, bytes]:
    """BCD as in tags 57 and 5A, whole bytes only; an odd number of digits shares its last or first byte."""
    if len(digits) % 2 == 0:
        return {"bcd": bytes.fromhex(digits), "bcd shifted by half a byte": bytes.fromhex(digits[1:-1])}
    return {
        "bcd with F padding": bytes.fromhex(digits + "F"),
        "bcd with D separator": bytes.fromhex(digits + "D"),
        "bcd with leading zero": bytes.fromhex("0" + digits),
        "bcd, whole bytes": bytes.fromhex(digits[:-1]),
        "bcd shifted, whole bytes": bytes.fromhex(digits[1:]),
    }


def named_forms(pan: str) -> dict[str, bytes]:
    """Form's name -> bytes to search for. ValueError if `pan` is not 12 to 19 digits."""
    if not (pan.isascii() and pan.isdigit() and 12 <= len(pan) <= 19):
        raise ValueError("a card number has 12 to 19 digits")
    text = pan.encode("ascii")
    forms: dict[str, bytes] = {
        "ascii": text,
        "spaced": _groups(pan, 4, " ").encode(),
        "dashed": _groups(pan, 4, "-").encode(),
        "reversed": text[::-1],
        "utf-16-le": pan.encode("utf-16-le"),
        "utf-16-be": pan.encode("utf-16-be"),
        "utf-32-le": pan.encode("utf-32-le"),
        "ebcdic": pan.encode("cp037"),
        "ascii list of numbers": ", ".join(str(byte) for byte in text).encode(),
        "digits as bytes": bytes(int(digit) for digit in pan),
        "comma separated digits": ",".join(pan).encode(),
    }
    raw = {"ascii": text} | _nibble_forms(pan)
    for name, plain in raw.items():
        digits = plain.hex()
        for case, shown in (("lower", digits), ("upper", digits.upper())):
            forms[f"hex of {name}, {case}"] = shown.encode()
            forms[f"spaced hex of {name}, {case}"] = _groups(shown, 2, " ").encode()
            forms[f"colon hex of {name}, {case}"] = _groups(shown, 2, ":").encode()
            forms[f"0x hex of {name}, {case}"] = ("0x" + _groups(shown, 2, ", 0x")).encode()
        for i, core in enumerate(_base64_cores(plain)):
            forms[f"base64 of {name}, alignment {i}"] = core
            forms[f"url-safe base64 of {name}, alignment {i}"] = core.replace(b"+", b"-").replace(b"/", b"_")
        if name != "ascii":
            forms[name] = plain
            forms[f"{name}, reversed"] = plain[::-1]
            forms[f"repr of {name}"] = repr(plain)[2:-1].encode()
            forms[f"json of {name}"] = json.dumps(plain.decode("latin-1"))[1:-1].encode()
            forms[f"utf-8 of {name}"] = plain.decode("latin-1").encode("utf-8")
            forms[f"list of {name}"] = ", ".join(str(byte) for byte in plain).encode()
            forms[f"compact list of {name}"] = ",".join(str(byte) for byte in plain).encode()
    unique: dict[bytes, str] = {}
    for name, sought in forms.items():
        if len(sought) >= SHORTEST_FORM:
            unique.setdefault(sought, name)
    return {name: sought for sought, name in unique.items()}


def forms_of(pan: str) -> list[bytes]:
    """All byte strings that would give `pan` away."""
    return list(named_forms(pan).values())


def search_bytes(content: bytes | mmap.mmap, pan: str) -> list[tuple[str, int]]:
    """(form, first offset) of every form in `content`."""
    hits = ((name, content.find(sought)) for name, sought in named_forms(pan).items())
    return [(name, offset) for name, offset in hits if offset >= 0]


def files_under(paths: Iterable[Path | str]) -> Iterator[Path]:
    """Regular files of the paths and below; sockets, pipes and links to directories are passed over. OSError if one is missing."""
    for path in map(Path, paths):
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            for folder, _, names in os.walk(path):
                for name in sorted(names):
                    file = Path(folder, name)
                    if not file.is_symlink() and file.is_file():
                        yield file
        elif stat.S_ISREG(kind):
            yield path


def find_pan(paths: Iterable[Path | str], pan: str) -> list[Found]:
    """Every file and form in which `pan` stands; file names are searched too (offset -1). Gzip is looked into."""
    found: list[Found] = []
    for file in files_under(paths):
        found += [Found(file, f"{form} in the file's name", -1) for form, _ in search_bytes(os.fsencode(file.name), pan)]
        with file.open("rb") as source:
            if os.fstat(source.fileno()).st_size == 0:
                continue
            with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found += [Found(file, form, offset) for form, offset in search_bytes(content, pan)]
                packed = content[:2] == b"\x1f\x8b"
        if packed:
            found += [Found(file, f"{form} in gzip", offset) for form, offset in search_bytes(_inflated(file), pan)]
    return found


def _inflated(file: Path) -> bytes:
    try:
        with gzip.open(file) as source:
            return source.read(MOST_INFLATED)
    except (OSError, EOFError, zlib.error):
        return b""  # only looked like gzip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pan_search", description="Search files for known test card numbers.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--pan", action="append", required=True, help="a test card number; may be given several times")
    options = parser.parse_args(arguments)
    found: list[Found] = []
    try:
        for pan in options.pan:
            found += find_pan(options.paths, pan)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for one in found:
        print(f"{one.file}: card number as {one.form} at offset {one.offset}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
