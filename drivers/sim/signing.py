"""What signing meters have in common: a clock that forgets at a power cut, writable registers, OCMF signed by their own key.

Sources: the makers' documents as read by public drivers (EVerest, bsm-python); the places stand in each device's file.
Times are the device's own: a signature is not there at once.
"""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from drivers.sim.sdm630 import HERTZ, VOLTS, Register

SIGNS_WITHIN_NS = 250_000_000
SERIAL_TEXT = "{:011d}"


def text_words(text: bytes, count: int) -> list[int]:
    """Two bytes a register, the rest zero."""
    padded = text[: 2 * count].ljust(2 * count, b"\0")
    return list(struct.unpack(f">{count}H", padded))


def words_text(words: list[int]) -> str:
    return struct.pack(f">{len(words)}H", *words).split(b"\0")[0].decode("ascii", "replace")


class SigningRegister(Register):
    """The energy of `Register`, and a device that signs. Subclasses say what stands where."""

    writes = True
    model = ""
    curve: ec.EllipticCurve = ec.SECP256R1()
    algorithm = "ECDSA-secp256r1-SHA256"
    first_write = 0
    last_write = 0xFFFF

    def __init__(self, register_mwh: int, serial: int, state: Path | None) -> None:
        super().__init__(register_mwh, serial, state)
        self.key = ec.generate_private_key(self.curve)
        self.page = 4_000
        self.now_ns = 0
        self._clock: tuple[int, int] | None = None  # (UTC s, at ns); none after a power cut
        self.offset_min = 0
        self.written: dict[int, int] = {}
        self.signing_ns: int | None = None

    # --- the clock ----------------------------------------------------------------------------------------------------

    def set_clock(self, utc_s: int) -> None:
        self._clock = (utc_s, self.now_ns)

    @property
    def utc_s(self) -> int:
        if self._clock is None:
            return 0
        return self._clock[0] + (self.now_ns - self._clock[1]) // 1_000_000_000

    def moment(self) -> str:
        """OCMF TM; a device whose clock was not set since its last power cut says so (U)."""
        local = datetime.fromtimestamp(self.utc_s, UTC).astimezone(timezone(timedelta(minutes=self.offset_min)))
        return f"{local:%Y-%m-%dT%H:%M:%S},000{local:%z} {'U' if self._clock is None else 'S'}"

    def power_cut(self) -> None:
        """Supply gone and back: clock and everything volatile are lost."""
        self._clock = None
        self.written = {}
        self.signing_ns = None
        self.restarted()

    def restarted(self) -> None:
        """What this model does with an open measurement after a power cut."""

    # --- signing ------------------------------------------------------------------------------------------------------

    @property
    def serial_text(self) -> str:
        return SERIAL_TEXT.format(self.serial)

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: str) -> bytes:
        return self.key.sign(payload.encode(), ec.ECDSA(SHA256()))

    def ocmf(self, head: dict[str, object], readings: list[dict[str, object]]) -> str:
        payload = json.dumps({**head, "RD": readings}, separators=(",", ":"))
        return f"OCMF|{payload}|" + json.dumps({"SA": self.algorithm, "SD": self.sign(payload).hex()}, separators=(",", ":"))

    def kwh(self, decimals: int) -> float:
        """The register as this meter shows it in OCMF, cut to its digits."""
        step_mwh: int = 10 ** (6 - decimals)
        return self.shown_mwh // step_mwh * step_mwh / 1_000_000

    # --- Modbus -------------------------------------------------------------------------------------------------------

    def settle(self, now_ns: int) -> None:
        super().settle(now_ns)
        self.now_ns = now_ns
        if self.signing_ns is not None and now_ns >= self.signing_ns:
            self.signing_ns = None
            self.signed()

    def signed(self) -> None:
        """The signature that was asked for is ready now."""

    def sign_later(self) -> None:
        self.signing_ns = self.now_ns + SIGNS_WITHIN_NS

    def write(self, address: int, words: list[int]) -> bool:
        """False: illegal address."""
        if not self.first_write <= address <= address + len(words) - 1 <= self.last_write:
            return False
        self.written.update(enumerate(words, address))
        self.ordered(address, words)
        return True

    def ordered(self, address: int, words: list[int]) -> None:
        """What writing here makes the device do."""

    def text_at(self, address: int, count: int) -> str:
        return words_text([self.written.get(address + place, 0) for place in range(count)])

    def live(self) -> dict[str, int]:
        """What is measured now, in units every model scales itself: W, V, mA, Hz."""
        return {"w": self.power_w, "v": VOLTS, "ma": self.power_w * 1000 // (3 * VOLTS), "hz": HERTZ}

    def put(self, block: dict[int, int], address: int, kind: str, value: int, little: bool = False) -> None:
        packed = struct.pack(f">{kind}", value)
        words = list(struct.unpack(f">{len(packed) // 2}H", packed))
        block.update(enumerate(words[::-1] if little else words, address))
