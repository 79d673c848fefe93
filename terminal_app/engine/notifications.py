"""A gateway's notification, relayed by the office: checked by its gateway's own signature, then an answer like any other.

The office is only a postman here: what is not genuine, or not about a hold or step that is open, changes nothing. A
notification that comes twice, or late, meets a rule that knows it already.
"""

from collections.abc import Mapping
from typing import Any

from terminal_app.engine.arguments import Arguments
from terminal_app.engine.engine import Engine
from terminal_app.ports import Confirmation, Notified, PaymentGateway
from terminal_app.session import events
from terminal_app.session.state import Settlement, SettlementPhase
from terminal_app.values import Approved

STEPS = {
    "capture": SettlementPhase.CAPTURING,
    "void": SettlementPhase.VOIDING,
    "refund": SettlementPhase.REFUNDING,
}


class Notifications:
    """The act `relay.notification`: (arguments, actor) -> plain JSON. Any thread. May end a hold, by its rules."""

    def __init__(self, engine: Engine, gateways: Mapping[str, PaymentGateway]) -> None:
        self._engine = engine
        self._gateways = {name: one for name, one in gateways.items() if isinstance(one, Notified)}

    def __call__(self, arguments: Arguments, actor: str) -> dict[str, Any]:
        """SignatureInvalid if it is not genuine; ValueError if nothing here waits for it."""
        name = str(arguments["gateway"])
        gateway = self._gateways.get(name)
        if gateway is None:
            raise ValueError(f"gateway {name} takes no notifications here")
        said = gateway.confirm(str(arguments["body"]).encode())
        if said.outcome is None:
            return {"event": said.event, "decides": "nothing"}
        hold_id = self._engine.ask(lambda: self._answer(name, said))
        return {"event": said.event, "hold_id": hold_id}

    def _answer(self, gateway: str, said: Confirmation) -> str:
        """On the engine's thread: to whom it belongs is found and told within one job."""
        for hold_id, one in self._engine.state.settlements.items():
            if one.hold.gateway != gateway or not _concerns(one, said):
                continue
            if said.currency != one.hold.currency:
                raise ValueError(f"hold {hold_id} is in {one.hold.currency}, the notification speaks of {said.currency}")
            self._engine.turn(_event(hold_id, one, said))
            return hold_id
        raise ValueError(f"nothing here waits for this {said.event}: it came before, or its hold has ended")


def _concerns(one: Settlement, said: Confirmation) -> bool:
    if said.operation == "authorize":
        shown = "checkout" in one.hold.trace  # before that nobody can have paid
        return said.key == one.hold.key and shown and one.phase in (SettlementPhase.ASKED, SettlementPhase.VOIDING)
    if one.step is None or one.phase is not STEPS[said.operation]:
        return False
    return said.key == one.step.key or (said.operation == "void" and said.key == one.hold.key)


def _event(hold_id: str, one: Settlement, said: Confirmation) -> events.Event:
    assert said.outcome is not None
    if said.operation == "authorize":
        return events.AuthorizationAnswered(hold_id, said.outcome)
    assert one.step is not None
    outcome = said.outcome
    if isinstance(outcome, Approved) and said.operation == "void":
        outcome = Approved(one.step.amount_minor, outcome.trace)
    return events.SettlementAnswered(hold_id, one.step.key, outcome)
