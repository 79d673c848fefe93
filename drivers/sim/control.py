"""What every simulated device has: a ready line, a control socket, and a clean end on SIGTERM.

Control: a Unix stream socket, one JSON object per line in, one out: `{"do": "insert"}` is answered by
`{"ok": true, ...}` or `{"ok": false, "error": "..."}`. Commands of several clients are carried out one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

LINE_LIMIT = 65_536
PATH_LIMIT = 100  # sun_path is 108 bytes on Linux
CLIENT_TIMEOUT_S = 10.0

Reply = dict[str, Any]


class SimulationError(Exception):
    """Cannot start or cannot obey; the text says what is wrong and what to do."""


class Command:
    """One order from the control socket, with checked access to its parameters."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    @property
    def do(self) -> str:
        return self.text("do")

    def has(self, key: str) -> bool:
        return key in self._fields

    def present(self, key: str) -> bool:
        """Given, and not null."""
        return self._fields.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        value = self._fields.get(key, default)
        if not isinstance(value, str):
            raise SimulationError(f"{key}: a text is needed, got {value!r}")
        return value

    def integer(self, key: str, default: int | None = None, low: int = 0, high: int = 10**15) -> int:
        value = self._fields.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SimulationError(f"{key}: a whole number from {low} to {high} is needed, got {value!r}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._fields.get(key, default)
        if not isinstance(value, bool):
            raise SimulationError(f"{key}: true or false is needed, got {value!r}")
        return value


Action = Callable[[Command], Reply | Awaitable[Reply | None] | None]


def ready(name: str, **facts: object) -> None:
    """Print the one line on stdout that says the device is there."""
    print(json.dumps({"ready": name, **facts}), flush=True)


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


async def json_lines(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream, until its end. Raises SimulationError on anything else."""
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            raise SimulationError(f"a line is longer than {LINE_LIMIT} bytes") from None
        except ConnectionError:
            return
        if not line.endswith(b"\n"):
            return
        try:
            message = json.loads(line)
        except ValueError as error:
            raise SimulationError(f"not JSON: {error}") from None
        if not isinstance(message, dict):
            raise SimulationError("a JSON object is needed")
        yield message


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen_unix(path: Path, handler: Handler) -> asyncio.Server:
    """Serve `path`; a socket that a dead process left there is replaced. Raises SimulationError."""
    if len(os.fsencode(path)) >= PATH_LIMIT:
        raise SimulationError(f"{path}: a Unix socket path must be shorter than {PATH_LIMIT} bytes; use a short directory")
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
                probe.connect(os.fspath(path))
                raise SimulationError(f"{path}: another process is listening there; stop it or choose another path")
            path.unlink()
    except FileNotFoundError:
        pass
    try:
        return await asyncio.start_unix_server(handler, path=path, limit=LINE_LIMIT)
    except OSError as error:
        raise SimulationError(f"{path}: cannot listen: {error.strerror}") from None


async def serve_control(path: Path, actions: Mapping[str, Action]) -> asyncio.Server:
    """Listen for commands at `path`."""
    lock = asyncio.Lock()

    async def obey(fields: dict[str, Any]) -> Reply:
        command = Command(fields)
        action = actions.get(command.do)
        if action is None:
            raise SimulationError(f"do: {command.do!r} is unknown; there is {', '.join(sorted(actions))}")
        async with lock:
            outcome = action(command)
            reply = await outcome if inspect.isawaitable(outcome) else outcome
        return {"ok": True, **(reply or {})}

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            try:
                async for fields in json_lines(reader):
                    try:
                        reply = await obey(fields)
                    except SimulationError as error:
                        reply = {"ok": False, "error": str(error)}
                    writer.write(encode(reply))
                    await writer.drain()
            except SimulationError as error:
                writer.write(encode({"ok": False, "error": str(error)}))
        writer.close()

    return await listen_unix(path, client)


def ask(path: str | os.PathLike[str], command: Mapping[str, Any], timeout_s: float = CLIENT_TIMEOUT_S) -> Reply:
    """Send one command from an ordinary (blocking) program and return the reply. Raises OSError, SimulationError."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout_s)
        link.connect(os.fspath(path))
        link.sendall(encode(command))
        received = b""
        while not received.endswith(b"\n"):
            part = link.recv(LINE_LIMIT)
            if not part:
                raise SimulationError(f"{path}: the device closed the connection without an answer")
            received += part
    reply = json.loads(received)
    if not isinstance(reply, dict):
        raise SimulationError(f"{path}: the answer is not a JSON object")
    return reply


def run(name: str, device: Coroutine[Any, Any, None]) -> int:
    """Run a device in the foreground until SIGTERM or SIGINT. Exit code: 0 ended as asked, 2 could not start."""

    async def main() -> None:
        task = asyncio.create_task(device)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        asyncio.run(main())
    except SimulationError as error:
        print(f"drivers.sim {name}: {error}", file=sys.stderr)
        return 2
    return 0


async def forever() -> None:
    """Wait for the end of the process."""
    await asyncio.Event().wait()
