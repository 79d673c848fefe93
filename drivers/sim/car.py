"""A car at the cable: it draws what it is offered, and counts what it got. See `drivers.sim` for the flags.

It closes its switch S2 (state C) only while the pilot offers current, as a real car does; `rogue` draws regardless.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from drivers.sim.control import Command, Reply, SimulationError, encode, forever, json_lines, ready, serve_control
from drivers.sim.energy import WATT_NS_PER_MWH, EnergyAccount

REPLUG_S = 0.1
TAPER = 20
LATEST_WORD_NS = 1_000_000_000  # a change is told within this time


class Car:
    def __init__(self, options: argparse.Namespace) -> None:
        self._cable: Path = options.cable
        self._power_w: int = options.power_w
        self._want_wh: int | None = options.want_wh
        self._plugged = asyncio.Event()
        self._paused = False
        self._rogue = False
        self._pilot_a = 0
        self._relay = False
        self._state = ""
        self._link: asyncio.StreamWriter | None = None
        self._received = EnergyAccount(time.monotonic_ns())
        self._session_from_wns = 0
        self._sent: tuple[int, bool] | None = None
        self._full: asyncio.TimerHandle | None = None

    @property
    def _session_wns(self) -> int:
        return self._received.energy_at_wns(time.monotonic_ns()) - self._session_from_wns

    def _missing_wns(self) -> int | None:
        """Energy until the driver's wish is met; None for a car that takes all it gets."""
        if self._want_wh is None:
            return None
        return max(0, self._want_wh * 1000 * WATT_NS_PER_MWH - self._session_wns)

    def _taper_wns(self) -> int:
        """The last hundredth is taken slowly, as a battery does that is nearly full."""
        return 0 if self._want_wh is None else self._want_wh * 10 * WATT_NS_PER_MWH

    def _decide(self) -> None:
        """Tell the outlet what is wanted now, and wake up when the wish is met."""
        missing = self._missing_wns()
        wanting = not self._paused and missing != 0 and (self._pilot_a > 0 or self._rogue)
        taper = self._taper_wns()
        tapering = missing is not None and missing <= taper
        power_w = max(self._power_w // TAPER, 1) if tapering else self._power_w
        wish = (power_w if wanting else 0, wanting)
        if self._link is not None and self._plugged.is_set() and wish != self._sent:
            self._sent = wish
            self._link.write(encode({"want_w": wish[0], "ready": wish[1]}))
        if self._full is not None:
            self._full.cancel()
            self._full = None
        flowing_w = self._received.power_at_w(time.monotonic_ns())
        if missing and flowing_w:
            until_next = missing if tapering else missing - taper
            self._full = asyncio.get_running_loop().call_later(until_next / flowing_w / 1e9 + 0.001, self._decide)

    def _hear(self, message: dict[str, Any]) -> None:
        command = Command(message)
        self._pilot_a = command.integer("pilot_a")
        self._relay = command.flag("relay")
        self._state = command.text("state")
        now_ns = time.monotonic_ns()
        self._received.step(min(command.integer("at_ns", now_ns, high=2**63), now_ns), command.integer("power_w"))
        self._received.settle(now_ns - LATEST_WORD_NS)
        self._decide()

    async def _drive(self) -> None:
        """While plugged in: hold the cable, also over a restart of the outlet's controller."""
        while True:
            await self._plugged.wait()
            try:
                reader, self._link = await asyncio.open_unix_connection(self._cable)
            except OSError:
                await asyncio.sleep(REPLUG_S)
                continue
            if not self._plugged.is_set():
                self._link.close()
                continue
            self._sent = None
            self._decide()
            try:
                async for message in json_lines(reader):
                    if "error" in message:
                        break
                    self._hear(message)
            except SimulationError:
                pass
            self._unhook()
            await asyncio.sleep(REPLUG_S)

    def _unhook(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._pilot_a, self._relay, self._state = 0, False, ""
        now_ns = time.monotonic_ns()
        self._received.step(now_ns, 0)

    @property
    def _connected(self) -> bool:
        return self._link is not None

    def plug(self, command: Command) -> None:
        if not self._plugged.is_set():
            self._session_from_wns = self._received.energy_at_wns(time.monotonic_ns())
            self._plugged.set()

    async def unplug(self, command: Command) -> Reply:
        """Pull the plug; the reply comes when the car has stopped counting."""
        self._plugged.clear()
        if self._link is not None:
            self._link.write_eof()
            for _ in range(100):  # the outlet answers with a last word about the power, then closes
                if not self._connected:
                    break
                await asyncio.sleep(0.01)
            self._unhook()
        return self.get(command)

    def want(self, command: Command) -> None:
        """How much energy until full (`wh`, null: all), and how fast (`power_w`)."""
        if command.has("wh"):
            self._want_wh = command.integer("wh") if command.present("wh") else None
        self._power_w = command.integer("power_w", self._power_w, high=100_000_000)
        self._decide()

    def pause(self, command: Command) -> None:
        self._paused = command.flag("on", True)
        self._decide()

    def rogue(self, command: Command) -> None:
        self._rogue = command.flag("on")
        self._decide()

    def get(self, command: Command) -> Reply:
        mwh = self._session_wns // WATT_NS_PER_MWH
        return {
            "plugged": self._plugged.is_set(),
            "connected": self._connected,
            "pilot_a": self._pilot_a,
            "relay": self._relay,
            "evse_state": self._state,
            "power_w": self._received.power_at_w(time.monotonic_ns()),
            "energy_mwh": mwh,
            "energy_wh": mwh // 1000,
            "lifetime_mwh": self._received.energy_at_wns(time.monotonic_ns()) // WATT_NS_PER_MWH,
            "full": self._missing_wns() == 0,
        }

    async def serve(self, options: argparse.Namespace) -> None:
        actions = {
            "plug": self.plug,
            "unplug": self.unplug,
            "want": self.want,
            "pause": self.pause,
            "rogue": self.rogue,
            "get": self.get,
        }
        await serve_control(options.control, actions)
        driving = asyncio.create_task(self._drive())
        if options.plugged:
            self._plugged.set()
        ready("car", control=str(options.control))
        try:
            await forever()
        finally:
            driving.cancel()
            self._unhook()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cable", type=Path, required=True, help="the outlet's cable socket")
    parser.add_argument("--power-w", type=int, default=11_000, help="highest power it draws (default 11000)")
    parser.add_argument("--want-wh", type=int, help="energy until full (default: takes all it gets)")
    parser.add_argument("--plugged", action="store_true", help="plugged in from the start")


async def serve(options: argparse.Namespace) -> None:
    await Car(options).serve(options)
