"""From the hold to the start register: the bank's answer, the wait for the plug, two agreeing readings. Part of the session
machine; its rules stand in the table of `charge`. PURE.
"""

import msgspec

from terminal_app.screens import DeclineWords
from terminal_app.session import actions, energy, events, gate, offline, register, sale, signed
from terminal_app.session import facts as f
from terminal_app.session.bill import frozen_tariff, margin_minor
from terminal_app.session.hold import keep, new_hold, session_of
from terminal_app.session.settlement import intend_void
from terminal_app.session.state import Phase, Session
from terminal_app.session.turn import Turn
from terminal_app.session.words import DECLINE_WORDS, NO_CHARGE
from terminal_app.values import (
    Approved,
    CardFacts,
    Declined,
    DeclineReason,
    Device,
    EntryMode,
    MeterValue,
    OutcomeUnknown,
    Pilot,
)

START_DEADLINE_MS = 20_000
START_READ_TRIES = 3
ANSWER_GRACE_MS = 3_000
LONGEST_IDLE_MS = 86_400_000  # waiting longer makes no outlier plausible
PLUGGED = (Pilot.B, Pilot.C, Pilot.D)
_ABORT_WORDS = {
    f.StopReason.FAULT: DeclineWords.DEVICE_FAULT,
    f.StopReason.HOLD_LIMIT: DeclineWords.LIMIT_EXCEEDED,
    f.StopReason.NOT_PLUGGED: DeclineWords.NOT_PLUGGED,
    f.StopReason.TOUCH: DeclineWords.CANCELLED,
    f.StopReason.REMOTE: DeclineWords.CANCELLED,
}


def session_on(turn: Turn, connector: int) -> Session:
    return turn.state.sessions[connector]


def plugged(turn: Turn, connector: int) -> bool:
    evse = turn.live(connector).evse
    return evse is not None and evse.pilot in PLUGGED


# --- authorizing -----------------------------------------------------------------------------------------------------


def authorization_answered(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.AuthorizationAnswered)
    turn.note_settlement(event.hold_id, answer_due=False)
    match event.outcome:
        case Approved():
            approved(turn, connector, event.outcome)
        case Declined(reason=DeclineReason.UNREACHABLE, code=code):
            _nothing_sent(turn, connector, event, code)
        case Declined(reason=reason, code=code):
            turn.commit(f.AuthorizationDeclined(event.hold_id, reason, code))
            turn.then(events.SessionFailed(connector, DECLINE_WORDS[reason], ""))
        case OutcomeUnknown(why=why):
            in_doubt(turn, connector, event.hold_id, why)


def _nothing_sent(turn: Turn, connector: int, event: events.AuthorizationAnswered, code: str) -> None:
    """The same card reading may be sent elsewhere, for nobody has seen it; else the card may charge on the operator's risk."""
    one, terms = turn.state.settlements[event.hold_id], turn.terms
    tried = (*one.tried, one.hold.gateway)
    others = [name for name in sale.card_route(turn.state, terms, one.card.brand) if name not in tried]
    not_after_ms = session_on(turn, connector).opened.mono_ms + terms.config.policy.authorize_deadline_s * 1000
    if others and event.card is not None:
        turn.commit(f.AuthorizationRerouted(event.hold_id, others[0], code or "out of reach"))
        turn.note_settlement(event.hold_id, answer_due=True)
        turn.do(actions.Authorize(turn.state.settlements[event.hold_id].hold, event.card, not_after_ms))
        return
    why = offline.grant(turn, event.hold_id, _least_useful_minor(turn, connector))
    if not why:
        if plugged(turn, connector):
            _ask_start(turn, connector)
        return
    turn.commit(f.AuthorizationDeclined(event.hold_id, DeclineReason.UNREACHABLE, code))
    alone = sale.offline_only(turn.state, terms)
    words = DeclineWords.OFFLINE_REFUSED if alone else DECLINE_WORDS[DeclineReason.UNREACHABLE]
    turn.then(events.SessionFailed(connector, words, ""))


def _least_useful_minor(turn: Turn, connector: int) -> int:
    """With less a charge would end before it has begun."""
    margin = margin_minor(frozen_tariff(session_on(turn, connector).tariff), turn.terms.config.outlet(connector).max_power_w)
    return max(turn.terms.config.policy.min_useful_hold_minor, margin)


def approved(turn: Turn, connector: int, outcome: Approved) -> None:
    session, policy = session_on(turn, connector), turn.terms.config.policy
    hold = turn.state.settlements[session.hold_id].hold
    if not 0 <= outcome.amount_minor <= hold.amount_minor:
        in_doubt(
            turn,
            connector,
            session.hold_id,
            f"approved {outcome.amount_minor} of {hold.amount_minor}: not an answer to our question",
        )
        return
    turn.commit(
        f.AuthorizationApproved(
            hold_id=session.hold_id,
            approved_minor=outcome.amount_minor,
            trace=outcome.trace,
            capture_before_utc_ms=outcome.capture_before_utc_ms,
            plug_deadline_mono_ms=turn.terms.now.mono_ms + policy.plug_window_s * 1000,
        )
    )
    if outcome.amount_minor < _least_useful_minor(turn, connector):
        abort(turn, connector, f.StopReason.HOLD_LIMIT, f"only {outcome.amount_minor} of {hold.amount_minor} approved")
    elif plugged(turn, connector):
        _ask_start(turn, connector)


def in_doubt(turn: Turn, connector: int, hold_id: str, why: str) -> None:
    turn.commit(f.AuthorizationUnknown(hold_id, why))
    intend_void(turn, hold_id, f"authorization in doubt: {why}")
    turn.then(events.SessionFailed(connector, DeclineWords.BANK_SILENT, hold_id))


def authorizing_booted(turn: Turn, connector: int, event: events.Event) -> None:
    in_doubt(turn, connector, session_on(turn, connector).hold_id, "the terminal was restarted while the bank was asked")


def authorizing_ticked(turn: Turn, connector: int, event: events.Event) -> None:
    session = session_on(turn, connector)
    deadline_ms = turn.terms.config.policy.authorize_deadline_s * 1000 + ANSWER_GRACE_MS
    if turn.terms.now.mono_ms - session.opened.mono_ms > deadline_ms:
        in_doubt(turn, connector, session.hold_id, "no answer within our deadline")


# --- authorized, starting --------------------------------------------------------------------------------------------


def abort(turn: Turn, connector: int, reason: f.StopReason, detail: str = "") -> None:
    """End a session before any contactor closed. What is held is released at once, and the driver is told so; only if the
    charger failed it may wait a while for the same card: another try blocks no more money."""
    session, keep_s = session_on(turn, connector), turn.terms.config.policy.reuse_window_s
    turn.commit(f.SessionAborted(session.session_id, reason, detail))
    words = _ABORT_WORDS.get(reason)
    if session.hold_id:
        one = turn.state.settlements[session.hold_id]
        if reason is f.StopReason.FAULT and keep_s and one.card.token and not one.offline:
            keep(turn, session.hold_id, connector, keep_s)
            words = DeclineWords.HOLD_KEPT
        else:
            why = f"no charge: {NO_CHARGE[reason]}"
            intend_void(turn, session.hold_id, f"{why} ({detail})" if detail else why, reason)
    if words is not None and not session.test and (session.hold_id or reason is f.StopReason.FAULT):
        turn.then(events.SessionFailed(connector, words, session.hold_id))


def reuse(turn: Turn, connector: int, hold_id: str, session_id: str) -> None:
    """The live hold of the same card pays for the session just opened; one that waited elsewhere for its plug ends."""
    waiting = session_of(turn.state, hold_id)
    if waiting is not None:
        turn.commit(f.SessionAborted(waiting.session_id, f.StopReason.TOUCH, f"the driver went on to connector {connector}"))
    deadline_ms = turn.terms.now.mono_ms + turn.terms.config.policy.plug_window_s * 1000
    turn.commit(f.HoldReused(hold_id, session_id, deadline_ms))
    if plugged(turn, connector):
        _ask_start(turn, connector)


def commanded(turn: Turn, connector: int, event: events.Event) -> None:
    """The driver started from the phone, and the office has placed the hold: one commit, then as after any approval."""
    assert isinstance(event, events.StartCommanded)
    terms = turn.terms
    tariff, now_ms = terms.tariffs[connector], terms.now.mono_ms
    deadline_ms = now_ms + terms.config.policy.plug_window_s * 1000
    language = terms.config.terminal.languages[0]
    turn.commit(
        f.SessionOpened(
            session_id=terms.fresh_id,
            connector=connector,
            tariff=tariff.raw,
            tariff_fingerprint=tariff.fingerprint,
            free=False,
            language=language,
            plug_deadline_mono_ms=deadline_ms,
            origin="app",
            clock=terms.now.clock.value,
        )
    )
    named = new_hold(turn, terms.fresh_id, connector, event.gateway, event.held_minor)
    card = CardFacts(brand="", last4="", token="", aid="", label=event.label, entry=EntryMode.ACCOUNT)
    turn.commit(f.AuthorizationIntended(terms.fresh_id, msgspec.structs.replace(named, key=event.key), card))
    trace = {"hold": event.reference, "held_minor": str(event.held_minor)}
    approved(turn, connector, Approved(event.held_minor, trace))


def _ask_start(turn: Turn, connector: int) -> None:
    """Ask for the start register; a reading still outstanding from before an unplug is not asked a second time."""
    outstanding = turn.live(connector).asked_read in ("start", "begin")
    turn.note_session(connector, phase=Phase.STARTING)
    turn.note_live(connector, read_failures=0, counted_mono_ms=turn.terms.now.mono_ms)
    if outstanding:
        turn.note_live(connector, stale_read=True)  # it was taken before this plug: read again when it has come
    else:
        ask_register(turn, connector, "start")


def ask_register(turn: Turn, connector: int, purpose: str) -> None:
    turn.note_live(connector, asked_read=purpose)
    turn.do(actions.ReadRegister(connector, session_on(turn, connector).session_id, purpose))


def authorized_evse(turn: Turn, connector: int, event: events.Event) -> None:
    if plugged(turn, connector):
        _ask_start(turn, connector)


def authorized_ticked(turn: Turn, connector: int, event: events.Event) -> None:
    if turn.terms.now.mono_ms > session_on(turn, connector).plug_deadline_mono_ms:
        abort(turn, connector, f.StopReason.NOT_PLUGGED)


def authorized_booted(turn: Turn, connector: int, event: events.Event) -> None:
    session = session_on(turn, connector)
    if session.opened.boot_id != turn.terms.now.boot_id:
        abort(turn, connector, f.StopReason.POWER_CUT)
    else:
        authorized_ticked(turn, connector, event)


def abort_commanded(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.StopCommanded)
    abort(turn, connector, event.reason, event.why)


def starting_evse(turn: Turn, connector: int, event: events.Event) -> None:
    if not plugged(turn, connector):
        turn.note_session(connector, phase=Phase.AUTHORIZED)


def start_read(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.RegisterRead)
    stale = turn.live(connector).stale_read
    turn.note_live(connector, asked_read="", stale_read=False)
    if stale:
        ask_register(turn, connector, "start")
        return
    why = gate.disagreement(event.first, event.second, turn.terms.config.outlet(connector).max_power_w)
    if not event.identity.serial or event.identity.serial != event.second.serial:
        why = f"serial number {event.identity.serial!r} / {event.second.serial!r}: a meter without a name cannot be billed"
    if not why and connector in turn.terms.signing:
        why = signed.not_ready(turn, connector, event.identity.serial)
    why = why or _not_the_register_known(turn, connector, event.first)
    for fault in energy.standing(turn.state, connector, Device.EVSE, energy.WELDS):
        why = why or fault.detail  # no contactor is closed on a connector whose last one did not open
    if why:
        start_unreadable(turn, connector, events.RegisterUnreadable(connector, event.session_id, "start", why))
        return
    if connector in turn.terms.signing:
        signed.ask_begin(turn, connector, event)
    else:
        turn.commit(f.StartRegistered(event.session_id, event.first, event.second, event.identity))


def begun(turn: Turn, connector: int, event: events.Event) -> None:
    """The meter signs: what was read before is the start register, and the contactor may close."""
    assert isinstance(event, events.SignedBegun)
    live = turn.live(connector)
    read, stale = live.start_read, live.stale_read
    turn.note_live(connector, asked_read="", stale_read=False, start_read=None)
    if stale or read is None:  # begun before this plug: everything once more
        ask_register(turn, connector, "start")
        return
    key = turn.state.meters[read[2].serial].spki
    turn.commit(f.StartRegistered(event.session_id, *read, meter_key=key))


def begin_refused(turn: Turn, connector: int, event: events.Event) -> None:
    """Without the meter's signature nothing can be billed: after a few tries there is no charge."""
    assert isinstance(event, events.SignedRefused)
    if event.purpose == "begin":
        why = f"it does not begin to sign, so nothing could be billed: {event.why}"
        start_unreadable(turn, connector, events.RegisterUnreadable(connector, event.session_id, "start", why))


def answered_in_vain(turn: Turn, connector: int, event: events.Event) -> None:
    """Unplugged while the meter was asked: it is asked again when the car is plugged in."""
    turn.note_live(connector, asked_read="", stale_read=False, start_read=None)


def _not_the_register_known(turn: Turn, connector: int, value: MeterValue) -> str:
    """Why this cannot be the register that was seen here before; "" if it can."""
    live, book = turn.live(connector), turn.state.energy.get(connector)
    base = live.trusted or (book.last if book else None)
    wraps_at_wh = book.wraps_at_wh if book else 0
    for before in (live.meter, turn.state.registers.get(connector)):
        if before is not None and gate.backwards(before, register.continued(before, value, wraps_at_wh)):
            return f"the register went backwards ({before.energy_wh} -> {value.energy_wh} Wh)"
    if base is None or (base.energy_wh == 0 and base.serial == value.serial):
        return ""
    return register.judge(
        base, value, turn.terms.config.outlet(connector).max_power_w, wraps_at_wh, LONGEST_IDLE_MS, LONGEST_IDLE_MS
    ).why


def start_unreadable(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.RegisterUnreadable)
    failures = turn.live(connector).read_failures + 1
    again_ms = turn.terms.now.mono_ms + 1000
    turn.note_live(connector, asked_read="", stale_read=False, start_read=None, read_failures=failures, read_again_mono_ms=again_ms)
    if failures >= START_READ_TRIES:
        abort(turn, connector, f.StopReason.FAULT, f"meter: {event.why}")


def starting_ticked(turn: Turn, connector: int, event: events.Event) -> None:
    live, now = turn.live(connector), turn.terms.now.mono_ms
    longest_ms = signed.BEGIN_DEADLINE_MS if connector in turn.terms.signing else START_DEADLINE_MS
    if now - live.counted_mono_ms > longest_ms:
        abort(turn, connector, f.StopReason.FAULT, "the meter gave no start register in time")
    elif not live.asked_read and now >= live.read_again_mono_ms:
        ask_register(turn, connector, "start")
