"""A core that speaks the sync socket, for tests of sync: offers what is not acknowledged, believes only what verifies."""

import threading
from pathlib import Path
from typing import Any

from terminal_app import wire
from terminal_app.billing.acknowledgement import open_ack
from terminal_app.billing.command import open_command
from terminal_app.billing.record import GENESIS, sha256_of
from terminal_app.errors import SignatureInvalid
from tests.unit.office_samples import CHAIN, TERMINAL, Terminal


class FakeCore:
    """The terminal's side of the sync socket. Its watermark moves only by acknowledgements that verify and fit."""

    def __init__(self, path: Path, terminal: Terminal, office_key: bytes) -> None:
        self.path, self.terminal, self.office_key = path, terminal, office_key
        self.through, self.facts_through = 0, 0
        self.facts: list[wire.FactRow] = []
        self.asked: list[wire.NextBatch] = []
        self.refused: list[str] = []
        self.troubles: list[str] = []
        self.silent = threading.Event()
        self.commands: list[str] = []
        self.commands_through = 0
        self._listener: wire.Listener | None = None
        self.start()

    def start(self) -> None:
        self._listener = wire.Listener(self.path, wire.ToCoreFromSync, self._serve)

    def stop(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None

    def _serve(self, endpoint: "wire.Endpoint[Any]") -> None:
        while True:
            message = endpoint.receive(None)
            if self.silent.is_set():
                continue
            if isinstance(message, wire.NextBatch):
                self.asked.append(message)
                endpoint.send(self._batch(message))
            elif isinstance(message, wire.Acknowledge):
                error = self._acknowledged(message.jws)
                if error:
                    self.refused.append(error)
                endpoint.send(wire.Taken(error))
            elif isinstance(message, wire.SyncTrouble):
                self.troubles.append(message.trouble)
                endpoint.send(wire.Taken())
            elif isinstance(message, wire.CommandsAfter):
                endpoint.send(wire.CommandsThrough(TERMINAL, self.commands_through))
            elif isinstance(message, wire.Deliver):
                endpoint.send(wire.Taken(self._delivered(message.jws)))

    def _delivered(self, jws: str) -> str:
        try:
            command = open_command(jws, self.office_key, TERMINAL)
        except SignatureInvalid as error:
            return str(error)
        if command.number <= self.commands_through:
            return "not new"
        self.commands.append(jws)
        self.commands_through = command.number
        return ""

    def _batch(self, asked: wire.NextBatch) -> wire.Batch:
        rows = self.terminal.records[self.through : self.through + asked.max_records]
        facts = [fact for fact in self.facts if fact.seq > self.facts_through][: asked.max_facts]
        return wire.Batch(
            terminal=TERMINAL,
            chain_id=CHAIN,
            records_after=self.through,
            facts_after=self.facts_through,
            facts_through=facts[-1].seq if facts else self.facts_through,
            head_seq=len(self.terminal.records),
            head_sha256=self.terminal.head_sha256,
            records=tuple(wire.RecordRow(row.seq, row.jws) for row in rows),
            facts=tuple(facts),
        )

    def _acknowledged(self, jws: str) -> str:
        try:
            ack = open_ack(jws, self.office_key)
        except SignatureInvalid as error:
            return str(error)
        if (ack.terminal, ack.chain_id) != (TERMINAL, CHAIN):
            return "of another terminal"
        if ack.through_seq > len(self.terminal.records):
            return "covers records that do not exist"
        mine = sha256_of(self.terminal.records[ack.through_seq - 1].jws) if ack.through_seq else GENESIS
        if mine != ack.head_sha256:
            return "another head"
        self.through = max(self.through, ack.through_seq)
        self.facts_through = max(self.facts_through, ack.facts_through)
        return ""
