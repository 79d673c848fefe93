"""`charge-service meter accept | trust | balance` and `evse accept`: what only a person can say of them, and where energy went."""

from collections.abc import Iterator
from typing import Any

import click
from rich.markup import escape

from terminal_app.ledger.entry import Entry
from terminal_app.run.service import show
from terminal_app.run.service.options import CONNECTOR, REASON, json_option
from terminal_app.run.service.site import CoreState, Site
from terminal_app.session import facts as f

KINDS = ("energy_balance", "meter_accepted")


@click.command("accept")
@CONNECTOR
@REASON
@json_option
@click.pass_obj
def meter_accept(site: Site, connector: int, reason: str) -> int:
    """The meter was replaced or reset and is right as it answers now: the connector is for sale again, with a new base.

    What flowed in between is told as unexplained; no driver pays for it.
    """
    answer = site.running("meter accept").ask("meter.accept", connector=connector, reason=reason)
    if site.as_json:
        show.as_json(answer)
    else:
        told = f"Accepted: meter {answer['serial']} on connector {connector}, from {show.energy(answer['energy_wh'])} on."
        show.console().print(escape(told))
    return show.OK


@click.command("trust")
@CONNECTOR
@click.option("--reason", required=True, help="What was found; it stands in the ledger with your name.")
@json_option
@click.pass_obj
def meter_trust(site: Site, connector: int, reason: str) -> int:
    """Sell on a signing meter again whose last record did not verify (fault `meter: record`). That charge stays unbilled."""
    answer = site.running("meter trust").ask("meter.trust", connector=connector, reason=reason)
    if site.as_json:
        show.as_json(answer)
    else:
        show.console().print(f"Ordered: connector {connector} is sold again. It was: {answer['was']}", markup=False)
    return show.OK


@click.command("accept")
@CONNECTOR
@REASON
@json_option
@click.pass_obj
def evse_accept(site: Site, connector: int, reason: str) -> int:
    """The weld alarm is over: you saw the contactor open. Refused until its register has stood still for a minute."""
    answer = site.running("evse accept").ask("evse.accept", connector=connector, reason=reason)
    if site.as_json:
        show.as_json(answer)
    else:
        show.console().print(f"Cleared on connector {connector}: {', '.join(answer['cleared'])}")
    return show.OK


@click.command()
@click.option("--connector", type=click.IntRange(1, 8), help="Only this connector's meter.")
@click.option("--limit", type=click.IntRange(1, 1000), default=14, show_default=True, help="So many closed accounts.")
@json_option
@click.pass_obj
def balance(site: Site, connector: int | None, limit: int) -> int:
    """Where the energy went: rise of the register = sessions + tests + unexplained. Exit code 1 if a day's share is too high."""
    closed = [one for one in _closed(site, limit) if connector in (None, one["connector"])]
    running = site.running("meter balance").ask("meter.balance") if site.state is CoreState.RUNNING else []
    open_now = [one for one in running if connector in (None, one["connector"])]
    faults = site.core_status["faults"] if site.state is CoreState.RUNNING else []
    loud = any((one["device"], one["kind"]) == ("meter", "unexplained") for one in faults)
    if site.as_json:
        show.as_json({"open": open_now, "closed": closed})
    elif rows := [*(_row(site, one) for one in open_now), *(_row(site, one) for one in closed)]:
        columns = ("connector", "meter", "from", "to", "rise", "sessions", "tests", "unexplained", "")
        show.console().print(show.table(columns, rows, right=("rise", "sessions", "tests", "unexplained")))
    else:
        show.console().print("no account yet: it begins with the first charge")
    return show.WARNING if loud else show.OK


def _closed(site: Site, limit: int) -> Iterator[dict[str, Any]]:
    for entry in site.books.entries(kinds=KINDS, newest_first=True, limit=limit):
        yield _balanced(entry.fact) if isinstance(entry.fact, f.EnergyBalance) else _accepted(entry)


def _balanced(fact: f.EnergyBalance) -> dict[str, Any]:
    return {
        "connector": fact.connector,
        "serial": fact.serial,
        "began_utc_ms": fact.began.utc_ms,
        "ended_utc_ms": fact.ended.utc_ms,
        "from_wh": fact.from_wh,
        "to_wh": fact.to_wh,
        "risen_wh": fact.sessions_wh + fact.tests_wh + fact.unexplained_wh,
        "sessions_wh": fact.sessions_wh,
        "tests_wh": fact.tests_wh,
        "unexplained_wh": fact.unexplained_wh,
        "why": fact.why,
    }


def _accepted(entry: Entry) -> dict[str, Any]:
    fact = entry.fact
    assert isinstance(fact, f.MeterAccepted)
    return {
        "connector": fact.connector,
        "serial": fact.value.serial,
        "began_utc_ms": entry.stamp.utc_ms,
        "ended_utc_ms": entry.stamp.utc_ms,
        "from_wh": fact.old.energy_wh if fact.old else None,
        "to_wh": fact.value.energy_wh,
        "unexplained_wh": fact.unexplained_wh,
        "why": f"accepted by {fact.actor}: {fact.reason}",
    }


def _row(site: Site, one: dict[str, Any]) -> tuple[Any, ...]:
    zone = site.config.terminal.time_zone
    if one["began_utc_ms"] is None:
        return (one["connector"], one["serial"] or "-", "-", "-", "", "", "", "", "no charge yet")
    until = show.moment(one["ended_utc_ms"], zone) if "ended_utc_ms" in one else "now"
    sums = (_energy(one.get(name)) for name in ("risen_wh", "sessions_wh", "tests_wh", "unexplained_wh"))
    begin, end = (_energy(one[name]) for name in ("from_wh", "to_wh"))
    said = escape(str(one.get("why", "charging" if one.get("charging") else "")))
    return (one["connector"], one["serial"], f"{show.moment(one['began_utc_ms'], zone)} {begin}", f"{until} {end}", *sums, said)


def _energy(energy_wh: int | None) -> str:
    return "unknown" if energy_wh is None else show.energy(energy_wh)
