"""PC/SC: the one file that imports `smartcard`, and only its raw C interface. Bytes in, bytes out, one exception.

pyscard's own monitors die when pcscd restarts, and SCardIsValidContext says "valid" of dead contexts (cards.md section 1),
so this file trusts neither: any error releases the context, and the next call makes a new one.

Threads: one `Line` per slot owns its context and makes every call, because a card that hangs makes SCardTransmit block
for ever and PC/SC has no timeout. The caller waits with a deadline; a call that does not come back is left to the
line, which is `stuck` until the card is taken away or pcscd ends. No APDU is ever logged.
"""

import enum
import importlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from drivers.cards.apdu import wipe

T = TypeVar("T")


class Category(enum.Enum):
    NO_SERVICE = "no_service"
    NO_READER = "no_reader"
    NO_CARD = "no_card"
    REMOVED = "removed"
    RESET = "reset"
    SHARING = "sharing"
    IO = "io"
    TIMEOUT = "timeout"


class PcscError(Exception):
    """What went wrong at the reader, in our words. Never leaves drivers/cards; never holds card bytes."""

    def __init__(self, category: Category, detail: str) -> None:
        super().__init__(f"{category.value}: {detail}")
        self.category, self.detail = category, detail


# winscard.h of pcsc-lite. What is not listed is IO.
_CATEGORIES = {
    0x8010001D: Category.NO_SERVICE,  # E_NO_SERVICE: pcscd does not run
    0x8010001E: Category.NO_SERVICE,  # E_SERVICE_STOPPED
    0x8010006A: Category.NO_SERVICE,  # W_SECURITY_VIOLATION: polkit refuses us
    0x80100003: Category.NO_SERVICE,  # E_INVALID_HANDLE: context or card handle of a pcscd that is gone
    0x80100013: Category.NO_SERVICE,  # F_COMM_ERROR between client and pcscd
    0x8010002E: Category.NO_READER,  # E_NO_READERS_AVAILABLE
    0x80100009: Category.NO_READER,  # E_UNKNOWN_READER
    0x80100017: Category.NO_READER,  # E_READER_UNAVAILABLE
    0x8010000C: Category.NO_CARD,  # E_NO_SMARTCARD
    0x80100069: Category.REMOVED,  # W_REMOVED_CARD
    0x80100016: Category.REMOVED,  # E_NOT_TRANSACTED: pulled within an APDU
    0x80100068: Category.RESET,  # W_RESET_CARD
    0x8010000B: Category.SHARING,  # E_SHARING_VIOLATION
}
_TIMEOUT = 0x8010000A
_STATE_UNAWARE, _STATE_UNKNOWN, _STATE_UNAVAILABLE, _STATE_PRESENT = 0x0, 0x4, 0x8, 0x20


def _check(code: int, what: str) -> None:
    code &= 0xFFFFFFFF  # SWIG gives signed numbers on some platforms
    if code:
        hint = "; a polkit rule for org.debian.pcsc-lite is missing" if code == 0x8010006A else ""
        raise PcscError(_CATEGORIES.get(code, Category.IO), f"{what} failed ({code:08X}){hint}")


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of the slot. `presentation` changes with every insertion while pcscd runs."""

    reader: str
    present: bool
    presentation: int
    raw: int


_loaded_socket: str | None = None
_load_lock = threading.Lock()


def load(socket: str) -> Any:
    """`smartcard.scard`, talking to pcscd at `socket` ("" = the system's).

    libpcsclite reads the address once per process, so a second, different address is refused with RuntimeError.
    """
    global _loaded_socket
    with _load_lock:
        if _loaded_socket is None:
            if socket:
                os.environ["PCSCLITE_CSOCK_NAME"] = socket
            _loaded_socket = socket
        elif _loaded_socket != socket:
            raise RuntimeError(f"this process already uses the pcscd at {_loaded_socket or 'its default'}, not {socket}")
        return importlib.import_module("smartcard.scard")


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._left = False
        self.done = threading.Event()
        self.value: Any = None
        self.error: PcscError | None = None

    def run(self) -> None:
        try:
            value = self._work()
        except PcscError as error:
            self.error = error
            self.done.set()
            return
        except (OSError, OverflowError, RuntimeError, SystemError, TypeError, ValueError) as error:  # what SWIG can raise
            self.error = PcscError(Category.IO, f"smartcard.scard raised {type(error).__name__}")
            self.done.set()
            return
        with self._lock:
            if self._left:
                if isinstance(value, bytearray):
                    wipe(value)
            else:
                self.value = value
            self.done.set()

    def leave(self) -> bool:
        """Nobody waits any more. False if it was done after all."""
        with self._lock:
            self._left = not self.done.is_set()
            return self._left


class Line:
    """A thread that makes blocking calls one after another, for one caller that does not want to wait for ever."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=4)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)  # daemon: a hung card must not keep us alive
        self._idle = threading.Event()
        self._idle.set()
        self._open = 0
        self._lock = threading.Lock()
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            with self._lock:
                self._open -= 1
                if not self._open:
                    self._idle.set()

    @property
    def stuck(self) -> bool:
        """An earlier call was left behind and has not come back yet."""
        return not self._idle.is_set()

    def wait_idle(self, wait_s: float) -> bool:
        return self._idle.wait(max(0.0, wait_s))

    def later(self, work: Callable[[], Any]) -> None:
        """Do it when the calls before it are done; the result is nobody's. At most four can wait."""
        self._put(_Job(work))

    def _put(self, job: _Job) -> None:
        with self._lock:
            self._open += 1
            self._idle.clear()
        self._jobs.put_nowait(job)

    def call(self, work: Callable[[], T], timeout_s: float) -> T:
        """The result of `work`, or PcscError TIMEOUT after `timeout_s`; then the line is stuck until it came back."""
        if self.stuck:
            raise PcscError(Category.TIMEOUT, "an earlier call has not come back")
        job = _Job(work)
        self._put(job)
        if not job.done.wait(timeout_s) and job.leave():
            raise PcscError(Category.TIMEOUT, f"no answer within {timeout_s:.1f} s")
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def end(self) -> None:
        """Let the thread end when it is through; does not wait for it."""
        with self._lock:
            if self._jobs.full():
                return
        self._jobs.put_nowait(None)


class PcscSlot:
    """One reader's slot. All methods from one thread; each raises PcscError only, and heals by itself when called again."""

    def __init__(self, name: str, socket: str = "") -> None:
        self._scard = load(socket)
        self._name = name
        self._line = Line("card-reader")
        self._context: Any = None
        self._card: Any = None
        self._pci: Any = None
        self._t0 = False
        self._seen: Seen | None = None

    @property
    def stuck(self) -> bool:
        return self._line.stuck

    def wait_free(self, wait_s: float) -> bool:
        """True as soon as no call is stuck; False after `wait_s`."""
        return self._line.wait_idle(wait_s)

    def watch(self, wait_s: float) -> Seen:
        """The state of the slot: at once if it is new to us, else as soon as it changes, at the latest after `wait_s`."""
        return self._guarded(lambda: self._watch(wait_s), wait_s + 5.0)

    def connect(self, timeout_s: float) -> None:
        """Power the card in the slot and take it for us alone."""
        self._guarded(self._connect, timeout_s)

    def transmit(self, command: bytes, timeout_s: float) -> bytearray:
        """One APDU; the answer with its status word, in a buffer the caller wipes."""
        return self._guarded(lambda: self._transmit(command), timeout_s)

    def disconnect(self) -> None:
        """Give the card back without resetting it. Never raises; behind a stuck call it happens when that came back."""
        if self._line.stuck:
            return  # _guarded has queued it
        try:
            self._line.call(self._disconnect, 2.0)
        except PcscError:
            pass  # the line is stuck, and says so at the next call

    def close(self) -> None:
        """Let go of card, context and thread. Never raises, never waits for a hung card."""
        if not self._line.stuck:
            self._line.later(self._release)
        self._line.end()

    # --- on the line's thread ---------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], T], timeout_s: float) -> T:
        """Run on the line; anything but an ordinary card event costs the context (it may be of a pcscd that is gone)."""
        was_stuck = self._line.stuck
        try:
            return self._line.call(work, timeout_s)
        except PcscError as error:
            if error.category is Category.TIMEOUT:
                if not was_stuck:
                    self._line.later(self._release)
            elif error.category not in (Category.NO_CARD, Category.REMOVED, Category.RESET):
                self._forget()
            raise

    def _forget(self) -> None:
        try:
            self._line.call(self._release, 2.0)
        except PcscError:
            pass  # then the line is stuck, and says so at the next call

    def _establish(self) -> Any:
        if self._context is None:
            code, context = self._scard.SCardEstablishContext(self._scard.SCARD_SCOPE_USER)
            _check(code, "connecting to pcscd")
            self._context = context
        return self._context

    def _find(self) -> str:
        code, readers = self._scard.SCardListReaders(self._establish(), [])
        _check(code, "listing readers")
        for reader in readers:
            if self._name in reader:
                return str(reader)
        raise PcscError(Category.NO_READER, f"none of {len(readers)} readers is named {self._name!r}")

    def _watch(self, wait_s: float) -> Seen:
        known = self._seen
        reader = known.reader if known else self._find()
        context = self._establish()
        state = known.raw if known else _STATE_UNAWARE
        code, states = self._scard.SCardGetStatusChange(context, max(0, int(wait_s * 1000)), [(reader, state)])
        if code & 0xFFFFFFFF == _TIMEOUT and known:
            return known
        _check(code, "watching the reader")
        raw = int(states[0][1]) & 0xFFFFFFFF
        if raw & (_STATE_UNKNOWN | _STATE_UNAVAILABLE):
            raise PcscError(Category.NO_READER, "the reader was unplugged")
        self._seen = Seen(reader, bool(raw & _STATE_PRESENT), raw >> 16, raw & ~0x2)  # 0x2 = CHANGED, not part of a state
        return self._seen

    def _connect(self) -> None:
        self._disconnect()
        reader = self._seen.reader if self._seen else self._find()
        s = self._scard
        code, card, protocol = s.SCardConnect(
            self._establish(), reader, s.SCARD_SHARE_EXCLUSIVE, s.SCARD_PROTOCOL_T0 | s.SCARD_PROTOCOL_T1
        )
        _check(code, "connecting to the card")
        self._card, self._t0 = card, protocol == s.SCARD_PROTOCOL_T0
        self._pci = s.SCARD_PCI_T0 if self._t0 else s.SCARD_PCI_T1

    def _transmit(self, command: bytes) -> bytearray:
        if self._card is None:
            raise PcscError(Category.NO_CARD, "no card is connected")
        if self._t0 and len(command) > 5 and len(command) == command[4] + 6:
            command = command[:-1]  # T=0 has no Le behind data; the answer comes by 61xx
        code, answer = self._scard.SCardTransmit(self._card, self._pci, list(command))
        buffer = bytearray(len(answer))  # made in full size: one that grows leaves copies behind
        for i, byte in enumerate(answer):
            buffer[i] = byte & 0xFF
            answer[i] = 0
        if code & 0xFFFFFFFF == 0 and len(buffer) < 2:  # vpcd answers so when the card is pulled within an APDU
            raise PcscError(Category.REMOVED, "the card answered nothing")
        _check(code, "APDU")
        return buffer

    def _disconnect(self) -> None:
        if self._card is not None:
            card, self._card = self._card, None
            self._scard.SCardDisconnect(card, self._scard.SCARD_LEAVE_CARD)  # its error changes nothing: the handle is gone

    def _release(self) -> None:
        self._disconnect()
        self._seen = None
        if self._context is not None:
            context, self._context = self._context, None
            self._scard.SCardReleaseContext(context)
