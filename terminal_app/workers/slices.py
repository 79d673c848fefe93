"""Slice worker: asks the office for balance slices and gives them back, in the background, one thing at a time.

What is to be done is read from committed facts, so a crash forgets nothing: a question goes out again under its key, a slice
that was closed for payments is given back again. A driver never waits for this thread.
"""

import time
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from terminal_app.session.pocket import Chore
from terminal_app.values import Approved, Declined, Outcome
from terminal_app.workers.base import Post, Worker

DEADLINE_S = 20.0
PACE_S = 2.0
FIRST_PAUSE_S = 15.0
LONGEST_PAUSE_S = 3600.0


@runtime_checkable
class Keeper(Protocol):
    """Second Protocol: a gateway whose office grants slices. Never raises for the network."""

    def fetch_slice(self, key: str, card: str, amount_minor: int, currency: str, days: int, deadline_s: float) -> Outcome: ...
    def return_slice(self, slice_id: str, deadline_s: float) -> bool: ...


class Pocket(Protocol):
    """See engine.pocket.PocketCare. TimeoutError if the engine is busy: then later."""

    def chores(self) -> list[Chore]: ...
    def refused(self, key: str, why: str) -> None: ...
    def returning(self, slice_id: str) -> bool: ...
    def returned(self, slice_id: str) -> None: ...


class SliceWorker(Worker):
    """One request every PACE_S at most; what was not answered is tried again after a doubled pause, up to an hour."""

    longest_step_s = 60.0

    def __init__(self, keepers: Mapping[str, Keeper], pocket: Pocket, inbox: Post, pace_s: float = PACE_S) -> None:
        super().__init__("slices", inbox)
        self._keepers, self._pocket, self._pace_s = keepers, pocket, pace_s
        self._pauses: dict[str, tuple[int, float]] = {}  # tries, and when the next one is due

    def step(self) -> None:
        chores = self._pocket.chores()
        self._pauses = {one.key: self._pauses[one.key] for one in chores if one.key in self._pauses}
        if due := [one for one in chores if self._due(one)]:
            self._try(due[0])
        self._stopping.wait(self._pace_s)

    def _due(self, chore: Chore) -> bool:
        known = chore.over or chore.gateway in self._keepers
        return known and time.monotonic() >= self._pauses.get(chore.key, (0, 0.0))[1]

    def _try(self, chore: Chore) -> None:
        tries = self._pauses.get(chore.key, (0, 0.0))[0] + 1
        pause_s = min(FIRST_PAUSE_S * 2 ** min(tries - 1, 20), LONGEST_PAUSE_S)
        self._pauses[chore.key] = tries, time.monotonic() + pause_s
        try:
            if chore.fetch is None:
                self._give_back(chore)
            else:
                self._fetch(chore)
        except TimeoutError:
            return  # the engine is busy; nothing is lost

    def _fetch(self, chore: Chore) -> None:
        asked = chore.fetch
        assert asked is not None
        if chore.over:
            self._pocket.refused(chore.key, "too late or not wanted any more")
            return
        keeper = self._keepers[chore.gateway]
        match keeper.fetch_slice(asked.key, asked.card, asked.amount_minor, asked.currency, asked.days, DEADLINE_S):
            case Declined(reason=reason, code=code):
                self._pocket.refused(chore.key, f"{reason.value} ({code})")
            case Approved():
                self._pauses.pop(chore.key, None)
            case _:
                pass  # nobody knows: asked again under the same key

    def _give_back(self, chore: Chore) -> None:
        if not self._pocket.returning(chore.slice_id):
            return
        keeper = self._keepers.get(chore.gateway)
        told = keeper is not None and keeper.return_slice(chore.slice_id, DEADLINE_S)
        if told or chore.over:  # over: asked one last time, the office reclaims it by itself
            self._pocket.returned(chore.slice_id)
