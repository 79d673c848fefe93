"""Random visits over all gateways at once, random faults, random crashes; seeded. A failure names its seed:
`run(drawn_everywhere("all 17"))` is that plan again. To the cent: each gateway's books are the signed settlement records and what
is listed for a person; what was billed is what was taken, what nobody could take, and what is listed; every hold has one end.

SIMULATION_SESSIONS=100000 makes it longer (about 35 ms of one core for a session: an hour).
"""

import os
from collections import Counter

import pytest

from tests.simulation import lines
from tests.simulation.campaign import run
from tests.simulation.coverage import Coverage
from tests.simulation.gateways import Account, Adyen, Done, Gateway, Host, Outcome
from tests.simulation.oracle import Wrong
from tests.simulation.plan import Plan, Visit, drawn, drawn_everywhere
from tests.simulation.world import World

SESSIONS = int(os.environ.get("SIMULATION_SESSIONS", "2000"))


def campaign(name: str, sessions: int) -> tuple[Coverage, Counter[str]]:
    """Plans until so many sessions were opened; what was met, and the sums the oracle has compared."""
    coverage, sums, number = Coverage(), Counter[str](), 0
    while sums["sessions"] < sessions:
        world = run(drawn_everywhere(f"{name} {number}"), coverage)
        sums += world.sums
        sums["crashes"] += len(world.crashes)
        number += 1
    told = "; ".join(f"{name} {value}" for name, value in sorted(sums.items()))
    print(f"\n{told}\n{coverage.report()}")
    return coverage, sums


@pytest.mark.timeout(36_000)
def test_two_thousand_sessions_over_all_gateways() -> None:
    coverage, sums = campaign("all", SESSIONS)
    assert len(coverage.triples) > 2000, "the campaign hardly met anything"
    for kind in ("iso8583", "cybersource", "account", "own_reader", "stripe", "adyen"):
        assert sums[f"{kind} captured"] > 0, f"nothing was ever taken through {kind}"
    for name in ("holds reused", "holds rerouted", "holds raised", "own_reader refunded", "released by a person"):
        assert sums[name] > 0, f"{name}: not met"
    assert sums["manual"] > 0 and sums["crashes"] > SESSIONS // 20


@pytest.mark.parametrize("tariff", ["free", "mixed"])
def test_other_tariffs_with_faults(tariff: str) -> None:
    for number in range(12):
        run(drawn(f"{tariff} {number}"), tariff=tariff)


def test_the_same_seed_is_the_same_run() -> None:
    one, two = run(drawn_everywhere("again", 2)), run(drawn_everywhere("again", 2))
    assert (one.turns, one.commits, one.now_ms, one.crashes) == (two.turns, two.commits, two.now_ms, two.crashes)
    assert one.outlet == two.outlet and one.bank.moved == two.bank.moved


def test_a_hold_is_used_to_its_limit_and_not_beyond() -> None:
    visit = Visit(plug_first=True, end="hold", power_w=150_000, authorize=("partial",))
    world = run(Plan("limit", [visit]))
    assert 520 < world.bank.captured_minor <= 550


def charge_at(kind: str, plug_first: bool = True, **changes: object) -> World:
    """One plain charge paid through a gateway of this kind."""
    by_phone = kind in ("stripe", "adyen")
    visit = Visit(plug_first=plug_first, by_phone=by_phone, **changes)  # type: ignore[arg-type]
    return run(Plan(kind, [visit], gateways=(kind,)))


def test_a_confirmation_that_never_comes_ends_as_manual_and_is_listed() -> None:
    world = charge_at("adyen", notices_ms=())
    assert world.sums["manual"] > 0 and world.sums["adyen captured"] == 0 and world.bank.captured_minor == world.sums["manual"]


def test_a_hold_that_lapsed_untold_is_listed_as_lost() -> None:
    world = charge_at("own_reader", lapses_after_ms=12_000)
    assert world.sums["manual"] > 0 and world.bank.captured_minor == 0


def test_a_hold_whose_end_is_told_is_taken_in_time() -> None:
    world = charge_at("cybersource", lapses_after_ms=40_000, charge_ms=120_000)
    assert world.sums["manual"] == 0 and world.sums["cybersource captured"] > 0


def test_an_account_is_paid_from_its_slice_while_the_office_is_away() -> None:
    world = charge_at("account", authorize=("unreachable",))
    assert "slice" in world.faults and world.sums["account captured"] == world.bank.captured_minor > 0


# --- known-bad gateways and adapters must be caught ------------------------------------------------------------------------


def taken_twice(self: Gateway, account: Account, hold: object, step: object, utc_ms: int) -> Done:
    """A capture whose reply was lost is taken for a new one."""
    account, answer = CAPTURE(self, account, hold, step, utc_ms)  # type: ignore[arg-type]
    return lines.replace(account, captures=(*account.captures, *account.captures[:1])), answer


CAPTURE = Gateway.capture


def test_money_taken_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gateway, "capture", taken_twice)
    with pytest.raises(Wrong, match="captured twice"):
        charge_at("own_reader")


def test_one_cent_less_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: Gateway, account: Account, hold: object, step: object, utc_ms: int) -> Done:
        account, answer = CAPTURE(self, account, hold, step, utc_ms)  # type: ignore[arg-type]
        return lines.replace(account, captures=tuple((key, amount - 1) for key, amount in account.captures)), answer

    monkeypatch.setattr(Gateway, "capture", short)
    with pytest.raises(Wrong, match="captured"):
        charge_at("own_reader")


def test_received_taken_for_done_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that believes `received`: the capture failed afterwards."""

    def failing(self: Adyen, account: Account, step: object, answer: Outcome) -> Done:
        return lines.replace(account, captures=(), received=()), answer

    monkeypatch.setattr(Adyen, "_received", failing)
    with pytest.raises(Wrong, match="captured"):
        charge_at("adyen")


def test_a_release_that_did_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "void", lambda self, account, hold, step, utc_ms: (account, lines.Approved(step.amount_minor, {})))
    with pytest.raises(Wrong, match="held at the bank"):
        charge_at("iso8583", plug_first=False, never_plugs=True)
