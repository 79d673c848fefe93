"""`charge-service status`: one look at the whole terminal."""

from typing import Any

import click
from rich.markup import escape

from terminal_app.errors import LedgerBroken
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import CoreState, Site
from terminal_app.run.service.words import EVSE_FAULTS, METER_FAULTS

SERIOUS = ("meter", "evse", "reader", "ledger", "signer", "disk")
REMEDIES = {
    "repeated_crash": "it died again and again; see journalctl -u charge-terminal. "
    "It sells again after ten good minutes, or after systemctl restart charge-terminal"
}
PILOTS = {
    "A": "no car",
    "B": "car connected",
    "C": "car charges",
    "D": "wants ventilation",
    "E": "pilot error",
    "F": "not available",
}


@click.command()
@json_option
@click.pass_obj
def status(site: Site) -> int:
    """Connectors, faults, money under way, records waiting."""
    body, code = look(site)
    if site.as_json:
        show.as_json(body)
    else:
        _print(site, body, code)
    return code


def look(site: Site) -> tuple[dict[str, Any], int]:
    """What `status` says, and its exit code."""
    if site.state is CoreState.STOPPED:
        return _stopped(site), show.FAULT
    body = {"core": site.state.value, **site.core_status}
    return body, exit_code(body)


def exit_code(body: dict[str, Any]) -> int:
    """FAULT: nothing or not everything can be sold. WARNING: it sells, but somebody should look."""
    faults = [fault["device"] for fault in body.get("faults", [])]
    serious = [one for one in body.get("faults", []) if one["device"] in SERIOUS and one.get("kind") != "unexplained"]
    if body.get("out_of_service") or body["core"] != "running" or serious:
        return show.FAULT
    idle = [one for one in body["connectors"] if not one["for_sale"] and not one["session"]]
    return show.WARNING if faults or idle or body.get("manual_holds") else show.OK


def _stopped(site: Site) -> dict[str, Any]:
    body: dict[str, Any] = {
        "core": "stopped",
        "terminal": site.config.terminal.id,
        "mode": site.config.terminal.mode,
        "connectors": [],
    }
    try:
        books = site.books
        body["ledger"] = {"entries": books.tail[0], "head": books.tail[1]}
        body["chain_id"] = books.chain
        newest = list(books.records(newest_first=True, limit=1))
        body["records"] = {"sealed": newest[0].seq if newest else 0, "waiting": books.waiting()}
    except (ServiceTrouble, LedgerBroken) as error:
        body["ledger"] = {"trouble": str(error)}
    return body


def _print(site: Site, body: dict[str, Any], code: int) -> None:
    out = show.console()
    mode = " DEMO" if body.get("mode") == "demo" else ""
    out.print(f"[bold]{body['terminal']}[/]{mode}  core {body['core']}  {show.styled(show.STATE_NAMES[code])}")
    if body["core"] == "stopped":
        out.print("The core does not run; nothing is sold. Start it: systemctl start charge-terminal")
    if why := body.get("why") or body.get("out_of_service"):
        remedy = f": {REMEDIES[why]}" if why in REMEDIES else ""
        out.print(f"[bold red]out of service:[/] {escape(why)}{remedy}", soft_wrap=True)
    if body["connectors"]:
        out.print(
            show.table(
                ("connector", "sale", "session", "car", "relay", "meter", "signed", "power", "read"), map(_row, body["connectors"])
            )
        )
    for one in body["connectors"]:
        for breach in one.get("breaches", []):
            out.print(f"[bold red]not lawful[/] connector {one['connector']}: {escape(breach['says'])}", soft_wrap=True)
        if one.get("ordered_a") is not None:
            out.print(f"[yellow]limited[/] connector {one['connector']}: {one['ordered_a']} A by order; charge-service evse limit")
    for one in body.get("overrides", []):
        out.print(f"[yellow]overridden:[/] {escape(one['rule'])}; {escape(one['by'])}: {escape(one['why'])}", soft_wrap=True)
    for fault in body.get("faults", []):
        where = f" {fault['connector']}" if fault["connector"] else ""
        said = f"{fault['device']}{where}: {fault['kind']} {fault['detail']}".rstrip()
        out.print(f"[bold red]fault[/] {escape(said)}", soft_wrap=True)
        if what := {"meter": METER_FAULTS, "evse": EVSE_FAULTS}.get(fault["device"], {}).get(fault["kind"]):
            out.print(f"      {escape(what)}", soft_wrap=True)
    for hold in body.get("manual_holds", []):
        out.print(f"[yellow]needs a person:[/] hold {hold}; charge-service payments show {hold[:8]}", soft_wrap=True)
    if "sealed" in body.get("records", {}):
        records, ledger = body["records"], body["ledger"]
        out.print(
            f"records {records['sealed']} sealed, {records['waiting']} wait for the office; ledger {ledger['entries']} entries"
        )
    elif trouble := body.get("ledger", {}).get("trouble"):
        out.print(escape(trouble), soft_wrap=True)
    if "open_holds" in body:
        out.print(f"open holds {body['open_holds']}; clock {_clock(body['clock'])}; software {body['software']}")


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    return (
        one["connector"],
        "for sale" if one["for_sale"] else f"no: {one['not_for_sale']}",
        f"{one['phase']} {one['session'][:8]}".strip() if one["session"] else "-",
        PILOTS.get(one["pilot"], "unknown"),
        {True: "closed", False: "open", None: "unknown"}[one["relay"]],
        show.energy(one["meter_wh"]) or "no reading",
        _signed(one),
        "" if one["power_w"] is None else f"{one['power_w']} W",
        "" if one["meter_age_ms"] is None else f"{one['meter_age_ms'] / 1000:.1f} s ago",
    )


def _signed(one: dict[str, Any]) -> str:
    """Who signs what is billed here."""
    if not one.get("meter_signs"):
        return "by terminal"
    return f"by meter {one['meter_key'][:8]}" if one["meter_key"] else "by meter, key not read"


def _clock(letter: str) -> str:
    return {"S": "synchronised", "I": "runs, not synchronised", "U": "unknown"}.get(letter, letter)
