"""`charge-service config check`: everything that would stop the core's start, without starting it, and what is unwise."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from terminal_app import config
from terminal_app.billing.receipt_templates import template_for
from terminal_app.errors import ChargeError, ConfigError
from terminal_app.run.service import show
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site, user

LONGEST_SOCKET_PATH = 100
LONGEST_SOCKET_NAME = "/control.sock"


@dataclass(frozen=True)
class Remark:
    """One thing about the configuration: `state` ok, warning or fault; `next` what to do."""

    where: str
    state: str
    says: str
    next: str = ""


@click.group("config")
def config_group() -> None:
    """The terminal's configuration."""


@config_group.command()
@click.option("--config", "other", type=click.Path(path_type=Path), help="Check this file instead of the one in use.")
@json_option
@click.pass_obj
def check(site: Site, other: Path | None) -> int:
    """File, keys, tariffs, meter profiles, gateways, office; names file, section, key and reason. Opens no device."""
    path = other or site.path
    remarks = list(examine(path))
    states = [one.state for one in remarks]
    code = show.FAULT if "fault" in states else show.WARNING if "warning" in states else show.OK
    if site.as_json:
        show.as_json({"config": str(path), "state": show.STATE_NAMES[code], "remarks": [vars(one) for one in remarks]})
        return code
    out = show.console()
    for one in remarks:
        out.print(f"{show.styled(one.state)}  [bold]{escape(one.where)}[/]  {escape(one.says)}", soft_wrap=True)
        if one.next:
            out.print(f"    -> {escape(one.next)}", soft_wrap=True)
    return code


def examine(path: Path) -> Iterator[Remark]:
    """All remarks, worst things not first: in the order of the file."""
    try:
        settings = config.load(path)
    except ConfigError as error:
        yield Remark(path.name, "fault", str(error), "the core does not start before this is mended")
        return
    yield Remark(
        path.name,
        "ok",
        f"terminal {settings.terminal.id}, mode {settings.terminal.mode}, {counted(len(settings.connector), 'connector')}",
    )
    yield from _folders(settings)
    yield from _devices(settings)
    yield from _supply(settings)
    yield from _files(settings, path)
    yield from _carried(settings)
    yield from _gateways(settings, path)
    yield from _tariffs(settings, path)
    yield from _law(settings, path)
    yield from _receipts(settings)


def _receipts(settings: config.Config) -> Iterator[Remark]:
    terminal, printer = settings.terminal, settings.printer
    if "seller_vat_id" in template_for(terminal.country).wants and not terminal.vat_id:
        says = f"receipts in {terminal.country} must show it, and there is none"
        yield Remark("[terminal] vat_id", "warning", says, "ask whoever sells here for the VAT number")
    if printer is not None and printer.device.startswith("/dev/") and not Path(printer.device).exists():
        says = f"{printer.device} is not there; charges go on without paper"
        yield Remark("[printer] device", "warning", says, "plug the printer in; names: ls -l /dev/usb")


def _folders(settings: config.Config) -> Iterator[Remark]:
    runtime = str(settings.terminal.runtime_dir)
    if len(os.fsencode(runtime)) + len(LONGEST_SOCKET_NAME) > LONGEST_SOCKET_PATH:
        says = f"{runtime} is too long for a Unix socket in it ({LONGEST_SOCKET_PATH} bytes in all)"
        yield Remark("[terminal] runtime_dir", "fault", says, "choose a shorter one, such as /run/charge-terminal")
    state = settings.terminal.state_dir
    if not state.is_dir():
        yield Remark("[terminal] state_dir", "warning", f"{state} does not exist yet", "the core makes it at its first start")


def _devices(settings: config.Config) -> Iterator[Remark]:
    from drivers.evse.open import open_control
    from drivers.system import SystemClock

    for name, meter in settings.meter.items():
        where = f"[meter.{name}]"
        yield _tried(f"{where} profile", partial(_profile, meter))
        if meter.port and not Path(meter.port).exists():
            yield Remark(
                f"{where} port", "warning", f"{meter.port} is not there", "plug the adapter in; names: ls -l /dev/serial/by-path"
            )
    for name, evse in settings.evse.items():
        where, device = f"[evse.{name}]", config.evse_device(evse)
        if device and not Path(device).exists():
            key = "chip" if isinstance(evse, config.RelaySection) else "port"
            says, names = f"{device} is not there", "gpiodetect" if key == "chip" else "ls -l /dev/serial/by-path"
            yield Remark(f"{where} {key}", "warning", says, f"plug the controller in; names: {names}")
        try:
            control = open_control(evse, f"evse.{name}", SystemClock())
        except ConfigError as error:
            yield Remark(where, "fault", str(error))
            continue
        with contextlib.closing(control):  # never contacted, so closing it sends nothing
            guarded = control.keepalive_s > 0
        if not guarded:
            yield Remark(
                where,
                "warning",
                "this controller cannot guard itself: if terminal and cable die while charging, only the car ends the charge",
                "the terminal is its guard; keep both on one supply",
            )
        if any(config.power_up_a(settings, one) for one in settings.connector if one.evse == name):
            yield Remark(
                f"{where} power-up",
                "warning",
                "after a power-up this controller may let a car charge until the terminal meets it (up to 3 s); that cannot be set "
                "over its line",
                "set it to locked or 0 A in its own settings (OpenEVSE: a build with BOOTLOCK), and keep both on one supply",
            )
        if isinstance(evse, config.RelaySection) and evse.feedback_line is None:
            says = "without feedback_line a welded contactor is seen only by the energy meter"
            yield Remark(f"{where} feedback_line", "warning", says, "wire an auxiliary contact of the contactor to a GPIO line")


def _supply(settings: config.Config) -> Iterator[Remark]:
    together_a = sum(one.max_current_a for one in settings.connector)
    if settings.grid is not None:
        says = f"{settings.grid.limit_a} A for {counted(len(settings.connector), 'connector')}, {together_a} A if each had its own"
        yield Remark("[grid] limit_a", "ok", says)


def _profile(meter: config.MeterSection) -> str:
    from drivers.meters import profile

    return profile.load(meter.profile).model


def _files(settings: config.Config, path: Path) -> Iterator[Remark]:
    from drivers.cards.ca_keys import load_ca_keys
    from drivers.cards.card_token import load_card_key
    from terminal_app.run.core import spki_of
    from terminal_app.run.keys import signer

    keys, office = settings.keys, settings.office

    def key_id(key: Path, name: str) -> Callable[[], str]:
        return lambda: f"key {signer(key, path, name).key_id}"

    for name, key in (("record", keys.record), ("ocmf", keys.ocmf), ("previous_record", keys.previous_record)):
        if key is not None:
            yield _read(key, key_id(key, name), f"[keys] {name}")
    yield _read(settings.reader.card_key, lambda: load_card_key(settings.reader.card_key) and "32 bytes", "[reader] card_key")
    if settings.reader.ca_keys is not None:
        ca_keys = settings.reader.ca_keys
        yield _read(ca_keys, lambda: counted(len(load_ca_keys(ca_keys)), "key"), "[reader] ca_keys")
    elif settings.offline is not None:
        says = "without [reader] ca_keys no card can prove itself: nobody will ever charge offline"
        yield Remark("[offline]", "warning", says, "name a file with the CA keys of the cards (drivers/cards/ca_keys.py)")
    yield _read(office.public_key, lambda: spki_of(office.public_key) and "a public key", "[office] public_key")
    yield _read(office.token_file, lambda: _token(office.token_file), "[office] token_file")
    if office.ca_file is not None:
        yield _read(office.ca_file, partial(_size, office.ca_file), "[office] ca_file")


def _carried(settings: config.Config) -> Iterator[Remark]:
    """Who else gets records, and with what."""
    office, ocpi, pull = settings.office, settings.ocpi, settings.pull
    named: list[tuple[str, Path | None]] = [
        ("[office] client_cert", office.client_cert),
        ("[office] client_key", office.client_key),
    ]
    if pull is not None:
        named += [("[pull] cert", pull.cert), ("[pull] key", pull.key), ("[pull] client_ca", pull.client_ca)]
        for one in pull.client:
            yield _read(one.token_file, partial(_token, one.token_file), "[[pull.client]] token_file")
    if ocpi.url and ocpi.token_file is not None:
        yield _read(ocpi.token_file, partial(_token, ocpi.token_file), "[ocpi] token_file")
        named.append(("[ocpi] ca_file", ocpi.ca_file))
    for where, file in named:
        if file is not None:
            yield _read(file, partial(_size, file), where)
    if "#NA" in (ocpi.address, ocpi.city) and (ocpi.url or pull is not None):
        says = "CDRs do not know where this station is"
        yield Remark("[ocpi] address", "warning", says, "give address, city, postal_code, latitude and longitude")


def _size(file: Path) -> str:
    return f"{file.stat().st_size} bytes"


def _token(file: Path) -> str:
    if not file.read_text("ascii").strip():
        raise ConfigError(file.name, "", "is empty; it must hold one line with the token")
    return "a token"


def _gateways(settings: config.Config, path: Path) -> Iterator[Remark]:
    from terminal_app.run import gateways

    for name, section in settings.gateway.items():
        where = f"[gateway.{name}]"

        def build(name: str = name, section: config.GatewaySection = section) -> str:
            gateways.build(name, section, settings, path).close()
            return gateways.address(section)

        yield _tried(where, build)


def _tariffs(settings: config.Config, path: Path) -> Iterator[Remark]:
    from terminal_app.run.tariffs import read_files

    yield _tried("[[connector]] tariff", lambda: f"{counted(len(read_files(settings, path).tariffs), 'tariff')} accepted")
    for one in settings.connector:
        if one.tariff is None:
            says = f"connector {one.number} has no tariff: it is not for sale"
            yield Remark(
                "[[connector]] tariff", "warning", says, "name an OCPI 2.3.0 tariff file; for free charging an explicit zero tariff"
            )


def _law(settings: config.Config, path: Path) -> Iterator[Remark]:
    """What the law pack says about each connector's tariff and meter. The step of its register is known only to the core."""
    from terminal_app.run.tariffs import read_files, signing_profiles
    from terminal_app.session import lawful

    try:
        files, signing = read_files(settings, path), signing_profiles(settings)
    except ChargeError:
        return  # said before
    for one in settings.law.override:
        yield Remark("[[law.override]]", "ok", f"{one.rule} is overridden: {one.by} answers for it ({one.why})")
    for number, tariff in files.tariffs.items():
        found = lawful.against(settings, number, tariff, number in signing, 0, None)
        if found:
            says = f"connector {number} is not for sale in {settings.terminal.country}: {lawful.said(found)}"
            yield Remark("[law]", "warning", says, "change the tariff or the meter; or answer for it by name: [[law.override]]")


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _read(file: Path, attempt: Callable[[], Any], where: str) -> Remark:
    """A file that may be somebody else's to read: then nothing can be said about it."""
    try:
        forbidden = file.stat() is not None and not os.access(file, os.R_OK)
    except PermissionError:
        forbidden = True
    except OSError:
        forbidden = False  # missing: the attempt says so
    if forbidden:
        return Remark(where, "warning", f"{file} may not be read by {user()}, so it was not checked", "try with sudo")
    return _tried(where, attempt)


def _tried(where: str, attempt: Callable[[], Any]) -> Remark:
    try:
        return Remark(where, "ok", str(attempt()))
    except OSError as error:
        return Remark(where, "fault", f"{error.filename}: {error.strerror}")
    except (ChargeError, ValueError) as error:
        return Remark(where, "fault", str(error))
