"""From a session to its cost: the running figure and the frozen bill are the same call of `billing.cost_of`. PURE."""

from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from terminal_app import units
from terminal_app.billing import law
from terminal_app.billing.cost import ChargingPeriod, Cost, cost_of
from terminal_app.billing.tariff import Tariff, dearest_second_price, dearest_session_price, dearest_wh_price, parse_tariff
from terminal_app.session.facts import Mark
from terminal_app.session.state import Session

METER_PERIOD_S = 1
STOP_LATENCY_S = 4


@lru_cache(maxsize=32)
def frozen_tariff(text: str) -> Tariff:
    """The tariff a session carries. It was accepted when the session was opened, so TariffRefused cannot happen."""
    return parse_tariff(text.encode())


def periods_of(session: Session, energy_wh: int, charging_ms: int, parking_ms: int) -> tuple[ChargingPeriod, ...]:
    """Charging periods from the marks to the given register (Wh) and time counters (ms) of the session."""
    end = Mark(0, energy_wh, charging_ms, parking_ms)
    return tuple(
        ChargingPeriod(
            start_utc_ms=begin.utc_ms,
            energy_wh=until.energy_wh - begin.energy_wh,
            charging_ms=until.charging_ms - begin.charging_ms,
            parking_ms=until.parking_ms - begin.parking_ms,
        )
        for begin, until in zip(session.marks, (*session.marks[1:], end), strict=True)
    )


def least_wh(session: Session, country: str) -> int:
    """Less energy than this is not billed in that country: the step of the session's register would be too large a part. What
    is free anyway has no least."""
    return 0 if session.free or session.identity is None else law.smallest_sellable_wh(country, session.identity.resolution_wh)


def cost_until(session: Session, energy_wh: int, charging_ms: int, parking_ms: int, time_zone: str, least_wh: int = 0) -> Cost:
    """What the session costs up to this register value. No energy, or less than `least_wh`: nothing is billed, whatever the
    tariff says."""
    tariff = frozen_tariff(session.tariff)
    if session.start is None or energy_wh <= session.start.energy_wh or energy_wh - session.start.energy_wh < least_wh:
        return cost_of(tariff, (), time_zone)
    return cost_of(tariff, periods_of(session, energy_wh, charging_ms, parking_ms), time_zone)


def margin_minor(tariff: Tariff, max_power_w: int) -> int:
    """How far below the hold the charge must stop: what can still be delivered until the contactor is open, rounded up."""
    seconds = METER_PERIOD_S + STOP_LATENCY_S
    energy_wh = Decimal(max_power_w * seconds) / 3600
    amount = energy_wh * dearest_wh_price(tariff) + seconds * dearest_second_price(tariff)
    return _up(amount, tariff.currency) + 1


def most_minor(tariff: Tariff, energy_wh: int) -> int:
    """The most this energy can cost under a tariff without prices by time, with the session's own price, rounded up."""
    return _up(energy_wh * dearest_wh_price(tariff) + dearest_session_price(tariff), tariff.currency)


def _up(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(units.exponent(currency)).to_integral_value(rounding=ROUND_CEILING))
