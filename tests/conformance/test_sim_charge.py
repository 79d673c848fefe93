"""The simulated meter, controller and car on one wire: energy is what really flowed, and everybody agrees on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.sim.launch import Simulated

SETTLED_S = 0.3  # the meter's registers follow 0.2 s behind
WITHIN_S = 20.0


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


class Site:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.meter = Simulated("meter", place / "mc", "--link", place / "m", "--load", place / "l", "--state", place / "s")
        self.evse = self.start_evse()
        self.car = Simulated("car", place / "cc", "--cable", place / "cable", "--power-w", "5000000")

    def start_evse(self) -> Simulated:
        place = self.place
        flags = ("--link", place / "e", "--load", place / "l", "--cable", place / "cable", "--max-power-w", "4000000")
        return Simulated("evse", place / "ec", *flags, "--transition-ms", "20", "--post-s", "0.1", "--reboot-s", "0.3")

    def stop(self) -> None:
        for device in (self.car, self.evse, self.meter):
            device.stop()


@pytest.fixture
def site(place: Path) -> Iterator[Site]:
    site = Site(place)
    yield site
    site.stop()


def until(device: Simulated, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        state = device.ctl("get")
        if true(state):
            return state
        time.sleep(0.02)
    raise AssertionError(f"not within {WITHIN_S} s: {device.ctl('get')}")


def test_energy_at_the_car_is_energy_at_the_meter(site: Site) -> None:
    start = site.meter.ctl("get")["register_mwh"]
    site.car.ctl("plug")
    until(site.car, lambda car: car["energy_mwh"] > 300_000)
    assert site.car.ctl("get")["power_w"] == 4_000_000  # what the pilot allows, not what the car could take
    site.car.ctl("unplug")
    time.sleep(SETTLED_S)
    drawn = site.car.ctl("get")["lifetime_mwh"]
    counted = site.meter.ctl("get")["register_mwh"] - start
    assert drawn >= 300_000
    assert abs(counted - drawn) <= 1  # each rounds down once
    assert site.evse.ctl("get")["energy_mwh"] == drawn


def test_two_charges_and_pauses_add_up(site: Site) -> None:
    start = site.meter.ctl("get")["register_mwh"]
    for _ in range(2):
        site.car.ctl("plug")
        until(site.car, lambda car: car["energy_mwh"] > 50_000)
        site.car.ctl("pause")
        until(site.evse, lambda evse: not evse["relay"])
        site.car.ctl("pause", on=False)
        until(site.evse, lambda evse: bool(evse["relay"]))
        site.car.ctl("unplug")
    time.sleep(SETTLED_S)
    assert abs(site.meter.ctl("get")["register_mwh"] - start - site.car.ctl("get")["lifetime_mwh"]) <= 1


def test_car_stops_when_it_has_what_it_wants(site: Site) -> None:
    site.car.ctl("want", wh=200, power_w=1_000_000)
    site.car.ctl("plug")
    full = until(site.car, lambda car: bool(car["full"]) and car["power_w"] == 0)
    assert full["energy_wh"] >= 200
    assert site.evse.ctl("get")["state"] == "02"


def test_nothing_flows_through_an_open_contact(site: Site) -> None:
    site.evse.ctl("gfci", on=True)
    site.car.ctl("plug")
    time.sleep(0.3)
    assert site.car.ctl("get")["energy_mwh"] == 0
    assert site.evse.ctl("get")["state"] == "06"
    site.evse.ctl("gfci", on=False)
    until(site.car, lambda car: car["power_w"] > 0)


def test_welded_contact_lets_power_through_and_the_board_says_so(site: Site) -> None:
    site.car.ctl("rogue", on=True)
    site.evse.ctl("weld", on=True)
    site.car.ctl("plug")
    until(site.car, lambda car: car["power_w"] > 0)
    site.evse.ctl("gfci", on=True)
    assert site.car.ctl("get")["power_w"] > 0
    until(site.meter, lambda meter: meter["power_w"] > 0)


def test_controller_killed_means_no_power_and_the_car_comes_back(site: Site) -> None:
    site.car.ctl("plug")
    until(site.meter, lambda meter: meter["power_w"] > 0)
    site.evse.process.kill()
    site.evse.process.wait()
    until(site.meter, lambda meter: meter["power_w"] == 0)
    site.evse = site.start_evse()
    until(site.car, lambda car: car["power_w"] > 0)  # boots enabled, as the real board does


def test_reboot_opens_the_relay_then_charges_again_without_being_asked(site: Site) -> None:
    site.car.ctl("plug")
    until(site.car, lambda car: car["power_w"] > 0)
    site.evse.ctl("reboot")
    assert not site.evse.ctl("get")["relay"]
    assert until(site.evse, lambda evse: bool(evse["relay"]))["boots"] == 2


def test_meter_keeps_its_register_over_a_restart(site: Site) -> None:
    site.car.ctl("plug")
    until(site.car, lambda car: car["energy_mwh"] > 50_000)
    site.car.ctl("unplug")
    time.sleep(SETTLED_S)
    before = site.meter.ctl("get")["register_mwh"]
    assert site.meter.stop() == 0
    place = site.place
    site.meter = Simulated("meter", place / "mc", "--link", place / "m", "--load", place / "l", "--state", place / "s")
    assert site.meter.ctl("get")["register_mwh"] == before


def test_commands_from_the_shell(site: Site) -> None:
    def ctl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drivers.sim", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    socket = str(site.car.control)
    plugged = ctl("ctl", socket, '{"do":"plug"}')
    assert (plugged.returncode, json.loads(plugged.stdout)) == (0, {"ok": True})
    assert json.loads(ctl("ctl", socket, "get").stdout)["plugged"] is True
    refused = ctl("ctl", socket, '{"do":"fly"}')
    assert refused.returncode == 1 and "there is get, pause, plug" in json.loads(refused.stdout)["error"]
    assert json.loads(ctl("ctl", socket, '{"do":"want","wh":-1}').stdout)["error"].startswith("wh: a whole number")
    nobody = ctl("ctl", socket + "x", "get")
    assert nobody.returncode == 1 and "No such file" in nobody.stderr
    assert ctl("toaster").returncode == 2
    assert [device.stop() for device in (site.car, site.evse, site.meter)] == [0, 0, 0]
