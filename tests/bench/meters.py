"""What the meter bus costs: share of the wire limit, a full cycle, polls without wire, age of a value at the stop."""

import asyncio
import contextlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient

from drivers.meters import profile
from drivers.meters.bus import Address, ModbusBus, Question
from drivers.meters.modbus_meter import ModbusMeter
from drivers.system import SystemClock
from terminal_app.config import MeterSection

Figures = dict[str, Any]
MODEL = "eastron-sdm630-v2"
RESPONSE_MS = 10.0
POLLS, DRY_POLLS = 60, 3000


@contextlib.contextmanager
def _line(baud: int, response_ms: float = RESPONSE_MS) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    command = [sys.executable, "-m", "tests.bench.wire_slave", str(folder / "tty"), str(baud), str(response_ms)]
    slave = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert slave.stdout is not None
    slave.stdout.readline()
    try:
        yield str(folder / "tty")
    finally:
        slave.kill()
        slave.wait(10)
        slave.stdout.close()
        shutil.rmtree(folder)


def _periods(ask: Callable[[], object], count: int) -> list[float]:
    ask()
    ask()
    found = []
    for _ in range(count):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return found


def wire_share(folder: Path) -> Figures:
    """Time of one poll at the wire limit (request, 3.5 characters, response time, reply, the profile's gap) by the time it took.

    Aim: 95 %. The slave paces each byte; its own lateness counts against us.
    """
    gap_s = profile.load(MODEL, None).bus.gap_ms / 1000
    found: Figures = {}
    for baud in (9600, 19200):
        with _line(baud) as port:
            for size in (2, 76):
                bus = ModbusBus(Address(port=port, baud=baud))
                question = Question(1, 4, 0, size, 1.0, gap_s, 0.4)
                taken = _periods(lambda bus=bus, question=question: bus.ask(question, time.monotonic() + 5), POLLS)  # type: ignore[misc]
                bus.close()
                limit_s = (8 + 3.5 + 5 + 2 * size) * 10 / baud + RESPONSE_MS / 1000 + gap_s
                median = statistics.median(taken)
                found[f"{baud}_baud_{size}_registers"] = {
                    "limit_ms": round(limit_s * 1000, 2),
                    "p50_ms": round(median * 1000, 2),
                    "share_percent": round(limit_s / median * 100, 1),
                }
    return found


def meter_cycle(folder: Path) -> Figures:
    """Every point of an SDM630 once at 9600 baud: as the planner reads it, and point by point."""
    with _line(9600) as port:
        meter = ModbusMeter(MeterSection(profile=MODEL, port=port), "meter", SystemClock(), None)
        names = list(meter.profile.points)
        meter.shown()
        planned = statistics.median(_periods(meter.shown, 20))
        single = statistics.median(_periods(lambda: [meter.points([name]) for name in names], 5))
        billing = statistics.median(_periods(meter.read, 20))
        meter.close()
    return {
        "planned_ms": round(planned * 1000, 1),
        "single_reads_ms": round(single * 1000, 1),
        "ratio": round(single / planned, 2),
        "billing_read_ms": round(billing * 1000, 1),
    }


def meter_polls(folder: Path) -> Figures:
    """Without wire: polls a second and CPU a poll, of the bus, of bare pymodbus, and CPU of one mbpoll run."""
    found: Figures = {}
    with _line(0, 0) as port:
        bus = ModbusBus(Address(port=port))
        question = Question(1, 4, 0x34, 22, 1.0, 0.0, 0.05)
        found["ours"] = _dry(lambda: bus.ask(question, time.monotonic() + 5))
        bus.close()
        found["bare_pymodbus"] = asyncio.run(_bare(port))
        found["mbpoll"] = _mbpoll(port)
    found["cpu_ratio"] = round(found["ours"]["cpu_us_per_poll"] / found["bare_pymodbus"]["cpu_us_per_poll"], 2)
    return found


def _dry(ask: Callable[[], object]) -> Figures:
    ask()
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(DRY_POLLS):
        ask()
    return _rates(time.perf_counter() - began, time.process_time() - cpu)


def _rates(seconds: float, cpu_s: float) -> Figures:
    return {"polls_per_s": round(DRY_POLLS / seconds), "cpu_us_per_poll": round(cpu_s / DRY_POLLS * 1e6)}


async def _bare(port: str) -> Figures:
    client = AsyncModbusSerialClient(port, framer=FramerType.RTU, baudrate=9600, retries=0)
    await client.connect()
    await client.read_input_registers(0x34, count=22, device_id=1)
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(DRY_POLLS):
        await client.read_input_registers(0x34, count=22, device_id=1)
    found = _rates(time.perf_counter() - began, time.process_time() - cpu)
    client.close()
    return found


def _mbpoll(port: str) -> Figures | str:
    if shutil.which("mbpoll") is None:
        return "not measured: mbpoll is not installed"
    command = [
        "mbpoll",
        "-0",
        "-1",
        "-q",
        "-m",
        "rtu",
        "-a",
        "1",
        "-b",
        "9600",
        "-P",
        "none",
        "-t",
        "3:hex",
        "-r",
        "52",
        "-c",
        "22",
        port,
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for _ in range(20):
        subprocess.run(command, capture_output=True, check=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"runs_of_one_poll_per_s": round(20 / seconds), "cpu_us_per_run_of_one_poll": round(used / 20 * 1e6)}


def value_age(folder: Path) -> Figures:
    """At the stop two readings must agree: age of the first when both are there, on one 9600 baud bus (aim: 2 s)."""
    return {f"{count}_meters": _ages(count) for count in (1, 8)}


def _ages(count: int) -> Figures:
    chance = random.Random(5)
    stop = threading.Event()
    with _line(9600) as port:
        meters = [ModbusMeter(MeterSection(profile=MODEL, port=port, unit=unit), f"meter {unit}", SystemClock(), None)
                  for unit in range(1, count + 1)]  # fmt: skip

        def poll(meter: ModbusMeter) -> None:
            while not stop.is_set():
                began = time.monotonic()
                meter.read()
                stop.wait(max(0.0, began + 1.0 - time.monotonic()))

        others = [threading.Thread(target=poll, args=(meter,)) for meter in meters[1:]]
        for one in others:
            one.start()
        meters[0].read()
        ages, waits = [], []
        for _ in range(15):
            time.sleep(chance.random())
            asked = time.monotonic()
            first = meters[0].read()
            meters[0].read()
            done = time.monotonic()
            ages.append(done - first.stamp.mono_ms / 1000)
            waits.append(done - asked)
        stop.set()
        for one in others:
            one.join()
        for meter in meters:
            meter.close()
    return {
        "age_p50_s": round(statistics.median(ages), 2),
        "age_max_s": round(max(ages), 2),
        "wait_max_s": round(max(waits), 2),
    }


MEASURES: dict[str, Callable[[Path], Figures]] = {
    "wire_share": wire_share,
    "meter_cycle": meter_cycle,
    "meter_polls": meter_polls,
    "value_age": value_age,
}
