"""Phoenix Contact charge controllers on Modbus TCP (`ChargeControl`): CHARX SEC, and EM-CP-PP-ETH / EV-CC-...-ETH.

They tell the IEC 61851 state as text ("A1", "B2", "C2", ...; the digit 2 = pilot with PWM). Sources: meters.md section 4.4,
public drivers. The manuals name no watchdog and no default after a power-up that we could verify, therefore: none is
written, `keepalive_s` is 0, and after every new connection (a controller that restarts loses its connections) the release is
taken back first. If its own setting says "released after power-up", a car can draw until the next poll, 0.5 to 3 s; set it
otherwise in its web pages. The contactor is inferred (C2 or D2 = closed): contacts that weld show only in the energy meter.
"""

from drivers.evse.modbus_control import ModbusControl, Pace, Seen
from drivers.meters import bus
from terminal_app.config import PhoenixCharxSection, PhoenixEmSection
from terminal_app.ports import Clock
from terminal_app.values import Pilot

PACE = Pace(timeout_s=0.5, gap_s=0.005, quarantine_s=0.5)
FAULTS = {Pilot.D: "ventilation_wanted", Pilot.E: "pilot_error", Pilot.F: "not_available"}
MOST_A = 80  # IEC 61851-1: no pilot can offer more

CHARX_CONTROLLERS, CHARX_STATE, CHARX_RELEASE, CHARX_LIMIT_A = 114, 299, 300, 301
CHARX_PER_CONNECTOR = 1000

EM_STATE, EM_RELEASE_COIL = 100, 400
EM_LIMIT_A = {"em-cp-pp-eth": 300, "ev-cc-eth": 528}
EM_UNIT = {"em-cp-pp-eth": 180, "ev-cc-eth": 255}


def seen(state: str, released: bool, limit_a: int, inferred_pwm: bool) -> Seen:
    """From the state's text. ValueError if it is none. Without a digit `inferred_pwm` tells whether there is a PWM."""
    letter, digit = state[:1], state[1:].strip("\0 ")
    if letter not in Pilot.__members__ or digit not in ("", "0", "1", "2"):
        raise ValueError(f"state {state!r} is not one of IEC 61851-1")
    pilot = Pilot(letter)
    closed = pilot in (Pilot.C, Pilot.D) and (digit == "2" or (digit == "" and inferred_pwm))
    return Seen(pilot, closed, max(limit_a, 1) if released else 0, FAULTS.get(pilot, ""))


class PhoenixCharx(ModbusControl):
    """One charging point of a CHARX SEC; its state, release and limit lie at connector * 1000."""

    def __init__(self, section: PhoenixCharxSection, device_name: str, clock: Clock) -> None:
        address = bus.Address(host=section.host, tcp_port=section.tcp_port, rtu=False)
        super().__init__(address, section.unit, PACE, device_name, clock)
        self._connector = section.connector
        self._base = section.connector * CHARX_PER_CONNECTOR

    def _look(self, deadline: float) -> Seen:
        state, release, limit_a = self._read(bus.READ_HOLDING, self._base + CHARX_STATE, 3, deadline)
        text = state.to_bytes(2, "big").decode("latin-1")  # high byte = letter
        if release not in (0, 1):
            raise self._misread(f"release is {release}, expected 0 or 1")
        try:
            return seen(text, bool(release), limit_a, bool(release))
        except ValueError as error:
            raise self._misread(str(error)) from error

    def _switch_off(self, deadline: float) -> None:
        self._write(bus.WRITE_MANY, self._base + CHARX_RELEASE, 0, deadline)

    def _switch_on(self, limit_a: int, deadline: float) -> None:
        self._change_limit(limit_a, deadline)
        self._write(bus.WRITE_MANY, self._base + CHARX_RELEASE, 1, deadline)

    def _change_limit(self, limit_a: int, deadline: float) -> None:
        self._write(bus.WRITE_MANY, self._base + CHARX_LIMIT_A, limit_a, deadline)

    def _make_safe_after_power_up(self, deadline: float) -> None:
        (there,) = self._read(bus.READ_HOLDING, CHARX_CONTROLLERS, 1, deadline)
        if self._connector > there:
            raise self._refused(f"connector {self._connector} is configured, the controller has {there}")


class PhoenixEm(ModbusControl):
    """EM-CP-PP-ETH, or an EV-CC controller with Ethernet (DIP switch 10 on): release by coil 400."""

    def __init__(self, section: PhoenixEmSection, device_name: str, clock: Clock) -> None:
        address = bus.Address(host=section.host, tcp_port=section.tcp_port, rtu=False)
        super().__init__(address, section.unit or EM_UNIT[section.model], PACE, device_name, clock)
        self._limit_at = EM_LIMIT_A[section.model]

    def _look(self, deadline: float) -> Seen:
        (state,) = self._read(bus.READ_INPUT, EM_STATE, 1, deadline)
        (release,) = self._read(bus.READ_COILS, EM_RELEASE_COIL, 1, deadline)
        (limit_a,) = self._read(bus.READ_HOLDING, self._limit_at, 1, deadline)
        if limit_a > MOST_A:
            raise self._misread(f"limit is {limit_a}: this firmware counts tenths of an ampere, which is not supported")
        text = state.to_bytes(2, "little").decode("latin-1")  # low byte = letter
        try:
            return seen(text, bool(release), limit_a, bool(release))
        except ValueError as error:
            raise self._misread(str(error)) from error

    def _switch_off(self, deadline: float) -> None:
        self._write(bus.WRITE_COIL, EM_RELEASE_COIL, 0, deadline)

    def _switch_on(self, limit_a: int, deadline: float) -> None:
        self._change_limit(limit_a, deadline)
        self._write(bus.WRITE_COIL, EM_RELEASE_COIL, 1, deadline)

    def _change_limit(self, limit_a: int, deadline: float) -> None:
        self._write(bus.WRITE_ONE, self._limit_at, limit_a, deadline)
