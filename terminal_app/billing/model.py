"""The tariff as OCPI 2.3.0 describes it (mod_tariffs), as frozen structs. Prices and VAT are Decimal. PURE.

Units as in OCPI: ENERGY prices per kWh, TIME and PARKING_TIME per hour, FLAT per session; `step_size` in Wh or seconds;
currents in A (sum over phases), powers in kW, durations in seconds, times of day local to the site.
"""

import enum
import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

MAX_ELEMENTS = 200
Text = Annotated[str, Meta(max_length=512)]
ClockTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Annotated[str, Meta(pattern=r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
Instant = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z?$")]
Seconds = Annotated[int, Meta(ge=0, le=366 * 86_400)]


class Dimension(enum.Enum):
    """TariffDimensionType."""

    ENERGY = "ENERGY"
    TIME = "TIME"
    FLAT = "FLAT"
    PARKING_TIME = "PARKING_TIME"


class TaxIncluded(enum.Enum):
    """Whether `price` contains the taxes (2.3.0)."""

    YES = "YES"
    NO = "NO"
    NOT_APPLICABLE = "N/A"


class TariffType(enum.Enum):
    AD_HOC_PAYMENT = "AD_HOC_PAYMENT"
    PROFILE_CHEAP = "PROFILE_CHEAP"
    PROFILE_FAST = "PROFILE_FAST"
    PROFILE_GREEN = "PROFILE_GREEN"
    REGULAR = "REGULAR"


class Weekday(enum.Enum):
    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


WEEKDAYS = tuple(Weekday)  # index = datetime.weekday()


class Reservation(enum.Enum):
    RESERVATION = "RESERVATION"
    RESERVATION_EXPIRES = "RESERVATION_EXPIRES"


class _Ocpi(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    pass


class DisplayText(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    language: Annotated[str, Meta(min_length=2, max_length=2)]
    text: Text


class PriceLimit(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Minimum or maximum of a whole session, major units."""

    before_taxes: Decimal
    after_taxes: Decimal | None = None


class PriceComponent(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`vat` None: no VAT is applicable, which is different from 0 %. `step_size` 0 (as in OCPI's own free tariff): no steps."""

    type: Dimension
    price: Decimal
    vat: Decimal | None = None
    step_size: Annotated[int, Meta(ge=0, le=10_000_000)]

    @property
    def vat_percent(self) -> Decimal:
        return self.vat or Decimal(0)


class TariffRestrictions(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an element is active: every given restriction must hold. min inclusive, max exclusive."""

    start_time: ClockTime | None = None
    end_time: ClockTime | None = None
    start_date: Day | None = None
    end_date: Day | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None
    max_current: Decimal | None = None
    min_power: Decimal | None = None
    max_power: Decimal | None = None
    min_duration: Seconds | None = None
    max_duration: Seconds | None = None
    day_of_week: tuple[Weekday, ...] = ()
    reservation: Reservation | None = None

    @property
    def by_clock(self) -> bool:
        """True if the wall clock decides whether the element is active."""
        return bool(self.start_time or self.end_time or self.start_date or self.end_date or self.day_of_week)

    @property
    def by_power(self) -> bool:
        """True if the momentary power or current decides."""
        return any(x is not None for x in (self.min_current, self.max_current, self.min_power, self.max_power))


NO_RESTRICTION = TariffRestrictions()


class TariffElement(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    price_components: Annotated[tuple[PriceComponent, ...], Meta(min_length=1, max_length=4)]
    restrictions: TariffRestrictions = NO_RESTRICTION

    def component(self, dimension: Dimension) -> PriceComponent | None:
        return next((one for one in self.price_components if one.type is dimension), None)


class EnergySource(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: Text
    percentage: Decimal


class EnvironmentalImpact(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    category: Text
    amount: Decimal


class EnergyMix(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    is_green_energy: bool
    energy_sources: tuple[EnergySource, ...] = ()
    environ_impact: tuple[EnvironmentalImpact, ...] = ()
    supplier_name: Text | None = None
    energy_product_name: Text | None = None


class OcpiTariff(_Ocpi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Tariff object, field by field. `preauthorize_amount` comes from the Payments module (2.3.0-ed2), major units."""

    country_code: Annotated[str, Meta(min_length=2, max_length=2)]
    party_id: Annotated[str, Meta(min_length=3, max_length=3)]
    id: Annotated[str, Meta(min_length=1, max_length=36)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    type: TariffType | None = None
    tariff_alt_text: tuple[DisplayText, ...] = ()
    tariff_alt_url: Text | None = None
    min_price: PriceLimit | None = None
    max_price: PriceLimit | None = None
    preauthorize_amount: Decimal | None = None
    tax_included: TaxIncluded
    elements: Annotated[tuple[TariffElement, ...], Meta(min_length=1, max_length=MAX_ELEMENTS)]
    start_date_time: Instant | None = None
    end_date_time: Instant | None = None
    energy_mix: EnergyMix | None = None
    last_updated: Instant


class Tariff(OcpiTariff, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checked tariff. `raw` is its canonical JSON text (RFC 8785), as embedded in records and fingerprinted."""

    raw: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical form, hex: names this very version of the tariff in every record."""
        return hashlib.sha256(self.raw.encode()).hexdigest()

    @property
    def components(self) -> tuple[PriceComponent, ...]:
        return tuple(one for element in self.elements for one in element.price_components)

    @property
    def is_free(self) -> bool:
        """An explicit zero tariff: every price is 0 and no minimum is asked. Then there is no payment step at all."""
        minimum = self.min_price
        asks = minimum is not None and (minimum.before_taxes > 0 or (minimum.after_taxes or Decimal(0)) > 0)
        return not asks and all(one.price == 0 for one in self.components)

    @property
    def needs_clock(self) -> bool:
        """Prices depend on the time of day, a date or a weekday: only sellable with a trusted clock."""
        return any(element.restrictions.by_clock for element in self.elements)

    @property
    def needs_time(self) -> bool:
        """Time itself is priced, or decides about a price (legally restricted without a certified clock)."""
        timed = (Dimension.TIME, Dimension.PARKING_TIME)
        by_duration = any(e.restrictions.min_duration is not None or e.restrictions.max_duration is not None for e in self.elements)
        return self.needs_clock or by_duration or any(one.type in timed and one.price > 0 for one in self.components)

    def valid_at(self, utc_ms: int) -> bool:
        """True from `start_date_time` (inclusive) until `end_date_time` (exclusive)."""
        begun = self.start_date_time is None or utc_ms_of(self.start_date_time) <= utc_ms
        return begun and (self.end_date_time is None or utc_ms < utc_ms_of(self.end_date_time))


def utc_ms_of(instant: str) -> int:
    """OCPI DateTime (RFC 3339, UTC, `Z` optional) -> UTC ms. ValueError if there is no such moment."""
    moment = datetime.fromisoformat(instant.removesuffix("Z")).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def day_of(text: str) -> date:
    """OCPI date -> date. ValueError if there is no such day."""
    return date.fromisoformat(text)
