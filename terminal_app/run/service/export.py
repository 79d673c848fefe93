"""Records as files for others: `jws` as signed, `ocmf` readings with their public key, `jsonl` readable lines; more in formats."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from terminal_app.billing.exports.ocpi import NOWHERE, Place
from terminal_app.errors import LedgerBroken, SignatureInvalid, TariffRefused
from terminal_app.ledger.reading import StoredRecord
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.formats import Formats
from terminal_app.run.service.site import Books, PublicKeys
from terminal_app.run.service.verification import claims, records_of

FORMATS = ("jws", "ocmf", "jsonl", "safe-xml", "ocpi-2.2.1", "ocpi-2.3.0", "ocpp-2.1", "csv")


def export(
    books: Books,
    form: str,
    folder: Path,
    keys: PublicKeys,
    after: int,
    through: int,
    progress: Callable[[int], None],
    place: Place = NOWHERE,
) -> tuple[list[Path], list[str]]:
    """Files written, and what could not be. Nothing is verified here and nothing held back: `records verify` judges."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceTrouble(f"{folder}: cannot be made: {error.strerror}") from error
    out = Out(folder, keys)
    write = ({"jws": out.jws, "ocmf": out.ocmf, "jsonl": out.jsonl} | Formats(out, books, keys, _name, place).writers)[form]
    for one in _readable(books, after, through, out.troubles):
        try:
            write(one, claims(one.jws))
        except (SignatureInvalid, TariffRefused, KeyError, TypeError, ValueError) as error:
            out.troubles.append(f"record {one.seq}: {error}")
            if form == "jws":
                out.save(f"record-{one.seq:06d}.jws", one.jws + "\n")
        progress(one.seq)
    if form == "jws":
        for key_id, spki in keys.known.items():
            out.save(f"{key_id}.pub", spki.hex() + "\n")
    return out.written, out.troubles


def _readable(books: Books, after: int, through: int, troubles: list[str]) -> Iterator[StoredRecord]:
    """Records up to where the database itself breaks."""
    try:
        yield from records_of(books, after, through)
    except LedgerBroken as error:
        troubles.append(f"the rest cannot be read: {error}")


class Out:
    """The folder. Names are of terminal, chain and number, so that exports of several terminals may share it."""

    def __init__(self, folder: Path, keys: PublicKeys) -> None:
        self._folder, self._keys = folder, keys
        self.written: list[Path] = []
        self.troubles: list[str] = []
        self._begun: set[str] = set()

    def save(self, name: str, text: str, more: bool = False) -> None:
        path = self._folder / name
        path.open("a" if more and name in self._begun else "w", encoding="utf-8").close()
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
        if name not in self._begun:
            self._begun.add(name)
            self.written.append(path)

    def jws(self, one: StoredRecord, said: dict[str, Any]) -> None:
        self.save(f"{_name(said)}.jws", one.jws)

    def jsonl(self, one: StoredRecord, said: dict[str, Any]) -> None:
        line = {"seq": one.seq, "type": one.type, "subject": one.subject, "sha256": one.sha256, "jws": one.jws, "record": said}
        self.save("records.jsonl", json.dumps(line, ensure_ascii=False, default=str) + "\n", more=True)

    def ocmf(self, one: StoredRecord, said: dict[str, Any]) -> None:
        if said.get("type") != "session" or not said["ocmf"]["record"]:
            return
        self.save(f"{_name(said)}.ocmf", said["ocmf"]["record"])
        spki = self._keys.of_readings(said)
        if spki is None:
            why = self._keys.missing or "give it with --ocmf-key FILE"
            self.troubles.append(f"record {one.seq}: the public key {said['ocmf']['key']} of its OCMF is not known here: {why}")
        else:
            self.save(f"{_name(said)}.pub", spki.hex())


def _name(said: dict[str, Any]) -> str:
    name = f"{said['terminal']}-{said['chain_id']}-{said['seq']:06d}"
    if not all(char.isalnum() or char in "-_" for char in name):
        raise SignatureInvalid("its terminal or chain is no name for a file")
    return name
