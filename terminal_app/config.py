"""`terminal.toml` as frozen structs. Unknown keys, wrong types and ranges stop the start: `file: [section] key: reason`.

Secrets are paths of files, never values. Relative paths are relative to the configuration file. No key that touches
money or devices has a silent default; what has a default here is a pace, a window or a path, and says so.
"""

import ipaddress
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from terminal_app import units
from terminal_app.errors import ConfigError

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
T = TypeVar("T")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class TerminalSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class ConnectorSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class MeterSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class OpenEvseSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="openevse"):
    """[evse.NAME] driver = "openevse": an OpenEVSE board (RAPI) on serial `port`."""

    port: Annotated[str, Meta(min_length=1, max_length=255)]  # names by serial number are long
    baud_rate: Literal[9600, 19200, 38400, 57600, 115200] = 115200


class EvseWbSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="evse-wb"):
    """[evse.NAME] driver = "evse-wb": EVSE-WB, EVSE DIN, SimpleEVSE on Modbus RTU; the line may be shared with meters."""

    unit: Annotated[int, Meta(ge=1, le=247)] = 1
    port: str = ""
    baud_rate: Literal[9600, 19200, 38400, 57600, 115200] = 9600
    host: str = ""  # instead of port: a serial server
    tcp_port: Port = 502
    framing: Literal["tcp", "rtu"] = "tcp"


class PhoenixCharxSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="phoenix-charx"):
    """[evse.NAME] driver = "phoenix-charx": one charging point (`connector`) of a Phoenix Contact CHARX SEC, Modbus TCP."""

    host: Name
    tcp_port: Port = 502
    unit: Annotated[int, Meta(ge=1, le=255)] = 1
    connector: Annotated[int, Meta(ge=1, le=48)]


class PhoenixEmSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="phoenix-em"):
    """[evse.NAME] driver = "phoenix-em": Phoenix Contact EM-CP-PP-ETH or EV-CC with Ethernet, Modbus TCP."""

    model: Literal["em-cp-pp-eth", "ev-cc-eth"]  # their current limit lies in different registers
    host: Name
    tcp_port: Port = 502
    unit: Annotated[int, Meta(ge=1, le=255)] | None = None  # none = as the model has it: 180 or 255


GpioLine = Annotated[int, Meta(ge=0, le=1023)]


class RelaySection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="driver", tag="relay"):
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


class GridSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[grid] One supply for all connectors: together they never draw more than `limit_a` per phase. Without it each may draw
    its `max_current_a`. `split`: "equal" parts, or "priority": in order, the first as much as it can take."""

    limit_a: Annotated[int, Meta(ge=6, le=10_000)]
    split: Literal["equal", "priority"]
    min_a: Annotated[int, Meta(ge=6, le=80)] = 6  # who would get less pauses until somebody leaves


class ReaderSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[reader] The PC/SC reader. `name` is a part of the reader's name ("" = the first); `card_key` a file of 32 bytes.

    `ca_keys`: TOML file with the schemes' CA public keys; none = no card counts as chip-authenticated.
    """

    driver: Literal["pcsc"] = "pcsc"
    name: str = ""
    pcsc_socket: str = ""  # PCSCLITE_CSOCK_NAME; "" = the system's pcscd
    card_key: Path
    ca_keys: Path | None = None


class Iso8583Section(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="iso8583"):
    """[gateway.NAME] kind = "iso8583": an acquirer host (tap). TLS is mandatory outside demo mode."""

    host: Name
    port: Port
    tls: bool
    profile: Path | None = None  # where this acquirer differs (payments/acquirer_profile.py); none = ISO 8583-1:1987
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    terminal_id: Annotated[str, Meta(pattern=r"^[A-Z0-9]{8}$")]
    merchant_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9 ]{15}$")]
    mcc: Annotated[str, Meta(pattern=r"^\d{4}$")] = "5552"
    connect_timeout_s: Seconds = 5


class StripeSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="stripe"):
    """[gateway.NAME] kind = "stripe": Checkout pages with manual capture (QR)."""

    secret_key_file: Path
    url: Name = "https://api.stripe.com"
    return_url: Name  # where the phone goes after paying, e.g. the office's thank-you page
    ca_file: Path | None = None


class AdyenSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="adyen"):
    """[gateway.NAME] kind = "adyen": payment links (QR); captures are confirmed by notifications the office relays."""

    api_key_file: Path
    hmac_key_file: Path
    merchant_account: Name
    url: Name  # the Checkout API's base address of this account
    return_url: Name
    ca_file: Path | None = None


class CyberSourceSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="cybersource"):
    """[gateway.NAME] kind = "cybersource": Visa Acceptance REST with raw EMV data (tap). HTTP signature."""

    merchant_id: Name
    key_id: Name
    shared_secret_file: Path
    url: Name = "https://api.cybersource.com"
    terminal_id: Annotated[str, Meta(pattern=r"^[A-Z0-9]{8}$")]
    increments: bool = False  # your contract and its processor have incremental authorization
    ca_file: Path | None = None


class AccountSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="account"):
    """[gateway.NAME] kind = "account": prepaid and fleet accounts kept by the office.

    Slices: money of a card's account that the office sets aside for this terminal, so that the card can pay here offline.
    """

    url: Name
    token_file: Path
    ca_file: Path | None = None
    slice_minor: Annotated[int, Meta(ge=0, le=100_000_000)] = 0  # set aside for each card that paid online here; 0 = never
    slice_days: Annotated[int, Meta(ge=1, le=30)] = 7  # then it goes back, if it was not used
    slices_most: Annotated[int, Meta(ge=1, le=1000)] = 100  # so many cards at once


class AccountPageSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="account-page"):
    """[gateway.NAME] kind = "account-page": the same accounts by phone (QR), on a page of the office."""

    url: Name
    token_file: Path
    ca_file: Path | None = None


TAP_KINDS = (Iso8583Section, CyberSourceSection, AccountSection)
CHECKOUT_KINDS = (StripeSection, AdyenSection, AccountPageSection)
"""Pages for the driver's phone. That Adyen's is paid is told by a notification, which the office relays."""

GatewaySection = Iso8583Section | StripeSection | AdyenSection | CyberSourceSection | AccountSection | AccountPageSection


class RoutingSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[routing] Which gateway takes what, in order of preference; the next one serves while the one before is out of reach.

    Absent lists: all gateways of the kind, in the order of their sections. `brands`: lists of their own for single brands
    (lower case, as the card's application label group: "mastercard", "visa", "amex", ...), instead of `cards`.
    """

    cards: tuple[Name, ...] = ()
    phones: tuple[Name, ...] = ()
    brands: dict[str, tuple[Name, ...]] = {}


class OfflineSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[offline] Charging while the gateway is out of reach, on the operator's risk. Without this section: never.

    Only for cards of account gateways that proved themselves by chip (`CardFacts.authenticated`): bank cards cannot be asked
    for money later without keeping what must not be kept. What is charged becomes a receivable of the account.
    """

    card_minor: Annotated[int, Meta(ge=1, le=100_000_000)]  # most a card may owe at once, and most a charge may cost
    terminal_minor: Annotated[int, Meta(ge=1, le=100_000_000)]  # most this terminal may be owed at once
    card_sessions: Annotated[int, Meta(ge=1, le=100)] = 3  # charges per card within `within_s`
    within_s: Annotated[int, Meta(ge=60)] = 86_400


class PolicySection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[policy] The operator's choices about money and waiting."""

    hold_minor: Annotated[int, Meta(ge=1, le=100_000_000)]
    hold_choices_minor: Annotated[tuple[Annotated[int, Meta(ge=1, le=100_000_000)], ...], Meta(max_length=4)] = ()
    hold_choices_kwh: Annotated[tuple[Annotated[int, Meta(ge=1, le=1000)], ...], Meta(max_length=4)] = ()
    lower_hold_minor: Annotated[int, Meta(ge=0, le=100_000_000)] = 0  # offered after a refusal that a lower one may pass; 0 = none
    increment_minor: Annotated[int, Meta(ge=0, le=100_000_000)] = 0  # a hold about to be used up is raised by this; 0 = never
    increments_most: Annotated[int, Meta(ge=0, le=50)] = 3  # so often for one charge
    reuse_window_s: Annotated[int, Meta(ge=0, le=600)] = 90  # after a failed start: the same card may try again on its hold
    min_useful_hold_minor: Annotated[int, Meta(ge=0)] = 500  # a smaller partial approval is released at once
    plug_window_s: Seconds = 120  # approved, but nobody plugs in
    checkout_window_s: Annotated[int, Meta(ge=30, le=1200)] = 180  # to pay on the phone; then the page is ended
    authorize_deadline_s: Annotated[int, Meta(ge=2, le=16)] = 15  # the driver is told by then
    settle_deadline_s: Annotated[int, Meta(ge=60)] = 7 * 86_400  # then manual
    settle_retry_s: Seconds = 30  # first pause, doubled up to 1 h
    declined_show_s: Seconds = 12
    receipt_show_s: Seconds = 60
    meter_lost_stop_s: Seconds = 60
    meter_return_s: Seconds = 12 * 3600  # then the bill ends at the last committed reading
    meter_frozen_s: Annotated[int, Meta(ge=3, le=600)] = 4  # a register that stands still while power flows counts as lost
    unexplained_wh: Annotated[int, Meta(ge=0)] = 1000  # a day: more energy without a session is told as a warning
    car_start_window_s: Annotated[int, Meta(ge=10)] = 600  # plugged and authorised, but the car asks for nothing
    checkpoint_s: Annotated[int, Meta(ge=5)] = 180
    checkpoint_wh: Annotated[int, Meta(ge=100)] = 5000


class _Printer(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class KeysSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[keys] PEM files (PKCS#8, P-256) or PKCS#11 URIs (drivers/signers/pkcs11.py): `record` signs the JWS chain, `ocmf` the
    terminal-made OCMF. Never the same key.

    `previous_record`: the record key before this one; it hands the chain over by a key-change record and may then be left out.
    `change_reason` stands in that record.
    """

    record: Path
    ocmf: Path
    previous_record: Path | None = None
    change_reason: Annotated[str, Meta(max_length=200)] = ""


class OfficeSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[office] Where records go. `public_key` (PEM SPKI) verifies acknowledgements; `token_file` authorises the terminal."""

    url: Name
    public_key: Path
    token_file: Path
    ca_file: Path | None = None
    client_cert: Path | None = None  # shown to the office where it asks for one; common name = [terminal] id
    client_key: Path | None = None
    receipt_url: Name  # base of the receipt page; the address is receipt_url/r/CODE
    push_every_s: Seconds = 5
    deadline_s: Seconds = 30

    def receipt_page(self, code: str) -> str:
        """The address of a receipt, as its QR code shows it."""
        return f"{self.receipt_url.rstrip('/')}/r/{code}"


class SyncSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[sync] What the carrier offers to the site. `listen`: ADDRESS:PORT for metrics and a page about this terminal."""

    listen: Annotated[str, Meta(pattern=r"^(|[0-9.]{7,15}:[0-9]{1,5}|\[[0-9a-fA-F:]{2,39}\]:[0-9]{1,5})\Z")] = ""  # "" = off

    @property
    def address(self) -> tuple[str, int] | None:
        """Address and port; None = do not listen."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if self.listen else None


class LawOverride(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[law.override]] Somebody answers for selling against a rule of the law pack: a fact of the ledger, seen by the office."""

    rule: Name
    by: Name
    why: Annotated[str, Meta(min_length=1, max_length=200)]


class LawSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[law] What the law pack cannot know by itself."""

    clock_approved: bool = False  # the type approval covers the clock: its time may decide about prices
    override: Annotated[tuple[LawOverride, ...], Meta(max_length=32)] = ()

    @property
    def overridden(self) -> frozenset[str]:
        return frozenset(one.rule for one in self.override)


class TariffsSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[tariffs] `public_key` (PEM): the operator's. With it only what it signed is sold by; without it local files may be
    unsigned, and tariffs from outside need the office's signature."""

    public_key: Path | None = None


Listen = Annotated[str, Meta(pattern=r"^([0-9.]{7,15}:[0-9]{1,5}|\[[0-9a-fA-F:]{2,39}\]:[0-9]{1,5})\Z")]


class PullClientSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[pull.client]] One who may pull: its token, and the name its acknowledgements are kept under."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
    token_file: Path


class PullSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[pull] Records for others to fetch. `client_ca`: they show a certificate of this authority, its common name is theirs."""

    listen: Listen
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    client: Annotated[tuple[PullClientSection, ...], Meta(max_length=16)] = ()

    @property
    def address(self) -> tuple[str, int]:
        """Address and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class OcpiSection(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[ocpi] What CDRs say of the place, and whom they are sent to. `url`: the receiver's CDRs module; "" = nobody.

    `country_code` and `party_id` replace those of the tariff. The default place is "not told" (`#NA`), and the CDR says so.
    """

    url: Annotated[str, Meta(max_length=200)] = ""
    version: Literal["2.2.1", "2.3.0"] = "2.2.1"
    token_file: Path | None = None
    ca_file: Path | None = None
    deadline_s: Annotated[int, Meta(ge=1, le=120)] = 30
    country_code: Annotated[str, Meta(pattern=r"^(|[A-Z]{2})\Z")] = ""
    party_id: Annotated[str, Meta(pattern=r"^(|[A-Z0-9]{3})\Z")] = ""
    address: Annotated[str, Meta(min_length=1, max_length=45)] = "#NA"
    city: Annotated[str, Meta(min_length=1, max_length=45)] = "#NA"
    postal_code: Annotated[str, Meta(max_length=10)] = ""
    latitude: Annotated[str, Meta(pattern=r"^-?[0-9]{1,2}\.[0-9]{5,7}\Z")] = "0.0000000"
    longitude: Annotated[str, Meta(pattern=r"^-?[0-9]{1,3}\.[0-9]{5,7}\Z")] = "0.0000000"
    connector_standard: Annotated[str, Meta(pattern=r"^[A-Z0-9_]{1,40}\Z")] = "IEC_62196_T2"
    connector_format: Literal["SOCKET", "CABLE"] = "SOCKET"
    connector_power_type: Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"] = "AC_3_PHASE"


class Config(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


def load(path: Path) -> Config:
    """Read and check a configuration file. ConfigError names file, section, key and reason."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"is not TOML: {error}") from error
    config = decode(raw, Config, path)
    _check_relations(config, path)
    return config


def decode(raw: Any, into: type[T], path: Path) -> T:
    """msgspec.convert with our error form and paths made absolute against the file's folder."""

    def from_text(wanted: type, value: Any) -> Any:
        if wanted is Path and isinstance(value, str) and value.startswith("pkcs11:"):
            return Path(value)  # a key in a token: `drivers.signers.opening` knows it
        if wanted is Path and isinstance(value, str):
            return path.parent.absolute() / Path(value).expanduser()
        raise NotImplementedError(wanted)

    try:
        return msgspec.convert(raw, into, dec_hook=from_text)
    except msgspec.ValidationError as error:
        reason, where = str(error), ""
        if found := re.search(r" - at `(?:key in )?\$\.?(.*)`$", reason):
            reason, where = reason[: found.start()], _place(found[1], raw, into, from_text)
        raise ConfigError(path.name, where, reason) from error


def _place(where: str, raw: Any, into: Any, from_text: Callable[[type, Any], Any]) -> str:
    """msgspec's path as the file writes it: `evse[...].driver` is "[evse.main] driver", `connector[0]` "[[connector]] no. 1"."""
    found = re.fullmatch(r"(\w+)(?:\[(\d+|\.\.\.)\])?(?:\.(.*))?", where)
    if found is None:
        return where
    section, item, key = found[1], found[2], found[3] or ""
    if item is None:
        is_section = isinstance(raw, dict) and isinstance(raw.get(section), (dict, list))
        return f"[{section}] {key}".strip() if key or is_section else section
    if item != "...":
        return f"[[{section}]] no. {int(item) + 1}" + (f": {key}" if key else "")
    kinds, names = get_args(get_type_hints(into).get(section)), list[str]()
    for name, one in raw[section].items() if len(kinds) == 2 else ():
        try:
            msgspec.convert(one, kinds[1], dec_hook=from_text)
        except msgspec.ValidationError:
            names.append(name)
    return f"[{section}.{names[0] if names else '...'}] {key}".strip()


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


def power_up_a(config: Config, connector: ConnectorSection) -> int:
    """What a controller may give by itself after a power-up while nobody talks to it, A: EVSE-WB is set to 0 and read back, a relay
    is open; the others may be released until they are heard."""
    match config.evse[connector.evse]:
        case EvseWbSection() | RelaySection():
            return 0
        case _:
            return connector.max_current_a


def evse_device(section: EvseSection) -> str:
    """The device file a controller needs: serial port or GPIO chip; "" if it is reached over the network."""
    match section:
        case OpenEvseSection() | EvseWbSection():
            return section.port
        case RelaySection():
            return section.chip
        case _:
            return ""


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


def _check_relations(config: Config, path: Path) -> None:
    """What no single key can know."""

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
