"""Whether a connector may be sold by a tariff here: the law pack asked with what this terminal is. PURE.

A rule that somebody answers for by name (`[[law.override]]`) is left out; that stands in the ledger.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from terminal_app.billing import law
from terminal_app.billing.tariff import Tariff, parse_tariff
from terminal_app.config import Config
from terminal_app.session.bill import margin_minor
from terminal_app.session.state import State, Terms
from terminal_app.values import ClockState, Stamp


def breaches(state: State, terms: Terms, connector: int) -> tuple[law.Breach, ...]:
    """What is against selling this connector by its present tariff; empty = nothing is known."""
    tariff = terms.tariffs.get(connector)
    if tariff is None:
        return ()
    return against(terms.config, connector, tariff, connector in terms.signing, state.live[connector].resolution_wh, terms.now)


def against(
    config: Config, connector: int, tariff: Tariff, signed: bool, resolution_wh: int, now: Stamp | None
) -> tuple[law.Breach, ...]:
    """The same for any tariff. While nobody vouches for the clock (or `now` is None) every rule binds, whatever its first day.

    `resolution_wh` 0: the meter has not told it yet; then nothing is sold anyway.
    """
    place = config.outlet(connector)
    return _verdict(
        tariff.raw,
        config.terminal.country,
        place.max_power_w,
        signed,
        config.law.clock_approved,
        _day(now, config.terminal.time_zone),
        max(1, resolution_wh),
        config.law.overridden,
    )


def refusal(config: Config, connector: int, tariff: Tariff) -> str:
    """Why this terminal cannot sell by a tariff, whatever the law says; "" if it can."""
    currency = config.terminal.currency
    if tariff.currency != currency:
        return f"it is in {tariff.currency}, the terminal sells in {currency}"
    if where := priced_by_flow(tariff):
        return f"{where}: a price by power or current needs readings that no receipt here could prove; use time or energy"
    place = config.outlet(connector)
    margin, hold = margin_minor(tariff, place.max_power_w), config.policy.hold_minor
    if not tariff.is_free and margin >= hold:
        return f"[policy] hold_minor: {hold} is used up while a charge at {place.max_power_w} W stops ({margin}): hold more"
    return ""


def priced_by_flow(tariff: Tariff) -> str:
    """The first element whose price depends on the momentary power or current; "" if none does."""
    places = (f"elements[{index}].restrictions" for index, one in enumerate(tariff.elements) if one.restrictions.by_power)
    return next(places, "")


def said(found: tuple[law.Breach, ...]) -> str:
    """For a technician: every broken rule with where, why and its citation."""
    return "; ".join(f"{one.where}: {one.why} ({one.rule}: {one.citation})" for one in found)


def _day(now: Stamp | None, time_zone: str) -> date:
    if now is None or now.clock is not ClockState.SYNCHRONISED:
        return date.max
    return datetime.fromtimestamp(now.utc_ms // 1000, UTC).astimezone(ZoneInfo(time_zone)).date()


@lru_cache(maxsize=64)
def _verdict(
    text: str,
    country: str,
    power_w: int,
    signed: bool,
    clock_approved: bool,
    at: date,
    resolution_wh: int,
    overridden: frozenset[str],
) -> tuple[law.Breach, ...]:
    tariff = parse_tariff(text.encode())  # it was read before, or it would not be sold by
    return law.verdict(tariff, country, Decimal(power_w) / 1000, signed, clock_approved, at, resolution_wh, overridden)
