"""Small scripted devices on a pty or a TCP socket that can break every rule; one thread each, no device library."""

import os
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.sim import modbus_slave, rapi, sdm630

Piece = tuple[float, bytes]  # seconds to wait, then the bytes
Script = Callable[[bytes], list[Piece]]


class EvilLine:
    """The device's end of a serial port named `link`. `cut` takes a request off the stream, `script` makes the reply."""

    def __init__(self, link: Path, cut: Callable[[bytes], int], honest: Script) -> None:
        self.link, self._cut, self.honest = link, cut, honest
        self.scripts: list[Script] = []  # for the next requests; then honest again
        self.always: Script | None = None
        self.heard: list[bytes] = []
        self.heard_at: list[float] = []  # monotonic seconds
        self._master = self._slave = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def plug(self) -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        with self._lock:
            self._master, self._slave = master, slave
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(slave))

    def unplug(self) -> None:
        with self._lock:
            for file in (self._master, self._slave):
                if file >= 0:
                    os.close(file)
            self._master = self._slave = -1
        self.link.unlink(missing_ok=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self.unplug()

    def send(self, content: bytes) -> None:
        with self._lock:
            if self._master >= 0:
                os.write(self._master, content)

    def _run(self) -> None:
        buffer = b""
        due: list[Piece] = []  # (when, bytes)
        while not self._stop.is_set():
            now = time.monotonic()
            for piece in sorted(one for one in due if one[0] <= now):
                due.remove(piece)
                self.send(piece[1])
            with self._lock:
                master = self._master
                if master >= 0 and select.select([master], [], [], 0)[0]:
                    buffer += os.read(master, 4096)
            while size := self._cut(buffer):
                request, buffer = buffer[:size], buffer[size:]
                self.heard.append(request)
                self.heard_at.append(time.monotonic())
                script = self.scripts.pop(0) if self.scripts else self.always or self.honest
                at = time.monotonic()
                due += [(at + delay, content) for delay, content in script(request)]
            time.sleep(0.001)


UNIT = 1


def registers(energy_kwh: float = 1234.5, power_w: float = 7000.0, serial: int = 4711) -> modbus_slave.Blocks:
    inputs = dict.fromkeys(range(0x180), 0)
    for address, value in ((0x34, power_w), (0x46, 50.0), (0x48, energy_kwh)):
        inputs[address], inputs[address + 1] = sdm630.float_words(value)
    return {4: inputs, 3: {0xFC00: serial >> 16, 0xFC01: serial & 0xFFFF}}


class EvilMeter(EvilLine):
    """An SDM630 that answers truly unless scripted otherwise."""

    def __init__(self, link: Path) -> None:
        self.blocks = registers()
        super().__init__(link, _modbus_request, lambda request: [(0.0, self.reply(request))])

    def pdu(self, request: bytes) -> bytes:
        return modbus_slave.answer(request[1:-2], self.blocks)

    def reply(self, request: bytes, unit: int = UNIT) -> bytes:
        return modbus_slave.rtu_frame(unit, self.pdu(request))


def _modbus_request(buffer: bytes) -> int:
    return 8 if len(buffer) >= 8 else 0


def frame(pdu: bytes, unit: int = UNIT) -> bytes:
    return modbus_slave.rtu_frame(unit, pdu)


class EvilBoard(EvilLine):
    """An OpenEVSE that knows FE, FS, SC, GS and S4, boots enabled, and answers truly unless scripted otherwise."""

    def __init__(self, link: Path, auth_lock: bool = True) -> None:
        self.mode, self.car, self.welded, self.auth_lock, self.locked = 0x01, 0x01, False, auth_lock, False
        self.amperes, self.elapsed_s, self.fault = 12, 0, 0
        super().__init__(link, lambda buffer: buffer.find(b"\r") + 1, self._obey)

    @property
    def relay(self) -> bool:
        return self.welded or (self.mode == 0x01 and self.car >= 0x03 and not self.locked and not self.fault)

    def boot(self) -> None:
        """A restart too short to be missed: enabled again, the timer at zero, everything volatile gone."""
        self.mode, self.locked, self.amperes, self.elapsed_s = 0x01, False, 12, 0

    def words(self, request: bytes) -> tuple[list[str], str]:
        body = request.decode().strip("\r").partition("^")[0].lstrip("$").split()
        return body[:-1], body[-1].lstrip(":")

    def _obey(self, request: bytes) -> list[Piece]:
        words, sequence = self.words(request)
        accepted, text = True, ""
        match words:
            case ["FE"]:
                self.mode = 0x01
            case ["FS"]:
                self.mode = 0xFE
            case ["S4", flag] if self.auth_lock:
                self.locked = flag == "1"
            case ["SC", asked, "V"]:
                self.amperes = max(6, min(int(asked), 12))
                accepted = self.amperes == int(asked)
                text = "" if accepted else str(self.amperes)
            case ["GS"]:
                state = self.fault or (self.mode if self.mode != 0x01 else self.car if not self.locked else min(self.car, 0x02))
                flags = (0x40 if self.relay else 0) | (0x100 if self.car > 1 else 0) | (0x08 if self.locked else 0)
                text = f"{state:02x} {self.elapsed_s} {self.car:02x} {flags:04x}"
            case _:
                accepted = False
        return [(0.0, rapi.reply(accepted, text, int(sequence, 16)))]


class EvilTcp:
    """Serves one EvilLine-like script over TCP: raw bytes in, scripted bytes out."""

    def __init__(self, cut: Callable[[bytes], int], honest: Script) -> None:
        self._cut, self.honest = cut, honest
        self.scripts: list[Script] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.port: int = self._server.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._server.close()

    def _clients(self) -> Iterator[socket.socket]:
        while not self._stop.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(0.02)
                yield client

    def _run(self) -> None:
        for client in self._clients():
            buffer = b""
            while not self._stop.is_set():
                try:
                    received = client.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    break
                if not received:
                    break
                buffer += received
                while size := self._cut(buffer):
                    request, buffer = buffer[:size], buffer[size:]
                    script = self.scripts.pop(0) if self.scripts else self.honest
                    for delay, content in script(request):
                        time.sleep(delay)
                        client.sendall(content)
