"""The real program in its own process, under Xvfb: pressed by XTEST, watched over its socket, its files and systemd's."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from terminal_app.screens import Button, Show, Shown, Touch
from tests.ui.test_link import FakeCore, folder, until
from ui import samples

__all__ = ["folder"]

needs_x = pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool (apt-get install xvfb xdotool)"
)


def ended(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(20)


@pytest.fixture
def display() -> Iterator[str]:
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x480x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()
    yield f":{number}"
    ended(server)


class Watched:
    """A fake core, systemd's socket and the files that the program writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shots = folder / "shots"
        self.shots.mkdir()
        self.rects_file = folder / "rects.json"
        self.core = FakeCore(folder / "ui.sock")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        self.systemd.settimeout(60)

    def start(self, display: str) -> subprocess.Popen:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("KIVY", "SDL"))}
        environment |= {"DISPLAY": display, "NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "1500000"}
        command = [sys.executable, "-m", "ui.app", "--socket", str(self.folder / "ui.sock")]
        command += ["--rects", str(self.rects_file), "--screenshots", str(self.shots)]
        return subprocess.Popen(command, env=environment)

    def show(self, name: str, screen_no: int) -> dict[str, list[int]]:
        """Show, keep showing as a core does, until the program says it can be touched."""
        self.core.clients[-1].send(Show(samples.screen(samples.USUAL[name], screen_no=screen_no)))
        until(lambda: Shown(screen_no) in self.core.heard)
        until(lambda: self.rects_file.exists() and json.loads(self.rects_file.read_text())["screen_no"] == screen_no)
        found: dict[str, list[int]] = json.loads(self.rects_file.read_text())["rects"]
        return found


def press(display: str, rect: list[int]) -> None:
    x, y, width, height = rect
    where = ["mousemove", str(x + width // 2), str(y + height // 2), "sleep", "0.2"]
    subprocess.run(["xdotool", *where, "mousedown", "1", "sleep", "0.15", "mouseup", "1"], env={"DISPLAY": display}, check=True)


@needs_x
def test_a_driver_presses_stop_and_the_core_hears_it_once(folder: Path, display: str) -> None:
    watched = Watched(folder)
    program = watched.start(display)
    try:
        assert watched.systemd.recv(100) == b"READY=1"
        assert watched.systemd.recv(100) == b"WATCHDOG=1"
        until(lambda: watched.core.heard)
        rects = watched.show("charging", 41)
        press(display, rects["stop"])
        until(lambda: Touch(41, Button.STOP) in watched.core.heard)
        rects = watched.show("receipt", 42)
        (watched.shots / "request-receipt").touch()
        until(lambda: not (watched.shots / "request-receipt").exists())
        assert cv2.QRCodeDetector().detectAndDecode(cv2.imread(str(watched.shots / "receipt.png")))[0] == samples.QR
        until(lambda: json.loads(watched.rects_file.read_text())["code"] == samples.QR)
        press(display, rects["language:de"])
        until(lambda: Touch(42, Button.LANGUAGE, "de") in watched.core.heard)
        assert [message for message in watched.core.heard if isinstance(message, Touch)] == [
            Touch(41, Button.STOP),
            Touch(42, Button.LANGUAGE, "de"),
        ], "each press is heard once: one input provider"
        watched.core.close()
        until(lambda: json.loads(watched.rects_file.read_text())["view"] == "out_of_service")
        assert watched.systemd.recv(100) == b"WATCHDOG=1", "it lives on without a core"
    finally:
        ended(program)
    assert program.returncode == 0, "SIGTERM ends it in good order"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--socket", "x", "--size", "800"], "'800' is not a screen size; write WIDTHxHEIGHT"),
        ([], "--socket"),
        (["--socket", "x", "--screenshots", "/nonexistent"], "--screenshots /nonexistent: not a directory"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence(arguments: list[str], told: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ui.app", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr and "Traceback" not in done.stderr
