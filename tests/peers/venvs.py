"""Venvs for peers, made on demand and kept: the second test session needs no network.

They live in $XDG_CACHE_HOME/charge-terminal/peers, else in .venv-peers of the checkout; deleting the folder is always safe.
A peer that pip cannot install skips its tests with pip's own reason.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import pytest

INSTALL_TIMEOUT_S = 300
START_TIMEOUT_S = 60
READY = "ready"


def folder() -> Path:
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "charge-terminal" / "peers"
    return Path(__file__).resolve().parents[2] / ".venv-peers"


def python_of(name: str, installs: Sequence[Sequence[str]]) -> Path:
    """The interpreter of the peer's venv; `installs` are the arguments of one `pip install` after another. May skip."""
    recipe = hashlib.sha256(repr((sys.version_info[:2], installs)).encode()).hexdigest()[:8]
    home = folder() / f"{name}-{recipe}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test sessions may want it at once
        if not (home / READY).exists():
            shutil.rmtree(home, ignore_errors=True)
            _make(name, home, installs)
            (home / READY).touch()
    return home / "bin" / "python"


def _make(name: str, home: Path, installs: Sequence[Sequence[str]]) -> None:
    venv.create(home, with_pip=True)
    for arguments in installs:
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check"]
        try:
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f"peer {name}: pip did not finish within {INSTALL_TIMEOUT_S} s")
        if done.returncode:
            says = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:] or ["no reason"]
            pytest.skip(f"peer {name}: pip cannot install it: {says[-1]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class PeerProcess:
    """A peer that runs until the end of `with`; ready when its port answers. What it prints goes into a temporary file."""

    def __init__(self, name: str, command: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> None:
        self.name, self.port = name, port
        self._command, self._environment = list(command), {**os.environ, **(environment or {})}
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with this object

    def __enter__(self) -> "PeerProcess":
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=self._printed, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return self
        self.__exit__()
        raise AssertionError(f"peer {self.name} did not start: {self.printed()[-2000:]}")

    def printed(self) -> str:
        self._printed.seek(0)
        return self._printed.read().decode(errors="replace")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
