"""`charge-service evse status | watch`: the charge controllers themselves, or the core's newest word about them.

Directly only under the core's lock. A controller that is met is locked first (that is what its driver does at every first
contact): with the core stopped nothing is paid for, so nothing may flow. Nothing here closes a contactor (`evse_test` does).
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import click
from rich.live import Live

from terminal_app.config import power_up_a
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.ports import ChargeControl
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import CoreState, Site
from terminal_app.run.service.status import PILOTS

WATCH_S = 1.0
STALE_MS = 5_000
RELAYS = {True: "closed", False: "open", None: "unknown"}
Row = dict[str, Any]


@click.group()
def evse() -> None:
    """Charge controllers."""


connector_option = click.option("--connector", type=click.IntRange(1, 8), help="Only this connector's controller.")


@evse.command("status")
@connector_option
@json_option
@click.pass_obj
def evse_status(site: Site, connector: int | None) -> int:
    """Pilot, contactor, authorization, limit, fault. While the core runs: its newest word; else the controller itself."""
    rows = next(_looks(site, connector, "evse status"))
    if site.as_json:
        show.as_json(rows)
    else:
        show.console().print(_table(rows))
    return _code(rows)


@evse.command()
@connector_option
@click.option("--count", type=click.IntRange(1), help="So many times, then end.")
@json_option
@click.pass_obj
def watch(site: Site, connector: int | None, count: int | None) -> int:
    """The same every second, with the changes since. Ends with Ctrl-C."""
    code, changes, before = show.OK, 0, None
    with contextlib.ExitStack() as stack:
        live = None if site.as_json else stack.enter_context(Live(console=show.console(), auto_refresh=False))
        for number, rows in enumerate(_looks(site, connector, "evse watch"), 1):
            seen = [{key: row[key] for key in ("pilot", "relay", "authorized", "limit_a", "trouble")} for row in rows]
            changes += before is not None and seen != before
            before, code = seen, max(code, _code(rows))
            if live is None:
                show.as_json_line({"changes": changes, "controllers": rows})
            else:
                live.update(_table(rows, f"{number} looks, {changes} changes"), refresh=True)
            if number == count:
                break
            time.sleep(WATCH_S)
    return code


def _looks(site: Site, connector: int | None, what: str) -> Iterator[list[Row]]:
    wanted = [one.number for one in site.config.connector if connector in (None, one.number)]
    if not wanted:
        raise ServiceTrouble(f"there is no connector {connector}; this terminal has {len(site.config.connector)}")
    return _from_core(site, wanted, what) if site.state is not CoreState.STOPPED else _from_controllers(site, wanted, what)


def _from_core(site: Site, wanted: list[int], what: str) -> Iterator[list[Row]]:
    core = site.running(what)
    while True:
        status = core.ask("status")
        faults = {one["connector"]: one for one in status["faults"] if one["device"] == "evse"}
        yield [
            {
                "connector": one["connector"],
                "driver": _driver(site, one["connector"]),
                "source": "core",
                "guards": _guards(site, one["connector"]),
                "pilot": one["pilot"],
                "relay": one["relay"],
                "authorized": bool(one["limit_a"]) if one["limit_a"] is not None else None,
                "limit_a": one["limit_a"],
                "in_force_a": one["in_force_a"],
                "ordered_a": one["ordered_a"],
                "age_ms": one["evse_age_ms"],
                "latency_ms": None,
                "trouble": _said(faults.get(one["connector"])) or ("" if one["pilot"] else "no answer yet"),
            }
            for one in status["connectors"]
            if one["connector"] in wanted
        ]


def _said(fault: Row | None) -> str:
    return f"{fault['kind']}: {fault['detail']}".rstrip(": ") if fault else ""


def _from_controllers(site: Site, wanted: list[int], what: str) -> Iterator[list[Row]]:
    from drivers.evse.open import open_control
    from drivers.system import SystemClock

    site.claim_devices(what)
    clock = SystemClock()
    with contextlib.ExitStack() as stack:
        controls = {
            one.number: stack.enter_context(contextlib.closing(open_control(site.config.evse[one.evse], f"evse.{one.evse}", clock)))
            for one in site.config.connector
            if one.number in wanted
        }
        while True:
            yield [_asked(site, number, one) for number, one in controls.items()]


def _asked(site: Site, number: int, control: ChargeControl) -> Row:
    row: Row = {"connector": number, "driver": _driver(site, number), "source": "controller", "trouble": ""}
    row |= {"guards": _guards(site, number)}
    row |= dict.fromkeys(("pilot", "relay", "authorized", "limit_a", "in_force_a", "ordered_a", "age_ms", "latency_ms"))
    began = time.monotonic()
    try:
        found = control.status()
    except (DeviceUnavailable, DeviceMisread) as error:
        row["trouble"] = f"{error.kind}: {error.reason}"
        return row
    row |= {
        "pilot": found.pilot.value,
        "relay": found.relay,
        "authorized": found.authorized,
        "limit_a": found.limit_a,
        "age_ms": 0,
        "latency_ms": int((time.monotonic() - began) * 1000),
        "trouble": found.fault,
    }
    return row


def _driver(site: Site, number: int) -> str:
    """The `driver` of a connector's section, as the configuration names it."""
    return str(site.config.evse[site.config.outlet(number).evse].__struct_config__.tag)


def _guards(site: Site, number: int) -> str:
    """What the controller does when nobody talks to it, as a short word; none of the drivers knows one with a watchdog."""
    one = site.config.outlet(number)
    return f"no; {power_up_a(site.config, one)} A at most after a power-up"


def _code(rows: list[Row]) -> int:
    if any(row["trouble"] for row in rows):
        return show.FAULT
    return show.WARNING if any((row["age_ms"] or 0) > STALE_MS for row in rows) else show.OK


def _table(rows: list[Row], title: str = "") -> Any:
    cells = (
        (
            row["connector"],
            row["driver"],
            f"{row['pilot']} {PILOTS[row['pilot']]}" if row["pilot"] else "unknown",
            RELAYS[row["relay"]],
            {True: f"up to {row['limit_a']} A", False: "not authorized", None: "unknown"}[row["authorized"]] + _ordered(row),
            f"{row['latency_ms']} ms" if row["latency_ms"] is not None else _age(row["age_ms"]),
            row["guards"],
            row["trouble"],
        )
        for row in rows
    )
    return show.table(
        ("connector", "driver", "pilot", "contactor", "charge", "answered", "guards itself", "trouble"), cells, title=title
    )


def _ordered(row: Row) -> str:
    return "" if row["ordered_a"] is None else f" (ordered: {row['ordered_a']} A)"


def _age(age_ms: int | None) -> str:
    return "-" if age_ms is None else f"{age_ms / 1000:.1f} s ago"
