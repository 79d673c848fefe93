"""A charge controller on Modbus (EVSE-WB, Phoenix CHARX, Phoenix EM) with its contactor: RTU on a pty, or TCP.

Started as `python -m drivers.sim evse --kind evse-wb|phoenix-charx|phoenix-em`. It switches real simulated power, as the
OpenEVSE board does: the car hangs on `--cable`, the meter on `--load`. A restart drops the TCP connections and is deaf a while.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import struct
import time
from collections.abc import Mapping
from functools import partial

from drivers.sim import modbus_slave
from drivers.sim.control import Action, Command, Reply, SimulationError, forever, listen_unix, ready, serve_control
from drivers.sim.evse_boards import READ_COILS, WRITE_COIL, Board, EvseWb, PhoenixCharx, PhoenixEm
from drivers.sim.evse_outlet import Outlet
from drivers.sim.pty_port import PtyPort

FRAME_GAP_S = 0.03
WATTS_PER_AMPERE = 3 * 230
KINDS = ("evse-wb", "phoenix-charx", "phoenix-em")
FAULTS = ("none", "silent", "late", "mute", "exception", "crc", "garbage")
DEVICE_FAILURE = 4


def board(options: argparse.Namespace) -> tuple[Board, int]:
    """The board of `--kind` and its factory unit id."""
    match options.kind:
        case "evse-wb":
            return EvseWb(options.boot_a, options.fine), 1
        case "phoenix-charx":
            return PhoenixCharx(options.connector, options.controllers), 1
        case _:
            ev = options.model == "ev-cc-eth"
            return PhoenixEm(528 if ev else 300), 255 if ev else 180


def answer(pdu: bytes, device: Board) -> bytes:
    """The answer PDU to a request PDU; also coils, which `modbus_slave` leaves to its users."""
    code, blocks = pdu[0], device.blocks()
    if code == READ_COILS and code in blocks and len(pdu) == 5:
        address, count = struct.unpack(">HH", pdu[1:])
        bits = [blocks[code].get(address + number) for number in range(count)]
        if not 1 <= count <= 8 or None in bits:
            return bytes([code | 0x80, modbus_slave.ILLEGAL_ADDRESS])
        return bytes([code, 1, sum((bit or 0) << number for number, bit in enumerate(bits))])
    if code == WRITE_COIL:
        address, word = struct.unpack(">HH", pdu[1:]) if len(pdu) == 5 else (0, 1)
        if word not in (0, 0xFF00):
            return bytes([code | 0x80, modbus_slave.ILLEGAL_VALUE])
        return pdu if device.write(code, address, [int(word > 0)]) else bytes([code | 0x80, modbus_slave.ILLEGAL_ADDRESS])
    if code in (modbus_slave.WRITE_ONE, modbus_slave.WRITE_MANY):
        return modbus_slave.written(pdu, partial(device.write, code))
    return modbus_slave.answer(pdu, blocks)


class Controller:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._board, factory_unit = board(options)
        self._unit: int = options.unit or factory_unit
        self._reboot_s: float = options.reboot_s
        full_power_w = options.max_power_w or options.max_a * WATTS_PER_AMPERE
        self._outlet = Outlet(options.load, full_power_w, options.max_a, self._pilot)
        self._port = PtyPort(options.link, self._received) if options.link else None
        self._tcp: tuple[str, int] | None = options.tcp
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._buffer = b""
        self._forget: asyncio.TimerHandle | None = None
        self._fault, self._late_s, self._welded = "none", 0.0, False
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts = {"requests": 0, "relay_closings": 0, "boots": 0}
        self._relay = False

    # --- power ---

    def _pilot(self, plugged: bool, wanting: bool) -> None:
        self._board.plugged, self._board.wanting = plugged, wanting
        self._switched()

    def _switched(self) -> None:
        device = self._board
        self._counts["relay_closings"] += device.relay and not self._relay
        self._relay = device.relay
        closed = device.relay or self._welded
        self._outlet.show(device.pilot_a, closed, device.state, device.pilot_a or (32 if closed else 0))

    # --- line ---

    def _received(self, data: bytes) -> None:
        self._buffer = (self._buffer + data)[-512:]
        if self._forget is not None:
            self._forget.cancel()
        request = modbus_slave.rtu_request(self._buffer)
        if request is None:
            self._forget = asyncio.get_running_loop().call_later(FRAME_GAP_S, self._drop)
            return
        self._buffer = b""
        unit, pdu = request
        if unit == self._unit:
            task = asyncio.create_task(self._reply(pdu))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _drop(self) -> None:
        self._buffer = b""

    async def _reply(self, pdu: bytes) -> None:
        body = await self._obey(pdu)
        if body is None or self._port is None:
            return
        frame = modbus_slave.rtu_frame(self._unit, body)
        if self._fault == "crc":
            frame = frame[:-1] + bytes([frame[-1] ^ 0x55])
        elif self._fault == "garbage":
            frame = b"\x7e\x55" + frame
        self._port.send(frame)

    async def _obey(self, pdu: bytes) -> bytes | None:
        """The answer, or None if there is none."""
        if not self._board.running or self._fault == "silent":
            return None
        self._counts["requests"] += 1
        if self._fault == "exception":
            return bytes([pdu[0] | 0x80, DEVICE_FAILURE])
        body = answer(pdu, self._board)
        self._switched()
        if self._fault == "late":
            await asyncio.sleep(self._late_s)
        return None if self._fault == "mute" else body

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One Modbus TCP client: MBAP header, then the PDU."""
        self._clients.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                if protocol != 0 or not 2 <= length <= 254:
                    break
                pdu = await reader.readexactly(length - 1)
                body = await self._obey(pdu) if unit == self._unit else None
                if body is not None:
                    writer.write(struct.pack(">HHHB", number, 0, len(body) + 1, unit) + body)
        self._clients.discard(writer)
        writer.close()

    async def _listen(self) -> None:
        if self._tcp is None:
            return
        host, port = self._tcp
        try:
            self._server = await asyncio.start_server(self._client, host, port)
        except OSError as error:
            raise SimulationError(f"--tcp {host}:{port}: cannot listen: {error.strerror}") from None
        self._tcp = self._server.sockets[0].getsockname()[:2]

    def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._clients):
            writer.transport.abort()

    # --- commands ---

    def get(self, command: Command) -> Reply:
        device = self._board
        self._outlet.flow.settle(time.monotonic_ns())
        return {
            "state": device.state,
            "pilot_a": device.pilot_a,
            "allowed_a": device.allowed_a,
            "relay": device.relay,
            "contacts_closed": device.relay or self._welded,
            "plugged": device.plugged,
            "power_w": self._outlet.power_w,
            "energy_mwh": self._outlet.flow.energy_mwh,
            "meter_wired": self._outlet.meter_wired,
            "fault": self._fault,
            **self._counts,
        }

    def fault(self, command: Command) -> Reply:
        kind = command.text("kind")
        if kind not in FAULTS:
            raise SimulationError(f"kind: {kind!r} is unknown; there is {', '.join(FAULTS)}")
        self._late_s = command.integer("ms", 0, high=600_000) / 1000
        self._fault = kind
        return {"fault": kind}

    def state(self, command: Command) -> None:
        """The pilot shows a fault: D, E or F; "" = what the car shows."""
        shown = command.text("pilot")
        if shown not in ("", "D", "E", "F"):
            raise SimulationError(f'pilot: {shown!r} is none of D, E, F and ""')
        self._board.shown = shown
        self._switched()

    def stuck(self, command: Command) -> None:
        """Its output to the contactor stays on, and it says so."""
        self._board.stuck = command.flag("on")
        self._switched()

    def weld(self, command: Command) -> None:
        """The contacts stick together; the controller does not know."""
        self._welded = command.flag("on")
        self._switched()

    def stubborn(self, command: Command) -> None:
        """Settings for power-up are no longer taken (EVSE-WB)."""
        if not isinstance(self._board, EvseWb):
            raise SimulationError("only an EVSE-WB has such settings")
        self._board.stubborn = command.flag("on")

    def factory(self, command: Command) -> None:
        """As new, without a fault; the car stays where it is."""
        before = self._board
        self._board, _ = board(self._options)
        self._board.plugged, self._board.wanting = before.plugged, before.wanting
        self._fault, self._welded = "none", False
        self._switched()

    async def reboot(self, command: Command) -> None:
        """As a controller whose supply failed for a moment; answers once it is down."""
        deaf_s = command.integer("deaf_ms", int(self._reboot_s * 1000)) / 1000
        self._board.running = False
        self._counts["boots"] += 1
        self._switched()
        self._hang_up()
        task = asyncio.create_task(self._boot(deaf_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _boot(self, deaf_s: float) -> None:
        await asyncio.sleep(deaf_s)
        self._board.boot()
        self._board.running = True
        if self._server is not None:
            await self._listen()
        self._switched()

    async def unplug(self, command: Command) -> None:
        """The serial port or the network cable is pulled out; the controller goes on."""
        if self._port is not None:
            self._port.unplug()
        self._hang_up()

    async def plug(self, command: Command) -> None:
        if self._port is not None:
            self._port.plug()
        if self._server is not None and not self._server.is_serving():
            await self._listen()

    async def serve(self, options: argparse.Namespace) -> None:
        if self._port is not None:
            self._port.plug()
        await self._listen()
        await listen_unix(options.cable, self._outlet.cable)
        actions: Mapping[str, Action] = {
            name: getattr(self, name)
            for name in ("get", "fault", "state", "stuck", "weld", "stubborn", "factory", "reboot", "unplug", "plug")
        }
        await serve_control(options.control, actions)
        wiring = asyncio.create_task(self._outlet.wire())
        facts = {"port": str(options.link)} if options.link else {}
        if self._tcp is not None:
            facts["tcp"] = "{}:{}".format(*self._tcp)
        ready("evse", **facts, cable=str(options.cable), control=str(options.control))
        try:
            await forever()
        finally:
            self._board.running = False  # without supply the contactor falls open
            self._switched()
            await asyncio.sleep(0.05)  # let the wire carry it
            wiring.cancel()
            self._hang_up()
            if self._port is not None:
                self._port.unplug()
