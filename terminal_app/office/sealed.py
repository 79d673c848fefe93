"""Records opened from their signed bytes, with the key registered for the terminal: where every figure of a document comes from.

The derived tables only find them. What is in quarantine, or does not open, is not there for documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.record import open_record
from terminal_app.billing.signature import jws_key_id
from terminal_app.errors import SignatureInvalid
from terminal_app.office import queries, store


@dataclass(frozen=True, slots=True)
class Sealed:
    """`payload` is what the terminal signed; `sha256` names the bytes."""

    terminal: str
    chain_id: str
    seq: int
    sha256: str
    payload: dict[str, Any]


class Opener:
    """Opens records in the caller's connection; each key is looked up once. One thread."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._keys: dict[tuple[str, str], bytes] = {}

    def opened(self, row: Mapping[str, Any]) -> Sealed | None:
        """A row of `records`. None: in quarantine, no such key, or the signature does not hold."""
        if row["quarantine"]:
            return None
        try:
            key = self._key(row["terminal"], jws_key_id(row["jws"]))
            payload = open_record(row["jws"], key) if key else None
        except SignatureInvalid:
            return None
        if payload is None:
            return None
        return Sealed(row["terminal"], row["chain_id"], int(row["seq"]), row["sha256"], payload)

    def record(self, terminal: str, chain_id: str, seq: int) -> Sealed | None:
        row = queries.record(self._db, terminal, seq, chain_id)
        return self.opened(row) if row else None

    def _key(self, terminal: str, key_id: str) -> bytes:
        place = terminal, key_id
        if place not in self._keys:
            self._keys[place] = (queries.key(self._db, terminal, key_id, "record") or "").encode()
        return self._keys[place]


def newest_session(db: Connection, terminal: str = "") -> Sealed | None:
    """The last accepted session of a terminal (of any): who sells there, and where."""
    s, r = store.sessions, store.records
    same = (r.c.terminal == s.c.terminal) & (r.c.chain_id == s.c.chain_id) & (r.c.seq == s.c.seq) & (r.c.quarantine == "")
    question = sa.select(r).select_from(s.join(r, same)).order_by(s.c.end_utc_ms.desc(), s.c.seq.desc()).limit(1)
    row = db.execute(question.where(s.c.terminal == terminal) if terminal else question).mappings().first()
    return Opener(db).opened(dict(row)) if row else None
