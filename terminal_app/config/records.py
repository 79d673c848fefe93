"""Sections for what becomes of records: keys, law and tariffs they rest on, and who gets them."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from terminal_app.config.section import Name, Seconds, Section


class KeysSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[keys] PEM files (PKCS#8, P-256) or PKCS#11 URIs (drivers/signers/pkcs11.py): `record` signs the JWS chain, `ocmf` the
    terminal-made OCMF. Never the same key.

    `previous_record`: the record key before this one; it hands the chain over by a key-change record and may then be left out.
    `change_reason` stands in that record.
    """

    record: Path
    ocmf: Path
    previous_record: Path | None = None
    change_reason: Annotated[str, Meta(max_length=200)] = ""


class LawOverride(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[law.override]] Somebody answers for selling against a rule of the law pack: a fact of the ledger, seen by the office."""

    rule: Name
    by: Name
    why: Annotated[str, Meta(min_length=1, max_length=200)]


class LawSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[law] What the law pack cannot know by itself."""

    clock_approved: bool = False  # the type approval covers the clock: its time may decide about prices
    override: Annotated[tuple[LawOverride, ...], Meta(max_length=32)] = ()

    @property
    def overridden(self) -> frozenset[str]:
        return frozenset(one.rule for one in self.override)


class TariffsSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[tariffs] `public_key` (PEM): the operator's. With it only what it signed is sold by; without it local files may be
    unsigned, and tariffs from outside need the office's signature."""

    public_key: Path | None = None


class OfficeSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class SyncSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[sync] What the carrier offers to the site. `listen`: ADDRESS:PORT for metrics and a page about this terminal."""

    listen: Annotated[str, Meta(pattern=r"^(|[0-9.]{7,15}:[0-9]{1,5}|\[[0-9a-fA-F:]{2,39}\]:[0-9]{1,5})\Z")] = ""  # "" = off

    @property
    def address(self) -> tuple[str, int] | None:
        """Address and port; None = do not listen."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if self.listen else None


Listen = Annotated[str, Meta(pattern=r"^([0-9.]{7,15}:[0-9]{1,5}|\[[0-9a-fA-F:]{2,39}\]:[0-9]{1,5})\Z")]


class PullClientSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[pull.client]] One who may pull: its token, and the name its acknowledgements are kept under."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
    token_file: Path


class PullSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class OcpiSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
