"""Paying by phone at the screen: paid in the last moment, lost replies, a crash at every commit; the money oracle holds, and no
page stays behind that somebody could still pay."""

import random

import pytest

from terminal_app.session import charge, checkout, events
from terminal_app.values import Declined, DeclineReason
from tests.simulation.campaign import crash_points, run
from tests.simulation.coverage import Coverage
from tests.simulation.gateways import Gateway
from tests.simulation.oracle import Wrong
from tests.simulation.plan import Plan, Trouble, Visit, drawn_by_phone, standard_by_phone
from tests.simulation.world import World

QUICK_PLANS = 60


def visits(**changes: object) -> list[Visit]:
    return [Visit(plug_first=True, by_phone=True, **changes)]  # type: ignore[arg-type]


def ends(world: World) -> list[tuple[str, bool]]:
    """Pages and payments: how each page ended, and whether its money was taken."""
    return [(one.page, bool(one.captures)) for one in world.bank.pages]


def test_a_page_that_is_paid_starts_the_charge() -> None:
    assert ends(run(Plan("paid", [standard_by_phone()]))) == [("paid", True)]


def test_one_crash_at_every_commit() -> None:
    commits = run(Plan("standard", [standard_by_phone()])).commits
    assert 9 <= commits <= 13
    coverage, hit = Coverage(), 0
    for crash in crash_points(commits):
        hit += len(run(Plan(f"{crash}", [standard_by_phone()], [crash]), coverage).crashes)
    assert hit == commits * 5, "a crash point was not reached"


@pytest.mark.parametrize("moment_ms", [*range(27_500, 33_000, 250)])
def test_paid_while_the_time_runs_out(moment_ms: int) -> None:
    for state, taken in ends(run(Plan(f"late {moment_ms}", visits(pays_after_ms=moment_ms)))):
        assert state in ("paid", "ended") and (state == "paid" or not taken)


@pytest.mark.parametrize("moment_ms", [*range(1_000, 4_000, 300)])
def test_paid_while_the_driver_cancels(moment_ms: int) -> None:
    for way in ("ok", "lost_request", "lost_reply", "slow"):
        run(Plan(f"cancelled {moment_ms} {way}", visits(pays_after_ms=moment_ms, gives_up_ms=2_400, expire=(way,))))


@pytest.mark.parametrize("way", ["lost_request", "lost_reply", "late_answer", "decline", "unreachable"])
def test_a_page_that_does_not_open(way: str) -> None:
    """The driver is told, and the second attempt works."""
    assert ("paid", True) in ends(run(Plan(f"page {way}", visits(page=(way,)))))


@pytest.mark.parametrize("power", [False, True])
def test_the_terminal_dies_while_the_page_is_open(power: bool) -> None:
    for at_ms in range(700, 9_000, 400):
        cut = Trouble("power" if power else "kill", at_ms, 4_000)
        run(Plan(f"dies {at_ms}", visits(sudden=(cut,))))


def test_random_visits_by_phone_with_faults() -> None:
    coverage = Coverage()
    for number in range(QUICK_PLANS):
        run(drawn_by_phone(f"phone {number}"), coverage)
    met = {pair for pair in coverage.pairs if pair[1] == "checkout"}
    assert {pair[2] for pair in met} >= {"Booted", "Ticked", "CheckoutAnswered", "AuthorizationAnswered"}
    print(f"\n{coverage.report()}")


def test_two_crashes_some() -> None:
    chance = random.Random("two crashes by phone")
    points = list(crash_points(12))
    for _ in range(25):
        first, second = sorted(chance.sample(points, 2), key=lambda one: one.commit)
        run(Plan(f"{first} then {second}", [standard_by_phone()], [first, second]))


# --- known-bad terminals must be caught --------------------------------------------------------------------------------


def test_a_page_left_open_after_a_restart_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gateway, "expire", lambda self, account, hold: (account, Declined(DeclineReason.TOO_LATE)))
    with pytest.raises(Wrong, match="still be paid"):
        run(Plan("left", visits(pays_after_ms=-1, sudden=(Trouble("kill", 4_000, 3_000),))))


def test_a_payment_in_the_last_moment_that_is_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that ended paid is taken for one that ended unpaid."""

    def forgets(turn: object, connector: int, event: events.AuthorizationAnswered) -> None:
        checkout._closed(turn, connector, checkout.DeclineReason.TOO_LATE, "", checkout.DeclineWords.PHONE_TIMEOUT)  # type: ignore[arg-type]

    rules = dict(charge.RULES)
    rules[charge.P.CHECKOUT, events.AuthorizationAnswered] = forgets
    monkeypatch.setattr(charge, "RULES", rules)
    with pytest.raises(Wrong, match="held at the bank"):
        run(Plan("forgotten", visits(pays_after_ms=3_000, gives_up_ms=2_900)))
