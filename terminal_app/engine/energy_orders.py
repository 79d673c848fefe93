"""Orders of a technician about meter and contactor, and the account of the energy: (engine, arguments, actor) -> plain JSON.

An order is refused with one sentence (ValueError) and commits nothing, or is committed in one piece with who and why.
"""

from collections.abc import Mapping
from typing import Any

from terminal_app.engine.engine import Engine
from terminal_app.session import energy, register
from terminal_app.session.facts import FaultCleared, ServiceAct
from terminal_app.session.state import State
from terminal_app.values import Device

Arguments = Mapping[str, Any]
STILL_MS = 60_000


def meter_accept(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """The meter of a connector, as it answers now, is right: it is the new base, and the connector is for sale again."""
    connector, reason = _connector(engine, arguments), _reason(arguments)

    def order() -> dict[str, Any]:
        now = engine.terms().now
        if why := energy.acceptance_refusal(engine.state, connector, now):
            raise ValueError(f"connector {connector}: {why}")
        engine.commit_outside_a_turn(*energy.acceptance(engine.state, connector, now, actor, reason))
        value = engine.state.energy[connector].began
        return {"connector": connector, "serial": value.serial, "energy_wh": value.energy_wh, "accepted": True}

    return _asked(engine, order)


def evse_accept(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """The weld alarm of a connector is over: its contactor is seen open, its register has stood still for a minute."""
    connector, reason = _connector(engine, arguments), _reason(arguments)

    def order() -> dict[str, Any]:
        if why := energy.clearance_refusal(engine.state, connector, engine.terms().now, STILL_MS):
            raise ValueError(f"connector {connector}: {why}")
        faults = energy.standing(engine.state, connector, Device.EVSE, energy.WELDS)
        act = ServiceAct(actor, "evse.accept", str(connector), reason)
        engine.commit_outside_a_turn(act, *(FaultCleared(one) for one in faults))
        return {"connector": connector, "cleared": [one.kind for one in faults]}

    return _asked(engine, order)


def meter_balance(engine: Engine, arguments: Arguments, actor: str) -> list[dict[str, Any]]:
    """The account of each connector's meter since its last balance, up to its newest good reading."""
    return [_account(engine.state, number) for number in engine.state.live]


def _account(state: State, number: int) -> dict[str, Any]:
    book, live = state.energy.get(number), state.live[number]
    if book is not None and live.trusted is not None and number not in state.sessions:
        book = energy.advanced(book, live.trusted)
    if book is None:
        return {"connector": number, "serial": live.meter.serial if live.meter else "", "began_utc_ms": None}
    return {
        "connector": number,
        "serial": book.last.serial,
        "began_utc_ms": book.began.stamp.utc_ms,
        "from_wh": book.began.energy_wh,
        "to_wh": book.last.energy_wh,
        "risen_wh": register.risen_wh(book.began, book.last, book.wraps_at_wh),
        "sessions_wh": book.sessions_wh,
        "tests_wh": book.tests_wh,
        "unexplained_wh": book.unexplained_wh,
        "charging": number in state.sessions,
    }


def _connector(engine: Engine, arguments: Arguments) -> int:
    connector = int(arguments["connector"])
    if connector not in engine.state.live:
        raise ValueError(f"there is no connector {connector}; this terminal has {', '.join(map(str, engine.state.live))}")
    return connector


def _reason(arguments: Arguments) -> str:
    reason = str(arguments.get("reason", "")).strip()[:200]
    if not reason:
        raise ValueError("an order needs a reason: it stands in the ledger")
    return reason


def _asked(engine: Engine, order: Any) -> dict[str, Any]:
    answer = engine.ask(order)
    assert isinstance(answer, dict)
    return answer
