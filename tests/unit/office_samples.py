"""A terminal that posts to an office, and the office's collector, for tests."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from terminal_app.billing import record
from terminal_app.billing.acknowledgement import Ack, open_ack
from terminal_app.billing.receipt import receipt_code
from terminal_app.office import store
from terminal_app.office.access import hash_of
from terminal_app.office.ingest import Collector, SentBatch, SentFact, SentRecord
from terminal_app.office.signing import OfficeKey
from tests.unit.billing_samples import Key, head, ocmf_text, session_bill

TERMINAL, CHAIN, TOKEN = "T-0001", "c1", "a-token-of-the-terminal-0001"


def pem(key: Key) -> str:
    return key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Terminal:
    """Seals records as a core does: alternately a session and the settlement of its hold."""

    def __init__(self) -> None:
        self.record_key, self.ocmf_key = Key(), Key()
        self.records: list[SentRecord] = []
        self.measured = 0

    @property
    def head_sha256(self) -> str:
        return record.sha256_of(self.records[-1].jws) if self.records else record.GENESIS

    def session(self, spoil: dict[str, Any] | None = None, prev: str = "", page: int = 0, **changes: Any) -> SentRecord:
        """`page`: its OCMF number, else the one after the last."""
        seq = len(self.records) + 1
        said = {
            "session_id": f"S-{seq}",
            "ocmf_key": self.ocmf_key.key_id,
            "receipt_number": f"R-{seq}",
            "receipt_code": receipt_code(seq.to_bytes(20)),
        }
        self.measured += 1
        bill = session_bill(ocmf_text(self.ocmf_key, pagination=page or self.measured), **(said | changes))
        payload = record.session_payload(head(seq, prev or self.head_sha256), bill)
        return self._sealed(payload | (spoil or {}))

    def settlement(self, amount_minor: int = 948, how: str = "captured", session: int = 1, **changes: Any) -> SentRecord:
        said = {
            "session_id": f"S-{session}",
            "hold_id": "H-7",
            "gateway": "main",
            "how": how,
            "amount_minor": amount_minor,
            "authorized_minor": 5000,
            "currency": "EUR",
            "ended": record.Moment(1_767_348_000_000, "S"),
        }
        bill = record.SettlementBill(**(said | changes))
        return self._sealed(record.settlement_payload(head(len(self.records) + 1, self.head_sha256), bill))

    def _sealed(self, payload: dict[str, Any]) -> SentRecord:
        signing = record.signing_input(payload, self.record_key.key_id)
        self.records.append(SentRecord(payload["seq"], record.seal(signing, self.record_key.sign(signing))))
        return self.records[-1]

    def batch(self, *records: SentRecord, facts: tuple[SentFact, ...] = (), facts_after: int = 0, **changes: Any) -> SentBatch:
        said = {
            "v": 1,
            "terminal": TERMINAL,
            "chain_id": CHAIN,
            "head_seq": len(self.records),
            "head_sha256": self.head_sha256,
            "records_after": records[0].seq - 1 if records else len(self.records),
            "facts_after": facts_after,
            "facts_through": facts[-1].seq if facts else facts_after,
            "records": records,
            "facts": facts,
        }
        return SentBatch(**(said | changes))


class Desk:
    """Database, key and collector of an office that knows the terminal."""

    def __init__(self, url: str, terminal: Terminal, demo: bool = True) -> None:
        self.url, self.demo = url, demo
        self.key = OfficeKey(ec.generate_private_key(ec.SECP256R1()))
        self.database = store.Store(url, create=True)
        self.collector = Collector(self.database, self.key, demo)
        with self.database.write() as db:
            row = {"terminal": TERMINAL, "token_sha256": hash_of(TOKEN), "added_utc_ms": 1}
            db.execute(store.terminals.insert().values(**row))
        self.register(terminal)

    def register(self, terminal: Terminal) -> None:
        with self.database.write() as db:
            for purpose, key in (("record", terminal.record_key), ("ocmf", terminal.ocmf_key)):
                row = {"terminal": TERMINAL, "key_id": key.key_id, "purpose": purpose, "spki_pem": pem(key), "added_utc_ms": 1}
                db.execute(store.keys.insert().values(**row))

    def take(self, batch: SentBatch) -> Ack:
        return open_ack(self.collector.take(batch), self.key.public_pem)

    def restart(self) -> None:
        self.database.close()
        self.database = store.Store(self.url)
        self.collector = Collector(self.database, self.key, self.demo)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.database.read() as db:
            return [dict(row) for row in db.execute(sa.select(table)).mappings()]

    def reasons(self) -> dict[int, str]:
        return {row["seq"]: row["quarantine"] for row in self.rows(store.records)}


def desk_at(folder: Path, terminal: Terminal, demo: bool = True) -> Desk:
    return Desk(f"sqlite:///{folder}/office.db", terminal, demo)
