"""Orders about money from the control socket and the office: (engine, arguments, actor) -> plain JSON. Any thread.

What is refused raises ValueError with one sentence and commits nothing. What is accepted is first a ServiceAct in the ledger
(who, what, why), then a turn of the rules in the same job of the engine, so that nothing can come between check and commit.
"""

from typing import Any

import msgspec

from terminal_app.config import AccountPageSection, AccountSection
from terminal_app.engine.arguments import Arguments, reason_of
from terminal_app.engine.engine import Engine
from terminal_app.session import events, orders, sale, settlement
from terminal_app.session.facts import SealedBill, ServiceAct
from terminal_app.session.past import Past, past_of, sealed_bill
from terminal_app.session.state import Phase

MONEY_KINDS = (
    "authorization_intended",
    "authorization_rerouted",
    "authorization_approved",
    "checkout_opened",
    "offline_granted",
    "hold_reused",
    "increment_ended",
    "capture_intended",
    "void_intended",
    "hold_ended",
    "refund_intended",
    "settlement_reopened",
)
MIN_NAME = 6


def payment_retry(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """The next step of a hold at once; of one that became manual: the same step again, with the same serial and key."""
    return _settlement_order(engine, arguments, actor, orders.RETRY)


def payment_release(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Release a hold that serves no charge, or one that became manual without a capture."""
    return _settlement_order(engine, arguments, actor, orders.RELEASE)


def _settlement_order(engine: Engine, arguments: Arguments, actor: str, act: str) -> dict[str, Any]:
    hold_id, reason = _hold_id(engine, arguments), reason_of(arguments)
    story = Story(engine, hold_id)

    def order() -> None:
        event = events.SettlementOrdered(hold_id, act, actor, reason)
        past = story.past() if hold_id not in engine.state.settlements else None
        if past is not None and past.undecided is not None:
            again = act == orders.RETRY or past.undecided_kind == "void"
            step = past.undecided if again else None
            bill = _bill(engine, past) if past.undecided_kind == "refund" else None
            event = msgspec.structs.replace(event, past=past.hold, step=step, kind=past.undecided_kind, bill=bill)
        if why := orders.refusal(engine.state, event):
            raise ValueError(f"hold {hold_id}: {why}")
        engine.commit_outside_a_turn(ServiceAct(actor, f"payment.{act}", hold_id, reason))
        engine.turn(event)

    engine.ask(order)
    return {"hold_id": hold_id, "ordered": act}


def payment_refund(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Give back `amount_minor` of what was captured; without an amount all that is left. A chained record follows."""
    hold_id, reason = _hold_id(engine, arguments), reason_of(arguments)
    amount = arguments.get("amount_minor")
    if amount is not None and (not isinstance(amount, int) or isinstance(amount, bool)):
        raise ValueError("amount_minor must be an integer: minor units of the hold's currency")
    story = Story(engine, hold_id)

    def order() -> int:
        past = story.past()
        if past is None:
            raise ValueError(f"hold {hold_id}: the ledger does not know it")
        gateway = past.hold.hold.gateway
        if gateway in engine.standing.without_refund:
            raise ValueError(f"hold {hold_id}: gateway {gateway} takes no refunds from this terminal: give it back there")
        left = past.hold.captured_minor - past.hold.refunded_minor
        event = events.RefundOrdered(past.hold, left if amount is None else amount, actor, reason, _bill(engine, past))
        if why := orders.refund_refusal(engine.state, event):
            raise ValueError(f"hold {hold_id}: {why}")
        engine.commit_outside_a_turn(ServiceAct(actor, "payment.refund", hold_id, f"{event.amount_minor}: {reason}"))
        engine.turn(event)
        return event.amount_minor

    return {"hold_id": hold_id, "ordered": "refund", "amount_minor": engine.ask(order)}


def session_start(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Open a session with a hold the office has placed on an account: the driver started from the phone.

    ValueError if it cannot be: then nothing was opened, and the office releases its hold.
    """
    connector, held_minor = int(arguments["connector"]), int(arguments["held_minor"])
    config = engine.standing.config
    gateways = [name for name, one in config.gateway.items() if isinstance(one, AccountSection | AccountPageSection)]
    if not gateways:
        raise ValueError("this terminal has no account gateway: a hold on an account cannot be captured here")
    if str(arguments["currency"]) != config.terminal.currency:
        raise ValueError(f"this terminal charges in {config.terminal.currency}, not in {arguments['currency']}")
    if held_minor < config.policy.min_useful_hold_minor:
        raise ValueError(f"a hold of {held_minor} is below min_useful_hold_minor ({config.policy.min_useful_hold_minor})")
    event = events.StartCommanded(
        connector=connector,
        gateway=gateways[0],
        key=str(arguments["key"]),
        reference=str(arguments["hold"]),
        held_minor=held_minor,
        label=str(arguments.get("label", ""))[:32],
        actor=actor,
    )

    def order() -> str:
        state, terms = engine.state, engine.terms()
        if why := state.no_connector(connector):
            raise ValueError(why)
        if connector in state.sessions:
            raise ValueError(f"connector {connector} is in use")
        if any(one.hold.key == event.key for one in state.settlements.values()):
            raise ValueError("this hold serves another charge already")
        offered, tariff = arguments.get("tariff"), terms.tariffs.get(connector)
        if offered and (tariff is None or tariff.fingerprint != offered):
            raise ValueError(f"connector {connector} is sold at another price than the driver was told")
        reason = sale.out_of_service(state, terms) or sale.not_for_sale(state, terms, connector)
        if reason is not None:
            raise ValueError(f"connector {connector} is not for sale: {reason.value}")
        engine.commit_outside_a_turn(ServiceAct(actor, "session.start", str(connector), "started from the phone"))
        engine.turn(event)
        session = engine.state.sessions.get(connector)
        if session is None or session.phase not in (Phase.AUTHORIZED, Phase.STARTING):
            raise ValueError(f"connector {connector}: the charge could not begin; the hold is being released")
        return session.session_id

    return {"connector": connector, "session": engine.ask(order)}


# --- finding a hold --------------------------------------------------------------------------------------------------


def _hold_id(engine: Engine, arguments: Arguments) -> str:
    """The hold's full id. ValueError if none or several begin like this."""
    given = str(arguments.get("hold_id", "")).strip().lower()
    if len(given) < MIN_NAME or not given.isalnum():
        raise ValueError(f"{given!r} is no hold id: give at least its first {MIN_NAME} letters and digits")
    found = {hold_id for hold_id in engine.state.settlements if hold_id.startswith(given)}
    if len(given) < 32 or not found:
        for entry in engine.ledger.about(f'"hold_id":"{given}', ("authorization_intended",)):
            found.add(str(msgspec.json.decode(entry.body)["hold"]["hold_id"]))
    if len(found) != 1:
        raise ValueError(f"hold {given}: {len(found) or 'none'} of this name in the ledger")
    return found.pop()


class Story:
    """What the ledger tells about one hold. The long look happens on the asker's thread; `past`, on the engine's, adds what
    was committed since, so that an order is checked against what is true when it is carried out."""

    def __init__(self, engine: Engine, hold_id: str) -> None:
        self._engine, self._hold_id = engine, hold_id
        self._through = engine.ledger.head[0]
        self._entries = [one for one in engine.ledger.about(hold_id, MONEY_KINDS) if one.seq <= self._through]

    def past(self) -> Past | None:
        newer = self._engine.ledger.about(self._hold_id, MONEY_KINDS, self._through)
        return past_of(self._hold_id, (one.fact for one in (*self._entries, *newer)))


def _bill(engine: Engine, past: Past) -> SealedBill | None:
    """The sealed bill that a hold paid, and what of it was credited. Quick: the ledger finds a session by its id."""
    session_id = past.hold.session_id
    sealed = next((one for one in engine.ledger.records(subject=session_id, limit=1) if one.type == "session"), None)
    if sealed is None:
        return None
    entries = engine.ledger.entries(session_id=session_id, kinds=("bill_frozen", "credit_intended"))
    return sealed_bill((one.fact for one in entries), sealed.seq, sealed.sha256)


def payments_open(engine: Engine, arguments: Arguments, actor: str) -> list[dict[str, Any]]:
    """The open-holds register: every hold that has not ended with a sealed record, oldest first, with its age and its time."""
    now, policy = engine.terms().now, engine.standing.config.policy
    rows = []
    for one in sorted(engine.state.settlements.values(), key=lambda each: each.hold.utc_ms):
        rows.append(
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
                "offline": one.offline,
                "capture_before_utc_ms": one.capture_before_utc_ms,
                "overdue": settlement.overdue(one, now.utc_ms, policy.settle_deadline_s),
            }
        )
    return rows
