"""A simulated device as its own process, as in the demo: started, commanded over its control socket, ended."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from drivers.sim.control import ask


class SimProcess:
    """`python -m drivers.sim NAME` with sockets in `folder`. `facts` is its ready line."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.control = folder / f"{name}.ctl"
        command = [sys.executable, "-m", "drivers.sim", name, "--control", str(self.control), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"drivers.sim {name} did not start"
        self.facts: dict[str, Any] = json.loads(line)

    def do(self, word: str, **fields: object) -> dict[str, Any]:
        reply = ask(self.control, {"do": word, **fields})
        assert reply["ok"], reply
        return reply

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Car:
    """A car on the board's cable socket: plugged in while this exists."""

    def __init__(self, cable: Path, want_w: int) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(cable))
        self.want(want_w)

    def want(self, want_w: int) -> None:
        self._link.sendall(json.dumps({"want_w": want_w}).encode() + b"\n")

    def leave(self) -> None:
        self._link.close()
