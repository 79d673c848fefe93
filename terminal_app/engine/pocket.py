"""The pocket of balance slices for the gateways and the worker that looks after it: asked on their threads, decided and
committed on the engine's.

The engine waits for nobody (its inbox takes every job, workers' queues are filled without waiting), so whoever waits here is
answered or, after `wait_s`, told that the engine is busy; the same call again is safe.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from terminal_app.billing.balance_slice import BalanceSlice
from terminal_app.config import AccountSection, Config
from terminal_app.engine.engine import Engine
from terminal_app.session import pocket
from terminal_app.session.facts import (
    AuthorizationIntended,
    SliceKept,
    SliceRefused,
    SliceReturned,
    SliceReturning,
    SliceSettled,
    SliceTaken,
)
from terminal_app.session.pocket import Chore, Taken
from terminal_app.values import ClockState

WAIT_S = 5.0
T = TypeVar("T")
Ask = Callable[[Callable[[], object], float], object]
"""(question, timeout_s) -> its answer from the engine's thread. TimeoutError, LedgerBroken."""


class LedgerPocket:
    """payments.offline.SlicePocket of one gateway. Any thread but the engine's."""

    def __init__(self, engine: Engine, gateway: str, ask: Ask | None = None) -> None:
        self._engine, self._gateway, self._ask = engine, gateway, ask or engine.ask

    def put(self, key: str, slice_: BalanceSlice, jws: str, wait_s: float) -> None:
        def act() -> None:
            asked = self._engine.state.slices.asked.get(key)
            if asked is not None and asked.gateway == self._gateway:
                self._engine.commit_outside_a_turn(SliceKept(key, self._gateway, slice_, jws))

        self._ask(act, wait_s)

    def take(self, hold_key: str, card: str, currency: str, amount_minor: int, wait_s: float) -> Taken | None:
        def act() -> Taken | None:
            state, now = self._engine.state, self._engine.terms().now
            if known := state.slices.reserves.get(hold_key):
                return known
            if now.clock is ClockState.UNKNOWN:
                return None  # nobody can tell whether a slice is still ours
            found = pocket.best(state.slices, state.deny, self._gateway, card, currency, amount_minor, now.utc_ms)
            if found is not None:
                self._engine.commit_outside_a_turn(SliceTaken(hold_key, found.slice_id, found.amount_minor))
            return found

        return cast("Taken | None", self._ask(act, wait_s))

    def settle(self, hold_key: str, spent_minor: int, wait_s: float) -> None:
        def act() -> None:
            known = self._engine.state.slices.reserves.get(hold_key)
            if known is None or known.amount_minor == spent_minor:
                return
            assert spent_minor <= known.amount_minor, (spent_minor, known.amount_minor)
            self._engine.commit_outside_a_turn(SliceSettled(hold_key, spent_minor))

        self._ask(act, wait_s)

    def card(self, hold_key: str) -> str:
        """Of a charge that runs, or of one whose end a person lets be tried again: the ledger knows, and it stays here."""
        found = (one.card.token for one in self._engine.state.settlements.values() if one.hold.key == hold_key)
        if token := next((one for one in found if one), ""):
            return token
        for entry in self._engine.ledger.about(hold_key, ("authorization_intended",)):
            fact = entry.fact
            if isinstance(fact, AuthorizationIntended) and fact.hold.key == hold_key:
                return fact.card.token
        return ""


class PocketCare:
    """What workers.slices.Pocket needs: the chores that are due, and their ends as facts. Any thread but the engine's."""

    def __init__(self, engine: Engine, ask: Ask | None = None) -> None:
        self._engine, self._ask = engine, ask or engine.ask
        self._on = slice_gateways(engine.standing.config)

    def chores(self) -> list[Chore]:
        state = self._engine.state
        return pocket.chores(state.slices, state.deny, self._on, self._engine.terms().now.utc_ms)

    def refused(self, key: str, why: str) -> None:
        """The question under `key` will not be answered with a slice."""

        def act() -> None:
            if key in self._engine.state.slices.asked:
                self._engine.commit_outside_a_turn(SliceRefused(key, why[:200]))

        self._ask(act, WAIT_S)

    def returning(self, slice_id: str) -> bool:
        """Close the slice for payments before the office is told. False if it is needed after all."""

        def act() -> bool:
            state, now = self._engine.state, self._engine.terms().now
            one = state.slices.kept.get(slice_id)
            if one is None or one.returning:
                return one is not None
            if not pocket.may_return(state.slices, state.deny, self._on, slice_id, now.utc_ms):
                return False
            self._engine.commit_outside_a_turn(SliceReturning(slice_id))
            return True

        return bool(self._ask(act, WAIT_S))

    def returned(self, slice_id: str) -> None:
        """The office has it, or reclaims it by itself."""

        def act() -> None:
            if slice_id in self._engine.state.slices.kept:
                self._engine.commit_outside_a_turn(SliceReturned(slice_id))

        self._ask(act, WAIT_S)


def slice_gateways(settings: Config) -> Mapping[str, AccountSection]:
    """The gateways whose cards may have slices here."""
    accounts = {name: one for name, one in settings.gateway.items() if isinstance(one, AccountSection)}
    return {name: one for name, one in accounts.items() if one.slice_minor}
