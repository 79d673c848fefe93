"""The meter while no session uses it: what is trusted, what is a fault, whether energy flows that nobody ordered, and the daily
account. And the controller's own word that its contactor does not open. PURE.
"""

from terminal_app.session import energy, events, gate, register
from terminal_app.session.state import EnergyBook
from terminal_app.session.turn import Turn
from terminal_app.values import ClockState, Device, EvseStatus, Fault, MeterValue

DAY_MS = 86_400_000
GOOD_FOR_MS = 10_000
OPEN_WORD_MS = 5_000  # so old may the controller's word be that the contactor is open
OPEN_WINDOW_MS = 600_000  # energy with an open contactor is looked for within so long
OPEN_MOVES = 3  # the register rises again and again; one late step after opening is none
OPEN_SLACK_WH = 30
METER_LATENCY_S = 5  # what a meter shows may be so much behind what flowed before the contactor opened


def idle_reading(turn: Turn, connector: int, value: MeterValue) -> None:
    """A reading without a session: the screen may show it; whether it counts is judged against the last one that did."""
    live, book, now = turn.live(connector), turn.state.energy.get(connector), turn.terms.now.mono_ms
    turn.note_live(connector, meter=value, meter_seen_mono_ms=now)
    base = live.trusted or (book.last if book is not None else None)
    if not value.serial and base is None:
        return  # a model without a serial number is not sold by
    if base is not None and (base.energy_wh or base.serial != value.serial):  # a base of 0 was a meter that was not ready
        power_w = turn.terms.config.outlet(connector).max_power_w
        found = register.judge(base, value, power_w, book.wraps_at_wh if book else 0, DAY_MS, DAY_MS)
        if not found.good and book is None and live.outlier is not None and gate.plausible(live.outlier, value, power_w):
            turn.note_live(connector, open_base=None, open_moves=0)  # nothing was ever sold by a meter here: this is the one
        elif not found.good:
            outlier(turn, connector, found, value)
            return
    moved = base is None or value.energy_wh != base.energy_wh
    turn.note_live(connector, trusted=value, outlier=None, **({"moved_mono_ms": now} if moved or live.trusted is None else {}))
    good_again(turn, connector, moved=base is not None and moved)
    _look_for_a_weld(turn, connector, value, moved)
    if live.trusted is not None and not gate.disagreement(live.trusted, value, turn.terms.config.outlet(connector).max_power_w):
        _balance_if_due(turn, connector, value)


def outlier(turn: Turn, connector: int, found: register.Finding, value: MeterValue) -> bool:
    """One that cannot be true is kept aside; a second one that follows from it is a fault: then this says True."""
    before = turn.live(connector).outlier
    since = turn.live(connector).outlier_since_mono_ms if before is not None else turn.terms.now.mono_ms
    turn.note_live(connector, outlier=value, outlier_since_mono_ms=since, outlier_mono_ms=turn.terms.now.mono_ms)
    if before is None or not gate.plausible(before, value, turn.terms.config.outlet(connector).max_power_w):
        return False
    changed = energy.standing(turn.state, connector, Device.METER, register.CHANGED - {register.FROZEN})
    if not changed:  # its first name stays until it is over
        turn.then(events.FaultSeen(Fault(Device.METER, connector, found.kind.value, found.why), True))
    return True


def good_again(turn: Turn, connector: int, moved: bool) -> None:
    """The register is what it should be, and has been for a while: a meter that comes and goes fills no ledger. One that stood
    still must have moved first."""
    quiet = turn.terms.now.mono_ms - turn.live(connector).outlier_mono_ms >= GOOD_FOR_MS
    for fault in energy.standing(turn.state, connector, Device.METER, register.CHANGED):
        if moved if fault.kind == register.FROZEN else quiet:
            turn.then(events.FaultSeen(fault, False))


# --- weld ------------------------------------------------------------------------------------------------------------


def _look_for_a_weld(turn: Turn, connector: int, value: MeterValue, moved: bool) -> None:
    """The controller says open and locked, and the register rises: the contacts hang, or somebody goes round the contactor."""
    live, now = turn.live(connector), turn.terms.now.mono_ms
    evse, base = live.evse, live.open_base
    opened = evse is not None and not (evse.relay or evse.authorized) and now - evse.stamp.mono_ms <= OPEN_WORD_MS
    if not opened:
        turn.note_live(connector, open_base=None, open_moves=0)
        return
    if base is None or base.stamp.boot_id != value.stamp.boot_id or value.stamp.mono_ms - base.stamp.mono_ms > OPEN_WINDOW_MS:
        turn.note_live(connector, open_base=value, open_moves=0)
        return
    moves = live.open_moves + moved
    turn.note_live(connector, open_moves=moves)
    book = turn.state.energy.get(connector)
    risen_wh = register.risen_wh(base, value, book.wraps_at_wh if book else 0)
    if moves >= OPEN_MOVES and risen_wh > open_slack_wh(book, turn.terms.config.outlet(connector).max_power_w):
        minutes = (value.stamp.mono_ms - base.stamp.mono_ms) // 60_000 + 1
        why = f"{risen_wh} Wh flowed within {minutes} min, and the contactor is said to be open"
        turn.then(events.FaultSeen(Fault(Device.EVSE, connector, register.OPEN_FLOW, why), True))


def open_slack_wh(book: EnergyBook | None, max_power_w: int) -> int:
    """So much may a register rise after the contactor opened: late, and by its own steps."""
    steps_wh = 2 * book.resolution_wh + 10 if book else 0
    return max(OPEN_SLACK_WH, steps_wh, max_power_w * METER_LATENCY_S // 3600)


def controller_word(turn: Turn, connector: int, status: EvseStatus) -> None:
    """What the controller says of its own contactor outlives the moment it says it."""
    if status.fault == register.STUCK_RELAY:
        why = "the controller says that its contactor does not open"
        turn.then(events.FaultSeen(Fault(Device.EVSE, connector, register.STUCK_RELAY, why), True))


# --- the daily account -----------------------------------------------------------------------------------------------


def _balance_if_due(turn: Turn, connector: int, value: MeterValue) -> None:
    """Two readings agree and nobody charges: once a day the account is closed; much that nobody can explain is said loudly."""
    book, now = turn.state.energy.get(connector), turn.terms.now
    passed_ms = now.mono_ms if book is None else _passed_ms(turn, book)
    if passed_ms < DAY_MS:
        return
    closed = energy.advanced(book, value)
    turn.commit(energy.balance(connector, closed, now))
    allowed_wh = turn.terms.config.policy.unexplained_wh * (passed_ms // DAY_MS)
    why = f"{closed.unexplained_wh} Wh in {passed_ms // DAY_MS} d belong to no session: see charge-service meter balance"
    fault = Fault(Device.METER, connector, register.UNEXPLAINED, why)
    turn.then(events.FaultSeen(fault, closed.unexplained_wh > allowed_wh))


def _passed_ms(turn: Turn, book: EnergyBook) -> int:
    """Since the account began. Across a restart of the machine only a clock that is known can tell; until then this boot's time."""
    now, began = turn.terms.now, book.began.stamp
    if began.boot_id == now.boot_id:
        return now.mono_ms - began.mono_ms
    known = now.clock is not ClockState.UNKNOWN and began.clock is not ClockState.UNKNOWN
    return max(now.mono_ms, now.utc_ms - began.utc_ms) if known else now.mono_ms
