"""Which part is broken? One verdict per part of the terminal: how it is, how fast it answered, what to do next.

While the core runs it owns the devices, and its newest readings and faults count; when it is stopped they are asked
directly, under its lock. Nothing here moves money or closes a contactor.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from terminal_app.config import evse_device
from terminal_app.errors import ConfigError, DeviceMisread, DeviceUnavailable, LedgerBroken
from terminal_app.ports import ChargeControl, EnergyMeter
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.devices import READER_NEXT, STALE_MS, look_at_reader
from terminal_app.run.service.part import Part, timed
from terminal_app.run.service.reach import gateways, network, office
from terminal_app.run.service.site import CoreState, Site, user
from terminal_app.run.service.words import EVSE_FAULTS, METER_FAULTS

LEAST_FREE = 64 * 1024 * 1024
FEW_FREE = 512 * 1024 * 1024
BUILT_YEAR = 2026
WIRING = {
    "port": "look at adapter, cable and udev name: ls -l /dev/serial/by-path",
    "timeout": "check power, wiring (A/B), unit number and baud rate",
    "mismatch": "another device answers: check unit numbers, termination, and that only the terminal asks",
    "exception": "the device refuses: check that profile and model are the same",
    **METER_FAULTS,
    **EVSE_FAULTS,
}


def all_parts(site: Site) -> Iterator[Part]:
    """Every part, from the wires to the office."""
    yield _core(site)
    yield from _ports(site)
    if site.state is CoreState.RUNNING:
        yield from _devices_by_core(site)
    elif site.state is CoreState.STOPPED:
        yield from _devices_directly(site)
    yield from _clock(site)
    yield _disk(site)
    yield _ledger(site)
    yield network(site)
    yield from gateways(site)
    yield office(site)


def _core(site: Site) -> Part:
    if site.core is None:
        return Part(
            "core", "fault", "does not run; nothing is sold", "systemctl start charge-terminal, then: journalctl -u charge-terminal"
        )
    status, latency = timed(lambda: site.core_status)
    out = status.get("out_of_service", "")
    if site.state is CoreState.CLOSED:
        return Part("core", "fault", f"out of service: {status['why']}", "charge-service records verify, then export", latency)
    if out:
        return Part(
            "core",
            "fault",
            f"runs, but is out of service: {out}",
            "look at the parts below and: journalctl -u charge-terminal",
            latency,
        )
    return Part("core", "ok", f"runs, software {status['software']}", "", latency)


def _ports(site: Site) -> Iterator[Part]:
    named = {section.port: f"meter.{name}" for name, section in site.config.meter.items() if section.port}
    named |= {device: f"evse.{name}" for name, one in site.config.evse.items() if (device := evse_device(one))}
    for port, name in named.items():
        part = f"{'GPIO chip' if 'gpiochip' in port else 'serial port'} of {name}"
        try:
            found = os.stat(port)
        except FileNotFoundError:
            yield Part(part, "fault", f"{port} is not there", WIRING["port"])
            continue
        except OSError as error:
            yield Part(part, "fault", f"{port}: {error.strerror}", WIRING["port"])
            continue
        target = os.path.realpath(port)
        shown = port if target == port else f"{port} -> {target}"
        if not stat.S_ISCHR(found.st_mode):
            yield Part(part, "fault", f"{shown} is not a device", "name the adapter's device in terminal.toml")
        elif site.state is CoreState.STOPPED and not os.access(port, os.R_OK | os.W_OK):
            yield Part(part, "fault", f"{shown} may not be opened by {user()}", "try with sudo, or as a member of dialout")
        else:
            yield Part(part, "ok", shown)


def _devices_by_core(site: Site) -> Iterator[Part]:
    faults = {(one["device"], one["connector"]): one for one in site.core_status["faults"]}
    for one in site.core_status["connectors"]:
        number = one["connector"]
        yield _seen(
            "meter", number, faults, one["meter_age_ms"], f"{one['meter_wh']} Wh, {one['power_w']} W, no. {one['meter_serial']}"
        )
        relay = {True: "closed", False: "open", None: "unknown"}[one["relay"]]
        yield _seen("controller", number, faults, one["evse_age_ms"], f"pilot {one['pilot']}, contactor {relay}")
    fault = faults.get(("reader", 0))
    if fault:
        yield Part(
            "reader", "fault", f"{fault['kind']}: {fault['detail']}", READER_NEXT.get(fault["kind"], "charge-service reader probe")
        )
    else:
        yield Part("reader", "ok", "the core can use it")
    for (device, _), one in faults.items():
        if device == "printer":
            said = f"{one['kind']}: {one['detail']}"
            yield Part("printer", "warning", said, "paper, cover, cable; charges go on without it")
        elif device in ("signer", "ui"):
            yield Part(device, "fault", f"{one['kind']}: {one['detail']}", "journalctl -u charge-terminal -u charge-terminal-ui")


def _seen(part: str, number: int, faults: dict[tuple[str, int], Any], age_ms: int | None, says: str) -> Part:
    fault = faults.get(("evse" if part == "controller" else part, number))
    if fault:
        return Part(
            f"{part} {number}",
            "warning" if fault["kind"] == "unexplained" else "fault",
            f"{fault['kind']}: {fault['detail']}",
            WIRING.get(fault["kind"], "check its wiring and power"),
        )
    if age_ms is None or age_ms > STALE_MS:
        said = "never answered since the start" if age_ms is None else f"last answered {age_ms / 1000:.0f} s ago"
        return Part(f"{part} {number}", "fault", said, WIRING["timeout"])
    return Part(f"{part} {number}", "ok", f"{says}; {age_ms / 1000:.1f} s ago")


def _devices_directly(site: Site) -> Iterator[Part]:
    from drivers.evse.open import open_control
    from drivers.meters.modbus_meter import ModbusMeter
    from drivers.system import SystemClock

    clock, settings = SystemClock(), site.config
    try:
        site.claim_devices("check")
    except ServiceTrouble as error:
        yield Part("devices", "fault", str(error))
        return
    for one in settings.connector:
        yield _asked(
            f"meter {one.number}", partial(ModbusMeter, settings.meter[one.meter], f"meter.{one.meter}", clock), _meter_says
        )
        yield _asked(
            f"controller {one.number}", partial(open_control, settings.evse[one.evse], f"evse.{one.evse}", clock), _evse_says
        )
    found = look_at_reader(site)
    if found["trouble"]:
        yield Part("reader", "fault", found["trouble"], found["next"])
    else:
        yield Part("reader", "ok", found["reader"], "", found["latency_ms"])


def _meter_says(device: EnergyMeter) -> str:
    value = device.read()
    return f"{value.energy_wh} Wh, {value.power_w} W, no. {value.serial}"


def _evse_says(device: ChargeControl) -> str:
    now = device.status()
    return f"pilot {now.pilot.value}, contactor {'closed' if now.relay else 'open'}"


def _asked(part: str, build: Callable[[], Any], ask: Callable[[Any], str]) -> Part:
    try:
        device = build()
        with contextlib.closing(device):
            says, latency = timed(lambda: ask(device))
        return Part(part, "ok", says, "", latency)
    except (DeviceUnavailable, DeviceMisread) as error:
        return Part(part, "fault", f"{error.kind}: {error.reason}", WIRING.get(error.kind, "check its wiring and power"))
    except ConfigError as error:
        return Part(part, "fault", str(error), "charge-service config check")


def _clock(site: Site) -> Iterator[Part]:
    from drivers.system import SystemClock

    state, latency = timed(lambda: SystemClock().now().clock.value)
    year = datetime.now(UTC).year
    if year < BUILT_YEAR:
        yield Part("clock", "fault", f"it is {year} here", "set it: timedatectl; is the RTC battery empty?", latency)
    elif state == "S":
        yield Part("clock", "ok", "synchronised", "", latency)
    else:
        yield Part(
            "clock",
            "warning",
            "runs, but nobody synchronises it",
            "systemctl status systemd-timesyncd (or chrony); needs network",
            latency,
        )


def _disk(site: Site) -> Part:
    from drivers.system import disk_space

    folder = site.config.terminal.state_dir
    try:
        space, latency = timed(lambda: disk_space(folder))
    except OSError as error:
        return Part("disk", "fault", f"{folder}: {error.strerror}", "does state_dir exist? the core makes it at its first start")
    free = f"{space.free_bytes // 1024**2} MiB free of {space.total_bytes // 1024**2} MiB"
    if space.read_only:
        says = f"{folder} is mounted read-only: the card may be worn out"
        return Part("disk", "fault", says, "charge-service records export, then replace the card", latency)
    if space.free_bytes < LEAST_FREE:
        return Part(
            "disk", "fault", free, "make room: journalctl --vacuum-size=50M, then look at: du -xh / | sort -h | tail", latency
        )
    if space.free_bytes < FEW_FREE:
        return Part("disk", "warning", free, "make room soon: journalctl --vacuum-size=50M", latency)
    return Part("disk", "ok", free, "", latency)


def _ledger(site: Site) -> Part:
    try:
        (seq, _), latency = timed(lambda: site.books.tail)
        waiting = site.books.waiting()
    except (ServiceTrouble, LedgerBroken) as error:
        return Part("ledger", "fault", str(error), "charge-service records verify")
    return Part(
        "ledger", "ok", f"{seq} entries, {waiting} records wait for the office; proof: charge-service records verify", "", latency
    )
