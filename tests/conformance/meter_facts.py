"""Where each meter model keeps what, copied from the register table of meters.md section 2, not from the profiles.

From it a device is built whose other function code and whose every unused register lie: a profile with a wrong function
code, address, type, order or scale reads something else than TRUTH.
"""

import re
import struct
from pathlib import Path
from typing import NamedTuple

from drivers.meters import profile

TRUTH = {
    "energy_import_wh": 1_234_500,
    "energy_export_wh": 8_500,
    "power_w": 7_000,
    "power_export_w": 0,
    "voltage_l1_v": 230,
    "voltage_l2_v": 231,
    "voltage_l3_v": 229,
    "current_l1_a": 10,
    "current_l2_a": 11,
    "current_l3_a": 12,
    "frequency_hz": 50,
    "model_code": 340,
}
SERIAL = 20_231_059
LIE = 0x2A2A


class At(NamedTuple):
    """`raw` is how many of the register's units are one unit of the point: 0.001 (kWh of Wh), 10 (tenths)."""

    fc: int
    addr: int
    kind: str
    raw: float = 1.0
    sf: int | None = None
    sf_value: int = 0


def _phases(fc: int, kind: str, volts: list[int], amps: list[int], volt: float = 1.0, amp: float = 1.0) -> dict[str, At]:
    found = {f"voltage_l{n}_v": At(fc, addr, kind, volt) for n, addr in enumerate(volts, 1)}
    return found | {f"current_l{n}_a": At(fc, addr, kind, amp) for n, addr in enumerate(amps, 1)}


def _eastron(power: int, volts: list[int], amps: list[int], hertz: bool = True) -> dict[str, At]:
    found = {
        "energy_import_wh": At(4, 0x48, "f", 0.001),
        "energy_export_wh": At(4, 0x4A, "f", 0.001),
        "power_w": At(4, power, "f"),
        "serial": At(3, 0xFC00, "I"),
    }
    return found | _phases(4, "f", volts, amps) | ({"frequency_hz": At(4, 0x46, "f")} if hertz else {})


def _gavazzi(energy: int, export: int, hertz: int) -> dict[str, At]:
    found = {
        "energy_import_wh": At(4, energy, "i<", 0.01),
        "energy_export_wh": At(4, export, "i<", 0.01),
        "power_w": At(4, 0x28, "i<", 10),
        "frequency_hz": At(4, hertz, "h", 10),
    }
    return found | _phases(4, "i<", [0x00, 0x02, 0x04], [0x0C, 0x0E, 0x10], 10, 1000)


def _abb(phases: int) -> dict[str, At]:
    found = {
        "energy_import_wh": At(3, 0x5000, "Q", 0.1),
        "energy_export_wh": At(3, 0x5004, "Q", 0.1),
        "power_w": At(3, 0x5B14, "i", 100),
        "frequency_hz": At(3, 0x5B2C, "H", 100),
        "serial": At(3, 0x8900, "I"),
    }
    return found | _phases(3, "I", [0x5B00, 0x5B02, 0x5B04][:phases], [0x5B0C, 0x5B0E, 0x5B10][:phases], 10, 100)


def _inepro(volts: list[int], amps: list[int], serial: bool) -> dict[str, At]:
    found = {
        "energy_import_wh": At(3, 0x600C, "f", 0.001),
        "energy_export_wh": At(3, 0x6018, "f", 0.001),
        "power_w": At(3, 0x5012, "f", 0.001),
        "frequency_hz": At(3, 0x5008, "f"),
    }
    return found | _phases(3, "f", volts, amps) | ({"serial": At(3, 0x4000, "I")} if serial else {})


def _schneider() -> dict[str, At]:
    return {
        "energy_import_wh": At(3, 0x0C83, "q"),
        "energy_export_wh": At(3, 0x0C87, "q"),
        "power_w": At(3, 0x0BF3, "f", 0.001),
        "frequency_hz": At(3, 0x0C25, "f"),
        "serial": At(3, 0x0081, "I"),
    } | _phases(3, "f", [0x0BD3, 0x0BD5, 0x0BD7], [0x0BB7, 0x0BB9, 0x0BBB])


def _sunspec_integer(header: int, serial: int) -> dict[str, At]:
    """Models 201-204: everything an integer with a scale factor register behind its group."""
    found = {
        "energy_import_wh": At(3, header + 46, "I", 1, header + 54, 1),
        "energy_export_wh": At(3, header + 38, "I", 1, header + 54, 1),
        "power_w": At(3, header + 18, "h", 1, header + 22, 1),
        "frequency_hz": At(3, header + 16, "h", 1, header + 17, -2),
        "serial": At(3, serial, "text16"),
    }
    for phase in range(3):
        found[f"voltage_l{phase + 1}_v"] = At(3, header + 8 + phase, "h", 1, header + 15, -1)
        found[f"current_l{phase + 1}_a"] = At(3, header + 3 + phase, "h", 1, header + 6, -2)
    return found


SUNSPEC_AT, MODEL_1, METER = 40_000, 40_002, 40_070
V3, A3 = [0x5002, 0x5004, 0x5006], [0x500C, 0x500E, 0x5010]
FACTS: dict[str, dict[str, At]] = {
    "eastron-sdm630-v2": _eastron(0x34, [0, 2, 4], [6, 8, 10]),
    "eastron-sdm72d-m": _eastron(0x34, [], [], hertz=False),
    "eastron-sdm72d-m-2": _eastron(0x34, [0, 2, 4], [6, 8, 10]),
    "eastron-sdm230": _eastron(0x0C, [0], [6]),
    "eastron-sdm120": _eastron(0x0C, [0], [6]),
    "abb-b21": _abb(1),
    "abb-b23": _abb(3),
    "abb-b24": _abb(3),
    "carlo-gavazzi-em24": _gavazzi(0x42, 0x5C, 0x37),
    "carlo-gavazzi-em24-e1": _gavazzi(0x34, 0x4E, 0x33),
    "carlo-gavazzi-em340": _gavazzi(0x34, 0x4E, 0x33) | {"model_code": At(4, 0x0B, "H")},
    "carlo-gavazzi-em540": _gavazzi(0x34, 0x4E, 0x33) | {"serial": At(4, 0x5000, "text7")},
    "carlo-gavazzi-em580": _gavazzi(0x34, 0x4E, 0x33)
    | {
        "energy_import_wh": At(4, 0x0500, "q<"),
        "energy_export_wh": At(4, 0x051C, "q<"),
        "serial": At(4, 0x5000, "text7"),
    },
    "schneider-iem3155": _schneider(),
    "schneider-iem3255": _schneider(),
    "janitza-b23": {
        "energy_import_wh": At(3, 0x4A7C, "f"),
        "energy_export_wh": At(3, 0x4A84, "f"),
        "power_w": At(3, 0x4A52, "f"),
        "frequency_hz": At(3, 0x4A6A, "f"),
    }
    | _phases(3, "f", [0x4A38, 0x4A3A, 0x4A3C], [0x4A44, 0x4A46, 0x4A48]),
    "inepro-pro380": _inepro(V3, A3, serial=True),
    "inepro-pro1": _inepro([0x5000], [0x500A], serial=False),
    "klefr-693x": _inepro(V3, A3, serial=False),
    "dzg-dvh4013": {
        "energy_import_wh": At(3, 0x4000, "I"),
        "energy_export_wh": At(3, 0x4100, "I"),
        "power_w": At(3, 0x0000, "I", 10),
        "power_export_w": At(3, 0x0002, "I", 10),
        "frequency_hz": At(3, 0x0012, "I", 1000),
    }
    | _phases(3, "I", [4, 6, 8], [0x0A, 0x0C, 0x0E], 100, 1000),
    "iskra-wm3m4c": {
        "energy_import_wh": At(4, 418, "I", 1, 414, 1),
        "energy_export_wh": At(4, 420, "I", 1, 415, 2),
        "power_w": At(4, 140, "t6"),
        "frequency_hz": At(4, 105, "t5"),
        "serial": At(4, 9, "text4"),
        "voltage_l1_v": At(4, 107, "t5"),
        "voltage_l2_v": At(4, 109, "t5"),
        "voltage_l3_v": At(4, 111, "t5"),
        "current_l1_a": At(4, 126, "t6"),
        "current_l2_a": At(4, 128, "t6"),
        "current_l3_a": At(4, 130, "t6"),
    },
    "bauer-bsm-ws36a": {name: at for name, at in _sunspec_integer(40_090, 0).items() if name not in ("energy_export_wh", "serial")}
    | {"serial": At(3, 40_235, "text8")},
    "sunspec-201-204": _sunspec_integer(METER, MODEL_1 + 50),
    "sunspec-211-214": {
        "energy_import_wh": At(3, METER + 68, "f"),
        "energy_export_wh": At(3, METER + 60, "f"),
        "power_w": At(3, METER + 28, "f"),
        "frequency_hz": At(3, METER + 26, "f"),
        "serial": At(3, MODEL_1 + 50, "text16"),
    }
    | _phases(3, "f", [METER + 12, METER + 14, METER + 16], [METER + 4, METER + 6, METER + 8]),
}


def _words(at: At, value: float) -> list[int]:
    if at.kind.startswith("t"):
        mantissa = round(value * 100) & 0xFFFFFF  # hundredths: exponent -2
        return [0xFE00 | mantissa >> 16, mantissa & 0xFFFF]
    code = at.kind[0]
    packed = struct.pack(f">{code}", value if code == "f" else round(value))
    words = list(struct.unpack(f">{len(packed) // 2}H", packed))
    return words[::-1] if at.kind.endswith("<") else words


def serial_text(at: At) -> str:
    """What the profile must read as serial number."""
    return f"S{SERIAL:07d}"[: 2 * int(at.kind[4:])] if at.kind.startswith("text") else str(SERIAL)


def device(name: str, lies: bool = True) -> dict[int, dict[int, int]]:
    """The 4-block registers of this model as it shows TRUTH: function code -> address -> word."""
    places: dict[int, dict[int, int]] = {3: {}, 4: {}}
    for point, at in FACTS[name].items():
        if point == "serial" and at.kind.startswith("text"):
            text = serial_text(at).encode().ljust(2 * int(at.kind[4:]), b"\0")
            words = list(struct.unpack(f">{len(text) // 2}H", text))
        else:
            value = SERIAL if point == "serial" else TRUTH[point]
            words = _words(at, value * at.raw / 10**at.sf_value)
        if point != "model_code":
            places[at.fc].update({at.addr + n: word for n, word in enumerate(words)})
        if at.sf is not None:
            places[at.fc][at.sf] = at.sf_value & 0xFFFF
    if name.startswith("sunspec"):
        model, length = (203, 105) if "201" in name else (213, 124)
        chain = {SUNSPEC_AT: [0x5375, 0x6E53], MODEL_1: [1, 66], METER: [model, length], METER + 2 + length: [0xFFFF, 0]}
        places[3].update({addr + n: word for addr, words in chain.items() for n, word in enumerate(words)})
    if not lies:
        return places
    everywhere = {addr for block in places.values() for addr in block}
    for block in places.values():
        for addr in everywhere:
            for near in range(max(0, addr - 130), min(0x10000, addr + 130)):
                block.setdefault(near, LIE)
    return places


def quick_copies(folder: Path) -> Path:
    """All packaged profiles as override files, for lines that answer at once: short timeouts and quarantine."""
    for name in profile.packaged():
        text = profile.text_of(profile.load(name, None))
        text = re.sub("quarantine_ms = [0-9]+", "quarantine_ms = 50", re.sub("timeout_ms = [0-9]+", "timeout_ms = 800", text))
        (folder / f"{name}.toml").write_text(text)
    return folder
