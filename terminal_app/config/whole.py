"""The whole of `terminal.toml`."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from terminal_app.config.devices import (
    ConnectorSection,
    EvseSection,
    EvseWbSection,
    GridSection,
    MeterSection,
    PrinterSection,
    ReaderSection,
    RelaySection,
)
from terminal_app.config.money import CHECKOUT_KINDS, TAP_KINDS, GatewaySection, OfflineSection, PolicySection, RoutingSection
from terminal_app.config.records import (
    KeysSection,
    LawSection,
    OcpiSection,
    OfficeSection,
    PullSection,
    SyncSection,
    TariffsSection,
)
from terminal_app.config.section import Name, Section


class TerminalSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[terminal] Who and where this terminal is."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,36}$")]
    mode: Literal["demo", "production"]
    station: Name  # shown on every screen
    operator: Name  # on receipts
    operator_address: Name
    vat_id: str = ""
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    time_zone: str
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    languages: Annotated[tuple[str, ...], Meta(min_length=1)]
    helpline: str
    state_dir: Path
    runtime_dir: Path


class Config(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `terminal.toml` may say."""

    terminal: TerminalSection
    connector: Annotated[tuple[ConnectorSection, ...], Meta(min_length=1, max_length=8)]
    meter: dict[str, MeterSection]
    evse: dict[str, EvseSection]
    reader: ReaderSection
    gateway: dict[str, GatewaySection]
    policy: PolicySection
    keys: KeysSection
    office: OfficeSection
    sync: SyncSection = SyncSection()
    routing: RoutingSection = RoutingSection()
    offline: OfflineSection | None = None
    printer: PrinterSection | None = None
    law: LawSection = LawSection()
    tariffs: TariffsSection = TariffsSection()
    pull: PullSection | None = None
    ocpi: OcpiSection = OcpiSection()
    grid: GridSection | None = None

    @property
    def demo(self) -> bool:
        return self.terminal.mode == "demo"

    def outlet(self, number: int) -> ConnectorSection:
        """The connector of this number. KeyError: the configuration has none (a session's connector may be gone since)."""
        for one in self.connector:
            if one.number == number:
                return one
        raise KeyError(number)

    def card_gateways(self, brand: str) -> tuple[str, ...]:
        """Gateways that take cards of this brand from the reader, the preferred one first; empty = none."""
        by_kind = tuple(name for name, one in self.gateway.items() if isinstance(one, TAP_KINDS))
        return self.routing.brands.get(brand.lower()) or self.routing.cards or by_kind

    @property
    def phone_gateways(self) -> tuple[str, ...]:
        """Gateways that open pages for the driver's phone, the preferred one first; empty = none."""
        by_kind = tuple(name for name, one in self.gateway.items() if isinstance(one, CHECKOUT_KINDS))
        return self.routing.phones or by_kind

    @property
    def tap_gateways(self) -> tuple[str, ...]:
        """All gateways some card may be routed to."""
        every = (*self.card_gateways(""), *(name for names in self.routing.brands.values() for name in names))
        return tuple(dict.fromkeys(every))


def power_up_a(config: Config, connector: ConnectorSection) -> int:
    """What a controller may give by itself after a power-up while nobody talks to it, A: EVSE-WB is set to 0 and read back, a relay
    is open; the others may be released until they are heard."""
    match config.evse[connector.evse]:
        case EvseWbSection() | RelaySection():
            return 0
        case _:
            return connector.max_current_a
