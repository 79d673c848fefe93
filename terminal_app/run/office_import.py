"""`charge-office import`: records and facts that came by hand, through the same door as those that come by network."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import sqlalchemy as sa

from terminal_app.billing.parcel import MAX_LINE, ParcelHead, authentic
from terminal_app.office import store
from terminal_app.office.ingest import BatchRefused, Collector, SentBatch
from terminal_app.run.office_database import DATABASE, FILE, KEY, office_key, open_store

MAX_FILES = 1000


class Part(NamedTuple):
    """A file, and where it begins: files are taken in the order of their records, however they are given."""

    head: ParcelHead
    records_after: int
    facts_after: int
    file: Path


@click.command("import")
@DATABASE
@KEY
@click.option("--out", type=FILE, required=True, help="the acknowledgement, to be carried back to the terminals")
@click.option("--demo", is_flag=True, help="take demo records")
@click.argument("files", nargs=-1, required=True, type=FILE)
def import_(url: str, key_file: Path, out: Path, demo: bool, files: tuple[Path, ...]) -> None:
    """Take FILES of `charge-service export write`, in any order and as often as you like; nothing is stored twice.

    If a file does not carry the HMAC made with its terminal's token, only records that verify are taken, and no facts.
    """
    if len(files) > MAX_FILES:
        raise click.UsageError(f"at most {MAX_FILES} files at once")
    database, key = open_store(url), office_key(key_file)
    collector, acknowledged = Collector(database, key, demo), dict[ParcelHead, str]()
    try:
        for part in sorted(map(_part, files)):
            acknowledged[part.head] = _taken(part, database, collector)
    finally:
        database.close()
    out.write_text("".join(f"{jws}\n" for jws in acknowledged.values()))
    click.echo(f"acknowledgement in {out}; at the terminal: charge-service export ack {out.name}")


def _part(file: Path) -> Part:
    lines = _lines(file)
    try:
        head, first = ParcelHead.read(next(lines, b"")), _batch(next(lines, b""))
    except ValueError as error:
        raise click.ClickException(f"{file}: {error}") from error
    return Part(head, first.records_after, first.facts_after, file)


def _taken(part: Part, database: store.Store, collector: Collector) -> str:
    """The acknowledgement after the last batch. ClickException names the file; what came before stays stored."""
    file, head = part.file, part.head
    with database.read() as db:
        where = store.terminals.c.terminal == head.terminal
        token_sha256 = db.execute(sa.select(store.terminals.c.token_sha256).where(where)).scalar()
    if token_sha256 is None:
        raise click.ClickException(f"{file}: terminal {head.terminal} is not known here: charge-office terminal add")
    believed = bool(token_sha256) and authentic(_lines(file), token_sha256)  # "" = blocked: anybody could make that HMAC
    jws, seq = "", part.records_after
    if not believed:
        click.echo(f"{file}: damaged, incomplete, or not made with the token of {head.terminal}: its facts are left out", err=True)
    for number, line in enumerate(_lines(file)):
        if number == 0 or line.startswith(b'{"hmac_sha256"'):
            continue
        try:
            batch = _batch(line)
            if (batch.terminal, batch.chain_id) != head:
                raise ValueError("a batch of another terminal or chain")
            if not believed:
                batch = msgspec.structs.replace(batch, facts=(), facts_after=0, facts_through=0)
                if not batch.records:
                    continue
            jws, seq = collector.take(batch, believed), batch.records[-1].seq if batch.records else seq
        except (ValueError, BatchRefused) as error:
            raise click.ClickException(f"{file}: line {number + 1}: {error}; what was before it is stored") from error
        except sa.exc.SQLAlchemyError as error:
            raise click.ClickException(f"{file}: cannot be stored now: {type(error).__name__}") from error
    if not jws:
        raise click.ClickException(f"{file}: holds no record, and nothing else of it is believed")
    _say(part, database, seq)
    return jws


def _say(part: Part, database: store.Store, seq: int) -> None:
    with database.read() as db:
        where = (store.chains.c.terminal == part.head.terminal) & (store.chains.c.chain_id == part.head.chain_id)
        through = int(db.execute(sa.select(store.chains.c.through_seq).where(where)).scalar() or 0)
    said = f"{part.file}: {part.head.terminal}: stored through record {through}"
    if through < part.records_after:
        said += f"; records {through + 1} to {part.records_after} are missing: import the file before, then this one again"
    click.echo(said if through >= seq or through < part.records_after else f"{said}, {seq} came")


def _lines(file: Path) -> Iterator[bytes]:
    """Line by line, none longer than a batch may be."""
    try:
        with file.open("rb") as opened:
            while line := opened.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise click.ClickException(f"{file}: a line exceeds {MAX_LINE} bytes: not a file of `charge-service export`")
                yield line
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be read: {error.strerror}") from error


def _batch(line: bytes) -> SentBatch:
    try:
        return msgspec.json.decode(line, type=SentBatch)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not a batch: {error}") from error
