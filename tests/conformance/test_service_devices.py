"""charge-service on simulated devices: directly while no core runs, and beside a real core process."""

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.run.service import core_talk
from tests.conformance.sim_process import SimProcess
from tests.conformance.test_reader_port import Service, needs_pcscd
from tests.scripted_card import PANS
from tests.service_tool import Program, Tool
from tests.sessions import Paper, runtime_dir, site_files

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def devices() -> Iterator[tuple[SimProcess, SimProcess]]:
    with runtime_dir() as folder:
        meter = SimProcess(folder, "meter", "--link", str(folder / "meter"), "--load", str(folder / "load"))
        try:
            wires = ("--link", str(folder / "evse"), "--load", str(folder / "load"), "--cable", str(folder / "cable"))
            board = SimProcess(folder, "evse", *wires, "--post-s", "0.2")
            yield meter, board
            board.stop()
        finally:
            meter.stop()


class Office(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def office() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Office)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(devices: tuple[SimProcess, SimProcess], office: str, tmp_path: Path) -> Iterator[Path]:
    meter, board = devices
    meter.do("fault", kind="none")
    with runtime_dir() as runtime:
        file = site_files(tmp_path, runtime, office_url=office)
        text = (
            file.read_text().replace('"meter-port"', f'"{meter.facts["port"]}"').replace('"evse-port"', f'"{board.facts["port"]}"')
        )
        text = text.replace("[reader]", f'[reader]\npcsc_socket = "{runtime}/no-pcscd"')
        file.write_text(text)
        yield file


@pytest.fixture
def tool(path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(path, capsys)


def states(tool: Tool) -> dict[str, str]:
    _, found = tool.json("check")
    return {one["part"]: one["state"] for one in found["parts"]}


def test_the_meter_itself_is_read_while_no_core_runs(tool: Tool, devices: tuple[SimProcess, SimProcess]) -> None:
    devices[0].do("swap", serial=4711, register_wh=1_234_500)
    code, (row,) = tool.json("meter", "read")
    assert code == 0 and (row["source"], row["energy_wh"], row["serial"], row["trouble"]) == ("meter", 1_234_500, "4711", "")
    assert row["latency_ms"] >= 0
    devices[0].do("fault", kind="silent")
    code, (row,) = tool.json("meter", "read")
    assert code == 2 and row["energy_wh"] is None and row["trouble"].startswith("timeout")


def test_check_asks_the_devices_themselves_while_no_core_runs(
    path: Path, capsys: pytest.CaptureFixture[str], devices: tuple[SimProcess, SimProcess]
) -> None:
    Paper(path).close()  # a ledger is there, its core is not
    tool = Program(path, capsys)
    found = states(tool)
    assert {part: found[part] for part in ("meter 1", "controller 1", "disk", "ledger", "office")} == dict.fromkeys(
        ("meter 1", "controller 1", "disk", "ledger", "office"), "ok"
    )
    assert (found["core"], found["reader"], found["gateway acquirer"]) == ("fault", "fault", "fault")
    devices[0].do("fault", kind="silent")
    assert states(tool)["meter 1"] == "fault"


@pytest.fixture
def core(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "terminal_app.run.core", "--config", str(path)], stderr=subprocess.PIPE, text=True
    )
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)


def wait_until_running(tool: Tool) -> dict[str, object]:
    until = time.monotonic() + DEADLINE_S
    while True:
        _, found = tool.json("status")
        if found.get("core") == "running" and found["connectors"][0]["meter_wh"] is not None and found["faults"]:
            return dict(found)
        assert time.monotonic() < until, found
        time.sleep(0.2)


def test_beside_a_real_core(
    tool: Tool,
    core: subprocess.Popen[str],
    devices: tuple[SimProcess, SimProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its operations are wired, its faults arrive, and its devices are left alone."""
    devices[0].do("swap", serial=4711, register_wh=1_234_500)
    wait_until_running(tool)
    code, (row,) = tool.json("meter", "read")
    assert (row["source"], row["energy_wh"]) == ("core", 1_234_500)
    found = states(tool)
    assert (found["core"], found["meter 1"], found["controller 1"], found["ledger"], found["office"]) == ("ok",) * 5
    assert (found["reader"], found["gateway acquirer"]) == ("fault", "fault")
    code, _ = tool("records", "verify")
    assert code == 0
    code, _ = tool("reader", "read")
    assert code == 2 and "stop it first" in tool.stderr
    code, _ = tool("bundle", "--out", tmp_path / "support.tar.gz")
    assert code == 0
    monkeypatch.setattr(core_talk, "ANSWER_TIMEOUT_S", 1.0)
    os.kill(core.pid, signal.SIGSTOP)  # a core that hangs is told, in bounded time
    try:
        code, _ = tool("status")
    finally:
        os.kill(core.pid, signal.SIGCONT)
    assert code == 2 and "does not answer" in tool.stderr


def test_the_program_as_installed_prints_no_traceback(path: Path) -> None:
    command = [sys.executable, "-m", "terminal_app.run.service", "--config", str(path), "session", "explain", "x", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "error" in json.loads(done.stdout) and "Traceback" not in done.stderr


@needs_pcscd
def test_reader_and_card_at_a_real_pcscd(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with runtime_dir() as folder:
        service = Service(folder)
        try:
            text = path.read_text()
            path.write_text(re.sub(r'pcsc_socket = ".*"', f'pcsc_socket = "{service.socket}"', text))
            tool = Program(path, capsys)
            code, found = tool.json("reader", "probe")
            assert (code, found["card_present"], found["trouble"]) == (0, False, "") and found["reader"]
            service.card("set", profile="mastercard")
            service.card("insert")
            assert tool.json("reader", "probe")[1]["card_present"] is True
            code, card = tool.json("reader", "read", "--wait", "20")
            assert (code, card["brand"], card["last4"]) == (0, "Mastercard", PANS["mastercard"][-4:])
            assert PANS["mastercard"] not in str(card) and "token" not in card
            service.card("remove")
            code, _ = tool("reader", "read", "--wait", "1")
            assert code == 2 and "no card within 1 s" in tool.stderr
        finally:
            service.device.stop()
        code, _ = Program(path, capsys)("reader", "probe")
        assert code == 2
