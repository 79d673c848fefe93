"""Sections for what moves money: gateways, the way to them, the operator's risk and the operator's choices."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from terminal_app.config.section import Name, Port, Seconds, Section


class Iso8583Section(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="iso8583"):
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


class StripeSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="stripe"):
    """[gateway.NAME] kind = "stripe": Checkout pages with manual capture (QR)."""

    secret_key_file: Path
    url: Name = "https://api.stripe.com"
    return_url: Name  # where the phone goes after paying, e.g. the office's thank-you page
    ca_file: Path | None = None


class AdyenSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="adyen"):
    """[gateway.NAME] kind = "adyen": payment links (QR); captures are confirmed by notifications the office relays."""

    api_key_file: Path
    hmac_key_file: Path
    merchant_account: Name
    url: Name  # the Checkout API's base address of this account
    return_url: Name
    ca_file: Path | None = None


class CyberSourceSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="cybersource"):
    """[gateway.NAME] kind = "cybersource": Visa Acceptance REST with raw EMV data (tap). HTTP signature."""

    merchant_id: Name
    key_id: Name
    shared_secret_file: Path
    url: Name = "https://api.cybersource.com"
    terminal_id: Annotated[str, Meta(pattern=r"^[A-Z0-9]{8}$")]
    increments: bool = False  # your contract and its processor have incremental authorization
    ca_file: Path | None = None


class AccountSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="account"):
    """[gateway.NAME] kind = "account": prepaid and fleet accounts kept by the office.

    Slices: money of a card's account that the office sets aside for this terminal, so that the card can pay here offline.
    """

    url: Name
    token_file: Path
    ca_file: Path | None = None
    slice_minor: Annotated[int, Meta(ge=0, le=100_000_000)] = 0  # set aside for each card that paid online here; 0 = never
    slice_days: Annotated[int, Meta(ge=1, le=30)] = 7  # then it goes back, if it was not used
    slices_most: Annotated[int, Meta(ge=1, le=1000)] = 100  # so many cards at once


class AccountPageSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="account-page"):
    """[gateway.NAME] kind = "account-page": the same accounts by phone (QR), on a page of the office."""

    url: Name
    token_file: Path
    ca_file: Path | None = None


TAP_KINDS = (Iso8583Section, CyberSourceSection, AccountSection)


CHECKOUT_KINDS = (StripeSection, AdyenSection, AccountPageSection)
"""Pages for the driver's phone. That Adyen's is paid is told by a notification, which the office relays."""


GatewaySection = Iso8583Section | StripeSection | AdyenSection | CyberSourceSection | AccountSection | AccountPageSection


class RoutingSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[routing] Which gateway takes what, in order of preference; the next one serves while the one before is out of reach.

    Absent lists: all gateways of the kind, in the order of their sections. `brands`: lists of their own for single brands
    (lower case, as the card's application label group: "mastercard", "visa", "amex", ...), instead of `cards`.
    """

    cards: tuple[Name, ...] = ()
    phones: tuple[Name, ...] = ()
    brands: dict[str, tuple[Name, ...]] = {}


class OfflineSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[offline] Charging while the gateway is out of reach, on the operator's risk. Without this section: never.

    Only for cards of account gateways that proved themselves by chip (`CardFacts.authenticated`): bank cards cannot be asked
    for money later without keeping what must not be kept. What is charged becomes a receivable of the account.
    """

    card_minor: Annotated[int, Meta(ge=1, le=100_000_000)]  # most a card may owe at once, and most a charge may cost
    terminal_minor: Annotated[int, Meta(ge=1, le=100_000_000)]  # most this terminal may be owed at once
    card_sessions: Annotated[int, Meta(ge=1, le=100)] = 3  # charges per card within `within_s`
    within_s: Annotated[int, Meta(ge=60)] = 86_400


class PolicySection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
