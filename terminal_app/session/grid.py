"""One supply for several connectors: who may draw how many amperes, so that all together never draw more than `[grid] limit_a`
per phase. PURE.

`shares` is the arithmetic: everybody who charges gets `min_a` in order (priority, then who came first), as long as it lasts; the
rest is given in equal parts, or in order with split = "priority". Who gets less than the least pauses until somebody leaves;
nobody takes turns. `balance` is the way there: whoever shall have less is lowered at once, and what that sets free is given away
only after the controller was heard with the lower figure. A controller that is silent counts with what it was last allowed, and
with what it does by itself after a power-up if that is more, until it is heard again.

Every phase is reckoned as if each car drew on all of them; a live site meter is not part of this.
"""

from collections.abc import Sequence
from typing import NamedTuple

from terminal_app.config import Config, ConnectorSection, GridSection, power_up_a
from terminal_app.session import limits
from terminal_app.session.state import Limits, Phase, State
from terminal_app.session.turn import Turn
from terminal_app.values import EvseStatus

LOST_MS = 5_000  # a controller is asked twice a second
IDLE_MS = 120_000  # a car that wants nothing for so long keeps the least only
RAISE_AFTER_MS = 10_000  # what was lowered stays so for a while: a controller that comes and goes must not make all others swing
NOTHING = Limits()


class Claim(NamedTuple):
    """A connector that shall charge, A. `order`: the smaller one is served first."""

    connector: int
    least_a: int
    most_a: int
    order: tuple[int, int, int]


def shares(budget_a: int, claims: Sequence[Claim], split: str) -> dict[int, int]:
    """Amperes per connector, 0 or between least and most; their sum is at most the budget."""
    given: dict[int, int] = {}
    left_a = max(0, budget_a)
    served = []
    for claim in sorted(claims, key=lambda one: one.order):
        enough = claim.least_a <= left_a
        given[claim.connector] = claim.least_a if enough else 0
        if enough:
            left_a -= claim.least_a
            served.append(claim)
    if split == "priority":
        for claim in served:
            more_a = min(left_a, claim.most_a - claim.least_a)
            given[claim.connector] += more_a
            left_a -= more_a
        return given
    while hungry := [one for one in served if given[one.connector] < one.most_a]:
        poorest_a = min(given[one.connector] for one in hungry)
        for claim in hungry:
            if left_a and given[claim.connector] == poorest_a:
                given[claim.connector] += 1
                left_a -= 1
        if not left_a:
            break
    return given


def heard(turn: Turn, connector: int, status: EvseStatus) -> None:
    """What a controller says after its last change is what the site reckons with."""
    known = turn.state.limits.get(connector, NOTHING)
    if turn.terms.config.grid is None or status.stamp.mono_ms <= known.since_mono_ms:
        return
    counted_a = max(known.grid_a, _said_a(turn.terms.config, connector, status))
    if counted_a != known.counted_a:
        turn.note_limits(connector, counted_a=counted_a)


def _said_a(config: Config, connector: int, status: EvseStatus) -> int:
    if status.authorized:
        return status.limit_a
    return limits.max_a(config, connector) if status.relay else 0  # closed against our will: nobody limits it


def balance(turn: Turn) -> None:
    """Bring the connectors' shares nearer to what they shall be."""
    section = turn.terms.config.grid
    if section is None:
        return
    _give_back(turn)
    claims, reserved_a = _claims(turn, section)
    wanted = shares(section.limit_a - reserved_a, claims, section.split)
    reason = f"{len(claims)} of {len(turn.terms.config.connector)} charge, {section.limit_a - reserved_a} A for them"
    for claim in claims:
        if wanted[claim.connector] < _share_a(turn, claim.connector):
            limits.commit(turn, claim.connector, wanted[claim.connector], limits.GRID, reason)
    for claim in sorted(claims, key=lambda one: one.order):
        target_a, known = wanted[claim.connector], turn.state.limits.get(claim.connector, NOTHING)
        others_a = reserved_a + sum(_counted_a(turn, one.connector) for one in claims if one is not claim)
        fits = target_a > known.grid_a and target_a <= section.limit_a - others_a
        if fits and turn.terms.now.mono_ms - known.lowered_mono_ms >= (RAISE_AFTER_MS if known.lowered_mono_ms else 0):
            limits.commit(turn, claim.connector, target_a, limits.GRID, reason)
        elif known.grid_a == 0 and known.in_force_a is None:  # told once: this charge begins with a pause
            limits.commit(turn, claim.connector, 0, limits.GRID, reason)


def _give_back(turn: Turn) -> None:
    """A charge that people have paused needs no share; its controller is heard before anybody else gets it."""
    for one in turn.state.sessions.values():
        paused = not limits.allowed_a(turn.state, turn.terms.config, one.connector)
        if one.phase is Phase.CHARGING and paused and _share_a(turn, one.connector):
            limits.commit(turn, one.connector, 0, limits.GRID, "paused by order")


def _claims(turn: Turn, section: GridSection) -> tuple[list[Claim], int]:
    """Who shall charge and can be told so, and what all others may draw, A."""
    claims, reserved_a = list[Claim](), 0
    for one in turn.terms.config.connector:
        lost = _lost(turn, one.number)
        if not lost and (claim := _claim(turn, section, one)):
            claims.append(claim)
        else:
            reserved_a += max(_counted_a(turn, one.number), power_up_a(turn.terms.config, one) if lost else 0)
    return claims, reserved_a


def _claim(turn: Turn, section: GridSection, one: ConnectorSection) -> Claim | None:
    session, config = turn.state.sessions.get(one.number), turn.terms.config
    most_a = limits.allowed_a(turn.state, config, one.number)
    if session is None or session.started is None or session.phase is not Phase.CHARGING or not most_a:
        return None
    least_a = max(section.min_a, limits.least_a(config, one.number))
    live, now = turn.live(one.number), turn.terms.now.mono_ms
    idle = live.granted and live.car_idle_since_mono_ms and now - live.car_idle_since_mono_ms > IDLE_MS
    started_ms = session.started.mono_ms
    return Claim(one.number, least_a, least_a if idle else max(least_a, most_a), (-one.priority, started_ms, one.number))


def _lost(turn: Turn, connector: int) -> bool:
    evse = turn.live(connector).evse
    return evse is None or turn.terms.now.mono_ms - evse.stamp.mono_ms > LOST_MS


def _share_a(turn: Turn, connector: int) -> int:
    return turn.state.limits.get(connector, NOTHING).grid_a


def _counted_a(turn: Turn, connector: int) -> int:
    known = turn.state.limits.get(connector, NOTHING)
    return max(known.counted_a, known.grid_a)


def drawn_most_a(state: State) -> int:
    """What all connectors together may draw at this moment as far as anybody knows, A."""
    return sum(max(one.counted_a, one.grid_a) for one in state.limits.values())
