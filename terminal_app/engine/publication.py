"""When each CDR was published: the moment its record was sealed, made strictly rising. A function of the ledger alone.

Consumers of OCPI page by `last_updated` and remember the newest they saw: a CDR that came into the world late (weeks offline,
a clock set back) must not lie before it. So a record is published no earlier than a millisecond after the one before it.
"""

import threading
from array import array
from bisect import bisect_left

from terminal_app.ledger.reading import LedgerReader

CDR_TYPES = ("session", "credit")
READ_AT_ONCE = 10_000


class Publication:
    """Any thread; the first question reads all sealed numbers (16 bytes each are kept), later ones only what is new.
    LedgerBroken."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger
        self._guard = threading.Lock()
        self._seqs, self._times_ms = array("q"), array("q")

    def between(self, from_ms: int, to_ms: int, offset: int, limit: int) -> tuple[int, list[tuple[int, int]]]:
        """How many were published from `from_ms` (incl.) to `to_ms` (excl.; 0 = no end), and a page of record and moment."""
        with self._guard:
            self._refresh()
            first = bisect_left(self._times_ms, from_ms)
            last = bisect_left(self._times_ms, to_ms) if to_ms else len(self._times_ms)
            total = max(0, last - first)
            page = range(min(first + offset, last), min(first + offset + limit, last))
            return total, [(self._seqs[one], self._times_ms[one]) for one in page]

    def after(self, seq: int) -> tuple[int, int] | None:
        """The first CDR whose record comes after `seq`."""
        with self._guard:
            self._refresh()
            place = bisect_left(self._seqs, seq + 1)
            return (self._seqs[place], self._times_ms[place]) if place < len(self._seqs) else None

    def of(self, seq: int) -> tuple[int, int] | None:
        """That very record, if it is a CDR."""
        found = self.after(seq - 1)
        return found if found is not None and found[0] == seq else None

    def _refresh(self) -> None:
        while fresh := self._ledger.sealed(self._seqs[-1] if self._seqs else 0, CDR_TYPES, READ_AT_ONCE):
            for seq, utc_ms in fresh:
                self._times_ms.append(max(utc_ms, self._times_ms[-1] + 1) if self._times_ms else utc_ms)
                self._seqs.append(seq)
