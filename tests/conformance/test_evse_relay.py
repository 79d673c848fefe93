"""`ChargeControl` by a contactor at a GPIO line, on simulated lines and an own clock: no hardware, no waiting."""

import sys
import types
from collections.abc import Iterator

import pytest

from drivers.evse import relay
from drivers.evse.gpio import Lines
from drivers.evse.relay import Relay
from drivers.system import SystemClock
from terminal_app.config import RelaySection
from terminal_app.errors import DeviceUnavailable
from terminal_app.values import Pilot

LINE, FEEDBACK, PILOT = 17, 27, 22
SECTION = RelaySection(
    chip="/dev/gpiochip0", line=LINE, feedback_line=FEEDBACK, pilot_line=PILOT, current_a=16, min_on_s=5, min_off_s=10
)


class Wires:
    """A contactor with an auxiliary contact and a car, on the lines of one chip. `now` is its clock in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.coil = self.welded = self.dead_coil = self.car = False
        self.gone: OSError | None = None
        self.opened = 0
        self.closings: list[float] = []

    # what the driver holds
    def write(self, line: int, active: bool) -> None:
        self._there()
        assert line == LINE, "only the contactor's line is an output"
        if active and not self.coil:
            self.closings.append(self.now)
        self.coil = active

    def read(self, line: int) -> bool:
        self._there()
        return {FEEDBACK: self.contact, PILOT: self.car}[line]

    def close(self) -> None:
        self._there()

    def _there(self) -> None:
        if self.gone is not None:
            raise self.gone

    # what happens outside
    @property
    def contact(self) -> bool:
        return self.welded or (self.coil and not self.dead_coil)

    def open(self, section: RelaySection) -> Lines:
        self._there()
        self.opened += 1
        self.coil = False  # requested as inactive
        return self


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    made = Wires()

    def sleep(seconds: float) -> None:
        made.now += seconds

    monkeypatch.setattr(relay.time, "sleep", sleep)
    return made


def control(wires: Wires, section: RelaySection = SECTION) -> Relay:
    """The driver, met once, and long enough after the start to close."""
    made = Relay(section, "evse.main", SystemClock(), wires.open, lambda: wires.now)
    made.status()
    wires.now += section.min_off_s
    return made


@pytest.fixture
def evse(wires: Wires) -> Iterator[Relay]:
    yield control(wires)


def test_it_begins_open_and_says_so(wires: Wires) -> None:
    wires.coil = True  # as a crashed process may have left it
    status = Relay(SECTION, "evse.main", SystemClock(), wires.open, lambda: wires.now).status()
    assert not wires.coil and not status.relay and not status.authorized and status.pilot is Pilot.A and not status.fault


def test_it_closes_only_for_a_car_that_is_paid_for_and_opens_at_once(wires: Wires, evse: Relay) -> None:
    wires.car = True
    assert evse.status().pilot is Pilot.B and not wires.coil
    wires.car = False
    evse.authorize(16)
    status = evse.status()
    assert status.authorized and not status.relay and status.pilot is Pilot.A
    wires.car = True
    status = evse.status()
    assert status.relay and status.pilot is Pilot.C and status.limit_a == 16
    evse.authorize(16)
    wires.car = False  # unplugged under way
    status = evse.status()
    assert not wires.coil and not status.relay and status.pilot is Pilot.A
    wires.car = True
    evse.revoke()
    evse.revoke()
    assert not wires.coil and not evse.status().authorized


def test_an_early_stop_is_never_delayed_the_next_closing_is(wires: Wires, evse: Relay) -> None:
    wires.car = True
    evse.authorize(16)
    wires.now += 1  # of the 5 s it should stay closed
    evse.revoke()
    assert not wires.coil
    stopped = wires.now
    evse.authorize(16)
    assert not evse.status().relay and evse.status().authorized
    for _ in range(40):
        wires.now += 0.5
        evse.status()
    assert wires.coil and 14 <= wires.closings[1] - stopped <= 14.5


def test_it_may_not_close_right_after_the_start(wires: Wires) -> None:
    made = Relay(SECTION, "evse.main", SystemClock(), wires.open, lambda: wires.now)
    wires.car = True
    made.authorize(16)
    assert not made.status().relay  # a crash and restart of the program must not chatter the contactor
    wires.now += 10
    assert made.status().relay


def test_a_weld_is_told_and_nobody_is_let_on_it(wires: Wires, evse: Relay) -> None:
    wires.car = True
    evse.authorize(16)
    wires.welded = True
    with pytest.raises(DeviceUnavailable, match="welded") as raised:
        evse.revoke()
    assert raised.value.kind == "exception" and not wires.coil
    status = evse.status()
    assert status.relay and not status.authorized and status.fault == "relay_does_not_open"
    with pytest.raises(DeviceUnavailable, match="welded"):
        evse.authorize(16)
    wires.welded = False
    assert not evse.status().fault


def test_a_contactor_that_does_not_close_is_told_and_released(wires: Wires, evse: Relay) -> None:
    wires.car = wires.dead_coil = True
    evse.authorize(16)
    wires.now += 0.3
    assert evse.status().fault == "relay_does_not_close"
    assert not wires.coil and evse.status().fault == "relay_does_not_close"
    evse.revoke()
    assert not evse.status().fault


def test_less_current_than_it_gives_is_refused_and_opens(wires: Wires, evse: Relay) -> None:
    wires.car = True
    evse.authorize(16)
    with pytest.raises(DeviceUnavailable, match="cannot limit to 10 A"):
        evse.limit(10)
    assert not wires.coil and not evse.status().authorized
    with pytest.raises(DeviceUnavailable, match="current_a"):
        evse.authorize(10)
    evse.limit(20)


def test_a_chip_that_is_gone_means_not_authorized(wires: Wires, evse: Relay) -> None:
    wires.car = True
    evse.authorize(16)
    wires.gone = OSError(19, "No such device")
    with pytest.raises(DeviceUnavailable) as raised:
        evse.status()
    assert raised.value.kind == "port" and "/dev/gpiochip0" in str(raised.value)
    with pytest.raises(DeviceUnavailable):
        evse.status()
    wires.gone = None
    wires.now += 2
    status = evse.status()
    assert not status.authorized and not status.relay and not wires.coil and wires.opened == 2


def test_closing_the_driver_opens_the_contactor(wires: Wires, evse: Relay) -> None:
    wires.car = True
    evse.authorize(16)
    assert wires.coil
    evse.close()
    assert not wires.coil


def test_without_inputs_a_car_is_taken_to_be_there_and_the_order_counts_as_done(wires: Wires) -> None:
    evse = control(wires, RelaySection(chip="/dev/gpiochip0", line=LINE, current_a=16, min_on_s=0, min_off_s=0))
    assert evse.status().pilot is Pilot.B
    evse.authorize(16)
    assert evse.status().pilot is Pilot.C and evse.status().relay
    evse.revoke()
    assert evse.status().pilot is Pilot.B


def test_it_does_not_claim_to_guard_itself(evse: Relay) -> None:
    assert evse.keepalive_s == 0


# --- the package gpiod, which is not there on most machines ------------------------------------------------------------


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(DeviceUnavailable, match="package gpiod"):
        Relay(SECTION, "evse.main", SystemClock()).status()


def test_an_old_package_is_not_mistaken_for_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", types.ModuleType("gpiod"))
    with pytest.raises(DeviceUnavailable, match="older than 2"):
        Relay(SECTION, "evse.main", SystemClock()).status()
