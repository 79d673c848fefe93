"""Options and opening of a line, for the commands that look at one with unknown or new meters. Only reads registers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from drivers.meters import profile
from drivers.meters.profile import Line, Profile
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.site import Site


@dataclass(frozen=True)
class Place:
    """A line as given on the command line: port or host, and settings where given."""

    port: str
    host: str
    tcp_port: int
    framing: str
    baud: int | None
    parity: str | None
    stop: int | None

    @property
    def name(self) -> str:
        return self.port or f"{self.host}:{self.tcp_port}"


def line_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--port or --host, and the line settings."""
    for option in reversed(
        (
            click.option("--port", default="", help="Serial port, e.g. /dev/serial/by-path/..."),
            click.option("--host", default="", help="Modbus TCP host, instead of --port."),
            click.option("--tcp-port", type=click.IntRange(1, 65535), default=502, show_default=True),
            click.option("--framing", type=click.Choice(["tcp", "rtu"]), default="tcp", help="With --host: rtu = serial server."),
            click.option("--baud", type=int, help="Only this speed."),
            click.option("--parity", type=click.Choice(["N", "E", "O"]), help="Only this parity."),
            click.option("--stop", type=click.IntRange(1, 2), help="Stop bits."),
        )
    ):
        command = option(command)
    return command


def place_of(site: Site, what: str, given: dict[str, Any]) -> Place:
    place = Place(**{name: given[name] for name in ("port", "host", "tcp_port", "framing", "baud", "parity", "stop")})
    if bool(place.port) == bool(place.host):
        raise click.UsageError("give either --port (serial) or --host (Modbus TCP)")
    if place.port and not Path(place.port).exists():
        raise ServiceTrouble(f"{place.port} is not there; names of serial ports: ls -l /dev/serial/by-path")
    if site.path.exists():
        site.claim_devices(what)  # never beside a core that uses the line
    return place


def address_of(place: Place, line: Line) -> Any:
    from drivers.meters.bus import Address

    return Address(
        port=place.port,
        baud=place.baud or line.baud,
        parity=place.parity or line.parity,
        stop=place.stop or line.stop,
        host=place.host,
        tcp_port=place.tcp_port,
        rtu=bool(place.port) or place.framing == "rtu",
    )


@contextmanager
def opened(place: Place, line: Line) -> Iterator[Any]:
    from drivers.meters.bus import ModbusBus

    bus = ModbusBus(address_of(place, line))
    try:
        yield bus
    finally:
        bus.close()


def known_profiles() -> list[Profile]:
    own = [file.stem for file in profile.OVERRIDES_DIR.glob("*.toml")] if profile.OVERRIDES_DIR.is_dir() else []
    return [profile.load(name) for name in sorted({*profile.packaged(), *own})]
