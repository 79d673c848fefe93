"""Orders of a technician about meters and contactors, the account of their energy, and what is told of meters that sign:
(engine, arguments, actor) -> plain JSON. Any thread; moves no money.

An order is refused with one sentence (ValueError) and commits nothing, or is committed in one piece with who and why.
"""

from typing import Any

from terminal_app.billing.signature import ocmf_key_id
from terminal_app.engine.arguments import Arguments, connector_of, reason_of
from terminal_app.engine.engine import Engine
from terminal_app.session import energy, events, register
from terminal_app.session.facts import FaultCleared, ServiceAct
from terminal_app.session.signed import record_fault
from terminal_app.session.state import State, fault_key
from terminal_app.values import Device

STILL_MS = 60_000


def signing(engine: Engine, state: State, connector: int, serial: str) -> dict[str, Any]:
    """For `status`: whether the meter signs, and with which key (id and DER SPKI, hex; "" = not read yet)."""
    if connector not in engine.standing.signing:
        return {"meter_signs": False, "meter_key": "", "meter_spki": ""}
    book = state.meters.get(serial)
    spki = book.spki if book else ""
    return {"meter_signs": True, "meter_key": ocmf_key_id(bytes.fromhex(spki)) if spki else "", "meter_spki": spki}


def meter_accept(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """The meter of a connector, as it answers now, is right: it is the new base, and the connector is for sale again."""
    connector, reason = connector_of(engine.state, arguments), reason_of(arguments)

    def order() -> dict[str, Any]:
        now = engine.terms().now
        if why := energy.acceptance_refusal(engine.state, connector, now):
            raise ValueError(f"connector {connector}: {why}")
        engine.commit_outside_a_turn(*energy.acceptance(engine.state, connector, now, actor, reason))
        value = engine.state.energy[connector].began
        return {"connector": connector, "serial": value.serial, "energy_wh": value.energy_wh, "accepted": True}

    return engine.ask(order)


def evse_accept(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """The weld alarm of a connector is over: its contactor is seen open, its register has stood still for a minute."""
    connector, reason = connector_of(engine.state, arguments), reason_of(arguments)

    def order() -> dict[str, Any]:
        if why := energy.clearance_refusal(engine.state, connector, engine.terms().now, STILL_MS):
            raise ValueError(f"connector {connector}: {why}")
        faults = energy.standing(engine.state, connector, Device.EVSE, energy.WELDS)
        act = ServiceAct(actor, "evse.accept", str(connector), reason)
        engine.commit_outside_a_turn(act, *(FaultCleared(one) for one in faults))
        return {"connector": connector, "cleared": [one.kind for one in faults]}

    return engine.ask(order)


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


def meter_trust(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """A person has looked at a meter whose record did not hold: its connector is sold again. ValueError if there is no such
    fault or no reason is given; the order is a fact."""
    connector, reason = connector_of(engine.state, arguments), reason_of(arguments)

    def order() -> str:
        fault = engine.state.faults.get(fault_key(record_fault(connector)))
        if fault is None:
            raise ValueError(f"the meter of connector {connector} has no record that was refused; nothing was ordered")
        engine.commit_outside_a_turn(ServiceAct(actor, "meter.trust", str(connector), reason))
        return fault.detail

    why = engine.ask(order)
    engine.inbox.post(events.FaultSeen(record_fault(connector), False))
    return {"connector": connector, "was": why, "ordered": True}
