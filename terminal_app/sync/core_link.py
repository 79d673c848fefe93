"""Sync's end of the core's sync socket: asks for batches, hands over acknowledgements and commands, tells trouble, looks."""

from pathlib import Path

from terminal_app import wire
from terminal_app.errors import WireError

ANSWER_TIMEOUT_S = 10.0


class CoreLink:
    """Connects when first needed and again after the core was restarted. Every method: one question, one answer, at most
    about ANSWER_TIMEOUT_S; WireError if there is no core. One thread. Moves no money."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._endpoint: wire.Endpoint[wire.ToSyncFromCore] | None = None

    def next_batch(self, max_records: int, max_facts: int) -> wire.Batch:
        answer = self._ask(wire.NextBatch(max_records=max_records, max_facts=max_facts))
        if not isinstance(answer, wire.Batch):
            self.close()
            raise WireError("the core answered a question for a batch with something else")
        return answer

    def acknowledge(self, jws: str) -> str:
        """Empty = the core verified and stored it; else why it did not believe it."""
        return self._taken(wire.Acknowledge(jws))

    def commands_after(self) -> wire.CommandsThrough:
        answer = self._ask(wire.CommandsAfter())
        if not isinstance(answer, wire.CommandsThrough):
            self.close()
            raise WireError("the core answered a question for its newest command with something else")
        return answer

    def deliver(self, jws: str) -> str:
        """Empty = the core took the command, whatever became of it; else why it did not believe it."""
        return self._taken(wire.Deliver(jws))

    def look(self) -> wire.Seen:
        answer = self._ask(wire.Look())
        if not isinstance(answer, wire.Seen):
            self.close()
            raise WireError("the core answered a look with something else")
        return answer

    def tell_trouble(self, trouble: str) -> None:
        self._taken(wire.SyncTrouble(trouble))

    def records_after(self, client: str, after: int, limit: int) -> wire.RecordPage:
        answer = self._ask(wire.RecordsAfter(client, after, limit))
        if not isinstance(answer, wire.RecordPage):
            self.close()
            raise WireError("the core answered a question for records with something else")
        return answer

    def puller_has(self, client: str, through_seq: int, head_sha256: str) -> str:
        """Empty = the core stored it; else why it did not believe it."""
        return self._taken(wire.PullerHas(client, through_seq, head_sha256))

    def cdrs_between(self, from_ms: int, to_ms: int, offset: int, limit: int) -> wire.CdrPage:
        return self._cdrs(wire.CdrsBetween(from_ms, to_ms, offset, limit))

    def next_cdr(self) -> wire.CdrPage:
        return self._cdrs(wire.NextCdr())

    def cdr_ended(self, record_seq: int, status: int, location: str, rejected: str, part: int = 0) -> str:
        """Empty = the core stored it; else why it did not."""
        return self._taken(wire.CdrEnded(record_seq, status, location, rejected, part))

    def tell_cdr_trouble(self, trouble: str) -> None:
        self._taken(wire.CdrTrouble(trouble))

    def _cdrs(self, message: wire.CdrsBetween | wire.NextCdr) -> wire.CdrPage:
        answer = self._ask(message)
        if not isinstance(answer, wire.CdrPage):
            self.close()
            raise WireError("the core answered a question for CDRs with something else")
        return answer

    def close(self) -> None:
        if self._endpoint:
            self._endpoint.close()
            self._endpoint = None

    def _taken(self, message: wire.ToCoreFromSync) -> str:
        answer = self._ask(message)
        if not isinstance(answer, wire.Taken):
            self.close()
            raise WireError("the core answered an acknowledgement with something else")
        return answer.error

    def _ask(self, message: wire.ToCoreFromSync) -> wire.ToSyncFromCore:
        try:
            if self._endpoint is None:
                self._endpoint = wire.connect(self._path, wire.ToSyncFromCore)
            self._endpoint.send(message)
            answer = self._endpoint.receive(ANSWER_TIMEOUT_S)
        except WireError:
            self.close()
            raise
        if answer is None:
            self.close()  # its answer, if it ever comes, must not be taken for the next one
            raise WireError(f"the core did not answer within {ANSWER_TIMEOUT_S:g} s")
        return answer
