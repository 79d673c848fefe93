"""Exact energy of a flow that changes in steps, shared by everything that hangs on the same simulated wire.

Whoever switches the flow stamps the change with the machine's monotonic clock (CLOCK_MONOTONIC, the same in every
process), and everybody integrates by these stamps. So meter, car and controller agree to the last milliwatt hour,
however late a message arrives.
"""

from __future__ import annotations

WATT_NS_PER_MWH = 3_600_000_000


class EnergyAccount:
    """Energy in watt nanoseconds (exact integers) that flowed until a settled moment."""

    def __init__(self, now_ns: int, energy_wns: int = 0) -> None:
        self.energy_wns = energy_wns
        self.power_w = 0
        self._settled_ns = now_ns
        self._steps: list[tuple[int, int]] = []

    def step(self, at_ns: int, power_w: int) -> None:
        """From `at_ns` on `power_w` flows. A change older than what is settled counts from the settled moment."""
        self._steps.append((max(at_ns, self._settled_ns), power_w))
        self._steps.sort(key=lambda step: step[0])

    def settle(self, to_ns: int) -> None:
        """Account for everything until `to_ns`."""
        while self._steps and self._steps[0][0] <= to_ns:
            at_ns, power_w = self._steps.pop(0)
            self._flow(at_ns)
            self.power_w = power_w
        self._flow(to_ns)

    def energy_at_wns(self, now_ns: int) -> int:
        """Energy until `now_ns` by what is known now, without settling it."""
        energy_wns, from_ns, power_w = self.energy_wns, self._settled_ns, self.power_w
        for at_ns, next_power_w in self._steps:
            if at_ns > now_ns:
                break
            energy_wns += power_w * (at_ns - from_ns)
            from_ns, power_w = at_ns, next_power_w
        return energy_wns + power_w * max(0, now_ns - from_ns)

    def power_at_w(self, now_ns: int) -> int:
        return next((power_w for at_ns, power_w in reversed(self._steps) if at_ns <= now_ns), self.power_w)

    def _flow(self, to_ns: int) -> None:
        if to_ns > self._settled_ns:
            self.energy_wns += self.power_w * (to_ns - self._settled_ns)
            self._settled_ns = to_ns

    @property
    def energy_mwh(self) -> int:
        return self.energy_wns // WATT_NS_PER_MWH
