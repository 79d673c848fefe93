"""`charge-service records list | verify | export`."""

from pathlib import Path
from typing import Any

import click

from terminal_app.errors import ChargeError, SignatureInvalid
from terminal_app.run.service import show
from terminal_app.run.service.export import FORMATS, export
from terminal_app.run.service.formats import place_of
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import CoreState, Site, public_key_of
from terminal_app.run.service.verification import (
    Finding,
    Whose,
    claims,
    verify_acknowledgement,
    verify_ledger,
    verify_records,
)
from terminal_app.session.facts import OfficeAcknowledged

PUBLIC_KEY = click.Path(path_type=Path, dir_okay=False)


@click.group()
def records() -> None:
    """Sealed billing records: what the office gets."""


@records.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_(site: Site, limit: int) -> int:
    """The newest records, as they claim to be; `verify` proves it."""
    books = site.books
    covered = _covered(site)
    rows = []
    for one in books.records(newest_first=True, limit=limit):
        try:
            said = claims(one.jws)
        except SignatureInvalid as error:
            said = {"type": f"unreadable: {error}"}
        rows.append(
            {
                "seq": one.seq,
                "type": said.get("type", ""),
                "subject": one.subject,
                "created_utc_ms": said.get("created", {}).get("utc_ms"),
                "what": _what(said),
                "acknowledged": one.seq <= covered,
                "sha256": one.sha256,
            }
        )
    if site.as_json:
        show.as_json(rows)
    elif not rows:
        show.console().print("no record yet")
    else:
        zone = site.config.terminal.time_zone
        cells = (
            (
                r["seq"],
                r["type"],
                r["subject"],
                show.moment(r["created_utc_ms"], zone),
                r["what"],
                "yes" if r["acknowledged"] else "waits",
            )
            for r in rows
        )
        show.console().print(show.table(("record", "type", "of", "sealed", "says", "office"), cells, right=("record",)))
    return show.OK


@records.command()
@click.option(
    "--key", "record_key", type=PUBLIC_KEY, help="Public key (PEM) of the records, if it cannot be had from core or key file."
)
@click.option("--ocmf-key", type=PUBLIC_KEY, help="Public key (PEM) of the terminal-made OCMF, likewise.")
@json_option
@click.pass_obj
def verify(site: Site, record_key: Path | None, ocmf_key: Path | None) -> int:
    """Ledger chain, record chain, OCMF and the office's acknowledgement; names the first bad entry of each.

    Works with a ledger that does not verify, too. Exit code 2 if anything does not hold, 1 if the office quarantined records.
    """
    findings = verify_all(site, record_key, ocmf_key)
    bad = [one for one in findings if one.trouble]
    if site.as_json:
        show.as_json({"ok": not bad, "chains": [vars(one) for one in findings]})
    else:
        rows = ((one.chain, _state(one), one.checked, one.trouble) for one in findings)
        show.console().print(show.table(("chain", "state", "checked", "first trouble"), rows, right=("checked",)))
        for one in findings:
            for note in one.notes:
                show.console().print(f"{one.chain}: {note}", markup=False)
        if bad:
            show.console().print(
                "Keep this disk as it is; export what can be read: charge-service records export --format jws --out DIR"
            )
    if bad:
        return show.FAULT
    return show.WARNING if any(one.warning for one in findings) else show.OK


def _state(finding: Finding) -> str:
    if finding.trouble:
        return "fault"
    return "warning" if finding.warning else "ok"


def verify_all(site: Site, record_key: Path | None = None, ocmf_key: Path | None = None) -> list[Finding]:
    """All four chains."""
    books, keys = site.books, site.public_keys(record_key, ocmf_key)
    whose = Whose(site.config.terminal.id, _or(lambda: books.chain))
    with show.progress("ledger", _or(lambda: books.tail[0], 0)) as done:
        ledger, acknowledged, sealed = verify_ledger(books, done)
    newest = _or(lambda: list(books.records(newest_first=True, limit=1)), [])
    with show.progress("records", newest[0].seq if newest else 0) as done:
        chain, readings, hashes = verify_records(books, whose, keys, sealed if not ledger.trouble else {}, done)
    try:
        office: bytes | None = public_key_of(site.config.office.public_key)
    except ChargeError:
        office = None
    acknowledgement = verify_acknowledgement(books, whose, acknowledged, hashes, office)
    if ledger.trouble:  # entries after the first bad one were not read, so this says nothing about the acknowledgement
        acknowledgement = Finding("acknowledgement", notes=["not checked: the ledger it stands in does not verify"])
    return [ledger, chain, readings, acknowledgement]


@records.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    required=True,
    help="jws: as signed; ocmf: readings and key; jsonl: readable; ocpi: CDRs and confirmations; ocpp: NotifySettlement.",
)
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="A folder; made if missing.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only records after this number.")
@click.option("--through", type=click.IntRange(0), default=0, help="Only records up to this number.")
@click.option("--ocmf-key", type=PUBLIC_KEY, help="Public key (PEM) of the terminal-made OCMF, if it cannot be had otherwise.")
@click.option("--place", type=PUBLIC_KEY, help="JSON with address, city, latitude, longitude ... of the station, for OCPI.")
@json_option
@click.pass_obj
def export_(site: Site, form: str, folder: Path, after: int, through: int, ocmf_key: Path | None, place: Path | None) -> int:
    """Write records to files, byte for byte as they were signed. Works out of service and on a read-only disk."""
    books, keys = site.books, site.public_keys(None, ocmf_key)
    newest = list(books.records(newest_first=True, limit=1))
    with show.progress("records", newest[0].seq if newest else 0) as done:
        written, troubles = export(books, form, folder, keys, after, through, done, place_of(place))
    if site.as_json:
        show.as_json({"format": form, "out": str(folder), "files": [file.name for file in written], "troubles": troubles})
    else:
        show.console().print(f"{len(written)} files in {folder}", markup=False)
        for trouble in troubles:
            show.console().print(trouble, markup=False)
    return show.WARNING if troubles else show.OK


def _covered(site: Site) -> int:
    if site.state is CoreState.RUNNING:
        return int(site.core_status["records"]["acknowledged"])
    newest = [entry.fact for entry in site.books.entries(kinds=("office_acknowledged",), newest_first=True, limit=1)]
    return newest[0].records_through if newest and isinstance(newest[0], OfficeAcknowledged) else 0


def _what(said: dict[str, Any]) -> str:
    """A record in a few words, as far as its form allows."""
    try:
        if said["type"] == "session":
            totals = said["totals"]
            return f"{show.energy(said['energy_wh'])}, {show.money(totals['total_minor'], totals['currency'])}"
        if said["type"] == "settlement":
            return f"{said['how']} {show.money(said['amount_minor'], said['currency'])}"
        if said["type"] == "credit":
            totals = said["totals"]
            return f"{show.money(totals['total_minor'], totals['currency'])} of record {said['credits']['seq']}: {said['reason']}"
        if said["type"] == "key-change":
            return f"new key {said['new_key_id']}: {said['reason']}"
        if said["type"] == "checkpoint":
            return f"ledger at entry {said['ledger']['entries']}, office at record {said['acknowledged_through']}"
    except (KeyError, TypeError, ValueError):
        return "?"
    return ""


def _or(ask: Any, otherwise: Any = "") -> Any:
    """What a damaged ledger may not be able to tell."""
    try:
        return ask()
    except ChargeError:
        return otherwise
