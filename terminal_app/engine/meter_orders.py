"""What the control socket can be asked about meters that sign: their keys, and that one is trusted again."""

from collections.abc import Mapping
from typing import Any

from terminal_app.billing.signature import ocmf_key_id
from terminal_app.engine.engine import Engine
from terminal_app.session import events
from terminal_app.session.facts import ServiceAct
from terminal_app.session.signed import record_fault
from terminal_app.session.state import State, fault_key


def signing(engine: Engine, state: State, connector: int, serial: str) -> dict[str, Any]:
    """For `status`: whether the meter signs, and with which key (id and DER SPKI, hex; "" = not read yet)."""
    if connector not in engine.standing.signing:
        return {"meter_signs": False, "meter_key": "", "meter_spki": ""}
    book = state.meters.get(serial)
    spki = book.spki if book else ""
    return {"meter_signs": True, "meter_key": ocmf_key_id(bytes.fromhex(spki)) if spki else "", "meter_spki": spki}


def meter_trust(engine: Engine, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """A person has looked at a meter whose record did not hold: its connector is sold again. ValueError if there is no such
    fault or no reason is given; the order is a fact."""
    connector, reason = int(arguments["connector"]), str(arguments.get("reason", "")).strip()[:200]
    if connector not in engine.state.live:
        raise ValueError(f"there is no connector {connector}; this terminal has {', '.join(map(str, engine.state.live))}")
    if not reason:
        raise ValueError("an order needs a reason: it stands in the ledger")

    def order() -> str:
        fault = engine.state.faults.get(fault_key(record_fault(connector)))
        if fault is None:
            raise ValueError(f"the meter of connector {connector} has no record that was refused; nothing was ordered")
        engine.commit_outside_a_turn(ServiceAct(actor, "meter.trust", str(connector), reason))
        return fault.detail

    why = engine.ask(order)
    engine.inbox.post(events.FaultSeen(record_fault(connector), False))
    return {"connector": connector, "was": why, "ordered": True}
