"""`ChargeControl`: what every charge controller must do, on the simulated board and on one that breaks the rules."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.evse import openevse
from drivers.evse.openevse import OpenEvse
from drivers.sim import rapi
from drivers.system import SystemClock
from terminal_app.config import OpenEvseSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.values import EvseStatus, Pilot
from tests.conformance.evil_devices import EvilBoard, Piece
from tests.conformance.sim_process import Car, SimProcess

DEADLINE_S = 20.0


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated boards answer at once; only FD is slow, and it is never sent."""
    monkeypatch.setattr(openevse, "REPLY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(openevse, "OPEN_LIMIT_S", 0.5)
    monkeypatch.setattr(openevse, "REOPEN_FIRST_S", 0.1)


def driver(port: Path) -> OpenEvse:
    return OpenEvse(OpenEvseSection(port=str(port)), "evse 1", SystemClock())


def wait_for(evse: OpenEvse, wanted: Callable[[EvseStatus], bool]) -> EvseStatus:
    """Poll as the worker does until the status is as wanted; faults on the way are part of the game."""
    until = time.monotonic() + DEADLINE_S
    last: object = None
    while time.monotonic() < until:
        try:
            status = evse.status()
            if wanted(status):
                return status
            last = status
        except (DeviceUnavailable, DeviceMisread) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"never came: {last}")


# --- the simulated board ----------------------------------------------------------------------------------------------


class Site:
    """The simulated board, a meter's load socket being absent, and the driver."""

    def __init__(self, folder: Path) -> None:
        self.cable = folder / "cable"
        arguments = ("--link", str(folder / "tty"), "--load", str(folder / "load"), "--cable", str(self.cable))
        self.board = SimProcess(folder, "evse", *arguments, "--reboot-s", "0.4", "--post-s", "0.2")
        self.evse = driver(folder / "tty")


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    yield site
    site.evse.close()
    site.board.stop()


def test_a_board_that_boots_enabled_is_put_to_sleep_before_a_car_gets_anything(site: Site) -> None:
    assert site.board.do("get")["mode"] == "enabled"
    status = wait_for(site.evse, lambda status: not status.fault)
    assert not status.authorized and not status.relay and status.pilot is Pilot.A
    car = Car(site.cable, 7000)
    wait_for(site.evse, lambda status: status.pilot is Pilot.C)
    seen = site.board.do("get")
    assert seen["mode"] == "sleeping" and not seen["contacts_closed"] and seen["power_w"] == 0
    car.leave()


def test_authorize_charges_at_the_limit_and_revoke_opens_the_contactor(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 100_000)
    site.evse.authorize(10)
    site.evse.authorize(10)
    status = wait_for(site.evse, lambda status: status.relay)
    assert status.authorized and status.pilot is Pilot.C and status.limit_a == 10
    assert site.board.do("get")["pilot_a"] == 10
    site.evse.limit(7)
    assert site.evse.status().limit_a == 7 and site.board.do("get")["pilot_a"] == 7
    site.evse.revoke()
    site.evse.revoke()
    assert not site.board.do("get")["contacts_closed"]
    status = site.evse.status()
    assert not status.relay and not status.authorized and status.limit_a == 0
    car.leave()
    wait_for(site.evse, lambda status: status.pilot is Pilot.A)
    assert site.board.do("get")["safety_checks_off"] == []


def test_a_limit_above_the_configured_current_is_told_as_the_board_took_it(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    site.evse.authorize(16)
    assert site.evse.status().limit_a == 12


def test_a_limit_the_board_cannot_go_down_to_is_refused_and_nothing_flows(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    with pytest.raises(DeviceUnavailable, match="only down to 6 A"):
        site.evse.authorize(3)
    assert site.board.do("get")["mode"] == "sleeping"


def test_a_restart_while_charging_ends_not_authorized(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 7000)
    site.evse.authorize(10)
    wait_for(site.evse, lambda status: status.relay)
    site.board.do("reboot")
    time.sleep(0.9)  # up again, enabled, and the car asks: without the driver it would charge for nothing
    status = wait_for(site.evse, lambda status: not status.fault)
    assert not status.authorized and not status.relay
    assert site.board.do("get")["mode"] == "sleeping"
    site.evse.authorize(10)
    wait_for(site.evse, lambda status: status.relay)
    car.leave()


def test_an_authorization_whose_answer_is_lost_is_taken_back(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 7000)
    site.board.do("fault", kind="mute")  # the board obeys, its answers are lost
    with pytest.raises(DeviceUnavailable):
        site.evse.authorize(10)
    site.board.do("fault", kind="none")
    assert not wait_for(site.evse, lambda status: not status.relay).authorized
    assert site.board.do("get")["mode"] == "sleeping"
    car.leave()


def test_silence_is_a_fault_and_clears_by_itself(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    site.board.do("fault", kind="silent")
    with pytest.raises(DeviceUnavailable) as raised:
        site.evse.status()
    assert raised.value.kind == "timeout"
    site.board.do("fault", kind="none")
    wait_for(site.evse, lambda status: not status.authorized)


def test_a_charge_survives_a_short_silence_when_the_boards_timer_proves_that_it_did_not_restart(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 7000)
    site.evse.authorize(10)
    wait_for(site.evse, lambda status: status.relay)
    site.evse.status()
    site.board.do("fault", kind="silent")
    with pytest.raises(DeviceUnavailable):
        site.evse.status()
    site.board.do("fault", kind="none")
    status = wait_for(site.evse, lambda status: True)
    assert status.authorized and status.relay
    car.leave()


def test_notes_between_the_replies_disturb_nothing(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    site.board.do("fault", kind="noise")
    car = Car(site.cable, 7000)
    for _ in range(5):
        site.evse.authorize(10)
        wait_for(site.evse, lambda status: status.relay and status.limit_a == 10)
        site.evse.revoke()
    car.leave()


def test_a_port_pulled_out_while_charging_comes_back_not_authorized(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 7000)
    site.evse.authorize(10)
    wait_for(site.evse, lambda status: status.relay)
    site.board.do("unplug")
    with pytest.raises(DeviceUnavailable) as raised:
        site.evse.status()
    assert raised.value.kind == "port"
    site.board.do("plug")
    status = wait_for(site.evse, lambda status: not status.fault)
    assert not status.authorized and not status.relay
    car.leave()


def test_a_welded_contactor_is_a_fault(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 7000)
    site.evse.authorize(10)
    wait_for(site.evse, lambda status: status.relay)
    site.board.do("weld", on=True)
    try:
        site.evse.revoke()
    except DeviceUnavailable as error:
        assert error.kind == "exception"
    wait_for(site.evse, lambda status: status.fault == "stuck_relay" and not status.authorized)
    car.leave()


def test_closing_the_driver_leaves_nobody_charging(site: Site) -> None:
    wait_for(site.evse, lambda status: not status.fault)
    car = Car(site.cable, 7000)
    site.evse.authorize(10)
    wait_for(site.evse, lambda status: status.relay)
    site.evse.close()
    assert not site.board.do("get")["contacts_closed"]
    car.leave()


# --- a board that breaks the rules ------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["with-auth-lock", "without-auth-lock"])
def evil(request: pytest.FixtureRequest, folder: Path) -> Iterator[EvilBoard]:
    board = EvilBoard(folder / "tty", auth_lock=request.param)
    board.start()
    yield board
    board.stop()


def test_a_port_missing_at_the_start_works_once_it_is_there(evil: EvilBoard) -> None:
    evse = driver(evil.link)
    with pytest.raises(DeviceUnavailable) as raised:
        evse.status()
    assert raised.value.kind == "port" and str(evil.link) in str(raised.value)
    evil.plug()
    assert not wait_for(evse, lambda status: True).authorized
    assert evil.mode == 0xFE and evil.locked == evil.auth_lock
    evse.close()


LIE = "$OK fe 0 01 0000"  # asleep, no car: believed, it would end a paid charge


def damaged(line: bytes) -> bytes:
    """The same line with another last digit of its checksum."""
    return line[:-2] + (b"1" if line[-2:-1] == b"0" else b"0") + b"\r"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda good, own: [], id="silence"),
        pytest.param(lambda good, own: [(0.0, damaged(rapi.sealed(f"{LIE} :{own}")))], id="checksum"),
        pytest.param(lambda good, own: [(0.0, f"{LIE} :{own}\r".encode())], id="no-checksum"),
        pytest.param(lambda good, own: [(0.0, good[:6])], id="cut-off"),
        pytest.param(lambda good, own: [(0.0, rapi.sealed(f"{LIE} :{int(own, 16) - 1:02X}"))], id="foreign-sequence"),
        pytest.param(lambda good, own: [(0.0, rapi.sealed(LIE))], id="no-sequence"),
        pytest.param(lambda good, own: [(0.0, b"$NK^21\r")], id="unreadable-command"),
        pytest.param(lambda good, own: [(0.0, b"relayCloseMs: 25\r\n\xff\x00$$" + good)], id="noise-before"),
        pytest.param(lambda good, own: [(0.0, rapi.sealed("$AT 03 03 12 0540") + good)], id="unasked-line-before"),
        pytest.param(lambda good, own: [(0.35, good)], id="late"),
    ],
)
def test_one_bad_reply_is_never_believed_and_asked_again(evil: EvilBoard, bad: Callable[[bytes, str], list[Piece]]) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.car = 0x03
    evse.authorize(10)
    evil.scripts = [lambda request: bad(evil.honest(request)[0][1], evil.words(request)[1])]
    status = evse.status()
    assert status.pilot is Pilot.C and status.relay and status.authorized
    assert not evil.scripts
    evse.close()


def test_a_waking_command_whose_answer_is_lost_is_taken_back(evil: EvilBoard) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.car = 0x03

    def obey_mutely_once_awake(request: bytes) -> list[Piece]:
        reply = evil.honest(request)
        return [] if evil.mode == 0x01 else reply

    evil.always = obey_mutely_once_awake
    with pytest.raises(DeviceUnavailable):
        evse.authorize(10)
    assert evil.relay
    status = wait_for(evse, lambda status: True)
    assert not status.relay and not status.authorized
    evse.close()


def test_a_board_found_asleep_is_locked_all_the_same(evil: EvilBoard) -> None:
    evil.mode = 0xFE
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    assert evil.locked == evil.auth_lock
    evse.close()


def test_refusing_everything_is_a_fault_not_a_state(evil: EvilBoard) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.always = lambda request: [(0.0, rapi.reply(False, "", int(evil.words(request)[1], 16)))]
    with pytest.raises((DeviceUnavailable, DeviceMisread)):
        evse.status()
    with pytest.raises(DeviceUnavailable):
        evse.authorize(10)
    evil.always = None
    assert not wait_for(evse, lambda status: True).authorized
    evse.close()


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unheard"])
def test_a_restart_is_seen_even_without_its_boot_line(evil: EvilBoard, announced: bool) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.car, evil.elapsed_s = 0x03, 500
    evse.authorize(10)
    wait_for(evse, lambda status: status.relay and status.authorized)
    evil.boot()
    if announced:
        evil.elapsed_s = 500
        evil.send(rapi.sealed("$AB 00 D8.1.1"))
    status = wait_for(evse, lambda status: True)
    assert not status.authorized and not status.relay and evil.mode == 0xFE
    evse.close()


@pytest.mark.parametrize("car", [0x01, 0x02, 0x03, 0x04])
def test_waking_the_board_by_its_button_gives_no_free_energy(evil: EvilBoard, car: int) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.car, evil.mode, evil.locked = car, 0x01, False
    status = wait_for(evse, lambda status: True)
    assert not status.relay and not status.authorized and evil.mode == 0xFE
    evse.close()


@pytest.mark.parametrize(
    ("state", "fault"), [(0x05, "diode"), (0x06, "ground_fault"), (0x07, "no_ground"), (0x0A, "over_temperature")]
)
def test_a_fault_of_the_board_is_told_and_clears_by_itself(evil: EvilBoard, state: int, fault: str) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.fault = state
    status = evse.status()
    assert status.fault == fault and (status.pilot is Pilot.E) == (state == 0x05)
    evil.fault = 0
    assert evse.status().fault == ""
    evil.fault = 0x42
    with pytest.raises(DeviceMisread, match="unknown state 42"):
        evse.status()
    evse.close()


def test_a_relay_that_stays_closed_after_revoke_is_told(evil: EvilBoard) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.car = 0x03
    evse.authorize(10)
    evil.welded = True
    with pytest.raises(DeviceUnavailable, match="relay does not open"):
        evse.revoke()
    status = wait_for(evse, lambda status: True)
    assert status.relay and not status.authorized and status.fault == "relay_does_not_open"
    evil.welded = False
    assert wait_for(evse, lambda status: not status.relay).fault == ""
    evse.close()


def test_an_endless_stream_of_noise_ends_in_a_fault(evil: EvilBoard) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evil.always = lambda request: [(0.001 * n, b"\xffrelayHoldPwm: 75 $OK" * 20) for n in range(60)]
    with pytest.raises((DeviceUnavailable, DeviceMisread)):
        evse.status()
    evil.always = None
    wait_for(evse, lambda status: True)
    evse.close()


def test_dangerous_commands_are_never_sent(evil: EvilBoard) -> None:
    evil.plug()
    evse = driver(evil.link)
    wait_for(evse, lambda status: True)
    evse.authorize(10)
    evse.limit(8)
    evse.revoke()
    evse.close()
    assert evil.heard and not [line for line in evil.heard if line.startswith((b"$FF", b"$FR"))]
