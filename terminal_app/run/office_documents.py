"""`charge-office statement`, `invoice`, `closing`: documents on paper and as tables. The ending of --out says which of them."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from terminal_app.errors import SignatureInvalid
from terminal_app.office import closing_paper, closings, invoice_cases, invoice_paper, signing, statement_paper, statements, store
from terminal_app.office.accounts import Refused
from terminal_app.office.document_words import DOCUMENT_WORDS
from terminal_app.office.invoices import Invoices
from terminal_app.office.local_time import clock_words, day_named, day_of, zone
from terminal_app.office.payment_values import money_text
from terminal_app.run.office_database import DATABASE, FILE, KEY, TIME_ZONE, office_key, open_store

LANGUAGE = click.option("--language", type=click.Choice(sorted(DOCUMENT_WORDS)), default="en", show_default=True)
JSON = click.option("--json", "as_json", is_flag=True)


@click.command()
@DATABASE
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("month")
@click.option("--out", type=FILE, required=True, help="FILE.pdf or FILE.csv")
@LANGUAGE
@TIME_ZONE
def statement(url: str, account_id: str, month: str, out: Path, language: str, time_zone: str) -> None:
    """The statement of ACCOUNT for MONTH (2026-11): opening + entries = closing. Exit code 1 and an alarm if they do not agree."""
    _ending(out, ".pdf", ".csv")
    with _books(url) as database:
        made = statements.make(database, account_id, month, time_zone)
        if made is None:
            raise click.ClickException(f"there is no account {account_id}")
        paper = statement_paper.pdf_statement(made, language) if out.suffix == ".pdf" else statement_paper.csv_of(made).encode()
    _write(out, paper)
    sums = " + ".join(money_text(minor, made.currency) for minor in (made.opening_minor, made.closing_minor - made.opening_minor))
    click.echo(f"{out}: {sums} = {money_text(made.closing_minor, made.currency)}{'' if made.complete else ' so far'}")


# --- invoices ------------------------------------------------------------------------------------------------------------


@click.group()
def invoice() -> None:
    """Invoices that drivers asked for, and their credit notes."""


@invoice.command(name="list")
@DATABASE
@click.option("--month", default="", help="like 2026-11; default: this month")
@click.option("--out", type=FILE, help="FILE.csv: one line per document and VAT rate")
@JSON
@TIME_ZONE
def list_invoices(url: str, month: str, out: Path | None, as_json: bool, time_zone: str) -> None:
    """All documents of a month, in the order of their numbers."""
    if out:
        _ending(out, ".csv")
    month = month or datetime.now(UTC).astimezone(zone(time_zone)).strftime("%Y-%m")
    with _books(url) as database:
        Invoices(database, time_zone).follow_credits()
        with database.read() as db:
            rows = invoice_cases.of_month(db, month, time_zone)
    if out:
        _write(out, invoice_paper.csv_of(rows).encode())
    told = [{name: value for name, value in row.items() if name not in ("pdf", "content")} for row in rows]
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    click.echo("number\tissued\tabout\tgross\treceipt\tcause\tactor\treason")
    for row in told:
        issued = clock_words(row["issued_utc_ms"], zone(time_zone))
        gross, cause = money_text(row["gross_minor"], row["currency"]), row["cause"].partition(":")[0]
        click.echo(
            "\t".join((row["number"], issued, row["about"], gross, row["receipt_number"], cause, row["actor"], row["reason"]))
        )


@invoice.command(name="show")
@DATABASE
@click.argument("number")
@click.option("--out", type=FILE, help="FILE.pdf: the very bytes that were issued")
def show_invoice(url: str, number: str, out: Path | None) -> None:
    """All that a document says, as JSON, or its PDF."""
    with _books(url) as database, database.read() as db:
        row = invoice_cases.by_number(db, number)
    if row is None:
        raise click.ClickException(f"there is no invoice {number}")
    if out:
        _ending(out, ".pdf")
        _write(out, row["pdf"])
        click.echo(str(out))
        return
    click.echo(json.dumps(json.loads(row["content"]), indent=1, ensure_ascii=False))


@invoice.command()
@DATABASE
@click.argument("number")
@click.option("--by", "actor", required=True, help="who cancels")
@click.option("--why", "reason", required=True, help="reason, printed on the credit note")
@click.option("--invoice-series", default="INV", show_default=True, help="as for `serve`")
@TIME_ZONE
def cancel(url: str, number: str, actor: str, reason: str, invoice_series: str, time_zone: str) -> None:
    """Take back what is left of an invoice by a credit note with a number of its own. Moves no money."""
    if not actor.strip() or not reason.strip():
        raise click.UsageError("--by and --why: must say something")
    with _books(url) as database:
        note = Invoices(database, time_zone, invoice_series).cancel(number, actor.strip()[:64], reason.strip()[:200])
    click.echo(f"credit note {note['number']} takes back {money_text(-note['gross_minor'], note['currency'])} of {number}")


# --- closings ------------------------------------------------------------------------------------------------------------


@click.group()
def closing() -> None:
    """Daily closings of terminals."""


@closing.command()
@DATABASE
@KEY
@click.argument("terminal", default="")
@click.option("--day", default="", help="a day that is over, like 2026-11-25; default: yesterday")
@click.option("--threshold-wh", default=closings.THRESHOLD_WH, show_default=True, type=click.IntRange(0), help="unexplained energy")
@TIME_ZONE
def make(url: str, key_file: Path, terminal: str, day: str, threshold_wh: int, time_zone: str) -> None:
    """Close a day of TERMINAL, or of all. Again: the same closing. Exit code 1 if something needs a look (an alarm says so too)."""
    found = 0
    with _books(url) as database:
        where = zone(time_zone)
        which = day_named(day) if day else day_of(store.now_ms(), where) - timedelta(days=1)
        with database.read() as db:
            names = [terminal] if terminal else closings.terminals(db)
        key = office_key(key_file)
        for name in names:
            try:
                made = closings.Closings(database, key, time_zone, threshold_wh).make(name, which)
                told = closings.open_closing(made["jws"], key.public_pem)
            except (Refused, SignatureInvalid) as refusal:  # made before, with another key: no other waits for that
                if terminal and isinstance(refusal, Refused):
                    raise
                click.echo(f"{name}\t{refusal}", err=True)
                found += 1
                continue
            sums = ", ".join(money_text(row["total_minor"], row["currency"]) for row in told["totals"]) or "nothing sold"
            click.echo(f"{name}\tclosing {made['number']}\t{made['day']}\t{sums}")
            for finding in told["findings"]:
                click.echo(f"    {finding}")
            found += len(told["findings"])
    if found:
        raise click.exceptions.Exit(1)


@closing.command(name="list")
@DATABASE
@KEY
@click.option("--terminal", default="", help="only of this terminal")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@JSON
def list_closings(url: str, key_file: Path, terminal: str, limit: int, as_json: bool) -> None:
    """The newest first; each is verified with the office's key."""
    key = office_key(key_file)
    with _books(url) as database, database.read() as db:
        rows = [_verified(row, key) for row in closings.listed(db, terminal, limit)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo("day\tterminal\tnumber\tturnover\tlate\tfindings")
    for row in rows:
        sums = ", ".join(money_text(one["total_minor"], one["currency"]) for one in row["totals"])
        late, findings = sum(one["records"] for one in row["late"]), len(row["findings"])
        click.echo(f"{row['day']}\t{row['terminal']}\t{row['number']}\t{sums}\t{late}\t{findings}")


@closing.command(name="show")
@DATABASE
@KEY
@click.argument("terminal")
@click.argument("number", type=click.IntRange(1, 2**62))
@click.option("--out", type=FILE, help="FILE.pdf, FILE.csv or FILE.jws (as signed)")
def show_closing(url: str, key_file: Path, terminal: str, number: int, out: Path | None) -> None:
    """All that a closing says, as JSON, or on paper."""
    with _books(url) as database, database.read() as db:
        row = closings.by_number(db, terminal, number)
    if row is None:
        raise click.ClickException(f"terminal {terminal} has no closing {number}")
    found = _verified(row, office_key(key_file))
    if out is None:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    _ending(out, ".pdf", ".csv", ".jws")
    text = closing_paper.csv_of(found) if out.suffix == ".csv" else str(row["jws"])
    _write(out, closing_paper.pdf_closing(found) if out.suffix == ".pdf" else text.encode())
    click.echo(str(out))


def _verified(row: dict[str, Any], key: signing.OfficeKey) -> dict[str, Any]:
    try:
        return closings.open_closing(row["jws"], key.public_pem)
    except SignatureInvalid as error:
        raise click.ClickException(f"closing {row['number']} of {row['terminal']} does not verify: {error}") from error


@contextlib.contextmanager
def _books(url: str) -> Iterator[store.Store]:
    database = open_store(url)
    try:
        yield database
    except (Refused, ValueError, statements.StatementMismatch) as problem:
        raise click.ClickException(str(problem)) from problem
    except sa.exc.SQLAlchemyError as error:
        raise click.ClickException(f"the database did not take it: {type(error).__name__}") from error
    finally:
        database.close()


def _ending(out: Path, *endings: str) -> None:
    if out.suffix not in endings:
        raise click.UsageError(f"--out: must end in {' or '.join(endings)}")


def _write(out: Path, content: bytes) -> None:
    try:
        out.write_bytes(content)
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written: {error.strerror}") from error
