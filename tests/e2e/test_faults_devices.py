"""Devices that fall silent, restart or are pulled: a fault is raised and shown, clears by itself, and nothing crashes."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from drivers.sim.control import SimulationError
from scripts.demo.site import Wanted
from terminal_app import screens as s
from tests.e2e.visit import Visit, interrupted, until, wrongs

PRICE = "0.59"
METER_LOST_S = 5


class Outlet:
    """One site for the whole module; counts the taps that were made there."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.taps = visit, 0

    def device(self, name: str, do: str, **parameters: object) -> dict[str, object]:
        return self.visit.site.devices[name].ctl(do, **parameters)

    def charge(self, at_least_wh: int = 50) -> s.Charging:
        self.taps += 1
        return self.visit.charge(at_least_wh)

    def fault(self, device: str, there: bool = True) -> None:
        until(
            lambda: (device in self.visit.faults()) == there, f"the fault of the {device} to be {'raised' if there else 'cleared'}"
        )

    def finished(self) -> dict[str, object]:
        """The newest bill, once a charge has ended by itself."""
        self.visit.glass.wait(s.Receipt)
        self.visit.paid()
        return self.visit.records()[-1]

    def sound(self) -> None:
        """Every device well again, whatever a test has done to it."""
        for order in ({"do": "fault", "kind": "none"}, {"do": "freeze", "on": False}, {"do": "plug"}):
            for name in ("meter", "evse"):
                with contextlib.suppress(SimulationError):
                    self.device(name, **order)  # type: ignore[arg-type]
        self.device("evse", "weld", on=False)
        self.device("pcscd", "start_pcscd")
        self.visit.site.card("hang", on=False)
        self.visit.take_card()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outlet]:
    policy = {"meter_lost_stop_s": METER_LOST_S, "declined_show_s": 30, "receipt_show_s": 600}
    wanted = Wanted(price=PRICE, energy_wh=6000, policy=policy, ui=False)
    with Visit(tmp_path_factory.mktemp("outlet"), wanted) as visit:
        yield Outlet(visit)


@pytest.fixture
def outlet(site: Outlet) -> Iterator[Outlet]:
    """Each test begins with a price on the glass and ends with all faults gone and all books agreeing, same core process."""
    visit, pid = site.visit, site.visit.core_pid
    visit.offer()
    yield site
    site.sound()
    visit.leave()
    visit.settled()
    until(lambda: not visit.faults(), "all faults to clear")
    assert list(wrongs(visit, site.taps, PRICE)) == []
    assert visit.core_pid == pid and visit.site.processes["charge-terminal"].poll() is None
    visit.offer()


def not_for_sale(outlet: Outlet, reason: s.NotForSaleReason) -> None:
    outlet.visit.glass.wait(s.NotForSale, lambda view: view.reason is reason)


# --- nobody is charging ----------------------------------------------------------------------------------------------


def test_meter_silent_at_idle(outlet: Outlet) -> None:
    outlet.device("meter", "fault", kind="silent")
    outlet.fault("meter")
    not_for_sale(outlet, s.NotForSaleReason.METER)
    outlet.device("meter", "fault", kind="none")
    outlet.fault("meter", there=False)
    outlet.visit.offer()


def test_meters_port_disappears_and_comes_back(outlet: Outlet) -> None:
    outlet.device("meter", "unplug")
    outlet.fault("meter")
    outlet.device("meter", "plug")
    outlet.fault("meter", there=False)
    outlet.visit.offer()


@pytest.mark.parametrize("kind", ["silent", pytest.param("mute", marks=pytest.mark.full)])
def test_controller_silent_at_idle(outlet: Outlet, kind: str) -> None:
    outlet.device("evse", "fault", kind=kind)
    outlet.fault("evse")
    not_for_sale(outlet, s.NotForSaleReason.EVSE)
    outlet.device("evse", "fault", kind="none")
    outlet.fault("evse", there=False)
    outlet.visit.offer()


@pytest.mark.full
def test_controllers_port_disappears_and_comes_back(outlet: Outlet) -> None:
    outlet.device("evse", "unplug")
    outlet.fault("evse")
    outlet.device("evse", "plug")
    outlet.fault("evse", there=False)
    outlet.visit.offer()


def test_pcscd_killed_and_back(outlet: Outlet) -> None:
    outlet.device("pcscd", "kill_pcscd")
    time.sleep(1)
    outlet.device("pcscd", "stop_pcscd")
    outlet.fault("reader")
    not_for_sale(outlet, s.NotForSaleReason.READER)
    outlet.device("pcscd", "start_pcscd")
    outlet.fault("reader", there=False)
    outlet.charge()
    assert outlet.visit.stop().money is s.MoneyWords.CAPTURED


def test_card_pulled_while_it_is_read(outlet: Outlet) -> None:
    outlet.visit.site.plug()
    outlet.visit.offer()
    time.sleep(0.5)
    before = outlet.visit.messages()
    outlet.visit.site.card("remove_after_apdus", n=3)
    outlet.visit.lay_card()
    view = outlet.visit.glass.wait(s.DeclinedView)
    assert view.reason is s.DeclineWords.CARD_REMOVED
    assert view.held_minor == 0 and outlet.visit.messages() == before, "nothing may have been sent to the bank"
    outlet.visit.take_card()
    outlet.visit.glass.touch_until(s.Button.OK, s.Offer)
    outlet.charge()
    assert outlet.visit.stop().money is s.MoneyWords.CAPTURED


def test_card_that_hangs(outlet: Outlet) -> None:
    outlet.visit.offer()
    time.sleep(0.5)
    outlet.visit.site.card("hang", on=True)
    with contextlib.suppress(AssertionError):
        outlet.visit.lay_card()
    assert outlet.visit.glass.wait(s.DeclinedView).reason is s.DeclineWords.CARD_ERROR
    outlet.visit.site.card("hang", on=False)
    outlet.visit.take_card()


# --- somebody is charging --------------------------------------------------------------------------------------------


def test_meter_silent_while_charging(outlet: Outlet) -> None:
    """Stopped after our patience; the bill waits for the meter and is the true difference, nothing is invented."""
    outlet.charge()
    outlet.device("meter", "fault", kind="silent")
    outlet.visit.glass.wait(s.Charging, lambda view: view.phase is s.ChargePhase.METER_LOST)
    outlet.fault("meter")
    outlet.visit.glass.wait(s.Charging, lambda view: view.phase is s.ChargePhase.STOPPING)
    until(lambda: not outlet.device("evse", "get")["contacts_closed"], "the contactor to open")
    sealed = len(outlet.visit.records())
    time.sleep(3)
    assert len(outlet.visit.records()) == sealed, "no bill without the stop register"
    outlet.device("meter", "fault", kind="none")
    bill = outlet.finished()
    assert interrupted(bill) == "fault"
    assert bill["register"]["stop_wh"] == outlet.visit.meter_wh()  # type: ignore[index]
    assert bill["register"]["stop_source"] == "meter"  # type: ignore[index]
    receipt = outlet.visit.paid()
    assert receipt.interrupted and receipt.stop is s.StopWords.FAULT


@pytest.mark.full
def test_meter_back_before_patience_ends(outlet: Outlet) -> None:
    outlet.charge()
    outlet.device("meter", "fault", kind="silent", times=3)
    time.sleep(2)
    outlet.visit.glass.wait(s.Charging, lambda view: view.phase in (s.ChargePhase.CHARGING, s.ChargePhase.CAR_PAUSED))
    assert outlet.visit.stop().stop is s.StopWords.TOUCH


def test_controller_silent_while_charging(outlet: Outlet) -> None:
    """Deaf in both directions: after our patience the session ends; the bill follows when the controller has opened."""
    outlet.charge()
    outlet.device("evse", "fault", kind="silent")
    outlet.fault("evse")
    outlet.visit.glass.wait(s.Charging, lambda view: view.phase is s.ChargePhase.STOPPING)
    outlet.device("evse", "fault", kind="none")
    bill = outlet.finished()
    assert interrupted(bill) == "fault"
    assert bill["register"]["stop_wh"] == outlet.visit.meter_wh()  # type: ignore[index]


def test_controller_reboots_while_charging(outlet: Outlet) -> None:
    """It boots enabled; energy must not flow unpaid, and the session ends with the truth."""
    outlet.charge()
    outlet.device("evse", "reboot", deaf_ms=1500)
    bill = outlet.finished()
    assert bill["stop"]["reason"] == "fault"  # type: ignore[index]
    until(lambda: not outlet.device("evse", "get")["contacts_closed"], "the contactor to be open")
    assert bill["register"]["stop_wh"] <= outlet.visit.meter_wh()  # type: ignore[index,operator]


def test_pcscd_killed_while_charging(outlet: Outlet) -> None:
    """The reader is not needed to charge, nor to stop at the screen."""
    outlet.charge()
    outlet.device("pcscd", "stop_pcscd")
    outlet.fault("reader")
    assert isinstance(outlet.visit.glass.view, s.Charging)
    assert outlet.visit.stop().stop is s.StopWords.TOUCH
    outlet.device("pcscd", "start_pcscd")


def test_unplugged_while_charging(outlet: Outlet) -> None:
    outlet.charge()
    outlet.visit.site.unplug()
    assert outlet.finished()["stop"]["reason"] == "unplugged"  # type: ignore[index]


def test_same_card_stops(outlet: Outlet) -> None:
    outlet.charge()
    time.sleep(5.5)
    outlet.visit.lay_card()
    outlet.visit.glass.wait(s.Receipt)
    outlet.visit.take_card()
    assert outlet.visit.paid().stop is s.StopWords.SAME_CARD
