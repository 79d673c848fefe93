"""What an Eastron SDM630-V2 measures and shows in its registers.

Register map: Eastron SDM630 Modbus V2 protocol document (input registers, FC4, float32, high word first); serial number
in holding register 0xFC00 (FC3, uint32). Energy is kept in exact integers; float32 is made only for the wire.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from drivers.sim.control import SimulationError
from drivers.sim.energy import WATT_NS_PER_MWH, EnergyAccount
from drivers.sim.modbus_slave import READ_HOLDING, READ_INPUT, Blocks

SHOWN_AFTER_NS = 200_000_000  # the registers show what was measured up to then, as a real meter averages and refreshes
VOLTS = 230
HERTZ = 50
LAST_INPUT = 0x0180
LAST_HOLDING = 0x40
SERIAL_AT = 0xFC00
NAN_WORDS = (0x7FC0, 0x0000)


def float_words(value: float) -> tuple[int, int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


class Register:
    """The import register and the loads behind it. One thread."""

    writes = False  # function codes 6 and 16 are unknown to it

    def __init__(self, register_mwh: int, serial: int, state: Path | None) -> None:
        self._base_wns = register_mwh * WATT_NS_PER_MWH
        self.serial = serial
        self._loads: dict[int, EnergyAccount] = {}
        self._gone: set[int] = set()
        self._next_load = 0
        self._frozen_mwh: int | None = None
        self.nan = False
        if state is not None and state.exists():
            self._restore(state)

    def _restore(self, state: Path) -> None:
        try:
            kept = json.loads(state.read_text())
            self._base_wns, self.serial = int(kept["energy_wns"]), int(kept["serial"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise SimulationError(f"{state}: not the state of a meter ({error}); remove it to start anew") from None

    def attach(self, now_ns: int) -> int:
        self._next_load += 1
        self._loads[self._next_load] = EnergyAccount(now_ns)
        return self._next_load

    def flow(self, load: int, at_ns: int, power_w: int) -> None:
        self._loads[load].step(at_ns, power_w)

    def detach(self, load: int, now_ns: int) -> None:
        """The wire was cut: nothing flows any more."""
        self._loads[load].step(now_ns, 0)
        self._gone.add(load)

    def settle(self, now_ns: int) -> None:
        for load, account in list(self._loads.items()):
            account.settle(now_ns - SHOWN_AFTER_NS)
            if load in self._gone and account.power_w == 0:
                self._base_wns += account.energy_wns
                del self._loads[load]
                self._gone.discard(load)

    @property
    def energy_wns(self) -> int:
        return self._base_wns + sum(account.energy_wns for account in self._loads.values())

    @property
    def register_mwh(self) -> int:
        """What the register truly is, frozen display or not."""
        return self.energy_wns // WATT_NS_PER_MWH

    @property
    def shown_mwh(self) -> int:
        return self.register_mwh if self._frozen_mwh is None else self._frozen_mwh

    @property
    def power_w(self) -> int:
        return sum(account.power_w for account in self._loads.values())

    def freeze(self, frozen: bool) -> None:
        self._frozen_mwh = self.register_mwh if frozen else None

    def set_register(self, register_mwh: int) -> None:
        self._base_wns += register_mwh * WATT_NS_PER_MWH - self.energy_wns

    def write(self, address: int, words: list[int]) -> bool:
        """False: illegal address. Only for models that are written to."""
        return False

    def power_cut(self) -> None:
        """Supply gone and back for an instant; this model forgets nothing."""

    def snapshot(self) -> str:
        """What has to be kept over the end of the process."""
        return json.dumps({"energy_wns": self.energy_wns, "serial": self.serial})

    def blocks(self) -> Blocks:
        """All readable registers: (function code, address) -> word."""
        power_w = self.power_w
        amperes = power_w / (3 * VOLTS)
        shown = {0x34: float(power_w), 0x46: float(HERTZ), 0x48: self.shown_mwh / 1_000_000, 0x4A: 0.0}
        shown[0x156] = self.shown_mwh / 1_000_000  # total active energy: import and export
        for phase in range(3):
            shown[0x00 + 2 * phase] = float(VOLTS)
            shown[0x06 + 2 * phase] = amperes
            shown[0x0C + 2 * phase] = power_w / 3
        inputs = dict.fromkeys(range(LAST_INPUT), 0)
        for address, value in shown.items():
            words = NAN_WORDS if self.nan else float_words(value)
            inputs[address], inputs[address + 1] = words
        holding = dict.fromkeys(range(LAST_HOLDING), 0)
        holding[SERIAL_AT], holding[SERIAL_AT + 1] = self.serial >> 16 & 0xFFFF, self.serial & 0xFFFF
        return {READ_INPUT: inputs, READ_HOLDING: holding}
