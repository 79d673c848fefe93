"""A simulated ESC/POS receipt printer on TCP (as network printers on port 9100) or on a character device (`--link`).

It answers the real-time status at once, even without paper, and everything else in order. Its paper runs out, its cover opens,
it can be slow, silent (prints, answers nothing) or off.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any

from drivers.sim.control import Command, Reply, SimulationError, forever, ready, serve_control
from drivers.sim.escpos_paper import Paper
from drivers.sim.flags import address
from drivers.sim.pty_port import PtyPort

FAULTS = ("none", "silent", "off")
CHUNK = 4096


class Device:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._paper = Paper()
        self._fault, self._cover, self._slow_ms = "none", False, 0
        self._clients: set[asyncio.StreamWriter] = set()
        self._port: PtyPort | None = None

    def _status(self, question: int) -> int:
        if question == 2:
            return 0x12 | (0x04 if self._cover else 0) | (0x20 if self._paper.out else 0)
        if question == 4:
            return 0x12 | (0x60 if self._paper.out else 0)
        return 0x12 | (0x08 if self._paper.out or self._cover else 0)

    def _taken(self, data: bytes) -> bytes:
        """Carries out what came; what is said back."""
        said = bytearray()
        while len(data) >= 3 and data[:2] == b"\x10\x04":  # a host asks for real-time status on its own
            said.append(self._status(data[2]))
            data = data[3:]
        if data and not self._cover:
            self._paper.feed(data)
        said += self._paper.answers
        self._paper.answers.clear()
        return b"" if self._fault == "silent" else bytes(said)

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if self._fault == "off":
                    break
                await asyncio.sleep(self._slow_ms / 1000)
                writer.write(self._taken(data))
        self._clients.discard(writer)
        writer.close()

    def _by_device(self, data: bytes) -> None:
        if self._port is not None and self._fault != "off":
            self._port.send(self._taken(data))

    # --- commands ---

    def fault(self, command: Command) -> None:
        kind = command.text("kind")
        if kind not in FAULTS:
            raise SimulationError(f"kind: {kind!r} is unknown; there is {', '.join(FAULTS)}")
        self._fault = kind

    def slow(self, command: Command) -> None:
        self._slow_ms = command.integer("ms", high=60_000)

    def cover(self, command: Command) -> None:
        self._cover = command.flag("open")

    def paper(self, command: Command) -> None:
        """lines: what is left of the roll; null: a new roll, and what waits is printed."""
        self._paper.paper_lines = command.integer("lines") if command.present("lines") else None
        self._paper.feed(b"")
        answers = bytes(self._paper.answers)
        self._paper.answers.clear()
        for writer in self._clients:
            writer.write(answers)

    def get(self, command: Command) -> Reply:
        found: dict[str, Any] = {"receipts": [one.told() for one in self._paper.receipts], "unreadable": self._paper.unreadable}
        return found | {"begun": self._paper.current.told(), "out": self._paper.out}

    async def serve(self) -> None:
        facts: dict[str, object] = {}
        if self._options.link is not None:
            self._port = PtyPort(self._options.link, self._by_device)
            self._port.plug()
            facts["device"] = str(self._options.link)
        else:
            host, port = self._options.listen
            try:
                server = await asyncio.start_server(self.client, host, port)
            except OSError as error:
                raise SimulationError(f"--listen {host}:{port}: cannot listen: {error.strerror}") from None
            host, port = server.sockets[0].getsockname()[:2]
            facts["port"] = f"{host}:{port}"
        commands = ("fault", "slow", "cover", "paper", "get")
        await serve_control(self._options.control, {name: getattr(self, name) for name in commands})
        ready("printer", control=str(self._options.control), **facts)
        await forever()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 0), help="host:port (default 127.0.0.1:0)")
    parser.add_argument("--link", type=Path, help="instead: a device with this name")


async def serve(options: argparse.Namespace) -> None:
    await Device(options).serve()
