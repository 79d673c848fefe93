"""The engine: commit before send, one turn at a time, screens only when something changed, and a broken turn ends the process."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app import screens as s
from terminal_app.engine.engine import Engine, Outside
from terminal_app.engine.inbox import MAX_QUEUED, Inbox, Job
from terminal_app.engine.snapshots import Snapshots
from terminal_app.errors import ImpossibleEvent, LedgerBroken
from terminal_app.ledger.store import Ledger
from terminal_app.session import actions, events, machine
from terminal_app.session import facts as f
from terminal_app.values import Approved, Device, EvseStatus, Fault, MeterIdentity, MeterValue, Pilot
from tests.simulation import stage

IDENTITY = MeterIdentity("Eastron", "SDM630-Modbus V2", "21130042", "1.15")


class Desk:
    """An engine on a real ledger; notes in order what it commits and what it hands out."""

    def __init__(self, folder: Path) -> None:
        self.diary: list[Any] = []
        self.clock = stage.FakeClock()
        self.fail_commits = False
        self.ledger = Ledger(folder, self._probe)
        self.engine = self.fresh()

    def fresh(self, snapshots: Snapshots | None = None) -> Engine:
        outside = Outside(
            act=self.diary.append,
            wish_evse=lambda connector, wish: self.diary.append(wish),
            wish_reader=lambda wish: self.diary.append(("reader", wish)),
            publish=self.diary.append,
        )
        return Engine(stage.standing(stage.configuration()), self.ledger, self.clock, stage.Chance(), outside, snapshots)

    def _probe(self, when: str, number: int) -> None:
        if when == "before" and self.fail_commits:
            raise LedgerBroken("simulated")
        if when == "after":
            self.diary.append("committed")

    def told(self, kind: type) -> list[Any]:
        return [one for one in self.diary if isinstance(one, kind)]

    def telemetry(self, wh: int = 1_000, pilot: Pilot = Pilot.A, on: bool = False) -> None:
        self.clock.advance(500)
        now = self.clock.now()
        self.engine.turn(events.EvseReported(1, EvseStatus(pilot, on, on, 32, now)))
        self.engine.turn(events.MeterReported(1, MeterValue(wh, 0, "21130042", now)))

    def offer(self) -> actions.ReaderWish:
        self.telemetry()
        assert self.engine.screen is not None
        self.engine.turn(events.FrameShown(self.engine.screen.screen_no))
        wish = machine.reader_wish(self.engine.state)
        assert wish is not None
        return wish

    def to_charging(self) -> None:
        wish = self.offer()
        self.engine.turn(events.CardRead(wish.arm_no, True, stage.card(wish.request)))
        hold = self.told(actions.Authorize)[-1].hold
        self.engine.turn(events.AuthorizationAnswered(hold.hold_id, Approved(5000, {})))
        self.telemetry(pilot=Pilot.B)
        asked, now = self.told(actions.ReadRegister)[-1], self.clock.now()
        value = MeterValue(1_000, 0, "21130042", now)
        self.engine.turn(events.RegisterRead(1, asked.session_id, "start", value, value, IDENTITY))
        self.telemetry(pilot=Pilot.C, on=True)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path / "state")
    yield one
    one.ledger.close()


@pytest.fixture
def started(desk: Desk) -> Desk:
    desk.engine.start(resumed_after_crash=False)
    return desk


def test_the_intent_is_committed_before_anybody_is_asked(started: Desk) -> None:
    wish = started.offer()
    started.diary.clear()
    started.engine.turn(events.CardRead(wish.arm_no, True, stage.card(wish.request)))
    kinds = [one if isinstance(one, str) else type(one).__name__ for one in started.diary]
    assert kinds.index("committed") < kinds.index("Authorize")
    assert [one.kind for one in started.ledger.entries()][-2:] == ["session_opened", "authorization_intended"]


def test_a_turn_that_cannot_be_committed_has_not_happened(started: Desk) -> None:
    wish = started.offer()
    state, started.fail_commits = started.engine.state, True
    started.diary.clear()
    with pytest.raises(LedgerBroken):
        started.engine.turn(events.CardRead(wish.arm_no, True, stage.card(wish.request)))
    assert started.engine.state is state and not started.told(actions.Authorize)
    assert started.told(actions.EvseWish) == [actions.EvseWish(False, 32)] and ("reader", None) in started.diary


def test_a_full_disk_while_charging_opens_the_contactor(started: Desk) -> None:
    started.to_charging()
    assert started.told(actions.EvseWish)[-1].authorized
    started.fail_commits = True
    with pytest.raises(LedgerBroken):
        started.engine.turn(events.StopCommanded(1, f.StopReason.REMOTE, "office", ""))
    assert not started.told(actions.EvseWish)[-1].authorized


def test_a_turn_without_facts_commits_nothing(started: Desk) -> None:
    before = started.ledger.commits
    started.telemetry()
    started.engine.turn(events.Ticked())
    assert started.ledger.commits == before


def test_the_start_says_open_to_every_contactor_and_tells_the_ledger(desk: Desk) -> None:
    desk.engine.start(resumed_after_crash=True)
    assert desk.told(actions.EvseWish) == [actions.EvseWish(False, 32)]
    booted, taken = (one.fact for one in desk.ledger.entries())
    assert isinstance(booted, f.TerminalBooted) and booted.resumed_after_crash
    assert isinstance(taken, f.TariffTaken) and (taken.connector, taken.source) == (1, "file")
    assert taken.fingerprint == booted.tariffs["1"]


def test_a_fact_of_a_newer_version_is_a_broken_ledger_not_a_crash(desk: Desk) -> None:
    """Downgrade: the chain is whole, but this version cannot read what stands in it."""
    from terminal_app.ledger import entry as ledger_entry

    at, body = desk.clock.now(), '{"type":"from_the_future"}'
    digest = ledger_entry.hash_of(1, at, "from_the_future", "", True, body, ledger_entry.GENESIS)
    desk.ledger._db.execute(
        "INSERT INTO entries VALUES (1, ?, ?, ?, ?, 'from_the_future', '', 1, ?, ?)",
        (at.utc_ms, at.mono_ms, at.boot_id, at.clock.value, body, digest),
    )
    desk.ledger._db.conn.commit()
    with pytest.raises(LedgerBroken, match="entry 1"):
        desk.engine.start(resumed_after_crash=False)


def test_a_screen_is_published_when_it_changed_and_once_a_second(started: Desk) -> None:
    started.offer()
    started.diary.clear()
    started.engine.turn(events.FaultSeen(Fault(Device.OFFICE, 0, "unreachable"), False))
    assert started.told(s.Screen) == []
    started.engine.turn(events.Ticked())
    (screen,) = started.told(s.Screen)
    assert isinstance(screen.view, s.Offer)


def test_the_screen_number_changes_with_the_meaning_only(started: Desk) -> None:
    wish = started.offer()
    offer = started.engine.screen
    assert offer is not None
    started.telemetry(pilot=Pilot.B)  # plugged: a figure of the same offer
    assert started.engine.screen is not None and started.engine.screen.screen_no == offer.screen_no
    assert started.engine.screen.revision > offer.revision
    started.engine.turn(events.CardSeen(wish.arm_no))
    assert started.engine.screen.screen_no == offer.screen_no + 1 and started.engine.screen.revision == 1


def test_a_touch_on_an_older_meaning_is_refused(started: Desk) -> None:
    started.offer()
    assert started.engine.screen is not None
    old = started.engine.screen.screen_no
    started.to_charging()
    assert not started.engine.touched(events.Touched(s.Button.STOP, ""), old)
    assert started.engine.state.sessions[1].phase.value == "charging"
    assert started.engine.touched(events.Touched(s.Button.STOP, ""), started.engine.screen.screen_no)
    assert started.engine.state.sessions[1].phase.value == "stopping"


# --- the loop ------------------------------------------------------------------------------------------------------------


def run_until_it_ends(engine: Engine, first: Callable[[], object]) -> list[BaseException]:
    """The loop on a thread of its own, given one job; what ended it."""
    ended: list[BaseException] = []

    def loop() -> None:
        try:
            engine.run()
        except (LedgerBroken, ImpossibleEvent, ValueError) as error:
            ended.append(error)

    engine.inbox.post(Job(first))
    thread = threading.Thread(target=loop)
    thread.start()
    thread.join(2)
    if thread.is_alive():
        engine.stop()
        thread.join(30)
    return ended


def test_a_broken_turn_inside_a_job_ends_the_process_too(started: Desk) -> None:
    """Touches and orders come as jobs: their asker hears of it, but the engine must not go on with its contactors locked open
    and a state that says charging."""
    started.to_charging()
    started.fail_commits = True
    assert started.engine.screen is not None
    touch, number = events.Touched(s.Button.STOP, ""), started.engine.screen.screen_no
    ended = run_until_it_ends(started.engine, lambda: started.engine.touched(touch, number))
    assert [type(one) for one in ended] == [LedgerBroken]


def test_a_broken_commit_outside_a_turn_ends_the_process_too(started: Desk) -> None:
    started.to_charging()
    started.fail_commits = True
    act = f.ServiceAct("technician", "test", "1", "")
    ended = run_until_it_ends(started.engine, lambda: started.engine.commit_outside_a_turn(act))
    assert [type(one) for one in ended] == [LedgerBroken]
    assert not started.told(actions.EvseWish)[-1].authorized


def test_a_question_that_fails_only_fails_its_asker(started: Desk) -> None:
    def wrong() -> None:
        raise ValueError("no such connector")

    assert run_until_it_ends(started.engine, wrong) == []


# --- the inbox -----------------------------------------------------------------------------------------------------------


def test_the_inbox_is_bounded_and_drops_touches_before_replies() -> None:
    inbox = Inbox()
    for _ in range(MAX_QUEUED // 2):
        assert inbox.post(events.Ticked(), droppable=True)
    assert not inbox.post(events.FrameShown(1), droppable=True)
    assert inbox.post(events.RecordSigned(1, b""))
    with pytest.raises(RuntimeError, match="overflows"):
        for _ in range(2 * MAX_QUEUED):
            inbox.post(events.Ticked())


def test_telemetry_keeps_the_newest_and_comes_after_what_has_order() -> None:
    inbox = Inbox()
    for wh in (1, 2, 3):
        inbox.post_latest(("meter", 1), events.MeterReported(1, MeterValue(wh, 0, "1", stage.FakeClock().now())))
    inbox.post(events.Ticked())
    assert isinstance(inbox.take(0), events.Ticked)
    newest = inbox.take(0)
    assert isinstance(newest, events.MeterReported) and newest.value.energy_wh == 3
    assert inbox.take(0) is None and len(inbox) == 0
