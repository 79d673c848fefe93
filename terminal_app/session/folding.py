"""What every fact's step needs to make a new state of an old one. PURE."""

from typing import Any

import msgspec

from terminal_app.session.facts import LimitSet, Mark
from terminal_app.session.state import Limits, Session, State, amended_live, with_item
from terminal_app.values import MeterValue

replace = msgspec.structs.replace


def session_of(state: State, session_id: str) -> Session | None:
    return next((one for one in state.sessions.values() if one.session_id == session_id), None)


def with_session(state: State, session: Session, **changes: Any) -> State:
    return replace(state, sessions=with_item(state.sessions, session.connector, replace(session, **changes)))


def with_settlement(state: State, hold_id: str, **changes: Any) -> State:
    return replace(state, settlements=with_item(state.settlements, hold_id, replace(state.settlements[hold_id], **changes)))


def with_register(state: State, connector: int, value: MeterValue) -> State:
    """Two agreeing readings of a meter that can be told from another one."""
    return replace(state, registers=with_item(state.registers, connector, value)) if value.serial else state


def marks_from(session: Session, start: MeterValue, stop: MeterValue) -> tuple[Mark, ...]:
    """The marks of a session whose first and last register are `start` and `stop`: as the meter signed them, not as we read it."""
    assert session.start is not None
    moved_wh = start.energy_wh - session.start.energy_wh
    return tuple(
        replace(one, energy_wh=min(max(one.energy_wh + moved_wh, start.energy_wh), stop.energy_wh)) for one in session.marks
    )


def with_limits(state: State, connector: int, **changes: Any) -> State:
    return replace(state, limits=with_item(state.limits, connector, replace(state.limits.get(connector, Limits()), **changes)))


def limited(state: State, fact: LimitSet) -> State:
    """The state with a limit as the fact says it; times and what is in force are its caller's."""
    if fact.source == "grid":
        before = state.limits.get(fact.connector, Limits())
        share = fact.limit_a or 0
        return with_limits(state, fact.connector, grid_a=share, counted_a=max(before.counted_a, share))
    return with_limits(state, fact.connector, ordered_a=fact.limit_a, ordered_by=fact.source)


def fresh_live(state: State, connector: int) -> State:
    """Session counters back to zero; telemetry stays."""
    return amended_live(
        state,
        connector,
        charging_ms=0,
        parking_ms=0,
        counted_mono_ms=0,
        asked_read="",
        stale_read=False,
        read_failures=0,
        read_again_mono_ms=0,
        car_idle_since_mono_ms=0,
        checkout_url="",
        checkout_ends="",
        checkout_ends_mono_ms=0,
        granted=False,
        grant_since_mono_ms=0,
        stopping_since_mono_ms=0,
        ocmf_payload=b"",
        start_read=None,
        asked_end=False,
        end_failures=0,
        still_wms=0,
        freeze_patience_ms=0,
    )
