"""One terminal in a simulated world: real engine, real rules, real ledger; clock, devices, bank, driver and all that goes
wrong are played here, in one thread, from a plan. A crash throws away everything volatile and starts anew on the same ledger.

The adapters below stand for the workers: they obey wishes and actions after a delay and answer with the workers' events.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from terminal_app import screens
from terminal_app.config import Config
from terminal_app.engine.engine import Engine, Outside
from terminal_app.errors import LedgerBroken
from terminal_app.ledger.entry import Entry
from terminal_app.ledger.store import Ledger
from terminal_app.session import actions, energy, events, machine, register
from terminal_app.session.facts import FaultCleared, StopReason
from terminal_app.session.state import State, initial
from terminal_app.values import (
    Device,
    EvseStatus,
    Fault,
    MeterIdentity,
    MeterValue,
    Pilot,
)
from tests.simulation import stage
from tests.simulation.books import BY_NAME, Books
from tests.simulation.coverage import Coverage
from tests.simulation.lines import Lines
from tests.simulation.orders import ordered
from tests.simulation.plan import METER_WAYS, Crash, Plan, Visit
from tests.simulation.signing_meter import SigningMeter
from tests.simulation.site import WMS_PER_WH, Outlet

SERIAL = "21130042"
STEP_MS = 500
SMALL_HOLDS = {"hold_minor": 200, "min_useful_hold_minor": 50, "increment_minor": 60}  # often raised, often used up
OFFLINE = {"card_minor": 2_500, "terminal_minor": 4_000, "card_sessions": 2}
LONGEST_RUN_MS = 24 * 3_600_000  # a second try of an end may take as long as the first one


class Cut(BaseException):
    """The process ends here. No code of the terminal may survive it."""


@dataclass
class Driver:
    """What the person in front of the terminal is doing."""

    visit: Visit
    begun_ms: int
    state: str = "arrive"
    since_ms: int = 0
    taps: int = 0
    replugged: bool = False


class World:
    """Run a plan with `run`; then look at `bank` (all gateways' books), `outlet`, `ledger` and `engine`."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        engine_class: type[Engine] = Engine,
        settings: Config | None = None,
        tariff: str = "paid",
        coverage: Coverage | None = None,
    ) -> None:
        self.folder, self.plan, self.engine_class = folder, plan, engine_class
        self.settings = settings or stage.configuration(
            by_phone=any(one.by_phone for one in plan.visits),
            kinds=plan.gateways,
            checkout_window_s=30,
            max_power_w=150_000,
            meter_return_s=600,
            settle_deadline_s=3 * 3600,
            checkpoint_s=8,
            receipt_show_s=20,
            **(SMALL_HOLDS if plan.gateways else {}),
            sections={"offline": OFFLINE} if plan.offline else {},
        )
        self.tariff = stage.tariff(tariff)
        self._raising = frozenset(name for name in self.settings.gateway if BY_NAME[name].raises_holds)
        self.coverage = coverage or Coverage()
        self.clock, self.chance = stage.FakeClock(), stage.Chance(plan.seed)
        self.outlet, self.lines = Outlet(), Lines(self)
        self.signing = SigningMeter() if plan.signing else None
        if plan.wraps_at_wh:  # soon: the register is about to begin again with 0
            self.outlet.wms = (plan.wraps_at_wh - 20) * WMS_PER_WH
        self.now_ms = self.life = self.commits = self.turns = self.taps = 0
        self.blind_taps: set[int] = set()
        self.told: list[Entry] = []  # the whole ledger, once the oracle has read it
        self.sums: Counter[str] = Counter()  # what the oracle has added up
        self.longest_bank_wait_ms = 0
        self.troubled: set[str] = set()
        self.faults: set[str] = set()
        self.crashes: list[str] = []
        self._queue: list[tuple[int, int, int | None, Callable[[], None]]] = []
        self._pushed = 0
        self.driver: Driver | None = None
        self._engine: Engine | None = None
        self._ledger: Ledger | None = None
        self._frozen_wh = 0
        self._reset_adapters()

    @property
    def bank(self) -> Books:
        return self.lines.books

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @property
    def ledger(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    # --- time ----------------------------------------------------------------------------------------------------------

    def after(self, delay_ms: int, do: Callable[[], None], outside: bool = False) -> None:
        """Do something later. What is not `outside` the terminal dies with the present process."""
        self._pushed += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._pushed, None if outside else self.life, do))

    def _advance_to(self, until_ms: int) -> None:
        while self.now_ms < until_ms:
            step = min(STEP_MS, until_ms - self.now_ms)
            self.now_ms += step
            self.clock.advance(step)
            self.outlet.flow(step, self.clock.utc_ms)

    def run(self) -> None:
        """Everything in the plan, until nothing is open any more."""
        self._start(crashed=False)
        self._next_visit(list(self.plan.visits))
        while self._queue:
            at_ms, _, life, do = heapq.heappop(self._queue)
            if life is not None and life != self.life:
                continue
            self._advance_to(at_ms)
            assert self.now_ms < LONGEST_RUN_MS, f"never quiet: {self._open_matters()}"
            do()
            self._look_at_the_meter()
            self._technician_looks()
            if self.quiet and not self._next_order():
                return

    def _look_at_the_meter(self) -> None:
        """Afterwards a person clears what only a person clears."""
        if self._done and self._engine is not None and not self.engine.state.sessions:
            for fault in [one for one in self.engine.state.faults.values() if one.kind == "record"]:
                self.deliver(events.FaultSeen(fault, False))

    def _next_order(self) -> bool:
        """A person gives an order about money, if one is left; what the rules refuse is told and forgotten."""
        if not self.plan.orders:
            return False
        (what, which, percent), self.plan.orders = self.plan.orders[0], self.plan.orders[1:]
        if event := ordered(self.engine.state, [one.fact for one in self.ledger.entries()], what, which, percent):
            self.sums[f"{what} ordered"] += 1
            self.deliver(event)
        return True

    def _technician_looks(self) -> None:
        """What only a person can end: when all else is over, somebody accepts the meter as it is now, or the contactor."""
        if not self._done or self._engine is None or self.troubled or self._raised or self._open_matters():
            return
        state, now = self.engine.state, self.clock.now()
        if not state.faults or not all((one.device, one.kind) in register.LATCHED for one in state.faults.values()):
            return
        if not energy.acceptance_refusal(state, 1, now):
            facts = energy.acceptance(state, 1, now, "technician", "seen on site")
            self.sums["meters accepted"] += self._guarded(lambda: self.engine.commit_outside_a_turn(*facts))
        elif not energy.clearance_refusal(state, 1, now, 60_000):
            faults = energy.standing(state, 1, Device.EVSE, energy.WELDS)
            self._guarded(lambda: self.engine.commit_outside_a_turn(*map(FaultCleared, faults)))

    @property
    def quiet(self) -> bool:
        calm = self._done and self._engine is not None and not self.troubled and not self._raised
        return calm and not self._open_matters() and not self.engine.state.faults

    def _open_matters(self) -> list[object]:
        state = self.engine.state
        return [*state.sessions.values(), *state.settlements.values(), *state.credits, *([state.seal] if state.seal else [])]

    # --- the terminal's process ------------------------------------------------------------------------------------------

    def _reset_adapters(self) -> None:
        self._wish, self._granted = actions.EvseWish(False, 0), False
        self._obey_from_ms = 0
        self._reader: actions.ReaderWish | None = None
        self._raised: set[str] = set()
        self._key_told = False
        self._bad_since: dict[str, int] = {}
        self.glass: screens.Screen | None = None
        self.lines.watched = set()

    def _start(self, crashed: bool) -> None:
        self.life += 1
        self._reset_adapters()
        self._ledger = Ledger(self.folder, self._probe)
        outside = Outside(self._act, self._wish_evse, self._wish_reader, self._publish)
        standing = replace(
            stage.standing(self.settings, {1: self.tariff}),
            incrementing=self._raising,
            signing=frozenset({1} if self.signing else ()),
        )
        self._engine = self.engine_class(standing, self._ledger, self.clock, self.chance, outside)
        self.coverage.note(self._replayed(), events.Booted(), self.faults)
        if self._guarded(lambda: self.engine.start(crashed)):
            self.after(100, self._poll_evse)
            self.after(150, self._poll_meter)
            self.after(1000, self._tick)

    def _replayed(self) -> State:
        state = initial(self.settings)
        for entry in self.ledger.entries():
            state = machine.evolve(state, entry.fact, entry.stamp)
        return state

    def _probe(self, when: str, number: int) -> None:
        if when == "before":
            self.commits += 1
        for crash in self.plan.crashes:
            if crash.commit == self.commits and (crash.when == when or (crash.when == "fails" and when == "before")):
                self.plan.crashes = [one for one in self.plan.crashes if one is not crash]
                self._dying = crash
                self.crashes.append(f"{crash.when} {crash.commit}")
                if crash.when == "fails":
                    raise LedgerBroken("simulated: the disk does not take it")
                raise Cut

    _dying: Crash = Crash("before", 0)

    def _guarded(self, do: Callable[[], Any]) -> bool:
        """Run the terminal's code; False if its process ended by it."""
        try:
            do()
        except Cut:
            self._die(self._dying.power, self._dying.down_ms)
            return False
        except LedgerBroken as error:
            if "simulated" not in str(error):
                raise
            self._die(power=False, down_ms=self._dying.down_ms)
            return False
        return True

    def _die(self, power: bool, down_ms: int) -> None:
        """Everything volatile is gone."""
        assert self._ledger is not None
        self._ledger.close()
        self._engine = self._ledger = None
        self.life += 1
        self.glass = None
        self.faults.add("power" if power else "kill")
        if power:
            self.outlet.restart(self.clock.utc_ms)

        def again() -> None:
            if power:
                self.clock.restart()
            self._start(crashed=True)

        self.after(down_ms, again, outside=True)

    def deliver(self, event: events.Event) -> None:
        """One event to the engine, if the process lives."""
        if self._engine is None:
            return
        self.coverage.note(self.engine.state, event, self.faults | self.troubled)
        self.turns += 1
        assert self.turns < 60_000, f"never quiet: {self._open_matters()}"
        self._guarded(lambda: self.engine.turn(event))
        self._watch()

    def _watch(self) -> None:
        """What must hold after every turn, seen from outside."""
        if self._engine is None:
            return
        now = self.clock.now()
        for session in self.engine.state.sessions.values():
            if session.phase.value == "authorizing" and session.opened.boot_id == now.boot_id:
                self.longest_bank_wait_ms = max(self.longest_bank_wait_ms, now.mono_ms - session.opened.mono_ms)
        if self.outlet.authorized and self._wish.authorized:
            assert self.engine.state.sessions, "the contactor may close without a session"

    @property
    def _pace(self) -> int:
        """Nobody is here: what happens every second happens every fifth, and every thirtieth when only money is still open."""
        if not self._done or self._raised or any(not one.startswith("down") for one in self.troubled):
            return 1
        return 5 if self._engine is None or self.engine.state.sessions or self.engine.state.seal else 30

    @property
    def _done(self) -> bool:
        return self.driver is None and not self._coming

    def _tick(self) -> None:
        self.after(1000 * self._pace, self._tick)
        self.deliver(events.Ticked())

    # --- controller and meter --------------------------------------------------------------------------------------------

    def _wish_evse(self, connector: int, wish: actions.EvseWish) -> None:
        self._wish = wish
        self._obey_from_ms = self.now_ms + self.plan.obey_ms
        self.after(self.plan.obey_ms, self._obey)

    def _obey(self) -> None:
        if "controller_silent" in self.troubled or self.now_ms < self._obey_from_ms:
            return
        self.outlet.silent_ms = 0
        if not self._wish.authorized:
            self.outlet.authorized, self._granted = False, False
        elif not self._granted:
            self.outlet.authorized = self._granted = True
        self.outlet.settle(self.clock.utc_ms)

    def _poll_evse(self) -> None:
        self.after(STEP_MS * self._pace, self._poll_evse)
        if "controller_silent" in self.troubled:
            self._bad(Device.EVSE, "silent")
            return
        self._good(Device.EVSE, "silent")
        self._obey()
        box = self.outlet
        status = EvseStatus(Pilot(box.pilot), box.relay, box.authorized, 32, self.clock.now())
        self.after(5, lambda: self.deliver(events.EvseReported(1, status)))

    def _read_meter(self) -> MeterValue | None:
        wh, serial = self.outlet.register_wh, SERIAL
        if "silent" in self.troubled:
            return None
        if "frozen" in self.troubled:
            wh = self._frozen_wh
        if "zero" in self.troubled:
            wh = 0
        if "spike" in self.troubled:
            wh += 5_000_000
        if "other" in self.troubled:
            serial = "99999999"
        if "reset" in self.troubled:  # it counts on, from near zero
            wh -= self._frozen_wh - 7
        if self.plan.wraps_at_wh:
            wh %= self.plan.wraps_at_wh
        return MeterValue(wh, self.outlet.power_w if self.outlet.relay else 0, serial, self.clock.now())

    def _poll_meter(self) -> None:
        self.after(1000 * self._pace, self._poll_meter)
        value = self._read_meter()
        if value is None:
            self._bad(Device.METER, "timeout")
            self._key_told = False
            return
        self._good(Device.METER, "timeout")
        if self.signing and not self._key_told:
            self._key_told = True
            self.deliver(events.MeterKeyRead(1, value.serial, self.signing.spki.hex()))
        self.after(5, lambda: self.deliver(events.MeterReported(1, value)))

    def _read_register(self, action: actions.ReadRegister) -> None:
        first = self._read_meter()

        def again() -> None:
            second = self._read_meter()
            if first is None or second is None:
                self.deliver(events.RegisterUnreadable(1, action.session_id, action.purpose, "no answer"))
                return
            identity = MeterIdentity("Eastron", "SDM630-Modbus V2", second.serial, "1.15", wraps_at_wh=self.plan.wraps_at_wh)
            self.deliver(events.RegisterRead(1, action.session_id, action.purpose, first, second, identity))

        self.after(250, again)

    def _bad(self, device: Device, kind: str) -> None:
        since = self._bad_since.setdefault(kind, self.now_ms)
        if self.now_ms - since >= 3_000 and kind not in self._raised:
            self._raised.add(kind)
            self.deliver(events.FaultSeen(Fault(device, 0 if device is Device.SIGNER else 1, kind), True))

    def _good(self, device: Device, kind: str) -> None:
        self._bad_since.pop(kind, None)
        if kind in self._raised:
            self._raised.discard(kind)
            self.deliver(events.FaultSeen(Fault(device, 0 if device is Device.SIGNER else 1, kind), False))

    # --- what the rules ask for ------------------------------------------------------------------------------------------

    def _act(self, action: actions.Action) -> None:
        match action:
            case actions.Authorize():
                self.lines.authorize(action)
            case actions.OpenCheckout():
                self.lines.open_page(action)
            case actions.WatchCheckout():
                self.lines.watch(action)
            case actions.ExpireCheckout():
                self.lines.end_page(action)
            case actions.Increment():
                self.lines.increment(action)
            case actions.Capture() | actions.Void() | actions.Refund():
                self.lines.settle(action)
            case actions.ReadRegister():
                self.after(50, lambda: self._read_register(action))
            case actions.BeginSigned() | actions.EndSigned():
                self.after(400, lambda: self._meter_signs(action))
            case actions.SignOcmf() | actions.SignRecord() | actions.SignReceipt():
                self.after(12_000 if self.plan.signer_slow else 30, lambda: self._sign(action))

    def _meter_signs(self, action: actions.BeginSigned | actions.EndSigned) -> None:
        """It obeys at once; its answer comes later, and is lost with the terminal's process."""
        assert self.signing is not None
        wh, utc_ms, purpose = self.outlet.register_wh, self.clock.utc_ms, "end"
        answer: events.Event
        if isinstance(action, actions.BeginSigned):
            purpose = "begin"
            answer = events.SignedBegun(1, action.session_id, self.signing.begin(action.reference, action.tariff_text, wh, utc_ms))
        else:
            answer = events.SignedEnded(1, action.session_id, self.signing.end(wh, utc_ms))
        if "silent" in self.troubled:
            answer = events.SignedRefused(1, action.session_id, purpose, "no answer")
        self.after(300, lambda: self.deliver(answer))

    def _sign(self, action: actions.SignOcmf | actions.SignRecord | actions.SignReceipt) -> None:
        if "signer" in self.troubled:
            self._bad_since["key"] = self.now_ms - 3_000
            self._bad(Device.SIGNER, "key")
            return
        self._good(Device.SIGNER, "key")
        if isinstance(action, actions.SignOcmf):
            self.deliver(events.OcmfSigned(action.session_id, stage.ocmf_key().sign(action.payload)))
        elif isinstance(action, actions.SignReceipt):
            self.deliver(events.ReceiptSigned(action.record_seq, stage.record_key().sign(action.signing_input)))
        else:
            self.deliver(events.RecordSigned(action.record_seq, stage.record_key().sign(action.signing_input)))

    def next_way(self, kind: str) -> str:
        """How the bank's next answer fares, as planned for this visit."""
        ways: tuple[str, ...] = getattr(self.visit, kind)
        setattr(self.visit, kind, ways[1:])
        way = ways[0] if ways else "ok"
        if way != "ok":
            self.faults.add(f"bank {way}")
        return way

    # --- screen and reader -----------------------------------------------------------------------------------------------

    def _publish(self, screen: screens.Screen) -> None:
        self.after(60, lambda: self._draw(screen))

    def _draw(self, screen: screens.Screen) -> None:
        if "ui" in self.troubled:
            self.glass = None
            return
        new = self.glass is None or self.glass.screen_no != screen.screen_no
        self.glass = screen
        if new:
            self.deliver(events.FrameShown(screen.screen_no))

    def _wish_reader(self, wish: actions.ReaderWish | None) -> None:
        self._reader = wish

    def tap(self, card_number: int, pulled: bool = False) -> None:
        """A card in the field: it counts only if the reader is armed."""
        wish = self._reader
        if wish is None or self._engine is None or "reader" in self.troubled:
            return
        self.taps += 1
        tap = self.taps
        if self.glass is None or not isinstance(self.glass.view, screens.Offer):
            self.blind_taps.add(tap)
        self.deliver(events.CardSeen(wish.arm_no))
        if pulled:
            self.after(150, lambda: self.deliver(events.CardFailed(wish.arm_no, "removed")))
            return
        card = stage.card(wish.request, card_number, tap, self.visit.authenticated)
        self.after(300, lambda: self.deliver(events.CardRead(wish.arm_no, wish.request.pay, card)))

    def touch(self, button: screens.Button) -> None:
        """A finger on what the glass shows; refused if its meaning has changed."""
        if self._engine is None or self.glass is None:
            return
        no = self.glass.screen_no
        self.coverage.note(self.engine.state, events.Touched(button, ""), self.faults | self.troubled)
        self._guarded(lambda: self.engine.touched(events.Touched(button, ""), no))

    # --- the driver ------------------------------------------------------------------------------------------------------

    _coming: list[Visit] = []
    visit: Visit = Visit()

    def _next_visit(self, coming: list[Visit]) -> None:
        self._coming = coming
        if not coming:
            self.driver = None
            return
        self.visit = coming.pop(0)
        self.driver = Driver(self.visit, self.now_ms, since_ms=self.now_ms)
        self.outlet.power_w, self.outlet.need_wms = self.visit.power_w, self.visit.need_wh * WMS_PER_WH
        for trouble in self.visit.troubles:
            self.after(trouble.at_ms, lambda one=trouble: self._begin(one.what), outside=True)  # type: ignore[misc]
            self.after(trouble.at_ms + trouble.for_ms, lambda one=trouble: self._end(one.what), outside=True)  # type: ignore[misc]
        for sudden in self.visit.sudden:
            self.after(sudden.at_ms, lambda one=sudden: self._sudden(one.what == "power", one.for_ms), outside=True)  # type: ignore[misc]
        self.after(300, self._look, outside=True)

    def _sudden(self, power: bool, down_ms: int) -> None:
        if self._engine is not None:
            self.crashes.append(f"sudden {'power cut' if power else 'kill'}")
            self._die(power, down_ms)

    def _begin(self, what: str) -> None:
        if what == "controller_reboot":
            self.faults.add(what)
            self.outlet.restart(self.clock.utc_ms)
            return
        if what == "weld":
            self.outlet.weld_next = True
        if what in ("frozen", "reset"):
            self._frozen_wh = self.outlet.register_wh
        if what == "reader":
            self.deliver(events.FaultSeen(Fault(Device.READER, 0, "gone"), True))
        if what == "ui":
            self.glass = None
            self.deliver(events.FrameShown(0))  # the link is gone
        self.troubled.add(what)
        self.faults |= {"meter", f"meter {what}"} if what in METER_WAYS else {what}

    def _end(self, what: str) -> None:
        if what == "weld":
            self.outlet.weld_next = self.outlet.welded = False
            self.outlet.settle(self.clock.utc_ms)
        if what == "reader":
            self.deliver(events.FaultSeen(Fault(Device.READER, 0, "gone"), False))
        self.troubled.discard(what)

    def _look(self) -> None:
        """Every 300 ms the driver looks at the glass and goes on."""
        driver = self.driver
        assert driver is not None
        view = None if self.glass is None or self._engine is None else self.glass.view
        step = getattr(self, f"_driver_{driver.state}")
        before = driver.state
        step(driver, driver.visit, view, self.now_ms - driver.since_ms)
        if driver.state != before:
            driver.since_ms = self.now_ms
        if self.driver is driver:
            self.after(300, self._look, outside=True)

    def _plug(self, plugged: bool) -> None:
        self.outlet.plugged = plugged
        self.outlet.settle(self.clock.utc_ms)

    def _driver_arrive(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        if visit.early_tap:
            self.tap(visit.card)
        if visit.plug_first:
            self._plug(True)
        driver.state = "tap"

    def _driver_tap(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        if isinstance(view, screens.Offer) and here_ms >= visit.tap_after_ms:
            if view.free:
                driver.taps += 1
                self.touch(screens.Button.START)
                driver.state = "wait"
            elif visit.by_phone:
                if view.by_phone:
                    driver.taps += 1
                    self.touch(screens.Button.PAY_BY_PHONE)
                    driver.state = "phone"
                elif here_ms > 5_000:  # no page can be opened now: a card, then
                    visit.by_phone = False
            elif view.card_ready:
                driver.taps += 1
                self.tap(visit.card, visit.pulls_card and driver.taps == 1)
                driver.state = "wait"
            elif here_ms > 120_000:
                driver.state = "leave"
        elif isinstance(view, screens.PlugIn | screens.Charging):
            driver.state = "wait"
        elif here_ms > 120_000:
            driver.state = "leave"

    def _driver_phone(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        match view:
            case screens.PayByPhone(url=url) if url:
                hold_id = url.rsplit("/", 1)[1]
                if self.lines.scan(hold_id):
                    driver.since_ms = self.now_ms
                    if visit.pays_after_ms >= 0:
                        amount = self.settings.policy.hold_minor
                        self.after(visit.pays_after_ms, lambda: self.lines.pay(hold_id, amount), outside=True)
                elif visit.gives_up_ms and here_ms >= visit.gives_up_ms:
                    visit.gives_up_ms = 0
                    self.touch(screens.Button.CANCEL)
            case screens.PayByPhone():
                pass
            case _ if view is not None:
                driver.state = "wait"

    def _driver_wait(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        match view:
            case screens.PlugIn() if visit.cancels:
                self.touch(screens.Button.CANCEL)
            case screens.PlugIn() if not visit.never_plugs and not self.outlet.plugged:
                self._plug(True)
            case screens.Charging():
                driver.state = "charge"
            case screens.Receipt():
                driver.state = "receipt"
            case screens.DeclinedView(reason=screens.DeclineWords.HOLD_KEPT) if driver.taps < 2 and here_ms > 1_500:
                driver.taps += 1
                self.tap(1)  # as the screen asks: the same card once more
                driver.since_ms = self.now_ms
            case screens.DeclinedView() if here_ms > 1_500:
                self.touch(screens.Button.OK)
                driver.state = "tap" if driver.taps < 2 else "leave"
            case screens.Offer() if here_ms > 4_000:
                driver.state = "tap" if driver.taps < 2 else "leave"
            case _ if here_ms > 240_000:
                driver.state = "leave"

    def _driver_charge(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        match view:
            case screens.Charging(phase=screens.ChargePhase.STARTING) if visit.replugs and not driver.replugged:
                driver.replugged = True
                self._plug(False)
                self.after(700, lambda: self._plug(True), outside=True)
            case screens.Charging(phase=phase) if phase not in (screens.ChargePhase.STARTING, screens.ChargePhase.STOPPING):
                if here_ms > visit.charge_ms:
                    self._end_charge(visit, here_ms)
            case screens.Receipt():
                driver.state = "receipt"
            case screens.DeclinedView() if driver.taps < 2:  # it failed before it began: once more
                driver.state = "wait"
            case screens.Offer() | screens.DeclinedView() if here_ms > 4_000:
                driver.state = "leave"
            case _ if here_ms > 900_000:
                driver.state = "leave"

    def _end_charge(self, visit: Visit, here_ms: int) -> None:
        match visit.end:
            case "unplug":
                self._plug(False)
            case "card" if here_ms < 90_000:
                self.tap(visit.card)
            case "order":
                self.deliver(events.StopCommanded(1, StopReason.REMOTE, "technician", "test"))
            case "hold" if here_ms < (260_000 if visit.power_w > 100_000 else 60_000):
                pass
            case "full" if here_ms < 60_000:
                pass
            case _:
                self.touch(screens.Button.STOP)

    def _driver_receipt(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        if here_ms > 1_500:
            self.touch(screens.Button.DONE)
            driver.state = "leave"

    def _driver_leave(self, driver: Driver, visit: Visit, view: Any, here_ms: int) -> None:
        self._plug(False)
        if here_ms > 3_000:
            self._next_visit(self._coming)

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()


__all__ = ["Cut", "World", "machine"]
