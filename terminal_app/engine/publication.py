"""When each CDR was published: the moment its record was sealed, made strictly rising. A function of the ledger alone.

Consumers of OCPI page by `last_updated` and remember the newest they saw: a CDR that came into the world late (weeks offline,
a clock set back) must not lie before it. So a CDR is published no earlier than a millisecond after the one before it.
A session record is one CDR. A credit record is its credit CDR (part 0) and, if it leaves something of the bill, a corrected CDR
(part 1), for OCPI cannot credit a part.
"""

import threading
from array import array
from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

from terminal_app.billing.record import claims_of
from terminal_app.ledger.reading import LedgerReader

CDR_TYPES = ("session", "credit")
READ_AT_ONCE = 10_000
PARTS = 2


class Published(NamedTuple):
    """One CDR: its record, which part of it, and when it was published (UTC ms)."""

    seq: int
    part: int
    utc_ms: int


class Credited(NamedTuple):
    """What a credit record needs to be told: the session it credits, and that session's earlier credits, as compact JWSs."""

    session: str
    before: tuple[str, ...]


class Publication:
    """Any thread; the first question reads all sealed numbers (16 bytes a CDR are kept), later ones only what is new.
    LedgerBroken."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._guard = threading.Lock()
        self._read = 0
        self._keys, self._times_ms = array("q"), array("q")  # key: PARTS x record + part
        self.key_changes = 0

    def between(self, from_ms: int, to_ms: int, offset: int, limit: int) -> tuple[int, list[Published]]:
        """How many were published from `from_ms` (incl.) to `to_ms` (excl.; 0 = no end), and a page of them."""
        with self._guard:
            self._refresh()
            first = bisect_left(self._times_ms, from_ms)
            last = bisect_left(self._times_ms, to_ms) if to_ms else len(self._times_ms)
            page = range(min(first + offset, last), min(first + offset + limit, last))
            return max(0, last - first), [self._at(one) for one in page]

    def after(self, seq: int, part: int) -> Published | None:
        """The first CDR after that one."""
        with self._guard:
            self._refresh()
            place = bisect_right(self._keys, PARTS * seq + part)
            return self._at(place) if place < len(self._keys) else None

    def of(self, seq: int) -> list[Published]:
        """The CDRs of a record; none if it is not of their types."""
        with self._guard:
            self._refresh()
            places = range(bisect_left(self._keys, PARTS * seq), bisect_left(self._keys, PARTS * (seq + 1)))
            return [self._at(one) for one in places]

    def _at(self, place: int) -> Published:
        return Published(*divmod(self._keys[place], PARTS), self._times_ms[place])

    def _refresh(self) -> None:
        while fresh := self._ledger.sealed(self._read, (*CDR_TYPES, "key-change"), READ_AT_ONCE):
            for seq, kind, utc_ms in fresh:
                self.key_changes += kind == "key-change"
                for part in range(self._parts(seq, kind)):
                    self._times_ms.append(max(utc_ms, self._times_ms[-1] + 1) if self._times_ms else utc_ms)
                    self._keys.append(PARTS * seq + part)
                self._read = seq

    def _parts(self, seq: int, kind: str) -> int:
        """How many CDRs a record is."""
        if kind != "credit":
            return int(kind in CDR_TYPES)
        (credit,) = self._ledger.records(seq - 1, 1)
        story = credited(self._ledger, credit.jws)
        left = sum(_gross(jws) for jws in (story.session, *story.before, credit.jws) if jws)
        return PARTS if story.session and left else 1


def credited(ledger: LedgerReader, credit_jws: str) -> Credited:
    """Of our own records: they were sealed here. `session` is "" if the ledger does not hold what the credit names. Only what lies
    between bill and credit is looked at: records have no index by session, and there may be very many."""
    said = claims(credit_jws)
    place = int(said["credits"]["seq"])
    sessions = [one.jws for one in ledger.records(place - 1, 1) if (one.seq, one.sha256) == (place, said["credits"]["sha256"])]
    found = ledger.records(place, subject=str(said["session_id"]), before=int(said["seq"]))
    before = tuple(one.jws for one in found if one.type == "credit" and claims(one.jws)["number"] < said["number"])
    return Credited(sessions[0] if sessions else "", before)


def claims(jws: str) -> dict[str, Any]:
    return claims_of(jws.encode())


def _gross(jws: str) -> int:
    return sum(int(line["gross_minor"]) for line in claims(jws)["lines"])
