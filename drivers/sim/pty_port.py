"""The device's end of a serial line: a pseudo terminal, reachable under a stable name (a symbolic link).

As on a real line, bytes sent while nobody has the port open are lost, and the port can be pulled out: the open file of
the other side then fails as it does for a USB adapter that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import termios
import tty
from collections.abc import Callable
from pathlib import Path

from drivers.sim.control import SimulationError

OPENED_POLL_S = 0.02  # a pty raises no event when somebody opens it


class PtyPort:
    def __init__(self, link: Path, received: Callable[[bytes], None]) -> None:
        self._link = link
        self._received = received
        self._master: int | None = None
        self._watcher: asyncio.Task[None] | None = None

    def plug(self) -> None:
        """Make the port appear. Raises SimulationError if the name is taken by something that is not ours."""
        if self._master is not None:
            return
        if self._link.exists() and not self._link.is_symlink():
            raise SimulationError(f"{self._link}: exists and is not a symbolic link; choose another name")
        master, slave = os.openpty()
        tty.setraw(slave)
        name = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(master, False)
        self._master = master
        temporary = self._link.with_name(f".{self._link.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        temporary.replace(self._link)
        self._watcher = asyncio.create_task(self._watch(master, name))

    def unplug(self) -> None:
        """Pull the port out."""
        if self._master is None:
            return
        if self._watcher is not None:
            self._watcher.cancel()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        self._master = None
        self._link.unlink(missing_ok=True)

    def send(self, data: bytes) -> None:
        """Put bytes on the line; lost when nobody listens or the other side's buffer is full."""
        if self._master is not None and not _hung_up(self._master):
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._master, data)

    async def _watch(self, master: int, name: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while _hung_up(master):
                await asyncio.sleep(OPENED_POLL_S)
            closed = asyncio.Event()
            loop.add_reader(master, self._read, master, closed)
            await closed.wait()
            with contextlib.suppress(OSError):  # a UART's buffer is gone when its port is closed
                slave = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                termios.tcflush(slave, termios.TCIOFLUSH)
                os.close(slave)

    def _read(self, master: int, closed: asyncio.Event) -> None:
        try:
            received = os.read(master, 4096)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last client has closed the port
            asyncio.get_running_loop().remove_reader(master)
            closed.set()
            return
        self._received(received)


def _hung_up(master: int) -> bool:
    poll = select.poll()
    poll.register(master, 0)
    return bool(poll.poll(0))
