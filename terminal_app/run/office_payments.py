"""`charge-office payments`: what became of the money, what does not agree, and gateways' own reports. Moves no money."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from terminal_app.office import gateway_books, payment_journal, payment_watch, store
from terminal_app.office.gateway_report import MAX_BYTES, ReportRefused, read_report
from terminal_app.office.pages import ago
from terminal_app.office.payment_values import KINDS, money_text
from terminal_app.run.office_database import DATABASE, FILE, open_store

JSON = click.option("--json", "as_json", is_flag=True)
LIMIT = click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))


@click.group()
def payments() -> None:
    """Payments, open holds, discrepancies."""


@payments.command(name="list")
@DATABASE
@click.option("--state", default="", help="only in this state: held, captured, voided, manual, ...")
@click.option("--gateway", default="", help="only by this gateway")
@click.option("--terminal", default="", help="only of this terminal")
@LIMIT
@JSON
def list_(url: str, state: str, gateway: str, terminal: str, limit: int, as_json: bool) -> None:
    """The newest payments."""
    with _reading(url) as db:
        rows = payment_journal.listed(db, limit, state, gateway, terminal)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("opened\tterminal\tgateway\tstate\theld\tbilled\tcaptured\trefunded\thold")
    for row in rows:
        held = None if row["state"] == "declined" else row["amount_minor"]
        sums = (held, row["billed_minor"], row["captured_minor"], row["refunded_minor"])
        moved = ("" if minor is None else money_text(minor, row["currency"]) for minor in sums)
        opened = datetime.fromtimestamp(row["opened_utc_ms"] // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo("\t".join((opened, row["terminal"], row["gateway"], row["state"], *moved, row["hold_id"])))


@payments.command(name="open")
@DATABASE
@LIMIT
@JSON
def open_(url: str, limit: int, as_json: bool) -> None:
    """Open holds with their age, the oldest first."""
    now = store.now_ms()
    with _reading(url) as db:
        rows = payment_journal.with_age(payment_journal.open_register(db, limit), now)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("opened\tamount\tstate\tterminal\tgateway\thold")
    for row in rows:
        amount, age = money_text(int(row["amount_minor"]), row["currency"]), ago(row["opened_utc_ms"], now)
        click.echo("\t".join((age, amount, row["state"], row["terminal"], row["gateway"], row["hold_id"])))


@payments.command()
@DATABASE
@JSON
def discrepancies(url: str, as_json: bool) -> None:
    """What does not agree, and what to do next. Exit code 1 if anything is left that nobody accepted."""
    now = store.now_ms()
    with _reading(url) as db:
        found = payment_watch.findings(db, now)
    left = [one for one in found if one.accepted is None]
    if as_json:
        click.echo(json.dumps([one.told() for one in found], indent=1))
    else:
        for judged in found:
            one = judged.finding
            where = " · ".join(part for part in (one.terminal, one.gateway, one.hold_id or one.reference) if part)
            click.echo(f"{one.id}  {one.kind.value}  {one.sentence}\n    {where} · {ago(one.since_utc_ms, now)}")
            if judged.accepted:
                click.echo(f"    accepted by {judged.accepted.accepted_by}: {judged.accepted.why}")
                continue
            click.echo(f"    {one.next_action}")
            for where, command in (("", one.command), (f"at {one.terminal}: ", one.at_terminal)):
                if command:
                    click.echo(f"    {where}{command}")
        click.echo(f"{len(left)} to look at, {len(found) - len(left)} accepted" if found else "everything agrees")
    if left:
        raise click.exceptions.Exit(1)


@payments.command(name="import")
@DATABASE
@click.argument("file", type=FILE)
@click.option("--gateway", required=True, help="its name in the terminals' configuration, as in [gateway.NAME]")
@click.option("--from", "begin", required=True, help="the report covers all from this moment: 2026-11-01 (UTC), or with a time")
@click.option("--until", "end", required=True, help="and until before this one")
@click.option("--kinds", required=True, help=f"of what it lists all there were: {','.join(KINDS)}, or some of these")
@click.option("--replace", is_flag=True, help="rows of that period that are not in this file go away (the former report was wrong)")
def import_(url: str, file: Path, gateway: str, begin: str, end: str, kinds: str, replace: bool) -> None:
    """Take a gateway's own report (CSV; columns as below). The same file again changes nothing.

    \b
    reference, kind (hold, capture, void, refund), currency,
    amount_minor or amount (12.50), utc (2026-11-26T16:25:00Z) or utc_ms;
    about (reference of the payment it belongs to), ours (hold id or key),
    terminal (our id of it, never the acquirer's number)
    """
    period = _moment(begin, "--from"), _moment(end, "--until")
    if not period[0] < period[1] <= store.now_ms():
        raise click.UsageError("--until: must be after --from, and not in the future: a report cannot cover what is to come")
    said = tuple(dict.fromkeys(kinds.split(",")))
    if not said or set(said) - set(KINDS):
        raise click.UsageError(f"--kinds: some of {','.join(KINDS)}, with commas")
    if not gateway.isprintable() or not 0 < len(gateway) <= 64:
        raise click.UsageError("--gateway: a name of 1 to 64 characters")
    try:
        with file.open("rb") as opened:
            report = read_report(str(file), opened.read(MAX_BYTES + 1), gateway, period, said)
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be read: {error.strerror}") from error
    except ReportRefused as refusal:
        raise click.ClickException(str(refusal)) from refusal
    with _books(url) as database:
        try:
            done = gateway_books.take(database, report, replace)
        except ReportRefused as refusal:
            raise click.ClickException(f"{file}: {refusal}") from refusal
    click.echo(f"{done.new} new rows, {done.known} known, {done.dropped} dropped")


@payments.command()
@DATABASE
@click.argument("finding_id", metavar="ID")
@click.option("--by", required=True, help="who judged it")
@click.option("--why", required=True, help="reason and authority")
def accept(url: str, finding_id: str, by: str, why: str) -> None:
    """A person has judged a discrepancy: it stays listed as accepted, and comes back if its amounts change."""
    if not by.strip() or not why.strip():
        raise click.UsageError("--by and --why: must say something")
    with _books(url) as database:
        try:
            one = payment_watch.accept(database, finding_id, by.strip()[:64], why.strip()[:200], store.now_ms())
        except payment_watch.NoSuchFinding as unknown:
            raise click.ClickException(str(unknown)) from unknown
    click.echo(f"accepted: {one.kind.value} {one.sentence}")


@contextlib.contextmanager
def _books(url: str) -> Iterator[store.Store]:
    database = open_store(url)
    try:
        yield database
    except sa.exc.SQLAlchemyError as error:
        raise click.ClickException(f"the database did not take it: {type(error).__name__}") from error
    finally:
        database.close()


@contextlib.contextmanager
def _reading(url: str) -> Iterator[Any]:
    with _books(url) as database, database.read() as db:
        yield db


def _moment(text: str, option: str) -> int:
    """UTC ms; a bare date is its midnight in UTC."""
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{option}: {text[:40]!r} is not a moment like 2026-11-01 or 2026-11-01T06:00:00Z") from None
    if moment.tzinfo is None:
        raise click.UsageError(f"{option}: {text[:40]!r} does not say its offset; UTC ends in Z")
    return int(moment.timestamp()) * 1000
