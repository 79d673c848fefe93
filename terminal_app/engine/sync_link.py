"""The sync socket: hands out batches, takes the office's countersigned acknowledgements and commands. Verified by the core."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from terminal_app.billing.acknowledgement import Ack, open_ack
from terminal_app.billing.record import GENESIS
from terminal_app.engine import money_orders, operations
from terminal_app.engine.command_link import CommandLink, told_args
from terminal_app.engine.control_link import Operation
from terminal_app.engine.engine import Engine
from terminal_app.engine.pull_link import PullLink
from terminal_app.errors import ChargeError, SignatureInvalid, WireError
from terminal_app.ledger.entry import Entry
from terminal_app.session import events
from terminal_app.session.facts import AuthorizationIntended, CommandTaken, OfficeAcknowledged, encode
from terminal_app.values import Device, Fault
from terminal_app.wire import (
    SYNC_PROTOCOL,
    Acknowledge,
    Batch,
    CdrTrouble,
    CommandsAfter,
    Deliver,
    Endpoint,
    FactRow,
    Listener,
    Look,
    NextBatch,
    Pulling,
    RecordRow,
    Seen,
    SyncTrouble,
    Taken,
    ToCoreFromSync,
)

log = logging.getLogger("charge.sync_link")
MAX_RECORDS = 500
MAX_FACTS = 2000
MAX_BATCH_BYTES = 2 * 1024 * 1024


class SyncLink:
    """One sync process is expected; several do no harm."""

    def __init__(
        self,
        path: Path,
        engine: Engine,
        commands: CommandLink,
        office_spki: bytes,
        allowed_uids: frozenset[int] | None = None,
    ) -> None:
        self._engine, self._commands, self._office_spki = engine, commands, office_spki
        self._acknowledging = threading.Lock()
        self._pull = PullLink(engine)
        self._listener = Listener(path, ToCoreFromSync, self._serve, allowed_uids)

    def _serve(self, endpoint: Endpoint[Any]) -> None:
        answers: dict[type, Callable[[Any], object]] = {
            NextBatch: self.next_batch,
            Acknowledge: self.acknowledge,
            SyncTrouble: self.trouble,
            CommandsAfter: self._commands.after,
            Deliver: self._commands.deliver,
            Look: self.look,
            CdrTrouble: self.cdr_trouble,
            **self._pull.answers,
        }
        while True:
            message = endpoint.receive(None)
            if isinstance(message, NextBatch | CommandsAfter | Look | Pulling) and message.protocol != SYNC_PROTOCOL:
                raise WireError(f"sync speaks protocol {message.protocol}, we {SYNC_PROTOCOL}")
            endpoint.send(answers[type(message)](message))

    def next_batch(self, wanted: NextBatch) -> Batch:
        """What the office has not acknowledged, oldest first. Any thread."""
        ledger, chain = self._engine.ledger, self._engine.state.chain
        through, _ = ledger.head
        records = ledger.records(chain.acknowledged_through, min(max(wanted.max_records, 1), MAX_RECORDS))
        limit = min(max(wanted.max_facts, 1), MAX_FACTS)
        facts = ledger.public_entries(chain.facts_acknowledged_through, limit)
        if len(facts) == limit:
            through = facts[-1].seq
        facts = [one for one in facts if one.seq <= through]
        kept = _within(MAX_BATCH_BYTES // 2, (len(jws) for _, _, _, jws, _ in records))
        if kept < len(records):
            records = records[:kept]
        kept = _within(MAX_BATCH_BYTES // 2, (len(one.body) for one in facts))
        if kept < len(facts):
            facts, through = facts[:kept], facts[kept - 1].seq
        return Batch(
            terminal=self._engine.standing.config.terminal.id,
            chain_id=ledger.chain_id,
            records_after=chain.acknowledged_through,
            facts_after=chain.facts_acknowledged_through,
            facts_through=through,
            head_seq=chain.next_record_seq - 1,
            head_sha256=chain.head_sha256 or GENESIS,
            records=tuple(RecordRow(seq, jws) for seq, _, _, jws, _ in records),
            facts=tuple(FactRow(one.seq, one.stamp.utc_ms, one.kind, one.session_id, told(one)) for one in facts),
        )

    def acknowledge(self, message: Acknowledge) -> Taken:
        """Verify, then commit. An acknowledgement that changes nothing is not committed."""
        with self._acknowledging:
            try:
                ack = open_ack(message.jws, self._office_spki)
                self._check(ack)
                chain = self._engine.state.chain
                if ack.through_seq == chain.acknowledged_through and not self._news(ack, chain.facts_acknowledged_through):
                    return Taken()
                fact = OfficeAcknowledged(
                    records_through=ack.through_seq,
                    head_sha256=ack.head_sha256,
                    facts_through=ack.facts_through,
                    quarantined=ack.quarantined,
                    jws=message.jws,
                )
                if ack.through_seq < chain.acknowledged_through:
                    log.warning(
                        "the office knows only up to record %d of %d: sent again", ack.through_seq, chain.acknowledged_through
                    )
                self._engine.ask(lambda: self._engine.commit_outside_a_turn(fact))
            except ChargeError as error:
                return Taken(f"acknowledgement refused: {error}")
            return Taken()

    @property
    def operations(self) -> dict[str, Operation]:
        """What the control socket may bring in place of sync."""
        return {"office.acknowledge": self._acknowledged_by_hand}

    def _acknowledged_by_hand(self, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """A countersigned acknowledgement that came by hand, as the records went. ValueError if it is not believed."""
        taken = self.acknowledge(Acknowledge(str(arguments["jws"])))
        if taken.error:
            raise ValueError(taken.error)
        return {"acknowledged": self._engine.state.chain.acknowledged_through}

    def _news(self, ack: Ack, facts_before: int) -> bool:
        """Whether it covers public facts that were not covered; a sign of life alone is not worth a commit."""
        if ack.facts_through < facts_before:
            return True
        found = self._engine.ledger.public_entries(facts_before, 1)
        return bool(found) and found[0].seq <= ack.facts_through

    def _check(self, ack: Ack) -> None:
        """Whether it speaks of our chain: the hash at its watermark must be ours."""
        ledger = self._engine.ledger
        if (ack.terminal, ack.chain_id) != (self._engine.standing.config.terminal.id, ledger.chain_id):
            raise SignatureInvalid(f"it is for terminal {ack.terminal}, chain {ack.chain_id}")
        if ack.facts_through > ledger.head[0]:
            raise SignatureInvalid(f"it covers entry {ack.facts_through}, ours end at {ledger.head[0]}")
        if ack.through_seq:
            found = ledger.records(ack.through_seq - 1, 1)
            if not found or found[0][0] != ack.through_seq:
                raise SignatureInvalid(
                    f"it covers record {ack.through_seq}, which was never sealed here: an older copy of this ledger?"
                )
            if found[0][4] != ack.head_sha256:
                raise SignatureInvalid(f"it names another record {ack.through_seq} than ours")

    def trouble(self, message: SyncTrouble) -> Taken:
        """The link to the office as a fault: raised and cleared, never blocking a sale."""
        return self._told("unreachable", message.trouble)

    def cdr_trouble(self, message: CdrTrouble) -> Taken:
        """Likewise the OCPI receiver."""
        return self._told("ocpi_unreachable", message.trouble)

    def _told(self, kind: str, trouble: str) -> Taken:
        fault = Fault(Device.OFFICE, 0, kind, trouble[:200])
        self._engine.inbox.post(events.FaultSeen(fault, bool(trouble)), droppable=True)
        return Taken()

    def look(self, message: Look) -> Seen:
        """What the site's page and metrics show: nothing of a card, whoever is near may read it. Any thread."""
        payments = money_orders.payments_open(self._engine, {}, "")
        told = tuple({name: value for name, value in one.items() if name != "card"} for one in payments)
        return Seen(operations.status(self._engine, {}, ""), told)

    def close(self) -> None:
        self._listener.close()


def _within(limit: int, sizes: Iterable[int]) -> int:
    """How many of the first items fit into `limit` bytes; always at least one."""
    total, count = 0, 0
    for size in sizes:
        total += size
        if count and total > limit:
            break
        count += 1
    return count


def told(entry: Entry) -> str:
    """A public fact as the office gets it: a card's token links a person's visits and stays here."""
    fact = entry.fact  # what is ordered about a sealed hold carries no token (session.past)
    if isinstance(fact, AuthorizationIntended):
        card = msgspec.structs.replace(fact.card, token="", cryptogram="")
        return encode(msgspec.structs.replace(fact, card=card)).decode()
    if isinstance(fact, CommandTaken):
        return encode(msgspec.structs.replace(fact, args=told_args(fact.act, fact.args))).decode()
    return entry.body
