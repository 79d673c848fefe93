"""The account of each meter: where all it counted went. Folded from facts only, so a crash loses none of it. PURE.

Rise of the register = sessions + tests + unexplained, in whole Wh. It is closed once a day by an `EnergyBalance`, and by a
technician who accepts another meter or register (`acceptance`).
"""

from terminal_app.session import facts as f
from terminal_app.session import register
from terminal_app.session.folding import replace
from terminal_app.session.state import EnergyBook, Session, State, amended_live, fault_key, with_item
from terminal_app.values import Device, Fault, MeterIdentity, MeterValue, Stamp

Acceptance = f.ServiceAct | f.EnergyBalance | f.MeterAccepted | f.FaultCleared
MOST_AGE_MS = 5_000  # an order of a technician is about a meter that answers now


# --- folding ---------------------------------------------------------------------------------------------------------


def begun(state: State, connector: int, value: MeterValue, identity: MeterIdentity) -> State:
    """A session starts: what the register rose since the last one belongs to nobody."""
    book = advanced(state.energy.get(connector), value)
    return _with(state, connector, replace(book, wraps_at_wh=identity.wraps_at_wh, resolution_wh=identity.resolution_wh))


def billed(state: State, session: Session, stop: MeterValue, energy_wh: int) -> State:
    """A session ends at `stop`: so much was its."""
    book = state.energy.get(session.connector)
    if book is None or not stop.serial:
        return state
    where = "tests_wh" if session.test else "sessions_wh"
    return _with(
        state, session.connector, replace(book, last=shown(stop, book.wraps_at_wh), **{where: getattr(book, where) + energy_wh})
    )


def balanced(state: State, fact: f.EnergyBalance) -> State:
    """A new account begins where this one ends."""
    value = MeterValue(fact.to_wh, 0, fact.serial, fact.ended)
    book = state.energy.get(fact.connector) or EnergyBook(value, value)
    return _with(state, fact.connector, EnergyBook(value, value, wraps_at_wh=book.wraps_at_wh, resolution_wh=book.resolution_wh))


def accepted(state: State, fact: f.MeterAccepted) -> State:
    """Another base: nothing before it is compared with what comes."""
    state = _with(state, fact.connector, EnergyBook(fact.value, fact.value))
    state = replace(state, registers=with_item(state.registers, fact.connector, fact.value))
    return amended_live(state, fact.connector, trusted=fact.value, outlier=None, open_base=None, open_moves=0)


def _with(state: State, connector: int, book: EnergyBook) -> State:
    return replace(state, energy=with_item(state.energy, connector, book))


def advanced(book: EnergyBook | None, value: MeterValue) -> EnergyBook:
    """The account up to a good reading without a session; a new one where the old one cannot go on."""
    risen_wh = register.risen_wh(book.last, value, book.wraps_at_wh) if book and book.last.serial == value.serial else -1
    if book is None or risen_wh < 0:
        return EnergyBook(value, value)
    return replace(book, last=value, unexplained_wh=book.unexplained_wh + risen_wh)


def shown(value: MeterValue, wraps_at_wh: int) -> MeterValue:
    """As the meter shows it: a charge across a roll-over counts on, the meter does not."""
    return replace(value, energy_wh=value.energy_wh % wraps_at_wh) if wraps_at_wh else value


# --- closing ---------------------------------------------------------------------------------------------------------


def balance(connector: int, book: EnergyBook, at: Stamp, why: str = "daily") -> f.EnergyBalance:
    """The account as a fact."""
    return f.EnergyBalance(
        connector=connector,
        serial=book.last.serial,
        from_wh=book.began.energy_wh,
        to_wh=book.last.energy_wh,
        sessions_wh=book.sessions_wh,
        tests_wh=book.tests_wh,
        unexplained_wh=book.unexplained_wh,
        began=book.began.stamp,
        ended=at,
        wraps_at_wh=book.wraps_at_wh,
        why=why,
    )


def standing(state: State, connector: int, device: Device, kinds: frozenset[str]) -> list[Fault]:
    """Faults of these kinds on this connector, as they were raised."""
    every = (state.faults.get(fault_key(Fault(device, connector, kind))) for kind in sorted(kinds))
    return [one for one in every if one is not None]


def acceptance_refusal(state: State, connector: int, now: Stamp) -> str:
    """Why a technician cannot accept this meter now, "" if they can: one sentence."""
    live = state.live[connector]
    if connector in state.sessions:
        return "a charge is not finished on it; it ends by itself with the last good register, then try again"
    if not standing(state, connector, Device.METER, register.CHANGED):
        return "its register is as the ledger knows it: there is nothing to accept"
    if live.meter is None or now.mono_ms - live.meter_seen_mono_ms > MOST_AGE_MS:
        return "its meter does not answer; see: charge-service meter read"
    if not live.meter.serial:
        return "its meter tells no serial number: it cannot be billed by"
    return ""


def acceptance(state: State, connector: int, now: Stamp, actor: str, reason: str) -> list[Acceptance]:
    """The old account is closed, the meter as it answers now is the new base, its faults end."""
    assert not acceptance_refusal(state, connector, now), connector
    value, book = state.live[connector].meter, state.energy.get(connector)
    assert value is not None
    old = book.last if book else None
    risen_wh = value.energy_wh - old.energy_wh if old and old.serial == value.serial else -1
    faults = standing(state, connector, Device.METER, register.CHANGED)
    closing = [balance(connector, book, now, "meter_accepted")] if book else []
    named = f.MeterAccepted(connector, old, value, actor, reason, risen_wh if risen_wh >= 0 else None)
    return [f.ServiceAct(actor, "meter.accept", str(connector), reason), *closing, named, *map(f.FaultCleared, faults)]


def clearance_refusal(state: State, connector: int, now: Stamp, still_ms: int) -> str:
    """Why a weld alarm cannot be cleared now, "" if it can: the contactor is seen open, and the register has stood still."""
    live = state.live[connector]
    if not standing(state, connector, Device.EVSE, WELDS):
        return "no weld alarm stands on it"
    if live.evse is None or now.mono_ms - live.evse.stamp.mono_ms > MOST_AGE_MS:
        return "its controller does not answer; see: charge-service evse status"
    if live.evse.relay or live.evse.fault == register.STUCK_RELAY:
        return "its controller still says that the contactor is closed"
    if live.meter is None or now.mono_ms - live.meter_seen_mono_ms > MOST_AGE_MS:
        return "its meter does not answer; see: charge-service meter read"
    if live.outlier is not None or live.trusted is None or now.mono_ms - live.moved_mono_ms < still_ms:
        return f"its register must have stood still for {still_ms // 1000} s with the contactor open; try again then"
    return ""


WELDS = frozenset({register.OPEN_FLOW, register.STUCK_RELAY})
