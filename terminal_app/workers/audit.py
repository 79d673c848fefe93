"""Audit worker: once a day the whole ledger is read and checked again, slowly, beside everything else."""

import time
from collections.abc import Callable, Iterator

from terminal_app.errors import LedgerBroken
from terminal_app.session.events import FaultSeen
from terminal_app.values import Device, Fault
from terminal_app.workers.base import Post, Worker

FIRST_S = 3600.0
EVERY_S = 86_400.0
PAUSE_S = 0.05  # after each page, so that a slow machine serves drivers first
IDLE_S = 0.5


class AuditWorker(Worker):
    """`audit` reads a page between two yields and raises LedgerBroken: then nothing is sold until a person has looked."""

    def __init__(self, audit: Callable[[], Iterator[None]], inbox: Post, first_s: float = FIRST_S) -> None:
        super().__init__("audit", inbox)
        self._audit = audit
        self._due = time.monotonic() + first_s

    def step(self) -> None:
        if time.monotonic() < self._due:
            time.sleep(IDLE_S)
            return
        try:
            for _ in self._audit():
                if self.stopping:
                    return
                self.last_step = time.monotonic()
                time.sleep(PAUSE_S)
        except LedgerBroken as error:
            self.inbox.post(FaultSeen(Fault(Device.LEDGER, 0, "audit", str(error)[:200]), True))
        self._due = time.monotonic() + EVERY_S
