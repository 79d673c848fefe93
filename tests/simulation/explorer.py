"""Every path of the real rules, breadth first: `machine.decide` and `evolve` in an outside that may do anything it can do, up to
two crashes anywhere. No threads, no ledger: a node is a value, a move makes the next ones (`node.py` says when two are the same).
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.gateways import Gateway
from tests.simulation.node import End, Node, key
from tests.simulation.outside import Move, Outside
from tests.simulation.system import Bounds, Broken


class Explorer:
    """Explores a route (one gateway, or some in order) within bounds; `hooks` are those of `System` for known-bad terminals."""

    def __init__(self, route: tuple[Gateway, ...], bounds: Bounds, check: Callable[[Node, Node], None], **hooks: Any) -> None:
        self.outside, self.bounds, self._check = Outside(route, bounds, **hooks), bounds, check
        self.nodes: dict[Any, tuple[Any, str]] = {}  # key -> key before, move
        self.home: dict[Any, Any] = {}  # key -> key of the quiet next one
        self.ends: set[Any] = set()
        self.outcomes: set[tuple[tuple[str, ...], tuple[End, ...]]] = set()  # declined holds, and how the others ended
        self.edges = 0

    def run(self) -> None:
        """All nodes within the bounds. Broken with the way there; afterwards every node is known to reach an end."""
        first = self.outside.first()
        known = key(first)
        self.nodes[known] = (None, "start")
        waiting = deque([(known, first)])
        while waiting:
            at, node = waiting.popleft()
            if node.over:
                self.ends.add(at)
                self.outcomes.add((node.declined, node.ended))
            for move in self._moves_of(at, node):
                for number, after in enumerate(move.to):
                    self.edges += 1
                    name = f"{move.name}{' [cut off after the commit]' if number else ''}"
                    there = key(after)
                    if there not in self.nodes:
                        self.nodes[there] = (at, name)
                        self._checked(node, after, there)
                        waiting.append((there, after))
                        assert len(self.nodes) <= self.bounds.most_nodes, "the bounds are too wide"
                    if move.quiet and not number and at not in self.home and there != at:
                        self.home[at] = there
        self._all_reach_an_end()

    def _moves_of(self, at: Any, node: Node) -> list[Move]:
        try:
            return list(self.outside.moves(node))
        except Exception as error:
            error.add_note(self.way(at))
            raise

    def _checked(self, before: Node, node: Node, at: Any) -> None:
        try:
            self._check(before, node)
        except Exception as error:
            error.add_note(self.way(at))
            raise

    def way(self, at: Any) -> str:
        """How the search came here."""
        names = []
        while at is not None:
            at, name = self.nodes[at]
            names.append(name)
        return " -> ".join(reversed(names))

    def _all_reach_an_end(self) -> None:
        """From every node, going home quietly ends with every hold ended and sealed (I4)."""
        good = set(self.ends)
        for begin in self.nodes:
            path, at = [], begin
            while at not in good:
                path.append(at)
                good.add(at)  # a circle would come back to a node of this path
                at = self.home.get(at)
                if at is None or at in path:
                    error = Broken("nothing leads from here to an end")
                    error.add_note(self.way(path[-1]))
                    raise error
