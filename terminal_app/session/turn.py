"""One turn in the making: collects facts, notes and actions, and folds them so that later rules see earlier decisions. PURE.

The engine commits `facts`, then adopts `state` and hands out `actions`; if the commit fails nothing of the turn happened.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from terminal_app.errors import ImpossibleEvent
from terminal_app.session.actions import Action
from terminal_app.session.events import Event
from terminal_app.session.evolve import evolve
from terminal_app.session.facts import Fact
from terminal_app.session.state import Finished, Kiosk, Limits, Live, Session, Settlement, State, Terms, amended_live, with_item

MAX_FOLLOW_ONS = 64


class Turn:
    """Used by one call of `machine.decide` and thrown away."""

    def __init__(self, state: State, terms: Terms) -> None:
        self.state = msgspec.structs.replace(state, now=terms.now)
        self.terms = terms
        self.facts: list[Fact] = []
        self.actions: list[Action] = []
        self.sealed_jws = ""  # the record that goes with a Sealed fact; stored in the same commit
        self.follow_ons: deque[Event] = deque()

    def commit(self, fact: Fact) -> None:
        """Decide something durable."""
        self.facts.append(fact)
        self.state = evolve(self.state, fact, self.terms.now)

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def then(self, event: Event) -> None:
        """Let another machine react within the same turn and commit."""
        assert len(self.follow_ons) < MAX_FOLLOW_ONS
        self.follow_ons.append(event)

    def receipt_number(self) -> str:
        """The next number of the device's own gapless series; a fact that carries it must be committed in this turn."""
        number = self.state.chain.next_receipt
        return f"{self.terms.config.terminal.id}-{self.terms.chain_id[:4]}-{number:06d}"

    # notes: volatile changes, never stored

    def note_kiosk(self, **changes: object) -> None:
        kiosk: Kiosk = msgspec.structs.replace(self.state.kiosk, **changes)
        self.state = msgspec.structs.replace(self.state, kiosk=kiosk)

    def note_limits(self, connector: int, **changes: object) -> None:
        limits: Limits = msgspec.structs.replace(self.state.limits.get(connector, Limits()), **changes)
        self.state = msgspec.structs.replace(self.state, limits=with_item(self.state.limits, connector, limits))

    def note_live(self, connector: int, **changes: object) -> None:
        self.state = amended_live(self.state, connector, **changes)

    def note_session(self, connector: int, **changes: object) -> None:
        session: Session = msgspec.structs.replace(self.state.sessions[connector], **changes)
        self.state = msgspec.structs.replace(self.state, sessions=with_item(self.state.sessions, connector, session))

    def note_settlement(self, hold_id: str, **changes: object) -> None:
        one: Settlement = msgspec.structs.replace(self.state.settlements[hold_id], **changes)
        self.state = msgspec.structs.replace(self.state, settlements=with_item(self.state.settlements, hold_id, one))

    def note_finished(self, connector: int, **changes: object) -> None:
        one: Finished = msgspec.structs.replace(self.state.finished[connector], **changes)
        self.state = msgspec.structs.replace(self.state, finished=with_item(self.state.finished, connector, one))

    def note_seal(self, **changes: object) -> None:
        assert self.state.seal is not None
        self.state = msgspec.structs.replace(self.state, seal=msgspec.structs.replace(self.state.seal, **changes))

    def live(self, connector: int) -> Live:
        return self.state.live[connector]


Step = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Ignored:
    """The event means nothing in this state, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Impossible:
    """The event cannot happen in this state, and why; if it does, the defect is ours."""

    reason: str


def apply_rule(rule: "Callable[..., None] | Ignored | Impossible", where: str, turn: Turn, *arguments: object) -> None:
    """Run a table entry. ImpossibleEvent names state, event and the reason it was held impossible."""
    if isinstance(rule, Ignored):
        return
    if isinstance(rule, Impossible):
        raise ImpossibleEvent(f"{where}: {rule.reason}")
    rule(turn, *arguments)
