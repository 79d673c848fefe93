"""Health worker: free space on the ledger's disk. New sales stop well before the disk is full."""

from collections.abc import Callable

from terminal_app.errors import DeviceUnavailable
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

PERIOD_S = 10.0
LEAST_FREE_BYTES = 64 * 1024 * 1024


class HealthWorker(Worker):
    """`free_bytes` asks the system; it never blocks for long."""

    def __init__(self, free_bytes: Callable[[], int], inbox: Post) -> None:
        super().__init__("health", inbox)
        self._free_bytes = free_bytes
        self._disk = Health(inbox, Device.DISK, 0, 0.0)

    def step(self) -> None:
        try:
            free = self._free_bytes()
        except OSError as error:
            self._disk.bad(DeviceUnavailable("disk", "unreadable", str(error)))
        else:
            if free < LEAST_FREE_BYTES:
                self._disk.bad(DeviceUnavailable("disk", "full", f"only {free // 1024} KiB free"))
            else:
                self._disk.good()
        for _ in range(int(PERIOD_S / 0.5)):
            if self.stopping:
                return
            self.do_jobs(0.5)
