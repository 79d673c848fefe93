"""A private PC/SC service with one virtual reader (vsmartcard's vpcd) and one card, in namespaces of its own.
See `drivers.sim` for the flags.

pcscd has its socket path compiled in and vpcd listens on every address, so both run in a mount namespace, where --run-dir
is bound over /run/pcscd, and in a network namespace with nothing but `lo`, which the card shares. Clients come in over
the Unix socket in --run-dir: PCSCLITE_CSOCK_NAME=RUN_DIR/pcscd.comm, set before the PC/SC library is loaded.
Needs Debian's pcscd and vsmartcard-vpcd, and root or unprivileged user namespaces.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from drivers.sim.card import add_card_arguments
from drivers.sim.control import Action, Command, Reply, SimulationError, forever, ready, serve_control

DAEMON = "/usr/sbin/pcscd"
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
COMPILED_IN = Path("/run/pcscd")
PORT = 35_963
READER = "Virtual PCD 00 00"
UP_WITHIN_S = 10.0
STOPS_WITHIN_S = 5.0
RESTART_S = 0.5
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
NEEDS = "run as root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1 on Debian)"


def _die_with_parent() -> None:
    """In the child: the kernel kills it when the supervisor is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _enter_namespaces() -> NoReturn:
    """Become the same program inside new namespaces; the process id stays. Raises SimulationError if not allowed."""
    for missing, package in ((Path(DAEMON), "pcscd"), (DRIVER, "vsmartcard-vpcd")):
        if not missing.exists():
            raise SimulationError(f"{missing} is missing; install it: apt-get install {package}")
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SimulationError("unshare is missing; install it: apt-get install util-linux")
    reason = ""
    for rootless in ([], ["-U", "-r"]):
        words = [unshare, *rootless, "-m", "-n", "--propagation", "private"]
        # root in a container may make a network namespace and yet not be allowed to bring its `lo` up
        tried = subprocess.run([*words, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            inside = [sys.executable, "-m", "drivers.sim", "pcscd", "--inside", *sys.argv[2:]]
            os.execv(unshare, [*words, *inside])
        reason = tried.stderr.strip()
    raise SimulationError(f"no right to make mount and network namespaces ({reason}); {NEEDS}")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        request = struct.pack("16sh22x", b"lo", 0)
        flags: int = struct.unpack("16sh22x", fcntl.ioctl(link, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(link, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def _bind(run_dir: Path) -> None:
    """Lay the directory over the path that is compiled into pcscd. Raises SimulationError."""
    steps = [["mount", "--bind", os.fspath(run_dir), os.fspath(COMPILED_IN)]]
    try:
        COMPILED_IN.mkdir(exist_ok=True)
    except PermissionError:
        if run_dir.is_relative_to("/run"):
            raise SimulationError(f"--run-dir {run_dir}: {COMPILED_IN} is missing; take a directory outside /run") from None
        steps.insert(0, ["mount", "-t", "tmpfs", "tmpfs", "/run"])
    for step in steps:
        COMPILED_IN.mkdir(exist_ok=True) if step[1] == "--bind" else None
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SimulationError(f"{' '.join(step)}: {done.stderr.strip()}; {NEEDS}")


def _listening() -> bool:
    wanted = f":{PORT:04X} "
    lines = Path("/proc/self/net/tcp").read_text().splitlines()
    return any(wanted in " ".join(line.split()[1:2]) + " " and line.split()[3] == "0A" for line in lines[1:])


class Service:
    def __init__(self, options: argparse.Namespace) -> None:
        self._run_dir: Path = options.run_dir
        self._socket = self._run_dir / "pcscd.comm"
        self._drivers = self._run_dir / "reader.conf.d"
        self._daemon: asyncio.subprocess.Process | None = None
        self._wanted = True
        self._starts = 0
        self._lock = asyncio.Lock()

    def prepare(self) -> None:
        self._drivers.mkdir(exist_ok=True)
        entry = f'FRIENDLYNAME "Virtual PCD"\nDEVICENAME /dev/null:{PORT}\nLIBPATH {DRIVER}\nCHANNELID {PORT:#x}\n'
        (self._drivers / "vpcd").write_text(entry)

    async def start(self) -> None:
        """Start pcscd and wait until clients and card can reach it. Raises SimulationError."""
        async with self._lock:
            self._wanted = True
            if self._daemon is not None and self._daemon.returncode is None:
                return
            self._socket.unlink(missing_ok=True)
            with (self._run_dir / "pcscd.log").open("ab") as log:  # never with -a: that would log card numbers
                self._daemon = await asyncio.create_subprocess_exec(
                    DAEMON, "-f", "-c", self._drivers, stdout=log, stderr=log, preexec_fn=_die_with_parent
                )
            self._starts += 1
            for _ in range(int(UP_WITHIN_S / 0.02)):
                if self._socket.exists() and _listening():
                    return
                if self._daemon.returncode is not None:
                    break
                await asyncio.sleep(0.02)
        raise SimulationError(f"pcscd did not come up; see {self._run_dir}/pcscd.log")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        async with self._lock:
            self._wanted = False
            daemon = self._daemon
            if daemon is None or daemon.returncode is not None:
                return
            daemon.send_signal(number)
            try:
                await asyncio.wait_for(daemon.wait(), STOPS_WITHIN_S)
            except TimeoutError:
                daemon.kill()
                await daemon.wait()

    async def watch(self) -> None:
        """pcscd that ends without being asked to is started again, as systemd would."""
        while True:
            await asyncio.sleep(RESTART_S)
            if self._wanted and self._daemon is not None and self._daemon.returncode is not None:
                await self.start()

    # --- commands ---

    async def start_pcscd(self, command: Command) -> None:
        await self.start()

    async def stop_pcscd(self, command: Command) -> None:
        await self.stop()

    async def restart_pcscd(self, command: Command) -> None:
        await self.stop()
        await self.start()

    async def kill_pcscd(self, command: Command) -> None:
        """SIGKILL; it comes back after half a second."""
        await self.stop(signal.SIGKILL)
        self._wanted = True

    def get(self, command: Command) -> Reply:
        running = self._daemon is not None and self._daemon.returncode is None
        return {"running": running, "starts": self._starts, "socket": str(self._socket)}


def _card_command(options: argparse.Namespace) -> list[str]:
    flags = ["--control", options.card_control, "--vpcd", f"127.0.0.1:{PORT}", "--profile", options.profile]
    flags += ["--expiry", options.expiry, "--imk", options.imk.hex(), "--uid", options.uid.hex()]
    flags += ["--slow-ms", options.slow_ms]
    for name in ("pan", "state", "certificates"):
        if getattr(options, name) is not None:
            flags += [f"--{name}", getattr(options, name)]
    return [sys.executable, "-m", "drivers.sim", "card", *map(str, flags)]


async def _start_card(options: argparse.Namespace) -> asyncio.subprocess.Process:
    words = _card_command(options)
    card = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, preexec_fn=_die_with_parent)
    assert card.stdout is not None
    if not await asyncio.wait_for(card.stdout.readline(), UP_WITHIN_S):
        raise SimulationError("the card did not start; its error is above")
    return card


async def _stop_card(card: asyncio.subprocess.Process) -> None:
    if card.returncode is None:
        card.terminate()
    await card.wait()


async def serve(options: argparse.Namespace) -> None:
    if not options.inside:
        options.run_dir.mkdir(parents=True, exist_ok=True)
        _enter_namespaces()
    _loopback_up()
    _bind(options.run_dir.resolve())
    service = Service(options)
    service.prepare()
    await service.start()
    card = await _start_card(options)
    actions: dict[str, Action] = {
        "get": service.get,
        "start_pcscd": service.start_pcscd,
        "stop_pcscd": service.stop_pcscd,
        "restart_pcscd": service.restart_pcscd,
        "kill_pcscd": service.kill_pcscd,
    }
    await serve_control(options.control, actions)
    watcher = asyncio.create_task(service.watch())
    where = {"socket": str(options.run_dir / "pcscd.comm"), "reader": READER}
    ready("pcscd", **where, control=str(options.control), card_control=str(options.card_control))
    try:
        await forever()
    finally:
        watcher.cancel()
        await _stop_card(card)
        await service.stop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run-dir", type=Path, required=True, help="directory that will hold pcscd.comm")
    parser.add_argument("--card-control", type=Path, required=True, help="Unix socket to command the card")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    add_card_arguments(parser)
