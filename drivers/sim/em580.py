"""A Carlo Gavazzi EM580: input registers, low word first; an OCMF machine at 0x7000 (0 not ready, 1 running, 2 ready).

Source: EM580 Modbus protocol as read by EVerest CarloGavazzi_EM580. Signs with brainpoolP384r1. After a power cut an
open measurement is closed by the device itself with its last value and waits to be read; a start is refused until the
file was confirmed. Longer writes than 123 registers are refused.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from drivers.sim.modbus_slave import READ_INPUT, Blocks
from drivers.sim.signing import SigningRegister, text_words

NOT_READY, RUNNING, READY, CORRUPTED = range(4)
TIME, OFFSET, TARIFF, IDENTITY_TYPE, IDENTITY, PLACE, COMMAND, STATE, SIZE, FILE = (
    0x7032, 0x7031, 0x6900, 0x7006, 0x7007, 0x701C, 0x7040, 0x7100, 0x7101, 0x7110,
)  # fmt: skip


class Em580(SigningRegister):
    model = "em580"
    curve = ec.BrainpoolP384R1()
    algorithm = "ECDSA-brainpoolP384r1-SHA256"
    first_write, last_write = 0x6900, 0x7100

    def __init__(self, register_mwh: int, serial: int, state: Path | None) -> None:
        super().__init__(register_mwh, serial, state)
        self.state = NOT_READY
        self.file = ""
        self._head: dict[str, object] = {}
        self._begin: dict[str, object] = {}

    @property
    def serial_text(self) -> str:
        return f"KZ{self.serial:011d}D"[:14]

    def _reading(self, mark: str) -> dict[str, object]:
        return {
            "TM": self.moment(),
            "TX": mark,
            "RV": self.kwh(3),
            "RI": "01-00:01.08.00*FF",
            "RU": "kWh",
            "RT": "AC",
            "EF": "",
            "ST": "G",
        }

    def ordered(self, address: int, words: list[int]) -> None:
        if address == TIME and len(words) == 4:
            self.set_clock(words[3] << 48 | words[2] << 32 | words[1] << 16 | words[0])
        elif address == OFFSET:
            self.offset_min = words[0] - 0x10000 if words[0] & 0x8000 else words[0]
        elif address == COMMAND and words[0] == ord("B") and self.state == NOT_READY:
            self._start()
        elif address == COMMAND and words[0] == ord("E") and self.state == RUNNING:
            self.sign_later()
        elif address == STATE and words[0] == NOT_READY and self.state in (READY, CORRUPTED):
            self.state, self.file = NOT_READY, ""

    def _start(self) -> None:
        self.page += 1
        self._head = {
            "FV": "1.2",
            "GI": "Carlo Gavazzi Controls-EM580DINAV23XS3DET",
            "GS": self.serial_text,
            "PG": f"T{self.page}",
            "MV": "Carlo Gavazzi Controls",
            "MM": "EM580DINAV23XS3DET",
            "MS": self.serial_text,
            "IS": bool(self.written.get(0x7000, 0)),
            "IL": "NONE",
            "IF": [],
            "IT": "NONE",
            "ID": self.text_at(IDENTITY, 20),
            "TT": self.text_at(TARIFF, 126),
            "CT": "EVSEID",
            "CI": self.text_at(PLACE, 20),
        }
        self._begin = self._reading("B")
        self.state = RUNNING

    def signed(self) -> None:
        self.file = self.ocmf(self._head, [self._begin, self._reading("E")])
        self.state = READY

    def restarted(self) -> None:
        if self.state == RUNNING:
            self.file = self.ocmf(self._head, [self._begin, self._reading("P") | {"TM": str(self._begin["TM"])}])
            self.state = READY

    def blocks(self) -> Blocks:
        shown = dict.fromkeys([*range(0x60), *range(0x500, 0x530), *range(0x24F0, 0x2680), *range(0x5000, 0x5020)], 0)
        shown.update(dict.fromkeys([*range(0x6900, 0x6A00), *range(0x7000, 0x7100)], 0) | self.written)
        live = self.live()
        for phase in range(3):
            self.put(shown, 2 * phase, "i", live["v"] * 10, little=True)
            self.put(shown, 0x0C + 2 * phase, "i", live["ma"], little=True)
        self.put(shown, 0x28, "i", live["w"] * 10, little=True)
        shown[0x33] = live["hz"] * 10
        self.put(shown, 0x34, "i", self.shown_mwh // 100_000, little=True)
        self.put(shown, 0x500, "q", self.shown_mwh // 1000, little=True)
        shown.update(enumerate(text_words(self.serial_text.encode(), 7), 0x5000))
        key = self.spki
        shown.update({0x24FF: 1} | dict(enumerate(text_words(key, 62), 0x2600)))
        file = self.file.encode()
        size = (len(file) + 1) // 2
        shown.update({STATE: self.state, SIZE: size} | dict.fromkeys(range(FILE - 14, FILE), 0))
        shown.update(enumerate(text_words(file, 2031), FILE))
        return {READ_INPUT: shown}
