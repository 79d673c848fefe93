"""Session machine: one driver's charge on a connector. PURE. The rules are the table at the end; read it first.

NONE -> AUTHORIZING (a card) | CHECKOUT (a page for the phone) -> AUTHORIZED -> STARTING -> CHARGING -> STOPPING -> SIGNING ->
SEALING -> NONE. STARTING and SIGNING are volatile: after a crash they are AUTHORIZED and STOPPING again. Energy may flow in
CHARGING only, and that is committed.
"""

from terminal_app.billing.cost import next_boundary
from terminal_app.session import checkout, energy, events, freeze, limits, register, start, technician, watch
from terminal_app.session import facts as f
from terminal_app.session.bill import cost_until, frozen_tariff, margin_minor
from terminal_app.session.hold import intend_increment
from terminal_app.session.state import Phase, Session
from terminal_app.session.turn import Ignored, Impossible, Step, Turn, apply_rule
from terminal_app.values import ClockState, Device, EvseStatus, Fault, MeterIdentity, MeterValue, Pilot

GRANT_MS = 20_000
RAISE_AHEAD = 12  # a hold is raised when so many times the stopping margin (about a minute at full power) is left
CAPTURE_AHEAD_MS = 2 * 3_600_000
LONGEST_GAP_MS = 5_000  # between two readings, while one tells how much flowed until the next
BROKEN = (Pilot.D, Pilot.E, Pilot.F)


def decide(turn: Turn, connector: int, event: events.Event) -> None:
    """Let the session machine of one connector react."""
    session = turn.state.sessions.get(connector)
    phase = session.phase if session else Phase.NONE
    apply_rule(RULES[phase, type(event)], f"session {phase.value} + {type(event).__name__}", turn, connector, event)


# --- charging --------------------------------------------------------------------------------------------------------


def stop(turn: Turn, connector: int, reason: f.StopReason, detail: str = "", interrupted: bool = False) -> None:
    """Commit the end of energy; from here the contactor is wished open."""
    session, live = start.session_on(turn, connector), turn.live(connector)
    turn.commit(
        f.StopIntended(
            session_id=session.session_id,
            reason=reason,
            at=turn.terms.now,
            detail=detail,
            interrupted=interrupted,
            charging_ms=max(live.charging_ms, session.charging_ms),
            parking_ms=max(live.parking_ms, session.parking_ms),
        )
    )


def _charging_booted(turn: Turn, connector: int, event: events.Event) -> None:
    stop(turn, connector, f.StopReason.POWER_CUT, "the terminal was restarted", interrupted=True)


def _charging_evse(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.EvseReported)
    session = start.session_on(turn, connector)
    status, live, now = event.status, turn.live(connector), turn.terms.now.mono_ms
    if limits.withheld(turn.state, turn.terms.config, connector):
        _withheld_evse(turn, connector, event)
        return
    gone_by_ms = max(0, now - live.counted_mono_ms)
    charging, parking = live.charging_ms, live.parking_ms
    if status.relay:
        charging += gone_by_ms
    elif live.granted and status.authorized and status.pilot is Pilot.B:
        parking += gone_by_ms  # the car has stopped asking; never counted while the charger withholds
    idle_since = 0 if status.relay else (live.car_idle_since_mono_ms or now)
    turn.note_live(
        connector,
        charging_ms=charging,
        parking_ms=parking,
        counted_mono_ms=now,
        granted=live.granted or (status.authorized and status.stamp.mono_ms > live.grant_since_mono_ms),
        car_idle_since_mono_ms=idle_since,
    )
    if _ended_by_car_or_fault(turn, connector, status):
        return
    since_ms = max(session.started.mono_ms if session.started else now, live.grant_since_mono_ms)
    if live.granted and not status.authorized:
        stop(turn, connector, f.StopReason.FAULT, "the charge controller was restarted", interrupted=True)
    elif not (live.granted or status.authorized) and now - since_ms > GRANT_MS:
        stop(turn, connector, f.StopReason.FAULT, "the charge controller did not release the car")
    elif not status.relay and charging == 0 and now - idle_since > turn.terms.config.policy.car_start_window_s * 1000:
        stop(turn, connector, f.StopReason.CAR_FINISHED, "the car never asked for energy")


def _withheld_evse(turn: Turn, connector: int, event: events.EvseReported) -> None:
    """The charger itself gives no energy for now: what flows until the contactor is open counts, waiting never does, and neither
    the car nor the controller is blamed for it."""
    live, now = turn.live(connector), turn.terms.now.mono_ms
    flowing_ms = max(0, now - live.counted_mono_ms) if event.status.relay else 0
    turn.note_live(
        connector,
        charging_ms=live.charging_ms + flowing_ms,
        counted_mono_ms=now,
        granted=False,
        grant_since_mono_ms=now,
        car_idle_since_mono_ms=0,
    )
    _ended_by_car_or_fault(turn, connector, event.status)


def _ended_by_car_or_fault(turn: Turn, connector: int, status: EvseStatus) -> bool:
    if status.pilot is Pilot.A:
        stop(turn, connector, f.StopReason.UNPLUGGED)
    elif status.fault or status.pilot in BROKEN:
        why = f"charge controller: {status.fault or status.pilot.value}"
        stop(turn, connector, f.StopReason.FAULT, why, interrupted=True)
    else:
        return False
    return True


def _charging_meter(turn: Turn, connector: int, event: events.Event) -> None:
    """A good reading is the new base; two outliers that agree, or a register that stands still, end the charge in time."""
    assert isinstance(event, events.MeterReported)
    session, live = start.session_on(turn, connector), turn.live(connector)
    last = live.meter or session.committed
    assert last is not None and session.committed is not None and session.identity is not None
    found = register.judge(last, event.value, turn.terms.config.outlet(connector).max_power_w, session.identity.wraps_at_wh)
    if not found.good:
        if watch.outlier(turn, connector, found, event.value):
            _stop_at_the_last_good(turn, connector, f"meter: {found.why}")
        return
    watch.good_again(turn, connector, moved=found.value.energy_wh > last.energy_wh)
    turn.note_live(connector, meter=found.value, outlier=None)
    if _stands_still(turn, connector, session.identity, last, found.value):
        return
    turn.note_live(connector, meter_seen_mono_ms=turn.terms.now.mono_ms)
    _checkpoint_if_due(turn, connector, session, last, found.value)
    _stop_before_hold_is_used_up(turn, connector)


def _stands_still(turn: Turn, connector: int, identity: MeterIdentity, last: MeterValue, value: MeterValue) -> bool:
    """Fresh times on an old value while energy flows: the meter counts as lost since the register last moved."""
    live, now = turn.live(connector), turn.terms.now.mono_ms
    flows = live.evse is not None and live.evse.relay
    if value.energy_wh > last.energy_wh or not flows:
        if energy.standing(turn.state, connector, Device.METER, frozenset({register.FROZEN})):
            turn.note_live(connector, freeze_patience_ms=2 * (now - live.moved_mono_ms))  # slow: not called frozen again as soon
        turn.note_live(connector, moved_mono_ms=now, still_wms=0)
        return False
    passed_ms = min(max(0, value.stamp.mono_ms - last.stamp.mono_ms), LONGEST_GAP_MS)
    still_wms, still_ms = live.still_wms + max(0, value.power_w) * passed_ms, now - live.moved_mono_ms
    turn.note_live(connector, still_wms=still_wms)
    patience_ms = max(turn.terms.config.policy.meter_frozen_s * 1000, live.freeze_patience_ms)
    if not register.frozen(still_wms, still_ms, identity.resolution_wh, patience_ms):
        return False
    turn.note_live(connector, meter_seen_mono_ms=live.moved_mono_ms)
    due_wh, seconds = still_wms // register.WMS_PER_WH, still_ms // 1000
    why = f"the register has stood at {value.energy_wh} Wh for {seconds} s, while {due_wh} Wh flowed by the meter's own power"
    turn.then(events.FaultSeen(Fault(Device.METER, connector, register.FROZEN, why), True))
    return True


def _stop_at_the_last_good(turn: Turn, connector: int, why: str) -> None:
    """The meter can no longer be believed: what it counted while it could is committed first, so that it can be billed."""
    session, live = start.session_on(turn, connector), turn.live(connector)
    assert session.committed is not None
    if live.meter is not None and live.meter.energy_wh > session.committed.energy_wh:
        turn.commit(f.EnergyCheckpoint(session.session_id, live.meter, live.charging_ms, live.parking_ms, boundary=False))
    stop(turn, connector, f.StopReason.FAULT, why, interrupted=True)


def _checkpoint_if_due(turn: Turn, connector: int, session: Session, before: MeterValue, value: MeterValue) -> None:
    """Commit a reading every few minutes or kWh, and on both sides of a tariff boundary."""
    assert session.committed is not None and session.start is not None
    live, policy = turn.live(connector), turn.terms.config.policy
    zone = turn.terms.config.terminal.time_zone
    tariff = frozen_tariff(session.tariff)
    begin_wh = session.start.energy_wh
    seconds = (live.charging_ms + live.parking_ms) // 1000
    edge = next_boundary(tariff, before.stamp.utc_ms, before.energy_wh - begin_wh, max(0, seconds - 1), zone)
    crossed = (
        (edge.utc_ms is not None and value.stamp.utc_ms >= edge.utc_ms)
        or (edge.energy_wh is not None and value.energy_wh - begin_wh >= edge.energy_wh)
        or (edge.duration_s is not None and seconds >= edge.duration_s)
    )
    mark = session.marks[-1]
    standing = (value.energy_wh, live.charging_ms, live.parking_ms) == (mark.energy_wh, mark.charging_ms, mark.parking_ms)
    if crossed and not standing:
        if before.energy_wh > mark.energy_wh:
            turn.commit(f.EnergyCheckpoint(session.session_id, before, live.charging_ms, live.parking_ms, boundary=True))
        turn.commit(f.EnergyCheckpoint(session.session_id, value, live.charging_ms, live.parking_ms, boundary=True))
        return
    due = (
        value.stamp.mono_ms - session.committed.stamp.mono_ms >= policy.checkpoint_s * 1000
        or value.energy_wh - session.committed.energy_wh >= policy.checkpoint_wh
    )
    if due:
        turn.commit(f.EnergyCheckpoint(session.session_id, value, live.charging_ms, live.parking_ms, boundary=False))


def _stop_before_hold_is_used_up(turn: Turn, connector: int) -> None:
    session, live = start.session_on(turn, connector), turn.live(connector)
    if session.free or live.meter is None:
        return
    held = turn.state.settlements[session.hold_id].approved_minor
    zone = turn.terms.config.terminal.time_zone
    cost = cost_until(session, live.meter.energy_wh, live.charging_ms, live.parking_ms, zone)
    margin = margin_minor(frozen_tariff(session.tariff), turn.terms.config.outlet(connector).max_power_w)
    if cost.total_minor + margin >= held:
        stop(turn, connector, f.StopReason.HOLD_LIMIT)
    elif cost.total_minor + margin * (1 + RAISE_AHEAD) >= held:
        _raise_hold(turn, session.hold_id)


def _raise_hold(turn: Turn, hold_id: str) -> None:
    """In time before the hold is used up, if its gateway can and the operator wants it."""
    one, policy = turn.state.settlements[hold_id], turn.terms.config.policy
    can = one.hold.gateway in turn.terms.incrementing and not one.offline and "slice" not in one.hold.trace
    again = one.increment is None and not one.increment_refused and one.increments < policy.increments_most
    if policy.increment_minor and can and again:
        intend_increment(turn, hold_id, policy.increment_minor)


def _hold_expires(turn: Turn, connector: int) -> bool:
    """Whether what is held must be captured soon. Only a clock that is known can tell."""
    one, now = turn.state.settlements.get(start.session_on(turn, connector).hold_id), turn.terms.now
    if one is None or one.capture_before_utc_ms is None or now.clock is ClockState.UNKNOWN:
        return False
    life_ms = max(0, one.capture_before_utc_ms - one.hold.utc_ms)
    return now.utc_ms > one.capture_before_utc_ms - min(CAPTURE_AHEAD_MS, life_ms // 4)


def _charging_ticked(turn: Turn, connector: int, event: events.Event) -> None:
    live, now = turn.live(connector), turn.terms.now.mono_ms
    longest_ms = turn.terms.config.policy.meter_lost_stop_s * 1000
    if now - live.meter_seen_mono_ms > longest_ms:
        _stop_at_the_last_good(turn, connector, f"meter lost for {longest_ms // 1000} s")
    elif now - live.counted_mono_ms > longest_ms:
        stop(turn, connector, f.StopReason.FAULT, f"charge controller lost for {longest_ms // 1000} s", interrupted=True)
    elif _hold_expires(turn, connector):
        stop(turn, connector, f.StopReason.HOLD_LIMIT, "the hold is about to expire")
    elif technician.over(turn, connector):
        stop(turn, connector, f.StopReason.TEST_ENDED)


def _charging_commanded(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.StopCommanded)
    stop(turn, connector, event.reason, f"{event.actor}: {event.why}" if event.why else "")


# --- the table -------------------------------------------------------------------------------------------------------


def _ask_stop_when_open(turn: Turn, connector: int, event: events.Event) -> None:
    if freeze.stop_reading_due(turn, connector):
        start.ask_register(turn, connector, "stop")


P, E = Phase, events
_OVER = Ignored("the session it was asked for is over")
_NO_CHARGE = Ignored("nothing to stop")
_BUSY = Ignored("the office is told so before: a connector serves one session at a time")
_DECIDED = Ignored("the stop is decided already")
_WATCHED = Ignored("telemetry is noted for every connector before the rules; nothing more follows from it here")
_TIME = Ignored("nothing is waited for here")
_NOT_ASKED = Impossible("this was not asked for in this state")
_AGAIN = Ignored("an answer to an attempt that is being repeated; the meter gives the same record again")
_FROZEN = Ignored("the bill is frozen already; a record asked for twice came twice")
_VOLATILE = Impossible("a volatile state cannot be found after replay")

RULES: dict[tuple[Phase, type[events.Event]], Step | Ignored | Impossible] = {
    (P.NONE, E.Booted): _TIME,
    (P.NONE, E.Ticked): _TIME,
    (P.NONE, E.AuthorizationAnswered): _NOT_ASKED,
    (P.NONE, E.CheckoutAnswered): _NOT_ASKED,
    (P.NONE, E.EvseReported): _WATCHED,
    (P.NONE, E.MeterReported): _WATCHED,
    (P.NONE, E.RegisterRead): _OVER,
    (P.NONE, E.RegisterUnreadable): _OVER,
    (P.NONE, E.SignedBegun): _OVER,
    (P.NONE, E.SignedEnded): _OVER,
    (P.NONE, E.SignedRefused): _OVER,
    (P.NONE, E.OcmfSigned): _OVER,
    (P.NONE, E.StopCommanded): _NO_CHARGE,
    (P.NONE, E.StartCommanded): start.commanded,
    (P.NONE, E.TestCommanded): technician.commanded,
    (P.AUTHORIZING, E.Booted): start.authorizing_booted,
    (P.AUTHORIZING, E.Ticked): start.authorizing_ticked,
    (P.AUTHORIZING, E.AuthorizationAnswered): start.authorization_answered,
    (P.AUTHORIZING, E.CheckoutAnswered): _NOT_ASKED,
    (P.AUTHORIZING, E.EvseReported): _WATCHED,
    (P.AUTHORIZING, E.MeterReported): _WATCHED,
    (P.AUTHORIZING, E.RegisterRead): _OVER,
    (P.AUTHORIZING, E.RegisterUnreadable): _OVER,
    (P.AUTHORIZING, E.SignedBegun): _NOT_ASKED,
    (P.AUTHORIZING, E.SignedEnded): _NOT_ASKED,
    (P.AUTHORIZING, E.SignedRefused): _NOT_ASKED,
    (P.AUTHORIZING, E.OcmfSigned): _OVER,
    (P.AUTHORIZING, E.StopCommanded): Ignored("the bank's answer decides; then it can be cancelled"),
    (P.AUTHORIZING, E.StartCommanded): _BUSY,
    (P.AUTHORIZING, E.TestCommanded): _BUSY,
    (P.CHECKOUT, E.Booted): checkout.booted,
    (P.CHECKOUT, E.Ticked): checkout.ticked,
    (P.CHECKOUT, E.CheckoutAnswered): checkout.opened,
    (P.CHECKOUT, E.AuthorizationAnswered): checkout.answered,
    (P.CHECKOUT, E.EvseReported): _WATCHED,
    (P.CHECKOUT, E.MeterReported): _WATCHED,
    (P.CHECKOUT, E.RegisterRead): _OVER,
    (P.CHECKOUT, E.RegisterUnreadable): _OVER,
    (P.CHECKOUT, E.SignedBegun): _NOT_ASKED,
    (P.CHECKOUT, E.SignedEnded): _NOT_ASKED,
    (P.CHECKOUT, E.SignedRefused): _NOT_ASKED,
    (P.CHECKOUT, E.OcmfSigned): _OVER,
    (P.CHECKOUT, E.StopCommanded): checkout.cancelled,
    (P.CHECKOUT, E.StartCommanded): _BUSY,
    (P.CHECKOUT, E.TestCommanded): _BUSY,
    (P.AUTHORIZED, E.Booted): start.authorized_booted,
    (P.AUTHORIZED, E.Ticked): start.authorized_ticked,
    (P.AUTHORIZED, E.AuthorizationAnswered): _NOT_ASKED,
    (P.AUTHORIZED, E.CheckoutAnswered): _NOT_ASKED,
    (P.AUTHORIZED, E.EvseReported): start.authorized_evse,
    (P.AUTHORIZED, E.MeterReported): _WATCHED,
    (P.AUTHORIZED, E.RegisterRead): start.answered_in_vain,
    (P.AUTHORIZED, E.RegisterUnreadable): start.answered_in_vain,
    (P.AUTHORIZED, E.SignedBegun): start.answered_in_vain,
    (P.AUTHORIZED, E.SignedEnded): _NOT_ASKED,
    (P.AUTHORIZED, E.SignedRefused): start.answered_in_vain,
    (P.AUTHORIZED, E.OcmfSigned): _OVER,
    (P.AUTHORIZED, E.StopCommanded): start.abort_commanded,
    (P.AUTHORIZED, E.StartCommanded): _BUSY,
    (P.AUTHORIZED, E.TestCommanded): _BUSY,
    (P.STARTING, E.Booted): _VOLATILE,
    (P.STARTING, E.Ticked): start.starting_ticked,
    (P.STARTING, E.AuthorizationAnswered): _NOT_ASKED,
    (P.STARTING, E.CheckoutAnswered): _NOT_ASKED,
    (P.STARTING, E.EvseReported): start.starting_evse,
    (P.STARTING, E.MeterReported): _WATCHED,
    (P.STARTING, E.RegisterRead): start.start_read,
    (P.STARTING, E.RegisterUnreadable): start.start_unreadable,
    (P.STARTING, E.SignedBegun): start.begun,
    (P.STARTING, E.SignedEnded): _NOT_ASKED,
    (P.STARTING, E.SignedRefused): start.begin_refused,
    (P.STARTING, E.OcmfSigned): _OVER,
    (P.STARTING, E.StopCommanded): start.abort_commanded,
    (P.STARTING, E.StartCommanded): _BUSY,
    (P.STARTING, E.TestCommanded): _BUSY,
    (P.CHARGING, E.Booted): _charging_booted,
    (P.CHARGING, E.Ticked): _charging_ticked,
    (P.CHARGING, E.AuthorizationAnswered): _NOT_ASKED,
    (P.CHARGING, E.CheckoutAnswered): _NOT_ASKED,
    (P.CHARGING, E.EvseReported): _charging_evse,
    (P.CHARGING, E.MeterReported): _charging_meter,
    (P.CHARGING, E.RegisterRead): Ignored("a second start reading, asked before an unplug; the first one counts"),
    (P.CHARGING, E.RegisterUnreadable): Ignored("a second start reading, asked before an unplug; the first one counts"),
    (P.CHARGING, E.SignedBegun): _NOT_ASKED,
    (P.CHARGING, E.SignedEnded): _NOT_ASKED,
    (P.CHARGING, E.SignedRefused): _NOT_ASKED,
    (P.CHARGING, E.OcmfSigned): _OVER,
    (P.CHARGING, E.StopCommanded): _charging_commanded,
    (P.CHARGING, E.StartCommanded): _BUSY,
    (P.CHARGING, E.TestCommanded): _BUSY,
    (P.STOPPING, E.Booted): Ignored("ticks ask for the stop register again"),
    (P.STOPPING, E.Ticked): _ask_stop_when_open,
    (P.STOPPING, E.AuthorizationAnswered): _NOT_ASKED,
    (P.STOPPING, E.CheckoutAnswered): _NOT_ASKED,
    (P.STOPPING, E.EvseReported): _ask_stop_when_open,
    (P.STOPPING, E.MeterReported): _WATCHED,
    (P.STOPPING, E.RegisterRead): freeze.stop_read,
    (P.STOPPING, E.RegisterUnreadable): freeze.stop_unanswered,
    (P.STOPPING, E.SignedBegun): _NOT_ASKED,
    (P.STOPPING, E.SignedEnded): _AGAIN,
    (P.STOPPING, E.SignedRefused): _AGAIN,
    (P.STOPPING, E.OcmfSigned): Ignored("signed for an attempt that is being repeated"),
    (P.STOPPING, E.StopCommanded): _DECIDED,
    (P.STOPPING, E.StartCommanded): _BUSY,
    (P.STOPPING, E.TestCommanded): _BUSY,
    (P.SIGNING, E.Booted): _VOLATILE,
    (P.SIGNING, E.Ticked): freeze.sign_again_if_late,
    (P.SIGNING, E.AuthorizationAnswered): _NOT_ASKED,
    (P.SIGNING, E.CheckoutAnswered): _NOT_ASKED,
    (P.SIGNING, E.EvseReported): _WATCHED,
    (P.SIGNING, E.MeterReported): _WATCHED,
    (P.SIGNING, E.RegisterRead): Ignored("the stop register is read already"),
    (P.SIGNING, E.RegisterUnreadable): Ignored("the stop register is read already"),
    (P.SIGNING, E.SignedBegun): _NOT_ASKED,
    (P.SIGNING, E.SignedEnded): freeze.signed_ended,
    (P.SIGNING, E.SignedRefused): freeze.signed_refused,
    (P.SIGNING, E.OcmfSigned): freeze.ocmf_signed,
    (P.SIGNING, E.StopCommanded): _DECIDED,
    (P.SIGNING, E.StartCommanded): _BUSY,
    (P.SIGNING, E.TestCommanded): _BUSY,
    (P.SEALING, E.Booted): Ignored("the seal line asks the signer again"),
    (P.SEALING, E.Ticked): Ignored("the seal line asks the signer again"),
    (P.SEALING, E.AuthorizationAnswered): _NOT_ASKED,
    (P.SEALING, E.CheckoutAnswered): _NOT_ASKED,
    (P.SEALING, E.EvseReported): _WATCHED,
    (P.SEALING, E.MeterReported): _WATCHED,
    (P.SEALING, E.RegisterRead): _OVER,
    (P.SEALING, E.RegisterUnreadable): _OVER,
    (P.SEALING, E.SignedBegun): _NOT_ASKED,
    (P.SEALING, E.SignedEnded): _FROZEN,
    (P.SEALING, E.SignedRefused): _FROZEN,
    (P.SEALING, E.OcmfSigned): Ignored("the bill is frozen already; a signature asked twice came twice"),
    (P.SEALING, E.StopCommanded): _DECIDED,
    (P.SEALING, E.StartCommanded): _BUSY,
    (P.SEALING, E.TestCommanded): _BUSY,
}
HANDLED: tuple[type[events.Event], ...] = (
    E.Booted,
    E.Ticked,
    E.AuthorizationAnswered,
    E.CheckoutAnswered,
    E.EvseReported,
    E.MeterReported,
    E.RegisterRead,
    E.RegisterUnreadable,
    E.SignedBegun,
    E.SignedEnded,
    E.SignedRefused,
    E.OcmfSigned,
    E.StopCommanded,
    E.StartCommanded,
    E.TestCommanded,
)
