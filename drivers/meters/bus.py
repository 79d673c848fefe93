"""One Modbus line (serial port or TCP host), strict: an answer counts only if it is certainly the answer to this question.

The only file that imports pymodbus. pymodbus accepts late replies, other function codes and other lengths (measured,
meters.md section 1.5), so here, before its decoder sees anything, bytes that are not exactly the expected frame (unit,
function code, length, CRC or transaction id) are dropped. Its own retries and reconnecting are off. The rules are those
of meters.md section 1.6: one question at a time; whatever goes wrong makes the line dirty, and a dirty line must be
silent for the quarantine time before the next question; a lost port is reopened by the next call after 0.5 to 2 s.
Asking again is the caller's: with another length, see `plan.Planner.unanswered`.

Measured (`python -m tests.bench`, two x86 cores): 97.5 to 99.4 % of the wire limit at 9600 and 19200 baud, 190 us of CPU a poll. A
framing of our own on pyserial could win none of the wire and half of that CPU, so pymodbus stays; the slaves in tests use neither.

The client's event loop is private and runs only inside `ask`, in the caller's thread; several meters of one port share
one bus (`shared`), also from several threads. Times are monotonic seconds.
"""

import asyncio
import logging
import os
import stat
import termios
import threading
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from drivers.meters.framing import READ_COILS as READ_COILS
from drivers.meters.framing import READ_HOLDING as READ_HOLDING
from drivers.meters.framing import READ_INPUT as READ_INPUT
from drivers.meters.framing import WRITE_COIL as WRITE_COIL
from drivers.meters.framing import WRITE_MANY as WRITE_MANY
from drivers.meters.framing import WRITE_ONE as WRITE_ONE
from drivers.meters.framing import Question as Question
from drivers.meters.framing import rtu_answer, tcp_answer
from terminal_app.errors import ModbusFaultKind

CONNECT_TIMEOUT_S = 1.0
REOPEN_FIRST_S = 0.5
REOPEN_LAST_S = 2.0
LIBRARY_TIMEOUT_S = 60.0  # never reached: the bus ends a question itself

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs device bytes and repeats what ModbusFault says


class Address(NamedTuple):
    """Where the line is: a serial port (`port`, settings) or `host`:`tcp_port`; `rtu` = RTU frames, also over TCP."""

    port: str = ""
    baud: int = 9600
    parity: str = "N"
    stop: int = 1
    host: str = ""
    tcp_port: int = 502
    rtu: bool = True

    def __str__(self) -> str:
        return self.port or f"{self.host}:{self.tcp_port}"


class ModbusFault(Exception):
    """No trustworthy answer. `code` is the Modbus exception code if the device refused, else 0. Caught by the meter driver."""

    def __init__(self, kind: ModbusFaultKind, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.code = kind, reason, code


def _nobody() -> None:
    """Who does not want to know when a question is sent."""


class ModbusBus:
    """Any thread may ask; one question is on the line at a time."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.users = 0
        self.connections = 0  # how often the line was opened: who must know of a lost link compares it
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._library_error)
        self._client: AsyncModbusSerialClient | AsyncModbusTcpClient | None = None
        self._lost: asyncio.Event | None = None
        self._question: Question | None = None
        self._sent = b""
        self._foreign = b""  # what came since the question and is not its answer, for the report
        self._dirty = True
        self._active_at = 0.0  # last byte in either direction
        self._reopen_at = 0.0
        self._pause_s = REOPEN_FIRST_S

    def ask(self, question: Question, deadline: float, sending: Callable[[], None] = _nobody) -> tuple[int, ...]:
        """The register words; one attempt. Blocks at most until `deadline` (monotonic seconds). ModbusFault.

        `sending` is called right before the question is sent, so that a reading can be dated.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise ModbusFault(ModbusFaultKind.TIMEOUT, f"{question}: the line {self.address} was busy until the deadline")
        try:
            task = self._loop.create_task(self._ask(question, deadline, sending))
            try:
                return self._loop.run_until_complete(task)
            finally:
                if not task.done():  # the caller was interrupted: nothing may go on in the loop, the line stays dirty
                    task.cancel()
                    self._loop.run_until_complete(asyncio.wait({task}))
        finally:
            self._lock.release()

    def close(self) -> None:
        """Release the port. Further questions are errors of the caller."""
        with self._lock:
            if not self._loop.is_closed():
                self._loop.run_until_complete(self._drop())
                self._loop.close()

    async def _ask(self, question: Question, deadline: float, sending: Callable[[], None]) -> tuple[int, ...]:
        client = await self._connected(deadline)
        await self._silence(question, deadline)
        if self._lost is None or self._lost.is_set():
            raise self._port_lost(question)
        self._dirty = True  # until the right answer is here: covers timeout, interruption and cancellation alike
        self._question, self._foreign = question, b""
        sending()
        try:
            asked = asyncio.ensure_future(_sent(client, question))
            lost = asyncio.ensure_future(self._lost.wait())
            try:
                timeout = max(0.0, min(question.timeout_s, deadline - time.monotonic()))
                await asyncio.wait({asked, lost}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not asked.done():
                    raise self._port_lost(question) if lost.done() else self._no_answer(question)
                answer = asked.result()
            finally:
                for future in (asked, lost):
                    future.cancel()
                await asyncio.wait({asked, lost})
        except ModbusException as error:
            raise ModbusFault(ModbusFaultKind.PORT, f"{question}: {self.address}: {error}") from error
        finally:
            self._question = None
            self._active_at = time.monotonic()
        self._dirty = bool(self._foreign)
        if answer.isError():
            code = int(answer.exception_code)
            raise ModbusFault(ModbusFaultKind.EXCEPTION, f"{question}: the device refused with exception {code}", code)
        if question.values:
            return ()  # its bytes were compared with the question before the library saw them
        if question.fc == READ_COILS:
            return tuple(int(bit) for bit in answer.bits[: question.size])
        if answer.function_code != question.fc or len(answer.registers) != question.size:
            self._dirty = True
            raise ModbusFault(ModbusFaultKind.MISMATCH, f"{question}: the answer has another function code or length")
        return tuple(answer.registers)

    # --- the line's silence ------------------------------------------------------------------------------------------

    async def _silence(self, question: Question, deadline: float) -> None:
        """Eat what came while nobody asked, then keep the gap, or on a dirty line the quarantine."""
        before = self._active_at
        for _ in range(3):  # let the loop poll the port
            await asyncio.sleep(0)
        if self._active_at != before:
            self._dirty = True
        while (wait := self._active_at + (question.quarantine_s if self._dirty else question.gap_s) - time.monotonic()) > 0:
            if time.monotonic() + wait >= deadline:
                reason = f"{question}: {self.address} does not become silent (another master, noise, or a slow device)"
                raise ModbusFault(ModbusFaultKind.MISMATCH, reason)
            before = self._active_at
            await asyncio.sleep(wait)
            if self._active_at != before:
                self._dirty = True

    def _traffic(self, sending: bool, packet: bytes) -> bytes:
        """pymodbus' tap: every packet passes here. Only the exact answer to the present question goes on to its decoder."""
        self._active_at = time.monotonic()
        if sending:
            self._sent = packet
            return packet
        if self._question is None:
            self._dirty = True
            return b""
        found = rtu_answer(packet, self._question) if self.address.rtu else tcp_answer(packet, self._sent, self._question)
        frame, self._foreign = found
        return frame

    def _library_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """An exception inside pymodbus' callbacks (undecodable bytes): the answer stays out, the line is dirty."""
        self._dirty = True

    # --- the port -----------------------------------------------------------------------------------------------------

    async def _connected(self, deadline: float) -> AsyncModbusSerialClient | AsyncModbusTcpClient:
        await asyncio.sleep(0)  # a port that was pulled out while nobody asked reports it now
        await asyncio.sleep(0)
        if self._client is not None and self._lost is not None and not self._lost.is_set():
            return self._client
        await self._drop()
        now = time.monotonic()
        if now < self._reopen_at:
            raise ModbusFault(ModbusFaultKind.PORT, f"{self.address} is gone: {self._why_closed()}")
        self._lost = asyncio.Event()
        client = self._new_client()
        try:
            connected = await asyncio.wait_for(client.connect(), min(CONNECT_TIMEOUT_S, max(0.0, deadline - now)))
        except (TimeoutError, OSError, ValueError, termios.error, ModbusException):
            connected = False
        if not connected:
            client.close()
            self._reopen_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, REOPEN_LAST_S)
            raise ModbusFault(ModbusFaultKind.PORT, f"{self.address} cannot be opened: {self._why_closed()}")
        client.set_max_no_responses(1 << 30)  # one silent unit must not close the line of the others
        self._client, self._pause_s = client, REOPEN_FIRST_S
        self.connections += 1
        self._dirty, self._active_at = True, time.monotonic()
        return client

    def _new_client(self) -> AsyncModbusSerialClient | AsyncModbusTcpClient:
        at = self.address
        if at.port:
            return AsyncModbusSerialClient(
                at.port,
                framer=FramerType.RTU,
                baudrate=at.baud,
                parity=at.parity,
                stopbits=at.stop,
                retries=0,
                timeout=LIBRARY_TIMEOUT_S,
                reconnect_delay=0,
                trace_packet=self._traffic,
                trace_connect=self._link,
            )
        return AsyncModbusTcpClient(
            at.host,
            port=at.tcp_port,
            framer=FramerType.RTU if at.rtu else FramerType.SOCKET,
            retries=0,
            timeout=LIBRARY_TIMEOUT_S,
            reconnect_delay=0,
            trace_packet=self._traffic,
            trace_connect=self._link,
        )

    def _link(self, connected: bool) -> None:
        if not connected and self._lost is not None:
            self._lost.set()

    async def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
            await asyncio.sleep(0)

    def _why_closed(self) -> str:
        """What a technician can check; pymodbus keeps the reason to itself."""
        if not self.address.port:
            return "no connection; check address, network and that the device allows one more client"
        try:
            mode = os.stat(self.address.port).st_mode
        except OSError as error:
            return f"{error.strerror}; check adapter and cable"
        if not stat.S_ISCHR(mode):
            return "it is not a serial port"
        if not os.access(self.address.port, os.R_OK | os.W_OK):
            return "permission denied; add the user to the group of the port"
        return "it is used by another program, or just came back"

    def _port_lost(self, question: Question) -> ModbusFault:
        return ModbusFault(ModbusFaultKind.PORT, f"{question}: {self.address} was lost")

    def _no_answer(self, question: Question) -> ModbusFault:
        if not self._foreign:
            reason = f"{question}: no answer within {question.timeout_s:g} s; check power, wiring, unit id, line settings"
            return ModbusFault(ModbusFaultKind.TIMEOUT, reason)
        reason = f"{question}: {len(self._foreign)} bytes came that are not its answer (noise, foreign, late or cut off)"
        return ModbusFault(ModbusFaultKind.MISMATCH, reason)


def _sent(client: AsyncModbusSerialClient | AsyncModbusTcpClient, question: Question) -> Awaitable[ModbusPDU]:
    """The library's call for a question. Raises what the call raises at once (not connected)."""
    addr, unit = question.addr, question.unit
    match question.fc:
        case 1:
            return client.read_coils(addr, count=question.size, device_id=unit)
        case 3:
            return client.read_holding_registers(addr, count=question.size, device_id=unit)
        case 4:
            return client.read_input_registers(addr, count=question.size, device_id=unit)
        case 5:
            return client.write_coil(addr, bool(question.values[0]), device_id=unit)
        case 6:
            return client.write_register(addr, question.values[0], device_id=unit)
        case 16:
            return client.write_registers(addr, list(question.values), device_id=unit)
        case _:
            raise ValueError(f"function code {question.fc} is not asked by any driver")


_shared: dict[str, ModbusBus] = {}
_shared_lock = threading.Lock()


def shared(address: Address) -> ModbusBus:
    """The one bus of this port or host; give it back with `release`. ValueError if it is open with other line settings."""
    with _shared_lock:
        bus = _shared.get(str(address))
        if bus is not None and bus.address != address:
            raise ValueError(f"{address} is already used with other line settings ({bus.address.baud} baud)")
        if bus is None:
            bus = _shared[str(address)] = ModbusBus(address)
        bus.users += 1
        return bus


def release(bus: ModbusBus) -> None:
    """Close the bus with its last user."""
    with _shared_lock:
        bus.users -= 1
        if bus.users == 0:
            _shared.pop(str(bus.address), None)
            bus.close()
