"""EVSE-WB, EVSE DIN, SimpleEVSE: a charge controller on Modbus RTU, 9600 8N1 (`ChargeControl`).

Registers (decimal, holding; meters.md section 4.3, EVSE Wallbox/DIN/W16 datasheet):
1000 set current in A (0 = off), 1001 current on the pilot, 1002 vehicle state, 1003 cable, 1005 firmware, 1006 pilot
(1 steady 12 V, 2 PWM, 3 off), 1007 bit 0 relay, bit 1 diode, bit 2 ventilation, bits 4 and 5 residual current (which of
them depends on the firmware); 2000 current after boot, 2004 current after boot by its button, 2005 flags.

After a power-up it offers what 2000 says, so 2000 and 2004 are set to 0 and read back before anything is authorized; they
are written only when they differ, as they live in EEPROM. A reboot then shows as 0 in 1000 and ends the charge. It has no
watchdog. Bit 0 of 1007 is its output, not a feedback: contacts that weld show only in the energy meter.
"""

from drivers.evse.modbus_control import ModbusControl, Pace, Seen
from drivers.meters import bus
from terminal_app.config import EvseWbSection
from terminal_app.ports import Clock
from terminal_app.values import Pilot

SET_A, VEHICLE, PILOT, STATE = 1000, 1002, 1006, 1007
LIVE_SIZE, SETTINGS_SIZE = 8, 6  # two lengths: a late answer to one is never taken for the other
BOOT_A, BUTTON_A, FLAGS = 2000, 2004, 2005
FINE_STEPS, FINE_FIRMWARE = 1 << 7, 17  # 2005 bit 7: 1000 counts hundredths of an ampere, from firmware 17
FIRMWARE = 1005
RELAY_ON = 0x01
VEHICLES = {1: Pilot.A, 2: Pilot.B, 3: Pilot.C, 4: Pilot.D, 5: Pilot.E}
FAULTS = ((0x02, "diode"), (0x04, "ventilation_wanted"), (0x30, "ground_fault"))
PACE = Pace(timeout_s=0.3, gap_s=0.1, quarantine_s=0.3)


class EvseWb(ModbusControl):
    """One board; meters and other boards may hang on the same line."""

    def __init__(self, section: EvseWbSection, device_name: str, clock: Clock) -> None:
        rtu = bool(section.port) or section.framing == "rtu"
        address = bus.Address(port=section.port, baud=section.baud_rate, host=section.host, tcp_port=section.tcp_port, rtu=rtu)
        super().__init__(address, section.unit, PACE, device_name, clock)
        self._per_ampere = 0  # 1 or 100, read at first contact; 0 = not read yet

    def _look(self, deadline: float) -> Seen:
        words = self._read(bus.READ_HOLDING, SET_A, LIVE_SIZE, deadline)
        if not self._per_ampere:
            self._read_settings(words[FIRMWARE - SET_A], deadline)
        vehicle, state = words[VEHICLE - SET_A], words[STATE - SET_A]
        if vehicle not in VEHICLES:
            raise self._misread(f"vehicle state {vehicle} in register {VEHICLE}, known are 1 to 5")
        fault = next((word for bits, word in FAULTS if state & bits), "")
        if not fault and vehicle == 5:
            fault = "pilot_error"
        if not fault and vehicle == 4:
            fault = "ventilation_wanted"
        limit_a = -(-words[0] // self._per_ampere)  # rounded up: a hundredth of an ampere is not off
        return Seen(VEHICLES[vehicle], bool(state & RELAY_ON), limit_a, fault)

    def _switch_off(self, deadline: float) -> None:
        self._write(bus.WRITE_ONE, SET_A, 0, deadline)

    def _switch_on(self, limit_a: int, deadline: float) -> None:
        self._write(bus.WRITE_ONE, SET_A, limit_a * self._per_ampere, deadline)

    def _change_limit(self, limit_a: int, deadline: float) -> None:
        self._switch_on(limit_a, deadline)

    def _make_safe_after_power_up(self, deadline: float) -> None:
        found = self._settings(deadline)
        wrong = [register for register in (BOOT_A, BUTTON_A) if found[register - BOOT_A]]
        if not wrong:
            return
        for register in wrong:
            self._write(bus.WRITE_ONE, register, 0, deadline)
        found = self._settings(deadline)
        for register in wrong:
            if found[register - BOOT_A]:
                raise self._refused(
                    f"register {register} (current after a power-up) stays at {found[register - BOOT_A]}: "
                    "it would give energy for nothing after each power cut"
                )

    def _settings(self, deadline: float) -> tuple[int, ...]:
        return self._read(bus.READ_HOLDING, BOOT_A, SETTINGS_SIZE, deadline)

    def _read_settings(self, firmware: int, deadline: float) -> None:
        flags = self._settings(deadline)[FLAGS - BOOT_A]
        self._per_ampere = 100 if flags & FINE_STEPS and firmware >= FINE_FIRMWARE else 1

    def _suspect_restart(self) -> None:
        super()._suspect_restart()
        self._per_ampere = 0  # another board may be there now
