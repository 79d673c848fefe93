"""`charge-office account`: prepaid and fleet accounts by hand. Amounts are in major units, as people write them: 25.00."""

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import sqlalchemy as sa

from terminal_app import units
from terminal_app.errors import ConfigError
from terminal_app.office import books, queries, store
from terminal_app.office.access import hash_of, token_file
from terminal_app.office.accounts import OFFICE, Accounts, NewAccount, Refused
from terminal_app.office.slices import close_expired
from terminal_app.run.office_database import DATABASE, FILE, open_store

ACCOUNT_ID = re.compile(r"[A-Z0-9-]{1,36}")
TOKEN = re.compile(r"[0-9a-f]{32,64}")
NOTE = click.option("--note", required=True, help="reason and authority, kept with the entry")
KEY = click.option("--key", default="", help="names this act: given again, it is booked once (default: a new one)")


@click.group()
def account() -> None:
    """Prepaid and fleet accounts."""


@account.command()
@DATABASE
@click.argument("account_id")
@click.option("--currency", required=True, help="for example EUR")
@click.option("--label", default="", help="whose it is, for people")
@click.option("--card", default="", help="the card's token (32 to 64 hex digits), as the terminal shows it")
@click.option("--terminal", "terminal_id", default="", help="the token is of this terminal only (default: all share one card key)")
@click.option("--secret-file", type=FILE, help="lets the account be used by its id with this secret; made if absent")
@click.option("--fleet-credit", default="", help="makes it a fleet account that may owe this much")
@click.option("--hold-max", default="", help="most per charge")
@click.option("--day-max", default="", help="most per day (UTC)")
def add(
    url: str,
    account_id: str,
    currency: str,
    label: str,
    card: str,
    terminal_id: str,
    secret_file: Path | None,
    fleet_credit: str,
    hold_max: str,
    day_max: str,
) -> None:
    """Open an account."""
    if not ACCOUNT_ID.fullmatch(account_id):
        raise click.UsageError("account id: 1 to 36 capital letters, digits and -")
    if card and not TOKEN.fullmatch(card):
        raise click.UsageError("--card: 32 to 64 hex digits")
    with _books(url) as (database, accounts):
        new = NewAccount(
            account=account_id,
            currency=currency,
            kind="fleet" if fleet_credit else "prepaid",
            label=label[:64],
            credit_minor=_minor(fleet_credit, currency, "--fleet-credit"),
            hold_max_minor=_minor(hold_max, currency, "--hold-max"),
            day_max_minor=_minor(day_max, currency, "--day-max"),
            secret_sha256=hash_of(_secret(secret_file)) if secret_file else "",
        )
        if terminal_id:
            _known_terminal(database, terminal_id)
        accounts.add(new)
        if card:
            accounts.add_card(account_id, card, terminal_id)
    click.echo(f"account {account_id} opened")


@account.command()
@DATABASE
@click.argument("account_id")
@click.argument("card")
@click.option("--terminal", "terminal_id", default="", help="the token is of this terminal only")
def card(url: str, account_id: str, card: str, terminal_id: str) -> None:
    """Let a card (by its token) use the account; it leaves the account it belonged to."""
    if not TOKEN.fullmatch(card):
        raise click.UsageError("CARD: 32 to 64 hex digits")
    with _books(url) as (database, accounts):
        if terminal_id:
            _known_terminal(database, terminal_id)
        accounts.add_card(account_id, card, terminal_id)
    click.echo(f"card ...{card[-6:]} belongs to account {account_id}")


@account.command()
@DATABASE
@click.argument("account_id")
@click.argument("amount")
@click.option("--way", default="bank", show_default=True, help="how the money came: a gateway's name, bank, cash")
@click.option("--note", default="", help="reference of the payment")
@KEY
def topup(url: str, account_id: str, amount: str, way: str, note: str, key: str) -> None:
    """Enter money that came for an account."""
    if not re.fullmatch(r"[a-z0-9-]{1,24}", way):
        raise click.UsageError("--way: 1 to 24 small letters, digits and -")
    with _books(url) as (database, accounts):
        currency = _currency(database, account_id)
        done = accounts.top_up(account_id, _minor(amount, currency, "AMOUNT"), key or secrets.token_hex(16), way, note[:200])
    click.echo(f"account {account_id}: balance {units.major(done['balance_minor'], currency)} {currency}")


@account.command()
@DATABASE
@click.argument("account_id")
@click.argument("amount")
@NOTE
@KEY
def write_off(url: str, account_id: str, amount: str, note: str, key: str) -> None:
    """Give up a debt: the loss book pays AMOUNT to the account."""
    with _books(url) as (database, accounts):
        currency = _currency(database, account_id)
        done = accounts.write_off(account_id, _minor(amount, currency, "AMOUNT"), key or secrets.token_hex(16), note[:200])
    click.echo(f"account {account_id}: balance {units.major(done['balance_minor'], currency)} {currency}")


@account.command()
@DATABASE
@click.argument("account_id")
@click.option("--off", is_flag=True, help="let it be used again")
def block(url: str, account_id: str, off: bool) -> None:
    """No new charges with this account; what is held may still be captured."""
    with _books(url) as (_, accounts):
        accounts.block(account_id, not off)
    click.echo(f"account {account_id} is {'open again' if off else 'blocked'}")


@account.command()
@DATABASE
@click.argument("hold")
@NOTE
def release(url: str, hold: str, note: str) -> None:
    """Release a hold of a terminal that is gone. A later capture of it is refused and settled by hand."""
    with _books(url) as (_, accounts):
        done = accounts.void(OFFICE, hold, f"release-{hold}", note[:200])
    click.echo(f"hold {hold}: {units.major(done['held_minor'], done['currency'])} {done['currency']} released")


@account.command()
@DATABASE
@NOTE
def reclaim(url: str, note: str) -> None:
    """Return what is left of balance slices whose time and a week of grace are over."""
    with _books(url) as (database, _):
        closed = close_expired(database, note[:200])
    for one in closed:
        click.echo(f"slice {one}: rest returned")
    click.echo(f"{len(closed)} slices reclaimed")


@account.command(name="list")
@DATABASE
@click.option("--json", "as_json", is_flag=True)
def list_(url: str, as_json: bool) -> None:
    """All accounts and what they have."""
    with _books(url) as (database, _), database.read() as db:
        rows = queries.accounts(db)
    columns = ("account", "label", "kind", "balance", "held", "sliced", "currency", "blocked")
    _show(rows, as_json, columns)


@account.command()
@DATABASE
@click.option("--json", "as_json", is_flag=True)
def holds(url: str, as_json: bool) -> None:
    """Open holds and slices, the oldest first."""
    with _books(url) as (database, _), database.read() as db:
        rows = queries.open_reserves(db, store.now_ms())
    _show(rows, as_json, ("what", "reference", "account", "terminal", "amount", "currency", "age"))


@account.command()
@DATABASE
@click.argument("account_id")
@click.option("--month", default="", help="like 2026-11 (UTC); default: this month")
@click.option("--json", "as_json", is_flag=True)
def statement(url: str, account_id: str, month: str, as_json: bool) -> None:
    """What moved on an account in a month."""
    month = month or datetime.now(UTC).strftime("%Y-%m")
    with _books(url) as (database, _), database.read() as db:
        try:
            found = books.statement(db, account_id, month)
        except ValueError as error:
            raise click.UsageError(f"--month: {error}") from None
    if found is None:
        raise click.ClickException(f"there is no account {account_id}")
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    currency = found["currency"]
    click.echo(f"account {account_id} {found['label']}, {month} (UTC), {currency}")
    click.echo(f"opening\t{units.major(found['opening_minor'], currency)}")
    for row in found["entries"]:
        when = datetime.fromtimestamp(row["utc_ms"] // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        what = "\t".join(str(row[name]) for name in ("kind", "source", "about", "note"))
        click.echo(f"{when}\t{units.major(row['amount_minor'], currency)}\t{what}")
    click.echo(f"closing\t{units.major(found['closing_minor'], currency)}")


@account.command()
@DATABASE
def audit(url: str) -> None:
    """Do the books balance? Exit code 1 and a sentence per defect if not."""
    with _books(url) as (database, _), database.read() as db:
        defects, rows = books.trouble(db), books.balances(db)
    for row in rows:
        click.echo(f"{row['book']}\t{units.major(row['amount_minor'], row['currency'])} {row['currency']}")
    if defects:
        raise click.ClickException("; ".join(defects))
    click.echo("the books balance")


@contextlib.contextmanager
def _books(url: str) -> Iterator[tuple[store.Store, Accounts]]:
    database = open_store(url)
    try:
        yield database, Accounts(database)
    except Refused as refusal:
        raise click.ClickException(str(refusal)) from refusal
    except sa.exc.SQLAlchemyError as error:
        raise click.ClickException(f"the database did not take it: {type(error).__name__}") from error
    finally:
        database.close()


def _known_terminal(database: store.Store, terminal: str) -> None:
    with database.read() as db:
        known = db.execute(sa.select(store.terminals.c.terminal).where(store.terminals.c.terminal == terminal)).first()
    if known is None:
        raise click.ClickException(f"terminal {terminal} is not registered; `charge-office terminal add` does that")


def _currency(database: store.Store, account_id: str) -> str:
    with database.read() as db:
        found = queries.account(db, account_id)
    if found is None:
        raise click.ClickException(f"there is no account {account_id}")
    return str(found["currency"])


def _minor(text: str, currency: str, where: str) -> int:
    try:
        found = units.to_minor(text, currency) if text else 0
    except ValueError as error:
        raise click.UsageError(f"{where}: {error}") from None
    if found < 0:
        raise click.UsageError(f"{where}: must not be negative")
    return found


def _secret(file: Path) -> str:
    try:
        return token_file(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _show(rows: list[dict[str, object]], as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("\t".join(columns))
    for row in rows:
        click.echo("\t".join(str(row[name]) for name in columns))
