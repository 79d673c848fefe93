"""A charge controller with its contactor. See `drivers.sim` for the flags. `--kind` says which one: an OpenEVSE (firmware
D8.1.1, RAPI on a pty; this file), or one on Modbus (`evse_modbus`).

It switches real simulated power: the car hangs on the `--cable` socket, the meter on the `--load` socket, and what flows
through the closed contacts is told to both with the moment of the change (`evse_outlet`).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from drivers.sim import evse_modbus
from drivers.sim.control import Command, Reply, SimulationError, forever, listen_unix, ready, serve_control
from drivers.sim.evse_outlet import Outlet
from drivers.sim.flags import address
from drivers.sim.openevse import GFCI, STATE_C, Board, Use
from drivers.sim.pty_port import PtyPort
from drivers.sim.rapi import BAD_CHECKSUM, Order, Receiver, reply, sealed

REPLY_S = 0.005  # measured round trip 5.6 ms
DISABLE_S = 0.31  # FD, measured
WATTS_PER_AMPERE = 3 * 230
UNREAD_ORDERS = 8  # what the board's serial buffer holds
NOISE_EVERY_S = 0.05
FAULTS = ("none", "silent", "mute", "nak", "noise")


class Evse:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._board = Board(
            self._notice,
            self._switched,
            hardware_amperes=options.hw_max_a,
            configured_amperes=options.max_a,
            millivolts=options.millivolts,
        )
        full_power_w = options.max_power_w or options.max_a * WATTS_PER_AMPERE
        self._outlet = Outlet(options.load, full_power_w, options.max_a, self._pilot)
        self._port = PtyPort(options.link, self._received)
        self._receiver = Receiver()
        self._orders: asyncio.Queue[Order] = asyncio.Queue(UNREAD_ORDERS)
        self._fault = "none"
        self._deaf = False
        self._session_from_wns = 0
        self._charging_since_ns: int | None = None
        self._elapsed_s = 0
        self._pilot_delay: asyncio.TimerHandle | None = None
        self._counts = {"orders": 0, "relay_closings": 0, "boots": 0}
        self._restart: asyncio.Task[None] | None = None

    # --- power ---

    def _switched(self) -> None:
        """Something on the way of the power changed: tell the meter and the car."""
        at_ns = time.monotonic_ns()
        board = self._board
        if board.state == STATE_C and self._charging_since_ns is None:
            self._charging_since_ns = at_ns
            self._counts["relay_closings"] += 1
        elif board.state != STATE_C and self._charging_since_ns is not None:
            self._elapsed_s += (at_ns - self._charging_since_ns) // 1_000_000_000
            self._charging_since_ns = None
        offered_a = board.pilot_amperes or (board.configured_amperes if board.welded else 0)
        self._outlet.show(board.pilot_amperes, board.closed, f"{board.state:02X}", offered_a)

    # --- car ---

    def _pilot(self, plugged: bool, wanting: bool) -> None:
        """What the pilot line shows. A load that goes away opens the relay at once, the rest is debounced."""
        board = self._board
        new_session = plugged and not board.plugged
        board.plugged, board.wanting = plugged, wanting
        if new_session:
            self._elapsed_s = 0
            self._session_from_wns = self._outlet.flow.energy_wns
        if self._pilot_delay is not None:
            self._pilot_delay.cancel()
        if not wanting:
            board.update()
        self._switched()
        if wanting:
            delay_s = self._options.transition_ms / 1000
            self._pilot_delay = asyncio.get_running_loop().call_later(delay_s, board.update)

    # --- serial line ---

    def _notice(self, line: str) -> None:
        self._port.send(sealed(line) if line.startswith("$") else line.encode())

    def _received(self, data: bytes) -> None:
        if self._deaf:
            return
        for order in self._receiver.feed(data):
            if not self._orders.full():
                self._orders.put_nowait(order)

    async def _obey(self) -> None:
        while True:
            order = await self._orders.get()
            self._counts["orders"] += 1
            await asyncio.sleep(REPLY_S)
            if self._deaf or self._fault == "silent":
                continue
            if order is BAD_CHECKSUM or self._fault == "nak":
                self._port.send(reply(False, "", order.sequence))
                continue
            if order.words[0] == "FR":
                self._start_boot(self._options.reboot_s)
                continue
            accepted, text = self._board.answer(order.words, self._use())
            if order.words[0] == "FD":
                await asyncio.sleep(DISABLE_S)
            if self._fault != "mute":  # it obeyed, but the answer is lost
                self._port.send(reply(accepted, text, order.sequence))

    def _use(self) -> Use:
        now_ns = time.monotonic_ns()
        self._outlet.flow.settle(now_ns)
        since = self._charging_since_ns
        running_s = (now_ns - since) // 1_000_000_000 if since is not None else 0
        return Use(
            elapsed_s=self._elapsed_s + running_s,
            milliamperes=self._outlet.power_w * 1000 // WATTS_PER_AMPERE,
            session_ws=(self._outlet.flow.energy_wns - self._session_from_wns) // 1_000_000_000,
            lifetime_wh=self._outlet.flow.energy_mwh // 1000,
        )

    def _start_boot(self, deaf_s: float) -> None:
        if self._restart is not None:
            self._restart.cancel()
        self._deaf = True
        self._board.boot()
        self._restart = asyncio.create_task(self._boot(deaf_s))

    async def _boot(self, deaf_s: float) -> None:
        """The board opens its relay, is deaf, then tests itself; then it is ENABLED, whatever it was before."""
        self._counts["boots"] += 1
        await asyncio.sleep(deaf_s)
        self._receiver = Receiver()
        while not self._orders.empty():
            self._orders.get_nowait()
        self._deaf = False
        for line in ("relayCloseMs: 25\r\n", "relayHoldPwm: 75\r\n", f"$AT 00 00 0 {self._board.vflags:04x}"):
            self._notice(line)
        await asyncio.sleep(self._options.post_s)
        self._board.post_done()

    async def _noise(self) -> None:
        while True:
            if self._fault == "noise":
                self._port.send(b"relayCloseMs: 25\r\n\x00\xffrelayHoldPwm: 75\r\n")
            await asyncio.sleep(NOISE_EVERY_S)

    # --- commands ---

    def get(self, command: Command) -> Reply:
        board, use = self._board, self._use()
        return {
            "state": f"{board.state:02x}",
            "mode": {0x01: "enabled", 0xFE: "sleeping", 0xFF: "disabled"}[board.mode],
            "relay": board.relay,
            "contacts_closed": board.closed,
            "auth_locked": board.auth_locked,
            "pilot_a": board.pilot_amperes,
            "plugged": board.plugged,
            "power_w": self._outlet.power_w,
            "energy_mwh": self._outlet.flow.energy_mwh,
            "elapsed_s": use.elapsed_s,
            "safety_checks_off": sorted(board.features_off),
            "meter_wired": self._outlet.meter_wired,
            "fault": self._fault,
            **self._counts,
        }

    def fault(self, command: Command) -> Reply:
        kind = command.text("kind")
        if kind not in FAULTS:
            raise SimulationError(f"kind: {kind!r} is unknown; there is {', '.join(FAULTS)}")
        self._fault = kind
        return {"fault": kind}

    def weld(self, command: Command) -> None:
        """The contacts stick together (or come loose again, with the fault cleared)."""
        self._board.welded = command.flag("on")
        if not self._board.welded:
            self._board.clear_fault()
        self._switched()

    def gfci(self, command: Command) -> None:
        if command.flag("on"):
            self._board.raise_fault(GFCI)
        else:
            self._board.clear_fault()

    def reboot(self, command: Command) -> None:
        """As by FR, or as a board whose supply failed for a moment."""
        self._start_boot(command.integer("deaf_ms", int(self._options.reboot_s * 1000)) / 1000)

    async def serve(self, options: argparse.Namespace) -> None:
        self._port.plug()
        await listen_unix(options.cable, self._outlet.cable)
        actions = {
            "get": self.get,
            "fault": self.fault,
            "weld": self.weld,
            "gfci": self.gfci,
            "reboot": self.reboot,
            "unplug": lambda _: self._port.unplug(),
            "plug": lambda _: self._port.plug(),
        }
        await serve_control(options.control, actions)
        tasks = [asyncio.create_task(work()) for work in (self._outlet.wire, self._obey, self._noise)]
        self._start_boot(0)
        ready("evse", port=str(options.link), cable=str(options.cable), control=str(options.control))
        try:
            await forever()
        finally:
            self._board.boot()  # without supply the relay falls open
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.05)  # let the wire carry it
            self._port.unplug()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=("openevse", *evse_modbus.KINDS), default="openevse", help="default openevse")
    parser.add_argument("--link", type=Path, help="name of the serial port (symbolic link to the pty)")
    parser.add_argument("--tcp", type=address, help="on Modbus TCP, e.g. 127.0.0.1:0 (Phoenix)")
    parser.add_argument("--unit", type=int, help="Modbus unit id (default: the factory's)")
    parser.add_argument("--boot-a", type=int, default=32, help="evse-wb: current after a power-up, register 2000 (default 32)")
    parser.add_argument("--fine", action="store_true", help="evse-wb: register 1000 counts hundredths of an ampere")
    parser.add_argument("--connector", type=int, default=1, help="phoenix-charx: which charging point (default 1)")
    parser.add_argument("--controllers", type=int, default=1, help="phoenix-charx: how many it has (default 1)")
    parser.add_argument("--model", choices=("em-cp-pp-eth", "ev-cc-eth"), default="em-cp-pp-eth", help="phoenix-em: which one")
    parser.add_argument("--load", type=Path, required=True, help="the meter's load socket")
    parser.add_argument("--cable", type=Path, required=True, help="Unix socket where a car plugs in")
    parser.add_argument("--max-power-w", type=int, help="what flows at the configured current (default 690 W per ampere)")
    parser.add_argument("--max-a", type=int, default=12, help="configured current (default 12, as in the transcript)")
    parser.add_argument("--hw-max-a", type=int, default=16, help="highest current of the hardware (default 16)")
    parser.add_argument("--millivolts", type=int, default=120_000, help="what GG tells: nominal, not measured")
    parser.add_argument("--reboot-s", type=float, default=3.0, help="deaf after FR (default 3; the real board about 10)")
    parser.add_argument("--post-s", type=float, default=0.5, help="self test after boot, state 00 (default 0.5)")
    parser.add_argument("--transition-ms", type=int, default=200, help="debounce of the pilot (default 200)")


async def serve(options: argparse.Namespace) -> None:
    if options.kind == "openevse" and options.link is None:
        raise SimulationError("--link is needed: the name of the serial port")
    if options.kind != "openevse" and not (options.link or options.tcp):
        raise SimulationError("--link (Modbus RTU) or --tcp is needed")
    device = Evse(options) if options.kind == "openevse" else evse_modbus.Controller(options)
    await device.serve(options)
