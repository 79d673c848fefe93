"""`charge-office tariff set | pull | list`: prices for terminals. Signed here or before; each terminal verifies and decides."""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import click
import sqlalchemy as sa

from terminal_app.billing.foreign import tariffs_in
from terminal_app.billing.model import Tariff
from terminal_app.billing.tariff_file import is_signed
from terminal_app.errors import TariffRefused
from terminal_app.office import signing, tariffs
from terminal_app.office.accounts import Refused
from terminal_app.office.commands import Commands
from terminal_app.run.moment import Moment
from terminal_app.run.office_database import DATABASE, FILE, KEY, office_key, open_store

WEEK_S = 7 * 86_400
MAX_FILE_BYTES = 256 * 1024
COLUMNS = ("terminal", "connectors", "tariff", "version", "from", "until", "source", "state", "answer")
TERMINALS = click.option("--terminal", "terminals", multiple=True, required=True, help="for this terminal; several times")
CONNECTORS = click.option(
    "--connector", "connectors", type=click.IntRange(1, 8), multiple=True, required=True, help="for this connector; several times"
)
TTL = click.option("--ttl", "ttl_s", default=WEEK_S, show_default=True, help="seconds in which a terminal must have it")
ACTOR = click.option("--by", "actor", required=True, help="your name")
REASON = click.option("--why", "reason", required=True, help="reason, kept in the terminal's ledger")


@click.group()
def tariff() -> None:
    """Prices for terminals."""


@tariff.command(name="set")
@DATABASE
@KEY
@click.argument("file", type=FILE)
@TERMINALS
@CONNECTORS
@click.option("--version", type=click.IntRange(1), help="of a tariff signed here; counts upwards  [seconds since 1970]")
@click.option("--from", "begin", type=Moment(), help="valid from  [at once, when a terminal takes it]")
@click.option("--until", "end", type=Moment(), help="valid until (exclusive)  [until replaced]")
@TTL
@ACTOR
@REASON
def set_(
    url: str,
    key_file: Path,
    file: Path,
    terminals: tuple[str, ...],
    connectors: tuple[int, ...],
    version: int | None,
    begin: int | None,
    end: int | None,
    ttl_s: int,
    actor: str,
    reason: str,
) -> None:
    """Sell by FILE: a tariff (OCPI 2.3.0 or 2.2.1), which the office signs, or a signed file, which goes as it is."""
    raw = _read(file)
    key = office_key(key_file)
    if is_signed(raw):
        if any(one is not None for one in (version, begin, end)):
            raise click.UsageError("a signed file has its version and validity already: --version, --from, --until do not apply")
        jws = raw.decode("ascii").strip()
    else:
        try:
            found = tariffs_in(raw)
        except TariffRefused as error:
            raise click.ClickException(f"{file}: {error}") from error
        if len(found) != 1:
            raise click.ClickException(f"{file}: one tariff is needed, here are {len(found)}")
        jws = _signed(found[0], key, version, begin, end)
    with contextlib.closing(open_store(url)) as database:
        commands = Commands(database, key)
        for terminal in terminals:
            _issue(commands, terminal, connectors, jws, actor, reason, ttl_s)


@tariff.command()
@DATABASE
@KEY
@click.argument("endpoint", metavar="URL")
@click.option("--token-file", type=FILE, required=True, help="file with the OCPI credentials token of the other side")
@click.option("--id", "wanted", default="", help="which tariff of the list")
@click.option("--ca-file", type=FILE, help="trust only these certificates (PEM)")
@click.option("--demo", is_flag=True, help="allow http:// to loopback addresses")
@TERMINALS
@CONNECTORS
@TTL
@ACTOR
@REASON
def pull(
    url: str,
    key_file: Path,
    endpoint: str,
    token_file: Path,
    wanted: str,
    ca_file: Path | None,
    demo: bool,
    terminals: tuple[str, ...],
    connectors: tuple[int, ...],
    ttl_s: int,
    actor: str,
    reason: str,
) -> None:
    """Read the tariffs list of an OCPI endpoint (2.2.1 or 2.3.0), sign one tariff of it and send it where it is new."""
    key = office_key(key_file)
    found = _chosen(_pulled(endpoint, _token(token_file), ca_file, demo), wanted)
    jws = _signed(found, key, None, None, None)
    with contextlib.closing(open_store(url)) as database:
        commands = Commands(database, key)
        for terminal in terminals:
            with database.read() as db:
                known = tariffs.is_sent(db, key, terminal, connectors, found)
            if known:
                click.echo(f"terminal {terminal}: {found.id} was sent before and has not changed")
            else:
                _issue(commands, terminal, connectors, jws, actor, reason, ttl_s)


@tariff.command(name="list")
@DATABASE
@click.option("--terminal", default="", help="only of this terminal")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True)
def list_(url: str, terminal: str, limit: int, as_json: bool) -> None:
    """What terminals took, newest first, and orders that were not taken, with the reason."""
    with contextlib.closing(open_store(url)) as database, database.read() as db:
        rows = tariffs.listed(db, terminal, limit)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("\t".join(COLUMNS))
    for row in rows:
        shown = row | {"from": _day(row["valid_from_utc_ms"]), "until": _day(row["valid_until_utc_ms"])}
        shown |= {"connectors": ",".join(map(str, row["connectors"]))}
        click.echo("\t".join(str(shown[name]) for name in COLUMNS))


def _day(utc_ms: int | str | None) -> str:
    return datetime.fromtimestamp(utc_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M") if isinstance(utc_ms, int) and utc_ms else "-"


def _issue(commands: Commands, terminal: str, connectors: tuple[int, ...], jws: str, actor: str, reason: str, ttl_s: int) -> None:
    args = {"connectors": sorted(set(connectors)), "jws": jws}
    try:
        issued = commands.issue(terminal, tariffs.ACT, args, actor, reason, ttl_s)
    except Refused as problem:
        raise click.ClickException(f"terminal {terminal}: {problem}") from problem
    except sa.exc.SQLAlchemyError as error:
        raise click.ClickException(f"the database did not take it: {type(error).__name__}") from error
    click.echo(f"command {issued.number} for terminal {issued.terminal} issued: {issued.command_id}")


def _signed(found: Tariff, key: signing.OfficeKey, version: int | None, begin: int | None, end: int | None) -> str:
    at_once = 0  # not this minute's time: a terminal whose clock nobody vouches for could not tell that it has come
    try:
        return tariffs.sign(found, key, version or tariffs.next_version(), at_once if begin is None else begin, end)
    except ValueError as error:
        raise click.UsageError(f"--until: {error}") from error


def _pulled(endpoint: str, token: str, ca_file: Path | None, demo: bool) -> tuple[Tariff, ...]:
    from terminal_app.http_client import HttpClient, HttpTrouble
    from terminal_app.office import tariff_pull

    client = HttpClient(demo=demo, ca_file=ca_file, max_body=tariff_pull.MAX_PAGE_BYTES)
    try:
        return tariff_pull.pull(client, endpoint, token)
    except (TariffRefused, HttpTrouble) as error:
        raise click.ClickException(f"nothing was taken: {error}") from error
    finally:
        client.close()


def _chosen(found: tuple[Tariff, ...], wanted: str) -> Tariff:
    named = [one for one in found if not wanted or one.id.lower() == wanted.lower()]
    if len(named) != 1:
        listed = ", ".join(one.id for one in found) or "none"
        raise click.ClickException(f"choose one tariff by --id; the endpoint has {listed}")
    return named[0]


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise click.ClickException(f"{file}: is longer than {MAX_FILE_BYTES} bytes: not a tariff")
    return raw


def _token(file: Path) -> str:
    try:
        token = _read(file).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: a token is one line of ASCII text") from error
    if not token:
        raise click.ClickException(f"{file}: is empty")
    return token
