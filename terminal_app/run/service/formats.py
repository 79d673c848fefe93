"""Records in the words of others, one file each: OCPI CDRs and confirmations, OCPP settlements, CSV, S.A.F.E. XML."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

from terminal_app.billing import canonical
from terminal_app.billing.exports.ocpi import NOWHERE, Place, Version, credit_cdrs, session_cdr
from terminal_app.billing.exports.safe_xml import safe_xml
from terminal_app.billing.exports.settlement import financial_advice, notify_settlement
from terminal_app.billing.exports.table import csv_header, csv_row
from terminal_app.ledger.reading import StoredRecord
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.site import Books, PublicKeys
from terminal_app.run.service.verification import claims

SESSIONS_KEPT = 64
Writer = Callable[[StoredRecord, dict[str, Any]], None]
Name = Callable[[dict[str, Any]], str]


class Folder(Protocol):
    """Where files go (`export.Out`)."""

    troubles: list[str]

    def save(self, name: str, text: str, more: bool = False) -> None: ...


def place_of(file: Path | None) -> Place:
    """What OCPI wants to know of the station, from a JSON file with the fields of `Place`. ServiceTrouble."""
    if file is None:
        return NOWHERE
    names = [one.name for one in fields(Place)]
    try:
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict) or set(found) - set(names) or not all(isinstance(one, str) for one in found.values()):
            raise ValueError(f"texts named {', '.join(names)} are needed")
        return Place(**found)
    except (OSError, ValueError) as error:
        raise ServiceTrouble(f"{file}: {error}") from error


class Formats:
    """One run of an export. `writers` by the name of the format."""

    def __init__(
        self, folder: Folder, books: Books, keys: PublicKeys, name_of: Callable[[dict[str, Any]], str], place: Place
    ) -> None:
        self._folder, self._books, self._keys, self._name_of, self._place = folder, books, keys, name_of, place
        self._sessions: dict[str, dict[str, Any]] = {}
        self._table_begun = False
        self.writers: dict[str, Writer] = {
            "safe-xml": self._safe_xml,
            "ocpi-2.2.1": lambda one, said: self._ocpi(said, "2.2.1"),
            "ocpi-2.3.0": lambda one, said: self._ocpi(said, "2.3.0"),
            "ocpp-2.1": lambda one, said: self._ocpp(said),
            "csv": self._csv,
        }

    def _ocpi(self, said: dict[str, Any], version: Version) -> None:
        if said.get("test"):
            return  # of service personnel: no CDR, for nothing was sold
        if said["type"] == "session":
            self._keep(said)
            self._json(f"{self._name_of(said)}.cdr.json", self._cdr(said, version))
        elif said["type"] == "credit":
            self._credit(said, version)
        elif said["type"] == "settlement" and version == "2.3.0":
            advice = financial_advice(said, self._session(said["session_id"]))
            self._json(f"{self._name_of(said)}.financial-advice.json", advice)

    def _credit(self, said: dict[str, Any], version: Version) -> None:
        session = self._session(said["session_id"])
        if session is None:
            self._folder.troubles.append(f"record {said['seq']}: the session it credits is not among these records")
            return
        others = (claims(one.jws) for one in self._books.records(subject=said["session_id"]) if one.type == "credit")
        before = [one for one in others if one["number"] < said["number"]]
        for place, cdr in enumerate(credit_cdrs(self._cdr(session, version), session, before, said, version)):
            self._json(f"{self._name_of(said)}{'-corrected' if place else ''}.cdr.json", cdr)

    def _ocpp(self, said: dict[str, Any]) -> None:
        if said["type"] == "session":
            self._keep(said)
        elif said["type"] == "settlement":
            body = notify_settlement(said, self._session(said["session_id"]))
            self._json(f"{self._name_of(said)}.notify-settlement.json", body)

    def _safe_xml(self, one: StoredRecord, said: dict[str, Any]) -> None:
        if said["type"] != "session" or not said["ocmf"]["record"]:
            return
        key = self._keys.of_readings(said)
        if key is None:
            why = self._keys.missing or "give it with --ocmf-key FILE"
            self._folder.troubles.append(f"record {one.seq}: the public key {said['ocmf']['key']} is not known here: {why}")
        else:
            self._folder.save(f"{self._name_of(said)}.xml", safe_xml([(one.seq, said["ocmf"]["record"], key)]))

    def _csv(self, one: StoredRecord, said: dict[str, Any]) -> None:
        if not self._table_begun:
            self._folder.save("records.csv", csv_header(), more=True)
            self._table_begun = True
        self._folder.save("records.csv", csv_row(said, one.sha256), more=True)

    def _cdr(self, session: dict[str, Any], version: Version) -> dict[str, Any]:
        return session_cdr(session, version, self._place, self._keys.of_readings(session))

    def _json(self, name: str, body: dict[str, Any]) -> None:
        self._folder.save(name, canonical.canonical(body).decode() + "\n")

    def _keep(self, session: dict[str, Any]) -> None:
        self._sessions[session["session_id"]] = session
        if len(self._sessions) > SESSIONS_KEPT:
            self._sessions.pop(next(iter(self._sessions)))

    def _session(self, session_id: str) -> dict[str, Any] | None:
        """A settlement comes soon after its session; what has been forgotten is asked for again."""
        if session_id not in self._sessions:
            for one in self._books.records(subject=session_id):
                if one.type == "session":
                    self._keep(claims(one.jws))
        return self._sessions.get(session_id)
