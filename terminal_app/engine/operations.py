"""What the control socket can be asked. Each: (engine, arguments, actor) -> plain JSON. Any thread; orders go to the engine's."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from terminal_app.engine.control_link import Operation
from terminal_app.engine.engine import Engine
from terminal_app.session import events, sale
from terminal_app.session.facts import ServiceAct, StopReason
from terminal_app.session.state import State

Arguments = Mapping[str, Any]


def status(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """One look at everything: connectors, faults, money under way, records waiting."""
    state, standing = engine.state, engine.standing
    terms = engine.terms()
    out = sale.out_of_service(state, terms)
    return {
        "terminal": standing.config.terminal.id,
        "mode": standing.config.terminal.mode,
        "software": standing.software,
        "chain_id": engine.ledger.chain_id,
        "out_of_service": out.value if out else "",
        "connectors": [_connector(engine, state, number) for number in state.live],
        "faults": [msgspec.to_builtins(fault) for fault in state.faults.values()],
        "open_holds": len(state.settlements),
        "records": {
            "sealed": state.chain.next_record_seq - 1,
            "acknowledged": state.chain.acknowledged_through,
            "waiting": engine.ledger.waiting(),
        },
        "ledger": {"entries": engine.ledger.head[0], "head": engine.ledger.head[1], "reserve_used": engine.ledger.reserve_used},
        "clock": terms.now.clock.value,
        "screen": None if engine.screen is None else type(engine.screen.view).__name__,
        "screen_no": None if engine.screen is None else engine.screen.screen_no,
    }


def _connector(engine: Engine, state: State, number: int) -> dict[str, Any]:
    live, session = state.live[number], state.sessions.get(number)
    reason = sale.not_for_sale(state, engine.terms(), number)
    return {
        "connector": number,
        "for_sale": reason is None,
        "not_for_sale": reason.value if reason else "",
        "session": session.session_id if session else "",
        "phase": session.phase.value if session else "none",
        "pilot": live.evse.pilot.value if live.evse else "",
        "relay": live.evse.relay if live.evse else None,
        "meter_wh": live.meter.energy_wh if live.meter else None,
        "power_w": live.meter.power_w if live.meter else None,
        "meter_serial": live.meter.serial if live.meter else "",
    }


def payments_open(engine: Engine, arguments: Arguments, actor: str) -> list[dict[str, Any]]:
    """Every hold that has not ended with a sealed record, with its age."""
    now = engine.terms().now
    return [
        {
            "hold_id": one.hold.hold_id,
            "session_id": one.session_id,
            "connector": one.hold.connector,
            "gateway": one.hold.gateway,
            "phase": one.phase.value,
            "how": one.how.value if one.how else "",
            "asked_minor": one.hold.amount_minor,
            "approved_minor": one.approved_minor,
            "step_minor": one.step.amount_minor if one.step else 0,
            "currency": one.hold.currency,
            "card": f"{one.card.brand} {one.card.last4}",
            "age_s": (now.utc_ms - one.hold.utc_ms) // 1000,
            "tries": one.tries,
            "detail": one.detail or one.step_reason,
        }
        for one in engine.state.settlements.values()
    ]


def session_stop(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """End the charge on a connector; the order is a fact."""
    connector, reason = int(arguments["connector"]), str(arguments.get("reason", ""))[:200]
    if connector not in engine.state.live:
        raise ValueError(f"there is no connector {connector}")

    def order() -> None:
        engine.commit_outside_a_turn(ServiceAct(actor, "session.stop", str(connector), reason))
        engine.turn(events.StopCommanded(connector, StopReason.REMOTE, actor, reason))

    engine.ask(order)
    return {"connector": connector, "ordered": True}


def operations(engine: Engine) -> dict[str, Operation]:
    """The table for the control socket."""
    table = {"status": status, "payments.open": payments_open, "session.stop": session_stop}
    return {name: partial(function, engine) for name, function in table.items()}
