"""Packages from npm for `full` runs: installed on demand, each once, beside the venvs of the other peers."""

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.peers.venvs import READY, folder

NPM_TIMEOUT_S = 550


def modules(*packages: str) -> Path:
    """The folder node_modules with these packages in it ("name@version"). Skips with npm's reason if that is not possible."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    home = folder() / "npm"
    home.mkdir(parents=True, exist_ok=True)
    with (folder() / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (home / "package.json").touch()
        if not (home / "package.json").stat().st_size:
            (home / "package.json").write_text("{}")  # else npm looks for a project further up
        for package in packages:
            mark = home / f"{READY}-{re.sub(r'[^a-z0-9.]', '-', package)}"
            if mark.exists():
                continue
            command = ["npm", "install", "--no-audit", "--no-fund", "--silent", package]
            try:
                done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=NPM_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm did not install {package} within {NPM_TIMEOUT_S} s")
            if done.returncode:
                pytest.skip(f"npm cannot install {package}: {(done.stderr or done.stdout)[-300:]}")
            mark.touch()
    return home / "node_modules"
