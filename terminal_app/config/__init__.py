"""`terminal.toml` as frozen structs. Unknown keys, wrong types and ranges stop the start: `file: [section] key: reason`.

Secrets are paths of files, never values. Relative paths are relative to the configuration file. No key that touches
money or devices has a silent default; what has a default here is a pace, a window or a path, and says so.
"""

from terminal_app.config.devices import (
    ConnectorSection,
    EscposSection,
    EvseSection,
    EvseWbSection,
    GridSection,
    MeterSection,
    OpenEvseSection,
    PhoenixCharxSection,
    PhoenixEmSection,
    PrinterSection,
    ReaderSection,
    RelaySection,
    TextPrinterSection,
    evse_device,
)
from terminal_app.config.money import (
    AccountPageSection,
    AccountSection,
    AdyenSection,
    CyberSourceSection,
    GatewaySection,
    Iso8583Section,
    OfflineSection,
    PolicySection,
    RoutingSection,
    StripeSection,
)
from terminal_app.config.reading import decode, load
from terminal_app.config.records import (
    KeysSection,
    LawOverride,
    LawSection,
    OcpiSection,
    OfficeSection,
    PullClientSection,
    PullSection,
    SyncSection,
    TariffsSection,
)
from terminal_app.config.whole import Config, TerminalSection, power_up_a

__all__ = [
    "AccountPageSection",
    "AccountSection",
    "AdyenSection",
    "Config",
    "ConnectorSection",
    "CyberSourceSection",
    "EscposSection",
    "EvseSection",
    "EvseWbSection",
    "GatewaySection",
    "GridSection",
    "Iso8583Section",
    "KeysSection",
    "LawOverride",
    "LawSection",
    "MeterSection",
    "OcpiSection",
    "OfficeSection",
    "OfflineSection",
    "OpenEvseSection",
    "PhoenixCharxSection",
    "PhoenixEmSection",
    "PolicySection",
    "PrinterSection",
    "PullClientSection",
    "PullSection",
    "ReaderSection",
    "RelaySection",
    "RoutingSection",
    "StripeSection",
    "SyncSection",
    "TariffsSection",
    "TerminalSection",
    "TextPrinterSection",
    "decode",
    "evse_device",
    "load",
    "power_up_a",
]
