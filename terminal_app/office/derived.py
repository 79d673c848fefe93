"""What the pages show, made from records and facts as they arrive: sessions, settlements, live charges, holds, faults.

Facts are read leniently: a newer terminal may say more, and what is not understood is still stored verbatim.
"""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import references, store
from terminal_app.office.command_tables import commands, gateway_references
from terminal_app.office.receipt_tables import hold_receipts

OPEN_HOLDS = ("asked", "held", "unknown", "capturing", "voiding", "refunding", "manual")
LIVE_STATES = ("opened", "charging", "stopping")


def put(db: Connection, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Insert or update by primary key, portable over databases; the caller's block makes it atomic."""
    where = sa.and_(*(table.c[name] == value for name, value in key.items()))
    if db.execute(sa.select(sa.literal(1)).where(where).select_from(table)).first() is None:
        db.execute(table.insert().values(**key, **values))
    elif values:
        db.execute(table.update().where(where).values(**values))


def index_record(db: Connection, terminal: str, chain_id: str, seq: int, payload: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for a payload that lacks what its type must say."""
    key = {"terminal": terminal, "chain_id": chain_id, "seq": seq}
    if payload["type"] == "session":
        put(db, store.sessions, key, _session_row(payload))
        _end_live(db, terminal, chain_id, payload["session_id"], payload["end"]["utc_ms"])
        if payment := payload["payment"]:
            references.learn(db, key, payload["authorization_reference"], payment.get("trace", {}))
    elif payload["type"] == "settlement":
        row = {
            "session_id": payload["session_id"],
            "hold_id": payload["authorization_reference"],
            "how": payload["how"],
            "amount_minor": payload["amount_minor"],
            "currency": payload["currency"],
            "ended_utc_ms": payload["ended"]["utc_ms"],
        }
        put(db, store.settlements, key, row)
        hold = {"terminal": terminal, "chain_id": chain_id, "hold_id": row["hold_id"]}
        where = sa.and_(*(store.holds.c[name] == value for name, value in hold.items()))
        db.execute(store.holds.update().where(where).values(state=_end(row["how"]), changed_utc_ms=row["ended_utc_ms"]))
        references.learn(db, key, row["hold_id"], {"hold_id": row["hold_id"], **payload.get("trace", {})})
        if code := payload.get("receipt", {}).get("code", ""):
            receipt = {"hold_id": row["hold_id"], "receipt_number": payload["receipt"]["number"], "receipt_code": code}
            put(db, hold_receipts, key, receipt)
    elif payload["type"] == "credit":
        put(db, store.credits, key, _credit_row(payload))
    elif payload["type"] == "checkpoint":
        put(db, store.checkpoints, key, _checkpoint_row(payload))


def _credit_row(payload: dict[str, Any]) -> dict[str, Any]:
    totals = payload["totals"]
    return {
        "session_id": payload["session_id"],
        "hold_id": payload["authorization_reference"],
        "credited_seq": payload["credits"]["seq"],
        "number": payload["number"],
        "receipt_number": payload["receipt"]["number"],
        "net_minor": totals["net_minor"],
        "vat_minor": totals["vat_minor"],
        "total_minor": totals["total_minor"],
        "currency": totals["currency"],
        "reason": payload["reason"],
        "utc_ms": payload["created"]["utc_ms"],
    }


def _session_row(payload: dict[str, Any]) -> dict[str, Any]:
    payment = payload["payment"] or {}
    return {
        "session_id": payload["session_id"],
        "connector": payload["connector"],
        "evse_id": payload["evse_id"],
        "begin_utc_ms": payload["begin"]["utc_ms"],
        "end_utc_ms": payload["end"]["utc_ms"],
        "energy_wh": payload["energy_wh"],
        "net_minor": payload["totals"]["net_minor"],
        "vat_minor": payload["totals"]["vat_minor"],
        "total_minor": payload["totals"]["total_minor"],
        "currency": payload["totals"]["currency"],
        "hold_id": payload["authorization_reference"],
        "authorized_minor": payment.get("authorized_minor", 0),
        "capture_minor": payment.get("capture_minor", 0),
        "card": _card(payment.get("card")),
        "stop_reason": payload["stop"]["reason"],
        "receipt_number": payload["receipt"]["number"],
        "receipt_code": payload["receipt"]["code"],
        "test": payload.get("test") is True,
    }


def _checkpoint_row(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "utc_ms": payload["at"]["utc_ms"],
        "ledger_entries": payload["ledger"]["entries"],
        "ledger_sha256": payload["ledger"]["sha256"],
        "acknowledged_through": payload["acknowledged_through"],
        "open_holds": payload["open_holds"],
        "registers": json.dumps(payload["meter_registers_wh"], sort_keys=True),
        "digests": json.dumps(payload["digests"], sort_keys=True),
    }


def apply_fact(db: Connection, terminal: str, chain_id: str, utc_ms: int, kind: str, session_id: str, body: str) -> None:
    """Facts of one chain come in order and once each. A fact this version does not know changes nothing here."""
    try:
        fact = json.loads(body)
        chain = {"terminal": terminal, "chain_id": chain_id}
        with db.begin_nested():
            if step := _STEPS.get(kind):
                step(db, chain, utc_ms, session_id, fact)
            _refer(db, chain, fact)
            references.learn_fact(db, chain, fact)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, sa.exc.StatementError):
        return  # said differently by another version: stored, not shown


Step = Callable[[Connection, dict[str, Any], int, str, dict[str, Any]], None]


def _opened(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    key = chain | {"session_id": str(fact["session_id"])}
    put(db, store.live, key, {"connector": int(fact["connector"]), "state": "opened", "changed_utc_ms": utc_ms})


def _started(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    start_wh = int(fact["second"]["energy_wh"])
    _live(db, chain, fact["session_id"], state="charging", start_wh=start_wh, energy_wh=0, changed_utc_ms=utc_ms)


def _checkpoint(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    energy_wh = int(fact["value"]["energy_wh"])
    _live(db, chain, fact["session_id"], energy_wh=energy_wh - store.live.c.start_wh, changed_utc_ms=utc_ms)


def _stopping(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _live(db, chain, fact["session_id"], state="stopping", changed_utc_ms=utc_ms)


def _aborted(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _live(db, chain, fact["session_id"], state="aborted", changed_utc_ms=utc_ms)


def _shortfall(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    lost = f"{int(fact['amount_minor'])} {fact['currency']} of session {fact['session_id']} were delivered beyond its hold"
    store.alarm(db, chain["terminal"], chain["chain_id"], "shortfall", lost)


def _billed(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _live(db, chain, fact["session_id"], state="ended", energy_wh=int(fact["energy_wh"]), changed_utc_ms=utc_ms)
    if unbilled := fact.get("unbilled"):
        lost = f"{int(unbilled['energy_wh'])} Wh of session {fact['session_id']} are not billed: {unbilled['why']}"
        store.alarm(db, chain["terminal"], chain["chain_id"], "unbilled", lost)


def _asked(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    hold = fact["hold"]
    row = {
        "session_id": str(fact["session_id"]),
        "gateway": str(hold["gateway"]),
        "state": "asked",
        "amount_minor": int(hold["amount_minor"]),
        "currency": str(hold["currency"]),
        "card": _card(fact["card"]),
        "opened_utc_ms": int(hold["utc_ms"]),
        "changed_utc_ms": utc_ms,
    }
    put(db, store.holds, chain | {"hold_id": str(hold["hold_id"])}, row)


def _rerouted(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _hold(db, chain, fact["hold_id"], gateway=str(fact["gateway"]), changed_utc_ms=utc_ms)


def _granted(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    said = {"gateway": str(fact["gateway"]), "amount_minor": int(fact["amount_minor"])}
    _hold(db, chain, fact["hold_id"], state="held", changed_utc_ms=utc_ms, **said)
    references.learn(db, chain, fact["hold_id"], {"offline": "granted"})


def _reused(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _hold(db, chain, fact["hold_id"], session_id=str(fact["session_id"]), changed_utc_ms=utc_ms)


def _raised(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    amount = store.holds.c.amount_minor + int(fact["added_minor"])
    _hold(db, chain, fact["hold_id"], amount_minor=amount, changed_utc_ms=utc_ms)


def _refunding(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _hold(db, chain, fact["past"]["hold"]["hold_id"], state="refunding", changed_utc_ms=utc_ms)


def _hold_becomes(state: str) -> Step:
    def step(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
        amount = {"amount_minor": int(fact["approved_minor"])} if "approved_minor" in fact else {}
        _hold(db, chain, fact["hold_id"], state=state, changed_utc_ms=utc_ms, **amount)
        references.learn_term(db, chain, fact["hold_id"], fact.get("capture_before_utc_ms"))

    return step


def _refused(state: str) -> Step:
    """The hold becomes `state`, and a session that waited for it is over: it never charged and gets no record."""
    becomes = _hold_becomes(state)

    def step(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
        becomes(db, chain, utc_ms, session_id, fact)
        hold, live = store.holds.c, store.live.c
        mine = (hold.terminal == chain["terminal"]) & (hold.chain_id == chain["chain_id"]) & (hold.hold_id == fact["hold_id"])
        waiting = (live.terminal == chain["terminal"]) & (live.chain_id == chain["chain_id"]) & (live.state == "opened")
        whose = live.session_id == sa.select(hold.session_id).where(mine).scalar_subquery()
        db.execute(store.live.update().where(waiting & whose).values(state=state, changed_utc_ms=utc_ms))

    return step


def _hold_ended(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _hold(db, chain, fact["hold_id"], state=_end(fact["how"]), changed_utc_ms=utc_ms)


def _end(how: Any) -> str:
    """What a hold is after it ended so: a refund that was refused leaves it captured."""
    return "captured" if how == "refused" else str(how)


def _fault_raised(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    fault = fact["fault"]
    put(db, store.faults, _fault_key(chain, fault), {"detail": str(fault.get("detail", "")), "raised_utc_ms": utc_ms})


def _fault_cleared(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    key = _fault_key(chain, fact["fault"])
    db.execute(store.faults.delete().where(sa.and_(*(store.faults.c[name] == value for name, value in key.items()))))


def _command_taken(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    _command(db, chain, fact["command_id"], ("waiting", "expired"), state="taken", changed_utc_ms=utc_ms)


def _command_answered(db: Connection, chain: dict[str, Any], utc_ms: int, session_id: str, fact: dict[str, Any]) -> None:
    said = {"state": "done" if fact["done"] is True else "refused", "answer": str(fact["answer"]).replace("\x00", "")}
    _command(db, chain, fact["command_id"], ("waiting", "expired", "taken"), **said, changed_utc_ms=utc_ms)


_STEPS: dict[str, Step] = {
    "session_opened": _opened,
    "start_registered": _started,
    "energy_checkpoint": _checkpoint,
    "stop_intended": _stopping,
    "session_aborted": _aborted,
    "bill_frozen": _billed,
    "shortfall_booked": _shortfall,
    "authorization_intended": _asked,
    "authorization_rerouted": _rerouted,
    "offline_granted": _granted,
    "hold_reused": _reused,
    "increment_ended": _raised,
    "refund_intended": _refunding,
    "authorization_approved": _hold_becomes("held"),
    "authorization_declined": _refused("declined"),
    "authorization_unknown": _refused("unknown"),
    "capture_intended": _hold_becomes("capturing"),
    "void_intended": _hold_becomes("voiding"),
    "hold_ended": _hold_ended,
    "fault_raised": _fault_raised,
    "fault_cleared": _fault_cleared,
    "command_taken": _command_taken,
    "command_answered": _command_answered,
}


def _fault_key(chain: dict[str, Any], fault: dict[str, Any]) -> dict[str, Any]:
    return {
        "terminal": chain["terminal"],
        "device": str(fault["device"]),
        "connector": int(fault["connector"]),
        "kind": str(fault["kind"]),
    }


def _live(db: Connection, chain: dict[str, Any], session_id: str, **values: Any) -> None:
    table = store.live
    where = (table.c.terminal == chain["terminal"]) & (table.c.chain_id == chain["chain_id"]) & (table.c.session_id == session_id)
    db.execute(table.update().where(where).values(**values))


def _end_live(db: Connection, terminal: str, chain_id: str, session_id: str, utc_ms: int) -> None:
    _live(db, {"terminal": terminal, "chain_id": chain_id}, session_id, state="ended", changed_utc_ms=utc_ms)


def _hold(db: Connection, chain: dict[str, Any], hold_id: str, **values: Any) -> None:
    table = store.holds
    where = (table.c.terminal == chain["terminal"]) & (table.c.chain_id == chain["chain_id"]) & (table.c.hold_id == hold_id)
    db.execute(table.update().where(where).values(**values))


def _command(db: Connection, chain: dict[str, Any], command_id: str, states: tuple[str, ...], **values: Any) -> None:
    """Only a command of this very terminal, and what is known for good stays."""
    c = commands.c
    where = (c.terminal == chain["terminal"]) & (c.command_id == str(command_id)) & c.state.in_(states)
    db.execute(commands.update().where(where).values(**values))


def _refer(db: Connection, chain: dict[str, Any], fact: dict[str, Any]) -> None:
    """By which references a gateway knows a hold and the steps on it: its notifications name nothing else of ours."""
    past = fact.get("past")
    hold, step = fact.get("hold"), fact.get("step")
    whose = hold or (past.get("hold") if isinstance(past, dict) else None) or fact
    keys = [one.get("key") for one in (hold, step) if isinstance(one, dict)]
    r = gateway_references.c  # who came first keeps it: no terminal takes another one's notifications
    for key in keys:
        if not isinstance(key, str) or not 1 <= len(key) <= 64 or not whose.get("hold_id"):
            continue
        if db.execute(sa.select(r.reference).where(r.reference == key)).first() is None:
            db.execute(gateway_references.insert().values(reference=key, hold_id=str(whose["hold_id"]), **chain))


def _card(card: dict[str, Any] | None) -> str:
    return f"{card.get('brand', '')} ···· {card.get('last4', '')}".strip() if card else ""
