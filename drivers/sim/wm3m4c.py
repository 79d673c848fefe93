"""An Iskra WM3M4C: measurements in input registers (T5, T6), signing in holding registers 7000 and up.

Source: Iskra K_WM3M4 users manual 1.14 as read by EVerest RsIskraMeter. State 0 idle, 1 active, 2 active after a power
failure (clock and metadata must be written again before the stop). Its DER signature keeps leading zeros in r and s, as
the real firmware does.
"""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from drivers.sim.modbus_slave import READ_HOLDING, READ_INPUT, Blocks
from drivers.sim.signing import SigningRegister, text_words

STATE, COMMAND, STATUS, OFFSET, TIME_HIGH, TIME_LOW = 7000, 7051, 7052, 7053, 7054, 7055
METADATA_BYTES, TEXT_BYTES, SIGNATURE_BYTES, ALGORITHM, SYNCHRONISED = 7056, 7057, 7058, 7059, 7071
METADATA, TEXT, KEY, SIGNATURE = 7100, 7612, 8124, 8188
IDLE, ACTIVE, AFTER_POWER_FAILURE = 0, 1, 2
SIGNED, IN_PROGRESS, NO_TIME, NO_METADATA, WRONG_STATE = 15, 2, 128, 252, 131


class Wm3m4c(SigningRegister):
    model = "wm3m4c"
    first_write, last_write = 7050, 7611

    def __init__(self, register_mwh: int, serial: int, state: Path | None) -> None:
        super().__init__(register_mwh, serial, state)
        self.state = IDLE
        self.status = 1
        self.text = ""
        self.signature = b""
        self._begin: dict[str, object] = {}
        self._ending = False

    @property
    def serial_text(self) -> str:
        return f"{self.serial:08d}"[-8:]

    def _reading(self, mark: str) -> dict[str, object]:
        return {
            "TM": self.moment(),
            "TX": mark,
            "RV": self.kwh(3),
            "RI": "1-0:1.8.0",
            "RU": "kWh",
            "RT": "AC",
            "EF": "",
            "ST": "G",
        }

    def ordered(self, address: int, words: list[int]) -> None:
        if address == TIME_LOW:
            self.set_clock(self.written.get(TIME_HIGH, 0) << 16 | words[0])
        elif address == OFFSET:
            self.offset_min = words[0] - 0x10000 if words[0] & 0x8000 else words[0]
        elif address == COMMAND:
            self._command(words[0])

    def _command(self, word: int) -> None:
        if self._clock is None:
            self.status = NO_TIME
        elif not self._metadata():
            self.status = NO_METADATA
        elif word == 0x4200 and self.state == IDLE:
            self.page += 1
            self._begin = self._reading("B")
            self.state, self._ending = ACTIVE, False
            self._busy()
        elif word == 0x7200 and self.state != IDLE:
            self.state, self._ending = IDLE, True
            self._busy()
        else:
            self.status = WRONG_STATE

    def _busy(self) -> None:
        self.status = IN_PROGRESS
        self.sign_later()

    def _metadata(self) -> dict[str, object]:
        try:
            found = json.loads(self.text_at(METADATA, 512)[: self.written.get(METADATA_BYTES, 0)])
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def signed(self) -> None:
        self.status = SIGNED
        if not self._ending:
            return
        body = self._metadata() | {
            "PG": f"T{self.page}",
            "MV": "Iskra",
            "MM": "WM3M4C",
            "MS": self.serial_text,
            "MF": "2.01",
            "RD": [self._begin, self._reading("E")],
        }
        self.text = json.dumps(body, separators=(",", ":"))
        r, s = decode_dss_signature(self.sign(self.text))
        fixed = b"".join(b"\x02\x21\x00" + number.to_bytes(32) for number in (r, s))
        self.signature = bytes([0x30, len(fixed)]) + fixed

    def restarted(self) -> None:
        self.status = 1
        if self.state == ACTIVE:
            self.state = AFTER_POWER_FAILURE

    def _t(self, block: dict[int, int], address: int, hundredths: int) -> None:
        raw = hundredths & 0xFFFFFF
        block[address], block[address + 1] = 0xFE00 | raw >> 16, raw & 0xFFFF

    def blocks(self) -> Blocks:
        shown = dict.fromkeys([*range(1, 20), *range(100, 200), *range(400, 430)], 0)
        live = self.live()
        shown.update(enumerate(text_words(b"WM3M4C", 8), 1))
        shown.update(enumerate(text_words(self.serial_text.encode(), 4), 9))
        self._t(shown, 105, live["hz"] * 100)
        for phase in range(3):
            self._t(shown, 107 + 2 * phase, live["v"] * 100)
            self._t(shown, 126 + 2 * phase, live["ma"] // 10)
        self._t(shown, 140, live["w"] * 100)
        shown[414] = shown[415] = 0
        self.put(shown, 418, "I", self.shown_mwh // 1000)
        held = dict.fromkeys(range(7000, 8300), 0) | self.written
        held.update({STATE: self.state, STATUS: self.status, TEXT_BYTES: len(self.text), SIGNATURE_BYTES: len(self.signature)})
        held.update(enumerate(text_words(self.text.encode(), 512), TEXT))
        numbers = self.key.public_key().public_numbers()
        held.update(enumerate(text_words(numbers.x.to_bytes(32) + numbers.y.to_bytes(32), 32), KEY))
        held.update(enumerate(text_words(self.signature, 40), SIGNATURE))
        return {READ_INPUT: shown, READ_HOLDING: held}
