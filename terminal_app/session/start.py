"""From the hold to the start register: the bank's answer, the wait for the plug, two agreeing readings. Part of the session
machine; its rules stand in the table of `charge`. PURE.
"""

from terminal_app.screens import DeclineWords
from terminal_app.session import actions, events, gate
from terminal_app.session import facts as f
from terminal_app.session.bill import frozen_tariff, margin_minor
from terminal_app.session.settlement import intend_void
from terminal_app.session.state import Phase, Session
from terminal_app.session.turn import Turn
from terminal_app.session.words import DECLINE_WORDS
from terminal_app.values import Approved, Declined, OutcomeUnknown, Pilot

START_DEADLINE_MS = 20_000
START_READ_TRIES = 3
ANSWER_GRACE_MS = 3_000
PLUGGED = (Pilot.B, Pilot.C, Pilot.D)


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
        case Declined(reason=reason, code=code):
            turn.commit(f.AuthorizationDeclined(event.hold_id, reason, code))
            turn.then(events.SessionFailed(connector, DECLINE_WORDS[reason], ""))
        case OutcomeUnknown(why=why):
            in_doubt(turn, connector, event.hold_id, why)


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
    margin = margin_minor(frozen_tariff(session.tariff), max_power_w(turn, connector))
    if outcome.amount_minor < max(policy.min_useful_hold_minor, margin):
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
    """End a session before any contactor closed; what is held is released at once."""
    session = session_on(turn, connector)
    turn.commit(f.SessionAborted(session.session_id, reason, detail))
    if session.hold_id:
        intend_void(turn, session.hold_id, f"no charge: {reason.value} {detail}".strip())
    if reason in (f.StopReason.FAULT, f.StopReason.HOLD_LIMIT):
        words = DeclineWords.DEVICE_FAULT if reason is f.StopReason.FAULT else DeclineWords.LIMIT_EXCEEDED
        turn.then(events.SessionFailed(connector, words, session.hold_id))


def _ask_start(turn: Turn, connector: int) -> None:
    """Ask for the start register; a reading still outstanding from before an unplug is not asked a second time."""
    outstanding = turn.live(connector).asked_read == "start"
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
    why = gate.disagreement(event.first, event.second, max_power_w(turn, connector))
    if not event.identity.serial or event.identity.serial != event.second.serial:
        why = f"serial number {event.identity.serial!r} / {event.second.serial!r}: a meter without a name cannot be billed"
    for before in (turn.live(connector).meter, turn.state.registers.get(connector)):
        if not why and before is not None and gate.backwards(before, event.first):
            why = f"the register went backwards ({before.energy_wh} -> {event.first.energy_wh} Wh)"
    if why:
        start_unreadable(turn, connector, events.RegisterUnreadable(connector, event.session_id, "start", why))
        return
    turn.commit(f.StartRegistered(event.session_id, event.first, event.second, event.identity))


def start_unreadable(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.RegisterUnreadable)
    failures = turn.live(connector).read_failures + 1
    again_ms = turn.terms.now.mono_ms + 1000
    turn.note_live(connector, asked_read="", stale_read=False, read_failures=failures, read_again_mono_ms=again_ms)
    if failures >= START_READ_TRIES:
        abort(turn, connector, f.StopReason.FAULT, f"meter: {event.why}")


def starting_ticked(turn: Turn, connector: int, event: events.Event) -> None:
    live, now = turn.live(connector), turn.terms.now.mono_ms
    if now - live.counted_mono_ms > START_DEADLINE_MS:
        abort(turn, connector, f.StopReason.FAULT, "the meter gave no start register in time")
    elif not live.asked_read and now >= live.read_again_mono_ms:
        ask_register(turn, connector, "start")


def max_power_w(turn: Turn, connector: int) -> int:
    return next(one.max_power_w for one in turn.terms.config.connector if one.number == connector)
