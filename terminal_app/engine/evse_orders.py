"""Orders about charge controllers, from the control socket and the office: (engine, arguments, actor) -> plain JSON. Any thread.

What is refused raises ValueError with one sentence and commits nothing. What is accepted is first a ServiceAct in the ledger
(who, what, why), then a turn of the rules in the same job of the engine. Moves no money.
"""

from typing import Any

from terminal_app.engine.arguments import Arguments, reason_of, whole
from terminal_app.engine.engine import Engine
from terminal_app.session import events, limits, technician
from terminal_app.session.facts import ServiceAct, StopReason

OFFICE = "office: "
MOST_A = 1000


def evse_test(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Charge for `seconds` on a connector as a marked test; answers with the session."""
    event = events.TestCommanded(
        connector=whole(arguments, "connector"),
        seconds=whole(arguments, "seconds"),
        limit_a=whole(arguments, "limit_a") if arguments.get("limit_a") is not None else 0,
        actor=actor,
        why=reason_of(arguments),
    )

    def order() -> str:
        if why := technician.refusal(engine.state, engine.terms(), event):
            raise ValueError(f"{why}; no test was begun")
        said = f"{event.seconds} s" + (f", {event.limit_a} A at most" if event.limit_a else "")
        engine.commit_outside_a_turn(ServiceAct(actor, "evse.test", str(event.connector), f"{said}: {event.why}"))
        engine.turn(event)
        session = engine.state.sessions.get(event.connector)
        if session is None or not session.test:
            raise ValueError(f"connector {event.connector} was taken in that very moment; no test was begun")
        return session.session_id

    return {"connector": event.connector, "session": engine.ask(order), "seconds": event.seconds}


def evse_test_stop(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """End the test on a connector now; a driver's charge is never ended by this."""
    connector, reason = whole(arguments, "connector"), reason_of(arguments)

    def order() -> str:
        session = engine.state.sessions.get(connector)
        if session is None or not session.test:
            raise ValueError(f"connector {connector} has no test; nothing was ordered")
        engine.commit_outside_a_turn(ServiceAct(actor, "evse.test.stop", str(connector), reason))
        engine.turn(events.StopCommanded(connector, StopReason.TEST_ENDED, actor, reason))
        return session.session_id

    return {"connector": connector, "session": engine.ask(order), "ordered": True}


def evse_limit(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Limit the current of a connector to `limit_a`; without it the limit is lifted. Below 6 A (a relay: its own current) its
    charge pauses. Answers with what is in force then (A; 0 = paused)."""
    limit_a = None if arguments.get("limit_a") is None else whole(arguments, "limit_a")
    if limit_a is not None and not 0 <= limit_a <= MOST_A:
        raise ValueError(f"limit_a must be 0 to {MOST_A} A")
    source = "office" if actor.startswith(OFFICE) else "service"
    event = events.LimitOrdered(whole(arguments, "connector"), limit_a, source, actor, reason_of(arguments))

    def order() -> int:
        if why := limits.refusal(engine.state, event):
            raise ValueError(why)
        said = "off" if limit_a is None else f"{limit_a} A"
        engine.commit_outside_a_turn(ServiceAct(actor, "evse.limit", str(event.connector), f"{said}: {event.reason}"))
        engine.turn(event)
        return limits.allowed_a(engine.state, engine.standing.config, event.connector)

    return {"connector": event.connector, "limit_a": limit_a, "in_force_a": engine.ask(order)}
