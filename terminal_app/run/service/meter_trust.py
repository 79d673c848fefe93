"""`charge-service meter trust`: after somebody has looked at a meter whose own record did not hold."""

import click

from terminal_app.run.service import show
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site


@click.command()
@click.argument("connector", type=click.IntRange(1, 8))
@click.option("--reason", required=True, help="What was found; it stands in the ledger with your name.")
@json_option
@click.pass_obj
def trust(site: Site, connector: int, reason: str) -> int:
    """Sell on a signing meter again whose last record did not verify (fault `meter: record`). That charge stays unbilled."""
    answer = site.running("meter trust").ask("meter.trust", connector=connector, reason=reason)
    if site.as_json:
        show.as_json(answer)
    else:
        show.console().print(f"Ordered: connector {connector} is sold again. It was: {answer['was']}", markup=False)
    return show.OK


COMMANDS = (trust,)
