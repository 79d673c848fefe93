"""What no single key of `terminal.toml` can know: whether they fit each other."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from terminal_app import units
from terminal_app.config.devices import EvseWbSection, PrinterSection, RelaySection, TextPrinterSection, evse_places
from terminal_app.config.money import CHECKOUT_KINDS, TAP_KINDS, Iso8583Section
from terminal_app.config.whole import Config
from terminal_app.errors import ConfigError


def check_relations(config: Config, path: Path) -> None:
    """ConfigError names the file, the section with its key, and what does not fit."""

    def refuse(where: str, reason: str) -> None:
        raise ConfigError(path.name, where, reason)

    try:
        ZoneInfo(config.terminal.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        refuse("[terminal] time_zone", f"{config.terminal.time_zone!r} is not an IANA time zone")
    try:
        units.exponent(config.terminal.currency)
    except ValueError as error:
        refuse("[terminal] currency", str(error))
    try:
        units.numeric_country(config.terminal.country)
    except ValueError as error:
        refuse("[terminal] country", str(error))
    numbers = [connector.number for connector in config.connector]
    if len(set(numbers)) != len(numbers):
        refuse("[[connector]] number", "two connectors have the same number")
    for one in config.connector:
        if one.meter not in config.meter:
            refuse("[[connector]] meter", f"there is no section [meter.{one.meter}]")
        if one.evse not in config.evse:
            refuse("[[connector]] evse", f"there is no section [evse.{one.evse}]")
    evses = [connector.evse for connector in config.connector]
    meters = [connector.meter for connector in config.connector]
    if len(set(evses)) != len(evses) or len(set(meters)) != len(meters):
        refuse("[[connector]]", "two connectors share one controller or one meter: each needs its own")
    for name, meter in config.meter.items():
        if bool(meter.port) == bool(meter.host):
            refuse(f"[meter.{name}]", "give either port (serial) or host (Modbus TCP)")
    for name, evse in config.evse.items():
        if isinstance(evse, EvseWbSection) and bool(evse.port) == bool(evse.host):
            refuse(f"[evse.{name}]", "give either port (serial) or host (a serial server)")
        if isinstance(evse, RelaySection):
            lines = [one for one in (evse.line, evse.feedback_line, evse.pilot_line) if one is not None]
            if len(set(lines)) != len(lines):
                refuse(f"[evse.{name}]", "line, feedback_line and pilot_line must be different lines")
    _each_its_own(config, refuse)
    _check_currents(config, refuse)
    if (found := config.sync.address) is not None:
        try:
            ipaddress.ip_address(found[0])
        except ValueError as error:
            refuse("[sync] listen", str(error))
        if not 1 <= found[1] <= 65535:
            refuse("[sync] listen", f"{found[1]} is not a port")
    if not config.gateway:
        refuse("[gateway]", "no gateway is configured")
    for name, gateway in config.gateway.items():
        if config.demo:
            continue
        if isinstance(gateway, Iso8583Section):
            if not gateway.tls:
                refuse(f"[gateway.{name}] tls", "must be true outside demo mode")
        elif not gateway.url.startswith("https://"):
            refuse(f"[gateway.{name}] url", "must begin with https:// outside demo mode")
    _check_money(config, refuse)
    _check_printer(config.printer, refuse)
    if not config.demo and not config.office.url.startswith("https://"):
        refuse("[office] url", "must begin with https:// outside demo mode")
    if bool(config.office.client_cert) != bool(config.office.client_key):
        refuse("[office] client_cert", "client_cert and client_key belong together")
    _check_carried(config, refuse)
    if config.keys.record == config.keys.ocmf:
        refuse("[keys] ocmf", "must be another key than [keys] record")
    if len(config.law.overridden) != len(config.law.override):
        refuse("[[law.override]] rule", "a rule is overridden twice")
    if config.keys.previous_record is not None and not config.keys.change_reason.strip():
        refuse("[keys] change_reason", "previous_record hands over to record: say why; it stands in the key-change record")


def _each_its_own(config: Config, refuse: Callable[[str, str], None]) -> None:
    """Two connectors never share a meter, a controller or a name, whatever their sections are called."""
    seen: dict[object, str] = {}
    for one in config.connector:
        meter, where = config.meter[one.meter], f"[[connector]] number {one.number}"
        line = meter.port or f"{meter.host}:{meter.tcp_port}"
        places = {
            f"meter {line} unit {meter.unit}": ("unit", line, meter.unit),
            **evse_places(config.evse[one.evse]),
            f"evse_id {one.evse_id}": ("id", one.evse_id),
        }
        for what, key in places.items():
            if key in seen:
                refuse(where, f"has the same {what} as {seen[key]}: each connector needs its own")
            seen[key] = f"number {one.number}"


def _check_currents(config: Config, refuse: Callable[[str, str], None]) -> None:
    """A relay gives all or nothing, so that must fit its connector; everybody alone must fit the site's supply."""
    grid = config.grid
    for one in config.connector:
        evse, where = config.evse[one.evse], f"[[connector]] number {one.number}"
        least_a = evse.current_a if isinstance(evse, RelaySection) else 6
        if least_a > one.max_current_a:
            refuse(where, f"max_current_a is {one.max_current_a}, but its relay gives {least_a} A (current_a)")
        if grid is None:
            continue
        if max(least_a, grid.min_a) > grid.limit_a:
            refuse("[grid] limit_a", f"is below the {max(least_a, grid.min_a)} A that connector {one.number} needs at least")
        if grid.min_a > one.max_current_a:
            refuse("[grid] min_a", f"is above max_current_a of connector {one.number}: it could never charge")


def _check_carried(config: Config, refuse: Callable[[str, str], None]) -> None:
    """Who pulls must be known and cannot be listened to; who gets CDRs must be who it is."""
    if (pull := config.pull) is not None:
        host, port = pull.address
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError as error:
            refuse("[pull] listen", str(error))
        if not 1 <= port <= 65535:
            refuse("[pull] listen", f"{port} is not a port")
        if pull.listen == config.sync.listen:
            refuse("[pull] listen", "is [sync] listen too: each needs its own port")
        if bool(pull.cert) != bool(pull.key):
            refuse("[pull] cert", "cert and key belong together")
        if pull.cert is None and not loopback:
            refuse("[pull] cert", "is needed: without TLS it listens on loopback only")
        if pull.client_ca is not None and pull.cert is None:
            refuse("[pull] client_ca", "certificates of clients need TLS: give cert and key")
        if pull.client_ca is None and not pull.client:
            refuse("[pull]", "nobody could pull: give client_ca or a [[pull.client]]")
        names = [one.name for one in pull.client]
        if len(set(names)) != len(names):
            refuse("[[pull.client]] name", "two clients have the same name")
    ocpi = config.ocpi
    if bool(ocpi.country_code) != bool(ocpi.party_id):
        refuse("[ocpi] party_id", "country_code and party_id belong together")
    if ocpi.url and not config.demo and not ocpi.url.startswith("https://"):
        refuse("[ocpi] url", "must begin with https:// outside demo mode")
    if ocpi.url and ocpi.token_file is None:
        refuse("[ocpi] token_file", "is needed: the receiver wants to know who sends")


def _check_printer(printer: PrinterSection | None, refuse: Callable[[str, str], None]) -> None:
    if printer is None:
        return
    if bool(printer.device) == bool(printer.host):
        refuse("[printer]", "give either device (a path) or host (network printer)")
    if isinstance(printer, TextPrinterSection) and printer.host:
        refuse("[printer] host", 'driver = "text" writes to a device only')


def _check_money(config: Config, refuse: Callable[[str, str], None]) -> None:
    """Routes lead to gateways that can do it; the amounts fit each other."""
    routes = {"[routing] cards": (config.routing.cards, TAP_KINDS), "[routing] phones": (config.routing.phones, CHECKOUT_KINDS)}
    routes |= {f"[routing] brands.{brand}": (names, TAP_KINDS) for brand, names in config.routing.brands.items()}
    for where, (names, kinds) in routes.items():
        for name in names:
            if name not in config.gateway:
                refuse(where, f"there is no section [gateway.{name}]")
            if not isinstance(config.gateway[name], kinds):
                refuse(where, f"[gateway.{name}] cannot do this: its kind takes no {where.split()[1].split('.')[0]}")
        if len(set(names)) != len(names):
            refuse(where, "names a gateway twice")
    policy = config.policy
    if policy.min_useful_hold_minor > policy.hold_minor:
        refuse("[policy] min_useful_hold_minor", "is above hold_minor: no hold would ever be useful")
    if len(policy.hold_choices_minor) + len(policy.hold_choices_kwh) > 4:
        refuse("[policy] hold_choices_kwh", "with hold_choices_minor these are more than 4: the screen shows no more at once")
    if policy.lower_hold_minor and not policy.min_useful_hold_minor <= policy.lower_hold_minor < policy.hold_minor:
        refuse("[policy] lower_hold_minor", "must lie between min_useful_hold_minor and hold_minor")
    if any(one < policy.min_useful_hold_minor for one in policy.hold_choices_minor):
        refuse("[policy] hold_choices_minor", "an amount is below min_useful_hold_minor: no such hold would be useful")
    if config.offline is not None and config.offline.card_minor > config.offline.terminal_minor:
        refuse("[offline] card_minor", "is above terminal_minor: no card could ever use it")
