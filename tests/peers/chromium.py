"""Headless Chromium, driven over its debugging pipe (no port, no further library)."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DEADLINE_S = 60.0


def installed() -> str:
    """The browser's path; "" if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), "")


class Chromium:
    """One browser with one page. Everything waits at most DEADLINE_S."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        there_reads, self._to = os.pipe()
        self._from, there_writes = os.pipe()
        command = [installed(), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += [f"--user-data-dir={self._place}", f"--window-size={width},{height}", "about:blank"]
        shell = f'exec 3<&{there_reads} 4>&{there_writes}; exec "$@"'  # the browser speaks on descriptors 3 and 4
        with (self._place / "log").open("wb") as log:
            ends = (there_reads, there_writes)
            self._process = subprocess.Popen(
                ["bash", "-c", shell, "bash", *command], pass_fds=ends, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        os.close(there_reads)
        os.close(there_writes)
        self._number, self._left = 0, b""
        self._session = ""
        (target,) = (one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; what the browser tells in between is passed over."""
        self._number += 1
        said = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps(said | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait(lambda: self.run("document.readyState") == "complete")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < end, self.run("document.body.innerText")
            time.sleep(0.1)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(20)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._place, ignore_errors=True)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE_S
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._from, 65536) if ready else b""
            assert chunk, (self._place / "log").read_text()[-2000:]
            self._left += chunk
        answer, _, self._left = self._left.partition(b"\0")
        return dict(json.loads(answer))
