"""Evolve: what a fact makes of the state. Total, never decides, never fails on a fact this version can read. PURE.

Replay folds the ledger through this function only; so an upgrade of the rules cannot rewrite history.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from terminal_app.billing.record import claims_of, signer_of
from terminal_app.session import book, energy, evolve_money, pocket
from terminal_app.session import facts as f
from terminal_app.session.folding import (
    fresh_live,
    limited,
    marks_from,
    replace,
    session_of,
    with_limits,
    with_register,
    with_session,
    with_settlement,
)
from terminal_app.session.register import LATCHED
from terminal_app.session.state import (
    Chain,
    Finished,
    Limits,
    Live,
    MeterBook,
    Phase,
    Seal,
    Session,
    State,
    amended_live,
    fault_key,
    with_item,
    without,
)
from terminal_app.values import CardFacts, ClockState, Stamp

CDRS_REJECTED_KEPT = 100
LIMITS_KEPT = 500  # of one charge: load control may speak every few seconds for days, and a record has an end


def evolve(state: State, fact: f.Fact, at: Stamp) -> State:
    """The state after `fact`, committed at `at`."""
    state = _STEPS[type(fact)](state, fact, at)
    if at.clock is ClockState.SYNCHRONISED and at.utc_ms > state.known_utc_ms:
        state = replace(state, known_utc_ms=at.utc_ms)
    return state


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
        test=fact.test,
        test_s=fact.test_s,
        test_limit_a=fact.test_limit_a,
    )
    state = replace(
        state,
        sessions=with_item(state.sessions, fact.connector, session),
        finished=without(state.finished, fact.connector),
    )
    return fresh_live(state, fact.connector)


def _start(state: State, fact: f.StartRegistered, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    assert session is not None
    mark = f.Mark(utc_ms=fact.second.stamp.utc_ms, energy_wh=fact.second.energy_wh, charging_ms=0, parking_ms=0)
    state = with_session(
        state,
        session,
        phase=Phase.CHARGING,
        start=fact.second,
        committed=fact.second,
        identity=fact.identity,
        meter_key=fact.meter_key,
        started=at,
        marks=(mark,),
    )
    state = with_register(fresh_live(state, session.connector), session.connector, fact.second)
    if fact.second.serial:
        state = energy.begun(state, session.connector, fact.second, fact.identity)
    return amended_live(
        state,
        session.connector,
        meter=fact.second,
        meter_seen_mono_ms=at.mono_ms,
        counted_mono_ms=at.mono_ms,
        moved_mono_ms=at.mono_ms,
        trusted=None,
        outlier=None,
        open_base=None,
    )


def _checkpoint(state: State, fact: f.EnergyCheckpoint, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    assert session is not None
    marks = session.marks
    if fact.boundary:
        marks = (*marks, f.Mark(fact.value.stamp.utc_ms, fact.value.energy_wh, fact.charging_ms, fact.parking_ms))
    return with_session(state, session, committed=fact.value, charging_ms=fact.charging_ms, parking_ms=fact.parking_ms, marks=marks)


def _stop_intended(state: State, fact: f.StopIntended, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    assert session is not None
    state = with_session(
        state,
        session,
        phase=Phase.STOPPING,
        stop_reason=fact.reason,
        stop_at=fact.at,
        stop_after=session.committed.stamp if session.committed is not None else None,
        stop_detail=fact.detail,
        interrupted=session.interrupted or fact.interrupted,
        charging_ms=fact.charging_ms,
        parking_ms=fact.parking_ms,
    )
    if session.connector in state.limits:  # its share of the site's supply goes back as soon as its contactor is known to be open
        state = with_limits(state, session.connector, grid_a=0, in_force_a=None, since_mono_ms=at.mono_ms, lowered_mono_ms=0)
    return amended_live(
        state, session.connector, asked_read="", read_failures=0, read_again_mono_ms=0, stopping_since_mono_ms=at.mono_ms
    )


def _aborted(state: State, fact: f.SessionAborted, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    return state if session is None else replace(state, sessions=without(state.sessions, session.connector))


def _frozen(state: State, fact: f.BillFrozen, at: Stamp) -> State:
    session = session_of(state, fact.session_id)
    assert session is not None
    state = with_session(
        state,
        session,
        phase=Phase.SEALING,
        bill=fact,
        stop=fact.stop,
        committed=fact.stop,
        stop_source=fact.stop_source,
        stop_why=fact.stop_why,
    )
    chain, register, energy_wh = state.chain, fact.stop, fact.energy_wh
    own = fact.signed or fact.unbilled
    if own is not None and session.start is not None:  # the books of the meter are kept by the register we read
        register, energy_wh = own.register, own.register.energy_wh - session.start.energy_wh
    if fact.signed is not None:
        state = _signed(state, session, fact, fact.signed)
    state = energy.billed(state, session, register, energy_wh)
    if fact.stop_source == "meter":
        wraps_at_wh = session.identity.wraps_at_wh if session.identity else 0
        state = with_register(state, session.connector, energy.shown(register, wraps_at_wh))
    return replace(
        state,
        chain=replace(
            chain,
            next_pagination=max(chain.next_pagination, fact.pagination + 1),
            next_receipt=chain.next_receipt + 1,
        ),
    )


def _signed(state: State, session: Session, fact: f.BillFrozen, signed: f.MeterSigned) -> State:
    """The bill stands on the register as the meter signed it, and this page of the meter is used."""
    book = MeterBook(signed.meter_key, signed.page, hashlib.sha256(fact.ocmf.encode()).hexdigest())
    state = replace(state, meters=with_item(state.meters, signed.register.serial, book))
    frozen = state.sessions[session.connector]
    return with_session(state, frozen, start=signed.start, marks=marks_from(session, signed.start, fact.stop))


def _meter_key(state: State, fact: f.MeterKeySeen, at: Stamp) -> State:
    return replace(state, meters=with_item(state.meters, fact.serial, MeterBook(fact.spki)))


def _seal_intended(state: State, fact: f.SealIntended, at: Stamp) -> State:
    return replace(state, seal=Seal(fact.record_seq, fact.record_type, fact.subject, fact.signing_input))


def _sealed(state: State, fact: f.Sealed, at: Stamp) -> State:
    assert state.seal is not None
    chain, signed = state.chain, state.seal.signing_input
    chain = replace(chain, next_record_seq=fact.record_seq + 1, head_sha256=fact.sha256, key_id=signer_of(signed))
    state = replace(state, seal=None, chain=_noted(chain, fact, signed, at))
    if fact.record_type == "settlement":
        return replace(state, settlements=without(state.settlements, fact.subject))
    if fact.record_type == "credit":
        return replace(state, credits=tuple(one for one in state.credits if one.session_id != fact.subject))
    if fact.record_type != "session":
        return state
    session = session_of(state, fact.subject)
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
    if session.test:  # nobody waits for a receipt
        return replace(state, sessions=without(state.sessions, session.connector))
    return replace(
        state,
        sessions=without(state.sessions, session.connector),
        finished=with_item(state.finished, session.connector, done),
    )


def _limit_set(state: State, fact: f.LimitSet, at: Stamp) -> State:
    before = state.limits.get(fact.connector, Limits())
    state = with_limits(limited(state, fact), fact.connector, in_force_a=fact.in_force_a)
    if fact.source == "grid":
        lowered = at.mono_ms if (fact.limit_a or 0) < before.grid_a else before.lowered_mono_ms
        state = with_limits(state, fact.connector, since_mono_ms=at.mono_ms, lowered_mono_ms=lowered)
    session = session_of(state, fact.session_id) if fact.session_id else None
    if session is not None:
        changes = (*session.limits, f.LimitChange(at.utc_ms, fact.in_force_a, fact.source))
        left_out = session.limits_left_out + max(0, len(changes) - LIMITS_KEPT)
        state = with_session(state, session, limits=changes[-LIMITS_KEPT:], limits_left_out=left_out)
    if 0 in (before.in_force_a, fact.in_force_a):  # withheld, or no longer: the controller has to be seen authorized anew
        state = amended_live(state, fact.connector, granted=False, grant_since_mono_ms=at.mono_ms)
    return state


def _noted(chain: Chain, fact: f.Sealed, signed: str, at: Stamp) -> Chain:
    """What records about the chain itself say to those that follow."""
    if fact.record_type == "checkpoint":
        return replace(chain, checkpoint=at, checkpoint_seq=fact.record_seq, checkpoint_due=False)
    if fact.record_type == "key-change":
        said = claims_of(signed.encode())
        readings = str(said.get("new_ocmf_key_id", chain.ocmf_key_id))
        return replace(chain, key_id=str(said["new_key_id"]), ocmf_key_id=readings, checkpoint_due=True)
    return chain


def _fault_raised(state: State, fact: f.FaultRaised, at: Stamp) -> State:
    key, fault = fault_key(fact.fault), fact.fault
    if (fault.device, fault.kind) in LATCHED:
        state = replace(state, latched=with_item(state.latched, key, fault))
    return replace(state, faults=with_item(state.faults, key, fault))


def _fault_cleared(state: State, fact: f.FaultCleared, at: Stamp) -> State:
    key = fault_key(fact.fault)
    return replace(state, faults=without(state.faults, key), latched=without(state.latched, key))


def _balance(state: State, fact: f.EnergyBalance, at: Stamp) -> State:
    return energy.balanced(state, fact)


def _meter_accepted(state: State, fact: f.MeterAccepted, at: Stamp) -> State:
    return energy.accepted(state, fact)


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


def _carried(state: State, fact: Any, at: Stamp) -> State:
    carried = state.chain.carried
    match fact:
        case f.PullerAcknowledged():
            pullers = with_item(carried.pullers, fact.client, (fact.through_seq, fact.head_sha256))
            carried = replace(carried, pullers=pullers)
        case f.CdrOrderedAgain(record_seq=seq, part=part):
            rejected, again = _left(carried.cdrs_rejected, (seq, part)), _left(carried.cdrs_again, (seq, part))
            carried = replace(carried, cdrs_rejected=rejected, cdrs_again=(*again, (seq, part)))
        case f.CdrDelivered(record_seq=seq, part=part) | f.CdrRejected(record_seq=seq, part=part):
            rejected = _left(carried.cdrs_rejected, (seq, part))
            if isinstance(fact, f.CdrRejected):
                rejected = (*rejected, (seq, part))[-CDRS_REJECTED_KEPT:]
            carried = replace(
                carried,
                cdrs_through=max(carried.cdrs_through, (seq, part)),
                cdrs_rejected=rejected,
                cdrs_again=_left(carried.cdrs_again, (seq, part)),
            )
    return replace(state, chain=replace(state.chain, carried=carried))


def _left(cdrs: tuple[tuple[int, int], ...], gone: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(one for one in cdrs if one != gone)


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


def _tariff_taken(state: State, fact: f.TariffTaken, at: Stamp) -> State:
    return replace(state, book=book.taken(state.book, fact, at.utc_ms))


def _overridden(state: State, fact: f.LawOverridden, at: Stamp) -> State:
    others = without(state.overrides, fact.rule)
    return replace(state, overrides=others if fact.ended else with_item(others, fact.rule, fact))


def _booted(state: State, fact: f.TerminalBooted, at: Stamp) -> State:
    """A new process: telemetry, faults and receipts on the screen belong to the old one; what is latched does not."""
    fresh = {connector: Live() for connector in state.live}
    state = replace(
        state, faults=state.latched, finished={}, live=fresh, seal=None if state.seal is None else replace(state.seal, asked=False)
    )
    for connector in state.limits:
        state = with_limits(state, connector, since_mono_ms=0, lowered_mono_ms=0)
    for hold_id in state.settlements:
        # whatever is asked again may have been asked before: it goes out as a repetition
        state = with_settlement(state, hold_id, answer_due=False, in_flight=False, next_try_mono_ms=0, first_try_mono_ms=0, tries=1)
    chain = state.chain
    first = {"checkpoint": chain.checkpoint or at, "ocmf_key_id": chain.ocmf_key_id or fact.ocmf_key_id}
    return replace(state, chain=replace(chain, **first))


def card_text(card: CardFacts | None) -> str:
    """How a card is named to people: brand and last four digits only."""
    if card is None or not (card.brand or card.last4):
        return ""
    return f"{card.brand} ···· {card.last4}"


_STEPS: dict[type, Callable[[State, Any, Stamp], State]] = {
    f.TerminalBooted: _booted,
    f.SessionOpened: _opened,
    f.StartRegistered: _start,
    f.EnergyCheckpoint: _checkpoint,
    f.StopIntended: _stop_intended,
    f.SessionAborted: _aborted,
    f.BillFrozen: _frozen,
    f.EnergyBalance: _balance,
    f.MeterAccepted: _meter_accepted,
    f.ShortfallBooked: _nothing,
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
    f.TariffTaken: _tariff_taken,
    f.LawOverridden: _overridden,
    f.MeterKeySeen: _meter_key,
    f.MeterRecordSetAside: _nothing,
    **dict.fromkeys(f.CARRIED, _carried),
    f.LimitSet: _limit_set,
    **evolve_money.STEPS,
}
