"""The wires of an outlet, whatever controls it: a car on its cable socket, a meter on its load socket, contacts between.

Cable: the car sends `{"want_w": N, "ready": bool}` (ready: its switch S2 is closed, by default when N > 0) and hears
`{"pilot_a", "relay", "state", "power_w", "at_ns"}` upon every change; the meter hears `{"power_w", "at_ns"}`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from drivers.sim.control import Command, SimulationError, encode, json_lines
from drivers.sim.energy import EnergyAccount

LOAD_RETRY_S = 0.1


class Outlet:
    """`pilot(plugged, wanting)` is called upon every change of the car; the controller answers with `show`."""

    def __init__(self, load: Path, full_power_w: int, max_a: int, pilot: Callable[[bool, bool], None]) -> None:
        """`full_power_w` flows at most while `max_a` are offered, less in proportion."""
        self._load, self._full_power_w, self._max_a, self._pilot = load, full_power_w, max_a, pilot
        self._want_w = 0
        self._car: asyncio.StreamWriter | None = None
        self._meter: asyncio.StreamWriter | None = None
        self._told: tuple[object, ...] = ()
        self.flow = EnergyAccount(time.monotonic_ns())
        self.power_w = 0

    @property
    def meter_wired(self) -> bool:
        return self._meter is not None

    def show(self, pilot_a: int, closed: bool, state: str, flowing_a: int | None = None) -> None:
        """Something on the way of the power changed. `closed`: the contacts, which may be welded; `flowing_a`: what they carry."""
        at_ns = time.monotonic_ns()
        offered_a = pilot_a if flowing_a is None else flowing_a
        power_w = min(self._want_w, offered_a * self._full_power_w // self._max_a) if closed and self._car is not None else 0
        if power_w != self.power_w:
            self.power_w = power_w
            self.flow.step(at_ns, power_w)
            self.flow.settle(at_ns)
            self._tell_meter(at_ns)
        told = (pilot_a, closed, state, power_w)
        if self._car is not None and told != self._told:
            self._told = told
            message = {"pilot_a": pilot_a, "relay": closed, "state": state, "power_w": power_w, "at_ns": at_ns}
            self._car.write(encode(message))

    def _tell_meter(self, at_ns: int) -> None:
        if self._meter is not None:
            self._meter.write(encode({"power_w": self.power_w, "at_ns": at_ns}))

    async def wire(self) -> None:
        """Keep the wire to the meter; it may come up later than the controller, and again."""
        while True:
            try:
                reader, self._meter = await asyncio.open_unix_connection(self._load)
            except OSError:
                await asyncio.sleep(LOAD_RETRY_S)
                continue
            self._tell_meter(time.monotonic_ns())
            try:
                await reader.read()
            except ConnectionError:
                pass
            self._meter = None

    async def cable(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One car at the cable socket."""
        if self._car is not None:
            writer.write(encode({"error": "another car is plugged in"}))
            writer.close()
            return
        self._car, self._told = writer, ()
        self._pilot(True, False)
        try:
            async for fields in json_lines(reader):
                command = Command(fields)
                self._want_w = command.integer("want_w", high=100_000_000)
                self._pilot(True, command.flag("ready", self._want_w > 0))
        except SimulationError as error:
            writer.write(encode({"error": str(error)}))
        finally:
            self._want_w = 0
            self._pilot(False, False)  # the last word to the car: when its power ended
            self._car = None
            writer.close()
