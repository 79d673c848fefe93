"""`charge-service meter scan | identify`: what is on a line, and which profiles fit."""

import math
from typing import Any

import click

from drivers.meters.profile import Line, Profile
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.meter_line import Place, address_of, known_profiles, line_options, opened, place_of
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site


@click.command()
@line_options
@click.option("--unit", type=click.IntRange(1, 247), multiple=True, help="Only these unit ids.")
@click.option("--all-units", is_flag=True, help="Unit ids 1 to 247, not only the usual ones.")
@click.option("--dry-run", is_flag=True, help="Only say what would be tried and how long it takes at most.")
@json_option
@click.pass_obj
def scan(site: Site, /, unit: tuple[int, ...], all_units: bool, dry_run: bool, **given: Any) -> int:
    """Find meters: tries line settings and unit ids in a bounded time, then ranks the profiles that fit."""
    from drivers.meters import survey

    place = place_of(site, "meter scan", given)
    known = known_profiles()
    lines = [Line(9600, "N", 1)] if place.host else survey.lines_of(known)
    lines = _chosen(lines, place)
    asked = survey.probes(lines, unit or (survey.ALL_UNITS if all_units else survey.LIKELY_UNITS))
    limit_s = math.ceil(survey.longest_s(asked))
    if dry_run:
        body = {"line": place.name, "settings": [_setting(line) for line in lines], "probes": len(asked), "at_most_s": limit_s}
        show.as_json(body) if site.as_json else show.console().print(show.facts(body.items()))
        return show.OK
    if not site.as_json:
        show.console().print(f"{len(lines)} line settings, {len(asked)} questions: at most {limit_s} s, less if a meter is found.")
    found = [_identified(place, probe.line, probe.unit, known) for probe in _answering(place, asked)]
    return _told(site, found, f"nothing answered on {place.name}: check power, A/B wires, termination, and try --all-units")


def _chosen(lines: list[Line], place: Place) -> list[Line]:
    """Those settings that agree with what was given; what was given is tried in any case."""
    if place.host:
        return lines
    fits = [
        line
        for line in lines
        if place.baud in (None, line.baud) and place.parity in (None, line.parity) and place.stop in (None, line.stop)
    ]
    if fits:
        return fits
    return [Line(place.baud or 9600, place.parity or "N", place.stop or 1)]  # type: ignore[arg-type]


def _setting(line: Line) -> str:
    return f"{line.baud} 8{line.parity}{line.stop}"


def _answering(place: Place, asked: list[Any]) -> list[Any]:
    """The probes that were answered. After the first hit the other settings are left: one line has one setting."""
    from drivers.meters import survey
    from drivers.meters.bus import ModbusFault

    hits: list[Any] = []
    with show.progress(f"asking on {place.name}", len(asked)) as done:
        try:
            for number, (probe, answered) in enumerate(survey.scan(address_of(place, asked[0].line), asked), 1):
                done(number)
                if answered:
                    hits.append(probe)
        except ModbusFault as fault:
            raise ServiceTrouble(fault.reason) from fault
    return hits


@click.command()
@line_options
@click.option("--unit", type=click.IntRange(1, 247), default=1, show_default=True)
@json_option
@click.pass_obj
def identify(site: Site, /, unit: int, **given: Any) -> int:
    """Which profiles fit the meter with this unit id at these line settings (default 9600 8N1)."""
    place = place_of(site, "meter identify", given)
    found = _identified(place, Line(9600, "N", 1), unit, known_profiles())
    return _told(site, [found], f"unit {unit} on {place.name} does not answer, or no profile fits")


def _identified(place: Place, line: Line, unit: int, known: list[Profile]) -> dict[str, Any]:
    from drivers.meters import survey
    from drivers.meters.bus import ModbusFault

    candidates = []
    with opened(place, line) as bus, show.progress(f"comparing unit {unit} with the profiles", len(known)) as done:
        try:
            for number, one in enumerate(survey.Identification(bus, unit).candidates(known), 1):
                candidates.append(one)
                done(number)
        except ModbusFault as fault:
            raise ServiceTrouble(fault.reason) from fault
        address = bus.address
    return {
        "unit": unit,
        "line": place.name,
        "setting": "tcp" if place.host else f"{address.baud} 8{address.parity}{address.stop}",
        "candidates": [
            {
                "profile": one.profile.name,
                "model": f"{one.profile.vendor} {one.profile.model}",
                "fits": one.fits,
                "points": one.points,
                "serial": one.serial,
                "signs": bool(one.profile.signed),
            }
            for one in survey.ranked(candidates)
        ],
    }


def _told(site: Site, found: list[dict[str, Any]], nothing: str) -> int:
    if site.as_json:
        show.as_json(found)
    elif not found or not any(one["candidates"] for one in found):
        for one in found:
            show.console().print(f"unit {one['unit']} at {one['setting']} answers, but no profile fits: see meter dump, meter new")
        if not found:
            raise ServiceTrouble(nothing)
    else:
        rows = [
            (
                one["unit"],
                one["setting"],
                rank,
                fit["profile"],
                f"{fit['model']}{' (signs)' if fit['signs'] else ''}",
                f"{fit['fits']}/{fit['points']}",
                fit["serial"],
            )
            for one in found
            for rank, fit in enumerate(one["candidates"], 1)
        ]
        columns = ("unit", "setting", "rank", "profile", "model", "points", "serial")
        show.console().print(show.table(columns, rows, right=("unit", "rank", "points")))
    if not found:
        return show.FAULT
    return show.OK if all(one["candidates"] for one in found) else show.WARNING


COMMANDS = (scan, identify)
