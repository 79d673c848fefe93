"""`charge-service meter read` and `reader probe | read`: the devices themselves, or the core's newest word about them."""

import time
from collections.abc import Iterator
from typing import Any

import click
from rich.live import Live

from terminal_app.billing.signature import ocmf_key_id
from terminal_app.errors import CardMisread, ChargeError, DeviceMisread, DeviceUnavailable
from terminal_app.ports import SignedMeter
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import CoreState, Site
from terminal_app.units import numeric_country
from terminal_app.values import CardRequest

WATCH_S = 1.0
STALE_MS = 5_000
CARD_SLICE_S = 0.5


@click.group()
def meter() -> None:
    """Energy meters."""


@meter.command()
@click.option("--connector", type=click.IntRange(1, 8), help="Only this connector's meter.")
@click.option("--watch", is_flag=True, help="Every second, until Ctrl-C.")
@click.option("--count", type=click.IntRange(1), help="With --watch: so many times.")
@json_option
@click.pass_obj
def read(site: Site, connector: int | None, watch: bool, count: int | None) -> int:
    """Register, power, serial number. While the core runs: its newest reading; else the meter itself."""
    code, looks = show.OK, _looks(site, connector, (count or -1) if watch else 1)
    if not watch:
        rows = next(looks)
        if site.as_json:
            show.as_json(rows)
        else:
            show.console().print(_table(site, rows))
        return _code(rows)
    if site.as_json:
        for rows in looks:
            show.as_json_line(rows)
            code = _code(rows)
        return code
    with Live(console=show.console(), auto_refresh=False) as live:
        for rows in looks:
            live.update(_table(site, rows), refresh=True)
            code = _code(rows)
    return code


def _looks(site: Site, connector: int | None, times: int) -> Iterator[list[dict[str, Any]]]:
    wanted = [one.number for one in site.config.connector if connector in (None, one.number)]
    if not wanted:
        raise ServiceTrouble(f"there is no connector {connector}; this terminal has {len(site.config.connector)}")
    reading = _from_core if site.state is CoreState.RUNNING else _from_meters
    for number, rows in enumerate(reading(site, wanted)):
        yield rows
        if number + 1 == times:
            return
        time.sleep(WATCH_S)


def _from_core(site: Site, wanted: list[int]) -> Iterator[list[dict[str, Any]]]:
    core = site.running("meter read")
    while True:
        status = core.ask("status")
        faults = {one["connector"]: one for one in status["faults"] if one["device"] == "meter"}
        yield [
            {
                "connector": one["connector"],
                "source": "core",
                "energy_wh": one["meter_wh"],
                "power_w": one["power_w"],
                "serial": one["meter_serial"],
                "signs": one["meter_signs"],
                "spki": one["meter_spki"],
                "utc_ms": one["meter_utc_ms"],
                "age_ms": one["meter_age_ms"],
                "latency_ms": None,
                "trouble": _said(faults.get(one["connector"])) or ("" if one["meter_wh"] is not None else "no reading yet"),
            }
            for one in status["connectors"]
            if one["connector"] in wanted
        ]


def _said(fault: dict[str, Any] | None) -> str:
    return f"{fault['kind']}: {fault['detail']}" if fault else ""


def _from_meters(site: Site, wanted: list[int]) -> Iterator[list[dict[str, Any]]]:
    from drivers.meters.open import open_meter
    from drivers.system import SystemClock

    site.claim_devices("meter read")
    sections = {one.number: one.meter for one in site.config.connector if one.number in wanted}
    clock = SystemClock()
    meters = {number: open_meter(site.config.meter[name], f"meter.{name}", clock) for number, name in sections.items()}
    try:
        while True:
            yield [_asked(number, one) for number, one in meters.items()]
    finally:
        for one in meters.values():
            one.close()


def _asked(number: int, one: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"connector": number, "source": "meter", "trouble": ""}
    row |= dict.fromkeys(("energy_wh", "power_w", "serial", "utc_ms", "age_ms", "latency_ms"))
    row |= {"signs": isinstance(one, SignedMeter), "spki": ""}
    began = time.monotonic()
    try:
        value = one.read()
        row["latency_ms"] = int((time.monotonic() - began) * 1000)
        if isinstance(one, SignedMeter):
            row["spki"] = one.public_key_spki().hex()
    except (DeviceUnavailable, DeviceMisread) as error:
        row["trouble"] = f"{error.kind}: {error.reason}"
        return row
    row |= {
        "energy_wh": value.energy_wh,
        "power_w": value.power_w,
        "serial": value.serial,
        "utc_ms": value.stamp.utc_ms,
        "age_ms": 0,
    }
    return row


def _code(rows: list[dict[str, Any]]) -> int:
    if any(row["trouble"] for row in rows):
        return show.FAULT
    return show.WARNING if any((row["age_ms"] or 0) > STALE_MS for row in rows) else show.OK


def _freshness(row: dict[str, Any]) -> str:
    if row["latency_ms"] is not None:
        return f"read in {row['latency_ms']} ms"
    return "-" if row["age_ms"] is None else f"{row['age_ms'] / 1000:.1f} s old"


def _table(site: Site, rows: list[dict[str, Any]]) -> Any:
    cells = (
        (
            row["connector"],
            show.energy(row["energy_wh"]) or "-",
            "-" if row["power_w"] is None else f"{row['power_w']} W",
            row["serial"] or "-",
            show.moment(row["utc_ms"], site.config.terminal.time_zone) or "-",
            _freshness(row),
            _key(row),
            row["trouble"],
        )
        for row in rows
    )
    heads = ("connector", "register", "power", "serial", "at", "how", "public key", "trouble")
    return show.table(heads, cells, right=("register", "power"))


def _key(row: dict[str, Any]) -> str:
    """As records name it; the whole key stands in --json."""
    if not row["signs"]:
        return "does not sign"
    return ocmf_key_id(bytes.fromhex(row["spki"])) if row["spki"] else "not read"


# --- reader ----------------------------------------------------------------------------------------------------------


@click.group()
def reader() -> None:
    """The card reader."""


@reader.command()
@json_option
@click.pass_obj
def probe(site: Site) -> int:
    """Is the reader there, and is a card in its field? Reads no card; works beside the running core."""
    found = look_at_reader(site)
    if site.as_json:
        show.as_json(found)
    elif found["trouble"]:
        raise ServiceTrouble(f"{found['trouble']}; {found['next']}")
    else:
        card = "a card is in the field" if found["card_present"] else "no card in the field"
        show.console().print(f"{found['reader']}: {card} ({found['latency_ms']} ms)", markup=False)
    return show.FAULT if found["trouble"] else show.OK


READER_NEXT = {
    "no_service": "look at: systemctl status pcscd",
    "no_reader": "plug the reader in and compare: lsusb, and [reader] name in terminal.toml",
    "stuck": "take the card away; if it stays so: systemctl restart pcscd",
    "timeout": "take the card away; if it stays so: systemctl restart pcscd",
}


def look_at_reader(site: Site) -> dict[str, Any]:
    """The reader's state as PC/SC tells it."""
    from drivers.cards.pcsc import PcscError, PcscSlot

    section, began = site.config.reader, time.monotonic()
    found: dict[str, Any] = {"reader": "", "card_present": None, "trouble": "", "kind": "", "next": "", "latency_ms": None}
    slot = PcscSlot(section.name, section.pcsc_socket)
    try:
        seen = slot.watch(0.0)
    except PcscError as error:
        kind = error.category.value
        found |= {
            "trouble": f"reader: {error.detail}",
            "kind": kind,
            "next": READER_NEXT.get(kind, "unplug the reader and plug it in again"),
        }
    else:
        found |= {"reader": seen.reader, "card_present": seen.present, "latency_ms": int((time.monotonic() - began) * 1000)}
    finally:
        slot.close()
    return found


@reader.command("read")
@click.option("--wait", "wait_s", type=click.IntRange(1, 300), default=20, show_default=True, help="Seconds to wait for a card.")
@json_option
@click.pass_obj
def read_card(site: Site, wait_s: int) -> int:
    """Identify the next card: brand, last four digits, application. No money moves; only while the core is stopped."""
    from drivers.cards.pcsc_reader import PcscReader
    from drivers.system import SystemClock

    if site.state is not CoreState.STOPPED:
        raise ServiceTrouble(
            "reader read: the core runs and owns the reader; stop it first (systemctl stop charge-terminal), "
            "or only look: charge-service reader probe"
        )
    site.claim_devices("reader read")
    clock = SystemClock()
    device = PcscReader(site.config.reader, clock)
    try:
        facts = _identify(site, device, clock, wait_s)
    finally:
        device.close()
    if site.as_json:
        show.as_json(facts)
    else:
        show.console().print(show.facts(facts.items()))
    return show.OK


def _identify(site: Site, device: Any, clock: Any, wait_s: int) -> dict[str, Any]:
    terminal, began = site.config.terminal, time.monotonic()
    if not site.as_json:
        show.console().print(f"Hold a card to the reader (within {wait_s} s) ...")
    with show.progress("waiting for a card", wait_s) as done:
        while not device.wait_card(CARD_SLICE_S):
            done(int(time.monotonic() - began))
            if time.monotonic() - began > wait_s:
                raise ServiceTrouble(f"no card within {wait_s} s; the reader itself answers")
    request = CardRequest(
        pay=False,
        amount_minor=0,
        currency=terminal.currency,
        country=numeric_country(terminal.country),
        utc_ms=clock.now().utc_ms,
        serial=1,
    )
    read_at = time.monotonic()
    try:
        card = device.read(request)
    except CardMisread as error:
        raise ServiceTrouble(f"{error}; hold it still for two seconds, one card alone") from error
    except ChargeError as error:
        raise ServiceTrouble(f"{error}; look at: charge-service reader probe") from error
    card.wipe()
    facts = card.facts
    return {
        "brand": facts.brand,
        "last4": facts.last4,
        "label": facts.label,
        "aid": facts.aid,
        "entry": facts.entry.value,
        "cvm": facts.cvm,
        "latency_ms": int((time.monotonic() - read_at) * 1000),
    }
