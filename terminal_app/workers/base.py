"""What all workers share: a thread, a bounded job queue, a sign of life, and one fault that is raised and cleared."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.session.events import Event, FaultSeen
from terminal_app.values import Device, Fault

MAX_JOBS = 64
AGAIN_AFTER_S = 5.0  # a device that comes and goes fills no ledger


class Post(Protocol):
    """The engine's inbox, as workers see it."""

    def post(self, event: Event, droppable: bool = False) -> bool: ...
    def post_latest(self, source: object, event: Event) -> None: ...


class Worker:
    """`step` is called in a loop on the worker's own thread until `stop`; it must return within a few seconds."""

    longest_step_s = 20.0

    def __init__(self, name: str, inbox: Post) -> None:
        self.name, self.inbox = name, inbox
        self.last_step = time.monotonic()
        self.jobs: queue.Queue[Callable[[], None]] = queue.Queue(MAX_JOBS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.step()
                self.last_step = time.monotonic()
        finally:
            self.close()  # whatever ends this thread: a contactor is opened

    def step(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Release the device; called on the worker's thread at the end."""

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def submit(self, job: Callable[[], None]) -> None:
        """Queue a job. queue.Full if MAX_JOBS wait: more orders than the rules can have outstanding."""
        self.jobs.put_nowait(job)

    def do_jobs(self, wait_s: float) -> None:
        """Run queued jobs for at least `wait_s`, then return."""
        until = time.monotonic() + wait_s
        while not self._stopping.is_set():
            left_s = until - time.monotonic()
            try:
                job = self.jobs.get(timeout=max(0.0, left_s)) if left_s > 0 else self.jobs.get_nowait()
            except queue.Empty:
                return
            job()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def running(self) -> bool:
        """The thread has not ended."""
        return self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """The thread runs and its last step is not too long ago."""
        return self._thread.is_alive() and time.monotonic() - self.last_step < self.longest_step_s


class Health:
    """One device's fault: raised when it has been bad for `patience_s`, cleared at the first good word."""

    def __init__(self, inbox: Post, device: Device, connector: int, patience_s: float) -> None:
        self._inbox, self._device, self._connector, self._patience_s = inbox, device, connector, patience_s
        self._bad_since: float | None = None
        self._raised: Fault | None = None
        self._quiet_until = 0.0

    def good(self) -> None:
        self._bad_since = None
        if self._raised is not None:
            self._inbox.post(FaultSeen(self._raised, False))
            self._raised = None
            self._quiet_until = time.monotonic() + AGAIN_AFTER_S

    def bad(self, error: DeviceUnavailable | DeviceMisread) -> None:
        now = time.monotonic()
        self._bad_since = self._bad_since or now
        if now - self._bad_since < self._patience_s:
            return
        fault = Fault(self._device, self._connector, error.kind, error.reason)
        if self._raised is None and now >= self._quiet_until:
            self._raised = fault  # its first kind stays until it is cleared: one entry, not one a second
            self._inbox.post(FaultSeen(fault, True))
