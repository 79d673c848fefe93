"""An energy meter: Modbus RTU slave on a pty, and Modbus TCP. See `drivers.sim` for the flags. `--model` says which one:
an Eastron SDM630-V2, or one that signs (Bauer BSM-WS36A, Carlo Gavazzi EM580, Iskra WM3M4C).

The load comes in over a Unix socket: whoever switches the power sends `{"power_w": N, "at_ns": CLOCK_MONOTONIC}` lines;
a connection that ends is a cut wire. Several connections add up (several outlets behind one meter).
A request to another unit id, or with a bad checksum, stays unanswered, as on a real bus.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import struct
import time
from pathlib import Path

from drivers.sim.control import (
    Command,
    Reply,
    SimulationError,
    encode,
    forever,
    json_lines,
    listen_unix,
    ready,
    serve_control,
)
from drivers.sim.durable import write_durably
from drivers.sim.flags import address
from drivers.sim.modbus_slave import WRITE_MANY, WRITE_ONE, answer, rtu_frame, rtu_request, written
from drivers.sim.pty_port import PtyPort
from drivers.sim.sdm630 import Register

SAVE_EVERY_S = 1.0
FRAME_GAP_S = 0.03  # a pty has no 3.5-character silence; bytes of one request arrive closer together than this
FAULTS = ("none", "silent", "garbage_before", "crc", "late", "wrong_unit", "truncated", "exception")
MAX_POWER_W = 100_000_000
MODELS = {"sdm630": "Register", "bsm_ws36a": "BsmWs36a", "em580": "Em580", "wm3m4c": "Wm3m4c"}  # module -> class


def _model(name: str) -> type[Register]:
    """Loaded when wanted: what signs loads a cryptography library."""
    module = name.replace("-", "_")
    found: type[Register] = getattr(importlib.import_module(f"drivers.sim.{module}"), MODELS[module])
    return found


class Meter:
    def __init__(self, options: argparse.Namespace) -> None:
        self._unit: int = options.unit
        self._char_s: float = 10 / options.baud if options.baud else 0.0
        self._register = _model(options.model)(options.register_wh * 1000, options.serial, options.state)
        self._started_wh: int = options.register_wh
        self._port = PtyPort(options.link, self._received)
        self._buffer = b""
        self._forget: asyncio.TimerHandle | None = None
        self._fault = "none"
        self._late_ms = 0
        self._faults_left = 0
        self._state: Path | None = options.state
        self._saving = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()

    def _received(self, data: bytes) -> None:
        self._buffer = (self._buffer + data)[-512:]
        if self._forget is not None:
            self._forget.cancel()
        request = rtu_request(self._buffer)
        if request is None:
            self._forget = asyncio.get_running_loop().call_later(FRAME_GAP_S, self._drop)
            return
        received = len(self._buffer)
        self._buffer = b""
        unit, pdu = request
        if unit == self._unit:
            task = asyncio.create_task(self._reply(pdu, received))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _drop(self) -> None:
        self._buffer = b""

    def _take_fault(self) -> str:
        """The fault of this reply; a fault set with `times` ends by itself."""
        fault = self._fault
        if self._faults_left:
            self._faults_left -= 1
            if not self._faults_left:
                self._fault = "none"
        return fault

    def _body(self, pdu: bytes) -> bytes:
        self._register.settle(time.monotonic_ns())
        if pdu[0] in (WRITE_ONE, WRITE_MANY) and self._register.writes:
            return written(pdu, self._register.write)
        return answer(pdu, self._register.blocks())

    async def _reply(self, pdu: bytes, received: int) -> None:
        fault = self._take_fault()
        if fault == "silent":
            return
        body = self._body(pdu)
        if fault == "exception":
            body = bytes([pdu[0] | 0x80, 4])
        frame = rtu_frame(self._unit % 247 + 1 if fault == "wrong_unit" else self._unit, body)
        if fault == "crc":
            frame = frame[:-1] + bytes([frame[-1] ^ 0x55])
        elif fault == "truncated":
            frame = frame[:-3]
        elif fault == "garbage_before":
            frame = b"\x7e" + frame
        elif fault == "late":
            await asyncio.sleep(self._late_ms / 1000)
        await self._send(frame, received)

    async def _send(self, frame: bytes, received: int) -> None:
        """At once, or as slowly as the line would carry the request, the silence after it, and the reply."""
        if not self._char_s:
            self._port.send(frame)
            return
        loop = asyncio.get_running_loop()
        start = loop.time() + self._char_s * (received + 3.5)
        for index in range(len(frame)):
            await asyncio.sleep(max(0.0, start + self._char_s * (index + 1) - loop.time()))
            self._port.send(frame[index : index + 1])

    async def load(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        load = self._register.attach(time.monotonic_ns())
        try:
            async for fields in json_lines(reader):
                command = Command(fields)
                now_ns = time.monotonic_ns()
                at_ns = min(command.integer("at_ns", now_ns, high=2**63), now_ns)
                self._register.flow(load, at_ns, command.integer("power_w", high=MAX_POWER_W))
        except SimulationError as error:
            writer.write(encode({"error": str(error)}))
        finally:
            self._register.detach(load, time.monotonic_ns())
            writer.close()

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One Modbus TCP client: MBAP header, then the PDU."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                if protocol != 0 or not 2 <= length <= 254:
                    break
                pdu = await reader.readexactly(length - 1)
                fault = self._take_fault()
                if unit != self._unit or fault == "silent":
                    continue
                if fault == "late":
                    await asyncio.sleep(self._late_ms / 1000)
                body = self._body(pdu)
                if fault == "exception":
                    body = bytes([pdu[0] | 0x80, 4])
                writer.write(struct.pack(">HHHB", number, 0, len(body) + 1, unit) + body)
                await writer.drain()
        writer.close()

    def get(self, command: Command) -> Reply:
        self._register.settle(time.monotonic_ns())
        mwh = self._register.register_mwh
        return {
            "register_wh": mwh // 1000,
            "register_mwh": mwh,
            "shown_mwh": self._register.shown_mwh,
            "power_w": self._register.power_w,
            "serial": self._register.serial,
            "fault": self._fault,
        }

    def fault(self, command: Command) -> Reply:
        kind = command.text("kind")
        if kind not in FAULTS:
            raise SimulationError(f"kind: {kind!r} is unknown; there is {', '.join(FAULTS)}")
        self._late_ms = command.integer("ms", 0, high=600_000)
        self._faults_left = command.integer("times", 0, high=1_000_000)
        self._fault = kind
        return {"fault": kind}

    def freeze(self, command: Command) -> None:
        self._register.settle(time.monotonic_ns())
        self._register.freeze(command.flag("on"))

    def nan(self, command: Command) -> None:
        self._register.nan = command.flag("on")

    async def set_register(self, command: Command) -> Reply:
        """Jump to another register value (default 0)."""
        register_wh = command.integer("register_wh", 0, high=10**10)
        self._register.settle(time.monotonic_ns())
        self._register.set_register(register_wh * 1000)
        await self._save()
        return self.get(command)

    def power_cut(self, command: Command) -> None:
        """Supply gone and back for an instant. A meter that does not sign forgets nothing."""
        self._register.settle(time.monotonic_ns())
        self._register.power_cut()

    async def renew(self, command: Command) -> Reply:
        """A new meter of the same model: register, key and measurements begin anew."""
        self._register = type(self._register)(self._started_wh * 1000, self._register.serial, None)
        self._fault = "none"
        return self.get(command)

    async def swap(self, command: Command) -> Reply:
        """Another meter hangs in its place."""
        self._register.serial = command.integer("serial", high=2**32 - 1)
        return await self.set_register(command)

    async def _save(self) -> None:
        if self._state is not None:
            async with self._saving:
                await asyncio.to_thread(write_durably, self._state, self._register.snapshot())

    async def serve(self, options: argparse.Namespace) -> None:
        self._port.plug()
        await listen_unix(options.load, self.load)
        actions = {
            "get": self.get,
            "fault": self.fault,
            "freeze": self.freeze,
            "nan": self.nan,
            "set_register": self.set_register,
            "swap": self.swap,
            "renew": self.renew,
            "power_cut": self.power_cut,
            "unplug": lambda _: self._port.unplug(),
            "plug": lambda _: self._port.plug(),
        }
        await serve_control(options.control, actions)
        facts: dict[str, object] = {
            "port": str(options.link),
            "load": str(options.load),
            "control": str(options.control),
        }
        if options.tcp:
            host, port = options.tcp
            try:
                server = await asyncio.start_server(self.tcp, host, port)
            except OSError as error:
                raise SimulationError(f"--tcp {host}:{port}: cannot listen: {error.strerror}") from None
            facts["tcp"] = "{}:{}".format(*server.sockets[0].getsockname()[:2])
        saver = asyncio.create_task(self._keep())
        ready("meter", **facts)
        try:
            await forever()
        finally:
            saver.cancel()
            self._register.settle(time.monotonic_ns())
            if self._state is not None:
                write_durably(self._state, self._register.snapshot())
            self._port.unplug()

    async def _keep(self) -> None:
        saved = -1
        while True:
            self._register.settle(time.monotonic_ns())
            if saved != self._register.energy_wns:
                saved = self._register.energy_wns
                await self._save()
            await asyncio.sleep(SAVE_EVERY_S)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--link", type=Path, required=True, help="name of the serial port (symbolic link to the pty)")
    parser.add_argument("--load", type=Path, required=True, help="Unix socket where the outlets report their power")
    parser.add_argument("--state", type=Path, help="file that keeps the register")
    parser.add_argument("--register-wh", type=int, default=1_234_500, help="register at first start (default 1234500)")
    parser.add_argument("--serial", type=int, default=20_231_107, help="serial number")
    parser.add_argument(
        "--model", choices=[name.replace("_", "-") for name in MODELS], default="sdm630", help="which meter (default sdm630)"
    )
    parser.add_argument("--unit", type=int, default=1, help="Modbus unit id (default 1)")
    parser.add_argument("--baud", type=int, default=0, help="carry the bytes as slowly as this line would (0: at once)")
    parser.add_argument("--tcp", type=address, help="also Modbus TCP, e.g. 127.0.0.1:0")


async def serve(options: argparse.Namespace) -> None:
    await Meter(options).serve(options)
