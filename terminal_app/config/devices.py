"""Sections for what is at the wires: connectors, meters, charge controllers, the site's supply, card reader, printer."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from terminal_app.config.section import Name, Port, Section


class ConnectorSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[connector]] One outlet: number 1..8, label, its meter and its charge controller by name, EVSE id for records."""

    number: Annotated[int, Meta(ge=1, le=8)]
    label: Name
    evse_id: Annotated[str, Meta(pattern=r"^[A-Z0-9*+-]{3,48}$")]
    meter: Name
    evse: Name
    max_current_a: Annotated[int, Meta(ge=6, le=1000)]
    max_power_w: Annotated[int, Meta(ge=1000, le=10_000_000)]
    current: Literal["AC", "DC"] = "AC"  # on receipts
    tariff: Path | None = None  # OCPI 2.3.0 tariff file, plain or signed; none = not for sale, unless the office sends one
    tariff_without_clock: Path | None = None  # sold by while the clock is not synchronised; none = not for sale then
    priority: Annotated[int, Meta(ge=0, le=9)] = 0  # with [grid]: who is served first when there is not enough; 9 before 0


class MeterSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[meter.NAME] A Modbus meter: `profile` is a model name or a TOML file's path; either `port` or `host` + `tcp_port`."""

    profile: Name
    unit: Annotated[int, Meta(ge=1, le=247)] = 1
    port: str = ""
    baud_rate: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] | None = None  # none = as the profile says
    parity: Literal["N", "E", "O"] | None = None
    stop_bits: Literal[1, 2] | None = None
    host: str = ""
    tcp_port: Port = 502
    framing: Literal["tcp", "rtu"] = "tcp"  # with host: Modbus TCP, or "rtu" = RTU frames through a serial server


class OpenEvseSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="openevse"):
    """[evse.NAME] driver = "openevse": an OpenEVSE board (RAPI) on serial `port`."""

    port: Annotated[str, Meta(min_length=1, max_length=255)]  # names by serial number are long
    baud_rate: Literal[9600, 19200, 38400, 57600, 115200] = 115200


class EvseWbSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="evse-wb"):
    """[evse.NAME] driver = "evse-wb": EVSE-WB, EVSE DIN, SimpleEVSE on Modbus RTU; the line may be shared with meters."""

    unit: Annotated[int, Meta(ge=1, le=247)] = 1
    port: str = ""
    baud_rate: Literal[9600, 19200, 38400, 57600, 115200] = 9600
    host: str = ""  # instead of port: a serial server
    tcp_port: Port = 502
    framing: Literal["tcp", "rtu"] = "tcp"


class PhoenixCharxSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="phoenix-charx"):
    """[evse.NAME] driver = "phoenix-charx": one charging point (`connector`) of a Phoenix Contact CHARX SEC, Modbus TCP."""

    host: Name
    tcp_port: Port = 502
    unit: Annotated[int, Meta(ge=1, le=255)] = 1
    connector: Annotated[int, Meta(ge=1, le=48)]


class PhoenixEmSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="phoenix-em"):
    """[evse.NAME] driver = "phoenix-em": Phoenix Contact EM-CP-PP-ETH or EV-CC with Ethernet, Modbus TCP."""

    model: Literal["em-cp-pp-eth", "ev-cc-eth"]  # their current limit lies in different registers
    host: Name
    tcp_port: Port = 502
    unit: Annotated[int, Meta(ge=1, le=255)] | None = None  # none = as the model has it: 180 or 255


GpioLine = Annotated[int, Meta(ge=0, le=1023)]


class RelaySection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="relay"):
    """[evse.NAME] driver = "relay": a contactor at a GPIO line. It cannot limit the current: that is `current_a`."""

    chip: Name  # e.g. /dev/gpiochip0
    line: GpioLine
    active_low: bool = False
    feedback_line: GpioLine | None = None  # an auxiliary contact of the contactor; none = a weld is not seen
    feedback_active_low: bool = False
    pilot_line: GpioLine | None = None  # active while a car is connected; none = a car is taken to be there always
    pilot_active_low: bool = False
    current_a: Annotated[int, Meta(ge=6, le=1000)]  # what breaker, cable and outlet allow
    min_on_s: Annotated[int, Meta(ge=0, le=600)] = 5  # an earlier opening is never delayed: the next closing is
    min_off_s: Annotated[int, Meta(ge=0, le=600)] = 10


EvseSection = OpenEvseSection | EvseWbSection | PhoenixCharxSection | PhoenixEmSection | RelaySection


class GridSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[grid] One supply for all connectors: together they never draw more than `limit_a` per phase. Without it each may draw
    its `max_current_a`. `split`: "equal" parts, or "priority": in order, the first as much as it can take."""

    limit_a: Annotated[int, Meta(ge=6, le=10_000)]
    split: Literal["equal", "priority"]
    min_a: Annotated[int, Meta(ge=6, le=80)] = 6  # who would get less pauses until somebody leaves


class ReaderSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[reader] The PC/SC reader. `name` is a part of the reader's name ("" = the first); `card_key` a file of 32 bytes.

    `ca_keys`: TOML file with the schemes' CA public keys; none = no card counts as chip-authenticated.
    """

    driver: Literal["pcsc"] = "pcsc"
    name: str = ""
    pcsc_socket: str = ""  # PCSCLITE_CSOCK_NAME; "" = the system's pcscd
    card_key: Path
    ca_keys: Path | None = None


class _Printer(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a receipt printer is: `device` (/dev/usb/lp0; a file for "text") or `host` + `tcp_port`. `width` in characters."""

    device: str = ""
    host: str = ""
    tcp_port: Port = 9100
    width: Annotated[int, Meta(ge=24, le=64)] = 42  # 42 or 48 on 80 mm paper, 32 on 58 mm
    automatic: bool = False  # a copy after every charge, without being asked


class EscposSection(_Printer, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="escpos"):
    """[printer] driver = "escpos": a printer that speaks ESC/POS. `qr`: "native" = the printer draws the code, "raster" = it gets
    a picture, "none". `status`: it is asked for its paper (some answer nothing; then paper out is not seen)."""

    code_page: Literal["CP437", "CP850", "CP858", "CP1252"] = "CP858"  # CP858 has umlauts and the euro sign
    qr: Literal["native", "raster", "none"] = "native"
    cut: bool = True
    status: bool = True


class TextPrinterSection(_Printer, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="text"):
    """[printer] driver = "text": plain UTF-8 and form feed to `device`, for printers that take text."""


PrinterSection = EscposSection | TextPrinterSection


def evse_places(section: EvseSection) -> dict[str, tuple[object, ...]]:
    """What of the machine a controller takes for itself: words for people, and a key that no other device may have."""
    match section:
        case OpenEvseSection():
            return {f"controller {section.port}": ("port", section.port)}
        case EvseWbSection():
            line = section.port or f"{section.host}:{section.tcp_port}"
            return {f"controller {line} unit {section.unit}": ("unit", line, section.unit)}
        case PhoenixCharxSection():
            line = f"{section.host}:{section.tcp_port}"
            return {f"controller {line} connector {section.connector}": ("charx", line, section.connector)}
        case PhoenixEmSection():
            line = f"{section.host}:{section.tcp_port}"
            return {f"controller {line}": ("em", line, section.unit)}
        case RelaySection():
            lines = (section.line, section.feedback_line, section.pilot_line)
            return {f"GPIO line {section.chip} {one}": ("gpio", section.chip, one) for one in lines if one is not None}


def evse_device(section: EvseSection) -> str:
    """The device file a controller needs: serial port or GPIO chip; "" if it is reached over the network."""
    match section:
        case OpenEvseSection() | EvseWbSection():
            return section.port
        case RelaySection():
            return section.chip
        case _:
            return ""
