"""Meters that sign their own readings: what they are asked, and what of their record is billed. PURE.

The meter begins after two agreeing start readings, before the contactor may close; it ends after two agreeing stop readings,
when the contactor is open. Its record is verified with the key that was pinned when the meter was first seen, and the bill is
made of the signed readings. What does not hold is not billed: there is no way back to a record made by the terminal.
"""

import msgspec

from terminal_app.billing import ocmf
from terminal_app.errors import SignatureInvalid
from terminal_app.session import actions, events
from terminal_app.session import facts as f
from terminal_app.session.bill import frozen_tariff
from terminal_app.session.register import RECORD
from terminal_app.session.state import Session, fault_key
from terminal_app.session.turn import Turn
from terminal_app.values import Device, Fault

BEGIN_DEADLINE_MS = 90_000  # three tries of a meter that may sign for 20 s
END_AGAIN_MS = 60_000  # an order to end that was never answered is given again
END_PAUSE_MS = 5_000
END_REFUSALS = 12  # the meter itself says no, for a minute
VERIFY_TRIES = 3
LATENCY_S = 2  # between our reading of a register and the meter's own

replace = msgspec.structs.replace


def key_fault(connector: int, why: str = "") -> Fault:
    return Fault(Device.METER, connector, "key", why)


def record_fault(connector: int, why: str = "") -> Fault:
    """Lasts until the next good record of this meter or until a person clears it, also across restarts."""
    return Fault(Device.METER, connector, RECORD, why)


# --- the key ---------------------------------------------------------------------------------------------------------


def key_read(turn: Turn, event: events.MeterKeyRead) -> None:
    """Pin the key of a meter that is new here; a meter with another key than before is not the one it says it is."""
    if not event.serial:
        return
    known = turn.state.meters.get(event.serial)
    if known is None:
        turn.commit(f.MeterKeySeen(event.connector, event.serial, event.spki))
    other = known is not None and known.spki != event.spki
    why = f"meter {event.serial} shows another public key than when it was first seen here" if other else ""
    turn.then(events.FaultSeen(key_fault(event.connector, why), other))


def not_ready(turn: Turn, connector: int, serial: str) -> str:
    """Why this meter may not sign a charge now; "" if it may."""
    if fault_key(key_fault(connector)) in turn.state.faults:
        return turn.state.faults[fault_key(key_fault(connector))].detail
    return "" if serial in turn.state.meters else f"the public key of meter {serial} is not known yet"


# --- begin and end ---------------------------------------------------------------------------------------------------


def reference(session: Session) -> str:
    """What the record names: the hold, as the payment does, else the session."""
    return session.hold_id or session.session_id


def tariff_text(session: Session) -> str:
    return f"{frozen_tariff(session.tariff).id} {session.tariff_fingerprint[:16]}"


def ask_begin(turn: Turn, connector: int, event: events.RegisterRead) -> None:
    """The start register is good: it is committed once the meter has begun."""
    session = turn.state.sessions[connector]
    turn.note_live(connector, asked_read="begin", start_read=(event.first, event.second, event.identity))
    turn.do(actions.BeginSigned(connector, session.session_id, reference(session), tariff_text(session)))


def keep_left_over(turn: Turn, event: events.SignedBegun) -> None:
    """A measurement nobody fetched is evidence, never a bill. The record that was billed last is not left over."""
    session = turn.state.sessions.get(event.connector)
    billed = {book.record_sha256 for book in turn.state.meters.values()}
    if event.left_over and ocmf.sha256_of(event.left_over) not in billed:
        mine = session is not None and reference(session) in event.left_over
        why = "an earlier begin for this session, before energy flowed" if mine else "left over from an earlier measurement"
        cut = event.left_over[: ocmf.MAX_OCMF_BYTES]
        turn.commit(f.MeterRecordSetAside(event.connector, session.session_id if mine and session else "", why, cut))


def ask_end(turn: Turn, connector: int) -> None:
    session = turn.state.sessions[connector]
    turn.note_live(connector, asked_read="", asked_end=True, sign_asked_mono_ms=turn.terms.now.mono_ms)
    turn.do(actions.EndSigned(connector, session.session_id, reference(session), tariff_text(session)))


def ask_end_if_due(turn: Turn, connector: int) -> None:
    live, now = turn.live(connector), turn.terms.now.mono_ms
    if now - live.sign_asked_mono_ms > (END_AGAIN_MS if live.asked_end else END_PAUSE_MS):
        ask_end(turn, connector)


def end_failed(turn: Turn, connector: int) -> int:
    """Note it, ask again later; how many times it has failed."""
    failures = turn.live(connector).end_failures + 1
    turn.note_live(connector, asked_end=False, end_failures=failures, sign_asked_mono_ms=turn.terms.now.mono_ms)
    return failures


# --- what is billed --------------------------------------------------------------------------------------------------


def judged(turn: Turn, connector: int, record: str) -> f.MeterSigned:
    """The meter's record, checked as anyone would and against all we know. SignatureInvalid: then nothing of it is billed."""
    session = turn.state.sessions[connector]
    assert session.start is not None and session.stop is not None and session.identity is not None
    measured = ocmf.verify(record, bytes.fromhex(session.meter_key))
    serial = session.identity.serial
    if measured.meter_serial.strip() != serial:
        raise SignatureInvalid(f"OCMF: it is of meter {measured.meter_serial}, the charge was measured by {serial}")
    if not measured.names(reference(session)):
        raise SignatureInvalid(f"OCMF: it does not name this charge ({reference(session)})")
    page, book = int(measured.pagination.removeprefix("T")), turn.state.meters.get(serial)
    if book is not None and page <= book.page:
        raise SignatureInvalid(f"OCMF: PG T{page} is not after T{book.page}, which was billed already")
    own_wh = session.stop.energy_wh - session.start.energy_wh
    allowed_wh = 2 * max(session.identity.resolution_wh, measured.step_wh)
    allowed_wh += turn.terms.config.outlet(connector).max_power_w * LATENCY_S // 3600
    if abs(measured.energy_wh - own_wh) > allowed_wh:
        raise SignatureInvalid(f"OCMF: it says {measured.energy_wh} Wh, the register moved by {own_wh} Wh")
    return f.MeterSigned(
        start=replace(session.start, energy_wh=int(measured.begin_wh)),
        register=session.stop,
        energy_wh=measured.energy_wh,
        meter_key=session.meter_key,
        page=page,
        clock=measured.clock,
    )


def unbilled(session: Session, why: str) -> f.Unbilled:
    assert session.start is not None and session.stop is not None
    return f.Unbilled(why=why, energy_wh=session.stop.energy_wh - session.start.energy_wh, register=session.stop)
