"""What stands outside the terminal and keeps its own books: meter, contactor, car, bank. Written from the standards and the
port's promises, not from the product's code; it survives every crash of the terminal, as the real ones do.

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


@dataclass
class Account:
    """One authorization in the bank's books."""

    hold_id: str
    tap: int
    asked_minor: int
    approved_minor: int
    captures: dict[str, int] = field(default_factory=dict)
    released: bool = False
    requests: int = 1


@dataclass
class Page:
    """A hosted page in the gateway's books; only an open one can be paid."""

    reference: str
    hold_id: str
    amount_minor: int
    state: str = "open"  # paid, ended
    scanned: bool = False


@dataclass
class Bank:
    """An acquirer that believes what it is told: it recognises a repeated step by its key only, and nothing else protects
    the terminal from itself. It forgets reversals of what it does not know: an authorization that arrives after its own
    reversal is granted."""

    accounts: dict[str, Account] = field(default_factory=dict)
    taps: dict[int, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    pages: dict[str, Page] = field(default_factory=dict)  # by hold

    def authorize(self, hold_id: str, tap: int, asked_minor: int, most_minor: int) -> int:
        """The approved amount; 0 = declined."""
        self.taps[tap] = self.taps.get(tap, 0) + 1
        if most_minor == 0:
            return 0
        if hold_id in self.accounts:
            self.accounts[hold_id].requests += 1
            return self.accounts[hold_id].approved_minor
        approved = min(asked_minor, most_minor)
        self.accounts[hold_id] = Account(hold_id, tap, asked_minor, approved)
        return approved

    def open_page(self, hold_id: str, amount_minor: int) -> Page:
        """The same page for the same hold."""
        return self.pages.setdefault(hold_id, Page(f"page-{len(self.pages) + 1}", hold_id, amount_minor))

    def pay(self, reference: str) -> None:
        """The driver's phone; on an ended page there is nothing to pay."""
        page = next(one for one in self.pages.values() if one.reference == reference)
        if page.state == "open":
            page.state = "paid"
            self.accounts[page.hold_id] = Account(page.hold_id, 0, page.amount_minor, page.amount_minor)

    def end_page(self, hold_id: str) -> Page | None:
        """What it was paid for stays held."""
        page = self.pages.get(hold_id)
        if page is not None and page.state == "open":
            page.state = "ended"
        return page

    def knows(self, hold_id: str, key: str) -> bool:
        """Whether this very capture was done before; then it is only confirmed again."""
        return hold_id in self.accounts and key in self.accounts[hold_id].captures

    def capture(self, hold_id: str, key: str, amount_minor: int) -> bool:
        account = self.accounts.get(hold_id)
        if account is None:
            return False
        account.captures.setdefault(key, amount_minor)
        return True

    def void(self, hold_id: str) -> bool:
        """Release; of a hold it does not know (yet) there is nothing to release."""
        account = self.accounts.get(hold_id)
        if account is None:
            return True
        if account.captures:
            return False
        account.released = True
        return True

    @property
    def captured_minor(self) -> int:
        return sum(sum(one.captures.values()) for one in self.accounts.values())
