"""The meter driver for a configured meter: what signs its own records is more than an `EnergyMeter`."""

from pathlib import Path

from drivers.meters import profile
from drivers.meters.bsm_ws36a import BsmWs36a
from drivers.meters.em580 import Em580
from drivers.meters.modbus_meter import ModbusMeter
from drivers.meters.signing_meter import SigningMeter
from drivers.meters.wm3m4c import Wm3m4c
from terminal_app.config import MeterSection
from terminal_app.ports import Clock

SIGNING: dict[str, type[SigningMeter]] = {"bsm-ws36a": BsmWs36a, "em580": Em580, "wm3m4c": Wm3m4c}


def open_meter(
    section: MeterSection, device_name: str, clock: Clock, evse_id: str = "", overrides_dir: Path | None = profile.OVERRIDES_DIR
) -> ModbusMeter:
    """The driver of the profile's model. A result that is a `ports.SignedMeter` signs. ConfigError."""
    signed = profile.load(section.profile, overrides_dir).signed
    if not signed:
        return ModbusMeter(section, device_name, clock, overrides_dir)
    return SIGNING[signed](section, device_name, clock, overrides_dir, evse_id)
