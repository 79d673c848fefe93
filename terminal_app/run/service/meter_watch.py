"""`charge-service meter watch`: one meter, every second."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.live import Live

from drivers.meters.profile import Profile
from terminal_app.config import MeterSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.run.service import show
from terminal_app.run.service.meter_line import line_options, place_of
from terminal_app.run.service.meter_profiles import decimal_text, loaded
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site

WATCH_S = 1.0


@click.command()
@line_options
@click.option("--profile", "--model", "name", required=True, help="A model's name or a profile's file.")
@click.option("--unit", type=click.IntRange(1, 247), help="As the profile says unless given.")
@click.option("--count", type=click.IntRange(1), help="So many times, then end.")
@json_option
@click.pass_obj
def watch(site: Site, /, name: str, unit: int | None, count: int | None, **given: Any) -> int:
    """Every point of one meter each second: value, step of the register, time of the answer, errors. Ends with Ctrl-C."""
    from drivers.meters.modbus_meter import ModbusMeter
    from drivers.system import SystemClock

    place, one = place_of(site, "meter watch", given), loaded(name)
    section = MeterSection(
        profile=one.name if "/" not in name and not name.endswith(".toml") else str(Path(name).absolute()),
        unit=unit or one.line.unit,
        port=place.port,
        host=place.host,
        tcp_port=place.tcp_port,
        framing=place.framing,  # type: ignore[arg-type]
        baud_rate=place.baud,  # type: ignore[arg-type]
        parity=place.parity,  # type: ignore[arg-type]
        stop_bits=place.stop,  # type: ignore[arg-type]
    )
    meter = ModbusMeter(section, f"meter at {place.name}", SystemClock())
    state = {"errors": 0, "looks": 0}
    try:
        if site.as_json:
            for row in _looks(meter, state, count):
                show.as_json_line(row)
        else:
            with Live(console=show.console(), auto_refresh=False) as live:
                for row in _looks(meter, state, count):
                    live.update(_seen(row, one), refresh=True)
    finally:
        meter.close()
    return show.FAULT if state["errors"] == state["looks"] else show.WARNING if state["errors"] else show.OK


def _looks(meter: Any, state: dict[str, int], count: int | None) -> Iterator[dict[str, Any]]:
    while True:
        began = time.monotonic()
        row: dict[str, Any] = {"values": {}, "resolution_wh": None, "trouble": ""}
        try:
            row["values"] = {name: decimal_text(value) for name, value in meter.shown().items()}
            row["latency_ms"] = int((time.monotonic() - began) * 1000)
            row["resolution_wh"] = meter.identity().resolution_wh
        except (DeviceUnavailable, DeviceMisread) as error:
            row["latency_ms"] = int((time.monotonic() - began) * 1000)
            row["trouble"] = f"{error.kind}: {error.reason}"
        state["looks"] += 1
        state["errors"] += bool(row["trouble"])
        yield row | state
        if count is not None and state["looks"] >= count:
            return
        time.sleep(WATCH_S)


def _seen(row: dict[str, Any], one: Profile) -> Any:
    pairs = [(name, f"{value} {one.points[name].unit}".strip()) for name, value in row["values"].items()]
    pairs.append(("step of the register", "-" if row["resolution_wh"] is None else f"{row['resolution_wh']} Wh"))
    pairs.append(("answered in", f"{row['latency_ms']} ms"))
    pairs.append(("errors", f"{row['errors']} of {row['looks']} {row['trouble']}".strip()))
    return show.facts(pairs)


COMMANDS = (watch,)
