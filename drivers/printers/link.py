"""Bytes to a printer and back, each wait bounded: a character device (/dev/usb/lp0), a file, or TCP port 9100. One thread."""

import contextlib
import os
import select
import socket
import stat
import time
from collections.abc import Iterator

from terminal_app.errors import DeviceUnavailable

CONNECT_S = 5.0
WRITE_S = 20.0
"""A printer without paper takes no more bytes once its buffer is full."""


class Link:
    """An open way to a printer; `answers` is False where nothing can ever come back."""

    def __init__(self, file: int, where: str, device_name: str, answers: bool) -> None:
        self._file, self._where, self._device, self.answers = file, where, device_name, answers

    def write(self, rest: bytes) -> None:
        """All of it, within 20 s. DeviceUnavailable; then a part may be on paper."""
        deadline = time.monotonic() + WRITE_S
        while rest:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([], [self._file], [], remaining)[1]:
                raise DeviceUnavailable(self._device, "timeout", f"{self._where} takes no more; check paper and cover")
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self._file, rest) :]

    def byte(self, within_s: float) -> int | None:
        """The next byte that comes back, None if none does in time."""
        if not self.answers or not select.select([self._file], [], [], within_s)[0]:
            return None
        with contextlib.suppress(BlockingIOError):
            found = os.read(self._file, 1)
            return found[0] if found else None
        return None

    def forget_old_answers(self) -> None:
        for _ in range(64):
            if self.byte(0) is None:
                return


@contextlib.contextmanager
def to_device(path: str, device_name: str) -> Iterator[Link]:
    """Opened for one use, so that a printer may come and go. A device is never made; DeviceUnavailable."""
    try:
        mode = os.stat(path).st_mode
        both = stat.S_ISCHR(mode)
        flags = (os.O_RDWR if both else os.O_WRONLY | os.O_APPEND) | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        file = os.open(path, flags)
    except OSError as error:
        raise DeviceUnavailable(device_name, "port", f"{path} cannot be opened: {error.strerror}") from error
    try:
        yield Link(file, path, device_name, answers=both)
    except OSError as error:
        raise DeviceUnavailable(device_name, "port", f"{path}: {error.strerror}") from error
    finally:
        os.close(file)


@contextlib.contextmanager
def to_host(host: str, port: int, device_name: str) -> Iterator[Link]:
    """One connection for one use: network printers serve one at a time. DeviceUnavailable."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S) as line:
            line.setblocking(False)
            yield Link(line.fileno(), where, device_name, answers=True)
    except OSError as error:
        raise DeviceUnavailable(device_name, "port", f"{where}: {error.strerror or error}") from error
