"""`charge-service keys show | rotate | label`: the public keys of this terminal, a new key, and a label for the housing."""

import datetime
import os
from pathlib import Path

import click

from terminal_app.billing.signature import thumbprint
from terminal_app.errors import ChargeError, LedgerBroken
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.key_label import Label, write_label
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site, public_key_of
from terminal_app.session.facts import StartRegistered

WHICH = click.option("--which", type=click.Choice(["record", "ocmf"]), default="ocmf", show_default=True)


@click.group()
def keys() -> None:
    """The keys that sign billing records and readings."""


@keys.command("show")
@json_option
@click.pass_obj
def show_(site: Site) -> int:
    """Id, place and public key (hex SPKI) of each key in [keys]."""
    section, rows = site.config.keys, []
    for name, where in (("record", section.record), ("ocmf", section.ocmf), ("previous_record", section.previous_record)):
        if where is not None:
            spki = _public(site, name, where)
            rows.append({"key": name, "id": thumbprint(spki), "where": str(where), "spki": spki.hex()})
    if site.as_json:
        show.as_json(rows)
    else:
        for row in rows:
            show.console().print(show.facts(row.items()))
    return show.OK


@keys.command()
@click.option("--which", type=click.Choice(["record", "ocmf"]), default="record", show_default=True)
@click.option("--reason", required=True, help="Why; it stands in the key-change record.")
@json_option
@click.pass_obj
def rotate(site: Site, which: str, reason: str) -> int:
    """Make a new key file beside the old one and say what to put into terminal.toml. Changes nothing else.

    A key in a token is made with the token's own tools; then the same lines name it.
    """
    from drivers.signers.keyfile import create

    old: Path = getattr(site.config.keys, which)
    if str(old).startswith("pkcs11:"):
        raise ServiceTrouble(f"[keys] {which} is in a token: make the new one there, with the token's own tools")
    if not reason.strip() or len(reason) > 200 or '"' in reason or "\\" in reason or not reason.isprintable():
        raise click.UsageError('--reason: one line of up to 200 characters, without " and \\')
    new = old.with_name(f"{which}-{datetime.datetime.now(datetime.UTC):%Y%m%d%H%M%S}.pem")
    signer = create(new)
    _as_owned(new, old)
    lines = [f'{which} = "{new}"', f'change_reason = "{reason.strip()}"']
    if which == "record":
        lines.insert(1, f'previous_record = "{old}"')
    if site.as_json:
        show.as_json({"file": str(new), "id": signer.key_id, "lines": lines})
        return show.OK
    out = show.console()
    out.print(f"New key {signer.key_id} in {new}", markup=False)
    out.print(f"Put these lines into [keys] of {site.path}, in place of the old ones:", markup=False)
    for line in lines:
        out.print(f"    {line}", markup=False, soft_wrap=True)
    out.print("Then, while nobody charges: systemctl restart charge-terminal. The first record sealed is the key change;")
    out.print("keep the old file until `charge-service records list` shows it as acknowledged by the office.")
    return show.OK


@keys.command()
@WHICH
@click.option("--public-key", type=click.Path(path_type=Path, dir_okay=False), help="Of a meter that signs itself (PEM or DER).")
@click.option("--connector", type=click.IntRange(1), help="Only this connector's meter and EVSE id.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="FILE.svg with text, or FILE.png.")
@click.pass_obj
def label(site: Site, which: str, public_key: Path | None, connector: int | None, out: Path) -> int:
    """A QR code of the public key (hex SPKI, as transparency software reads it) to stick on the charger.

    The SVG says beside it whose key it is; the PNG is the code alone.
    """
    spki = public_key_of(public_key) if public_key else _public(site, which, getattr(site.config.keys, which))
    chosen = [one for one in site.config.connector if connector in (None, one.number)]
    if not chosen:
        raise ServiceTrouble(f"connector {connector}: there is none with this number")
    serials = _serials(site, {one.number for one in chosen})
    found = Label(
        spki=spki,
        terminal=site.config.terminal.id,
        evse_ids=tuple(one.evse_id for one in chosen),
        meters=tuple(serials.get(one.number, "") for one in chosen),
        purpose="signed meter readings (OCMF)" if which == "ocmf" or public_key else "billing records",
    )
    write_label(found, out)
    show.console().print(f"{out}: key {thumbprint(spki)}", markup=False)
    return show.OK


def _public(site: Site, name: str, where: Path) -> bytes:
    """From the running core where it tells, else from file or token. ServiceTrouble."""
    from drivers.signers.opening import open_signer

    known = site.public_keys()
    told = {"record": known.record, "ocmf": known.ocmf}.get(name, {})
    try:
        return open_signer(where).public_key_spki()
    except ChargeError as error:
        if len(told) == 1:
            return next(iter(told.values()))
        raise ServiceTrouble(f"[keys] {name}: {error}; try with sudo") from error


def _serials(site: Site, connectors: set[int]) -> dict[int, str]:
    """The meter that each connector's newest charge was read from; empty for a connector that never charged."""
    found: dict[int, str] = {}
    sessions: dict[str, int] = {}
    try:
        for entry in site.books.entries(kinds=("session_opened", "start_registered")):
            fact = entry.fact
            if isinstance(fact, StartRegistered):
                found[sessions.get(fact.session_id, 0)] = fact.second.serial
            else:
                sessions[fact.session_id] = fact.connector  # type: ignore[union-attr]
    except (LedgerBroken, ServiceTrouble):
        return {}
    return {number: serial for number, serial in found.items() if number in connectors}


def _as_owned(new: Path, old: Path) -> None:
    """Made with sudo, the key would be root's, and the core could not read it."""
    owner = old.stat()
    if os.geteuid() == 0:
        os.chown(new, owner.st_uid, owner.st_gid)
