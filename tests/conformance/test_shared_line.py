"""Two connectors on one RS-485 line: two charge controllers, two meters of different make, charging at the same time with the real
engine, workers, drivers and ledger. Each session has the energy of its own meter, and both together keep to the site's supply.
"""

import contextlib
import itertools
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.meters.modbus_meter import ModbusMeter
from drivers.sim import evse_boards, evse_modbus, modbus_slave
from drivers.system import SystemClock
from terminal_app import config
from terminal_app.billing import record
from terminal_app.billing.receipt import receipt_code
from terminal_app.engine import evse_orders
from terminal_app.engine.engine import Engine, Outside
from terminal_app.ledger.store import Ledger
from terminal_app.run.core import controls, read_standing
from terminal_app.run.keys import open_keys
from terminal_app.session import actions
from terminal_app.session.facts import LimitSet, StartRegistered
from terminal_app.workers.base import Worker
from terminal_app.workers.evse import EvseWorker
from terminal_app.workers.meter import MeterWorker
from terminal_app.workers.signer import SignerWorker
from tests.conformance.evil_devices import EvilLine, registers
from tests.conformance.meter_facts import device
from tests.sessions import runtime_dir, site_files

SITE_A, DEADLINE_S = 20, 40.0
SECOND = """
[[connector]]
number = 2
label = "2"
evse_id = "DE*EXA*E0002"
meter = "second"
evse = "second"
max_current_a = 32
max_power_w = 22000

[meter.second]
profile = "schneider-iem3155"
port = "{line}"
unit = 2
baud_rate = 9600
parity = "N"
stop_bits = 1

[evse.second]
driver = "evse-wb"
port = "{line}"
unit = 12

[grid]
limit_a = 20
split = "equal"

[reader]"""


class Wires:
    """Units 1 (SDM630) and 2 (iEM3155) count what flows through the boards at units 11 and 12: so many Wh a second each."""

    PACE_WH = {1: 2, 2: 5}

    def __init__(self) -> None:
        self.boards = {1: evse_boards.EvseWb(), 2: evse_boards.EvseWb()}
        for one in self.boards.values():
            one.plugged = True
        self.wh = {1: 1_234_000, 2: 800_000}
        self.flowed = {1: 0, 2: 0}
        self._since: dict[int, float] = {}
        self._other = device("schneider-iem3155")
        self.most_a = 0

    def answer(self, request: bytes) -> list[tuple[float, bytes]]:
        unit, pdu = request[0], request[1:-2]
        for number, board in self.boards.items():
            self._count(number, board)
        if unit in (11, 12):
            body = evse_modbus.answer(pdu, self.boards[unit - 10])
        elif unit in (1, 2):
            body = modbus_slave.answer(pdu, self._meter(unit))
        else:
            return []
        self.most_a = max(self.most_a, sum(one.allowed_a for one in self.boards.values()) if self._all_locked else 0)
        return [(0.0, modbus_slave.rtu_frame(unit, body))]

    @property
    def _all_locked(self) -> bool:
        """From the first contact on: before it the boards offer what they were sold with."""
        return all(one.blocks()[3][2000] == 0 for one in self.boards.values())

    def _count(self, number: int, board: evse_boards.EvseWb) -> None:
        now = time.monotonic()
        if not board.relay:
            self._since.pop(number, None)
            return
        since = self._since.setdefault(number, now)
        due_wh = int((now - since) * self.PACE_WH[number])
        if due_wh:
            self._since[number] = since + due_wh / self.PACE_WH[number]
            self.flowed[number] += due_wh

    def _meter(self, unit: int) -> modbus_slave.Blocks:
        wh = self.wh[unit] + self.flowed[unit]
        if unit == 1:
            return registers(energy_kwh=wh / 1000)
        words = struct.unpack(">4H", struct.pack(">q", wh))
        return {4: self._other[4], 3: self._other[3] | {0x0C83 + n: word for n, word in enumerate(words)}}


def _size(buffer: bytes) -> int:
    if len(buffer) < 8:
        return 0
    return 8 if buffer[1] != 16 else (9 + buffer[6] if len(buffer) >= 9 + buffer[6] else 0)


@contextlib.contextmanager
def core(folder: Path, line: Path) -> Iterator[Engine]:
    """Engine, workers of both connectors and the signer; no reader, no gateway: tests need none."""
    with runtime_dir() as runtime:
        path = site_files(folder, runtime)
        text = path.read_text().replace(
            'driver = "openevse"\nport = "evse-port"', f'driver = "evse-wb"\nport = "{line}"\nunit = 11'
        )
        path.write_text(text.replace('"meter-port"', f'"{line}"').replace("\n[reader]", SECOND.format(line=line), 1))
        settings, clock = config.load(path), SystemClock()
        keys = open_keys(settings, path)
        with Ledger(settings.terminal.state_dir) as ledger:
            standing, numbers = read_standing(settings, path, keys, False), itertools.count(1)
            meters: dict[int, MeterWorker] = {}
            evses: dict[int, EvseWorker] = {}
            signing: list[SignerWorker] = []

            def act(action: actions.Action) -> None:
                if isinstance(action, actions.ReadRegister):
                    meters[action.connector].read_register(action.session_id, action.purpose)
                elif isinstance(action, actions.SignOcmf | actions.SignRecord):
                    signing[0].order(action)

            engine = Engine(
                standing,
                ledger,
                clock,
                lambda: (f"00000000-0000-4000-8000-{next(numbers):012d}", receipt_code(os.urandom(20))),
                Outside(act, lambda number, wish: evses[number].wish(wish), lambda wish: None, lambda screen: None),
            )
            signing.append(SignerWorker(keys.records, keys.ocmf, engine.inbox))
            for one in settings.connector:
                meter = ModbusMeter(settings.meter[one.meter], f"meter.{one.meter}", clock)
                meters[one.number] = MeterWorker(one.number, meter, engine.inbox)
            evses |= {number: EvseWorker(number, one, engine.inbox) for number, one in controls(settings, clock).items()}
            engine.start(resumed_after_crash=False)
            workers: list[Worker] = [*meters.values(), *evses.values(), *signing]
            turning = threading.Thread(target=engine.run, daemon=True)
            for worker in workers:
                worker.start()
            turning.start()
            try:
                yield engine
            finally:
                engine.stop()
                turning.join(10)
                for worker in workers:
                    worker.stop()
                for worker in workers:
                    worker.join(10)


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def wires(tmp_path: Path) -> Iterator[tuple[Wires, EvilLine]]:
    wires = Wires()
    line = EvilLine(tmp_path / "tty", _size, wires.answer)
    line.plug()
    line.start()
    yield wires, line
    line.stop()


def test_two_connectors_on_one_line_charge_at_once_each_on_its_own_meter(tmp_path: Path, wires: tuple[Wires, EvilLine]) -> None:
    site, line = wires
    with core(tmp_path, line.link) as engine:
        until(lambda: all(one.evse and one.meter for one in engine.state.live.values()), "both connectors are heard")
        for number in (1, 2):
            order = {"connector": number, "seconds": 60, "reason": "both at once"}
            evse_orders.evse_test(engine, order, "technician")
        for board in site.boards.values():
            board.wanting = True
        until(lambda: all(one.relay for one in site.boards.values()), "both contactors close")
        assert {one.allowed_a for one in site.boards.values()} == {SITE_A // 2}
        until(lambda: min(site.flowed.values()) > 1, "energy flows through both")
        for number in (2, 1):
            evse_orders.evse_test_stop(engine, {"connector": number, "reason": "enough"}, "technician")
        until(lambda: not engine.state.sessions, "both records are sealed")
        assert not any(one.allowed_a for one in site.boards.values())
        told = [record.open_record(one.jws, engine.standing.record_spki) for one in engine.ledger.records()]
        facts = [one.fact for one in engine.ledger.entries()]
    assert site.most_a <= SITE_A, "and never more than the supply has"
    assert {one["connector"]: one["energy_wh"] for one in told} == site.flowed
    assert {one["connector"]: one["meter"]["vendor"] for one in told} == {1: "Eastron", 2: "Schneider"}
    assert len({one.second.serial for one in facts if isinstance(one, StartRegistered)}) == 2
    assert any(isinstance(one, LimitSet) and one.source == "grid" for one in facts)
