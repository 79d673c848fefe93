"""Start simulated devices from another program (tests, demo), wait for their ready line, command and stop them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from drivers.sim.control import SimulationError, ask

READY_WITHIN_S = 30.0
ENDS_WITHIN_S = 10.0


class Simulated:
    """One running device. A context manager; leaving it sends SIGTERM and waits."""

    def __init__(self, name: str, control: Path, *flags: str | Path, ready_within_s: float = READY_WITHIN_S) -> None:
        """Blocks until the device is ready. Raises SimulationError with its error text if it does not start."""
        self.control = control
        arguments = [sys.executable, "-m", "drivers.sim", name, "--control", control, *flags]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the device; a pipe could fill
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self._errors)
        self.facts: dict[str, Any] = self._wait(name, ready_within_s)

    def _wait(self, name: str, within_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        deadline, line = time.monotonic() + within_s, b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            if not part:
                self.process.kill()
                self.process.communicate(timeout=ENDS_WITHIN_S)
                raise SimulationError(f"{name} did not start: {self.errors().strip() or 'no ready line'}")
            line += part
        facts = json.loads(line)
        assert isinstance(facts, dict)
        return facts

    def errors(self) -> str:
        """What the device has written on stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def ctl(self, do: str, **parameters: object) -> dict[str, Any]:
        """Send one command. Raises SimulationError if the device refuses it."""
        reply = ask(self.control, {"do": do, **parameters})
        if not reply.get("ok"):
            raise SimulationError(f"{do}: {reply.get('error')}")
        return reply

    def stop(self) -> int:
        """End the device as systemd would; returns its exit code."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        return self.process.returncode

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
