"""Does everything this ledger says hold? Four chains, each checked on its own, so that one broken link does not hide the rest.

1. ledger: every entry follows the one before.
2. records: JWS signatures, links, sequence; every cent computed again from tariff and periods.
3. OCMF: signatures of the readings, registers as billed, pagination rising, meter never running backwards between sessions.
4. acknowledgement: the office's countersigned watermark names our record, and what waits is what it does not cover.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from terminal_app.billing import ocmf, record
from terminal_app.billing.acknowledgement import open_ack
from terminal_app.billing.signature import jws_key_id
from terminal_app.errors import ChargeError, LedgerBroken, SignatureInvalid
from terminal_app.ledger.reading import StoredRecord, verified
from terminal_app.office.verify import Billed, Expected, judge
from terminal_app.run.service.site import Books, PublicKeys
from terminal_app.session import facts as f

Progress = Callable[[int], None]
MOST_TOLD = 20


@dataclass
class Finding:
    """One chain's verdict. `trouble` empty = it holds; `bad` is the seq of the first bad entry or record."""

    chain: str
    checked: int = 0
    bad: int | None = None
    trouble: str = ""
    warning: bool = False  # it holds, but a person should look at the notes
    notes: list[str] = field(default_factory=list)

    def first(self, seq: int | None, trouble: str) -> None:
        """Only the first bad one counts: what follows it proves nothing."""
        if not self.trouble:
            self.bad, self.trouble = seq, trouble

    def note(self, text: str) -> None:
        if len(self.notes) < MOST_TOLD:
            self.notes.append(text)


@dataclass(frozen=True)
class Whose:
    """Whose records they should be."""

    terminal: str
    chain_id: str


def verify_ledger(books: Books, progress: Progress) -> tuple[Finding, list[f.OfficeAcknowledged], dict[int, str]]:
    """The chain of facts; on the way the acknowledgements and the hash of each sealed record are collected."""
    finding, acknowledged, sealed = Finding("ledger"), list[f.OfficeAcknowledged](), dict[int, str]()
    try:
        for entry in verified(books.entries()):
            finding.checked = entry.seq
            if entry.kind == "office_acknowledged" and isinstance(fact := entry.fact, f.OfficeAcknowledged):
                acknowledged.append(fact)
            elif entry.kind == "sealed" and isinstance(fact := entry.fact, f.Sealed):
                sealed[fact.record_seq] = fact.sha256
            progress(entry.seq)
    except LedgerBroken as error:
        finding.first(error.entry, str(error))
    except msgspec.MsgspecError as error:
        finding.first(finding.checked, f"entry {finding.checked}: is no fact this version knows: {error}")
    return finding, acknowledged, sealed


def verify_records(
    books: Books, whose: Whose, keys: PublicKeys, sealed: dict[int, str], progress: Progress
) -> tuple[Finding, Finding, dict[int, str]]:
    """The JWS chain with every bill computed again, and the OCMF in it. Also the hash of each stored record."""
    chain, readings, hashes = Finding("records"), Finding("ocmf"), dict[int, str]()
    if not keys.record:
        chain.first(None, f"no public key to verify with: {keys.missing or 'give one with --key FILE'}")
    walk = Walk(whose, keys, sealed, chain, readings)
    try:
        for one in books.records():
            hashes[one.seq] = record.sha256_of(one.jws)
            walk.take(one)
            progress(one.seq)
        walk.ended()
    except LedgerBroken as error:
        chain.first(chain.checked + 1, str(error))
    for seq in sorted(set(sealed) - set(hashes))[:1]:
        chain.first(seq, f"record {seq}: the ledger says it was sealed, but it is not stored")
    return chain, readings, hashes


class Walk:
    """The state between two records of one chain."""

    def __init__(self, whose: Whose, keys: PublicKeys, sealed: dict[int, str], chain: Finding, readings: Finding) -> None:
        self._whose, self._keys, self._sealed = whose, keys, sealed
        self._chain, self._readings = chain, readings
        self._seq, self._head = 0, record.GENESIS
        self._meter_keys: dict[str, str] = {}
        self._pages: dict[str, int] = {}
        self._registers: dict[str, tuple[int, int]] = {}
        self._signers: frozenset[str] = frozenset()  # who must sign, once a record has told
        self._bills: dict[int, Billed] = {}
        self._known = keys.known
        self._former = 0  # first record by a key that only the ledger tells of, 0 = none; the chain must lead away from it

    def take(self, one: StoredRecord) -> None:
        if not self._keys.record:
            return
        self._chain.checked += 1
        verdict = judge(
            one.jws,
            Expected(
                terminal=self._whose.terminal,
                chain_id=self._whose.chain_id,
                seq=self._seq + 1,
                prev=self._head,
                record_keys=self._known,
                ocmf_keys=self._keys.ocmf,
                demo=True,
                meter_keys=self._meter_keys,
                signers=self._signers,
                billed=self._bills.get,
            ),
        )
        trouble = verdict.reason
        if one.seq != self._seq + 1:
            trouble = f"record {self._seq + 1} is missing"
        elif not trouble and (one.sha256 != record.sha256_of(one.jws) or self._sealed.get(one.seq, one.sha256) != one.sha256):
            trouble = "its stored hash is not the one of its bytes, or not the one the ledger committed"
        if trouble.startswith("OCMF"):
            self._readings.first(one.seq, f"record {one.seq}: {trouble}")
        elif trouble:
            self._chain.first(one.seq, f"record {one.seq}: {trouble}")
        if verdict.payload is not None and verdict.payload.get("type") == "session":
            self._measured(one.seq, verdict.payload)
        if not verdict.reason and verdict.payload is not None:
            self._remember(one, verdict.payload)
            key_id = jws_key_id(one.jws)
            if verdict.change is not None:
                key_id = verdict.change.key_id
                self._known.setdefault(key_id, verdict.change.spki)  # signed by the key before: as good as that one
                if verdict.change.ocmf_key_id:
                    self._keys.ocmf.setdefault(verdict.change.ocmf_key_id, verdict.change.ocmf_spki)
            self._former = 0 if key_id in self._keys.record else self._former or one.seq
            self._signers = frozenset({key_id})
        self._seq, self._head = one.seq, record.sha256_of(one.jws)

    def ended(self) -> None:
        """The last record must be signed by (or hand over to) a key that is known from elsewhere than this ledger."""
        if self._former:
            why = f"signed by a key that is not known here: {self._keys.missing or 'give it with --key FILE'}"
            self._chain.first(self._former, f"record {self._former}: {why}")

    def _remember(self, one: StoredRecord, said: dict[str, Any]) -> None:
        """Bills, and what of each was credited: the only thing in which records look further back than one."""
        totals = said.get("totals", {})
        if said["type"] == "session":
            receipt, total = said["receipt"]["number"], totals["total_minor"]
            self._bills[one.seq] = Billed(one.sha256, said["session_id"], receipt, totals["currency"], total, 0, 0)
        elif said["type"] == "credit":
            bill = self._bills[said["credits"]["seq"]]
            credited = bill.credited_minor - totals["total_minor"]
            self._bills[said["credits"]["seq"]] = replace(bill, credits=said["number"], credited_minor=credited)

    def _measured(self, seq: int, session: dict[str, Any]) -> None:
        """Pagination rises, and the meter goes on where the last session left it; what it counted between is told."""
        signed = session["ocmf"]["record"]
        if not signed or (key := self._keys.of_readings(session)) is None:
            return
        try:
            measured = ocmf.verify(signed, key)
        except SignatureInvalid:
            return  # told already
        self._readings.checked += 1
        page, key_id = int(measured.pagination[1:]), session["ocmf"]["key"]
        if page <= self._pages.get(key_id, 0):
            self._readings.first(seq, f"record {seq}: OCMF pagination T{page} follows T{self._pages[key_id]}")
        self._pages[key_id] = page
        if "meter_key" in session["ocmf"]:
            self._meter_keys.setdefault(measured.meter_serial, session["ocmf"]["meter_key"])
        serial, start, stop = measured.meter_serial, session["register"]["start_wh"], session["register"]["stop_wh"]
        before, at = self._registers.get(serial, (start, seq))
        if start < before:
            self._readings.first(seq, f"record {seq}: meter {serial} begins at {start} Wh, record {at} ended at {before} Wh")
        elif start > before:
            self._readings.note(f"meter {serial} counted {start - before} Wh outside sessions between records {at} and {seq}")
        self._registers[serial] = (stop, seq)


def verify_acknowledgement(
    books: Books, whose: Whose, acknowledged: list[f.OfficeAcknowledged], hashes: dict[int, str], office: bytes | None
) -> Finding:
    """The newest countersigned watermark against our records; without the office's key only what it says is compared."""
    finding = Finding("acknowledgement")
    if not acknowledged:
        finding.note("the office has not acknowledged anything yet")
        covered = 0
    else:
        newest = acknowledged[-1]
        covered, finding.checked = newest.records_through, len(acknowledged)
        if covered and hashes.get(covered) != newest.head_sha256:
            finding.first(covered, f"record {covered}: the office acknowledged another record with this number")
        if newest.quarantined:
            finding.warning = True
            finding.note(f"the office has quarantined records {', '.join(map(str, newest.quarantined))}: ask the office")
        if office is None:
            finding.note("the office's key is not readable here: its countersignature was not checked")
        else:
            try:
                ack = open_ack(newest.jws, office)
                if (ack.terminal, ack.chain_id, ack.through_seq) != (whose.terminal, whose.chain_id, covered):
                    finding.first(covered, "the acknowledgement is of another terminal, chain or record than the ledger says")
            except SignatureInvalid as error:
                finding.first(covered, f"the acknowledgement of record {covered}: {error}")
    try:
        waiting, wanted = books.waiting(), sum(1 for seq in hashes if seq > covered)
        if waiting != wanted:
            finding.first(covered + 1, f"{waiting} records wait for the office, but {wanted} are not acknowledged")
    except ChargeError as error:
        finding.first(None, str(error))
    return finding


def claims(jws: str) -> dict[str, Any]:
    """What a record says, unverified. ChargeError if it is not a record at all."""
    import base64

    from terminal_app.billing import canonical

    try:
        jws_key_id(jws)
        middle = jws.split(".")[1]
        found = canonical.parse(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)), 1024 * 1024)
        if not isinstance(found, dict):
            raise SignatureInvalid("its payload is not an object")
    except (ValueError, IndexError) as error:
        raise SignatureInvalid(f"not a record: {error}") from error
    return found


def records_of(books: Books, after: int, through: int) -> Iterator[StoredRecord]:
    """Records after `after`, up to and with `through` (0 = all)."""
    for one in books.records(after=after):
        if through and one.seq > through:
            return
        yield one
