"""`charge-office command` and `commands list`: orders to terminals by hand. Amounts are in major units: 12.50."""

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import sqlalchemy as sa

from terminal_app import units
from terminal_app.office import store
from terminal_app.office.accounts import Refused
from terminal_app.office.commands import ACTS, Commands
from terminal_app.office.tariffs import ACT as TARIFF_SET
from terminal_app.run.office_database import DATABASE, FILE, KEY, office_key, open_store

OPTIONS = {"connector": "--connector", "hold_id": "--hold", "amount_minor": "--amount", "tokens": "--cards", "version": "--version"}
COLUMNS = ("terminal", "number", "act", "args", "actor", "reason", "issued", "state", "answer")


@click.command()
@DATABASE
@KEY
@click.argument("act")
@click.argument("terminal")
@click.option("--connector", type=click.IntRange(1, 8), help="for session.stop, session.start and evse.limit")
@click.option("--hold", default="", help="hold id, for payment.refund, payment.release and payment.retry")
@click.option("--amount", default="", help="for payment.refund: how much, e.g. 12.50")
@click.option("--cards", type=FILE, help="for cards.deny: a file with the whole list, one card token a line")
@click.option("--version", type=click.IntRange(1), help="for cards.deny: number of the list")
@click.option("--limit", "limit_a", type=click.IntRange(0, 1000), help="for evse.limit: amperes; without it the limit is lifted")
@click.option("--ttl", "ttl_s", default=600, show_default=True, help="seconds in which the terminal must have it")
@click.option("--by", "actor", required=True, help="your name")
@click.option("--why", "reason", required=True, help="reason, kept in the terminal's ledger")
def command(
    url: str,
    key_file: Path,
    act: str,
    terminal: str,
    connector: int | None,
    hold: str,
    amount: str,
    cards: Path | None,
    version: int | None,
    limit_a: int | None,
    ttl_s: int,
    actor: str,
    reason: str,
) -> None:
    """Sign an order ACT for TERMINAL. A running office hands it out within seconds; `commands list` tells what became of it."""
    _complete(act, {"connector": connector, "hold_id": hold, "amount_minor": amount, "tokens": cards, "version": version})
    database = open_store(url)
    try:
        key = office_key(key_file)
        args: dict[str, Any] = {"connector": connector, "hold_id": hold, "version": version, "limit_a": limit_a}
        args["amount_minor"] = _minor(database, terminal, hold, amount) if amount else None
        args["tokens"] = cards.read_text("ascii").split() if cards else None
        given = {name: value for name, value in args.items() if value not in (None, "")}
        issued = Commands(database, key).issue(terminal, act, given, actor, reason, ttl_s)
    except Refused as problem:
        raise click.ClickException(str(problem)) from problem
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{cards}: cannot be read: {error}") from error
    except sa.exc.SQLAlchemyError as error:
        raise click.ClickException(f"the database did not take it: {type(error).__name__}") from error
    finally:
        database.close()
    click.echo(f"command {issued.number} for terminal {issued.terminal} issued: {issued.command_id}")


@click.group(name="commands")
def commands_() -> None:
    """Commands that were issued."""


@commands_.command(name="list")
@DATABASE
@KEY
@click.option("--terminal", default="", help="only of this terminal")
@click.option("--limit", default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def list_(url: str, key_file: Path, terminal: str, limit: int, as_json: bool) -> None:
    """Newest first, with what became of them."""
    with contextlib.closing(open_store(url)) as database:
        rows = Commands(database, office_key(key_file)).newest(limit, terminal)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("\t".join(COLUMNS))
    for row in rows:
        row |= {"issued": datetime.fromtimestamp(row["issued_utc_ms"] // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")}
        row["args"] = json.dumps(row["args"])
        click.echo("\t".join(str(row[name]) for name in COLUMNS))


def _complete(act: str, given: Mapping[str, Any]) -> None:
    """UsageError names the options that an act needs and has not got. Unknown acts are refused where acts are known."""
    if act == TARIFF_SET:
        raise click.UsageError("prices go by `charge-office tariff set` and `tariff pull`, which sign them")
    needed = [one.name for one in msgspec.structs.fields(ACTS[act]) if one.required] if act in ACTS else []
    if missing := [OPTIONS[name] for name in needed if name in OPTIONS and not given[name]]:
        raise click.UsageError(f"{act} needs {' and '.join(missing)}")


def _minor(database: store.Store, terminal: str, hold: str, amount: str) -> int:
    """In the hold's own currency."""
    c = store.holds.c
    with database.read() as db:
        currency = db.execute(sa.select(c.currency).where((c.terminal == terminal) & (c.hold_id == hold))).scalar()
    if currency is None:
        raise click.ClickException(f"terminal {terminal} has told of no hold {hold}")
    try:
        return units.to_minor(amount, str(currency))
    except ValueError as error:
        raise click.UsageError(f"--amount: {error}") from None
