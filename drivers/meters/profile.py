"""A meter model as data: `drivers/meters/models/NAME.toml` or the technician's own file (form: meters.md section 6).

A user profile in the override folder (/etc/charge-terminal/meters.d) wins over a packaged one of the same name.
Whatever is wrong in a file raises one ConfigError: file, key, reason. The embedded vectors are checked at each load.
"""

import hashlib
import tomllib
from decimal import Decimal
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta

from drivers.meters import decode
from drivers.meters.decode import NanRule, WordOrder, WordType
from terminal_app import config
from terminal_app.errors import ConfigError

OVERRIDES_DIR = Path("/etc/charge-terminal/meters.d")
SIZE_LIMIT = 65_536
UNITS = {
    "wh": "Wh",
    "w": "W",
    "v": "V",
    "a": "A",
    "hz": "Hz",
    "varh": "varh",
    "var": "var",
    "vah": "VAh",
    "va": "VA",
    "pf": "",
}

Fc = Literal[3, 4]
Address = Annotated[int, Meta(ge=0, le=0xFFFF)]
PointName = Annotated[str, Meta(pattern=r"^(serial|firmware|model_code|[a-z][a-z0-9_]*_(wh|w|v|a|hz|varh|var|vah|va|pf))$")]
Baud = Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model leaves the factory."""

    baud: Baud
    parity: Literal["N", "E", "O"]
    stop: Literal[1, 2]
    unit: Annotated[int, Meta(ge=1, le=247)] = 1


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[bus] What the model stands. Times in ms, lengths in 16-bit registers; `forbidden` are inclusive address ranges."""

    timeout_ms: Annotated[int, Meta(ge=20, le=20_000)]
    gap_ms: Annotated[int, Meta(ge=0, le=1000)]
    quarantine_ms: Annotated[int, Meta(ge=50, le=5000)]
    max_regs: Annotated[int, Meta(ge=1, le=125)]
    fallback_max_regs: Annotated[int, Meta(ge=1, le=125)]
    max_hole: Annotated[int, Meta(ge=0, le=124)]
    pad: Annotated[int, Meta(ge=1, le=4)] = 1  # block lengths are made distinct in steps of this
    forbidden: tuple[tuple[Address, Address], ...] = ()


class Billing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which point is billed, the coarsest step a law pack may accept by default, where it rolls over (Wh; 0 = never)."""

    register: PointName
    max_step_wh: Annotated[int, Meta(ge=1)]
    wraps_at: Annotated[int, Meta(ge=0)]
    approval: str


class _PointEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    addr: Address
    fc: Fc | None = None
    type: WordType | None = None
    word_order: WordOrder | None = None
    scale: Decimal = Decimal(1)
    sf: Address | None = None
    nan: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    len: Annotated[int, Meta(ge=1, le=125)] | None = None
    model: int | None = None
    alone: bool = False


class SunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[sunspec] The meter is found by walking the model chain: addresses of points count from the header (ID, L) of the
    first of `models` that is there, or of the model a point names with `model`; `start` are the places of the mark "SunS".
    """

    models: Annotated[tuple[int, ...], Meta(min_length=1)]
    start: Annotated[tuple[Address, ...], Meta(min_length=1)] = (40_000, 50_000, 0)


class Identify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This point of the right model lies within min..max, as it is or times `alt_scale`."""

    point: PointName
    min: Decimal
    max: Decimal
    alt_scale: Decimal | None = None


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """These words of this point mean this value: a number, or `text` for a point of type str."""

    point: PointName
    words: tuple[Address, ...]
    value: Decimal | None = None
    text: str | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal[1]
    model: Annotated[str, Meta(min_length=1, max_length=64)]
    vendor: str = ""
    fc: Fc
    type: WordType
    word_order: WordOrder
    nan: NanRule = "none"
    line: Line
    bus: Pace
    sunspec: SunSpec | None = None
    signed: Literal["", "bsm-ws36a", "em580", "wm3m4c"] = ""
    billing: Billing
    points: dict[PointName, _PointEntry]
    identify: tuple[Identify, ...] = ()
    vectors: tuple[Vector, ...] = ()
    source: str = ""
    note: str = ""


class Point(msgspec.Struct, frozen=True):
    """One register or group: wire address (0-based), `count` registers, exact `scale` to the unit in the name.

    `sf`: address of the register with the power of ten (same function code); its word follows the words of the value.
    `alone`: this register means something else when it is read together with its neighbours.
    `model`: the SunSpec model whose header `addr` and `sf` count from (None: an address on the wire).
    """

    name: str
    fc: int
    addr: int
    count: int
    type: WordType
    word_order: WordOrder
    scale: Decimal
    nan: tuple[int, ...]
    sf: int | None = None
    alone: bool = False
    model: int | None = None

    @property
    def end(self) -> int:
        return self.addr + self.count

    @property
    def unit(self) -> str:
        """As the last word of the name says: Wh, W, V, A, Hz, varh, var, VAh, VA; "" for serial, pf and codes."""
        return UNITS.get(self.name.rpartition("_")[2], "")

    def registers(self) -> tuple["Point", ...]:
        """The places to read: the value, and its scale factor if it has one."""
        if self.sf is None:
            return (self,)
        return (self, Point(f"sf@{self.fc}:{self.sf}", self.fc, self.sf, 1, "i16", self.word_order, Decimal(1), ()))

    def value(self, words: tuple[int, ...]) -> Decimal | str:
        """Exact value of this point's words. decode.NoReading if they carry none; ValueError for another number of words."""
        if self.type == "str":
            return decode.text(words)
        own, scale = self._scaled(words)
        return decode.number(own, self.type, self.word_order, scale, self.nan)

    def step(self, words: tuple[int, ...]) -> Decimal:
        """Distance to the next value this register can show here."""
        own, scale = self._scaled(words)
        return decode.step(own, self.type, self.word_order, scale)

    def _scaled(self, words: tuple[int, ...]) -> tuple[tuple[int, ...], Decimal]:
        if self.sf is None:
            return words, self.scale
        if len(words) != self.count + 1:
            raise ValueError(f"{self.type} with a scale factor has {self.count + 1} words, not {len(words)}")
        return words[:-1], self.scale.scaleb(decode.exponent(words[-1]))


class Profile(msgspec.Struct, frozen=True):
    """A checked profile. `sha256` is the digest of the file as read."""

    name: str
    file: str
    sha256: str
    vendor: str
    model: str
    line: Line
    bus: Pace
    billing: Billing
    points: dict[str, Point]
    identify: tuple[Identify, ...]
    vectors: tuple[Vector, ...]
    sunspec: SunSpec | None = None
    signed: str = ""
    source: str = ""
    note: str = ""


def packaged() -> list[str]:
    """Names of the models that come with the program."""
    folder = resources.files("drivers.meters") / "models"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name: str, overrides_dir: Path | None = OVERRIDES_DIR) -> Profile:
    """The profile `name`: an absolute path to a TOML file, else NAME.toml of the override folder, else a packaged model."""
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
        if not path.is_absolute():
            raise ConfigError(name, "", "give a model name or the absolute path of a profile")
        return _parse(path.stem, str(path), _bytes(path))
    if overrides_dir is not None and (own := overrides_dir / f"{name}.toml").exists():
        return _parse(name, str(own), _bytes(own))
    if name not in packaged():
        raise ConfigError(f"{name}.toml", "", f"no such meter profile; there is {', '.join(packaged())}")
    found = resources.files("drivers.meters") / "models" / f"{name}.toml"
    return _parse(name, f"{name}.toml", found.read_bytes())


def text_of(profile: Profile) -> str:
    """The file's text as it was loaded. ConfigError if it has changed or gone since."""
    path = Path(profile.file)
    content = _bytes(path) if path.is_absolute() else (resources.files("drivers.meters") / "models" / profile.file).read_bytes()
    if hashlib.sha256(content).hexdigest() != profile.sha256:
        raise ConfigError(profile.file, "", "has changed while it was used; try again")
    return content.decode("utf-8")


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from error
    if len(content) > SIZE_LIMIT:
        raise ConfigError(str(path), "", f"is longer than {SIZE_LIMIT} bytes: not a meter profile")
    return content


def _parse(name: str, file: str, content: bytes) -> Profile:
    try:
        raw: Any = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(file, "", f"is not TOML: {error}") from error
    read = config.decode(raw, _File, Path(file))
    points = {key: _resolved(key, entry, read, file) for key, entry in read.points.items()}
    vendor = read.vendor or read.model.split()[0]
    profile = Profile(
        name=name,
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        vendor=vendor,
        model=read.model.removeprefix(vendor).strip() or read.model,
        line=read.line,
        bus=read.bus,
        billing=read.billing,
        points=points,
        identify=read.identify,
        vectors=read.vectors,
        sunspec=read.sunspec,
        signed=read.signed,
        source=read.source,
        note=read.note,
    )
    _check(profile)
    return profile


def _resolved(name: str, entry: _PointEntry, read: _File, file: str) -> Point:
    kind = entry.type or read.type
    if (entry.len is not None) != (kind == "str"):
        raise ConfigError(file, f"[points] {name}", "len is for type str, and str needs it")
    count = entry.len or decode.WIDTH[kind]
    if entry.addr + count > 0x10000:
        raise ConfigError(file, f"[points] {name}", "reaches beyond register 0xFFFF")
    if entry.scale == 0 or not entry.scale.is_finite():
        raise ConfigError(file, f"[points] {name}", "scale must be a number other than 0")
    if entry.sf is not None and kind == "str":
        raise ConfigError(file, f"[points] {name}", "a text has no scale factor (sf)")
    if entry.model is not None and read.sunspec is None:
        raise ConfigError(file, f"[points] {name}", "model is for profiles with a section [sunspec]")
    return Point(
        name=name,
        fc=entry.fc or read.fc,
        addr=entry.addr,
        count=count,
        type=kind,
        word_order=entry.word_order or read.word_order,
        scale=entry.scale,
        nan=(*decode.sentinels(kind, read.nan), *entry.nan),
        sf=entry.sf,
        alone=entry.alone,
        model=None if read.sunspec is None else entry.model or read.sunspec.models[0],
    )


def _together(profile: Profile) -> list[Point]:
    """What may be read in one question: each register has one meaning there."""
    return [point for point in profile.points.values() if not point.alone]


def _check(profile: Profile) -> None:
    """What no single key can know. ConfigError."""

    def refuse(where: str, reason: str) -> NoReturn:
        raise ConfigError(profile.file, where, reason)

    billed = profile.points.get(profile.billing.register)
    if billed is None or not billed.name.endswith("_wh") or billed.type == "str":
        refuse("[billing] register", f"{profile.billing.register} is not an energy point (..._wh) of [points]")
    if "power_w" not in profile.points:
        refuse("[points]", "power_w is missing: the running charge shows it and the contactor check needs it")
    if profile.bus.fallback_max_regs > profile.bus.max_regs:
        refuse("[bus] fallback_max_regs", "is above max_regs")
    spans = {(point.model or 0, one.fc, one.addr, one.end): point.name for point in _together(profile) for one in point.registers()}
    for (one, name), (other, other_name) in pairwise(sorted(spans.items())):
        if one[:2] == other[:2] and other[2] < one[3]:
            refuse(f"[points] {other_name}", f"overlaps {name} (register 0x{other[2]:04X})")
    ordered = sorted(profile.points.values(), key=lambda point: (point.fc, point.addr))
    for point in ordered:
        if point.count > profile.bus.max_regs:
            refuse(f"[points] {point.name}", f"is longer than [bus] max_regs = {profile.bus.max_regs}")
        if any(point.addr <= last and first < point.end for first, last in profile.bus.forbidden):
            refuse(f"[points] {point.name}", "lies in a [bus] forbidden range")
    for rule in profile.identify:
        if rule.point not in profile.points or profile.points[rule.point].type == "str":
            refuse("[[identify]] point", f"{rule.point} is not a numeric point of [points]")
    for vector in profile.vectors:
        if vector.point not in profile.points:
            refuse("[[vectors]] point", f"there is no point {vector.point}")
        try:
            value = profile.points[vector.point].value(vector.words)
        except ValueError as error:
            refuse(f"[[vectors]] {vector.point}", str(error))
        expected = vector.text if isinstance(value, str) else vector.value
        if value != expected:
            refuse(f"[[vectors]] {vector.point}", f"the words give {value}, the vector says {expected}")
