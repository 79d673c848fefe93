"""One ledger entry and the hash that chains it to the one before."""

import hashlib

import msgspec

from terminal_app.errors import LedgerBroken
from terminal_app.session.facts import PRIVATE, Fact, decode, encode, kind_of
from terminal_app.values import ClockState, Stamp

GENESIS = "0" * 64


class Entry(msgspec.Struct, frozen=True):
    """A committed fact: gapless `seq`, when, and `sha256` over everything here and the previous entry's hash."""

    seq: int
    stamp: Stamp
    kind: str
    session_id: str
    public: bool
    body: str
    sha256: str

    @property
    def fact(self) -> Fact:
        """LedgerBroken if this version cannot read it."""
        try:
            return decode(self.body)
        except ValueError as error:
            raise LedgerBroken(f"cannot be read by this version: {error}", self.seq) from error


def make(seq: int, stamp: Stamp, fact: Fact, previous: str) -> Entry:
    """The entry of a fact that follows the entry with hash `previous`."""
    kind, body, public = kind_of(fact), encode(fact).decode(), not isinstance(fact, PRIVATE)
    session_id = getattr(fact, "session_id", "")
    digest = hash_of(seq, stamp, kind, session_id, public, body, previous)
    return Entry(seq, stamp, kind, session_id, public, body, digest)


def hash_of(seq: int, stamp: Stamp, kind: str, session_id: str, public: bool, body: str, previous: str) -> str:
    """SHA-256, hex, over the length-framed fields: no two different entries have the same input."""
    whole = (
        previous,
        str(seq),
        str(stamp.utc_ms),
        str(stamp.mono_ms),
        stamp.boot_id,
        stamp.clock.value,
        kind,
        session_id,
        str(int(public)),
        body,
    )
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in (text.encode() for text in whole))
    return hashlib.sha256(framed).hexdigest()


def from_row(row: tuple[int, int, int, str, str, str, str, int, str, str]) -> Entry:
    """An entry of a row of table `entries`, columns in table order."""
    seq, utc_ms, mono_ms, boot_id, clock, kind, session_id, public, body, sha256 = row
    return Entry(seq, Stamp(utc_ms, mono_ms, boot_id, ClockState(clock)), kind, session_id, bool(public), body, sha256)
