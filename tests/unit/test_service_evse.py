"""`charge-service evse test | limit` against a core with devices on paper: orders, facts, verdicts, exit codes."""

import getpass
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing.record import open_record
from terminal_app.engine import evse_orders
from terminal_app.engine.command_link import acts_of
from terminal_app.engine.publication import Publication
from terminal_app.office import verify
from terminal_app.office.derived import _session_row
from terminal_app.run.service import evse_test, show
from terminal_app.session import events, machine
from terminal_app.session import facts as f
from terminal_app.session.state import Phase
from terminal_app.values import EvseStatus, Pilot
from tests.service_tool import Tool, answering
from tests.sessions import Paper, terminal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.setattr(evse_test, "LOOK_S", 0.01)
    return Tool(site.path, capsys)


class Devices:
    """Controller, car and meter, which follow the core's wish in a time of their own: a second in a few milliseconds."""

    def __init__(self, site: Paper, takes: bool = True, opens: bool = True) -> None:
        self.site, self.takes, self.opens = site, takes, opens
        self.relay, self.over = False, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> "Devices":
        self.site.engine.ask(self.second)
        self.thread.start()
        return self

    def wait_for(self, phase: Phase) -> None:
        for _ in range(1000):
            session = self.site.engine.state.sessions.get(1)
            if session is not None and session.phase is phase:
                return
            self.over.wait(0.01)
        raise AssertionError(f"never {phase}")

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def run(self) -> None:
        while not self.over.wait(0.01):
            self.site.engine.ask(self.second)

    def second(self) -> None:
        site = self.site
        site.pass_time(1)
        wish = machine.evse_wishes(site.engine.state, site.engine.terms())[1]
        self.relay = (wish.authorized and self.takes) or (self.relay and not self.opens)
        site.wh += int(self.relay)
        status = EvseStatus(Pilot.C if self.relay else Pilot.B, self.relay, wish.authorized, wish.limit_a, site.clock.now())
        site.turn(events.EvseReported(1, status))
        site.turn(events.MeterReported(1, site.reading()))
        site.turn(events.Ticked())


def facts(site: Paper, kind: type) -> list[Any]:
    return [one.fact for one in site.ledger.entries() if isinstance(one.fact, kind)]


def test_a_test_is_ordered_watched_and_judged(site: Paper, tool: Tool) -> None:
    with answering(site), Devices(site):
        code, found = tool.json("evse", "test", 1, "--seconds", 10, "--limit", 16, "--reason", "new contactor")
    assert code == show.OK, found
    assert found["energy_wh"] in range(8, 14) and found["serial"] == "21130042" and found["stop_reason"] == "test_ended"
    assert found["contactor_closed"] and found["contactor_open_at_end"]
    kinds = [step["kind"] for step in found["steps"]]
    assert [one for one in kinds if one != "energy_checkpoint"][:4] == [
        "session_opened",
        "start_registered",
        "stop_intended",
        "bill_frozen",
    ]
    (act,) = facts(site, f.ServiceAct)
    assert (act.act, act.actor, act.target) == ("evse.test", getpass.getuser(), "1") and "new contactor" in act.reason
    (record,) = site.ledger.records()
    assert Publication(site.ledger).between(0, 0, 0, 10) == (0, []), "nothing was sold: nobody is sent a CDR of it"
    said = open_record(record.jws, site.keys.records.public_key_spki())
    assert said["test"] is True and said["totals"]["total_minor"] == 0 and said["payment"] is None
    assert _session_row(said)["test"] is True and verify._money(said) == ""
    assert "somebody paid" in verify._money(said | {"payment": {"capture_minor": 0, "authorized_minor": 0}})
    assert not site.engine.state.finished, "no receipt waits for anybody"


def test_a_test_is_no_cdr_but_a_row_of_the_table(site: Paper, tool: Tool, tmp_path: Path) -> None:
    with answering(site), Devices(site):
        assert tool("evse", "test", 1, "--seconds", 3, "--reason", "routine")[0] == show.OK
        for form, files in (("ocpi-2.3.0", 0), ("csv", 1), ("ocmf", 2)):
            code, found = tool.json("records", "export", "--format", form, "--out", tmp_path / form)
            assert (code, len(found["files"]), found["troubles"]) == (show.OK, files, [])


def test_people_read_what_was_done_and_a_machine_reads_it_too(site: Paper, tool: Tool) -> None:
    with answering(site), Devices(site):
        code, text = tool("evse", "test", 1, "--seconds", 3, "--reason", "routine")
        assert code == show.OK and "A test by service personnel on connector 1" in text and "open at the end" in text
        assert "the test is over" in text
        code, (row,) = tool.json("session", "list")
    assert code == show.OK and row["total_minor"] == 0


def test_a_car_that_takes_nothing_is_a_fault_of_the_test(site: Paper, tool: Tool) -> None:
    with answering(site), Devices(site, takes=False):
        code, found = tool.json("evse", "test", 1, "--seconds", 3, "--reason", "routine")
    assert code == show.FAULT and "never seen closed" in found["verdict"]


def test_another_technician_ends_it(site: Paper, tool: Tool) -> None:
    with answering(site), Devices(site) as devices:
        evse_orders.evse_test(site.engine, {"connector": 1, "seconds": 600, "reason": "long"}, "first")
        devices.wait_for(Phase.CHARGING)
        code, text = tool("evse", "test", 1, "--stop", "--reason", "enough")
        assert code == show.OK and "ends now" in text
        code, _ = tool("evse", "test", 2, "--stop", "--reason", "enough")
        assert code == show.FAULT and "connector 2 has no test" in tool.stderr
    (stop,) = facts(site, f.StopIntended)
    assert stop.reason is f.StopReason.TEST_ENDED and "enough" in stop.detail


def test_what_is_refused_is_said_and_leaves_nothing(site: Paper, tool: Tool) -> None:
    with answering(site):
        for arguments, words in (
            ((1,), "no car and no test adapter is plugged in"),
            ((2,), "there is no connector 2"),
        ):
            code, _ = tool("evse", "test", *arguments, "--reason", "x")
            assert code == show.FAULT and words in tool.stderr
        assert tool("evse", "test", 1, "--reason", " ")[0] == show.FAULT and "needs a reason" in tool.stderr
        assert tool("evse", "test", 1, "--seconds", 601, "--reason", "x")[0] == show.USAGE
        assert tool("evse", "test", 1, "--limit", 5, "--reason", "x")[0] == show.USAGE
    assert not facts(site, f.ServiceAct) and not facts(site, f.SessionOpened)


def test_a_drivers_charge_is_neither_tested_nor_ended_as_a_test(site: Paper, tool: Tool) -> None:
    site.tap()
    site.charge(1_000, seconds=600)
    with answering(site):
        assert tool("evse", "test", 1, "--reason", "x")[0] == show.FAULT and "a driver's charge" in tool.stderr
        assert tool("evse", "test", 1, "--stop", "--reason", "x")[0] == show.FAULT and "has no test" in tool.stderr
    assert site.engine.state.sessions[1].phase is Phase.CHARGING


def test_a_limit_is_a_fact_with_name_and_reason_and_is_shown(site: Paper, tool: Tool) -> None:
    with answering(site):
        code, text = tool("evse", "limit", 1, 10, "--reason", "weak supply")
        assert code == show.OK and "may give 10 A" in text
        assert tool.json("status")[1]["connectors"][0]["in_force_a"] == 10
        assert "10 A by order" in tool("status")[1]
        code, answer = tool.json("evse", "limit", 1, 4, "--reason", "weaker")
        assert code == show.OK and answer["in_force_a"] == 0
        code, text = tool("evse", "limit", 1, "--off", "--reason", "repaired")
        assert code == show.OK and "may give 32 A" in text
        assert tool("evse", "limit", 1, "--off", "--reason", "again")[0] == show.FAULT and "no limit by order" in tool.stderr
        assert tool("evse", "limit", 1, "--reason", "x")[0] == show.USAGE
        assert tool("evse", "limit", 1, 10, "--off", "--reason", "x")[0] == show.USAGE
    told = [(one.limit_a, one.in_force_a, one.source, one.reason) for one in facts(site, f.LimitSet)]
    assert told == [
        (10, 10, "service", "weak supply"),
        (4, 0, "service", "weaker"),
        (None, 32, "service", "repaired"),
    ]
    assert [one.act for one in facts(site, f.ServiceAct)] == ["evse.limit"] * 3


def test_the_office_limits_by_command_and_its_words_are_checked(site: Paper) -> None:
    order = acts_of(site.engine)["evse.limit"]
    with answering(site):
        answer = order({"connector": 1, "limit_a": 13, "reason": "dynamic load"}, "office: A Person")
        assert answer == {"connector": 1, "limit_a": 13, "in_force_a": 13}
        for wrong in ({"limit_a": 13.5}, {"limit_a": True}, {"limit_a": -1}, {"limit_a": 10, "connector": 9}, {"reason": ""}):
            with pytest.raises(ValueError):
                order({"connector": 1, "reason": "x"} | wrong, "office: A Person")
    (fact,) = facts(site, f.LimitSet)
    assert fact.source == "office"


@pytest.mark.parametrize(
    ("counted", "expected", "closed", "opened", "code"),
    [
        (1000, 980, True, True, show.OK),
        (1000, 700, True, True, show.WARNING),
        (0, 0, True, True, show.WARNING),
        (100, 100, True, False, show.FAULT),
        (100, 100, True, None, show.FAULT),
        (0, 0, False, True, show.FAULT),
    ],
)
def test_the_verdict(site: Paper, counted: int, expected: int, closed: bool, opened: bool | None, code: int) -> None:
    site.paid_session(energy_wh=counted or 1)
    (started,), (bill,), (stop,) = (facts(site, kind) for kind in (f.StartRegistered, f.BillFrozen, f.StopIntended))
    seen = evse_test.Watched(relay_closed=closed, open_at_end=opened, watt_ms=expected * evse_test.MS_PER_H)
    bill = type(bill)(**{name: getattr(bill, name) for name in bill.__struct_fields__} | {"energy_wh": counted})
    assert evse_test.judge(started, bill, stop, seen)[0] == code


@pytest.mark.parametrize(("counted", "code"), [(5_400, show.OK), (9_000, show.WARNING)])
def test_a_short_test_is_not_blamed_for_what_flowed_between_two_looks(site: Paper, counted: int, code: int) -> None:
    site.paid_session(energy_wh=counted)
    (started,), (bill,), (stop,) = (facts(site, kind) for kind in (f.StartRegistered, f.BillFrozen, f.StopIntended))
    seen = evse_test.Watched(relay_closed=True, open_at_end=True)
    for at_ms in (0, 1_000, 2_000, 3_000, 4_000):  # 1 kWh a second, and the first and last second not seen
        seen.look({"relay": True, "power_w": 3_600_000, "meter_wh": 0}, at_ms)
    seen.look({"relay": False, "power_w": 0, "meter_wh": 0}, 5_000)
    assert evse_test.judge(started, bill, stop, seen)[0] == code


def test_energy_by_power_is_summed_up_between_two_looks() -> None:
    seen = evse_test.Watched()
    for at_ms in range(0, 3_600_001, 1000):
        seen.look({"relay": True, "power_w": 7000, "meter_wh": 1}, at_ms)
    assert seen.expected_wh in range(6990, 7001)
