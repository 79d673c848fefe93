"""An X display and a finger on it: Xvfb when there is no screen, XTEST touches through xdotool."""

import os
import subprocess
import time


class Display:
    """`name` is the DISPLAY. A context manager ends its own Xvfb; an existing display is only used."""

    def __init__(self, headless: bool, size: str = "1280x1024") -> None:
        self._xvfb: subprocess.Popen[bytes] | None = None
        if not headless and os.environ.get("DISPLAY"):
            self.name = os.environ["DISPLAY"]
            return
        reading, writing = os.pipe()
        self._xvfb = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as answer:
            number = answer.readline().strip()
        if not number:
            raise RuntimeError("Xvfb did not start: is the Debian package xvfb installed?")
        self.name = f":{number}"

    def touch(self, x: int, y: int) -> None:
        """Press and lift at window coordinates. The window stands at the top left corner of its display."""
        self._xdotool("mousemove", str(x), str(y))
        time.sleep(0.15)  # a pointer that has just moved is not yet where the program thinks
        self._xdotool("mousedown", "1")
        time.sleep(0.08)
        self._xdotool("mouseup", "1")

    def _xdotool(self, *arguments: str) -> None:
        subprocess.run(["xdotool", *arguments], env={**os.environ, "DISPLAY": self.name}, check=True, timeout=10)

    def close(self) -> None:
        if self._xvfb is not None:
            self._xvfb.terminate()
            self._xvfb.wait()
            self._xvfb = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
