"""The money's own life: every hold ends exactly once, at a bounded rate, and never by a blind or a new attempt."""

from itertools import pairwise

import pytest

from terminal_app import screens as s
from terminal_app.session import actions, events
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, SettlementPhase
from terminal_app.values import Approved, Declined, DeclineReason, OutcomeUnknown
from tests.simulation import stage
from tests.simulation.rules import Rules


def settled(rules: Rules) -> f.HoldEnded:
    (ended,) = (one for one in rules.facts if isinstance(one, f.HoldEnded))
    return ended


def to_capturing(**policy: int) -> Rules:
    rules = Rules(stage.configuration(**policy))
    rules.to_sealing(seconds=100)
    rules.sign_record()
    rules.tick()
    assert rules.has(actions.Capture)
    return rules


def test_a_refused_capture_is_a_persons_matter() -> None:
    rules = to_capturing()
    rules.answer_step(Declined(DeclineReason.TOO_LATE, "54"))
    assert settled(rules).how is f.Terminated.MANUAL and "54" in settled(rules).detail
    rules.sign_record()
    assert not rules.state.settlements
    assert isinstance(rules.view, s.Receipt) and rules.view.money is s.MoneyWords.MANUAL


@pytest.mark.parametrize("amount", [0, 29, 31, 5000])
def test_a_capture_of_another_amount_than_asked_is_a_persons_matter(amount: int) -> None:
    rules = to_capturing()
    rules.answer_step(Approved(amount, {}))
    ended = settled(rules)
    assert ended.how is f.Terminated.MANUAL and str(amount) in ended.detail and "30" in ended.detail


def test_a_refused_release_is_a_persons_matter() -> None:
    rules = Rules()
    rules.to_authorized()
    rules.touch(s.Button.CANCEL)
    rules.tick()
    rules.answer_step(Declined(DeclineReason.ALREADY_DONE, "12"))
    assert settled(rules).how is f.Terminated.MANUAL


def test_a_hold_that_ended_by_itself_counts_as_released() -> None:
    rules = Rules()
    rules.to_authorized()
    rules.touch(s.Button.CANCEL)
    rules.tick()
    rules.answer_step(Declined(DeclineReason.TOO_LATE, "80"))
    assert settled(rules).how is f.Terminated.VOIDED


def test_repeated_with_the_same_key_and_serial_over_restarts() -> None:
    rules = to_capturing()
    seen = set()
    for new_boot in (False, True, False):
        asked = rules.take(actions.Capture)
        seen.add((asked.step.key, asked.step.serial, asked.step.utc_ms, asked.step.amount_minor))
        rules.boot(new_boot=new_boot)
        rules.tick()
    assert len(seen) == 1


def test_the_pause_doubles_and_no_step_is_sent_twice_at_once() -> None:
    rules = to_capturing(settle_retry_s=30)
    moments = []
    for _ in range(4):
        moments.append(rules.clock.mono_ms)
        rules.answer_step(OutcomeUnknown("silence"))
        while not rules.has(actions.Capture):
            rules.tick()
        rules.tick(5)
        assert sum(isinstance(one, actions.Capture) for one in rules.todo) == 1
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert all(later >= 2 * earlier - 12_000 for earlier, later in pairwise(pauses)), pauses
    assert all(pause >= 30_000 for pause in pauses)


def test_after_its_deadline_a_settlement_is_manual() -> None:
    rules = to_capturing(settle_deadline_s=60)
    while not rules.count(f.HoldEnded):
        if rules.has(actions.Capture):
            rules.answer_step(OutcomeUnknown("silence"))
        rules.tick(5)
    assert settled(rules).how is f.Terminated.MANUAL
    rules.sign_record()
    assert not rules.state.settlements and len(rules.jws) == 2


def test_a_terminal_that_was_off_beyond_the_deadline_tries_before_it_gives_up() -> None:
    """Eight days without power, or a clock that jumped: the bank is asked at least once before a person is."""
    rules = to_capturing()
    rules.clock.utc_ms += 8 * 86_400_000
    rules.boot(new_boot=True)
    rules.tick()
    assert rules.has(actions.Capture) and not rules.count(f.HoldEnded)
    rules.answer_step()
    assert settled(rules).how is f.Terminated.CAPTURED


def test_foreign_and_stale_answers_change_nothing() -> None:
    rules = to_capturing()
    asked = rules.take(actions.Capture)
    before = len(rules.committed)
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, "another key", Approved(30, {})))
    rules.feed(events.SettlementAnswered("another hold", asked.step.key, Approved(30, {})))
    rules.feed(events.AuthorizationAnswered("another hold", Approved(5000, {})))
    assert len(rules.committed) == before
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, asked.step.key, Approved(30, {})))
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, asked.step.key, Approved(30, {})))
    rules.sign_record()
    rules.feed(events.SettlementAnswered(asked.hold.hold_id, asked.step.key, Approved(30, {})))
    assert rules.count(f.HoldEnded) == 1 and len(rules.jws) == 2


def test_the_next_driver_is_not_kept_waiting_by_an_open_settlement() -> None:
    rules = to_capturing()
    rules.answer_step(OutcomeUnknown("silence"))
    rules.touch(s.Button.DONE)
    rules.to_offer()
    rules.tap(number=2, tap=2)
    assert rules.phase is Phase.AUTHORIZING and rules.has(actions.Authorize)
    assert [one.phase for one in rules.state.settlements.values()] == [SettlementPhase.CAPTURING, SettlementPhase.ASKED]


def test_records_of_two_sessions_stay_in_one_chain() -> None:
    rules = to_capturing()
    first = rules.take(actions.Capture)
    rules.touch(s.Button.DONE)
    rules.to_sealing(seconds=20)
    rules.feed(events.SettlementAnswered(first.hold.hold_id, first.step.key, Approved(30, {})))
    rules.sign_record()  # the second bill, then both ends of money
    rules.sign_record()
    rules.tick()
    rules.answer_step()
    rules.sign_record()
    assert len(rules.jws) == 4 and rules.state.chain.next_record_seq == 5 and not rules.state.settlements
