"""A Bauer BSM-WS36A: SunSpec models 1, 203, 64900 (own), snapshots 64901 and their OCMF text 64903. Holding registers only.

Source: chargeITmobility/bsm-python, doc/modbus and doc/examples. A snapshot is ordered by writing 2 to its status; it is
there 0.25 s later. Begin and end are two records of one reading each; RV is the energy since the last turn-on.
"""

from __future__ import annotations

from pathlib import Path

from drivers.sim.modbus_slave import READ_HOLDING, Blocks
from drivers.sim.signing import SigningRegister, text_words

SNAPSHOTS = (40_521, 40_775, 41_029, 41_283, 41_537)  # current, turn-on, turn-off, start, end
TEXTS = (41_791, 42_291, 42_791, 43_291, 43_791)
MARKS = ("C", "B", "E", "B", "E")
VALID, INVALID, UPDATING = 0, 1, 2
EPOCH, TZO, META1, META2, META3 = 40_260, 40_262, 40_279, 40_349, 40_399
KEY_REGISTERS, KEY_BYTES, KEY = 40_449, 40_450, 40_451
TEXT_REGISTERS = 496


class BsmWs36a(SigningRegister):
    model = "bsm-ws36a"
    first_write, last_write = 40_240, 41_560

    def __init__(self, register_mwh: int, serial: int, state: Path | None) -> None:
        super().__init__(register_mwh, serial, state)
        self.status = [INVALID] * 5
        self.texts = [""] * 5
        self._ordered = 0
        self._turned_on_mwh = register_mwh

    def ordered(self, address: int, words: list[int]) -> None:
        if address == EPOCH and len(words) >= 3:
            self.set_clock(words[0] << 16 | words[1])
            self.offset_min = words[2] - 0x10000 if words[2] & 0x8000 else words[2]
        for number, header in enumerate(SNAPSHOTS):
            if address == header + 3 and words[0] == UPDATING:
                self.status[number] = UPDATING
                self._ordered = number
                self.sign_later()

    def signed(self) -> None:
        number = self._ordered
        self.page += 1
        head: dict[str, object] = {
            "FV": "1.0",
            "GI": "BAUER Electronic BSM-WS36A-H01-1311-0000",
            "GS": self.serial_text,
            "GV": "1.9:32CA:AFF4, f1d3d06",
            "PG": f"T{self.page}",
            "MV": "BAUER Electronic",
            "MM": "BSM-WS36A-H01-1311-0000",
            "MS": self.serial_text,
            "IS": True,
            "IT": "UNDEFINED",
            "ID": self.text_at(META1, 70),
        }
        for name, address in (("X2", META2), ("X3", META3)):
            if text := self.text_at(address, 50):
                head[name] = text
        since = max(0, self.shown_mwh - self._turned_on_mwh) // 10_000 / 100
        reading: dict[str, object] = {
            "TM": self.moment(),
            "TX": MARKS[number],
            "RV": since,
            "RI": "1-0:1.8.0*198",
            "RU": "kWh",
            "XV": self.kwh(2),
            "XI": "1-0:1.8.0*255",
            "XU": "kWh",
            "XT": number,
            "RT": "AC",
            "EF": "",
            "ST": "G",
        }
        self.texts[number] = self.ocmf(head, [reading])
        self.status[number] = VALID

    def restarted(self) -> None:
        self.status = [INVALID if one == UPDATING else one for one in self.status]

    def blocks(self) -> Blocks:
        held = dict.fromkeys(range(40_000, 44_293), 0)
        live = self.live()
        held.update(self.written)
        held.update({40_000: 0x5375, 40_001: 0x6E53, 40_002: 1, 40_003: 66, 44_291: 0xFFFF})
        for header, model, length in (
            (40_070, 10, 4),
            (40_076, 17, 12),
            (40_090, 203, 105),
            (40_197, 64_900, 300),
            (40_499, 64_902, 20),
        ):
            held[header], held[header + 1] = model, length
        held.update(enumerate(text_words(self.serial_text.encode(), 16), 40_052))
        held.update(enumerate(text_words(self.serial_text.encode(), 8), 40_235))
        for phase in range(3):
            held[40_093 + phase], held[40_098 + phase] = live["ma"] // 100 & 0xFFFF, live["v"] * 10
        held.update({40_096: 0xFFFF, 40_105: 0xFFFF, 40_106: live["hz"] * 100, 40_107: 0xFFFE})
        held.update({40_108: live["w"] // 10 & 0xFFFF, 40_112: 1, 40_144: 1, 40_253: 1})
        self.put(held, 40_136, "I", self.shown_mwh // 10_000)
        self.put(held, EPOCH, "I", self.utc_s)
        held[TZO] = self.offset_min & 0xFFFF
        key = self.spki
        held.update({KEY_REGISTERS: 48, KEY_BYTES: len(key)} | dict(enumerate(text_words(key, 48), KEY)))
        for number, (header, text) in enumerate(zip(SNAPSHOTS, TEXTS, strict=True)):
            held.update({header: 64_901, header + 1: 252, header + 2: number, header + 3: self.status[number]})
            held.update({text: 64_903, text + 1: 498, text + 2: number, text + 3: self.status[number]})
            held.update(enumerate(text_words(self.texts[number].encode(), TEXT_REGISTERS), text + 4))
        return {READ_HOLDING: held}
