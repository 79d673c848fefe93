"""Reading `terminal.toml`, and other TOML files that people write, with errors that say where."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from terminal_app.config.relations import check_relations
from terminal_app.config.whole import Config
from terminal_app.errors import ConfigError

T = TypeVar("T")


def load(path: Path) -> Config:
    """Read and check a configuration file. ConfigError names file, section, key and reason."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"is not TOML: {error}") from error
    config = decode(raw, Config, path)
    check_relations(config, path)
    return config


def decode(raw: Any, into: type[T], path: Path) -> T:
    """msgspec.convert with our error form and paths made absolute against the file's folder."""

    def from_text(wanted: type, value: Any) -> Any:
        if wanted is Path and isinstance(value, str) and value.startswith("pkcs11:"):
            return Path(value)  # a key in a token: `drivers.signers.opening` knows it
        if wanted is Path and isinstance(value, str):
            return path.parent.absolute() / Path(value).expanduser()
        raise NotImplementedError(wanted)

    try:
        return msgspec.convert(raw, into, dec_hook=from_text)
    except msgspec.ValidationError as error:
        reason, where = str(error), ""
        if found := re.search(r" - at `(?:key in )?\$\.?(.*)`$", reason):
            reason, where = reason[: found.start()], _place(found[1], raw, into, from_text)
        raise ConfigError(path.name, where, reason) from error


def _place(where: str, raw: Any, into: Any, from_text: Callable[[type, Any], Any]) -> str:
    """msgspec's path as the file writes it: `evse[...].driver` is "[evse.main] driver", `connector[0]` "[[connector]] no. 1"."""
    found = re.fullmatch(r"(\w+)(?:\[(\d+|\.\.\.)\])?(?:\.(.*))?", where)
    if found is None:
        return where
    section, item, key = found[1], found[2], found[3] or ""
    if item is None:
        is_section = isinstance(raw, dict) and isinstance(raw.get(section), (dict, list))
        return f"[{section}] {key}".strip() if key or is_section else section
    if item != "...":
        return f"[[{section}]] no. {int(item) + 1}" + (f": {key}" if key else "")
    kinds, names = get_args(get_type_hints(into).get(section)), list[str]()
    for name, one in raw[section].items() if len(kinds) == 2 else ():
        try:
            msgspec.convert(one, kinds[1], dec_hook=from_text)
        except msgspec.ValidationError:
            names.append(name)
    return f"[{section}.{names[0] if names else '...'}] {key}".strip()
