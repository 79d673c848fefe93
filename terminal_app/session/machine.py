"""How the machines are coupled: `decide` lets each that is concerned react, in a fixed order, within one turn. PURE.

1. telemetry is noted  2. the session machine(s)  3. the settlements  4. the kiosk  5. follow-ons, the same way
6. limits of the current are noted, the site's is shared out  7. the seal line is filled  8. the reader is armed for what is
now on the glass.
"""

from terminal_app.session import arming, charge, events, grid, kiosk, limits, orders, receipts, sealing, settlement, signed, watch
from terminal_app.session import facts as f
from terminal_app.session.actions import Authorize, EvseWish, ReaderWish
from terminal_app.session.evolve import evolve
from terminal_app.session.state import Phase, SettlementPhase, State, Terms, fault_key
from terminal_app.session.turn import Turn
from terminal_app.values import Device, Fault

__all__ = ["decide", "evolve", "evse_wishes", "reader_wish"]


def decide(state: State, event: events.Event, terms: Terms) -> Turn:
    """Facts, actions and the state after them. ImpossibleEvent if the event cannot happen here."""
    turn = Turn(state, terms)
    _react(turn, event)
    while turn.follow_ons:
        _react(turn, turn.follow_ons.popleft())
    limits.recall(turn)
    grid.balance(turn)
    kiosk.send_waiting_card(turn)
    sealing.fill(turn)
    arming.arm(turn)
    _wipe_what_is_not_sent(turn, event)
    return turn


def _wipe_what_is_not_sent(turn: Turn, event: events.Event) -> None:
    """A card that came back unsent is sent to another gateway by this turn, or forgotten."""
    if isinstance(event, events.AuthorizationAnswered) and event.card is not None:
        sent = any(isinstance(one, Authorize) and one.card is event.card for one in turn.actions)
        if not sent:
            event.card.wipe()


def _react(turn: Turn, event: events.Event) -> None:
    _note_telemetry(turn, event)
    kind = type(event)
    connectors, holds = _connectors(turn.state, event), _holds(turn.state, event)
    if kind in charge.HANDLED:
        for connector in connectors:
            charge.decide(turn, connector, event)
    if kind in settlement.HANDLED:
        for hold_id in holds:
            settlement.decide(turn, hold_id, event)
    if kind in kiosk.HANDLED:
        kiosk.decide(turn, event)
    if kind in sealing.HANDLED:
        sealing.decide(turn, event)
    if kind in receipts.HANDLED:
        receipts.decide(turn, event)
    if kind in limits.HANDLED:
        limits.decide(turn, event)
    if isinstance(event, events.RefundOrdered):
        orders.refund(turn, event)
    elif isinstance(event, events.SettlementOrdered) and event.past is not None:
        orders.ordered(turn, event)
    elif isinstance(event, events.Ticked):
        settlement.watch_overdue(turn)


def _note_telemetry(turn: Turn, event: events.Event) -> None:
    match event:
        case events.EvseReported(connector=connector, status=status):
            turn.note_live(connector, evse=status)
            grid.heard(turn, connector, status)
            welded = turn.state.faults.get(fault_key(Fault(Device.EVSE, connector, "welded")))
            if welded is not None and not status.relay:
                turn.commit(f.FaultCleared(welded))
            watch.controller_word(turn, connector, status)
        case events.MeterReported(connector=connector, value=value, resolution_wh=resolution_wh):
            turn.note_live(connector, resolution_wh=resolution_wh)
            session = turn.state.sessions.get(connector)
            if session is None or session.start is None:  # in a charge its own rules decide
                watch.idle_reading(turn, connector, value)
        case events.FaultSeen(fault=fault, raised=raised):
            known = fault_key(fault) in turn.state.faults
            if raised and not known:
                turn.commit(f.FaultRaised(fault))
            elif not raised and known:
                turn.commit(f.FaultCleared(turn.state.faults[fault_key(fault)]))
        case events.MeterKeyRead():
            signed.key_read(turn, event)
        case events.SignedBegun():
            signed.keep_left_over(turn, event)
        case _:
            pass


def _connectors(state: State, event: events.Event) -> tuple[int, ...]:
    """Which connectors' sessions an event concerns."""
    match event:
        case events.Booted() | events.Ticked():
            return tuple(state.live)
        case events.AuthorizationAnswered(hold_id=hold_id) | events.CheckoutAnswered(hold_id=hold_id):
            hold = state.settlements.get(hold_id)
            return (hold.hold.connector,) if hold is not None and hold.phase is SettlementPhase.ASKED else ()
        case (
            events.RegisterRead(connector=connector, session_id=session_id)
            | events.RegisterUnreadable(connector=connector, session_id=session_id)
            | events.SignedBegun(connector=connector, session_id=session_id)
            | events.SignedEnded(connector=connector, session_id=session_id)
            | events.SignedRefused(connector=connector, session_id=session_id)
        ):
            session = state.sessions.get(connector)
            return (connector,) if session is not None and session.session_id == session_id else ()
        case events.OcmfSigned(session_id=session_id):
            return tuple(one.connector for one in state.sessions.values() if one.session_id == session_id)
        case events.EvseReported(connector=connector) | events.MeterReported(connector=connector):
            return (connector,)
        case (
            events.StopCommanded(connector=connector)
            | events.StartCommanded(connector=connector)
            | events.TestCommanded(connector=connector)
        ):
            return (connector,) if connector in state.live else ()
    return ()


def _holds(state: State, event: events.Event) -> tuple[str, ...]:
    """Which settlements an event concerns; answers for holds that are sealed and gone concern none."""
    match event:
        case events.Booted() | events.Ticked():
            return tuple(state.settlements)
        case events.AuthorizationAnswered(hold_id=hold_id) | events.CheckoutAnswered(hold_id=hold_id):
            hold = state.settlements.get(hold_id)
            return (hold_id,) if hold is not None and hold.phase is not SettlementPhase.ASKED else ()
        case (
            events.SettlementAnswered(hold_id=hold_id)
            | events.IncrementAnswered(hold_id=hold_id)
            | events.SettlementOrdered(hold_id=hold_id)
        ):
            return (hold_id,) if hold_id in state.settlements else ()
    return ()


def evse_wishes(state: State, terms: Terms) -> dict[int, EvseWish]:
    """Which contactors may close: exactly those of sessions in CHARGING, which is committed before (I6), unless the charger
    withholds; and with how much current."""
    return {one.number: _evse_wish(state, terms, one.number, one.max_current_a) for one in terms.config.connector}


def _evse_wish(state: State, terms: Terms, connector: int, max_a: int) -> EvseWish:
    session, allowed_a = state.sessions.get(connector), limits.in_force_a(state, terms.config, connector)
    charging = session is not None and session.phase is Phase.CHARGING
    return EvseWish(authorized=charging and allowed_a > 0, limit_a=allowed_a or max_a)


def reader_wish(state: State) -> ReaderWish | None:
    """What the reader shall do with the next card; None = rest."""
    request = state.kiosk.request
    return None if request is None else ReaderWish(state.kiosk.arm_no, request)
