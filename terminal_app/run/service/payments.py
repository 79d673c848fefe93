"""`charge-service payments list | show | open | watch | retry | release | refund`: holds and what became of them."""

import time
from typing import Any

import click
import msgspec
import rich.live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from terminal_app import units
from terminal_app.run.service import show
from terminal_app.run.service.chapters import hold_chapters, hold_summary, newest_holds, open_holds, plain
from terminal_app.run.service.options import REASON, json_option
from terminal_app.run.service.site import CoreState, Site
from terminal_app.run.service.words import Teller

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
                show.money(one.refunded_minor, one.currency) if one.refunded_minor else "",
                one.record_seq or "",
            )
            for one in found
        )
        columns = ("hold", "session", "asked", "gateway", "card", "held", "state", "taken", "given back", "record")
        show.console().print(show.table(columns, rows, right=("held", "taken", "given back")))
        for one in manual:
            show.console().print(
                f"[yellow]{one.hold_id} needs a person:[/] {escape(one.detail)}. Ask the gateway; then: "
                f"charge-service payments retry {one.hold_id[:8]} --reason ..., or release"
            )
    return show.WARNING if manual else show.OK


@payments.command("show")
@click.argument("hold")
@json_option
@click.pass_obj
def show_(site: Site, hold: str) -> int:
    """Everything about one hold, step by step; the beginning of its id is enough. Exit code 1 if it needs a person."""
    entries = hold_chapters(site.books, hold)
    found = hold_summary(entries)
    teller = Teller(found.currency)
    if site.as_json:
        told = [{"seq": one.seq, "utc_ms": one.stamp.utc_ms, "kind": one.kind, "said": teller.tell(one)} for one in entries]
        show.as_json(plain(found) | {"entries": told})
        return show.WARNING if found.phase == "manual" else show.OK
    out, zone = show.console(), site.config.terminal.time_zone
    for entry in entries:
        out.print(f"{show.moment(entry.stamp.utc_ms, zone)}  {escape(teller.tell(entry))}")
    sums = {"held": found.approved_minor, "taken": found.moved_minor, "given back": found.refunded_minor}
    out.print(show.facts([(name, show.money(amount, found.currency)) for name, amount in sums.items()]))
    if found.phase == "manual":
        out.print(f"[yellow]needs a person:[/] ask the gateway {found.gateway}, then retry, release or refund it here")
    return show.WARNING if found.phase == "manual" else show.OK


@payments.command("open")
@json_option
@click.pass_obj
def open_(site: Site) -> int:
    """The register of open holds, oldest first. Exit code 1 if one is overdue, or not answered after several tries."""
    found = _open(site)
    if site.as_json:
        show.as_json(found)
    else:
        show.console().print(_register(found) if found else "no open holds")
    return show.WARNING if any(_stuck(one) for one in found) else show.OK


@payments.command()
@click.option("--every", "every_s", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many looks; default: until Ctrl-C.")
@json_option
@click.pass_obj
def watch(site: Site, every_s: float, count: int | None) -> int:
    """The register of open holds, live. With --json one line a look. Exit code as `open`, of the last look."""
    looks, found = 0, list[dict[str, Any]]()
    with rich.live.Live(console=show.console(), auto_refresh=False, screen=False) as live:
        while count is None or looks < count:
            if looks:
                time.sleep(every_s)
            found, looks = _open(site), looks + 1
            if site.as_json:
                click.echo(msgspec.json.encode(found))
            else:
                live.update(_register(found) if found else Text("no open holds\n"), refresh=True)
    return show.WARNING if any(_stuck(one) for one in found) else show.OK


def _register(found: list[dict[str, Any]]) -> Table:
    rows = (
        (
            one["hold_id"],
            one["session_id"][:8],
            one["gateway"],
            one["card"],
            f"{one['phase']}, overdue" if one["overdue"] else one["phase"],
            show.money(one["approved_minor"] or one["asked_minor"], one["currency"]),
            show.duration(one["age_s"] * 1000),
            one["tries"],
            one["detail"],
        )
        for one in found
    )
    columns = ("hold", "session", "gateway", "card", "state", "amount", "age", "tries", "detail")
    return show.table(columns, rows, right=("amount", "age", "tries"))


def _stuck(one: dict[str, Any]) -> bool:
    return bool(one["tries"] >= TRIES_BEFORE_WARNING or one["how"] == "manual" or one["overdue"])


def _open(site: Site) -> list[dict[str, Any]]:
    if site.state is CoreState.RUNNING:
        return list(site.running("payments").ask("payments.open"))
    now_ms = time.time_ns() // 1_000_000
    unknown = {"how": "", "tries": 0, "step_minor": 0, "overdue": False, "offline": False, "capture_before_utc_ms": None}
    return [plain(one) | unknown | {"age_s": max(0, now_ms - one.asked_utc_ms) // 1000} for one in open_holds(site.books)]


# --- orders ----------------------------------------------------------------------------------------------------------


@payments.command()
@click.argument("hold")
@REASON
@json_option
@click.pass_obj
def retry(site: Site, hold: str, reason: str) -> int:
    """Try the next step of a hold at once; of one that became manual the same step again, with the same serial and key."""
    answer = site.running("payments retry").ask("payment.retry", hold_id=hold, reason=reason)
    return _ordered(site, answer, "its next step is tried now")


@payments.command()
@click.argument("hold")
@REASON
@json_option
@click.pass_obj
def release(site: Site, hold: str, reason: str) -> int:
    """Release a hold that serves no charge, or one that became manual without a capture."""
    answer = site.running("payments release").ask("payment.release", hold_id=hold, reason=reason)
    return _ordered(site, answer, "it shall be released")


@payments.command()
@click.argument("hold")
@click.option("--amount", help="How much, e.g. 12.50; default: all that was taken and not given back.")
@REASON
@json_option
@click.pass_obj
def refund(site: Site, hold: str, amount: str | None, reason: str) -> int:
    """Give back money that was taken; never more than was taken. A signed record of it goes to the office."""
    wanted: dict[str, Any] = {}
    if amount is not None:
        try:
            wanted["amount_minor"] = units.to_minor(amount, site.config.terminal.currency)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--amount") from error
    answer = site.running("payments refund").ask("payment.refund", hold_id=hold, reason=reason, **wanted)
    return _ordered(site, answer, f"{show.money(answer['amount_minor'], site.config.terminal.currency)} shall be given back")


def _ordered(site: Site, answer: dict[str, Any], what: str) -> int:
    if site.as_json:
        show.as_json(answer)
    else:
        hold_id = answer["hold_id"]
        show.console().print(f"Ordered: hold {hold_id}: {what}. What comes of it: charge-service payments show {hold_id[:8]}")
    return show.OK
