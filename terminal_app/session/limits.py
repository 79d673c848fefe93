"""How much current a connector may give: the least of what its installation allows, what people ordered and its share of the
site's supply. Every change is a fact; below the least a car can be told (IEC 61851-1: 6 A) no energy is given at all. PURE.

People have one limit per connector: the newest order counts, whoever gave it, until it is lifted (`None`). It survives restarts and
charges. Only the share of the site (`grid`) belongs to one charge and ends with it.
"""

import msgspec

from terminal_app.config import Config, RelaySection
from terminal_app.session import events
from terminal_app.session import facts as f
from terminal_app.session.folding import limited
from terminal_app.session.state import Limits, Phase, State
from terminal_app.session.turn import Turn

LEAST_A = 6  # IEC 61851-1: the pilot cannot offer less
GRID = "grid"
HANDLED: tuple[type[events.Event], ...] = (events.LimitOrdered,)


def least_a(config: Config, connector: int) -> int:
    """The least current this connector's controller can give, A; a relay gives all or nothing."""
    evse = config.evse[config.outlet(connector).evse]
    return max(LEAST_A, evse.current_a) if isinstance(evse, RelaySection) else LEAST_A


def max_a(config: Config, connector: int) -> int:
    return config.outlet(connector).max_current_a


def allowed_a(state: State, config: Config, connector: int) -> int:
    """What the connector may give if the site has enough for it, A; 0 = withheld by order."""
    limits, session = state.limits.get(connector, Limits()), state.sessions.get(connector)
    allowed = max_a(config, connector)
    if limits.ordered_a is not None:
        allowed = min(allowed, limits.ordered_a)
    if session is not None and session.test_limit_a:
        allowed = min(allowed, session.test_limit_a)
    return allowed if allowed >= least_a(config, connector) else 0


def in_force_a(state: State, config: Config, connector: int) -> int:
    """The current the controller shall allow a charge, A; 0 = the charge is paused, and the charger withholds."""
    allowed = allowed_a(state, config, connector)
    if config.grid is None:
        return allowed
    limited = min(allowed, state.limits.get(connector, Limits()).grid_a)
    return limited if limited >= least_a(config, connector) else 0


def withheld(state: State, config: Config, connector: int) -> bool:
    """A charge that gets no energy because the charger gives none: nobody pays for that time."""
    return in_force_a(state, config, connector) == 0


def decide(turn: Turn, event: events.Event) -> None:
    """People's order; whether it can be was asked before (`refusal`)."""
    assert isinstance(event, events.LimitOrdered)
    commit(turn, event.connector, event.limit_a, event.source, event.reason)


def refusal(state: State, event: events.LimitOrdered) -> str:
    """Why an order cannot be followed, as a sentence; "" if it can."""
    if why := state.no_connector(event.connector):
        return why
    if event.limit_a is None and state.limits.get(event.connector, Limits()).ordered_a is None:
        return f"connector {event.connector} has no limit by order; nothing was lifted"
    return ""


def commit(turn: Turn, connector: int, limit_a: int | None, source: str, reason: str) -> None:
    """Commit a limit, with what is in force after it."""
    session = turn.state.sessions.get(connector)
    charging = session is not None and session.phase is Phase.CHARGING
    fact = f.LimitSet(
        connector=connector,
        limit_a=limit_a,
        source=source,
        reason=reason,
        in_force_a=0,
        session_id=session.session_id if session is not None and charging else "",
    )
    after_a = in_force_a(limited(turn.state, fact), turn.terms.config, connector)
    turn.commit(msgspec.structs.replace(fact, in_force_a=after_a))


def recall(turn: Turn) -> None:
    """A charge that begins under a limit ordered before: its record shall say so."""
    for session in tuple(turn.state.sessions.values()):
        known = turn.state.limits.get(session.connector, Limits())
        if session.phase is Phase.CHARGING and not session.limits and known.ordered_a is not None:
            commit(turn, session.connector, known.ordered_a, known.ordered_by, "ordered before the charge")
