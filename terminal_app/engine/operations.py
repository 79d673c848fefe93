"""What the control socket can be asked. Each: (engine, arguments, actor) -> plain JSON. Any thread; orders go to the engine's.

Questions read the present state or page through the ledger; every order is first committed as a ServiceAct with the
peer's Unix user and the reason. No answer holds a key or a secret; `entries.read` alone gives entries as they are stored, with the
keyed tokens of cards, to whoever may read the ledger.
"""

import logging
import re
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from terminal_app.engine import cdr_orders, evse_orders, meter_orders, money_orders
from terminal_app.engine.arguments import Arguments, connector_of, reason_of, remark
from terminal_app.engine.control_link import Operation
from terminal_app.engine.engine import Engine
from terminal_app.engine.receipt_orders import receipt_print
from terminal_app.ledger.entry import GENESIS
from terminal_app.ports import PaymentGateway
from terminal_app.session import events, grid, lawful, limits, sale
from terminal_app.session.facts import DenyListSet, ServiceAct, StopReason
from terminal_app.session.state import Limits, State

log = logging.getLogger("charge.engine")
MAX_PAGE = 1000
MAX_PAGE_BYTES = 1024 * 1024
LONGEST_CHECK_S = 20.0
MAX_DENIED = 10_000
CARD_TOKEN = re.compile(r"[0-9a-f]{32,64}")


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
        "grid": None
        if standing.config.grid is None
        else {"limit_a": standing.config.grid.limit_a, "shared_out_a": grid.drawn_most_a(state)},
        "faults": [msgspec.to_builtins(fault) for fault in state.faults.values()],
        "overrides": [{"rule": one.rule, "by": one.by, "why": one.why} for one in standing.config.law.override],
        "open_holds": len(state.settlements),
        "manual_holds": sorted(state.manual),
        "records": {
            "sealed": state.chain.next_record_seq - 1,
            "acknowledged": state.chain.acknowledged_through,
            "waiting": engine.ledger.waiting(),
        },
        "ledger": {"entries": engine.ledger.head[0], "head": engine.ledger.head[1], "reserve_used": engine.ledger.reserve_used},
        "clock": terms.now.clock.value,
        "utc_ms": terms.now.utc_ms,
        "screen": None if engine.screen is None else type(engine.screen.view).__name__,
        "screen_no": None if engine.screen is None else engine.screen.screen_no,
        "reader_armed": state.kiosk.request is not None and state.kiosk.request.pay,
    }


def _connector(engine: Engine, state: State, number: int) -> dict[str, Any]:
    live, session = state.live[number], state.sessions.get(number)
    terms = engine.terms()
    reason = sale.not_for_sale(state, terms, number)
    return {
        "connector": number,
        "for_sale": reason is None,
        "not_for_sale": reason.value if reason else "",
        "breaches": [{"rule": one.rule, "says": lawful.said((one,))} for one in lawful.breaches(state, terms, number)],
        "session": session.session_id if session else "",
        "phase": session.phase.value if session else "none",
        "pilot": live.evse.pilot.value if live.evse else "",
        "relay": live.evse.relay if live.evse else None,
        "evse_age_ms": max(0, terms.now.mono_ms - live.evse.stamp.mono_ms) if live.evse else None,
        "limit_a": live.evse.limit_a if live.evse else None,
        "test": session.test if session else False,
        "in_force_a": limits.in_force_a(state, terms.config, number) if session else limits.allowed_a(state, terms.config, number),
        "ordered_a": state.limits.get(number, Limits()).ordered_a,
        "meter_wh": live.meter.energy_wh if live.meter else None,
        "power_w": live.meter.power_w if live.meter else None,
        "meter_serial": live.meter.serial if live.meter else "",
        "meter_age_ms": max(0, terms.now.mono_ms - live.meter.stamp.mono_ms) if live.meter else None,
        "meter_utc_ms": live.meter.stamp.utc_ms if live.meter else None,
    } | meter_orders.signing(engine, state, number, live.meter.serial if live.meter else "")


# --- the ledger, in pages --------------------------------------------------------------------------------------------


def ledger_head(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Whose ledger this is and how far it goes; the public keys that verify what it signed (DER SPKI, hex)."""
    seq, sha256 = engine.ledger.head
    standing, chain = engine.standing, engine.state.chain
    return {
        "terminal": standing.config.terminal.id,
        "chain_id": engine.ledger.chain_id,
        "entries": seq,
        "head": sha256,
        "records": chain.next_record_seq - 1,
        "record_head": chain.head_sha256 or GENESIS,
        "waiting": engine.ledger.waiting(),
        "record_key_id": standing.record_key_id,
        "record_spki": standing.record_spki.hex(),
        "ocmf_key_id": standing.ocmf_key_id,
        "ocmf_spki": standing.ocmf_spki.hex(),
    }


def entries_read(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """A page of entries after seq `after` (with `newest_first`: before `before`), of one session, of some kinds."""
    kinds = tuple(str(kind) for kind in arguments.get("kinds", ()))
    found = engine.ledger.entries(
        after=int(arguments.get("after", 0)),
        before=int(arguments.get("before", 0)),
        session_id=str(arguments.get("session_id", "")),
        kinds=kinds,
        newest_first=bool(arguments.get("newest_first", False)),
        limit=_limit(arguments) + 1,
    )
    return _page(((msgspec.to_builtins(one), len(one.body)) for one in found), _limit(arguments))


def records_read(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """A page of sealed records after seq `after` (with `newest_first`: before `before`), of one session or hold."""
    found = engine.ledger.records(
        after=int(arguments.get("after", 0)),
        before=int(arguments.get("before", 0)),
        subject=str(arguments.get("subject", "")),
        newest_first=bool(arguments.get("newest_first", False)),
        limit=_limit(arguments) + 1,
    )
    return _page(((list(one), len(one.jws)) for one in found), _limit(arguments))


def _limit(arguments: Arguments) -> int:
    return min(max(int(arguments.get("limit", MAX_PAGE)), 1), MAX_PAGE)


def _page(items: Iterable[tuple[Any, int]], limit: int) -> dict[str, Any]:
    """As many as fit into one message; `more` tells that there are others. One always goes."""
    page, size = list[Any](), 0
    for item, length in items:
        if page and (len(page) >= limit or size + length > MAX_PAGE_BYTES):
            return {"items": page, "more": True}
        page.append(item)
        size += length
    return {"items": page, "more": False}


# --- orders ----------------------------------------------------------------------------------------------------------


def session_stop(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """End the charge on a connector (of a `session_id`: only that one); the order is a fact. ValueError if there is nothing to
    stop or no reason is given."""
    wanted = str(arguments.get("session_id", ""))
    connector, reason = connector_of(engine.state, arguments), reason_of(arguments)

    def order() -> str:
        session = engine.state.sessions.get(connector)
        if session is None:
            raise ValueError(f"connector {connector} has no session; nothing was ordered")
        if wanted and wanted != session.session_id:
            raise ValueError(f"that charge is over; on connector {connector} runs another one; nothing was ordered")
        if session.stop_reason is not None:
            why = f"connector {connector} is being stopped already ({session.stop_reason.value} {session.stop_detail}".rstrip()
            log.warning("a second stop was rejected: %s); ordered by %s: %s", why, actor, reason)
            raise ValueError(f"{why}); nothing was ordered")
        engine.commit_outside_a_turn(ServiceAct(actor, "session.stop", str(connector), reason))
        return session.session_id

    session_id = engine.ask(order)
    engine.inbox.post(events.StopCommanded(connector, StopReason.REMOTE, actor, reason))
    return {"connector": connector, "session": session_id, "ordered": True}


def cards_deny(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Replace the list of cards that get nothing offline by `tokens`, if `version` is newer than ours. ValueError."""
    version, tokens = arguments["version"], arguments["tokens"]
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < 2**53:
        raise ValueError("version must be a whole number above 0")
    if not isinstance(tokens, list | tuple) or len(tokens) > MAX_DENIED:
        raise ValueError(f"tokens must be a list of at most {MAX_DENIED} card tokens")
    if not all(isinstance(one, str) and CARD_TOKEN.fullmatch(one) for one in tokens):
        raise ValueError("a card token is 32 to 64 hexadecimal digits in lower case")
    denied, reason = tuple(sorted(set(tokens))), remark(arguments)

    def order() -> dict[str, Any]:
        known = engine.state.deny
        if version <= known.version:
            return {"applied": False, "version": known.version, "denied": len(known.tokens)}
        act = ServiceAct(actor, "cards.deny", f"version {version}", reason or f"{len(denied)} cards get nothing offline")
        engine.commit_outside_a_turn(act, DenyListSet(version, denied))
        return {"applied": True, "version": version, "denied": len(denied)}

    return engine.ask(order)


# --- gateways --------------------------------------------------------------------------------------------------------


class GatewayCheck:
    """Tries link and credentials of a gateway, on the asking client's thread; one at a time, so that tools cannot pile up."""

    def __init__(self, gateways: Mapping[str, PaymentGateway]) -> None:
        self._gateways = gateways
        self._busy = threading.Lock()

    def __call__(self, arguments: Arguments, actor: str) -> dict[str, Any]:
        """`trouble` empty = well. Blocks up to `deadline_s`. Moves no money."""
        name = str(arguments["name"])
        gateway = self._gateways.get(name)
        if gateway is None:
            raise ValueError(f"there is no gateway {name}; this core has {', '.join(self._gateways) or 'none'}")
        if not self._busy.acquire(blocking=False):
            raise ValueError("another gateway check is under way; try again")
        try:
            deadline_s = min(max(int(arguments.get("deadline_s", 10)), 1), LONGEST_CHECK_S)
            return {"name": name, "trouble": gateway.check(deadline_s)}
        finally:
            self._busy.release()


def operations(engine: Engine, gateways: Mapping[str, PaymentGateway] | None = None) -> dict[str, Operation]:
    """The table for the control socket."""
    table = {
        "status": status,
        "payments.open": money_orders.payments_open,
        "payment.retry": money_orders.payment_retry,
        "payment.release": money_orders.payment_release,
        "payment.refund": money_orders.payment_refund,
        "session.stop": session_stop,
        "receipt.print": receipt_print,
        "meter.trust": meter_orders.meter_trust,
        "evse.test": evse_orders.evse_test,
        "evse.test.stop": evse_orders.evse_test_stop,
        "evse.limit": evse_orders.evse_limit,
        "meter.accept": meter_orders.meter_accept,
        "meter.balance": meter_orders.meter_balance,
        "evse.accept": meter_orders.evse_accept,
        "ledger.head": ledger_head,
        "entries.read": entries_read,
        "records.read": records_read,
        "cdrs.show": cdr_orders.cdrs_show,
        "cdrs.again": cdr_orders.cdrs_again,
    }
    return {name: partial(function, engine) for name, function in table.items()} | {"gateway.check": GatewayCheck(gateways or {})}
