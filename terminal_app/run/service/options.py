"""Options that many commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
REASON = click.option("--reason", required=True, help="Why; it stands in the ledger with your name.")
CONNECTOR = click.argument("connector", type=click.IntRange(1, 8))


def _remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.obj.as_json = True


def json_option(command: Command) -> Command:
    """`--json` behind the command, too: `charge-service status --json`."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_remember, help="One JSON document instead of tables."
    )(command)
