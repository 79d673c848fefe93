"""Carries records and facts to the office and the office's countersigned acknowledgement back. Verifies nothing itself.

One turn: ask the core for what is not acknowledged, post it, hand the signed answer to the core. Sync keeps nothing, so
it may die anywhere: the core offers the same bytes again until an acknowledgement it verified covers them.
"""

import logging
import random
import uuid
from datetime import UTC, datetime

import msgspec

from terminal_app import wire
from terminal_app.errors import WireError
from terminal_app.http_client import HttpAnswer, HttpClient, HttpTrouble
from terminal_app.sync.backoff import Backoff, retry_after
from terminal_app.sync.core_link import CoreLink

log = logging.getLogger(__name__)

MAX_RECORDS = 50
MAX_FACTS = 200
HEARTBEAT_S = 60.0
CORE_RETRY_CAP_S = 10.0
MAX_ANSWER = 64 * 1024


class Posted(msgspec.Struct, frozen=True):
    """What the office answers: a compact JWS over what it has stored. Opaque to sync."""

    ack: str


class Push:
    """The loop body. One thread; `turn` blocks at most about `deadline_s` plus two answers of the core."""

    def __init__(
        self,
        core: CoreLink,
        client: HttpClient,
        *,
        office_url: str,
        token: str,
        deadline_s: float,
        every_s: float,
        chance: random.Random,
    ) -> None:
        self._core, self._client, self._token = core, client, token
        self._url, self._deadline_s, self._every_s = office_url.rstrip("/"), deadline_s, every_s
        self._office_backoff = Backoff(chance)
        self._core_backoff = Backoff(chance, base_s=0.5, cap_s=CORE_RETRY_CAP_S)
        self._size = MAX_RECORDS
        self._posted_at: float | None = None
        self._told: str | None = None
        self._offered: tuple[tuple[str, int] | None, tuple[str, int] | None] = (None, None)

    def turn(self, now_s: float) -> float:
        """One question to the core and at most one post. `now_s` is monotonic. Returns the seconds to wait now."""
        try:
            batch = self._core.next_batch(self._size, MAX_FACTS * self._size // MAX_RECORDS or 1)
            idle = not batch.records and not batch.facts and not self._heartbeat_due(now_s)
            wait_s = self._every_s if idle else self._carry(batch, now_s)
            self._core_backoff.succeeded()
            return wait_s
        except WireError as error:
            self._told = None  # a new core does not know of any trouble
            self._size = max(1, self._size // 2)  # what it could not send at once may pass in parts
            wait_s = self._core_backoff.failed()
            log.warning("core: %s; again in %.1f s", error, wait_s)
            return wait_s

    def _carry(self, batch: wire.Batch, now_s: float) -> float:
        try:
            answer = self._client.call(
                "POST",
                f"{self._url}/v1/terminals/{batch.terminal}/batches",
                deadline_s=self._deadline_s,
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                    "X-Request-ID": str(uuid.uuid4()),
                },
                body=body_of(batch),
                gzip_body=True,
            )
        except HttpTrouble as trouble:
            return self._failed(f"the office gave no answer: {trouble}")
        if answer.status in (400, 413):  # in parts: what is before the offending one gets through
            self._size = max(1, self._size // 2)
        if answer.status != 200:
            floor_s = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
            return self._failed(f"the office answered {answer.status}: {_words(answer)}", floor_s)
        try:
            posted = msgspec.json.decode(answer.body, type=Posted)
        except (msgspec.MsgspecError, RecursionError):
            return self._failed("the office answered 200 without an acknowledgement")
        if refusal := self._core.acknowledge(posted.ack):
            return self._failed(f"the office's acknowledgement is not believed: {refusal}")
        return self._carried(batch, now_s)

    def _carried(self, batch: wire.Batch, now_s: float) -> float:
        """The core believed the acknowledgement. If it covers nothing new, sending the same again at once helps nobody."""
        offered = (
            (batch.chain_id, batch.records_after) if batch.records else None,
            (batch.chain_id, batch.facts_after) if batch.facts else None,
        )
        stuck = any(new is not None and new == old for new, old in zip(offered, self._offered, strict=True))
        self._offered = offered
        self._posted_at = now_s
        if stuck:
            return self._failed("the office acknowledges less than was sent")
        self._office_backoff.succeeded()
        full = len(batch.records) >= self._size or len(batch.facts) >= MAX_FACTS * self._size // MAX_RECORDS
        self._size = min(MAX_RECORDS, self._size * 2)
        self._tell("")
        return 0.0 if full else self._every_s

    def _failed(self, trouble: str, retry_after_s: float = 0.0) -> float:
        wait_s = self._office_backoff.failed(retry_after_s)
        log.warning("%s; again in %.1f s", trouble, wait_s)
        self._tell(trouble)
        return wait_s

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._core.tell_trouble(trouble)
            self._told = trouble

    def _heartbeat_due(self, now_s: float) -> bool:
        return self._posted_at is None or now_s - self._posted_at >= HEARTBEAT_S


def body_of(batch: wire.Batch) -> bytes:
    """The JSON of one post, version 1. The same batch gives the same bytes."""
    return msgspec.json.encode(
        {
            "v": 1,
            "terminal": batch.terminal,
            "chain_id": batch.chain_id,
            "head_seq": batch.head_seq,
            "head_sha256": batch.head_sha256,
            "records_after": batch.records_after,
            "facts_after": batch.facts_after,
            "facts_through": batch.facts_through,
            "records": batch.records,
            "facts": batch.facts,
        }
    )


def _words(answer: HttpAnswer) -> str:
    """The first printable words of an error body; nothing of it is trusted further."""
    return "".join(c if c.isprintable() else " " for c in answer.body[:200].decode("utf-8", "replace")).strip() or "no reason"
