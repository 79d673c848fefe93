"""`charge-office`: the operator's side. `init` makes database and key, `terminal add` registers, `serve` collects and shows."""

import contextlib
import ipaddress
import json
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import sqlalchemy as sa

from terminal_app.billing.record import thumbprint
from terminal_app.billing.signature import jwk_of
from terminal_app.errors import ConfigError, SignatureInvalid
from terminal_app.office import queries, session_table, signing, store
from terminal_app.office.access import hash_of, token_file
from terminal_app.office.ingest import Collector
from terminal_app.run.office_accounts import account
from terminal_app.run.office_commands import command, commands_
from terminal_app.run.office_database import DATABASE, FILE, KEY, TIME_ZONE, office_key, open_store
from terminal_app.run.office_documents import closing, invoice, statement
from terminal_app.run.office_import import import_
from terminal_app.run.office_meters import meter_key
from terminal_app.run.office_payments import payments
from terminal_app.run.office_tariffs import tariff


@click.group()
def office() -> None:
    """Collects billing records from terminals, verifies, stores and countersigns them, and shows them."""


office.add_command(account)
office.add_command(payments)
office.add_command(command)
office.add_command(commands_)
office.add_command(tariff)
office.add_command(statement)
office.add_command(invoice)
office.add_command(closing)
office.add_command(import_)


@office.command()
@DATABASE
@click.option("--key", "key_file", type=FILE, required=True, help="office key; made if absent (public half: FILE.pub)")
def init(url: str, key_file: Path) -> None:
    """Create the tables and, if there is none, the office's key."""
    open_store(url, create=True).close()
    key = office_key(key_file) if key_file.exists() else signing.create(key_file)
    click.echo(f"database ready; office key {key.key_id}")
    click.echo(key.public_pem.decode().strip())


@office.group()
def terminal() -> None:
    """Terminals that may send."""


terminal.add_command(meter_key)


@terminal.command()
@DATABASE
@click.argument("terminal_id")
@click.option("--record-key", type=FILE, required=True, help="public key of the terminal's records (PEM)")
@click.option("--ocmf-key", type=FILE, required=True, help="public key of its measurements (PEM)")
@click.option("--token-file", type=FILE, required=True, help="the terminal's token; made if absent")
def add(url: str, terminal_id: str, record_key: Path, ocmf_key: Path, token_file: Path) -> None:
    """Register a terminal, or renew its token and add keys to it. Old keys stay: old records are verified with them."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,36}", terminal_id):
        raise click.UsageError("terminal id: 1 to 36 letters, digits, - and _, as in [terminal] id")
    pems = {"record": _public_key(record_key), "ocmf": _public_key(ocmf_key)}
    token_hash = hash_of(_token(token_file))
    database, now = open_store(url), store.now_ms()
    with database.write() as db:
        known = db.execute(sa.select(store.terminals.c.terminal).where(store.terminals.c.terminal == terminal_id)).first()
        if known is None:
            db.execute(store.terminals.insert().values(terminal=terminal_id, token_sha256=token_hash, added_utc_ms=now))
        else:
            mine = store.terminals.c.terminal == terminal_id
            db.execute(store.terminals.update().where(mine).values(token_sha256=token_hash))
        for purpose, (key_id, pem) in pems.items():
            _register(db, terminal_id, purpose, key_id, pem)
    database.close()
    click.echo(f"terminal {terminal_id} {'registered' if known is None else 'updated'}; record key {pems['record'][0]}")


@terminal.command()
@DATABASE
@click.argument("terminal_id")
@click.option("--record-key", type=FILE, help="public key of the terminal's records (PEM)")
@click.option("--ocmf-key", type=FILE, help="public key of its measurements (PEM), the terminal's or a meter's own")
@click.option("--why", required=True, help="stands among the alarms: a key that no record has announced needs a reason")
def key(url: str, terminal_id: str, record_key: Path | None, ocmf_key: Path | None, why: str) -> None:
    """Register one more key of a terminal by hand.

    An ordinary new key announces itself by a key-change record. This is for meters, and for an emergency: the old key is lost
    or may be in wrong hands. A record key that is registered after a key change may sign beside the announced one.
    """
    database, told = open_store(url), list[str]()
    with database.write() as db:
        if db.execute(sa.select(store.terminals.c.terminal).where(store.terminals.c.terminal == terminal_id)).first() is None:
            raise click.ClickException(f"terminal {terminal_id} is not known here; register it: charge-office terminal add")
        for purpose, file in (("record", record_key), ("ocmf", ocmf_key)):
            if file is None:
                continue
            key_id, pem = _public_key(file)
            if _register(db, terminal_id, purpose, key_id, pem):
                store.alarm(db, terminal_id, "", "key-by-hand", f"{purpose} key {key_id} was registered by hand: {why}")
            told.append(f"{purpose} key {key_id}")
    database.close()
    if not told:
        raise click.UsageError("--record-key or --ocmf-key: name at least one")
    click.echo(f"terminal {terminal_id}: {', '.join(told)}")


@terminal.command()
@DATABASE
@click.argument("terminal_id")
@click.option("--why", required=True, help="stands among the alarms")
def block(url: str, terminal_id: str, why: str) -> None:
    """Let a stolen terminal in no more, neither by its token nor by its certificate. `terminal add` with a new token undoes it."""
    mine = store.terminals.c.terminal == terminal_id
    with contextlib.closing(open_store(url)) as database, database.write() as db:
        if not db.execute(store.terminals.update().where(mine).values(token_sha256="")).rowcount:
            raise click.ClickException(f"terminal {terminal_id} is not known here")
        store.alarm(db, terminal_id, "", "blocked", f"the terminal was blocked: {why}")
    click.echo(f"terminal {terminal_id} is blocked")


@terminal.command()
@DATABASE
@click.argument("terminal_id")
@KEY
@click.option("--demo", is_flag=True, help="take demo records")
def recheck(url: str, terminal_id: str, key_file: Path, demo: bool) -> None:
    """Verify the quarantined records of a terminal again, for example after `add` brought a missing key."""
    healed, left = Collector(open_store(url), office_key(key_file), demo).recheck(terminal_id)
    click.echo(f"{healed} records accepted, {left} still in quarantine")


@office.command()
@DATABASE
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="ADDRESS:PORT")
@KEY
@click.option("--public-url", required=True, help="how drivers reach this office")
@click.option("--operator-token-file", type=FILE, help="password of the operator's pages; made if absent")
@click.option("--notify-token-file", type=FILE, help="password that gateways send with notifications (basic); made if absent")
@TIME_ZONE
@click.option("--invoice-series", default="INV", show_default=True, help="invoice numbers begin with it, then the year")
@click.option("--demo", is_flag=True, help="take demo records, open the operator's pages to everybody; loopback only")
@click.option("--tls-cert", type=FILE, help="certificate chain (PEM); else a TLS proxy stands in front")
@click.option("--tls-key", type=FILE, help="its key (PEM)")
@click.option("--client-ca", type=FILE, help="authority (PEM) of terminals' certificates; common name = terminal id")
def serve(
    url: str,
    listen: str,
    key_file: Path,
    public_url: str,
    operator_token_file: Path | None,
    notify_token_file: Path | None,
    time_zone: str,
    invoice_series: str,
    demo: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
) -> None:
    """Collect, verify, countersign and show, until SIGTERM."""
    from terminal_app.http_server import Tls, server
    from terminal_app.office.app import Office, build

    host, port = _address(listen)
    if demo and not _is_loopback(host):
        raise click.UsageError("--demo: only with a loopback --listen address")
    if not demo and urlsplit(public_url).scheme != "https":
        raise click.UsageError("--public-url: must begin with https:// (or use --demo)")
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    if client_ca and not tls_cert:
        raise click.UsageError("--client-ca: certificates of terminals need --tls-cert and --tls-key")
    if not re.fullmatch(r"[A-Z0-9]{1,8}", invoice_series):
        raise click.UsageError("--invoice-series: 1 to 8 capital letters and digits")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    token = _token(operator_token_file) if operator_token_file else ""
    notify_token = _token(notify_token_file) if notify_token_file else ""
    key, database = office_key(key_file), open_store(url)
    serving = server(
        build(
            Office(
                database,
                key,
                public_url,
                token,
                demo,
                notify_token,
                time_zone,
                invoice_series,
                leaving=lambda: serving.should_exit,
            )
        ),
        (host, port),
        tls=Tls(tls_cert, tls_key, client_ca, asked_only=True) if tls_cert and tls_key else None,
        at_once=1024,  # each terminal keeps two connections: one pushes, one waits for commands
    )
    try:
        serving.run()
    finally:
        database.close()


@office.command()
@DATABASE
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--json", "as_json", is_flag=True)
@click.option("--csv", "as_csv", is_flag=True, help="as a table for spreadsheets, from the sealed records; times of each site")
def sessions(url: str, limit: int, as_json: bool, as_csv: bool) -> None:
    """Newest sessions and what became of their money."""
    with open_store(url).read() as db:
        if as_csv:
            click.echo(session_table.csv_of(db, limit), nl=False)
            return
        rows = queries.sessions(db, limit)
    money = ("total_minor", "currency", "settled", "refunded_minor")
    _show(rows, as_json, ("terminal", "seq", "receipt_number", "energy_wh", *money, "test", "quarantine"))


@office.command()
@DATABASE
@click.option("--terminal", "terminal_id", default="", help="only of this terminal")
@click.option("--after", default=0, show_default=True, help="only with a higher number")
@click.option("--limit", default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def records(url: str, terminal_id: str, after: int, limit: int, as_json: bool) -> None:
    """Stored records; with --json the exact signed bytes too."""
    with open_store(url).read() as db:
        rows = queries.records(db, terminal_id, after, limit)
    _show(rows, as_json, ("terminal", "seq", "type", "session_id", "sha256", "quarantine"))


def main() -> None:
    office(prog_name="charge-office")


def _show(rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("\t".join(columns))
    for row in rows:
        click.echo("\t".join(str(row[name]) for name in columns))


def _register(db: sa.Connection, terminal_id: str, purpose: str, key_id: str, pem: str) -> bool:
    """Whether the key was not known yet."""
    if queries.key(db, terminal_id, key_id, purpose) is not None:
        return False
    row = {"terminal": terminal_id, "key_id": key_id, "purpose": purpose, "spki_pem": pem, "added_utc_ms": store.now_ms()}
    db.execute(store.keys.insert().values(**row))
    return True


def _public_key(file: Path) -> tuple[str, str]:
    try:
        pem = file.read_bytes()
        jwk_of(pem)
        return thumbprint(pem), pem.decode("ascii")
    except (OSError, UnicodeDecodeError, SignatureInvalid) as error:
        raise click.ClickException(f"{file}: cannot be read as a P-256 public key (PEM): {error}") from error


def _token(file: Path) -> str:
    try:
        return token_file(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.UsageError("--listen: ADDRESS:PORT, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
