"""What every command of `charge-office` shares: database and office key, as options and how they are opened."""

from pathlib import Path

import click
import sqlalchemy as sa

from terminal_app.errors import ConfigError
from terminal_app.office import signing, store
from terminal_app.office.local_time import zone

DATABASE = click.option(
    "--db",
    "url",
    metavar="URL",
    required=True,
    envvar="CHARGE_OFFICE_DB",
    show_envvar=True,
    help="sqlite:///FILE or postgresql+psycopg://...",
)
TIME_ZONE = click.option(
    "--timezone",
    "time_zone",
    default="UTC",
    show_default=True,
    envvar="CHARGE_OFFICE_TIMEZONE",
    show_envvar=True,
    callback=lambda _context, _option, value: _zone(value),
    help="of the operator's months and days, like Europe/Berlin",
)
FILE = click.Path(path_type=Path, dir_okay=False)
KEY = click.option("--key", "key_file", type=FILE, required=True, help="office key, as `init` made it")


def open_store(url: str, create: bool = False) -> store.Store:
    """ClickException names what is wrong, never a password."""
    try:
        return store.Store(url, create)
    except store.NoTables as error:
        raise click.ClickException(f"--db {_without_password(url)}: {error}") from error
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise click.ClickException(f"--db {_without_password(url)}: cannot be opened: {type(error).__name__}") from error


def office_key(file: Path) -> signing.OfficeKey:
    """ClickException names the file and what is wrong with it."""
    try:
        return signing.load(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _zone(name: str) -> str:
    try:
        zone(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return name


def _without_password(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return "(not a database URL)"
