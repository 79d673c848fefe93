"""The simulated OpenEVSE board against a transcript of the real firmware (D8.1.1), word by word."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import tempfile
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.launch import Simulated

ANSWER_S = 10.0
SILENCE_S = 0.5
FLAGS = ("--transition-ms", "100", "--reboot-s", "1")
BOOT_LINES = ["relayCloseMs: 25", "relayHoldPwm: 75", "$AT 00 00 0 0200^03"]
NOISE = ["relayCloseMs: 25", "relayHoldPwm: 75"]


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def self_test_s() -> str:
    return "0.2"


@pytest.fixture
def board(place: Path, self_test_s: str) -> Iterator[Simulated]:
    wires = ("--link", place / "tty", "--load", place / "no-meter", "--cable", place / "cable")
    flags = (*wires, "--post-s", self_test_s, *FLAGS)
    with Simulated("evse", place / "c", *flags) as running:
        yield running


class Rapi:
    """The serial port and every line that came in, in order."""

    def __init__(self, path: Path) -> None:
        self._port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._port)
        self._rest = ""
        self.lines: list[str] = []

    def listen(self, wait_s: float) -> None:
        if select.select([self._port], [], [], wait_s)[0]:
            text = self._rest + os.read(self._port, 512).decode("latin-1").replace("\n", "")
            *lines, self._rest = text.split("\r")
            self.lines += lines

    def until(self, wanted: str, wait_s: float = ANSWER_S) -> list[str]:
        """All lines up to the wanted one, which are taken away."""
        deadline = time.monotonic() + wait_s
        while wanted not in self.lines:
            assert time.monotonic() < deadline, f"no {wanted!r} among {self.lines}"
            self.listen(0.1)
        index = self.lines.index(wanted)
        taken, self.lines = self.lines[: index + 1], self.lines[index + 1 :]
        return taken

    def send(self, text: str) -> None:
        os.write(self._port, text.encode("latin-1"))

    def reply(self, text: str, wait_s: float = ANSWER_S) -> str:
        """Send as it is; the first reply, or nothing."""
        self.send(text)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            for line in self.lines:
                if line.startswith(("$OK", "$NK")):
                    self.lines.remove(line)
                    return line
            self.listen(0.05)
        return ""

    def ask(self, command: str, sequence: int) -> str:
        body = f"${command} :{sequence:02X}"
        return self.reply(f"{body}^{xor(body):02X}\r")

    def close(self) -> None:
        os.close(self._port)


def xor(text: str) -> int:
    checksum = 0
    for character in text:
        checksum ^= ord(character)
    return checksum


@pytest.fixture
def rapi(board: Simulated, place: Path) -> Iterator[Rapi]:
    line = Rapi(place / "tty")
    yield line
    line.close()


class Cable:
    """A pilot line that is turned by hand."""

    def __init__(self, place: Path) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(place / "cable"))

    def wants(self, ready: bool) -> None:
        self._link.sendall(json.dumps({"want_w": 0, "ready": ready}).encode() + b"\n")

    def close(self) -> None:
        self._link.close()


@pytest.mark.parametrize("self_test_s", ["2"])  # long enough to ask during it, also on a slow machine
def test_the_transcript_of_the_real_board(board: Simulated, rapi: Rapi, place: Path) -> None:
    board.ctl("reboot", deaf_ms=1000)
    rapi.listen(0.3)  # what was left of the first boot
    rapi.lines.clear()
    assert rapi.until(BOOT_LINES[-1]) == BOOT_LINES
    for sequence, (feature, reply) in enumerate(
        {"F": "$OK :02^38", "G": "$OK :03^39", "R": "$OK :04^3E", "T": "$OK :05^3F"}.items(), start=2
    ):
        assert rapi.ask(f"FF {feature} 0", sequence) == reply
    assert rapi.ask("GS", 0x0A) == "$OK 00 0 00 0200 :0A^79"
    assert rapi.until("$AT 01 01 12 0200^30") == ["$AB 00 D8.1.1^5B", "$AT 01 01 12 0200^30"]
    assert rapi.ask("GC", 0x0B) == "$OK 6 16 12 12 :0B^79"
    assert rapi.ask("GE", 0x0C) == "$OK 12 0618 :0C^45"
    assert rapi.ask("GG", 0x0D) == "$OK 0 120000 :0D^7D"
    assert rapi.ask("GU", 0x0E) == "$OK 0 0 :0E^4F"
    assert rapi.ask("GS", 0x0F) == "$OK 01 0 01 0200 :0F^7E"
    cable = Cable(place)
    assert rapi.until("$AT 02 02 12 0700^35") == ["$AT 02 02 12 0700^35"]
    assert rapi.ask("GS", 0x10) == "$OK 02 0 02 0700 :10^0C"
    cable.wants(True)
    assert rapi.until("$AT 03 03 12 0540" + f"^{xor('$AT 03 03 12 0540'):02X}")[:2] == NOISE
    assert rapi.ask("SC 13 V", 0x12).startswith("$NK 12 :12^")
    assert rapi.ask("SC 3 V", 0x13) == "$NK 6 :13^2F"
    assert rapi.ask("GC", 0x14) == "$OK 6 16 6 12 :14^3B"
    assert rapi.ask("GG", 0x15) == "$OK 0 120000 :15^0D"
    assert rapi.ask("GU", 0x16) == "$OK 0 0 :16^3D"
    assert rapi.ask("FS", 0x17) == "$OK :17^3C"
    assert rapi.until("$AT fe 03 6 0540^06") == ["$AT fe 03 6 0540^06"]
    asleep = rapi.ask("GS", 0x18)
    state, elapsed, pilot, vflags = asleep.split("^")[0].split()[1:5]
    assert (state, pilot, vflags) == ("fe", "03", "0500") and elapsed.isdigit()
    assert rapi.ask("FE", 0x1A) == "$OK :1A^4A"
    lines = rapi.until("$AT 03 03 6 0540^06")
    assert lines == ["$AT 02 03 6 0500^03", *NOISE, "$AT 03 03 6 0540^06"]
    assert rapi.ask("FD", 0x1C).startswith("$OK :1C^")
    assert rapi.until("$AT ff 03 6 0500^01") == ["$AT ff 03 6 0500^01"]
    assert rapi.ask("GS", 0x1D).split()[:2] == ["$OK", "ff"]
    assert rapi.reply("$GS^00\r") == "$NK^21"
    assert rapi.reply("$GS\r").split()[0:2] == ["$OK", "ff"]
    assert rapi.reply(f"$GC*{sum(b'$GC') & 0xFF:02X}\r").startswith("$OK 6 16 6 12^")
    cable.close()


@pytest.fixture
def booted(rapi: Rapi) -> Rapi:
    deadline = time.monotonic() + ANSWER_S
    while rapi.ask("GS", 1).split()[1] == "00":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rapi.lines.clear()
    return rapi


def test_commands_the_standard_build_does_not_have(booted: Rapi) -> None:
    for command in ("SY", "SY 100 6", "GY", "SB", "XX", "S4", "SC x"):
        assert booted.ask(command, 7).startswith("$NK :07^")


def test_version_and_garbage_before_a_command(booted: Rapi) -> None:
    assert booted.ask("GV", 2).startswith("$OK D8.1.1 ")
    booted.send("xx\r$half a comm")
    assert booted.ask("G0", 3).startswith("$OK 0 :03^")
    booted.send("$" + "y" * 60 + "\r")
    assert booted.ask("G0", 4).startswith("$OK 0 :04^")


def test_restart_never_answers_then_boots_enabled(booted: Rapi, board: Simulated, place: Path) -> None:
    assert booted.ask("FD", 5).startswith("$OK")
    assert booted.reply("$FR\r", SILENCE_S) == ""
    assert booted.reply("$GS\r", 0.2) == ""
    booted.until("$AT 01 01 12 0200^30")
    assert board.ctl("get")["mode"] == "enabled"
    cable = Cable(place)
    cable.wants(True)
    booted.until(NOISE[1])
    assert board.ctl("get")["relay"]
    cable.close()
    booted.until("$AT 01 01 12 0200^30")
    assert not board.ctl("get")["relay"]


def test_auth_lock_keeps_the_relay_open(booted: Rapi, board: Simulated, place: Path) -> None:
    assert booted.ask("S4 1", 6).startswith("$OK :06^")
    assert booted.ask("G4", 7).startswith("$OK 1 :07^")
    cable = Cable(place)
    cable.wants(True)
    assert booted.reply("$SC 8 V\r").startswith("$OK 8^")
    time.sleep(0.4)
    assert not board.ctl("get")["relay"]
    assert booted.ask("GS", 8).split()[4] == "0708"
    assert booted.ask("S4 0", 9).startswith("$OK")
    booted.until(NOISE[1])
    assert board.ctl("get")["relay"]
    cable.close()


def test_faults_the_board_can_be_told_to_have(booted: Rapi, board: Simulated, place: Path) -> None:
    board.ctl("fault", kind="silent")
    assert booted.reply("$FD\r", SILENCE_S) == ""
    assert board.ctl("get")["mode"] == "enabled"
    board.ctl("fault", kind="mute")
    assert booted.reply("$FS\r", SILENCE_S) == ""
    assert board.ctl("get")["mode"] == "sleeping"
    board.ctl("fault", kind="nak")
    assert booted.ask("GS", 9) == f"$NK :09^{xor('$NK :09'):02X}"
    board.ctl("fault", kind="noise")
    assert booted.ask("GS", 10).split()[1] == "fe"
    board.ctl("fault", kind="none")
    board.ctl("gfci", on=True)
    assert booted.ask("GS", 11).split()[1] == "06"
    board.ctl("gfci", on=False)
    board.ctl("weld", on=True)
    assert booted.ask("FE", 12).startswith("$OK")
    assert booted.ask("GS", 13).split()[1] == "08"
