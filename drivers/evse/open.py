"""The charge controller of a configuration section. Nothing is opened yet: a missing device is told by `status`."""

from typing import assert_never

from drivers.evse.evse_wb import EvseWb
from drivers.evse.openevse import OpenEvse
from drivers.evse.phoenix import PhoenixCharx, PhoenixEm
from drivers.evse.relay import Relay
from terminal_app.config import (
    EvseSection,
    EvseWbSection,
    OpenEvseSection,
    PhoenixCharxSection,
    PhoenixEmSection,
    RelaySection,
)
from terminal_app.ports import ChargeControl, Clock


def open_control(section: EvseSection, device_name: str, clock: Clock) -> ChargeControl:
    """The driver of the section's `driver`. ConfigError if its line is used with other settings."""
    match section:
        case OpenEvseSection():
            return OpenEvse(section, device_name, clock)
        case EvseWbSection():
            return EvseWb(section, device_name, clock)
        case PhoenixCharxSection():
            return PhoenixCharx(section, device_name, clock)
        case PhoenixEmSection():
            return PhoenixEm(section, device_name, clock)
        case RelaySection():
            return Relay(section, device_name, clock)
        case _:
            assert_never(section)
