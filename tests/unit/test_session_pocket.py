"""The pocket's arithmetic: no order of holds uses a slice beyond its amount, and what is not needed goes back in time."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal_app.engine.inbox import Inbox
from terminal_app.screens import Button
from terminal_app.session import events, pocket, sale
from terminal_app.session import facts as f
from terminal_app.session.pocket import DenyList, Slices, Taken
from terminal_app.session.state import Phase
from terminal_app.values import Approved, Device, Fault
from terminal_app.workers.reach import Reach
from tests.simulation.rules import Rules
from tests.unit.pocket_samples import CARD, DAY_MS, GATEWAY, OTHER, T0, a_kept, account_configuration, an_intent

ON, NOBODY = {GATEWAY}, DenyList()
MANUAL, CAPTURED, VOIDED = f.Terminated.MANUAL, f.Terminated.CAPTURED, f.Terminated.VOIDED


def holding(*kept: f.SliceKept) -> Slices:
    slices = Slices()
    for one in kept:
        slices = pocket.kept(slices, one)
    return slices


def take(slices: Slices, key: str, amount: int = 6000, now: int = T0, card: str = CARD, denied: DenyList = NOBODY) -> Slices:
    found = pocket.best(slices, denied, GATEWAY, card, "EUR", amount, now)
    return slices if found is None else pocket.reserved(slices, key, found)


def due(slices: Slices, now: int = T0, denied: DenyList = NOBODY, on: Any = frozenset(ON)) -> list[str]:
    return [one.slice_id for one in pocket.chores(slices, denied, on, now) if one.slice_id]


steps = st.lists(
    st.tuples(st.sampled_from(["take", "settle", "captured", "voided", "manual"]), st.integers(0, 5), st.integers(1, 5000))
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_whatever_happens_a_slice_is_never_used_beyond_its_amount(acts: list[tuple[str, int, int]]) -> None:
    """Beside it a plain count of what each hold may have cost the account."""
    slices, cost = holding(a_kept(1), a_kept(2, amount_minor=700)), dict[str, int]()
    over = set[str]()
    for number, (act, hold, amount) in enumerate(acts):
        key = f"h{hold}"
        if act == "take" and key not in slices.reserves and key not in over:
            slices = take(slices, key := f"{key}-{number}" if key in cost else key, amount)
            cost |= {key: slices.reserves[key].amount_minor} if key in slices.reserves else {}
        elif act == "settle" and key in slices.reserves:
            cost[key] = min(amount, slices.reserves[key].amount_minor)
            slices = pocket.settled(slices, key, cost[key])
        elif act in ("captured", "voided", "manual") and key in slices.reserves:
            slices = pocket.ended(slices, key, f.Terminated(act))
            cost |= {key: 0} if act == "voided" else {}
            over.add(key)
        open_minor = sum(one.amount_minor for one in slices.reserves.values())
        booked = sum(one.spent_minor for one in slices.kept.values())
        assert open_minor + booked == sum(cost.values()) <= 4700
        assert all(pocket.left_minor(slices, one, T0) >= 0 for one in slices.kept.values())


def test_two_holds_share_a_slice_and_the_third_gets_nothing() -> None:
    slices = take(take(take(holding(a_kept()), "a", 2500), "b", 2500), "c", 2500)
    assert slices.reserves == {"a": Taken("SL1", 2500), "b": Taken("SL1", 1500)}


@pytest.mark.parametrize(("now", "paid"), [(T0 - 1, 0), (T0, 4000), (T0 + 7 * DAY_MS - 1, 4000), (T0 + 7 * DAY_MS, 0)])
def test_a_slice_pays_only_in_its_time(now: int, paid: int) -> None:
    found = pocket.best(holding(a_kept()), NOBODY, GATEWAY, CARD, "EUR", 6000, now)
    assert (found.amount_minor if found else 0) == paid


def test_a_slice_pays_only_for_its_card_gateway_and_currency() -> None:
    slices = holding(a_kept())
    for gateway, card, currency in ((GATEWAY, OTHER, "EUR"), ("other", CARD, "EUR"), (GATEWAY, CARD, "CHF")):
        assert pocket.best(slices, NOBODY, gateway, card, currency, 100, T0) is None


def test_a_denied_card_gets_no_payment_and_no_slice_and_its_slice_goes_back() -> None:
    slices, denied = holding(a_kept(1), a_kept(2, card=OTHER)), DenyList(3, frozenset({CARD}))
    assert take(slices, "h", denied=denied) == slices and take(slices, "h", card=OTHER, denied=denied) != slices
    assert due(slices, denied=denied) == ["SL1"]
    assert not pocket.wanted(Slices(), denied, GATEWAY, CARD, 9, T0)
    (chore,) = pocket.chores(pocket.intended(Slices(), an_intent()), denied, ON, T0)
    assert chore.over


def test_a_slice_that_is_going_back_pays_nothing() -> None:
    slices = pocket.returning(holding(a_kept()), "SL1")
    assert take(slices, "h") == slices
    assert due(slices) == ["SL1"] and due(pocket.returned(slices, "SL1")) == []


@pytest.mark.parametrize(("days", "kept_ms"), [(7, 6 * DAY_MS), (1, DAY_MS * 3 // 4)])
def test_an_unused_slice_goes_back_before_it_expires(days: int, kept_ms: int) -> None:
    slices = holding(a_kept(days=days))
    assert due(slices, T0 + kept_ms - 1) == [] and due(slices, T0 + kept_ms) == ["SL1"]


def test_what_is_not_booked_keeps_its_slice_until_the_office_reclaims_it_by_itself() -> None:
    slices = pocket.settled(take(holding(a_kept()), "h"), "h", 1200)
    assert due(slices, T0 + 7 * DAY_MS) == []
    assert due(pocket.ended(slices, "h", CAPTURED), T0 + 7 * DAY_MS) == ["SL1"]
    manual = pocket.ended(slices, "h", MANUAL)
    assert due(manual, T0 + 14 * DAY_MS) == [] and due(manual, T0 + 15 * DAY_MS) == ["SL1"]
    assert pocket.returned(manual, "SL1") == Slices()


def test_used_up_outdone_and_switched_off_slices_go_back() -> None:
    used = pocket.ended(take(holding(a_kept(amount_minor=100)), "h"), "h", CAPTURED)
    assert due(used) == ["SL1"]
    assert due(holding(a_kept(1, amount_minor=1000), a_kept(2, granted_ms=T0 + 1)), T0 + 2) == ["SL1"]
    assert due(holding(a_kept(1), a_kept(2, granted_ms=T0 + 1)), T0 + 2) == ["SL1"]
    assert due(holding(a_kept()), on=frozenset()) == ["SL1"]
    assert due(holding(a_kept())) == []


def test_what_was_booked_is_not_free_again() -> None:
    slices = pocket.ended(pocket.settled(take(holding(a_kept()), "h"), "h", 1500), "h", CAPTURED)
    assert not slices.reserves and take(slices, "g").reserves["g"].amount_minor == 2500


def test_a_released_reserve_is_free_again() -> None:
    slices = take(holding(a_kept()), "h")
    for free in (pocket.settled(slices, "h", 0), pocket.ended(slices, "h", VOIDED)):
        assert take(free, "g").reserves["g"].amount_minor == 4000


def test_a_slice_is_wanted_once_and_only_while_there_is_room() -> None:
    want = lambda slices, most=2, card=CARD, now=T0: pocket.wanted(slices, NOBODY, GATEWAY, card, most, now)  # noqa: E731
    assert want(Slices()) and not want(pocket.intended(Slices(), an_intent()))
    slices = holding(a_kept())
    assert not want(slices) and want(slices, card=OTHER) and not want(slices, most=1, card=OTHER)
    assert not want(take(slices, "h", 2000)) and want(take(slices, "h", 2001))
    assert want(slices, now=T0 + 6 * DAY_MS)


def test_a_question_without_an_answer_ends() -> None:
    slices = pocket.intended(Slices(), an_intent())
    over = [pocket.chores(slices, NOBODY, ON, T0 + ms)[0].over for ms in (0, 2 * DAY_MS - 1, 2 * DAY_MS)]
    assert over == [False, False, True]
    assert pocket.answered(slices, "q1") == Slices()


# --- the rule --------------------------------------------------------------------------------------------------------


class PaidBy(Rules):
    """A charge whose hold the gateway approved with this trace."""

    def __init__(self, trace: dict[str, str], **section: int) -> None:
        super().__init__(account_configuration(**section))
        self.trace = trace

    def answer_bank(self, outcome: Any = None) -> Any:
        return super().answer_bank(outcome or Approved(5000, self.trace))

    def asked(self) -> list[f.SliceIntended]:
        return [one for one in self.facts if isinstance(one, f.SliceIntended)]


@pytest.mark.parametrize(
    ("section", "trace", "asked"),
    [
        ({}, {"hold": "AH1"}, 1),
        ({"slice_minor": 0}, {"hold": "AH1"}, 0),
        ({}, {"slice": "SL1"}, 0),
        ({}, {"offline": "granted"}, 0),
    ],
)
def test_only_a_card_that_paid_online_gets_a_slice(section: dict[str, int], trace: dict[str, str], asked: int) -> None:
    rules = PaidBy(trace, **section)
    rules.to_sealing()
    rules.sign_record()
    rules.tick()
    assert rules.asked() == []  # not before the money is taken
    rules.answer_step()
    assert len(rules.asked()) == asked
    kinds = [type(one) for one in rules.facts]
    if asked:
        assert kinds.index(f.SliceIntended) == kinds.index(f.HoldEnded) + 1  # one commit: a crash forgets neither
        assert set(rules.state.slices.asked) == {rules.asked()[0].key}


def test_a_released_hold_asks_for_nothing() -> None:
    rules = PaidBy({"hold": "AH1"})
    rules.to_authorized()
    rules.touch(Button.CANCEL)
    rules.tick()
    rules.answer_step()
    assert rules.count(f.HoldEnded) == 1 and rules.asked() == []


def test_cards_are_taken_while_the_gateway_is_away_only_if_a_slice_could_pay() -> None:
    rules = PaidBy({"slice": "SL1", "held_minor": "4000"})
    rules.to_offer()
    rules.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, GATEWAY, "out of reach"), True))
    assert not sale.takes_cards(rules.state, rules.terms())
    rules.outside(a_kept(granted_ms=rules.clock.utc_ms))
    assert sale.takes_cards(rules.state, rules.terms()) and sale.offline_only(rules.state, rules.terms())
    assert sale.card_route(rules.state, rules.terms(), "mastercard") == (GATEWAY,)
    rules.show()
    rules.tap()
    rules.answer_bank()
    assert rules.phase is Phase.AUTHORIZED
    rules.outside(f.SliceReturning("SL1"))
    assert not sale.takes_cards(rules.state, rules.terms())


def test_a_payment_from_a_slice_says_that_the_gateway_is_out_of_reach() -> None:
    inbox = Inbox()
    reach = Reach({}, inbox)
    reach.learn(GATEWAY, Approved(4000, {"slice": "SL1"}))
    seen = inbox.take(1)
    assert isinstance(seen, events.FaultSeen) and seen.raised and seen.fault.kind == GATEWAY


def test_what_names_a_card_stays_at_the_terminal() -> None:
    named = (f.SliceIntended, f.SliceKept, f.DenyListSet)
    assert all(kind in f.PRIVATE for kind in (*f.SLICES, *named))
