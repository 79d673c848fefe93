"""The pocket of a living core: committed before anybody acts on it, every wait is bounded, nothing is used twice."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.engine import Engine, Outside
from terminal_app.engine.operations import cards_deny
from terminal_app.engine.pocket import LedgerPocket, PocketCare
from terminal_app.engine.sync_link import SyncLink
from terminal_app.errors import LedgerBroken
from terminal_app.ledger.store import Ledger
from terminal_app.session import events
from terminal_app.session.pocket import Taken
from terminal_app.values import Approved, Declined, DeclineReason, Outcome, OutcomeUnknown
from terminal_app.wire import NextBatch
from terminal_app.workers import slices as slice_worker
from terminal_app.workers.slices import SliceWorker
from tests.sessions import runtime_dir
from tests.simulation import stage
from tests.unit.pocket_samples import CARD, GATEWAY, OTHER, T0, a_kept, a_slice, account_configuration, an_intent

WAIT_S = 60.0


class Desk:
    """An engine over a real ledger, turning on a thread of its own between `run` and `end`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fail_commits = folder, False
        self.clock = stage.FakeClock(utc_ms=T0)
        self.broken: list[BaseException] = []
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.folder, self._probe)
        outside = Outside(lambda action: None, lambda number, wish: None, lambda wish: None, lambda screen: None)
        self.engine = Engine(stage.standing(account_configuration()), self.ledger, self.clock, stage.Chance(), outside)
        self.engine.start(resumed_after_crash=False)
        self.pocket, self.care = LedgerPocket(self.engine, GATEWAY), PocketCare(self.engine)

    def _probe(self, when: str, number: int) -> None:
        if self.fail_commits and when == "before":
            raise LedgerBroken("simulated")

    def keep(self, *facts: Any) -> None:
        self.engine.commit_outside_a_turn(*facts)

    def run(self) -> None:
        def turn() -> None:
            try:
                self.engine.run()
            except LedgerBroken as error:
                self.broken.append(error)

        self.thread = threading.Thread(target=turn)
        self.thread.start()

    def end(self) -> None:
        self.engine.stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()

    def restart(self) -> None:
        self.ledger.close()
        self.open()

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.ledger.entries()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path / "state")
    yield one
    one.ledger.close()


@pytest.fixture
def running(desk: Desk) -> Iterator[Desk]:
    desk.keep(a_kept())
    desk.run()
    yield desk
    desk.end()


def test_many_threads_at_once_never_use_a_slice_twice_also_after_a_restart(desk: Desk) -> None:
    """While the inbox is flooded: whoever waits for the engine is answered, for the engine waits for nobody."""
    desk.keep(a_kept(1), a_kept(2, amount_minor=1000))
    desk.run()
    flooding = threading.Event()

    def flood() -> None:
        while not flooding.is_set():
            desk.engine.inbox.post(events.FrameShown(0), droppable=True)
            time.sleep(0.0005)

    flooder = threading.Thread(target=flood)
    flooder.start()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(desk.pocket.take, f"h{n // 2}", CARD, "EUR", 300, WAIT_S) for n in range(60)]
        found = [one.result(WAIT_S) for one in asked]
    flooding.set()
    flooder.join(WAIT_S)
    assert all(found[n] == found[n + 1] for n in range(0, 60, 2)), "the same hold, another answer"
    taken = [one.amount_minor for one in found[::2] if one is not None]
    assert sum(taken) == 5000 and len(taken) < 30
    desk.end()
    reserves = desk.engine.state.slices.reserves
    desk.restart()
    assert desk.engine.state.slices.reserves == reserves
    desk.run()
    assert desk.pocket.take("late", CARD, "EUR", 300, WAIT_S) is None
    desk.pocket.settle("h0", 100, WAIT_S)
    again = desk.pocket.take("late", CARD, "EUR", 300, WAIT_S)
    assert again is not None and again.amount_minor == 200
    desk.end()


def test_a_reserve_stands_in_the_ledger_when_the_answer_comes(running: Desk) -> None:
    assert running.pocket.take("h", CARD, "EUR", 6000, WAIT_S) == Taken("SL1", 4000)
    assert running.kinds()[-1] == "slice_taken"
    running.pocket.settle("h", 1500, WAIT_S)
    running.pocket.settle("h", 1500, WAIT_S)
    running.pocket.settle("no such hold", 0, WAIT_S)
    assert running.kinds()[-2:] == ["slice_taken", "slice_settled"]


def test_a_denied_card_is_paid_nothing(running: Desk) -> None:
    cards_deny(running.engine, {"version": 1, "tokens": [CARD]}, "office")
    assert running.pocket.take("h", CARD, "EUR", 100, WAIT_S) is None


def test_an_engine_that_does_not_answer_is_not_waited_for_and_nothing_is_reserved_behind_the_askers_back(desk: Desk) -> None:
    desk.keep(a_kept())
    with pytest.raises(TimeoutError):
        desk.pocket.take("h", CARD, "EUR", 6000, 0.01)
    desk.run()
    desk.pocket.settle("h", 0, WAIT_S)
    assert "slice_taken" not in desk.kinds()
    assert desk.pocket.take("g", CARD, "EUR", 6000, WAIT_S) == Taken("SL1", 4000)
    desk.end()


def test_a_ledger_that_cannot_be_written_reserves_nothing_and_ends_the_core(desk: Desk) -> None:
    desk.keep(a_kept())
    desk.run()
    desk.fail_commits = True
    with pytest.raises(LedgerBroken):
        desk.pocket.take("h", CARD, "EUR", 100, WAIT_S)
    desk.thread.join(WAIT_S)
    assert desk.broken and not desk.thread.is_alive()
    desk.fail_commits = False
    desk.restart()
    assert not desk.engine.state.slices.reserves


def test_only_a_slice_that_was_asked_for_is_kept_and_once(running: Desk) -> None:
    running.pocket.put("q2", a_slice(2), "a.b.c", WAIT_S)
    assert set(running.engine.state.slices.kept) == {"SL1"}
    running.engine.ask(lambda: running.keep(an_intent(2)))
    LedgerPocket(running.engine, "another").put("q2", a_slice(2), "a.b.c", WAIT_S)
    assert set(running.engine.state.slices.kept) == {"SL1"}
    for _ in range(2):
        running.pocket.put("q2", a_slice(2), "a.b.c", WAIT_S)
    assert running.kinds().count("slice_kept") == 2 and set(running.engine.state.slices.kept) == {"SL1", "SL2"}


# --- the deny list -----------------------------------------------------------------------------------------------------


def test_only_a_newer_deny_list_counts_and_it_stays(running: Desk) -> None:
    said = cards_deny(running.engine, {"version": 7, "tokens": [CARD, CARD, OTHER]}, "office")
    assert said == {"applied": True, "version": 7, "denied": 2}
    for version in (7, 6):
        older = cards_deny(running.engine, {"version": version, "tokens": []}, "office")
        assert older == {"applied": False, "version": 7, "denied": 2}
    assert running.kinds()[-2:] == ["service_act", "deny_list_set"]
    running.end()
    running.restart()
    assert running.engine.state.deny.version == 7 and running.engine.state.deny.tokens == {CARD, OTHER}
    running.run()


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": 0, "tokens": []},
        {"version": True, "tokens": []},
        {"version": "2", "tokens": []},
        {"version": 1, "tokens": CARD},
        {"version": 1, "tokens": ["5413330089020011"]},
        {"version": 1, "tokens": [CARD] * 10_001},
        {"version": 1, "tokens": [7]},
    ],
)
def test_a_deny_list_that_is_none_is_refused_whole(running: Desk, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"version|tokens|token"):
        cards_deny(running.engine, arguments, "office")
    assert running.engine.state.deny.version == 0 and running.kinds()[-1] == "slice_kept"


def test_the_office_is_told_nothing_that_names_a_card_by_its_token(desk: Desk) -> None:
    desk.keep(an_intent(), a_kept())
    desk.run()
    desk.pocket.take("h", CARD, "EUR", 100, WAIT_S)
    acts_of(desk.engine)["cards.deny"]({"version": 1, "tokens": [OTHER], "reason": "lost"}, "office")
    with runtime_dir() as folder:
        link = SyncLink(folder / "sync.sock", desk.engine, CommandLink(desk.engine, b"", acts_of(desk.engine)), b"")
        told = link.next_batch(NextBatch())
        link.close()
    desk.end()
    assert [row.kind for row in told.facts] == ["terminal_booted", "tariff_taken", "service_act"]
    assert CARD not in str(told) and OTHER not in str(told)


# --- the worker that looks after it --------------------------------------------------------------------------------------


class Office:
    """slice_worker.Keeper that answers as told and notes what it was asked."""

    def __init__(self, *answers: Outcome | bool) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, str]]()

    def fetch_slice(self, key: str, card: str, amount_minor: int, currency: str, days: int, deadline_s: float) -> Outcome:
        self.asked.append(("fetch", key))
        return self.answers.pop(0)  # type: ignore[return-value]

    def return_slice(self, slice_id: str, deadline_s: float) -> bool:
        self.asked.append(("return", slice_id))
        return bool(self.answers.pop(0))


def worked(desk: Desk, office: Office, steps: int) -> None:
    direct = PocketCare(desk.engine, lambda question, timeout_s: question())
    worker = SliceWorker({GATEWAY: office}, direct, desk.engine.inbox, pace_s=0)
    for _ in range(steps):
        worker.step()


def test_a_lost_answer_is_asked_for_again_under_the_same_key_after_a_pause(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.keep(an_intent())
    patient = Office(OutcomeUnknown("lost"))
    worked(desk, patient, 3)
    assert patient.asked == [("fetch", "q1")]  # one try, then its pause
    monkeypatch.setattr(slice_worker, "FIRST_PAUSE_S", 0.0)
    office = Office(OutcomeUnknown("lost"), Declined(DeclineReason.INSUFFICIENT_FUNDS, "insufficient_funds"))
    worked(desk, office, 4)
    assert office.asked == [("fetch", "q1")] * 2
    assert desk.kinds()[-1] == "slice_refused" and desk.care.chores() == []


def test_a_question_is_over_once_its_slice_is_kept(desk: Desk) -> None:
    desk.keep(an_intent())
    desk.keep(a_kept())
    office = Office(Approved(4000, {}))
    worked(desk, office, 2)
    assert office.asked == [] and set(desk.engine.state.slices.kept) == {"SL1"}


def test_a_question_that_is_too_old_ends_without_being_asked(desk: Desk) -> None:
    desk.keep(an_intent(utc_ms=T0 - 3 * 86_400_000))
    office = Office()
    worked(desk, office, 2)
    assert office.asked == [] and desk.kinds()[-1] == "slice_refused"


def test_a_slice_is_closed_before_the_office_is_told_and_told_until_it_answers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_worker, "FIRST_PAUSE_S", 0.0)
    desk.keep(a_kept(days=1))
    desk.clock.advance(86_400_000 - 3_600_000)
    worked(desk, Office(False), 1)
    assert desk.kinds()[-1] == "slice_returning"
    desk.restart()
    office = Office(False, True)
    worked(desk, office, 4)
    assert office.asked == [("return", "SL1")] * 2
    assert desk.kinds()[-1] == "slice_returned" and not desk.engine.state.slices.kept


def test_a_slice_that_could_never_be_given_back_is_left_to_the_office_in_the_end(desk: Desk) -> None:
    desk.keep(a_kept(days=1))
    desk.clock.advance(10 * 86_400_000)
    office = Office(False)
    worked(desk, office, 2)
    assert office.asked == [("return", "SL1")] and not desk.engine.state.slices.kept
