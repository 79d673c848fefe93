"""How often the core has died lately: the third crash in a row starts it out of service, with settlement and export alive."""

import os
import time
from pathlib import Path

CRASHES_ALLOWED = 3
WELL_AFTER_S = 60.0
BACK_AFTER_S = 600.0  # out of service for too many crashes ends after ten good minutes


class Starts:
    """A small file counts starts that never got well. Losing it costs nothing but the count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._born = time.monotonic()
        self._written = -1
        self.crashes = self._read()
        self._write(self.crashes + 1)

    @property
    def crashed_before(self) -> bool:
        return self.crashes > 0

    @property
    def too_many(self) -> bool:
        return self.crashes >= CRASHES_ALLOWED

    def lived(self) -> bool:
        """Call while all is well: after a minute the count is forgotten; True when it has been well for ten."""
        well_s = time.monotonic() - self._born
        if well_s > WELL_AFTER_S:
            self._write(0)
        return well_s > BACK_AFTER_S

    def ended_well(self) -> None:
        self._write(0)

    def _read(self) -> int:
        try:
            return max(0, int(self._path.read_text("ascii")))
        except (OSError, ValueError):
            return 0

    def _write(self, count: int) -> None:
        if count == self._written:
            return
        self._written = count
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(str(count), "ascii")
            os.replace(fresh, self._path)
        except OSError:
            return  # a full or read-only disk has a fault of its own
