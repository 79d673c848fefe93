"""Taking a batch: store every byte, judge it, and say by signature how far the chain is stored without a gap.

Everything of a batch happens in one database commit, and the acknowledgement is made after it. What does not verify is
stored in quarantine and acknowledged (stored is what an acknowledgement means); a gap is never acknowledged past.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.engine import Connection, RowMapping

from terminal_app.billing.acknowledgement import Ack, make_ack, seal_ack
from terminal_app.billing.record import GENESIS, sha256_of
from terminal_app.office import chain_checks, cross_checks, derived, meter_keys, store
from terminal_app.office.signing import OfficeKey
from terminal_app.office.verify import Expected, Verdict, judge

MAX_RECORDS = 500
MAX_FACTS = 5000
Seq = Annotated[int, Meta(ge=1, le=2**53)]
Watermark = Annotated[int, Meta(ge=0, le=2**53)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class SentRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seq: Seq
    jws: Annotated[str, Meta(min_length=1, max_length=1024 * 1024)]


class SentFact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Taken in any content: what is malformed is set aside (`malformation`), for a refusal would come back for ever."""

    seq: Seq
    utc_ms: Annotated[int, Meta(ge=-(2**62), le=2**62)]
    kind: str
    session_id: str
    body: str


class SentBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version 1 of what a terminal posts; see wire.Batch for the meaning of the watermarks."""

    v: Annotated[int, Meta(ge=1, le=1)]
    terminal: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,36}$")]
    chain_id: Annotated[str, Meta(pattern=r"^[!-~]{1,64}$")]
    head_seq: Watermark
    head_sha256: Sha256
    records_after: Watermark
    facts_after: Watermark
    facts_through: Watermark
    records: Annotated[tuple[SentRecord, ...], Meta(max_length=MAX_RECORDS)]
    facts: Annotated[tuple[SentFact, ...], Meta(max_length=MAX_FACTS)]


_KIND = re.compile(r"[a-z0-9_.-]{1,64}", re.ASCII)
_SESSION_ID = re.compile(r"[!-~]{0,64}", re.ASCII)
MAX_FACT = 1024 * 1024


def malformation(fact: SentFact) -> str:
    """What keeps a fact out of the books; "" if nothing does."""
    if not _KIND.fullmatch(fact.kind):
        return "its kind is no word of 1 to 64 small letters, digits, _ . and -"
    if not _SESSION_ID.fullmatch(fact.session_id):
        return "its session id is longer than 64 characters or not printable ASCII"
    if not 0 <= fact.utc_ms <= 2**53:
        return "its time is before 1970 or impossible"
    if len(fact.body) > MAX_FACT or "\x00" in fact.body:
        return f"its body exceeds {MAX_FACT} characters or holds a NUL"
    return ""


class BatchRefused(Exception):
    """Nothing of the batch was taken. The text tells the terminal's technician why."""


@dataclass(frozen=True, slots=True)
class Stored:
    through_seq: int
    through_sha256: str
    facts_through: int
    quarantined: tuple[int, ...]


class Collector:
    """Takes batches of authenticated terminals. Thread-safe; moves no money."""

    def __init__(self, database: store.Store, key: OfficeKey, demo: bool) -> None:
        self._database, self._key, self._demo = database, key, demo

    def take(self, batch: SentBatch, proven: bool = True) -> str:
        """Store and acknowledge. Returns the compact JWS. BatchRefused; SQLAlchemyError if nothing could be stored.

        Not `proven` (it came by hand, and nothing shows that the terminal wrote it): only records that verify are taken, and
        nothing that it claims beside them is believed. Else a stranger's file could fill numbers that the terminal has not used
        yet.
        """
        _check_order(batch)
        with self._database.write() as db:
            stored = self._store(db, batch, proven)
        ack = Ack(
            terminal=batch.terminal,
            chain_id=batch.chain_id,
            through_seq=stored.through_seq,
            head_sha256=stored.through_sha256,
            facts_through=stored.facts_through,
            utc_ms=store.now_ms(),
            quarantined=stored.quarantined,
        )
        signing_input = make_ack(ack, self._key.key_id)
        return seal_ack(signing_input, self._key.sign(signing_input))

    def recheck(self, terminal: str) -> tuple[int, int]:
        """Judge a terminal's quarantined records again, after a key was registered. Returns (healed, still quarantined)."""
        table, healed, left = store.records, 0, 0
        with self._database.write() as db:
            keys = chain_checks.keys_of(db, terminal)
            where = (table.c.terminal == terminal) & (table.c.quarantine != "")
            for row in db.execute(sa.select(table).where(where).order_by(table.c.chain_id, table.c.seq)).mappings().all():
                record, chain_id = SentRecord(row["seq"], row["jws"]), row["chain_id"]
                prev = _sha_before(db, terminal, chain_id, record.seq)
                verdict = self._judge(db, terminal, chain_id, record, keys, prev)
                meter_keys.first_seen(db, terminal, chain_id, keys.meters, verdict)
                healed, left = healed + (not verdict.reason), left + bool(verdict.reason)
                columns = _columns(record, verdict) | {"stored_utc_ms": row["stored_utc_ms"]}
                db.execute(table.update().where(_where(table, terminal, chain_id, record.seq)).values(**columns))
                _index(db, terminal, chain_id, record, verdict)
        return healed, left

    def _store(self, db: Connection, batch: SentBatch, proven: bool) -> Stored:
        locked = sa.select(store.terminals).where(store.terminals.c.terminal == batch.terminal).with_for_update()
        if db.execute(locked).first() is None:
            raise BatchRefused(f"terminal {batch.terminal} is not known here")
        chain = _chain(db, batch)
        keys = chain_checks.keys_of(db, batch.terminal)
        through, head = int(chain["through_seq"]), str(chain["through_sha256"])
        for record in batch.records:
            if record.seq <= through:
                self._again(db, batch, record, keys, proven)
                if record.seq == through:
                    head = sha256_of(record.jws) if _stored_sha(db, batch, record.seq) == sha256_of(record.jws) else head
            elif record.seq == through + 1:
                self._first_time(db, batch, record, keys, head, proven)
                through, head = record.seq, sha256_of(record.jws)
            else:
                store.alarm(db, batch.terminal, batch.chain_id, "gap", f"record {through + 1} is missing, {record.seq} came")
                break
        facts_through = _store_facts(db, batch, int(chain["facts_through"]))
        now = store.now_ms()
        claims = {"claimed_seq": batch.head_seq, "claimed_sha256": batch.head_sha256, "seen_utc_ms": now} if proven else {}
        if proven:
            _check_head(db, batch, through, head)
        where = (store.chains.c.terminal == batch.terminal) & (store.chains.c.chain_id == batch.chain_id)
        db.execute(
            store.chains.update()
            .where(where)
            .values(
                through_seq=through,
                through_sha256=head,
                facts_through=facts_through,
                **claims,
            )
        )
        mine = store.terminals.c.terminal == batch.terminal
        seen = {"seen_utc_ms": now} if proven else {}
        db.execute(store.terminals.update().where(mine).values(chain_id=batch.chain_id, **seen))
        return Stored(through, head, facts_through, _quarantined(db, batch))

    def _judge(
        self, db: Connection, terminal: str, chain_id: str, record: SentRecord, keys: chain_checks.Keys, prev: str
    ) -> Verdict:
        """Also learns the keys of a key change, for what follows it in the same batch is signed by them."""
        expected = Expected(
            terminal=terminal,
            chain_id=chain_id,
            seq=record.seq,
            prev=prev,
            record_keys=keys.record,
            ocmf_keys=keys.ocmf,
            meter_keys=keys.meters,
            demo=self._demo,
            signers=keys.signers(chain_id, record.seq),
            billed=lambda number: chain_checks.billed(db, terminal, chain_id, number, record.seq),
        )
        verdict = judge(record.jws, expected)
        if verdict.change is not None and verdict.payload is not None:
            reason = str(verdict.payload["reason"])
            chain_checks.learn(db, terminal, chain_id, record.seq, verdict.change, reason, keys)
        return verdict

    def _first_time(
        self, db: Connection, batch: SentBatch, record: SentRecord, keys: chain_checks.Keys, prev: str, proven: bool
    ) -> None:
        verdict = self._judge(db, batch.terminal, batch.chain_id, record, keys, prev)
        if verdict.reason and not proven:
            raise BatchRefused(f"record {record.seq} does not prove itself: {verdict.reason}")
        meter_keys.first_seen(db, batch.terminal, batch.chain_id, keys.meters, verdict)
        db.execute(store.records.insert().values(**_identity(batch, record), **_columns(record, verdict)))
        _index(db, batch.terminal, batch.chain_id, record, verdict)

    def _again(self, db: Connection, batch: SentBatch, record: SentRecord, keys: chain_checks.Keys, proven: bool) -> None:
        """Same bytes: nothing to do, unless what kept them in quarantine is healed (a key registered since). Other bytes:
        kept beside the first; only a record in quarantine gives way to one that verifies, for the first was damaged."""
        where = _where(store.records, batch.terminal, batch.chain_id, record.seq)
        known = db.execute(sa.select(store.records).where(where)).mappings().one()
        sha256 = sha256_of(record.jws)
        if known["sha256"] == sha256 and not known["quarantine"]:
            return
        prev = _sha_before(db, batch.terminal, batch.chain_id, record.seq)
        verdict = self._judge(db, batch.terminal, batch.chain_id, record, keys, prev)
        if known["quarantine"] and not verdict.reason:
            meter_keys.first_seen(db, batch.terminal, batch.chain_id, keys.meters, verdict)
            if known["sha256"] != sha256:
                _keep_conflict(db, batch, record.seq, known["jws"], known["quarantine"])
            db.execute(store.records.update().where(where).values(**_columns(record, verdict)))
            _index(db, batch.terminal, batch.chain_id, record, verdict)
        elif known["sha256"] != sha256:
            if verdict.reason and not proven:
                raise BatchRefused(f"record {record.seq} is not the stored one, and does not prove itself: {verdict.reason}")
            self._other_bytes(db, batch, record, verdict)

    def _other_bytes(self, db: Connection, batch: SentBatch, record: SentRecord, verdict: Verdict) -> None:
        sha256 = sha256_of(record.jws)
        _keep_conflict(db, batch, record.seq, record.jws, verdict.reason or f"another record {record.seq} is stored already")
        store.alarm(db, batch.terminal, batch.chain_id, "conflict", f"record {record.seq} came with other bytes: {sha256}")


def _check_order(batch: SentBatch) -> None:
    seqs = [record.seq for record in batch.records]
    if any(later <= earlier for earlier, later in pairwise(seqs)):
        raise BatchRefused("records are not in rising order")
    seqs = [fact.seq for fact in batch.facts]
    if any(later <= earlier for earlier, later in pairwise(seqs)):
        raise BatchRefused("facts are not in rising order")
    if batch.facts_through < batch.facts_after or (seqs and not batch.facts_after < seqs[0] <= seqs[-1] <= batch.facts_through):
        raise BatchRefused("facts lie outside facts_after..facts_through")


def _chain(db: Connection, batch: SentBatch) -> RowMapping:
    where = (store.chains.c.terminal == batch.terminal) & (store.chains.c.chain_id == batch.chain_id)
    found = db.execute(sa.select(store.chains).where(where)).mappings().first()
    if found is not None:
        return found
    if db.execute(sa.select(store.chains.c.chain_id).where(store.chains.c.terminal == batch.terminal)).first():
        store.alarm(db, batch.terminal, batch.chain_id, "new-chain", "the terminal began a new chain (new board or ledger)")
    new = {"through_seq": 0, "through_sha256": GENESIS, "facts_through": 0}
    claim = {"claimed_seq": batch.head_seq, "claimed_sha256": batch.head_sha256, "seen_utc_ms": store.now_ms()}
    db.execute(store.chains.insert().values(terminal=batch.terminal, chain_id=batch.chain_id, **new, **claim))
    return db.execute(sa.select(store.chains).where(where)).mappings().one()


def _identity(batch: SentBatch, record: SentRecord) -> dict[str, object]:
    return {"terminal": batch.terminal, "chain_id": batch.chain_id, "seq": record.seq}


def _columns(record: SentRecord, verdict: Verdict) -> dict[str, object]:
    payload = verdict.payload or {}
    return {
        "jws": record.jws,
        "sha256": sha256_of(record.jws),
        "type": str(payload.get("type", "")),
        "session_id": str(payload.get("session_id", ""))[:64],
        "stored_utc_ms": store.now_ms(),
        "quarantine": verdict.reason,
    }


def _where(table: sa.Table, terminal: str, chain_id: str, seq: int) -> sa.ColumnElement[bool]:
    return (table.c.terminal == terminal) & (table.c.chain_id == chain_id) & (table.c.seq == seq)


def _sha_before(db: Connection, terminal: str, chain_id: str, seq: int) -> str:
    where = _where(store.records, terminal, chain_id, seq - 1)
    return db.execute(sa.select(store.records.c.sha256).where(where)).scalar() or GENESIS


def _stored_sha(db: Connection, batch: SentBatch, seq: int) -> str | None:
    return db.execute(sa.select(store.records.c.sha256).where(_where(store.records, batch.terminal, batch.chain_id, seq))).scalar()


def _index(db: Connection, terminal: str, chain_id: str, record: SentRecord, verdict: Verdict) -> None:
    """Quarantined records whose signature holds are shown too, marked; what cannot be opened is only kept."""
    if verdict.reason:
        store.alarm(db, terminal, chain_id, "quarantine", f"record {record.seq}: {verdict.reason}")
    if verdict.payload is None:
        return
    try:
        with db.begin_nested():
            derived.index_record(db, terminal, chain_id, record.seq, verdict.payload)
            if verdict.payload["type"] in ("session", "settlement"):
                cross_checks.settled_as_billed(db, terminal, chain_id, verdict.payload)
            if verdict.payload["type"] == "checkpoint" and not verdict.reason:
                chain_checks.stands(db, terminal, chain_id, verdict.payload)
            if verdict.page:
                cross_checks.measured_in_turn(db, terminal, chain_id, record.seq, verdict.page)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, sa.exc.StatementError):
        where = _where(store.records, terminal, chain_id, record.seq)
        db.execute(store.records.update().where(where).values(quarantine=verdict.reason or "malformed: cannot be indexed"))


def _keep_conflict(db: Connection, batch: SentBatch, seq: int, jws: str, reason: str) -> None:
    sha256 = sha256_of(jws)
    where = _where(store.conflicts, batch.terminal, batch.chain_id, seq) & (store.conflicts.c.sha256 == sha256)
    if db.execute(sa.select(store.conflicts.c.seq).where(where)).first() is None:
        identity = {"terminal": batch.terminal, "chain_id": batch.chain_id, "seq": seq}
        row = {"sha256": sha256, "jws": jws, "stored_utc_ms": store.now_ms(), "reason": reason}
        db.execute(store.conflicts.insert().values(**identity, **row))


def _store_facts(db: Connection, batch: SentBatch, through: int) -> int:
    """New facts in order; what is known is left alone. A batch that begins after our watermark is not acknowledged."""
    if batch.facts_after > through:
        detail = f"facts after {through} are missing, the terminal sends from {batch.facts_after}"
        store.alarm(db, batch.terminal, batch.chain_id, "gap", detail)
        return through
    if not batch.facts:
        return through  # a sign of life moves nothing, so that an idle terminal has nothing to write
    for fact in batch.facts:
        if wrong := malformation(fact):
            _set_aside(db, batch, fact, wrong)
            continue
        where = _where(store.facts, batch.terminal, batch.chain_id, fact.seq)
        known = db.execute(sa.select(store.facts.c.body, store.facts.c.kind).where(where)).first()
        if known is not None:
            if tuple(known) != (fact.body, fact.kind):
                store.alarm(db, batch.terminal, batch.chain_id, "conflict", f"fact {fact.seq} came with another content")
            continue
        if fact.seq <= through:
            store.alarm(db, batch.terminal, batch.chain_id, "conflict", f"fact {fact.seq} was not there before")
        row = {"utc_ms": fact.utc_ms, "kind": fact.kind, "session_id": fact.session_id, "body": fact.body}
        identity = {"terminal": batch.terminal, "chain_id": batch.chain_id, "seq": fact.seq}
        db.execute(store.facts.insert().values(**identity, **row, stored_utc_ms=store.now_ms()))
        derived.apply_fact(db, batch.terminal, batch.chain_id, fact.utc_ms, fact.kind, fact.session_id, fact.body)
    return max(through, batch.facts_through)


def _set_aside(db: Connection, batch: SentBatch, fact: SentFact, wrong: str) -> None:
    """A malformed fact, as JSON (which writes a NUL as an escape), beside the facts. It counts as stored."""
    where = _where(store.stray_facts, batch.terminal, batch.chain_id, fact.seq)
    if db.execute(sa.select(store.stray_facts.c.seq).where(where)).first() is None:
        identity = {"terminal": batch.terminal, "chain_id": batch.chain_id, "seq": fact.seq}
        row = {"sent": msgspec.json.encode(fact).decode(), "reason": wrong, "stored_utc_ms": store.now_ms()}
        db.execute(store.stray_facts.insert().values(**identity, **row))
    store.alarm(db, batch.terminal, batch.chain_id, "malformed-fact", f"fact {fact.seq} was set aside: {wrong}")


def _check_head(db: Connection, batch: SentBatch, through: int, head: str) -> None:
    """The terminal's claim about its newest record against what is stored: finds cut tails and rolled-back cards."""
    if batch.head_seq < through:
        detail = f"the terminal's newest record is {batch.head_seq}, {through} are stored: its ledger was rolled back"
        store.alarm(db, batch.terminal, batch.chain_id, "rollback", detail)
    elif batch.head_seq == through and batch.head_sha256 != head:
        store.alarm(db, batch.terminal, batch.chain_id, "fork", f"the terminal has another record {through} than the stored one")


def _quarantined(db: Connection, batch: SentBatch) -> tuple[int, ...]:
    if not batch.records:
        return ()
    table = store.records
    where = (table.c.terminal == batch.terminal) & (table.c.chain_id == batch.chain_id) & (table.c.quarantine != "")
    where &= table.c.seq.between(batch.records[0].seq, batch.records[-1].seq)
    return tuple(seq for (seq,) in db.execute(sa.select(table.c.seq).where(where).order_by(table.c.seq)))
