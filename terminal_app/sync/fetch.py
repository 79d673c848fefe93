"""Brings the office's signed commands to the core, byte for byte. Verifies nothing itself and keeps nothing.

One turn: ask the core which number it has, wait at the office for what is newer, hand that over in order. It runs on a thread
of its own, so that neither a waiting office nor a slow order delays what is pushed.
"""

import logging
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from terminal_app.errors import WireError
from terminal_app.http_client import HttpClient, HttpTrouble
from terminal_app.sync.backoff import Backoff, retry_after
from terminal_app.sync.core_link import CoreLink

log = logging.getLogger(__name__)

WAIT_S = 20
MAX_COMMANDS = 50
MAX_ANSWER = 1024 * 1024
CORE_RETRY_CAP_S = 10.0


class Fetched(msgspec.Struct, frozen=True):
    """What the office answers: compact JWSs, oldest first. Opaque to sync."""

    commands: Annotated[tuple[str, ...], Meta(max_length=MAX_COMMANDS)]


class Fetch:
    """The loop body. One thread; `turn` blocks at most about WAIT_S + `deadline_s` plus an answer of the core per command.
    `arrived` is called after commands were handed over: their outcome is worth a push at once."""

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
        arrived: Callable[[], None],
    ) -> None:
        self._core, self._client, self._token = core, client, token
        self._url, self._deadline_s, self._every_s = office_url.rstrip("/"), deadline_s, every_s
        self._office_backoff = Backoff(chance)
        self._core_backoff = Backoff(chance, base_s=0.5, cap_s=CORE_RETRY_CAP_S)
        self._arrived = arrived

    def turn(self, now_s: Callable[[], float]) -> float:
        """One wait at the office and what came of it. `now_s` is monotonic. Returns the seconds to pause now."""
        try:
            wait_s = self._carry(now_s)
            self._core_backoff.succeeded()
            return wait_s
        except WireError as error:
            wait_s = self._core_backoff.failed()
            log.warning("commands: core: %s; again in %.1f s", error, wait_s)
            return wait_s

    def _carry(self, now_s: Callable[[], float]) -> float:
        known, began_s = self._core.commands_after(), now_s()
        try:
            answer = self._client.call(
                "GET",
                f"{self._url}/v1/terminals/{known.terminal}/commands?after={known.number}&wait_s={WAIT_S}",
                deadline_s=WAIT_S + self._deadline_s,
                headers={"Authorization": f"Bearer {self._token}", "X-Request-ID": str(uuid.uuid4())},
            )
        except HttpTrouble as trouble:
            return self._failed(f"the office gave no answer: {trouble}")
        if answer.status != 200:
            floor_s = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
            return self._failed(f"the office answered {answer.status}", floor_s)
        try:
            fetched = msgspec.json.decode(answer.body, type=Fetched)
        except (msgspec.MsgspecError, RecursionError):
            return self._failed("the office answered 200 without a list of commands")
        taken = self._handed_over(fetched.commands)
        if fetched.commands and not taken:
            return self._failed(f"the core believed none of {len(fetched.commands)} commands")
        self._office_backoff.succeeded()
        waited = taken or now_s() - began_s >= WAIT_S / 2
        return 0.0 if waited else self._every_s  # an office that will not let us wait is not asked in a hurry

    def _handed_over(self, commands: tuple[str, ...]) -> int:
        """How many the core took. One that it does not believe keeps no later one from getting through."""
        taken = 0
        for jws in commands:
            if refusal := self._core.deliver(jws):
                log.warning("commands: %s", refusal)
            else:
                taken += 1
        if taken:
            self._arrived()
        return taken

    def _failed(self, trouble: str, retry_after_s: float = 0.0) -> float:
        wait_s = self._office_backoff.failed(retry_after_s)
        log.warning("commands: %s; again in %.1f s", trouble, wait_s)
        return wait_s
