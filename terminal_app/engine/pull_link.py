"""What sync asks for those who are not the office: pages of records and CDRs, cursors of pullers, fates of CDRs.

Every cursor is a fact, so that sync keeps nothing. No cursor here lets anything be deleted: only the office's countersigned
watermark does. Any thread; commits go to the engine's. Moves no money.
"""

import base64
import threading
from collections.abc import Callable, Mapping
from typing import Any

from terminal_app.billing.record import GENESIS
from terminal_app.engine.engine import Engine
from terminal_app.engine.publication import Credited, Publication, Published, credited
from terminal_app.errors import ChargeError
from terminal_app.session import events
from terminal_app.session.facts import CdrDelivered, CdrRejected, PullerAcknowledged, TerminalBooted
from terminal_app.values import Device, Fault
from terminal_app.wire import (
    CdrEnded,
    CdrPage,
    CdrRow,
    CdrsBetween,
    NextCdr,
    PulledRecord,
    PullerHas,
    RecordPage,
    RecordsAfter,
    Taken,
)

MAX_RECORDS = 500
MAX_CDRS = 100
MAX_PAGE_BYTES = 2 * 1024 * 1024
MAX_PULLERS = 32
MAX_SEQ = 2**53


class PullLink:
    """`answers` by the type of the message; they are called by the sync socket's threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._publication = engine, Publication(engine.ledger)
        self._one_at_a_time = threading.Lock()
        self._alarmed: tuple[tuple[int, int], ...] = ()
        self._keys: tuple[int, dict[str, str]] | None = None  # key changes when they were looked up
        self.answers: Mapping[type, Callable[[Any], object]] = {
            RecordsAfter: self.records_after,
            PullerHas: self.puller_has,
            CdrsBetween: self.cdrs_between,
            NextCdr: self.next_cdr,
            CdrEnded: self.cdr_ended,
        }

    # --- records ----------------------------------------------------------------------------------------------------

    def records_after(self, wanted: RecordsAfter) -> RecordPage:
        """Pages are stable: records are never changed, and new ones come only at the end."""
        ledger, chain = self._engine.ledger, self._engine.state.chain
        limit = min(max(wanted.limit, 1), MAX_RECORDS)
        found = ledger.records(min(max(wanted.after, 0), MAX_SEQ), limit)
        items = [PulledRecord(one.seq, one.jws, one.sha256) for one in found[: _fitting([len(one.jws) for one in found])]]
        through, sha256 = chain.carried.pullers.get(wanted.client, (0, GENESIS))
        return RecordPage(
            terminal=self._engine.standing.config.terminal.id,
            chain_id=ledger.chain_id,
            items=tuple(items),
            head_seq=chain.next_record_seq - 1,
            head_sha256=chain.head_sha256 or GENESIS,
            acknowledged_seq=through,
            acknowledged_sha256=sha256,
        )

    def puller_has(self, told: PullerHas) -> Taken:
        """Compared with our chain, then committed; the same again changes nothing, and an older one is believed too."""
        with self._one_at_a_time:
            pullers = self._engine.state.chain.carried.pullers
            if told.client not in pullers and len(pullers) >= MAX_PULLERS:
                return Taken(f"{MAX_PULLERS} pullers are known already, {told.client} would be one more")
            if error := self._differs(told):
                return Taken(error)
            if pullers.get(told.client, (0, GENESIS)) == (told.through_seq, told.head_sha256):
                return Taken()
            fact = PullerAcknowledged(told.client, told.through_seq, told.head_sha256)
            return self._committed(lambda: self._engine.commit_outside_a_turn(fact))

    def _differs(self, told: PullerHas) -> str:
        """What is wrong with the claim; "" = it speaks of our chain."""
        if told.through_seq == 0:
            return "" if told.head_sha256 == GENESIS else "before the first record the hash is 64 zeros"
        if not 0 < told.through_seq <= MAX_SEQ:
            return f"{told.through_seq} is not the number of a record"
        found = self._engine.ledger.records(told.through_seq - 1, 1)
        if not found or found[0].seq != told.through_seq:
            return f"record {told.through_seq} was never sealed here: of another terminal or chain?"
        if found[0].sha256 != told.head_sha256:
            return f"record {told.through_seq} has the hash {found[0].sha256} here: what was pulled is of another chain or damaged"
        return ""

    # --- CDRs -------------------------------------------------------------------------------------------------------

    def cdrs_between(self, wanted: CdrsBetween) -> CdrPage:
        """In the order of publication, which is that of the records."""
        limit = min(max(wanted.limit, 1), MAX_CDRS)
        total, page = self._publication.between(wanted.from_ms, wanted.to_ms, max(wanted.offset, 0), limit)
        return self._page(total, page)

    def next_cdr(self, wanted: NextCdr) -> CdrPage:
        """First what was ordered again, then what has had no answer yet, oldest first."""
        self._alarm()
        found = self._due()
        return self._page(0 if found is None else 1, [] if found is None else [found])

    def cdr_ended(self, told: CdrEnded) -> Taken:
        """Only the fate of the CDR that is due is believed: a late word about another one changes nothing."""
        with self._one_at_a_time:
            due = self._due()
            if due is None or (due.seq, due.part) != (told.record_seq, told.part):
                return Taken(f"the CDR of record {told.record_seq} is not due")
            fact: CdrDelivered | CdrRejected = CdrDelivered(told.record_seq, told.location, told.status, told.part)
            if told.rejected:
                fact = CdrRejected(told.record_seq, told.status, told.rejected[:500], told.part)
            return self._committed(lambda: self._engine.commit_outside_a_turn(fact))

    def _alarm(self) -> None:
        """A refused CDR is a fault until somebody orders it again; it blocks nothing."""
        rejected = self._engine.state.chain.carried.cdrs_rejected
        if rejected == self._alarmed:
            return
        self._alarmed = rejected
        detail = "the OCPI receiver refused a CDR: charge-service records cdrs" if rejected else ""
        raised = Fault(Device.OFFICE, 0, "cdr_rejected", detail)
        self._engine.inbox.post(events.FaultSeen(raised, bool(rejected)), droppable=True)

    def _due(self) -> Published | None:
        carried = self._engine.state.chain.carried
        for seq, part in carried.cdrs_again:
            return next((one for one in self._publication.of(seq) if one.part == part), None)
        return self._publication.after(*carried.cdrs_through)

    def _page(self, total: int, found: list[Published]) -> CdrPage:
        rows, ledger = list[CdrRow](), self._engine.ledger
        for seq, part, published_utc_ms in found:
            (one,) = ledger.records(seq - 1, 1)
            story = credited(ledger, one.jws) if one.type == "credit" else Credited("", ())
            rows.append(CdrRow(seq, published_utc_ms, one.jws, story.session, story.before, part))
        kept = rows[: _fitting([sum(map(len, (one.jws, one.bill_jws, *one.before))) for one in rows])]
        return CdrPage(total, tuple(kept), self._ocmf_keys())

    def _ocmf_keys(self) -> dict[str, str]:
        """Every key that ever signed readings here. The old ones stand in the facts of old starts; few terminals have any."""
        changes, standing = self._publication.key_changes, self._engine.standing
        if self._keys is None or self._keys[0] != changes:
            known = {standing.ocmf_key_id: standing.ocmf_spki.hex()}
            for entry in self._engine.ledger.entries(kinds=("terminal_booted",)) if changes else ():
                fact = entry.fact
                assert isinstance(fact, TerminalBooted)
                known |= fact.ocmf_keys
            self._keys = (changes, {name: base64.b64encode(bytes.fromhex(spki)).decode() for name, spki in known.items()})
        return self._keys[1]

    def _committed(self, commit: Callable[[], None]) -> Taken:
        try:
            self._engine.ask(commit)
        except (ChargeError, TimeoutError) as error:
            return Taken(f"not stored: {error}")
        return Taken()


def _fitting(sizes: list[int]) -> int:
    """How many of the first items fit into a page; always at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > MAX_PAGE_BYTES:
            return count
    return len(sizes)
