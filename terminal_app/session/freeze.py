"""From the stop register to the frozen bill: read, sign, verify, then one commit. Part of the session machine. PURE.

What cannot be read is waited for and never invented: the same meter is asked for up to `meter_return_s`, and no longer than half
of the time that is left until the hold must be captured; then the bill ends at the last committed reading, marked `checkpoint`
(meters.md section 5, DE-4).
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from terminal_app.billing import ocmf, record
from terminal_app.billing.law import BELOW_MINIMUM
from terminal_app.billing.receipt import SHORT_CODE, to_receipt_lines
from terminal_app.errors import SignatureInvalid
from terminal_app.session import actions, energy, events, gate, register, settlement, signed, watch
from terminal_app.session import facts as f
from terminal_app.session.bill import cost_until, frozen_tariff, least_wh
from terminal_app.session.folding import marks_from
from terminal_app.session.state import Phase, Session
from terminal_app.session.turn import Turn
from terminal_app.values import ClockState, Device, Fault, MeterValue

OPEN_UNCONFIRMED_MS = 30_000
READ_AGAIN_MS = 5_000
TRUST_NEWEST_TRIES = 6
UNGUARDED_MS = 900_000  # a machine restarts, and a controller without a guard of its own stays closed until then
WAKE_UP_MS = 120_000  # how long a meter is asked in any case after a restart
CHANGED_FOR_MS = 600_000  # a meter that wakes up slowly has told its true register by then
SIGN_AGAIN_MS = 10_000
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def stop_reading_due(turn: Turn, connector: int) -> bool:
    """Whether the stop register shall be read now: the contactor is open and locked, or nobody has confirmed it for 30 s."""
    live, now = turn.live(connector), turn.terms.now.mono_ms
    if live.stopping_since_mono_ms == 0:
        turn.note_live(connector, stopping_since_mono_ms=now)
        return False
    if live.asked_read or now < live.read_again_mono_ms:
        return False
    evse = live.evse
    fresh = evse is not None and evse.stamp.mono_ms >= live.stopping_since_mono_ms
    if fresh and evse is not None and not evse.relay and not evse.authorized:
        return True
    if now - live.stopping_since_mono_ms <= OPEN_UNCONFIRMED_MS:
        return False
    if fresh and evse is not None and evse.relay:  # the controller says: still closed
        turn.then(events.FaultSeen(Fault(Device.EVSE, connector, "welded", "the contactor did not open"), True))
    return True


def stop_read(turn: Turn, connector: int, event: events.Event) -> None:
    """Two readings came: if they agree and follow the last one that counted, their OCMF is signed."""
    assert isinstance(event, events.RegisterRead)
    if event.purpose != "stop":
        return  # a start reading asked twice: it was taken before the contactor opened
    session, live = turn.state.sessions[connector], turn.live(connector)
    assert session.committed is not None
    last = session.committed
    if live.meter is not None and live.meter.energy_wh > last.energy_wh and live.read_failures < TRUST_NEWEST_TRIES:
        last = live.meter  # one reading may have been a glitch: two agreeing ones outweigh it when they stay
    max_power_w = turn.terms.config.outlet(connector).max_power_w
    wraps_at_wh = session.identity.wraps_at_wh if session.identity else 0
    first, second = (register.continued(last, one, wraps_at_wh) for one in (event.first, event.second))
    why = gate.disagreement(first, second, max_power_w)
    policy = turn.terms.config.policy
    across_ms = (policy.checkpoint_s + policy.meter_lost_stop_s) * 1000 + UNGUARDED_MS
    found = register.judge(last, first, max_power_w, 0, across_ms)
    still = energy.standing(turn.state, connector, Device.METER, frozenset({register.FROZEN}))
    if why or (found.good and not still):
        turn.note_live(connector, outlier=None)
    elif not found.good:
        why = found.why
        watch.outlier(turn, connector, found, first)
    elif second.energy_wh > (live.meter or session.committed).energy_wh:  # it moved: what stood still is over
        turn.then(events.FaultSeen(still[0], False))
    else:
        why = still[0].detail
    if why:
        stop_unreadable(turn, connector, events.RegisterUnreadable(connector, event.session_id, "stop", why))
    else:
        _sign(turn, connector, second, "meter")


def stop_unanswered(turn: Turn, connector: int, event: events.Event) -> None:
    """Nothing readable came: whatever answered before is not there for sure."""
    turn.note_live(connector, outlier=None)
    stop_unreadable(turn, connector, event)


def stop_unreadable(turn: Turn, connector: int, event: events.Event) -> None:
    """Ask again every few seconds; after `meter_return_s`, in time before the hold ends, or when another register has answered for
    long enough, the last committed reading is the end."""
    assert isinstance(event, events.RegisterUnreadable)
    if event.purpose != "stop":
        return
    session, now = turn.state.sessions[connector], turn.terms.now
    failures = turn.live(connector).read_failures + 1
    turn.note_live(connector, asked_read="", read_failures=failures, read_again_mono_ms=now.mono_ms + READ_AGAIN_MS)
    assert session.committed is not None
    if why := _lost_for_good(turn, connector):
        _sign(turn, connector, session.committed, "checkpoint", why)
    elif _another_register(turn, connector):
        _sign(turn, connector, session.committed, "checkpoint", "changed")


def _lost_for_good(turn: Turn, connector: int) -> str:
    """Why the meter is waited for no longer; "" = it may still come back."""
    session, now = turn.state.sessions[connector], turn.terms.now
    assert session.stop_at is not None
    tried_ms = now.mono_ms - turn.live(connector).stopping_since_mono_ms  # since this start: a long night is no patience
    longest_ms, why = _patience(turn, session)
    waited = now.utc_ms - session.stop_at.utc_ms > longest_ms and tried_ms > min(longest_ms, WAKE_UP_MS)
    return why if waited or tried_ms > longest_ms else ""  # the second counts when the wall clock was set back


def _patience(turn: Turn, session: Session) -> tuple[int, str]:
    """How long the meter may be waited for, and which limit that is: `meter_return_s`, or half of what was left at the stop until
    the hold must be captured (if a clock that is known told so)."""
    assert session.stop_at is not None
    return_ms, hold = turn.terms.config.policy.meter_return_s * 1000, turn.state.settlements.get(session.hold_id)
    if hold is None or hold.capture_before_utc_ms is None or session.stop_at.clock is ClockState.UNKNOWN:
        return return_ms, "not_back"
    half_ms = max(0, hold.capture_before_utc_ms - session.stop_at.utc_ms) // 2
    return (half_ms, "hold_ends") if half_ms < return_ms else (return_ms, "not_back")


def _another_register(turn: Turn, connector: int) -> bool:
    """The meter answers, agrees with itself, and has not been the one we know for ten minutes: it will not come back."""
    live = turn.live(connector)
    return live.outlier is not None and turn.terms.now.mono_ms - live.outlier_since_mono_ms > CHANGED_FOR_MS


def _sign(turn: Turn, connector: int, value: MeterValue, source: str, why: str = "") -> None:
    session = turn.state.sessions[connector]
    if session.meter_key:
        turn.note_session(connector, phase=Phase.SIGNING, stop=value, stop_source=source, stop_why=why)
        if source == "meter":
            signed.ask_end(turn, connector)
        else:
            _not_billed(turn, connector, "the meter never came back with its signed record")
        return
    payload = _ocmf_payload(turn, session, value, source)
    turn.note_session(connector, phase=Phase.SIGNING, stop=value, stop_source=source, stop_why=why)
    turn.note_live(
        connector,
        asked_read="",
        ocmf_payload=payload,
        ocmf_pagination=turn.state.chain.next_pagination,
        sign_asked_mono_ms=turn.terms.now.mono_ms,
    )
    turn.do(actions.SignOcmf(session.session_id, payload))


def sign_again_if_late(turn: Turn, connector: int, event: events.Event) -> None:
    live, now = turn.live(connector), turn.terms.now.mono_ms
    if turn.state.sessions[connector].meter_key:
        signed.ask_end_if_due(turn, connector)
    elif now - live.sign_asked_mono_ms > SIGN_AGAIN_MS:
        turn.note_live(connector, sign_asked_mono_ms=now)
        turn.do(actions.SignOcmf(turn.state.sessions[connector].session_id, live.ocmf_payload))


def ocmf_signed(turn: Turn, connector: int, event: events.Event) -> None:
    """Verify what was signed, as anyone would; only then the bill is frozen. One commit: bill, money intent, seal intent."""
    assert isinstance(event, events.OcmfSigned)
    session, live = turn.state.sessions[connector], turn.live(connector)
    assert session.start is not None and session.stop is not None
    if live.ocmf_pagination != turn.state.chain.next_pagination:  # another connector's bill took the number
        _sign(turn, connector, session.stop, session.stop_source, session.stop_why)
        return
    text = ocmf.assemble(live.ocmf_payload, ocmf.raw_to_der(event.signature))
    try:
        measured = ocmf.verify(text, turn.terms.ocmf_spki)
        if measured.energy_wh != session.stop.energy_wh - session.start.energy_wh:
            raise SignatureInvalid(f"OCMF: says {measured.energy_wh} Wh")
    except SignatureInvalid as error:
        # nothing is billed on it; the signer is out of order until a signature verifies
        turn.then(events.FaultSeen(Fault(Device.SIGNER, 0, "ocmf", str(error)), True))
        turn.note_live(connector, sign_asked_mono_ms=turn.terms.now.mono_ms)
        return
    turn.then(events.FaultSeen(Fault(Device.SIGNER, 0, "ocmf"), False))
    _freeze(turn, connector, text)


def signed_ended(turn: Turn, connector: int, event: events.Event) -> None:
    """The meter's own record came: it holds, or it is asked for again, or nothing is billed."""
    assert isinstance(event, events.SignedEnded)
    try:
        found = signed.judged(turn, connector, event.record)
    except SignatureInvalid as error:
        if signed.end_failed(turn, connector) >= signed.VERIFY_TRIES:
            text = event.record[: ocmf.MAX_OCMF_BYTES]
            turn.commit(f.MeterRecordSetAside(connector, event.session_id, str(error), text))
            _not_billed(turn, connector, str(error))
        return
    turn.then(events.FaultSeen(signed.record_fault(connector), False))
    _freeze(turn, connector, event.record, found)


def signed_refused(turn: Turn, connector: int, event: events.Event) -> None:
    """Waited for like the stop register; a meter that says no is believed sooner."""
    assert isinstance(event, events.SignedRefused)
    if event.purpose != "end":
        return
    failures = signed.end_failed(turn, connector)
    if _lost_for_good(turn, connector) or (event.refused and failures >= signed.END_REFUSALS):
        _not_billed(turn, connector, f"the meter gives no signed record: {event.why}")


def _not_billed(turn: Turn, connector: int, why: str) -> None:
    """Nothing is taken for energy whose record does not hold, and nothing more is sold on this meter."""
    turn.then(events.FaultSeen(signed.record_fault(connector, why), True))
    _freeze(turn, connector, "", unbilled=signed.unbilled(turn.state.sessions[connector], why))


def _freeze(
    turn: Turn, connector: int, ocmf_text: str, by_meter: f.MeterSigned | None = None, unbilled: f.Unbilled | None = None
) -> None:
    session, live, terms = turn.state.sessions[connector], turn.live(connector), turn.terms
    assert session.start is not None and session.stop is not None
    start, stop = session.start, in_order(session.start, session.stop)
    if by_meter is not None:  # the signed readings are what is billed
        start = by_meter.start
        stop = msgspec.structs.replace(stop, energy_wh=start.energy_wh + by_meter.energy_wh)
        session = msgspec.structs.replace(session, start=start, marks=marks_from(session, start, stop))
    elif unbilled is not None:
        stop = msgspec.structs.replace(stop, energy_wh=start.energy_wh)
    charging_ms, parking_ms = max(session.charging_ms, live.charging_ms), max(session.parking_ms, live.parking_ms)
    energy_wh, least = stop.energy_wh - start.energy_wh, least_wh(session, terms.config.terminal.country)
    cost = cost_until(session, stop.energy_wh, charging_ms, parking_ms, terms.config.terminal.time_zone, least)
    hold = turn.state.settlements.get(session.hold_id)
    held = hold.approved_minor if hold else 0
    capture = min(cost.total_minor, held) if hold else 0
    chain = turn.state.chain
    turn.commit(
        f.BillFrozen(
            session_id=session.session_id,
            stop=stop,
            energy_wh=energy_wh,
            charging_ms=charging_ms,
            parking_ms=parking_ms,
            lines=record.record_lines(cost),
            shown_lines=to_receipt_lines(cost),
            net_minor=cost.net_minor,
            vat_minor=cost.vat_minor,
            total_minor=cost.total_minor,
            capture_minor=capture,
            shortfall_minor=cost.total_minor - capture if hold else 0,
            ocmf=ocmf_text,
            pagination=chain.next_pagination if by_meter is None and unbilled is None else 0,
            receipt_number=turn.receipt_number(),
            receipt_code=terms.receipt_code,
            ended=terms.now,
            stop_source=session.stop_source,
            stop_why=session.stop_why,
            not_billed=BELOW_MINIMUM if 0 < energy_wh < least else "",
            signed=by_meter,
            unbilled=unbilled,
        )
    )
    if hold is not None and cost.total_minor > capture:
        lost = cost.total_minor - capture
        turn.commit(f.ShortfallBooked(session.session_id, hold.hold.hold_id, lost, hold.hold.currency))
    if hold is not None and capture > 0:
        settlement.intend_capture(turn, hold.hold.hold_id, capture, terms.receipt_code[:SHORT_CODE].lower())
    elif hold is not None:
        why = "nothing to pay" if unbilled is None else f"nothing is billed: {unbilled.why}"
        settlement.intend_void(turn, hold.hold.hold_id, why)


def _ocmf_payload(turn: Turn, session: Session, value: MeterValue, source: str) -> bytes:
    terms, identity = turn.terms, session.identity
    assert session.start is not None and identity is not None
    tariff = frozen_tariff(session.tariff)
    evse_id = terms.config.outlet(session.connector).evse_id
    context = ocmf.OcmfContext(
        gateway_id="charge-terminal",
        gateway_serial=terms.config.terminal.id,
        gateway_version=terms.software,
        pagination=turn.state.chain.next_pagination,
        meter_vendor=identity.vendor,
        meter_model=identity.model,
        meter_serial=identity.serial,
        meter_firmware=identity.firmware,
        id_type="LOCAL" if session.free else "CARD_TXN_NR",
        id_data=session.hold_id or session.session_id,
        tariff_text=f"{tariff.id} {session.tariff_fingerprint[:16]}",
        evse_id=evse_id,
        resolution_wh=identity.resolution_wh,
    )
    end_mark = "P" if session.stop_reason is f.StopReason.POWER_CUT or source == "checkpoint" else "E"
    return ocmf.payload(
        context,
        _reading(session.start, "B", identity.obis, terms.config.terminal.time_zone),
        _reading(in_order(session.start, value), end_mark, identity.obis, terms.config.terminal.time_zone),
    )


def in_order(start: MeterValue, stop: MeterValue) -> MeterValue:
    """The stop reading with a wall clock that does not run backwards: set back in between, or not yet set after a restart.

    Then its time is the start's plus the monotonic difference (0 across a restart of the machine), marked as unknown.
    """
    if stop.stamp.utc_ms >= start.stamp.utc_ms:
        return stop
    same_boot = stop.stamp.boot_id == start.stamp.boot_id
    passed_ms = max(0, stop.stamp.mono_ms - start.stamp.mono_ms) if same_boot else 0
    stamp = msgspec.structs.replace(stop.stamp, utc_ms=start.stamp.utc_ms + passed_ms, clock=ClockState.UNKNOWN)
    return msgspec.structs.replace(stop, stamp=stamp)


def _reading(value: MeterValue, mark: str, obis: str, time_zone: str) -> ocmf.OcmfReading:
    local = (EPOCH + timedelta(milliseconds=value.stamp.utc_ms)).astimezone(ZoneInfo(time_zone))
    offset = local.utcoffset() or timedelta(0)
    return ocmf.OcmfReading(
        utc_ms=value.stamp.utc_ms,
        clock=value.stamp.clock.value,
        offset_min=int(offset.total_seconds()) // 60,
        tx=mark,
        energy_wh=value.energy_wh,
        obis=obis,
    )
