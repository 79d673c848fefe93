"""The computer itself: clock (`Clock`) and disk space. Linux only; no device is opened."""

import ctypes
import os
import time
from pathlib import Path
from typing import NamedTuple

from terminal_app.values import ClockState, Stamp

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIMESYNCD = Path("/run/systemd/timesync/synchronized")  # touched at every answer of a time server (systemd-timesyncd(8))
TIMESYNCD_TRUSTED_S = 32_000  # as long as the kernel trusts it: 16 s of error at 500 ppm (<linux/timex.h> NTP_PHASE_LIMIT)
STATE_AGE_NS = 5_000_000_000
_STA_UNSYNC = 0x0040  # <sys/timex.h>: the kernel's clock is not disciplined
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), 64-bit Linux; only `status` is read, the rest is room for what the kernel writes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class SystemClock:
    """UTC, monotonic time and boot id, with the kernel's own word on whether UTC is synchronised (refreshed every 5 s).

    SYNCHRONISED: disciplined by NTP/PTP/GPS (where the unit's sandbox hides the kernel's word: by systemd-timesyncd);
    INFORMATIVE: it runs, but nobody vouches for it; UNKNOWN: nobody tells. Any thread; never blocks, never raises after
    construction.
    """

    def __init__(self) -> None:
        self._boot_id = BOOT_ID.read_text("ascii").strip()
        libc = ctypes.CDLL(None, use_errno=True)
        self._adjtimex = libc.adjtimex
        self._adjtimex.argtypes = (ctypes.POINTER(_Timex),)
        self._adjtimex.restype = ctypes.c_int
        self._state = (0, ClockState.UNKNOWN)  # (valid until, state): replaced as a whole, so safe between threads

    def now(self) -> Stamp:
        mono_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        until, state = self._state
        if mono_ns >= until:
            state = self._kernel_state()
            self._state = (mono_ns + STATE_AGE_NS, state)
        return Stamp(utc_ms=time.time_ns() // 1_000_000, mono_ms=mono_ns // 1_000_000, boot_id=self._boot_id, clock=state)

    def _kernel_state(self) -> ClockState:
        timex = _Timex()  # modes = 0: only ask
        outcome = self._adjtimex(ctypes.byref(timex))
        if outcome < 0:  # the unit's sandbox forbids every call about the clock, this harmless one too
            return timesyncd_state(TIMESYNCD, time.time())
        return clock_state(outcome, timex.status)


def clock_state(outcome: int, status: int) -> ClockState:
    """What adjtimex(2) said: its return value and `status`."""
    if outcome < 0:
        return ClockState.UNKNOWN
    if outcome == _TIME_ERROR or status & _STA_UNSYNC:
        return ClockState.INFORMATIVE
    return ClockState.SYNCHRONISED


def timesyncd_state(mark: Path, utc_s: float) -> ClockState:
    """What systemd-timesyncd left behind: `mark` fresh, `mark` old or only its folder, or nothing at all."""
    try:
        age_s = utc_s - mark.stat().st_mtime
    except OSError:
        return ClockState.INFORMATIVE if mark.parent.is_dir() else ClockState.UNKNOWN
    return ClockState.SYNCHRONISED if abs(age_s) < TIMESYNCD_TRUSTED_S else ClockState.INFORMATIVE


class DiskSpace(NamedTuple):
    """Bytes that this program may still write, bytes of the whole file system, and whether it is mounted read-only."""

    free_bytes: int
    total_bytes: int
    read_only: bool


def disk_space(path: Path) -> DiskSpace:
    """The file system that holds `path`. OSError if the path does not exist."""
    found = os.statvfs(path)
    return DiskSpace(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, bool(found.f_flag & os.ST_RDONLY))
