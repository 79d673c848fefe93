"""What people and the office say with an order. ValueError with one sentence, if it will not do."""

from collections.abc import Mapping
from typing import Any

from terminal_app.session.state import State

Arguments = Mapping[str, Any]
LONGEST_REASON = 200


def whole(arguments: Arguments, name: str) -> int:
    value = arguments[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number")
    return value


def connector_of(state: State, arguments: Arguments) -> int:
    """The number of a connector that there is."""
    connector = int(arguments["connector"])
    if why := state.no_connector(connector):
        raise ValueError(why)
    return connector


def remark(arguments: Arguments) -> str:
    """The reason, where one may be left out; "" = none."""
    return str(arguments.get("reason", "")).strip()[:LONGEST_REASON]


def reason_of(arguments: Arguments) -> str:
    reason = remark(arguments)
    if not reason:
        raise ValueError("an order needs a reason: it stands in the ledger")
    return reason
