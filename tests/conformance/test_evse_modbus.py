"""`ChargeControl` on Modbus: EVSE-WB, Phoenix CHARX, Phoenix EM and EV-CC, each against its simulated controller process."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from drivers.evse import evse_wb, modbus_control, phoenix
from drivers.evse.modbus_control import ModbusControl, Pace
from drivers.evse.open import open_control
from drivers.meters import bus
from drivers.system import SystemClock
from terminal_app.config import EvseSection, EvseWbSection, PhoenixCharxSection, PhoenixEmSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.values import EvseStatus, Pilot
from tests.conformance.sim_process import Car, SimProcess

DEADLINE_S = 20.0
FLAGS = {
    "evse-wb": ("--kind", "evse-wb"),
    "evse-wb-fine": ("--kind", "evse-wb", "--fine"),
    "phoenix-charx": ("--kind", "phoenix-charx", "--connector", "2", "--controllers", "2"),
    "phoenix-em": ("--kind", "phoenix-em"),
    "phoenix-ev": ("--kind", "phoenix-em", "--model", "ev-cc-eth"),
}


class Site:
    """One simulated controller with its cable socket, and a new driver for it."""

    def __init__(self, kind: str, board: SimProcess) -> None:
        self.kind, self.board = kind, board
        self.cable = Path(board.facts["cable"])
        self.evse = self.driver()

    def section(self) -> EvseSection:
        facts = self.board.facts
        if "port" in facts:
            return EvseWbSection(port=facts["port"])
        host, _, port = facts["tcp"].rpartition(":")
        if self.kind == "phoenix-charx":
            return PhoenixCharxSection(host=host, tcp_port=int(port), connector=2)
        model: Literal["em-cp-pp-eth", "ev-cc-eth"] = "em-cp-pp-eth" if self.kind == "phoenix-em" else "ev-cc-eth"
        return PhoenixEmSection(model=model, host=host, tcp_port=int(port))

    def driver(self) -> ModbusControl:
        made = open_control(self.section(), "evse.main", SystemClock())
        assert isinstance(made, ModbusControl)
        return made

    def status(self) -> EvseStatus:
        return wait_for(self.evse, lambda status: True)

    def authorize(self, limit_a: int = 10) -> None:
        patiently(lambda: self.evse.authorize(limit_a))

    def revoke(self) -> None:
        patiently(self.evse.revoke)

    def charging(self) -> Car:
        """A car that draws, paid for."""
        self.locked()
        car = Car(self.cable, 7000)
        self.authorize()
        wait_for(self.evse, lambda status: status.relay)
        return car

    def locked(self) -> EvseStatus:
        """After the first contact."""
        return wait_for(self.evse, lambda status: not status.fault)

    def get(self, key: str) -> object:
        return self.board.do("get")[key]


def patiently(order: Callable[[], None]) -> None:
    """As the worker does: an order that was not heard (this machine may be busy) is given again."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return order()
        except (DeviceUnavailable, DeviceMisread) as error:
            if error.kind == "exception" or time.monotonic() > until:
                raise


def wait_for(evse: ModbusControl, wanted: Callable[[EvseStatus], bool]) -> EvseStatus:
    """Poll as the worker does until the status is as wanted; faults on the way are part of the game."""
    until, last = time.monotonic() + DEADLINE_S, None
    while time.monotonic() < until:
        try:
            status = evse.status()
            if wanted(status):
                return status
            last = repr(status)
        except (DeviceUnavailable, DeviceMisread) as error:
            last = str(error)
        time.sleep(0.02)
    raise AssertionError(f"never came: {last}")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated controllers answer at once; the real times are a matter of two tests at the end."""
    monkeypatch.setattr(evse_wb, "PACE", Pace(timeout_s=0.3, gap_s=0.01, quarantine_s=0.1))
    monkeypatch.setattr(phoenix, "PACE", Pace(timeout_s=0.3, gap_s=0.001, quarantine_s=0.1))
    monkeypatch.setattr(modbus_control, "OPEN_LIMIT_S", 0.3)
    monkeypatch.setattr(bus, "REOPEN_FIRST_S", 0.1)


@pytest.fixture(scope="module")
def boards() -> Iterator[Callable[[str], SimProcess]]:
    """Each controller's process, started when first needed."""
    folder, started = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp")), dict[str, SimProcess]()

    def board(kind: str) -> SimProcess:
        if kind not in started:
            place = folder / kind
            place.mkdir()
            line = ("--link", str(place / "tty")) if kind.startswith("evse-wb") else ("--tcp", "127.0.0.1:0")
            wires = ("--load", str(place / "load"), "--cable", str(place / "cable"), "--reboot-s", "0.2")
            started[kind] = SimProcess(place, "evse", *FLAGS[kind], *line, *wires)
        return started[kind]

    yield board
    for one in started.values():
        one.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=["evse-wb", "phoenix-charx", "phoenix-em"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(boards: Callable[[str], SimProcess], kind: str) -> Iterator[Site]:
    board = boards(kind)
    board.do("factory")
    board.do("plug")
    site = Site(kind, board)
    yield site
    site.evse.close()


one_of_each_line = pytest.mark.parametrize("kind", ["evse-wb", "phoenix-charx"])  # below the registers the TCP ones are the same
variants = pytest.mark.parametrize("kind", ["evse-wb-fine", "phoenix-ev"])
evse_wb_only = pytest.mark.parametrize("kind", ["evse-wb"])
charx_only = pytest.mark.parametrize("kind", ["phoenix-charx"])


# --- never free energy ------------------------------------------------------------------------------------------------


def test_what_was_left_released_by_a_power_up_is_locked_at_the_first_contact(site: Site) -> None:
    car = Car(site.cable, 7000)
    status = site.locked()
    assert not status.authorized and not status.relay and status.limit_a == 0
    assert site.get("allowed_a") == 0 and site.get("power_w") == 0
    car.leave()


def test_authorize_charges_at_the_limit_and_revoke_opens_the_contactor(site: Site) -> None:
    car = site.charging()
    site.authorize(10)
    status = site.status()
    assert (status.authorized, status.pilot, status.limit_a, status.fault) == (True, Pilot.C, 10, "")
    assert site.get("pilot_a") == 10 and site.get("power_w") == 6900
    site.evse.limit(7)
    assert site.status().limit_a == 7 and site.get("pilot_a") == 7
    site.revoke()
    site.revoke()
    assert not site.get("contacts_closed")
    status = site.status()
    assert not status.relay and not status.authorized and status.limit_a == 0
    car.leave()
    wait_for(site.evse, lambda status: status.pilot is Pilot.A)


@variants
def test_the_variants_of_a_controller_take_the_same_orders(site: Site) -> None:
    car = site.charging()
    assert site.get("pilot_a") == 10
    site.evse.limit(6)
    assert site.status().limit_a == 6 and site.get("pilot_a") == 6
    site.revoke()
    assert not site.get("contacts_closed")
    car.leave()


def test_every_state_of_the_pilot_is_told(site: Site) -> None:
    assert site.locked().pilot is Pilot.A
    car = Car(site.cable, 0)
    assert wait_for(site.evse, lambda status: status.pilot is not Pilot.A).pilot is Pilot.B
    site.authorize(10)
    car.want(7000)
    assert wait_for(site.evse, lambda status: status.relay).pilot is Pilot.C
    car.want(0)
    assert wait_for(site.evse, lambda status: not status.relay).pilot is Pilot.B
    for letter in "DE":
        site.board.do("state", pilot=letter)
        status = wait_for(site.evse, lambda status: bool(status.fault))
        assert status.pilot is Pilot(letter) and not status.relay
        assert status.fault == {"D": "ventilation_wanted", "E": "diode" if site.kind == "evse-wb" else "pilot_error"}[letter]
    site.board.do("state", pilot="F")
    assert wait_for(site.evse, lambda status: status.fault in ("not_available", "ground_fault")).pilot in (Pilot.E, Pilot.F)
    site.board.do("state", pilot="")
    assert wait_for(site.evse, lambda status: not status.fault).pilot is Pilot.B
    car.leave()


def test_less_than_six_amperes_is_refused_and_nothing_flows(site: Site) -> None:
    site.locked()
    with pytest.raises(DeviceUnavailable, match="only down to 6 A"):
        site.evse.authorize(3)
    car = Car(site.cable, 7000)
    assert not site.status().authorized and site.get("power_w") == 0
    car.leave()


def test_a_restart_while_charging_ends_not_authorized(site: Site) -> None:
    car = site.charging()
    site.board.do("reboot")
    status = wait_for(site.evse, lambda status: not status.authorized and not status.fault)
    assert not status.relay and site.get("allowed_a") == 0 and site.get("power_w") == 0
    site.authorize(10)
    assert wait_for(site.evse, lambda status: status.relay).authorized
    car.leave()


def test_another_master_that_switches_it_ends_what_was_paid_for(site: Site) -> None:
    """Or its button, its web page, its cloud: it is on without us, or off without us."""
    car = site.charging()
    other = site.driver()
    other.status()  # the second driver of this controller locks it at its first contact
    assert not site.status().authorized
    other.authorize(16)
    status = site.status()
    assert not status.authorized and not status.relay and site.get("allowed_a") == 0
    other.close()
    car.leave()


def test_a_lost_link_means_not_authorized(site: Site) -> None:
    car = site.charging()
    site.board.do("unplug")
    with pytest.raises(DeviceUnavailable) as raised:
        site.evse.status()
        site.evse.status()
    assert raised.value.kind == "port"
    assert site.get("power_w") == 6900  # it has no watchdog: that is what `config check` warns of
    site.board.do("plug")
    status = wait_for(site.evse, lambda status: True)
    assert not status.authorized and not status.relay and site.get("power_w") == 0
    car.leave()


def test_a_link_that_was_lost_while_nobody_asked_means_not_authorized_too(site: Site) -> None:
    """Back again before the next question: no question failed, and still nobody knows what happened meanwhile."""
    car = site.charging()
    site.board.do("unplug")
    site.board.do("plug")
    time.sleep(0.2)
    status = site.status()
    assert not status.authorized and not status.relay and site.get("power_w") == 0
    car.leave()


def test_a_limit_whose_answer_is_lost_ends_the_charge(site: Site) -> None:
    """Nobody knows then what the car was told: it ends with the truth."""
    car = site.charging()
    site.board.do("fault", kind="mute")
    with pytest.raises(DeviceUnavailable):
        site.evse.limit(7)
    site.board.do("fault", kind="none")
    assert not site.status().authorized and site.get("power_w") == 0
    car.leave()


def test_closing_the_driver_leaves_nobody_charging(site: Site) -> None:
    car = site.charging()
    with closing(site.driver()) as again:
        site.evse.close()
        assert not site.get("contacts_closed")
        site.evse = again
        assert not again.status().authorized
        site.evse = site.driver()
    car.leave()


def test_it_does_not_claim_to_guard_itself(site: Site) -> None:
    assert site.evse.keepalive_s == 0


# --- the line ---------------------------------------------------------------------------------------------------------


@one_of_each_line
def test_silence_is_a_fault_that_heals_and_a_short_one_does_not_end_the_charge(site: Site) -> None:
    car = site.charging()
    site.board.do("fault", kind="silent")
    with pytest.raises(DeviceUnavailable) as raised:
        site.evse.status()
    assert raised.value.kind == "timeout"
    site.board.do("fault", kind="none")
    status = wait_for(site.evse, lambda status: True)
    assert status.authorized and status.relay and status.limit_a == 10
    car.leave()


@one_of_each_line
def test_a_revoke_that_nobody_heard_is_made_up_for_at_the_next_contact(site: Site) -> None:
    car = site.charging()
    site.board.do("fault", kind="silent")
    with pytest.raises(DeviceUnavailable):
        site.evse.revoke()
    site.board.do("fault", kind="none")
    status = wait_for(site.evse, lambda status: True)
    assert not status.authorized and not status.relay and site.get("power_w") == 0
    car.leave()


@one_of_each_line
def test_an_authorization_whose_answer_is_lost_is_taken_back(site: Site) -> None:
    site.locked()
    car = Car(site.cable, 7000)
    site.board.do("fault", kind="mute")  # it obeys, its answers are lost
    with pytest.raises(DeviceUnavailable):
        site.evse.authorize(10)
    site.board.do("fault", kind="none")
    status = wait_for(site.evse, lambda status: True)
    assert not status.authorized and not status.relay and site.get("allowed_a") == 0
    car.leave()


@one_of_each_line
def test_answers_that_come_late_are_never_taken_for_others(site: Site) -> None:
    site.locked()
    site.board.do("fault", kind="late", ms=400)
    try:
        status = site.evse.status()
    except (DeviceUnavailable, DeviceMisread):
        pass
    else:
        assert site.kind == "evse-wb", "over TCP every answer names its question"
        assert status.pilot is Pilot.A and not status.relay  # asked twice, a first answer may do: late, but about the same
    site.board.do("fault", kind="none")
    assert wait_for(site.evse, lambda status: not status.fault).pilot is Pilot.A


@one_of_each_line
def test_a_refusal_is_a_fault_not_a_state(site: Site) -> None:
    site.locked()
    site.board.do("fault", kind="exception")
    with pytest.raises(DeviceUnavailable) as raised:
        site.evse.status()
    assert raised.value.kind == "exception"
    with pytest.raises(DeviceUnavailable):
        site.evse.authorize(10)
    site.board.do("fault", kind="none")
    assert not site.status().authorized


@evse_wb_only
@pytest.mark.parametrize("noise", ["crc", "garbage"])
def test_a_disturbed_line_never_gives_a_wrong_state(site: Site, noise: str) -> None:
    car = site.charging()
    site.board.do("fault", kind=noise)
    for _ in range(2):
        try:
            status = site.evse.status()
        except (DeviceUnavailable, DeviceMisread):
            continue
        assert status.relay and status.authorized and status.limit_a == 10
    site.board.do("fault", kind="none")
    assert wait_for(site.evse, lambda status: True).authorized
    car.leave()


# --- contactor --------------------------------------------------------------------------------------------------------


def test_an_output_that_stays_on_is_told(site: Site) -> None:
    car = site.charging()
    site.board.do("stuck", on=True)
    with pytest.raises(DeviceUnavailable, match="does not open"):
        site.evse.revoke()
    status = wait_for(site.evse, lambda status: True)
    assert status.relay and not status.authorized and status.fault == "relay_does_not_open"
    site.board.do("stuck", on=False)
    assert not wait_for(site.evse, lambda status: not status.fault).relay
    car.leave()


def test_welded_contacts_are_seen_by_the_energy_meter_only(site: Site) -> None:
    """None of these controllers has a feedback contact: the wire to the meter tells, and the rules raise `welded`."""
    car = site.charging()
    site.board.do("weld", on=True)
    site.revoke()
    assert not site.status().relay
    assert site.get("power_w") == 7000
    car.leave()


# --- EVSE-WB: what it does after a power-up ---------------------------------------------------------------------------


@evse_wb_only
def test_the_current_after_a_power_up_is_set_to_nothing(site: Site) -> None:
    """A factory-new board offers 32 A after each power cut; once met, it offers nothing, before anybody asks it again."""
    assert site.get("allowed_a") == 32
    site.locked()
    car = Car(site.cable, 7000)
    site.board.do("reboot")
    until = time.monotonic() + DEADLINE_S
    while not site.get("boots") and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.4)  # up again, and nobody has spoken to it
    assert site.get("allowed_a") == 0 and site.get("power_w") == 0
    car.leave()


@evse_wb_only
def test_a_board_that_keeps_its_current_after_power_up_gets_no_car_released(site: Site) -> None:
    site.board.do("stubborn", on=True)
    with pytest.raises(DeviceUnavailable, match="power-up"):
        site.evse.status()
    with pytest.raises(DeviceUnavailable, match="power-up"):
        site.evse.authorize(10)
    assert site.get("allowed_a") == 0
    site.board.do("stubborn", on=False)
    assert not wait_for(site.evse, lambda status: True).authorized
    site.authorize(10)


@charx_only
def test_a_connector_that_the_controller_does_not_have_is_named(site: Site) -> None:
    host, _, port = site.board.facts["tcp"].rpartition(":")
    with closing(open_control(PhoenixCharxSection(host=host, tcp_port=int(port), connector=3), "evse.b", SystemClock())) as wrong:
        with pytest.raises(DeviceUnavailable) as raised:
            wrong.status()
        assert raised.value.kind == "exception"


@evse_wb_only
def test_a_line_missing_at_the_start_works_once_it_is_there(site: Site) -> None:
    site.board.do("unplug")
    with pytest.raises(DeviceUnavailable) as raised:
        site.evse.status()
    assert raised.value.kind == "port" and site.board.facts["port"] in str(raised.value)
    site.board.do("plug")
    assert not wait_for(site.evse, lambda status: True).authorized
