"""Random sessions by random tariffs, cent for cent against an oracle that shares no code with the product.

10 000 sessions; CHARGE_CAMPAIGN=1000000 makes it as many as one likes, CHARGE_SEED another world. A failure names its seed.
"""

import os
import random
from decimal import Decimal
from typing import Any

import pytest

from terminal_app.billing.cost import ChargingPeriod, cost_of, next_boundary
from terminal_app.billing.tariff import Tariff, parse_tariff
from terminal_app.screens import PriceKind
from tests.unit import billing_oracle as oracle
from tests.unit.billing_samples import HOUR_MS, as_json, document

SESSIONS = int(os.environ.get("CHARGE_CAMPAIGN", "10000"))
SEED = int(os.environ.get("CHARGE_SEED", "20260105"))
PER_TARIFF = 20
BATCHES = 8
ZONES = ("Europe/Berlin", "America/New_York", "UTC", "Asia/Kathmandu", "Australia/Lord_Howe")
KINDS = {PriceKind.ENERGY: "ENERGY", PriceKind.TIME: "TIME", PriceKind.PARKING: "PARKING_TIME", PriceKind.FLAT: "FLAT"}
STARTS = (1_767_225_600_000, 1_774_738_800_000, 1_792_879_200_000, 1_835_391_600_000)  # winter, both DST changes, a leap day
DAYS = list(oracle.DAYS)


def random_tariff(chance: random.Random) -> dict[str, Any]:
    included = chance.choice(("YES", "YES", "NO", "N/A"))
    rates = [None] if included == "N/A" else [None, "0", "7", "19", "20", "5.2", "25.5"]

    def component(kind: str) -> dict[str, Any]:
        top = {"ENERGY": 12_000, "TIME": 90_000, "PARKING_TIME": 120_000, "FLAT": 30_000}[kind]
        price = Decimal(chance.choice((0, chance.randrange(top), chance.randrange(top)))).scaleb(-chance.choice((2, 3, 4)))
        steps = {"ENERGY": (0, 1, 1, 100, 500), "FLAT": (0, 1)}.get(kind, (0, 1, 1, 60, 300, 900))
        found = {"type": kind, "price": price, "step_size": chance.choice(steps)}
        rate = chance.choice(rates)
        return found if rate is None else found | {"vat": Decimal(rate)}

    def restrictions() -> dict[str, Any]:
        found: dict[str, Any] = {}
        if chance.random() < 0.4:
            hours = chance.sample(range(24), 2)
            found |= {"start_time": f"{hours[0]:02d}:{chance.choice((0, 15, 30)):02d}", "end_time": f"{hours[1]:02d}:00"}
        if chance.random() < 0.2:
            found["day_of_week"] = chance.sample(DAYS, chance.randrange(1, 6))
        if chance.random() < 0.3:
            found[chance.choice(("min_kwh", "max_kwh"))] = Decimal(chance.randrange(1, 60_000)).scaleb(-3)
        if chance.random() < 0.3:
            found[chance.choice(("min_duration", "max_duration"))] = chance.randrange(60, 20_000)
        return found

    elements = []
    for _ in range(chance.randrange(1, 5)):
        kinds = chance.sample(("ENERGY", "TIME", "PARKING_TIME", "FLAT"), chance.randrange(1, 4))
        element: dict[str, Any] = {"price_components": [component(kind) for kind in kinds]}
        if limits := restrictions():
            element["restrictions"] = limits
        elements.append(element)
    return document(*elements, included=included, currency=chance.choice(("EUR", "EUR", "USD", "GBP", "JPY", "KWD")))


def random_periods(chance: random.Random, sold: Tariff, zone: str) -> list[oracle.Period]:
    """A session with a reading wherever the price may change, as the terminal makes them; and at other times, too."""
    at = chance.choice(STARTS) + chance.randrange(3 * 24 * HOUR_MS)
    found: list[oracle.Period] = []
    energy_wh = duration_ms = 0
    for parking in (False, True):
        left = chance.choice((0, 1, chance.randrange(HOUR_MS), chance.randrange(9 * HOUR_MS)))
        while left > 0:
            span, wh = min(left, chance.randrange(1, 3 * HOUR_MS)), 0 if parking else chance.randrange(40_000)
            ahead = next_boundary(sold, at, energy_wh, duration_ms // 1000, zone)
            if ahead.utc_ms is not None:
                span = min(span, ahead.utc_ms - at)
            if ahead.duration_s is not None:
                span = min(span, ahead.duration_s * 1000 - duration_ms)
            if ahead.energy_wh is not None:
                wh = min(wh, ahead.energy_wh - energy_wh)
            found.append((at, wh, 0 if parking else span, span if parking else 0))
            at, left, energy_wh, duration_ms = at + span, left - span, energy_wh + wh, duration_ms + span
    return found


def one_bill(seed: int) -> None:
    """`PER_TARIFF` sessions by one tariff."""
    chance = random.Random(seed)
    plain, zone = random_tariff(chance), chance.choice(ZONES)
    sold = parse_tariff(as_json(plain))
    for number in range(PER_TARIFF):
        periods = random_periods(chance, sold, zone)
        cost = cost_of(sold, [ChargingPeriod(*one) for one in periods], zone)
        wanted = oracle.price(plain, periods, zone)
        found = {(KINDS[line.kind], line.element): line.gross_minor for line in cost.lines}
        said = f"seed {seed}, session {number}: {zone} {plain} {periods}"
        assert found == wanted.gross, said
        assert {(KINDS[line.kind], line.element): line.vat_minor for line in cost.lines} == wanted.vat, said
        assert cost.total_minor == wanted.total == cost.net_minor + cost.vat_minor, said
        assert not any(line.late for line in cost.lines), said
        running = [cost_of(sold, [ChargingPeriod(*one) for one in periods[:n]], zone).energy_wh for n in (0, len(periods))]
        assert running == [0, sum(wh for _, wh, _, _ in periods)], said


@pytest.mark.timeout(0 if SESSIONS > 10_000 else 300)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_sessions_are_cent_exact(batch: int) -> None:
    tariffs = -(-SESSIONS // PER_TARIFF)
    for number in range(batch, tariffs, BATCHES):
        one_bill(SEED * 1_000_000 + number)


@pytest.mark.parametrize("seed", range(300))
def test_price_limits_hold_and_lines_still_add_up(seed: int) -> None:
    """Least and most, before and after taxes separately (OCPI); rounding may cost a minor unit per VAT rate, no more."""
    chance = random.Random(seed)
    plain, zone = random_tariff(chance), "UTC"
    free = parse_tariff(as_json(plain))
    periods = [ChargingPeriod(*one) for one in random_periods(chance, free, zone)]
    before = cost_of(free, periods, zone)
    if not periods:
        return
    ten = 10 ** oracle.DECIMALS[plain["currency"]]
    for name, sign in (("max_price", 1), ("min_price", -1)):
        net = Decimal(chance.randrange(1, 2 * before.net_minor + 500)) / ten
        gross = net * chance.choice((Decimal("1"), Decimal("1.1"), Decimal("1.3")))
        limit = {"before_taxes": net} | ({"after_taxes": gross} if chance.random() < 0.7 else {})
        sold = parse_tariff(as_json(plain | {name: {key: round(value, 6) for key, value in limit.items()}}))
        cost = cost_of(sold, periods, zone)
        said = f"seed {seed}: {name} {limit} {plain} {periods}"
        slack = len({line.vat_percent for line in cost.lines}) + len(cost.lines)
        assert cost.net_minor + cost.vat_minor == cost.total_minor == sum(line.gross_minor for line in cost.lines), said
        assert sign * cost.net_minor <= sign * net * ten + slack, said
        if "after_taxes" in limit:
            assert sign * cost.total_minor <= sign * limit["after_taxes"] * ten + slack, said
        assert sign * cost.total_minor <= sign * before.total_minor, said  # a maximum never adds, a minimum never takes away


def test_the_oracle_would_notice_a_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The known-bad variants: rounding down, a step forgotten, a boundary inclusive instead of exclusive."""
    from terminal_app import units
    from terminal_app.billing import matching, volumes

    def campaign() -> None:
        for number in range(40):
            one_bill(number)

    campaign()
    for target, name, wrong in (
        (units, "half_up", lambda amount, currency: int(amount.scaleb(units.exponent(currency)))),
        (volumes, "_apply_steps", lambda tally: None),
        (matching, "_clock_holds", lambda one, local: True),
    ):
        with monkeypatch.context() as patch, pytest.raises(AssertionError, match="seed"):
            patch.setattr(target, name, wrong)
            campaign()
