"""What charge controllers on Modbus know and decide: EVSE-WB, Phoenix CHARX, Phoenix EM. No input or output of their own.

Sources: the EVSE Wallbox/DIN/W16 datasheet and public drivers; written from the same facts as the product's drivers, but
without their code. Four separate register blocks: a wrong function code is refused, as by a real device.
What survives a power-up: EVSE-WB keeps 2000..2017 (EEPROM) and offers the current of 2000; a Phoenix controller here comes
back released as it was, the worst that its settings allow.
"""

from __future__ import annotations

READ_COILS, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_ONE, WRITE_MANY = 1, 3, 4, 5, 6, 16
Blocks = dict[int, dict[int, int]]  # function code -> address -> word


class Board:
    """The pilot side, common to all. `shown` overrides the pilot state with D, E or F; `stuck`: its output stays on."""

    def __init__(self) -> None:
        self.plugged = self.wanting = self.stuck = False
        self.shown = ""
        self.running = True

    def boot(self) -> None:
        """Supply back: volatile settings are gone."""

    def blocks(self) -> Blocks:
        raise NotImplementedError

    def write(self, code: int, address: int, words: list[int]) -> bool:
        """Whether these registers may be written so."""
        raise NotImplementedError

    @property
    def allowed_a(self) -> int:
        """What it would let a car draw; 0 = nothing."""
        raise NotImplementedError

    @property
    def pilot_a(self) -> int:
        """What the PWM offers to the car."""
        return self.allowed_a if self.running and self.plugged and not self.shown else 0

    @property
    def relay(self) -> bool:
        """Its output to the contactor."""
        return (self.pilot_a > 0 and self.wanting) or (self.stuck and self.running)

    @property
    def letter(self) -> str:
        if self.shown:
            return self.shown
        if not self.plugged:
            return "A"
        return "C" if self.wanting else "B"

    @property
    def state(self) -> str:
        """The IEC 61851 state with 2 = PWM."""
        if self.letter in "EF":
            return f"{self.letter}0"
        return f"{self.letter}{2 if self.pilot_a or self.relay else 1}"


class EvseWb(Board):
    FACTORY_A = 32

    def __init__(self, boot_a: int = FACTORY_A, fine: bool = False) -> None:
        super().__init__()
        self._kept = dict.fromkeys(range(2000, 2018), 0) | {2000: boot_a, 2001: 1, 2002: 6, 2004: 6, 2005: 0x80 if fine else 0}
        self._set = boot_a
        self.stubborn = False  # its EEPROM takes nothing any more
        self._per_ampere = 100 if fine else 1
        self.boot()

    def boot(self) -> None:
        self._set = self._kept[2000] * self._per_ampere

    @property
    def allowed_a(self) -> int:
        amperes = self._set // self._per_ampere
        return amperes if amperes >= self._kept[2002] else 0

    def blocks(self) -> Blocks:
        vehicle = {"A": 1, "B": 2, "C": 3, "D": 4, "E": 5, "F": 5}[self.letter]
        faults = {"D": 0x04, "E": 0x02, "F": 0x20}.get(self.letter, 0)
        live = [self._set, self.pilot_a, vehicle, 32, 0, 18, 2 if self.pilot_a else 3, int(self.relay) | faults, 0, 0]
        return {READ_HOLDING: dict(enumerate(live, 1000)) | self._kept}

    def write(self, code: int, address: int, words: list[int]) -> bool:
        if code not in (WRITE_ONE, WRITE_MANY):
            return False
        for register, word in enumerate(words, address):
            if register == 1000:
                self._set = word
            elif register in self._kept:
                if not self.stubborn:
                    self._kept[register] = word
            else:
                return False
        return True


class PhoenixCharx(Board):
    def __init__(self, connector: int, controllers: int) -> None:
        super().__init__()
        self._base, self._controllers = connector * 1000, controllers
        self._released, self._limit_a = 1, 16

    @property
    def allowed_a(self) -> int:
        return self._limit_a if self._released else 0

    def blocks(self) -> Blocks:
        state = int.from_bytes(self.state.encode(), "big")
        charging_point = dict.fromkeys(range(self._base + 230, self._base + 320), 0)
        charging_point |= {self._base + 299: state, self._base + 300: self._released, self._base + 301: self._limit_a}
        return {READ_HOLDING: charging_point | {114: self._controllers}}

    def write(self, code: int, address: int, words: list[int]) -> bool:
        if code != WRITE_MANY or len(words) != 1:
            return False
        if address == self._base + 300 and words[0] in (0, 1):
            self._released = words[0]
        elif address == self._base + 301 and 6 <= words[0] <= 80:
            self._limit_a = words[0]
        else:
            return False
        return True


class PhoenixEm(Board):
    """`limit_register`: 300 (EM) or 528 (EV-CC)."""

    def __init__(self, limit_register: int) -> None:
        super().__init__()
        self._limit_at = limit_register
        self._released, self._limit_a = 1, 16

    @property
    def allowed_a(self) -> int:
        return self._limit_a if self._released else 0

    def blocks(self) -> Blocks:
        inputs = dict.fromkeys(range(100, 140), 0) | {100: int.from_bytes(self.state.encode(), "little")}
        return {READ_COILS: {400: self._released}, READ_HOLDING: {self._limit_at: self._limit_a}, READ_INPUT: inputs}

    def write(self, code: int, address: int, words: list[int]) -> bool:
        if code == WRITE_COIL and address == 400:
            self._released = words[0]
            return True
        if code == WRITE_ONE and address == self._limit_at and 6 <= words[0] <= 80:
            self._limit_a = words[0]
            return True
        return False
