"""One supply for several connectors: what each gets, and that all together never draw more, whatever comes, goes or is silent."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal_app.config import Config
from terminal_app.errors import ConfigError
from terminal_app.session import events, grid, limits, machine
from terminal_app.session import facts as f
from terminal_app.session.actions import EvseWish
from terminal_app.session.grid import Claim, shares
from terminal_app.session.state import State, Terms, initial
from terminal_app.values import EvseStatus, MeterValue, Pilot
from tests.simulation import stage
from tests.simulation.rules import IDENTITY, SERIAL

STEP_MS = 500


def claims(*most_a: int, least_a: int = 6, priorities: tuple[int, ...] = ()) -> list[Claim]:
    return [
        Claim(number, least_a, most, (-(priorities[number - 1] if priorities else 0), number, number))
        for number, most in enumerate(most_a, 1)
    ]


@pytest.mark.parametrize(
    ("budget", "most", "split", "given_a"),
    [
        (32, (32, 32), "equal", (16, 16)),
        (33, (32, 32), "equal", (17, 16)),
        (32, (10, 32), "equal", (10, 22)),  # what one cannot use is the other's
        (80, (32, 32), "equal", (32, 32)),
        (11, (32, 32), "equal", (11, 0)),  # less than 6 A for the second: it pauses
        (17, (32, 32, 32), "equal", (9, 8, 0)),
        (5, (32,), "equal", (0,)),
        (0, (32, 32), "equal", (0, 0)),
        (-9, (32, 32), "priority", (0, 0)),
        (32, (32, 32), "priority", (26, 6)),
        (50, (32, 32), "priority", (32, 18)),
        (11, (32, 32), "priority", (11, 0)),
    ],
)
def test_shares_by_hand(budget: int, most: tuple[int, ...], split: str, given_a: tuple[int, ...]) -> None:
    assert shares(budget, claims(*most), split) == dict(enumerate(given_a, 1))


def test_priority_goes_before_who_came_first() -> None:
    assert shares(17, claims(32, 32, 32, priorities=(0, 0, 9)), "equal") == {1: 8, 2: 0, 3: 9}
    assert shares(40, claims(32, 32, 32, priorities=(0, 0, 9)), "priority") == {1: 6, 2: 6, 3: 28}


@given(
    st.integers(-20, 200),
    st.lists(st.tuples(st.integers(6, 80), st.integers(6, 63), st.integers(0, 9)), max_size=8),
    st.sampled_from(["equal", "priority"]),
)
def test_no_share_is_above_the_budget_or_between_nothing_and_the_least(
    budget: int, raw: list[tuple[int, int, int]], split: str
) -> None:
    found = [Claim(n, min(a, b), max(a, b), (-prio, n, n)) for n, (a, b, prio) in enumerate(raw, 1)]
    given_a = shares(budget, found, split)
    assert given_a.keys() == {one.connector for one in found} and sum(given_a.values()) <= max(0, budget)
    for one in found:
        assert given_a[one.connector] == 0 or one.least_a <= given_a[one.connector] <= one.most_a
    served = [one for one in found if given_a[one.connector]]
    if sum(given_a.values()) < budget:  # nothing is left over that somebody could use
        assert all(given_a[one.connector] == one.most_a for one in served)


# --- the way there ----------------------------------------------------------------------------------------------------


def site_config(connectors: int, limit_a: int, split: str = "equal", driver: str = "evse-wb", priorities: Any = ()) -> Config:
    evse = {
        f"e{n}": {"driver": driver, "port": f"/dev/evse{n}"} | ({"unit": n} if driver == "evse-wb" else {})
        for n in range(1, connectors + 1)
    }
    config = stage.configuration(connectors, sections={"grid": {"limit_a": limit_a, "split": split}, "evse": evse})
    told = tuple(msgspec.structs.replace(one, priority=priorities[one.number - 1] if priorities else 0) for one in config.connector)
    return msgspec.structs.replace(config, connector=told)


@dataclass
class Controller:
    """A controller behind its worker: obeys the newest wish when it has the time, and says what it does."""

    applied: EvseWish = field(default_factory=lambda: EvseWish(False, 0))
    busy: EvseWish | None = None  # being obeyed: for as long both may be true
    left_ms: int = 0
    slow_ms: int = 0
    lost: bool = False
    car: bool = True
    late: deque[EvseStatus] = field(default_factory=deque)

    @property
    def drawn_a(self) -> int:
        """The most it may draw now."""
        return max((one.limit_a for one in (self.applied, self.busy) if one is not None and one.authorized), default=0)


class Site:
    """The rules and some controllers, half a second at a time."""

    def __init__(self, config: Config) -> None:
        self.config, self.clock = config, stage.FakeClock()
        self.base = stage.terms(config, self.clock, stage.Chance())
        self.state: State = initial(config)
        self.controllers = {one.number: Controller() for one in config.connector}
        self.facts: list[f.Fact] = []
        self.number = 0
        assert config.grid is not None
        self.limit_a = config.grid.limit_a
        self.step(4)

    def terms(self) -> Terms:
        return msgspec.structs.replace(self.base, now=self.clock.now())

    def feed(self, event: events.Event) -> None:
        turn = machine.decide(self.state, event, self.terms())
        self.state = turn.state
        self.facts += turn.facts

    def commit(self, fact: f.Fact) -> None:
        self.facts.append(fact)
        self.state = machine.evolve(self.state, fact, self.clock.now())

    def arrive(self, connector: int) -> None:
        if connector in self.state.sessions:
            return
        self.number += 1
        session_id, now, tariff = f"s{self.number}", self.clock.now(), stage.tariff("free")
        value = MeterValue(1000, 0, SERIAL, now)
        self.commit(f.SessionOpened(session_id, connector, tariff.raw, tariff.fingerprint, True, "en", now.mono_ms + 60_000))
        self.commit(f.StartRegistered(session_id, value, value, IDENTITY))
        self.feed(events.Ticked())

    def leave(self, connector: int) -> None:
        session = self.state.sessions.get(connector)
        if session is None:
            return
        self.feed(events.StopCommanded(connector, f.StopReason.REMOTE, "test", ""))
        self.commit(f.SessionAborted(session.session_id, f.StopReason.REMOTE))

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(STEP_MS)
            for number, one in self.controllers.items():
                self.work(number, one)
                self.check()
            for number in self.config.connector:
                if number.number in self.state.sessions and self.state.live[number.number].meter is not None:
                    self.feed(events.MeterReported(number.number, MeterValue(1000, 0, SERIAL, self.clock.now())))
            self.feed(events.Ticked())
            self.check()

    def work(self, number: int, one: Controller) -> None:
        """One look of the worker: it takes the newest wish, obeys for as long as it takes, then reports."""
        if one.lost:
            return
        if one.busy is None:
            one.busy, one.left_ms = machine.evse_wishes(self.state, self.terms())[number], one.slow_ms
        one.left_ms -= STEP_MS
        if one.left_ms > 0:
            return
        one.applied, one.busy = one.busy, None
        on = one.applied.authorized
        pilot = Pilot.C if on and one.car else Pilot.B
        status = EvseStatus(pilot, on and one.car, on, one.applied.limit_a if on else 0, self.clock.now())
        one.late.append(status)
        if len(one.late) > one.slow_ms // 1000:
            self.feed(events.EvseReported(number, one.late.popleft()))

    def check(self) -> None:
        drawn = {number: one.drawn_a for number, one in self.controllers.items()}
        assert sum(drawn.values()) <= self.limit_a, f"{drawn} of {self.limit_a} A"

    def share(self, connector: int) -> int:
        return limits.in_force_a(self.state, self.config, connector)


def test_who_comes_waits_for_the_lower_figure_of_who_is_there() -> None:
    site = Site(site_config(2, 32))
    site.arrive(1)
    assert site.share(1) == 32
    site.step(2)
    site.arrive(2)
    assert (site.share(1), site.share(2)) == (16, 0), "first lowered, not yet given away"
    site.step(2)
    assert (site.share(1), site.share(2)) == (16, 16)
    site.leave(2)
    site.step(40)
    assert site.share(1) == 32
    said = [(one.connector, one.limit_a, one.in_force_a) for one in site.facts if isinstance(one, f.LimitSet)]
    assert said == [(1, 32, 32), (1, 16, 16), (2, 0, 0), (2, 16, 16), (1, 32, 32)], "a fact per change, and no other"


def test_changes_stand_in_the_session_they_are_of() -> None:
    site = Site(site_config(2, 32))
    site.arrive(1)
    site.step(2)
    site.arrive(2)
    site.step(2)
    assert [one.limit_a for one in site.state.sessions[1].limits] == [32, 16]
    assert [(one.limit_a, one.source) for one in site.state.sessions[2].limits] == [(0, "grid"), (16, "grid")]


def test_a_silent_controller_keeps_its_amperes_until_it_is_heard() -> None:
    site = Site(site_config(2, 20))
    site.arrive(1)
    site.step(2)
    site.controllers[1].lost = True
    site.leave(1)
    site.arrive(2)
    site.step(60)
    assert site.share(2) == 0, "20 A may still flow at the silent one"
    site.controllers[1].lost = False
    site.step(30)
    assert site.share(2) == 20


def test_what_a_controller_said_before_its_last_change_frees_nothing() -> None:
    site = Site(site_config(2, 20))
    old = EvseStatus(Pilot.B, False, False, 0, site.clock.now())
    site.arrive(1)
    site.step(2)
    site.controllers[1].slow_ms = 3_000
    site.leave(1)
    site.feed(events.EvseReported(1, old))  # made before it charged, read after it was told to stop
    site.arrive(2)
    assert site.share(2) == 0
    site.controllers[1].slow_ms = 0
    site.step(8)
    assert site.share(2) == 20


def test_a_silent_controller_that_charges_does_not_keep_the_rest_from_others() -> None:
    site = Site(site_config(2, 40))
    site.arrive(1)
    site.step(2)
    site.controllers[1].lost = True
    site.arrive(2)
    site.step(14)
    assert (site.controllers[1].drawn_a, site.share(2)) == (32, 8)


def test_a_board_that_starts_released_counts_with_all_it_may_give_while_it_is_silent() -> None:
    site = Site(site_config(2, 40, driver="openevse"))
    site.controllers[2].lost = True
    site.arrive(1)
    site.step(2)
    assert site.share(1) == 32, "it was heard a moment ago, and it was open"
    site.step(12)
    assert site.share(1) == 8
    site.controllers[2].lost = False
    site.step(30)
    assert site.share(1) == 32


def test_a_car_that_wants_nothing_keeps_the_least_and_gets_its_share_again() -> None:
    site = Site(site_config(2, 40))
    site.arrive(1)
    site.arrive(2)
    site.step(4)
    site.controllers[1].car = False
    site.step(2 * (grid.IDLE_MS // 1000) + 8)
    assert (site.share(1), site.share(2)) == (6, 32)
    site.controllers[1].car = True
    site.step(40)
    assert (site.share(1), site.share(2)) == (20, 20)


def test_an_order_by_people_is_the_ceiling_of_the_share() -> None:
    site = Site(site_config(2, 40))
    site.feed(events.LimitOrdered(1, 10, "office", "office", "cable"))
    site.arrive(1)
    site.arrive(2)
    site.step(4)
    assert (site.share(1), site.share(2)) == (10, 30)
    site.feed(events.LimitOrdered(1, 0, "office", "office", "cable"))
    site.step(30)
    assert (site.share(1), site.share(2)) == (0, 32)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "leave", "lose", "return", "slow", "fast", "car", "wait", "order"]),
        st.integers(1, 4),
        st.integers(1, 40),
    ),
    max_size=40,
)


def campaign(limit_a: int, split: str, priorities: tuple[int, ...], actions: list[tuple[str, int, int]]) -> None:
    site = Site(site_config(4, limit_a, split, priorities=priorities))
    for name, connector, number in actions:
        one = site.controllers[connector]
        match name:
            case "arrive":
                site.arrive(connector)
            case "leave":
                site.leave(connector)
            case "lose" | "return":
                one.lost = name == "lose"
            case "slow" | "fast":
                one.slow_ms = 100 * number if name == "slow" else 0
            case "car":
                one.car = not one.car
            case "order":
                site.feed(events.LimitOrdered(connector, number, "office", "office", "any"))
            case _:
                site.step(number)
        site.step()
    for one in site.controllers.values():
        one.lost, one.slow_ms, one.car = False, 0, True
    site.step(60)
    expected = [number for number in site.state.sessions if limits.allowed_a(site.state, site.config, number)]
    assert bool(sum(map(site.share, expected))) == bool(expected), "when all is calm again somebody charges"


CASE = (st.integers(6, 100), st.sampled_from(["equal", "priority"]), st.tuples(*[st.integers(0, 2)] * 4), ACTIONS)


@given(*CASE)
@settings(max_examples=30, deadline=None)
def test_never_above_the_limit_whatever_happens(limit_a: int, split: str, priorities: Any, actions: Any) -> None:
    campaign(limit_a, split, priorities, actions)


@pytest.mark.full
@given(*CASE)
@settings(max_examples=1500, deadline=None)
def test_never_above_the_limit_in_a_long_campaign(limit_a: int, split: str, priorities: Any, actions: Any) -> None:
    campaign(limit_a, split, priorities, actions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit_a": 6, "min_a": 8}, "below the 8 A"),
        ({"limit_a": 100, "min_a": 40}, "above max_current_a"),
    ],
)
def test_a_supply_that_cannot_serve_a_connector_stops_the_start(change: dict[str, int], words: str, tmp_path: Any) -> None:
    from terminal_app import config
    from tests.sessions import runtime_dir, site_files

    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        lines = "\n".join(f"{key} = {value}" for key, value in change.items())
        path.write_text(f'{path.read_text()}\n[grid]\nsplit = "equal"\n{lines}\n')
        with pytest.raises(ConfigError, match=words):
            config.load(path)
