"""An imagined session at even power, in the charging periods a terminal would make of it. PURE, moves no money."""

from itertools import pairwise
from zoneinfo import ZoneInfo

from terminal_app.billing.matching import Flow, clock_cuts, duration_thresholds, energy_thresholds
from terminal_app.billing.model import Tariff
from terminal_app.billing.volumes import ChargingPeriod


def even_periods(
    tariff: Tariff, start_utc_ms: int, energy_wh: int, charging_ms: int, parking_ms: int, time_zone: str
) -> tuple[ChargingPeriod, ...]:
    """Charge `energy_wh` evenly over `charging_ms`, then park: a new period at every boundary of the tariff, as readings would
    make them. Energy at a boundary is whole Wh, rounded down, as the register would show it."""
    total_ms = charging_ms + parking_ms
    cuts = {at - start_utc_ms for at in clock_cuts(tariff, start_utc_ms, start_utc_ms + total_ms, ZoneInfo(time_zone))}
    cuts |= {seconds * 1000 for seconds in duration_thresholds(tariff) if 0 < seconds * 1000 < total_ms}
    if energy_wh:
        cuts |= {-(-wh * charging_ms // energy_wh) for wh in energy_thresholds(tariff) if 0 < wh < energy_wh}
    cuts |= {0, charging_ms} if parking_ms and charging_ms else {0}
    times = [*sorted(cuts), total_ms]
    power_w = energy_wh * 3_600_000 // charging_ms if charging_ms else 0
    found = []
    for begin, end in pairwise(times):
        charged = min(end, charging_ms) - min(begin, charging_ms)
        wh = _register(energy_wh, end, charging_ms) - _register(energy_wh, begin, charging_ms)
        flow = Flow(power_w, power_w) if charged else Flow(0, 0)
        found.append(ChargingPeriod(start_utc_ms + begin, wh, charged, end - begin - charged, flow))
    return tuple(found)


def _register(energy_wh: int, at_ms: int, charging_ms: int) -> int:
    return energy_wh if at_ms >= charging_ms else energy_wh * at_ms // charging_ms
