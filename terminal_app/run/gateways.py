"""Gateways from their configuration sections; one place, for the core and for `config check`.

Each is imported only where it is configured: an HTTP client the core does not need would be 27 MiB of its memory.
"""

from pathlib import Path
from zoneinfo import ZoneInfo

from terminal_app import config
from terminal_app.errors import ConfigError
from terminal_app.payments.offline import Offline
from terminal_app.ports import PaymentGateway


def build(
    name: str, section: config.GatewaySection, settings: config.Config, path: Path, offline: Offline | None = None
) -> PaymentGateway:
    """The gateway of [gateway.NAME]; connects to nothing yet. `offline`: what accounts pay from without the office. ConfigError."""
    try:
        match section:
            case config.Iso8583Section():
                from terminal_app.payments import acquirer_profile
                from terminal_app.payments.iso8583 import Iso8583Gateway

                profile = acquirer_profile.load(section.profile) if section.profile else None
                zone = ZoneInfo(settings.terminal.time_zone)
                return Iso8583Gateway(name, section, settings.demo, profile=profile, local_time=zone)
            case config.StripeSection():
                from terminal_app.payments.stripe import StripeGateway

                _refuse_currency(name, settings, StripeGateway.other_units, path)
                return StripeGateway(name, section, settings.demo)
            case config.AdyenSection():
                from terminal_app.payments.adyen import AdyenGateway

                _refuse_currency(name, settings, AdyenGateway.other_units, path)
                return AdyenGateway(name, section, settings.demo)
            case config.AccountSection():
                from terminal_app.payments.account import AccountGateway

                return AccountGateway(name, section, settings.demo, offline=offline)
            case config.AccountPageSection():
                from terminal_app.payments.account_page import AccountPageGateway

                return AccountPageGateway(name, section, settings.demo)
            case config.CyberSourceSection():
                from terminal_app.payments.cybersource import CyberSourceGateway

                return CyberSourceGateway(name, section, settings.demo)
    except ValueError as error:
        raise ConfigError(path.name, f"[gateway.{name}]", str(error)) from error


def _refuse_currency(name: str, settings: config.Config, other_units: frozenset[str], path: Path) -> None:
    currency = settings.terminal.currency
    if currency in other_units:
        reason = f"it does not count {currency} in the minor units of ISO 4217: it cannot be used with this currency"
        raise ConfigError(path.name, f"[gateway.{name}] kind", reason)


def address(section: config.GatewaySection) -> str:
    """Where it is, for people."""
    if isinstance(section, config.Iso8583Section):
        return f"{section.host}:{section.port}" + ("" if section.tls else ", without TLS (demo only)")
    return section.url
