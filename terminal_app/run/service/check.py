"""`charge-service check`: one line per part, the broken ones with what to do next."""

import contextlib
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from terminal_app.run.service import show
from terminal_app.run.service.options import json_option
from terminal_app.run.service.part import Part
from terminal_app.run.service.parts import all_parts
from terminal_app.run.service.site import Site

CODES = {"ok": show.OK, "warning": show.WARNING, "fault": show.FAULT}


@click.command()
@json_option
@click.pass_obj
def check(site: Site) -> int:
    """Which part is broken: ports, meter, controller, reader, clock, disk, ledger, network, gateway, office."""
    found = [] if site.as_json else _print_as_it_comes(site)
    if site.as_json:
        body = look(site)
        show.as_json(body)
        return CODES[body["state"]]
    return worst(found)


def look(site: Site) -> dict[str, Any]:
    """All parts as plain JSON."""
    found = list(all_parts(site))
    return {"state": show.STATE_NAMES[worst(found)], "parts": [vars(one) for one in found]}


def worst(found: list[Part]) -> int:
    return max((CODES[one.state] for one in found), default=show.OK)


def _print_as_it_comes(site: Site) -> list[Part]:
    out, found = show.console(), list[Part]()
    with Console(stderr=True).status("checking") if sys.stderr.isatty() else contextlib.nullcontext():
        for one in all_parts(site):
            found.append(one)
            took = "" if one.latency_ms is None else f"{one.latency_ms} ms"
            pad = " " * (9 - len(one.state))
            out.print(f"{show.styled(one.state)}{pad}{escape(one.part):<27}{took:>8}  {escape(one.says)}", soft_wrap=True)
            if one.next:
                out.print(f"         -> {escape(one.next)}", soft_wrap=True)
    return found
