"""`charge-service export write | ack`: records and facts by hand, when there is no network for weeks.

What is written is what sync would post, from where the office's acknowledgement ends; carrying it twice, or beside sync, does no
harm. The office's answer comes back the same way and is verified by the core like any other.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from terminal_app import wire
from terminal_app.billing.parcel import ParcelHead, parcel_lines
from terminal_app.billing.record import GENESIS
from terminal_app.engine.sync_link import told
from terminal_app.ledger.entry import Entry
from terminal_app.ledger.reading import StoredRecord
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Books, Site
from terminal_app.session.facts import OfficeAcknowledged
from terminal_app.sync.push import body_of

RECORDS_A_BATCH = 100
FACTS_A_BATCH = 500
BYTES_A_BATCH = 2 * 1024 * 1024
MAX_ACKS = 64
FILE = click.Path(path_type=Path, dir_okay=False)
T = TypeVar("T")


@click.group()
def export() -> None:
    """Records carried to the office by hand, and its acknowledgement back."""


@export.command()
@click.argument("file", type=FILE)
@click.option("--all", "everything", is_flag=True, help="From the first record on, also what the office has acknowledged.")
@json_option
@click.pass_obj
def write(site: Site, file: Path, everything: bool) -> int:
    """Write FILE for `charge-office import`: signed records and facts that the office has not acknowledged."""
    books, head = site.books, ParcelHead(site.config.terminal.id, site.books.chain)
    records_after, facts_after = (0, 0) if everything else acknowledged(books)
    newest = next(iter(books.records(newest_first=True, limit=1)), None)
    batches = Batches(head, books, records_after, facts_after, newest)
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as out:
            for line in parcel_lines(head, batches, _token(site)):
                out.write(line)
            out.flush()
            os.fsync(out.fileno())  # a stick is pulled out soon after
        partial.replace(file)
    except OSError as error:
        raise ServiceTrouble(f"{file}: cannot be written: {error.strerror}") from error
    through = newest.seq if newest else 0
    if site.as_json:
        said = {"file": str(file), "records_after": records_after, "records_through": through, "facts": batches.facts}
        show.as_json(said)
    elif batches.facts or through > records_after:
        what = f"records {records_after + 1} to {through}" if through > records_after else "no record"
        show.console().print(
            f"{what} and {batches.facts} facts in {file}; at the office: charge-office import {file.name} --out ack"
        )
    else:
        show.console().print(f"nothing waits for the office; {file} says only that")
    return show.OK


@export.command()
@click.argument("file", type=FILE)
@json_option
@click.pass_obj
def ack(site: Site, file: Path) -> int:
    """Hand the office's acknowledgement FILE to the running core, which verifies it."""
    try:
        lines = file.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceTrouble(f"{file}: cannot be read: {error}") from error
    if not 0 < len(lines) <= MAX_ACKS:
        raise ServiceTrouble(f"{file}: must hold 1 to {MAX_ACKS} acknowledgements, one a line")
    core, refusals, through = site.running("export ack"), list[str](), None
    for jws in lines:
        try:
            through = int(core.ask("office.acknowledge", jws=jws)["acknowledged"])
        except ServiceTrouble as error:  # of another terminal, most likely
            refusals.append(str(error))
    if through is None:
        raise ServiceTrouble(f"{file}: {refusals[0]}")
    if site.as_json:
        show.as_json({"acknowledged": through, "refused": refusals})
    else:
        show.console().print(f"the office has everything through record {through}")
    return show.OK


def acknowledged(books: Books) -> tuple[int, int]:
    """The office's watermarks: records, entries."""
    for entry in books.entries(kinds=("office_acknowledged",), newest_first=True, limit=1):
        fact = entry.fact
        assert isinstance(fact, OfficeAcknowledged)
        return fact.records_through, fact.facts_through
    return 0, 0


class Batches:
    """Iterates over batches as sync posts them. `facts` counts what went out."""

    def __init__(self, head: ParcelHead, books: Books, records_after: int, facts_after: int, newest: StoredRecord | None) -> None:
        self._head, self._books, self._newest = head, books, newest
        self._records_after, self._facts_after = records_after, facts_after
        self._through = books.tail[0]  # what comes later goes the next time
        self.facts = 0

    def __iter__(self) -> Iterator[bytes]:
        last = self._newest.seq if self._newest else 0
        rows = (one for one in self._books.records(after=self._records_after) if one.seq <= last)
        for records in _parts(rows, RECORDS_A_BATCH, lambda one: len(one.jws)):
            yield self._batch(records, [], self._facts_after)
            self._records_after = records[-1].seq
        entries = (one for one in self._books.entries(after=self._facts_after) if one.public and one.seq <= self._through)
        for facts in _parts(entries, FACTS_A_BATCH, lambda one: len(one.body)):
            yield self._batch([], facts, facts[-1].seq)
            self._facts_after = facts[-1].seq
            self.facts += len(facts)
        yield self._batch([], [], self._through)

    def _batch(self, records: list[StoredRecord], facts: list[Entry], facts_through: int) -> bytes:
        batch = wire.Batch(
            terminal=self._head.terminal,
            chain_id=self._head.chain_id,
            records_after=self._records_after,
            facts_after=self._facts_after,
            facts_through=facts_through,
            head_seq=self._newest.seq if self._newest else 0,
            head_sha256=self._newest.sha256 if self._newest else GENESIS,
            records=tuple(wire.RecordRow(one.seq, one.jws) for one in records),
            facts=tuple(wire.FactRow(one.seq, one.stamp.utc_ms, one.kind, one.session_id, told(one)) for one in facts),
        )
        return body_of(batch)


def _parts(items: Iterable[T], most: int, size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists of at most `most` items and about BYTES_A_BATCH; never an empty one."""
    part, size = list[T](), 0
    for one in items:
        if part and (len(part) >= most or size + size_of(one) > BYTES_A_BATCH):
            yield part
            part, size = [], 0
        part.append(one)
        size += size_of(one)
    if part:
        yield part


def _token(site: Site) -> str:
    file = site.config.office.token_file
    try:
        return file.read_text("ascii").strip()
    except PermissionError as error:
        raise ServiceTrouble(f"{file}: may not be read; it proves the facts to the office: try with sudo") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceTrouble(f"[office] token_file: {file}: cannot be read: {error}") from error
