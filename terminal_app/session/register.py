"""What one reading of the register says, judged against the last good one: each way to lie has a name of its own. PURE.

Good is what the plausibility gate lets pass. Everything else is an outlier and never the new base: one is forgotten, two that
agree with each other are a fault. `frozen` is the other lie: fresh times on an old value while energy flows.
"""

import enum
from dataclasses import dataclass

import msgspec

from terminal_app.session import gate
from terminal_app.values import Device, MeterValue

WRAP_FROM_PERCENT = 95  # a register that falls from below this has not rolled over
NEAR_ZERO_PERCENT = 5  # a register that falls below this share has begun anew
SCALES = (10, 100, 1000)  # Wh for 0.1 kWh, for kWh: how a wrong profile or a changed setting shows
WMS_PER_WH = 3_600_000
STEPS_MISSED = 2  # so many steps of the register must be missing before it counts as frozen
LEAST_MISSING_WH = 15  # and so much in any case: behind a finer number (float32) a meter may count in the 10 Wh of its display


class Kind(enum.Enum):
    """What is wrong with a reading; the value is the fault's kind."""

    GOOD = ""
    SWAPPED = "meter_swapped"  # another serial number
    ZERO = "register_zero"  # not ready, or a sentinel that reads as 0
    RESET = "register_reset"  # the same meter counts again from near zero
    BACKWARDS = "register_backwards"  # the same meter shows less than before
    SCALE = "register_scale"  # ten, a hundred or a thousand times the value or the rise that was due
    JUMP = "register_jump"  # more than can have flowed


FROZEN = "register_frozen"
UNEXPLAINED = "unexplained"  # energy outside sessions: a warning, nothing is out of order
CHANGED = frozenset({*(one.value for one in Kind if one is not Kind.GOOD), FROZEN})
"""METER faults that end by themselves when the register is true again, else when a technician accepts the meter."""

OPEN_FLOW = "energy_while_open"  # the contactor is said to be open, and the register rises
STUCK_RELAY = "stuck_relay"  # the controller says so itself
RECORD = "record"  # a meter that signs gave a record that does not hold
LATCHED = {(Device.EVSE, OPEN_FLOW), (Device.EVSE, STUCK_RELAY), *((Device.METER, kind) for kind in (*CHANGED, RECORD))}
"""Faults that a restart does not clear."""


@dataclass(frozen=True)
class Finding:
    """`value` is the reading as it counts: across a roll-over it goes on where the last one was."""

    kind: Kind
    why: str
    value: MeterValue

    @property
    def good(self) -> bool:
        return self.kind is Kind.GOOD


def continued(last: MeterValue, value: MeterValue, wraps_at_wh: int) -> MeterValue:
    """`value` counted on from `last` across a declared roll-over; unchanged where there was none."""
    if not wraps_at_wh or value.serial != last.serial:
        return value
    turns, shown_wh = divmod(last.energy_wh, wraps_at_wh)
    if value.energy_wh < shown_wh and shown_wh * 100 > WRAP_FROM_PERCENT * wraps_at_wh:
        turns += 1
    return msgspec.structs.replace(value, energy_wh=value.energy_wh + turns * wraps_at_wh)


def risen_wh(last: MeterValue, value: MeterValue, wraps_at_wh: int) -> int:
    """How far the register rose from `last` to `value`; below 0 = it did not rise."""
    return continued(last, value, wraps_at_wh).energy_wh - last.energy_wh


def judge(
    last: MeterValue,
    value: MeterValue,
    max_power_w: int,
    wraps_at_wh: int = 0,
    across_restart_ms: int = 0,
    longest_ms: int | None = None,
) -> Finding:
    """Whether `value` can follow `last`, and if not, what it looks like."""
    on = continued(last, value, wraps_at_wh)
    if gate.plausible(last, on, max_power_w, across_restart_ms, longest_ms):
        return Finding(Kind.GOOD, "", on)
    return Finding(*_named(last, value), value)


def _named(last: MeterValue, value: MeterValue) -> tuple[Kind, str]:
    before, now = last.energy_wh, value.energy_wh
    if value.serial != last.serial:
        return Kind.SWAPPED, f"meter {value.serial or 'without a serial number'} answers instead of {last.serial}"
    if now == 0:
        return Kind.ZERO, f"the register shows 0 after {before} Wh: not ready, or reset"
    for scale in SCALES:
        value_fits = _near(now * scale, before, 1000, 2) or _near(now, before * scale, 1000, 2)
        if value_fits or _near(now - before, _due_wh(last, value) * scale, 100, 20):
            return Kind.SCALE, f"{now} Wh after {before} Wh: a factor of {scale}, so the profile or a setting is another one"
    if now > before:
        return Kind.JUMP, f"the register rose from {before} to {now} Wh, more than can have flowed"
    if now * 100 < before * NEAR_ZERO_PERCENT:
        return Kind.RESET, f"the register began anew: {now} Wh after {before} Wh"
    return Kind.BACKWARDS, f"the register went backwards ({before} -> {now} Wh)"


def _due_wh(last: MeterValue, value: MeterValue) -> int:
    """What the last good power makes of the time between the two; 0 if nobody knows it."""
    passed_ms = value.stamp.mono_ms - last.stamp.mono_ms if value.stamp.boot_id == last.stamp.boot_id else 0
    return max(0, last.power_w) * max(0, passed_ms) // WMS_PER_WH


def _near(one: int, other: int, least: int, percent: int) -> bool:
    """Alike within so many percent, and both large enough to tell."""
    return min(one, other) >= least and abs(one - other) * 100 <= max(one, other) * percent


def frozen(still_wms: int, still_ms: int, resolution_wh: int, patience_ms: int) -> bool:
    """Whether a register that has not moved for `still_ms` should have: by the meter's own power so much flowed (W x ms) that
    several of its steps are missing. A car that draws nothing, or less than a step, proves nothing."""
    missing_wh = max(LEAST_MISSING_WH, STEPS_MISSED * resolution_wh)
    return still_ms >= patience_ms and still_wms >= missing_wh * WMS_PER_WH
