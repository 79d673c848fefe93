"""Which (machine state, event, fault) triples a campaign has met: told at its end, so that a blind spot can be seen."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from terminal_app.session import charge, events, kiosk, settlement
from terminal_app.session.state import Phase, State
from terminal_app.session.turn import Ignored, Impossible

TABLES: Mapping[str, Mapping[Any, Any]] = {"session": charge.RULES, "settlement": settlement.RULES, "kiosk": kiosk.RULES}
FROM_INSIDE = events.SessionFailed  # from machine to machine within a turn


class Coverage:
    """Counts pairs per machine and the faults they were met under."""

    def __init__(self) -> None:
        self.pairs: Counter[tuple[str, str, str]] = Counter()
        self.triples: set[tuple[str, str, str, str]] = set()
        self.runs = 0

    def note(self, state: State, event: events.Event, faults: Iterable[str]) -> None:
        kind, name = type(event), type(event).__name__
        met = []
        if kind in charge.HANDLED:
            for connector in state.live:
                session = state.sessions.get(connector)
                met.append(("session", (session.phase if session else Phase.NONE).value, name))
        if kind in settlement.HANDLED:
            met += [("settlement", one.phase.value, name) for one in state.settlements.values()]
        if kind in kiosk.HANDLED:
            met.append(("kiosk", state.kiosk.phase.value, name))
        for one in met:
            self.pairs[one] += 1
            self.triples |= {(*one, fault) for fault in faults} or {(*one, "-")}

    def add(self, other: "Coverage") -> None:
        self.pairs += other.pairs
        self.triples |= other.triples
        self.runs += other.runs

    def missing(self, name: str) -> list[str]:
        """Steps of a machine that were not met."""
        return sorted(f"{phase}+{event}" for _, phase, event in _pairs(name, Impossible | Ignored) - set(self.pairs))

    def table(self, name: str) -> str:
        """Every met state and event of a machine, with the faults under which it was met."""
        lines = [f"{name}: state + event: how often; faults"]
        for machine, phase, event in sorted(self.pairs):
            if machine == name:
                faults = sorted({one[3] for one in self.triples if one[:3] == (machine, phase, event)} - {"-"})
                lines.append(f"  {phase} + {event}: {self.pairs[machine, phase, event]}; {', '.join(faults) or '-'}")
        return "\n".join(lines)

    def report(self) -> str:
        """One line per machine: how many of the possible pairs were met, and which were not."""
        lines = [f"simulation: {self.runs} runs, {len(self.triples)} triples of state, event and fault"]
        for name in TABLES:
            possible, steps = _pairs(name, Impossible), _pairs(name, Impossible | Ignored)
            missing = self.missing(name)
            lines.append(
                f"  {name}: {len(possible & set(self.pairs))} of {len(possible)} pairs, "
                f"{len(steps & set(self.pairs))} of {len(steps)} steps" + (f"; not met: {', '.join(missing)}" if missing else "")
            )
        return "\n".join(lines)


def _pairs(name: str, without: Any) -> set[tuple[str, str, str]]:
    """Pairs of a machine's table whose rule is not one of `without`."""
    rules = TABLES[name]
    return {
        (name, phase.value, kind.__name__)
        for (phase, kind), rule in rules.items()
        if kind is not FROM_INSIDE and not isinstance(rule, without)
    }
