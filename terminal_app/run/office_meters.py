"""`charge-office terminal meter-key`: whose signature the office believes of a meter that signs its own readings."""

from pathlib import Path

import click
import sqlalchemy as sa

from terminal_app.billing.signature import ocmf_key_id, spki_of
from terminal_app.errors import SignatureInvalid
from terminal_app.office import meter_keys, store
from terminal_app.run.office_database import DATABASE, FILE, open_store


@click.command("meter-key")
@DATABASE
@click.argument("terminal_id")
@click.argument("serial")
@click.option("--key", "key_file", type=FILE, help="the public key on the meter's label: PEM, or hex SPKI")
def meter_key(url: str, terminal_id: str, serial: str, key_file: Path | None) -> None:
    """Show the public key that is kept of a meter, or keep the one on its label instead.

    Otherwise the first key that a verified record shows is kept, and an alarm asks somebody to compare it."""
    database = open_store(url)
    with database.write() as db:
        if key_file is not None:
            if db.execute(sa.select(store.terminals).where(store.terminals.c.terminal == terminal_id)).first() is None:
                raise click.ClickException(f"terminal {terminal_id} is not known here")
            spki = _spki(key_file)
            meter_keys.keep(db, terminal_id, serial, ocmf_key_id(spki), spki.hex())
        found = meter_keys.find(db, terminal_id, serial)
    database.close()
    if found is None:
        raise click.ClickException(f"no key is kept of meter {serial} at terminal {terminal_id}")
    click.echo(f"meter {serial} of terminal {terminal_id}: key {found['key_id']}\n{found['spki']}")


def _spki(file: Path) -> bytes:
    try:
        raw = file.read_bytes()
        return spki_of(raw if b"-----BEGIN" in raw else bytes.fromhex(raw.decode("ascii")))
    except (OSError, ValueError, SignatureInvalid) as error:
        raise click.ClickException(f"{file}: cannot be read as a public key (PEM, or hex SPKI): {error}") from error
