"""Evolve, the money's part: what facts about holds make of the state. Total, never decides. PURE."""

from collections.abc import Callable
from typing import Any

from terminal_app.session import facts as f
from terminal_app.session import pocket
from terminal_app.session.folding import replace, session_of, with_session, with_settlement
from terminal_app.session.state import (
    Debt,
    Grant,
    NoChargeReceipt,
    Phase,
    Settlement,
    SettlementPhase,
    State,
    with_item,
    without,
)
from terminal_app.values import EntryMode, Stamp

GRANTS_KEPT_MS = 31 * 86_400_000


def _authorization_intended(state: State, fact: f.AuthorizationIntended, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    assert session is not None
    phase = Phase.CHECKOUT if fact.card.entry is EntryMode.QR else Phase.AUTHORIZING
    state = with_session(state, session, phase=phase, hold_id=fact.hold.hold_id, card=fact.card)
    settlement = Settlement(hold=fact.hold, session_id=fact.session_id, card=fact.card, phase=SettlementPhase.ASKED)
    return replace(
        state,
        settlements=with_item(state.settlements, fact.hold.hold_id, settlement),
        chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.hold.serial + 1)),
    )


def _rerouted(state: State, fact: f.AuthorizationRerouted, at: Stamp) -> State:
    one = state.settlements[fact.hold_id]
    tried = (*one.tried, one.hold.gateway)
    return with_settlement(state, fact.hold_id, hold=replace(one.hold, gateway=fact.gateway), tried=tried)


def _offline_granted(state: State, fact: f.OfflineGranted, at: Stamp) -> State:
    one = state.settlements[fact.hold_id]
    state = with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.HELD,
        approved_minor=fact.amount_minor,
        offline=True,
        hold=replace(one.hold, gateway=fact.gateway, trace={**one.hold.trace, "offline": "granted"}),
    )
    grants = tuple(grant for grant in state.grants if grant.utc_ms > at.utc_ms - GRANTS_KEPT_MS)
    state = replace(state, grants=(*grants, Grant(one.card.token, at.utc_ms)))
    session = session_of(state, one.session_id)
    assert session is not None
    return with_session(state, session, phase=Phase.AUTHORIZED, plug_deadline_mono_ms=fact.plug_deadline_mono_ms)


def _kept(state: State, fact: f.HoldKept, at: Stamp) -> State:
    return with_settlement(state, fact.hold_id, kept_until_mono_ms=fact.until_mono_ms, kept_for=fact.connector)


def _reused(state: State, fact: f.HoldReused, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    assert session is not None
    state = with_settlement(state, fact.hold_id, session_id=fact.session_id, kept_until_mono_ms=0)
    return with_session(
        state,
        session,
        phase=Phase.AUTHORIZED,
        hold_id=fact.hold_id,
        card=state.settlements[fact.hold_id].card,
        plug_deadline_mono_ms=fact.plug_deadline_mono_ms,
        reused=True,
    )


def _increment_intended(state: State, fact: f.IncrementIntended, at: Stamp) -> State:
    increments = state.settlements[fact.hold_id].increments + 1
    state = with_settlement(state, fact.hold_id, increment=fact.step, increments=increments)
    return replace(state, chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.step.serial + 1)))


def _increment_ended(state: State, fact: f.IncrementEnded, at: Stamp) -> State:
    one = state.settlements[fact.hold_id]
    return with_settlement(
        state,
        fact.hold_id,
        increment=None,
        approved_minor=one.approved_minor + fact.added_minor,
        increment_refused=not fact.added_minor,
        in_flight=False,
        next_try_mono_ms=0,
        tries=0,
        hold=replace(one.hold, trace={**one.hold.trace, **fact.trace}),
    )


def _checkout_opened(state: State, fact: f.CheckoutOpened, at: Stamp) -> State:
    hold = state.settlements[fact.hold_id].hold
    return with_settlement(state, fact.hold_id, hold=replace(hold, trace={**hold.trace, "checkout": fact.reference}))


def _approved(state: State, fact: f.AuthorizationApproved, at: Stamp) -> State:
    settlement = state.settlements[fact.hold_id]
    card = settlement.card
    if card.entry is EntryMode.QR:  # only the gateway has seen it
        card = replace(card, brand=fact.trace.get("brand", "").capitalize(), last4=fact.trace.get("last4", ""))
    state = with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.HELD,
        approved_minor=fact.approved_minor,
        hold=replace(settlement.hold, trace={**settlement.hold.trace, **fact.trace}),
        card=card,
        capture_before_utc_ms=fact.capture_before_utc_ms,
    )
    if session := session_of(state, settlement.session_id):
        deadline_ms = fact.plug_deadline_mono_ms
        return with_session(state, session, phase=Phase.AUTHORIZED, plug_deadline_mono_ms=deadline_ms, card=card)
    return state


def _declined(state: State, fact: f.AuthorizationDeclined, at: Stamp) -> State:
    session = session_of(state, state.settlements[fact.hold_id].session_id)
    state = replace(state, settlements=without(state.settlements, fact.hold_id))
    return state if session is None else replace(state, sessions=without(state.sessions, session.connector))


def _unknown(state: State, fact: f.AuthorizationUnknown, at: Stamp) -> State:
    session = session_of(state, state.settlements[fact.hold_id].session_id)
    return state if session is None else replace(state, sessions=without(state.sessions, session.connector))


def _step_intended(state: State, fact: f.CaptureIntended | f.VoidIntended, at: Stamp) -> State:
    capture = isinstance(fact, f.CaptureIntended)
    state = with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.CAPTURING if capture else SettlementPhase.VOIDING,
        step=fact.step,
        step_reason="" if isinstance(fact, f.CaptureIntended) else fact.reason,
        in_flight=False,
        next_try_mono_ms=0,
        tries=0,
    )
    chain = replace(state.chain, next_serial=max(state.chain.next_serial, fact.step.serial + 1))
    if isinstance(fact, f.VoidIntended) and fact.receipt_number and fact.no_charge is not None:
        receipt = NoChargeReceipt(fact.receipt_number, fact.receipt_code, fact.no_charge, at)
        state = with_settlement(state, fact.hold_id, no_charge=receipt)
        chain = replace(chain, next_receipt=chain.next_receipt + 1)
    return replace(state, chain=chain)


def _reopened(state: State, fact: f.SettlementReopened, at: Stamp) -> State:
    return _from_the_past(state, fact.past, phase=SettlementPhase.HELD, reopened=True)


def _refund_intended(state: State, fact: f.RefundIntended, at: Stamp) -> State:
    why = f"{fact.actor}: {fact.reason}"
    state = _from_the_past(state, fact.past, phase=SettlementPhase.REFUNDING, step=fact.step, step_reason=why, refund=fact)
    return replace(state, chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.step.serial + 1)))


def _credit_intended(state: State, fact: f.CreditIntended, at: Stamp) -> State:
    chain = replace(state.chain, next_receipt=state.chain.next_receipt + 1)
    return replace(state, credits=(*state.credits, fact), chain=chain)


def _from_the_past(state: State, past: f.PastHold, **changes: Any) -> State:
    one = Settlement(
        hold=past.hold,
        session_id=past.session_id,
        card=past.card,
        phase=SettlementPhase.HELD,
        approved_minor=past.approved_minor,
        capture_before_utc_ms=past.capture_before_utc_ms,
        captured_minor=past.captured_minor,
        refunded_minor=past.refunded_minor,
        offline="offline" in past.hold.trace,
    )
    hold_id = past.hold.hold_id
    settlements = with_item(state.settlements, hold_id, replace(one, **changes))
    return replace(state, settlements=settlements, manual=state.manual - {hold_id})


def _with_debt(state: State, one: Settlement, fact: f.HoldEnded) -> State:
    if not one.offline or one.captured_minor:
        return state
    token = next((debt.token for debt in state.debts if debt.hold_id == fact.hold_id), one.card.token)
    debts = tuple(debt for debt in state.debts if debt.hold_id != fact.hold_id)
    if fact.how is f.Terminated.MANUAL:
        owed = one.step.amount_minor if one.step is not None else one.approved_minor
        debts = (*debts, Debt(fact.hold_id, token, owed))
    return replace(state, debts=debts)


def _hold_ended(state: State, fact: f.HoldEnded, at: Stamp) -> State:
    settlement = state.settlements[fact.hold_id]
    for connector, done in state.finished.items():
        if done.session.hold_id == fact.hold_id and not settlement.captured_minor:  # the receipt on the screen tells it
            state = replace(state, finished=with_item(state.finished, connector, replace(done, settled=fact.how)))
    state = replace(state, slices=pocket.ended(state.slices, settlement.hold.key, fact.how))
    if fact.how is f.Terminated.MANUAL:
        state = replace(state, manual=state.manual | {fact.hold_id})
    state = _with_debt(state, settlement, fact)
    return with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.ENDED,
        how=fact.how,
        amount_minor=fact.amount_minor,
        detail=fact.detail,
        hold=replace(settlement.hold, trace={**settlement.hold.trace, **fact.trace}),
        in_flight=False,
    )


STEPS: dict[type, Callable[[State, Any, Stamp], State]] = {
    f.AuthorizationIntended: _authorization_intended,
    f.AuthorizationRerouted: _rerouted,
    f.OfflineGranted: _offline_granted,
    f.HoldKept: _kept,
    f.HoldReused: _reused,
    f.IncrementIntended: _increment_intended,
    f.IncrementEnded: _increment_ended,
    f.CheckoutOpened: _checkout_opened,
    f.AuthorizationApproved: _approved,
    f.AuthorizationDeclined: _declined,
    f.AuthorizationUnknown: _unknown,
    f.CaptureIntended: _step_intended,
    f.VoidIntended: _step_intended,
    f.HoldEnded: _hold_ended,
    f.RefundIntended: _refund_intended,
    f.CreditIntended: _credit_intended,
    f.SettlementReopened: _reopened,
}
