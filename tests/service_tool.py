"""`charge-service` as a technician calls it, and a core that answers it without being a whole terminal."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from terminal_app.engine.control_link import Answering
from terminal_app.engine.operations import operations
from terminal_app.ports import PaymentGateway
from terminal_app.run.service import main, parts
from tests.sessions import Paper


class Tool:
    """Runs commands; keeps what the last one wrote to stderr."""

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.path, self._capture = path, capture
        self.stderr = ""

    def __call__(self, *arguments: object) -> tuple[int, str]:
        """Exit code and stdout."""
        self._capture.readouterr()
        code = main(["--config", str(self.path), *map(str, arguments)])
        said = self._capture.readouterr()
        self.stderr = said.err
        assert "Traceback" not in said.err + said.out
        return code, said.out

    def without_pcsc(self, monkeypatch: pytest.MonkeyPatch) -> "Tool":
        """No test of this process shall decide which pcscd the others of it talk to."""
        absent = {"reader": "", "card_present": None, "trouble": "reader: none here", "kind": "no_reader", "next": "plug it in"}
        monkeypatch.setattr(parts, "look_at_reader", lambda site: absent)
        return self

    def json(self, *arguments: object) -> tuple[int, Any]:
        code, text = self(*arguments, "--json")
        return code, json.loads(text)


class Program(Tool):
    """The same as a process of its own: for what a process may do only once (libpcsclite reads its address once)."""

    def __call__(self, *arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "terminal_app.run.service", "--config", str(self.path), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.stderr = done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        return done.returncode, done.stdout


class CheckedGateway:
    """Only what a check asks of a gateway."""

    def __init__(self, trouble: str = "") -> None:
        self.trouble = trouble
        self.threads: list[str] = []

    def check(self, deadline_s: float) -> str:
        self.threads.append(threading.current_thread().name)
        return self.trouble


@contextlib.contextmanager
def answering(site: Paper, gateways: Mapping[str, Any] | None = None) -> Iterator[None]:
    """The engine turns on its own thread and its control socket answers, as in the core."""
    site.engine._stopping = False  # it may have answered before
    turning = threading.Thread(target=site.engine.run, name="engine", daemon=True)
    known: Mapping[str, PaymentGateway] = {"acquirer": CheckedGateway()} if gateways is None else gateways  # type: ignore[dict-item]
    control = Answering(site.config.terminal.runtime_dir / "control.sock", operations(site.engine, known), None)
    turning.start()
    try:
        yield
    finally:
        control.close()
        site.engine.stop()
        turning.join(10)
        assert not turning.is_alive()
