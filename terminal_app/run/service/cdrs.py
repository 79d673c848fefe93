"""`charge-service records cdrs | cdr-again`: what the OCPI receiver and those who pull have got."""

import click

from terminal_app.run.service import show
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site


@click.command("cdrs")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def cdrs(site: Site, limit: int) -> int:
    """CDRs at the OCPI receiver, newest first, and how far pullers are. Exit code 1 if one was refused."""
    said = site.running("records cdrs").ask("cdrs.show", limit=limit)
    if site.as_json:
        show.as_json(said)
    else:
        zone, out = site.config.terminal.time_zone, show.console()
        rows = (
            (
                one["record"],
                show.moment(one["utc_ms"], zone),
                "refused" if one["why"] else "delivered",
                one["why"] or one["location"],
            )
            for one in said["fates"]
        )
        out.print(show.table(("record", "when", "state", "where, or why not"), rows, right=("record",)))
        out.print(
            f"the receiver has got as far as record {said['through']}; ordered again: {said['again'] or 'none'}", markup=False
        )
        for name, seq in said["pullers"].items():
            out.print(f"{name} pulled through record {seq}", markup=False)
        for seq in said["rejected"]:
            out.print(f'refused: once it is mended there, charge-service records cdr-again {seq} --reason "..."', markup=False)
    return show.WARNING if said["rejected"] else show.OK


@click.command("cdr-again")
@click.argument("record", type=click.IntRange(1))
@click.option("--reason", required=True, help="Kept in the ledger.")
@json_option
@click.pass_obj
def cdr_again(site: Site, record: int, reason: str) -> int:
    """Send the CDR of RECORD to the OCPI receiver once more: after it mended why it refused it, or lost it."""
    said = site.running("records cdr-again").ask("cdrs.again", record=record, reason=reason)
    if site.as_json:
        show.as_json(said)
    else:
        show.console().print(f"the CDR of record {record} goes out again")
    return show.OK
