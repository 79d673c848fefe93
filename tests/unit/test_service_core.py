"""charge-service and a running core: what it shows, what it orders, what it refuses, and its exit codes."""

import getpass
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.engine.control_link import Answering
from terminal_app.run.service import main
from terminal_app.session import events
from terminal_app.session.facts import ServiceAct, StopIntended, StopReason
from terminal_app.values import Device, Fault, Pilot
from tests.service_tool import CheckedGateway, Tool, answering
from tests.sessions import Paper, terminal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(site.path, capsys).without_pcsc(monkeypatch)


def test_status_while_charging(site: Paper, tool: Tool) -> None:
    site.tap()
    site.charge(1_000, seconds=600)
    with answering(site):
        code, found = tool.json("status")
        text = tool("status")[1]
    assert code == 0 and found["core"] == "running" and found["open_holds"] == 1
    (one,) = found["connectors"]
    assert (one["phase"], one["relay"], one["meter_wh"], one["meter_age_ms"]) == ("charging", True, 1_235_560, 0)
    assert "1235.560 kWh" in text and "charging" in text and "DEMO" in text


def test_repeated_crashes_are_said_with_what_ends_them(site: Paper, tool: Tool) -> None:
    site.engine.out_of_service = True
    with answering(site):
        code, text = tool("status")
    assert code == 2 and "out of service: repeated_crash: it died again and again" in text and "ten good minutes" in text


def test_a_broken_meter_is_a_fault_and_a_silent_office_only_a_warning(site: Paper, tool: Tool) -> None:
    site.turn(events.FaultSeen(Fault(Device.OFFICE, 0, "unreachable", "no route"), True))
    with answering(site):
        assert tool("status")[0] == 1
        site.engine.ask(lambda: site.engine.turn(events.FaultSeen(Fault(Device.METER, 1, "timeout", "no answer [Errno 5]"), True)))
        code, text = tool("status")
    assert code == 2 and "meter 1: timeout no answer [Errno 5]" in text


def test_stop_is_an_order_with_name_and_reason_committed_before_the_stop(site: Paper, tool: Tool) -> None:
    site.tap()
    site.charge(1_000, seconds=600)
    with answering(site):
        code, text = tool("session", "stop", 1, "--reason", "smell of burning")
        assert code == 0 and "ends now" in text
    facts = [entry.fact for entry in site.ledger.entries()]
    (act,) = (fact for fact in facts if isinstance(fact, ServiceAct))
    (stop,) = (fact for fact in facts if isinstance(fact, StopIntended))
    assert (act.act, act.target, act.reason) == ("session.stop", "1", "smell of burning")
    assert act.actor == getpass.getuser() and act.actor in stop.detail and stop.reason is StopReason.REMOTE
    assert facts.index(act) < facts.index(stop)


def test_nothing_to_stop_is_said_and_leaves_no_fact(site: Paper, tool: Tool) -> None:
    with answering(site):
        for connector, words in ((1, "has no session"), (2, "there is no connector 2")):
            code, _ = tool("session", "stop", connector, "--reason", "test")
            assert code == 2 and words in tool.stderr
        code, _ = tool("session", "stop", 1, "--reason", "  ")
        assert code == 2 and "needs a reason" in tool.stderr
    assert not [one for one in site.ledger.entries() if one.kind == "service_act"]


def test_open_holds_come_from_the_core_with_age_and_tries(site: Paper, tool: Tool) -> None:
    site.tap()
    site.pass_time(90)
    with answering(site):
        code, (hold,) = tool.json("payments", "open")
    assert code == 0 and (hold["phase"], hold["age_s"], hold["card"], hold["approved_minor"]) == ("held", 90, "visa 1111", 6000)


def test_the_meter_is_read_through_the_core(site: Paper, tool: Tool) -> None:
    with answering(site):
        code, (row,) = tool.json("meter", "read")
        assert code == 0 and (row["source"], row["energy_wh"], row["serial"]) == ("core", 1_234_560, "21130042")
        code, text = tool("--json", "meter", "read", "--watch", "--count", 2)
        assert code == 0 and [json.loads(line)[0]["energy_wh"] for line in text.splitlines()] == [1_234_560] * 2
        code, _ = tool("meter", "read", "--connector", 5)
        assert code == 2 and "there is no connector 5" in tool.stderr


def test_a_stale_reading_is_a_warning_and_a_fault_is_told(site: Paper, tool: Tool) -> None:
    site.pass_time(60)
    with answering(site):
        assert tool("meter", "read")[0] == 1
        site.engine.ask(
            lambda: site.engine.turn(events.FaultSeen(Fault(Device.METER, 1, "timeout", "no answer from unit 1"), True))
        )
        code, text = tool("meter", "read")
    assert code == 2 and "no answer from unit 1" in text


def test_reading_a_card_is_refused_while_the_core_owns_the_reader(site: Paper, tool: Tool) -> None:
    with answering(site):
        code, _ = tool("reader", "read")
    assert code == 2 and "stop it first" in tool.stderr and "reader probe" in tool.stderr


def test_devices_are_not_touched_while_another_process_holds_the_lock(site: Paper, tool: Tool) -> None:
    """The core is starting: its ledger is locked, but its socket is not there yet."""
    code, _ = tool("meter", "read")
    assert code == 2 and "is held" in tool.stderr


# --- check -----------------------------------------------------------------------------------------------------------


def parts(tool: Tool) -> dict[str, dict[str, object]]:
    _, found = tool.json("check")
    return {one["part"]: one for one in found["parts"]}


def test_check_names_the_broken_part_and_what_to_do(site: Paper, tool: Tool) -> None:
    gateway = CheckedGateway("refused our TERM0001")
    site.turn(events.FaultSeen(Fault(Device.METER, 1, "timeout", "no answer from unit 1"), True))
    with answering(site, {"acquirer": gateway}):
        found = parts(tool)
        code, text = tool("check")
    assert code == 2
    broken = {name: one["says"] for name, one in found.items() if one["state"] == "fault"}
    assert broken["meter 1"] == "timeout: no answer from unit 1" and "wiring" in str(found["meter 1"]["next"])
    assert "refused our TERM0001" in str(broken["gateway acquirer"])
    assert found["controller 1"]["state"] == "ok" and found["reader"]["state"] == "ok" and found["core"]["state"] == "ok"
    assert {"clock", "disk", "ledger", "network", "office", "serial port of meter.main"} <= set(found)
    assert "no answer from unit 1" in text and "->" in text
    assert all(one["next"] for one in found.values() if one["state"] != "ok")


def test_a_gateway_is_checked_off_the_engines_thread_and_one_at_a_time(site: Paper, tool: Tool) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(CheckedGateway):
        def check(self, deadline_s: float) -> str:
            super().check(deadline_s)
            entered.set()
            leave.wait(20)
            return ""

    gateway = Slow()
    with answering(site, {"acquirer": gateway}):
        from terminal_app.run.service.core_talk import ServiceTrouble, connect

        first = connect(site.config.terminal.runtime_dir / "control.sock")
        second = connect(site.config.terminal.runtime_dir / "control.sock")
        assert first is not None and second is not None
        waiting = threading.Thread(target=lambda: first.ask("gateway.check", name="acquirer"))
        waiting.start()
        assert entered.wait(10)
        assert second.ask("status")["terminal"] == "T-0001"  # the engine goes on
        with pytest.raises(ServiceTrouble, match="another gateway check"):
            second.ask("gateway.check", name="acquirer")
        with pytest.raises(ServiceTrouble, match="no gateway nobody"):
            second.ask("gateway.check", name="nobody")
        leave.set()
        waiting.join(10)
        first.close()
        second.close()
    assert gateway.threads and "engine" not in gateway.threads


# --- who may, and how it says no -------------------------------------------------------------------------------------


def test_a_user_the_core_does_not_know_is_told_what_to_do(site: Paper, tool: Tool) -> None:
    control = Answering(site.config.terminal.runtime_dir / "control.sock", {}, frozenset({os.getuid() + 1}))
    try:
        code, _ = tool("status")
    finally:
        control.close()
    assert code == 2 and "group charge-service" in tool.stderr and "sudo" in tool.stderr


def test_the_core_never_answers_with_card_token_or_key(site: Paper, tool: Tool, tmp_path: Path) -> None:
    site.paid_session()
    site.tap()
    with answering(site):
        said = [
            tool(*one, "--json")[1]
            for one in (("status",), ("payments", "open"), ("session", "list"), ("records", "list"), ("check",))
        ]
    assert "5e" * 16 not in "".join(said)


def test_without_a_core_status_is_a_fault_that_says_how_to_start_it(site: Paper, tool: Tool) -> None:
    site.paid_session()
    site.close()
    code, found = tool.json("status")
    assert code == 2 and found["core"] == "stopped" and found["records"] == {"sealed": 2, "waiting": 2}
    assert "systemctl start charge-terminal" in tool("status")[1]
    code, _ = tool("session", "stop", 1, "--reason", "test")
    assert code == 2 and "does not run" in tool.stderr


def test_wrong_usage_is_3_and_errors_are_documents_too(tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool("session", "stop", 1)[0] == 3
    assert tool("nonsense")[0] == 3
    assert tool("records", "export", "--format", "pdf", "--out", "x")[0] == 3
    assert main(["--config", "/nowhere/terminal.toml", "status", "--json"]) == 2
    said = capsys.readouterr()
    assert "/nowhere/terminal.toml" in json.loads(said.out)["error"] and "--config" in said.err
    assert main(["--help"]) == 0


def test_a_defect_of_the_tool_is_one_sentence_and_a_fault(site: Paper) -> None:
    script = (
        "import sys; from terminal_app.run.service import cli, status\n"
        "def broken(site): raise ZeroDivisionError('x')\n"
        "status.look = broken; sys.argv[1:] = ['--config', sys.argv[1], 'status']; sys.exit(cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(site.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "a defect in this tool (ZeroDivisionError at <string>:2)" in done.stderr


def test_an_unplugged_car_is_seen(site: Paper, tool: Tool) -> None:
    site.evse(Pilot.B)
    with answering(site):
        assert "connected" in tool("status")[1]
