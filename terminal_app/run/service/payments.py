"""`charge-service payments list | open`: holds and what became of them."""

import time
from typing import Any

import click
from rich.markup import escape

from terminal_app.run.service import show
from terminal_app.run.service.chapters import newest_holds, open_holds, plain
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import CoreState, Site

TRIES_BEFORE_WARNING = 3


@click.group()
def payments() -> None:
    """Holds on cards and accounts."""


@payments.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_(site: Site, limit: int) -> int:
    """The newest holds. Exit code 1 if a person must look at one of them."""
    found = newest_holds(site.books, limit)
    manual = [one for one in found if one.phase == "manual"]
    if site.as_json:
        show.as_json([plain(one) for one in found])
    elif not found:
        show.console().print("no payment yet")
    else:
        rows = (
            (
                one.hold_id,
                one.session_id[:8],
                show.moment(one.asked_utc_ms, site.config.terminal.time_zone),
                one.gateway,
                one.card,
                show.money(one.approved_minor, one.currency),
                one.phase,
                show.money(one.moved_minor, one.currency),
                one.record_seq or "",
            )
            for one in found
        )
        columns = ("hold", "session", "asked", "gateway", "card", "held", "state", "taken", "record")
        show.console().print(show.table(columns, rows, right=("held", "taken")))
        for one in manual:
            show.console().print(
                f"[yellow]{one.hold_id} needs a person:[/] {escape(one.detail)}. Ask the gateway, then settle it there."
            )
    return show.WARNING if manual else show.OK


@payments.command("open")
@json_option
@click.pass_obj
def open_(site: Site) -> int:
    """Holds that have not ended yet, with their age. Exit code 1 if one is not answered after several tries."""
    found = _open(site)
    stuck = [one for one in found if one["tries"] >= TRIES_BEFORE_WARNING or one["how"] == "manual"]
    if site.as_json:
        show.as_json(found)
    elif not found:
        show.console().print("no open holds")
    else:
        rows = (
            (
                one["hold_id"],
                one["session_id"][:8],
                one["gateway"],
                one["card"],
                one["phase"],
                show.money(one["approved_minor"] or one["asked_minor"], one["currency"]),
                show.duration(one["age_s"] * 1000),
                one["tries"],
                one["detail"],
            )
            for one in found
        )
        columns = ("hold", "session", "gateway", "card", "state", "amount", "age", "tries", "detail")
        show.console().print(show.table(columns, rows, right=("amount", "age", "tries")))
    return show.WARNING if stuck else show.OK


def _open(site: Site) -> list[dict[str, Any]]:
    if site.state is CoreState.RUNNING:
        return list(site.running("payments").ask("payments.open"))
    now_ms = time.time_ns() // 1_000_000
    return [
        plain(one) | {"how": "", "tries": 0, "step_minor": 0, "age_s": max(0, now_ms - one.asked_utc_ms) // 1000}
        for one in open_holds(site.books)
    ]
