"""Tariff files and the law at the start: read, verified, and refused as a whole with one sentence. ConfigError throughout."""

from dataclasses import dataclass
from pathlib import Path

from terminal_app import config
from terminal_app.billing import law
from terminal_app.billing.signature import spki_of
from terminal_app.billing.tariff import Tariff, parse_tariff
from terminal_app.billing.tariff_file import is_signed, open_tariff_file
from terminal_app.errors import ConfigError, SignatureInvalid, TariffRefused
from terminal_app.session import lawful
from terminal_app.session.book import Listing, listing_of

MAX_FILE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Files:
    """What the configuration names: a tariff per connector, which of them are signed, what is sold by without a clock."""

    tariffs: dict[int, Tariff]
    signed: dict[int, Listing]
    spare: dict[int, Tariff]


def read_files(settings: config.Config, path: Path) -> Files:
    """Every tariff file. A connector without one is not for sale unless the office has sent a tariff for it."""
    check_overrides(settings, path)
    key = operator_key(settings, path)
    tariffs, signed, spare = dict[int, Tariff](), dict[int, Listing](), dict[int, Tariff]()
    for one in settings.connector:
        if one.tariff is not None:
            listing = _read(settings, path, one.number, "tariff", one.tariff, key)
            tariffs[one.number] = listing.tariff
            if listing.version:
                signed[one.number] = listing
        if one.tariff_without_clock is not None:
            where = "tariff_without_clock"
            tariff = _read(settings, path, one.number, where, one.tariff_without_clock, key).tariff
            if tariff.needs_time:
                reason = f"{one.tariff_without_clock}: time decides about its price, so it cannot be sold by without a clock"
                raise ConfigError(path.name, f"[[connector]] {where}", reason)
            spare[one.number] = tariff
    return Files(tariffs, signed, spare)


def operator_key(settings: config.Config, path: Path) -> bytes:
    """DER SPKI of `[tariffs] public_key`; b"" if there is none."""
    file = settings.tariffs.public_key
    if file is None:
        return b""
    try:
        return spki_of(file.read_bytes())
    except OSError as error:
        raise ConfigError(path.name, "[tariffs] public_key", f"{file}: {error.strerror}") from error
    except SignatureInvalid as error:
        raise ConfigError(path.name, "[tariffs] public_key", f"{file}: {error}") from error


def check_overrides(settings: config.Config, path: Path) -> None:
    """Nobody answers for a rule that does not exist."""
    for one in settings.law.override:
        if one.rule not in law.NAMES:
            reason = f"{one.rule!r} is no rule of the law pack; rules are {', '.join(sorted(law.NAMES))}"
            raise ConfigError(path.name, "[[law.override]] rule", reason)


def _read(settings: config.Config, path: Path, connector: int, key_name: str, file: Path, key: bytes) -> Listing:
    where = f"[[connector]] {key_name}"
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise ConfigError(path.name, where, f"{file}: is longer than {MAX_FILE_BYTES} bytes: not a tariff")
        listing = _listing(raw, key)
    except OSError as error:
        raise ConfigError(path.name, where, f"{file}: {error.strerror}") from error
    except (TariffRefused, SignatureInvalid) as error:
        raise ConfigError(path.name, where, f"{file}: {error}") from error
    if why := lawful.refusal(settings, connector, listing.tariff):
        hold = "[policy] hold_minor: "
        if why.startswith(hold):
            raise ConfigError(path.name, hold.rstrip(": "), why.removeprefix(hold))
        raise ConfigError(path.name, where, f"{file}: {why}")
    return listing


def _listing(raw: bytes, key: bytes) -> Listing:
    if not is_signed(raw):
        if key:
            raise TariffRefused("is not signed, and with [tariffs] public_key only signed tariffs are sold by; sign it first")
        return Listing(parse_tariff(raw))
    if not key:
        raise TariffRefused("is signed, but no [tariffs] public_key says whose signature counts")
    return listing_of(open_tariff_file(raw, key), raw)


def signing_profiles(settings: config.Config) -> frozenset[int]:
    """Connectors whose meter signs its own records, as its profile says: for tools that open no device. ConfigError."""
    from drivers.meters import profile

    return frozenset(one.number for one in settings.connector if profile.load(settings.meter[one.meter].profile).signed)
