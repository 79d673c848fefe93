"""What stands outside the terminal: meter, contactor, car. Written from the standards, not from the product's code; it survives
every crash of the terminal, as the real ones do.

Energy is counted in watt-milliseconds, so that nothing is rounded before a register is read.
"""

from dataclasses import dataclass, field

WMS_PER_WH = 3_600_000


@dataclass
class Closure:
    """One time the contactor was closed: when and at which exact register."""

    closed_utc_ms: int
    closed_wms: int
    opened_utc_ms: int | None = None
    opened_wms: int | None = None

    @property
    def register_wh(self) -> tuple[int, int]:
        assert self.opened_wms is not None
        return self.closed_wms // WMS_PER_WH, self.opened_wms // WMS_PER_WH


@dataclass
class Outlet:
    """Controller, contactor, car and the meter behind them."""

    power_w: int = 0
    need_wms: int = 0
    guards_itself_ms: int = 12_000
    wms: int = 1_234_567 * WMS_PER_WH + 1_800_000
    plugged: bool = False
    authorized: bool = False
    welded: bool = False
    weld_next: bool = False
    silent_ms: int = 0
    closures: list[Closure] = field(default_factory=list)

    @property
    def relay(self) -> bool:
        return bool(self.closures) and self.closures[-1].opened_utc_ms is None

    @property
    def register_wh(self) -> int:
        return self.wms // WMS_PER_WH

    @property
    def flowed_wh(self) -> int:
        """All that flowed by the register, from the first closing to the last opening."""
        return self.closures[-1].register_wh[1] - self.closures[0].register_wh[0] if self.closures else 0

    @property
    def pilot(self) -> str:
        if not self.plugged:
            return "A"
        return "C" if self.relay else "B"

    def flow(self, by_ms: int, utc_ms: int) -> None:
        """Time passes. A controller that nobody talks to locks by itself."""
        if self.relay:
            self.wms += self.power_w * by_ms
            self.need_wms -= self.power_w * by_ms
        self.silent_ms += by_ms
        if self.authorized and self.silent_ms > self.guards_itself_ms:
            self.authorized = False
        self.settle(utc_ms)

    def settle(self, utc_ms: int) -> None:
        """Close or open the contactor as plug, permission and car want it."""
        wanted = self.plugged and self.authorized and self.need_wms > 0
        if wanted and not self.relay:
            self.closures.append(Closure(utc_ms, self.wms))
            self.welded = self.weld_next
        elif not wanted and self.relay and not (self.welded and self.plugged):
            self.closures[-1].opened_utc_ms = utc_ms
            self.closures[-1].opened_wms = self.wms
            self.welded = False

    def restart(self, utc_ms: int) -> None:
        """The controller reboots (or loses power): nobody is authorized."""
        self.authorized = False
        self.settle(utc_ms)
