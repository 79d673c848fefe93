"""`charge-service records show NUMBER`: one record, whose signature was checked, as people read it."""

from pathlib import Path
from typing import Any

import click

from terminal_app.billing import record
from terminal_app.billing.receipt import receipt_of, receipt_of_hold
from terminal_app.billing.receipt_text import text_of
from terminal_app.billing.signature import jws_key_id
from terminal_app.errors import SignatureInvalid
from terminal_app.ledger.reading import StoredRecord
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.records import PUBLIC_KEY
from terminal_app.run.service.site import Site
from terminal_app.run.service.verification import claims


@click.command("show")
@click.argument("number", type=click.IntRange(1))
@click.option("--receipt", is_flag=True, help="Of a session: only the receipt, as it would be printed.")
@click.option("--key", "record_key", type=PUBLIC_KEY, help="Public key (PEM) of the records, if it cannot be had otherwise.")
@json_option
@click.pass_obj
def show_(site: Site, number: int, receipt: bool, record_key: Path | None) -> int:
    """One record. Exit code 2 if its signature does not verify; its place in the chain is what `records verify` checks."""
    one = next((found for found in site.books.records(after=number - 1, limit=1) if found.seq == number), None)
    if one is None:
        raise ServiceTrouble(f"record {number}: there is none with this number")
    said, trouble = _checked(one, site.public_keys(record_key, None).known)
    if receipt:
        of_hold = said.get("type") == "settlement" and "code" in said["receipt"]
        if said.get("type") != "session" and not of_hold:
            raise ServiceTrouble(f"record {number}: it is of a {said.get('type')} and has no receipt of its own")
        document = receipt_of_hold(said) if of_hold else receipt_of(said, _settlement(site, said))
        for line in (*text_of(document), *(() if of_hold else told_of_credits(site, said))):
            show.console().print(line, markup=False)
    elif site.as_json:
        verified = {"verified": not trouble, "trouble": trouble}
        show.as_json({"seq": one.seq, "sha256": one.sha256, "jws": one.jws, "record": said} | verified)
    else:
        show.console().print(show.facts([("record", one.seq), ("SHA-256", one.sha256), *_flat(said)]))
    if trouble:
        show.error(f"record {number}: {trouble}", False)
    return show.FAULT if trouble else show.OK


def _checked(one: StoredRecord, keys: dict[str, bytes]) -> tuple[dict[str, Any], str]:
    """What it says, and why that may not be true ("" = the signature verifies)."""
    said = claims(one.jws)
    key = keys.get(jws_key_id(one.jws))
    if key is None:
        return said, "signed by a key that is not known here; give it with --key FILE"
    try:
        return record.open_record(one.jws, key), ""
    except SignatureInvalid as error:
        return said, str(error)


def told_of_credits(site: Site, session: dict[str, Any]) -> list[str]:
    """One line for each credit of a session, as the receipt says it."""
    found = [claims(one.jws) for one in site.books.records(subject=session["session_id"]) if one.type == "credit"]
    return [
        f"Credited {show.money(-one['totals']['total_minor'], one['totals']['currency'])} under receipt {one['receipt']['number']}"
        for one in found
    ]


def _settlement(site: Site, session: dict[str, Any]) -> dict[str, Any] | None:
    hold = session["authorization_reference"]
    found = [claims(one.jws) for one in site.books.records(subject=hold)] if hold else []
    return next((one for one in found if one.get("type") == "settlement"), None)


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested fields as name.name[0].name; long texts (tariff, OCMF) as they are."""
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _flat(one, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        return [pair for place, one in enumerate(value) for pair in _flat(one, f"{name}[{place}]")]
    return [(name, value)]
