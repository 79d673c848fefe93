"""The plausibility gate: which register values may count. Only differences of one cumulative register are ever billed. PURE.

An implausible value is held back and never becomes the new base (meters.md section 5): a zero glitch, a spike, a swapped or
reset meter must not turn into energy.
"""

from terminal_app.values import MeterValue

SLACK_PERCENT = 105
SLACK_WH = 25  # two steps of the coarsest register that is sold by, and the meter's own latency


def most_possible_wh(elapsed_ms: int, max_power_w: int) -> int:
    """The most energy that can have flowed, Wh, with slack."""
    return max_power_w * max(0, elapsed_ms) * SLACK_PERCENT // (3_600_000 * 100) + SLACK_WH + max_power_w // 1800


def plausible(
    last: MeterValue, value: MeterValue, max_power_w: int, across_restart_ms: int = 0, longest_ms: int | None = None
) -> bool:
    """Whether `value` can follow `last` on the same meter.

    Across a restart of the machine nobody knows the elapsed time: `across_restart_ms` is the longest energy may have flowed.
    Where waiting alone must not make an outlier plausible, `longest_ms` is the most time that counts.
    """
    if value.serial != last.serial or value.energy_wh < last.energy_wh:
        return False
    same_boot = value.stamp.boot_id == last.stamp.boot_id
    elapsed_ms = value.stamp.mono_ms - last.stamp.mono_ms if same_boot else across_restart_ms
    if longest_ms is not None:
        elapsed_ms = min(elapsed_ms, longest_ms)
    return value.energy_wh - last.energy_wh <= most_possible_wh(elapsed_ms, max_power_w)


def backwards(last: MeterValue | None, value: MeterValue) -> bool:
    """Whether the same meter shows less than before: reset, not ready, or not telling the truth."""
    return last is not None and value.serial == last.serial and value.energy_wh < last.energy_wh


def disagreement(first: MeterValue, second: MeterValue, max_power_w: int) -> str:
    """Why two consecutive readings do not agree; empty if they do."""
    if first.serial != second.serial:
        return f"serial number changed between two readings ({first.serial} / {second.serial})"
    if second.energy_wh < first.energy_wh:
        return f"the register went backwards between two readings ({first.energy_wh} -> {second.energy_wh} Wh)"
    if not plausible(first, second, max_power_w):
        return f"the register jumped between two readings ({first.energy_wh} -> {second.energy_wh} Wh)"
    return ""
