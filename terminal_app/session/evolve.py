"""Evolve: what a fact makes of the state. Total, never decides, never fails on a fact this version can read. PURE.

Replay folds the ledger through this function only; so an upgrade of the rules cannot rewrite history.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from terminal_app.session import facts as f
from terminal_app.session import pocket
from terminal_app.session.state import (
    Debt,
    Finished,
    Grant,
    Live,
    Phase,
    Seal,
    Session,
    Settlement,
    SettlementPhase,
    State,
    amended_live,
    fault_key,
    with_item,
    without,
)
from terminal_app.values import CardFacts, EntryMode, MeterValue, Stamp

replace = msgspec.structs.replace
GRANTS_KEPT_MS = 31 * 86_400_000


def evolve(state: State, fact: f.Fact, at: Stamp) -> State:
    """The state after `fact`, committed at `at`."""
    return _STEPS[type(fact)](state, fact, at)


def _session_of(state: State, session_id: str) -> Session | None:
    return next((one for one in state.sessions.values() if one.session_id == session_id), None)


def _with_session(state: State, session: Session, **changes: Any) -> State:
    return replace(state, sessions=with_item(state.sessions, session.connector, replace(session, **changes)))


def _with_settlement(state: State, hold_id: str, **changes: Any) -> State:
    return replace(state, settlements=with_item(state.settlements, hold_id, replace(state.settlements[hold_id], **changes)))


def _with_register(state: State, connector: int, value: MeterValue) -> State:
    """Two agreeing readings of a meter that can be told from another one."""
    return replace(state, registers=with_item(state.registers, connector, value)) if value.serial else state


def _fresh_live(state: State, connector: int) -> State:
    """Session counters back to zero; telemetry stays."""
    return amended_live(
        state,
        connector,
        charging_ms=0,
        parking_ms=0,
        counted_mono_ms=0,
        asked_read="",
        stale_read=False,
        read_failures=0,
        read_again_mono_ms=0,
        car_idle_since_mono_ms=0,
        checkout_url="",
        checkout_ends="",
        checkout_ends_mono_ms=0,
        granted=False,
        stopping_since_mono_ms=0,
        ocmf_payload=b"",
    )


def _nothing(state: State, fact: Any, at: Stamp) -> State:
    return state


def _opened(state: State, fact: f.SessionOpened, at: Stamp) -> State:
    session = Session(
        session_id=fact.session_id,
        connector=fact.connector,
        phase=Phase.AUTHORIZED if fact.free else Phase.AUTHORIZING,
        tariff=fact.tariff,
        tariff_fingerprint=fact.tariff_fingerprint,
        free=fact.free,
        language=fact.language,
        opened=at,
        plug_deadline_mono_ms=fact.plug_deadline_mono_ms,
        origin=fact.origin,
    )
    state = replace(
        state,
        sessions=with_item(state.sessions, fact.connector, session),
        finished=without(state.finished, fact.connector),
    )
    return _fresh_live(state, fact.connector)


def _authorization_intended(state: State, fact: f.AuthorizationIntended, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    assert session is not None
    phase = Phase.CHECKOUT if fact.card.entry is EntryMode.QR else Phase.AUTHORIZING
    state = _with_session(state, session, phase=phase, hold_id=fact.hold.hold_id, card=fact.card)
    settlement = Settlement(hold=fact.hold, session_id=fact.session_id, card=fact.card, phase=SettlementPhase.ASKED)
    return replace(
        state,
        settlements=with_item(state.settlements, fact.hold.hold_id, settlement),
        chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.hold.serial + 1)),
    )


def _rerouted(state: State, fact: f.AuthorizationRerouted, at: Stamp) -> State:
    one = state.settlements[fact.hold_id]
    tried = (*one.tried, one.hold.gateway)
    return _with_settlement(state, fact.hold_id, hold=replace(one.hold, gateway=fact.gateway), tried=tried)


def _offline_granted(state: State, fact: f.OfflineGranted, at: Stamp) -> State:
    one = state.settlements[fact.hold_id]
    state = _with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.HELD,
        approved_minor=fact.amount_minor,
        offline=True,
        hold=replace(one.hold, gateway=fact.gateway, trace={**one.hold.trace, "offline": "granted"}),
    )
    grants = tuple(grant for grant in state.grants if grant.utc_ms > at.utc_ms - GRANTS_KEPT_MS)
    state = replace(state, grants=(*grants, Grant(one.card.token, at.utc_ms)))
    session = _session_of(state, one.session_id)
    assert session is not None
    return _with_session(state, session, phase=Phase.AUTHORIZED, plug_deadline_mono_ms=fact.plug_deadline_mono_ms)


def _kept(state: State, fact: f.HoldKept, at: Stamp) -> State:
    return _with_settlement(state, fact.hold_id, kept_until_mono_ms=fact.until_mono_ms)


def _reused(state: State, fact: f.HoldReused, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    assert session is not None
    state = _with_settlement(state, fact.hold_id, session_id=fact.session_id, kept_until_mono_ms=0)
    return _with_session(
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
    state = _with_settlement(state, fact.hold_id, increment=fact.step, increments=increments)
    return replace(state, chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.step.serial + 1)))


def _increment_ended(state: State, fact: f.IncrementEnded, at: Stamp) -> State:
    one = state.settlements[fact.hold_id]
    return _with_settlement(
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
    return _with_settlement(state, fact.hold_id, hold=replace(hold, trace={**hold.trace, "checkout": fact.reference}))


def _approved(state: State, fact: f.AuthorizationApproved, at: Stamp) -> State:
    settlement = state.settlements[fact.hold_id]
    card = settlement.card
    if card.entry is EntryMode.QR:  # only the gateway has seen it
        card = replace(card, brand=fact.trace.get("brand", "").capitalize(), last4=fact.trace.get("last4", ""))
    state = _with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.HELD,
        approved_minor=fact.approved_minor,
        hold=replace(settlement.hold, trace={**settlement.hold.trace, **fact.trace}),
        card=card,
        capture_before_utc_ms=fact.capture_before_utc_ms,
    )
    if session := _session_of(state, settlement.session_id):
        deadline_ms = fact.plug_deadline_mono_ms
        return _with_session(state, session, phase=Phase.AUTHORIZED, plug_deadline_mono_ms=deadline_ms, card=card)
    return state


def _declined(state: State, fact: f.AuthorizationDeclined, at: Stamp) -> State:
    session = _session_of(state, state.settlements[fact.hold_id].session_id)
    state = replace(state, settlements=without(state.settlements, fact.hold_id))
    return state if session is None else replace(state, sessions=without(state.sessions, session.connector))


def _unknown(state: State, fact: f.AuthorizationUnknown, at: Stamp) -> State:
    session = _session_of(state, state.settlements[fact.hold_id].session_id)
    return state if session is None else replace(state, sessions=without(state.sessions, session.connector))


def _start(state: State, fact: f.StartRegistered, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    assert session is not None
    mark = f.Mark(utc_ms=fact.second.stamp.utc_ms, energy_wh=fact.second.energy_wh, charging_ms=0, parking_ms=0)
    state = _with_session(
        state,
        session,
        phase=Phase.CHARGING,
        start=fact.second,
        committed=fact.second,
        identity=fact.identity,
        started=at,
        marks=(mark,),
    )
    state = _with_register(_fresh_live(state, session.connector), session.connector, fact.second)
    return amended_live(state, session.connector, meter=fact.second, meter_seen_mono_ms=at.mono_ms, counted_mono_ms=at.mono_ms)


def _checkpoint(state: State, fact: f.EnergyCheckpoint, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    assert session is not None
    marks = session.marks
    if fact.boundary:
        marks = (*marks, f.Mark(fact.value.stamp.utc_ms, fact.value.energy_wh, fact.charging_ms, fact.parking_ms))
    return _with_session(
        state, session, committed=fact.value, charging_ms=fact.charging_ms, parking_ms=fact.parking_ms, marks=marks
    )


def _stop_intended(state: State, fact: f.StopIntended, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    assert session is not None
    state = _with_session(
        state,
        session,
        phase=Phase.STOPPING,
        stop_reason=fact.reason,
        stop_at=fact.at,
        stop_detail=fact.detail,
        interrupted=session.interrupted or fact.interrupted,
        charging_ms=fact.charging_ms,
        parking_ms=fact.parking_ms,
    )
    return amended_live(
        state, session.connector, asked_read="", read_failures=0, read_again_mono_ms=0, stopping_since_mono_ms=at.mono_ms
    )


def _aborted(state: State, fact: f.SessionAborted, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    return state if session is None else replace(state, sessions=without(state.sessions, session.connector))


def _frozen(state: State, fact: f.BillFrozen, at: Stamp) -> State:
    session = _session_of(state, fact.session_id)
    assert session is not None
    state = _with_session(
        state, session, phase=Phase.SEALING, bill=fact, stop=fact.stop, committed=fact.stop, stop_source=fact.stop_source
    )
    chain = state.chain
    if fact.stop_source == "meter":
        state = _with_register(state, session.connector, fact.stop)
    return replace(
        state,
        chain=replace(
            chain,
            next_pagination=max(chain.next_pagination, fact.pagination + 1),
            next_receipt=chain.next_receipt + 1,
        ),
    )


def _step_intended(state: State, fact: f.CaptureIntended | f.VoidIntended, at: Stamp) -> State:
    capture = isinstance(fact, f.CaptureIntended)
    state = _with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.CAPTURING if capture else SettlementPhase.VOIDING,
        step=fact.step,
        step_reason="" if isinstance(fact, f.CaptureIntended) else fact.reason,
        in_flight=False,
        next_try_mono_ms=0,
        tries=0,
    )
    return replace(state, chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.step.serial + 1)))


def _reopened(state: State, fact: f.SettlementReopened, at: Stamp) -> State:
    return _from_the_past(state, fact.past, phase=SettlementPhase.HELD)


def _refund_intended(state: State, fact: f.RefundIntended, at: Stamp) -> State:
    why = f"{fact.actor}: {fact.reason}"
    state = _from_the_past(state, fact.past, phase=SettlementPhase.REFUNDING, step=fact.step, step_reason=why)
    return replace(state, chain=replace(state.chain, next_serial=max(state.chain.next_serial, fact.step.serial + 1)))


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
    return _with_settlement(
        state,
        fact.hold_id,
        phase=SettlementPhase.ENDED,
        how=fact.how,
        amount_minor=fact.amount_minor,
        detail=fact.detail,
        hold=replace(settlement.hold, trace={**settlement.hold.trace, **fact.trace}),
        in_flight=False,
    )


def _seal_intended(state: State, fact: f.SealIntended, at: Stamp) -> State:
    return replace(state, seal=Seal(fact.record_seq, fact.record_type, fact.subject, fact.signing_input))


def _sealed(state: State, fact: f.Sealed, at: Stamp) -> State:
    chain = replace(state.chain, next_record_seq=fact.record_seq + 1, head_sha256=fact.sha256)
    state = replace(state, seal=None, chain=chain)
    if fact.record_type == "settlement":
        return replace(state, settlements=without(state.settlements, fact.subject))
    session = _session_of(state, fact.subject)
    assert session is not None
    hold = state.settlements.get(session.hold_id)
    done = Finished(
        session=session,
        since_mono_ms=at.mono_ms,
        hold_minor=hold.approved_minor if hold else 0,
        card=card_text(session.card),
        settled=hold.how if hold else None,
        offline=hold.offline if hold else False,
    )
    return replace(
        state,
        sessions=without(state.sessions, session.connector),
        finished=with_item(state.finished, session.connector, done),
    )


def _fault_raised(state: State, fact: f.FaultRaised, at: Stamp) -> State:
    return replace(state, faults=with_item(state.faults, fault_key(fact.fault), fact.fault))


def _fault_cleared(state: State, fact: f.FaultCleared, at: Stamp) -> State:
    return replace(state, faults=without(state.faults, fault_key(fact.fault)))


def _acknowledged(state: State, fact: f.OfficeAcknowledged, at: Stamp) -> State:
    chain = replace(
        state.chain,
        acknowledged_through=fact.records_through,
        facts_acknowledged_through=fact.facts_through,
    )
    return replace(state, chain=chain)


def _command_taken(state: State, fact: f.CommandTaken, at: Stamp) -> State:
    chain = state.chain
    opened = (*chain.commands_open, fact.command_id)
    return replace(state, chain=replace(chain, commands_through=max(chain.commands_through, fact.number), commands_open=opened))


def _command_answered(state: State, fact: f.CommandAnswered, at: Stamp) -> State:
    left = tuple(one for one in state.chain.commands_open if one != fact.command_id)
    return replace(state, chain=replace(state.chain, commands_open=left))


def _slice_fact(state: State, fact: Any, at: Stamp) -> State:
    slices = state.slices
    match fact:
        case f.SliceIntended():
            slices = pocket.intended(slices, fact)
        case f.SliceKept():
            slices = pocket.kept(slices, fact)
        case f.SliceRefused():
            slices = pocket.answered(slices, fact.key)
        case f.SliceTaken():
            slices = pocket.reserved(slices, fact.hold_key, pocket.Taken(fact.slice_id, fact.amount_minor))
        case f.SliceSettled():
            slices = pocket.settled(slices, fact.hold_key, fact.spent_minor)
        case f.SliceReturning():
            slices = pocket.returning(slices, fact.slice_id)
        case f.SliceReturned():
            slices = pocket.returned(slices, fact.slice_id)
    return replace(state, slices=slices)


def _denied(state: State, fact: f.DenyListSet, at: Stamp) -> State:
    return replace(state, deny=pocket.DenyList(fact.version, frozenset(fact.tokens)))


def _booted(state: State, fact: f.TerminalBooted, at: Stamp) -> State:
    """A new process: telemetry, faults and receipts on the screen belong to the old one."""
    fresh = {connector: Live() for connector in state.live}
    state = replace(
        state, faults={}, finished={}, live=fresh, seal=None if state.seal is None else replace(state.seal, asked=False)
    )
    for hold_id in state.settlements:
        # whatever is asked again may have been asked before: it goes out as a repetition
        state = _with_settlement(
            state, hold_id, answer_due=False, in_flight=False, next_try_mono_ms=0, first_try_mono_ms=0, tries=1
        )
    return state


def card_text(card: CardFacts | None) -> str:
    """How a card is named to people: brand and last four digits only."""
    if card is None or not (card.brand or card.last4):
        return ""
    return f"{card.brand} ···· {card.last4}"


_STEPS: dict[type, Callable[[State, Any, Stamp], State]] = {
    f.TerminalBooted: _booted,
    f.SessionOpened: _opened,
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
    f.StartRegistered: _start,
    f.EnergyCheckpoint: _checkpoint,
    f.StopIntended: _stop_intended,
    f.SessionAborted: _aborted,
    f.BillFrozen: _frozen,
    f.ShortfallBooked: _nothing,
    f.CaptureIntended: _step_intended,
    f.VoidIntended: _step_intended,
    f.HoldEnded: _hold_ended,
    f.RefundIntended: _refund_intended,
    f.SettlementReopened: _reopened,
    f.SealIntended: _seal_intended,
    f.Sealed: _sealed,
    f.FaultRaised: _fault_raised,
    f.FaultCleared: _fault_cleared,
    f.ServiceAct: _nothing,
    f.OfficeAcknowledged: _acknowledged,
    f.CommandTaken: _command_taken,
    f.CommandAnswered: _command_answered,
    **dict.fromkeys(f.SLICES, _slice_fact),
    f.DenyListSet: _denied,
}
