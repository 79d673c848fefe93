"""A core with a planted defect, to prove that the crash walk would find it: orders go out before the commit."""

import sys
import time

from terminal_app.engine.engine import Engine
from terminal_app.run import core
from terminal_app.session import events, machine


def turn(self: Engine, event: events.Event) -> None:
    terms = self.terms()
    decided = machine.decide(self.state, event, terms)
    self.state = decided.state
    self._hand_out(terms, decided.actions)
    if decided.facts:
        if decided.actions:
            time.sleep(1)  # what was handed out is on its way
        self._commit(decided.facts, terms.now, decided.sealed_jws)
    self.turns += 1
    self.present(force=isinstance(event, events.Ticked))


if __name__ == "__main__":
    Engine.turn = turn  # type: ignore[method-assign]
    sys.exit(core.main())
