"""What records about the chain itself mean here: keys that hand over, bills that are credited, checkpoints that tell of a loss."""

import base64
import json
import textwrap
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.record import KeyChange
from terminal_app.office import meter_keys, store
from terminal_app.office.derived import put
from terminal_app.office.verify import Billed

LOST = "office-lost-data"
DAY_MS = 86_400_000
LATE_MS = 3_600_000
"""How much later than a checkpoint says a record may have been stored here: clocks of two machines are compared."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The registered keys of a terminal (id -> SPKI PEM), when each was added, and the key changes of its chains."""

    record: dict[str, bytes] = field(default_factory=dict)
    ocmf: dict[str, bytes] = field(default_factory=dict)
    meters: dict[str, str] = field(default_factory=dict)  # serial of a meter that signs -> its SPKI, hex
    added_utc_ms: dict[str, int] = field(default_factory=dict)  # of record keys
    changes: list[tuple[str, int, str, int]] = field(default_factory=list)  # chain_id, seq, new key, learned when; by seq

    def signers(self, chain_id: str, seq: int) -> frozenset[str]:
        """Who may sign record `seq`: the key of the last change before it, and keys that a person registered since then (an
        emergency). Empty = nobody has ever handed over: any registered key."""
        before = [one for one in self.changes if one[0] == chain_id and one[1] < seq]
        if not before:
            return frozenset()
        _, _, newest, learned_utc_ms = before[-1]
        announced = {key_id for _, _, key_id, _ in self.changes}
        by_hand = {key_id for key_id, added in self.added_utc_ms.items() if added > learned_utc_ms and key_id not in announced}
        return frozenset({newest, *by_hand})


def keys_of(db: Connection, terminal: str) -> Keys:
    found, k, c = Keys(meters=meter_keys.known(db, terminal)), store.keys, store.key_changes
    for row in db.execute(sa.select(k).where(k.c.terminal == terminal)).mappings():
        (found.record if row["purpose"] == "record" else found.ocmf)[row["key_id"]] = row["spki_pem"].encode()
        if row["purpose"] == "record":
            found.added_utc_ms[row["key_id"]] = row["added_utc_ms"]
    changes = sa.select(c.c.chain_id, c.c.seq, c.c.key_id, c.c.learned_utc_ms).where(c.c.terminal == terminal)
    found.changes.extend((str(chain), int(seq), str(key), int(ms)) for chain, seq, key, ms in db.execute(changes.order_by(c.c.seq)))
    return found


def learn(db: Connection, terminal: str, chain_id: str, seq: int, change: KeyChange, reason: str, keys: Keys) -> None:
    """Register what an accepted key-change record announces, in the database and in `keys`, and tell the operator."""
    now = store.now_ms()
    for purpose, key_id, spki, known in (
        ("record", change.key_id, change.spki, keys.record),
        ("ocmf", change.ocmf_key_id, change.ocmf_spki, keys.ocmf),
    ):
        if key_id and key_id not in known:
            known[key_id] = pem = _pem(spki)
            row = {"terminal": terminal, "key_id": key_id, "purpose": purpose, "spki_pem": pem.decode(), "added_utc_ms": now}
            db.execute(store.keys.insert().values(**row))
            if purpose == "record":
                keys.added_utc_ms[key_id] = now
    if any(one[:2] == (chain_id, seq) for one in keys.changes):
        return
    row = {"key_id": change.key_id, "ocmf_key_id": change.ocmf_key_id, "reason": reason, "learned_utc_ms": now}
    put(db, store.key_changes, {"terminal": terminal, "chain_id": chain_id, "seq": seq}, row)
    keys.changes.append((chain_id, seq, change.key_id, now))
    keys.changes.sort(key=lambda one: one[1])
    store.alarm(db, terminal, chain_id, "key-change", f"record {seq} hands over to key {change.key_id}: {reason}")


def billed(db: Connection, terminal: str, chain_id: str, number: Any, seq: int) -> Billed | None:
    """The session record `number`, with the accepted credits of it before record `seq`."""
    if type(number) is not int:
        return None
    s, r, c = store.sessions, store.records, store.credits
    mine = (s.c.terminal == terminal) & (s.c.chain_id == chain_id) & (s.c.seq == number)
    same = (r.c.terminal == s.c.terminal) & (r.c.chain_id == s.c.chain_id) & (r.c.seq == s.c.seq)
    bill = db.execute(sa.select(s, r.c.sha256).select_from(s.join(r, same)).where(mine)).mappings().first()
    if bill is None:
        return None
    same = (r.c.terminal == c.c.terminal) & (r.c.chain_id == c.c.chain_id) & (r.c.seq == c.c.seq) & (r.c.quarantine == "")
    mine = (c.c.terminal == terminal) & (c.c.chain_id == chain_id) & (c.c.credited_seq == number) & (c.c.seq < seq)
    counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.c.total_minor), 0)).select_from(c.join(r, same))
    many, credited = db.execute(counted.where(mine)).one()
    return Billed(
        sha256=bill["sha256"],
        session_id=bill["session_id"],
        receipt_number=bill["receipt_number"],
        currency=bill["currency"],
        total_minor=int(bill["total_minor"]),
        credits=int(many),
        credited_minor=-int(credited),
    )


def stands(db: Connection, terminal: str, chain_id: str, point: dict[str, Any]) -> None:
    """A checkpoint against what is stored: records that it calls acknowledged, and the ledger of the checkpoint before it."""
    r, c, through = store.records.c, store.checkpoints.c, point["acknowledged_through"]
    mine = (r.terminal == terminal) & (r.chain_id == chain_id) & (r.seq == through)
    stored = db.execute(sa.select(r.stored_utc_ms).where(mine)).scalar()
    late = stored is not None and point["at"]["clock"] == "S" and stored > point["at"]["utc_ms"] + LATE_MS
    if through and (stored is None or late) and not _told_today(db, terminal, chain_id):
        why = f"by checkpoint {point['seq']} record {through} was stored here already, but it came later: this office lost data"
        store.alarm(db, terminal, chain_id, LOST, why)
    mine = (c.terminal == terminal) & (c.chain_id == chain_id) & (c.seq < point["seq"])
    before = db.execute(sa.select(store.checkpoints).where(mine).order_by(c.seq.desc()).limit(1)).mappings().first()
    if before is not None and point["ledger"]["entries"] < before["ledger_entries"]:
        now, then = point["ledger"]["entries"], before["ledger_entries"]
        why = f"checkpoint {point['seq']} tells of {now} ledger entries, checkpoint {before['seq']} of {then}: it was rolled back"
        store.alarm(db, terminal, chain_id, "rollback", why)


def _told_today(db: Connection, terminal: str, chain_id: str) -> bool:
    """Weeks of records that come again hold a checkpoint for each day: one alarm says it."""
    a = store.alarms.c
    mine = (a.terminal == terminal) & (a.chain_id == chain_id) & (a.kind == LOST) & (a.utc_ms > store.now_ms() - DAY_MS)
    return db.execute(sa.select(a.id).where(mine)).first() is not None


def newest_checkpoint(db: Connection, terminal: str) -> dict[str, Any] | None:
    """For pages and the command line, with `registers` and `digests` as dictionaries."""
    c = store.checkpoints.c
    question = sa.select(store.checkpoints).where(c.terminal == terminal).order_by(c.utc_ms.desc(), c.seq.desc()).limit(1)
    found = db.execute(question).mappings().first()
    if found is None:
        return None
    return {**found, "registers": json.loads(found["registers"]), "digests": json.loads(found["digests"])}


def _pem(spki: bytes) -> bytes:
    text = "\n".join(textwrap.wrap(base64.b64encode(spki).decode(), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n".encode()
