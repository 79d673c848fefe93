"""kill -9 of the real core at a chosen commit of a charge, its restart, and everybody's books afterwards."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from scripts.demo.site import METER_START_WH, Site, Wanted
from terminal_app import screens as s
from terminal_app.errors import WireError
from terminal_app.run.core import CRASH_AT
from tests.e2e.glass import Abandoned
from tests.e2e.visit import Visit, settled, wrongs

PRICE = "0.59"
ENERGY_WH = 150  # reached within a second; more than one checkpoint and less than two
POLICY = {"checkpoint_wh": 100, "checkpoint_s": 5, "receipt_show_s": 600, "declined_show_s": 600}
ROOT = Path(__file__).parents[2]


class MutantSite(Site):
    """A site whose core has a planted defect: `tests.crash.sends_first`."""

    def start_core(self) -> None:
        with (self.logs / "charge-terminal.log").open("ab") as log:
            self.processes["charge-terminal"] = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.sends_first", "--config", str(self.config)],
                stdout=log, stderr=log, env={**os.environ, **self.wanted.core_environment, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip


class Walker:
    """One site that is crashed again and again; its ledger, the acquirer's books and the office go on through all of it."""

    def __init__(self, folder: Path, site_kind: type[Site] = Site) -> None:
        self.taps = 0
        self.visit = Visit(folder, Wanted(price=PRICE, energy_wh=3000, policy=POLICY, ui=False), site_kind)
        self.visit.glass.abandoned = self._core_is_dead

    def __enter__(self) -> "Walker":
        self.visit.__enter__()
        self.visit.settled()
        self.visit.end_core()
        return self

    def __exit__(self, *_: object) -> None:
        self._deliveries(True)
        self.visit.__exit__()

    def _core_is_dead(self) -> bool:
        core = self.visit.site.processes.get("charge-terminal")
        return core is None or core.poll() is not None

    def start(self, crash_at: str = "") -> None:
        self.visit.site.wanted.core_environment = {CRASH_AT: crash_at}
        self.visit.start_core()

    def crash(self, at: str) -> bool:
        """A whole charge by a core that dies at this commit; False if the charge ended without having made that commit."""
        self._deliveries(False)
        self.start(at)
        try:
            self._charge()
        except Abandoned:
            pass
        except (WireError, RuntimeError) as error:  # the status was asked while it died
            if not self._core_is_dead():
                raise AssertionError(f"{at}: {error}") from error
        return self._gone()

    def _deliveries(self, on: bool) -> None:
        """Acknowledgements come when they like; held back until all is settled, every charge has its commits in one order."""
        os.kill(self.visit.site.processes["charge-terminal-sync"].pid, signal.SIGCONT if on else signal.SIGSTOP)

    def _charge(self) -> None:
        visit = self.visit
        visit.site.devices["car"].ctl("want", wh=ENERGY_WH)
        visit.site.plug()
        visit.offer()
        self.taps += 1
        answer = visit.tap()
        assert not isinstance(answer, s.DeclinedView), answer
        visit.glass.wait(s.Charging, lambda view: view.energy_wh >= ENERGY_WH)
        visit.stop()
        self._deliveries(True)
        visit.settled()

    def _gone(self) -> bool:
        """Whether the crash came; a core that lives on is ended as a service manager does."""
        site = self.visit.site
        if not self._core_is_dead():
            site.end("charge-terminal")
            return False
        code = site.processes.pop("charge-terminal").wait()
        assert code == -9, f"the core ended by itself with {code}: see {site.logs}"
        return True

    def _settle(self) -> None:
        """A driver whose money was held before the crash is still served: the charge goes on, and STOP ends it."""
        self.visit.glass.wait(s.View)
        self.visit.site.wait_for("the end of everything", self._settled_or_stopped, 60)

    def _settled_or_stopped(self, now: dict[str, Any]) -> bool:
        if isinstance(self.visit.glass.view, s.Charging):
            self.visit.glass.touch(s.Button.STOP)
        return settled(now)

    def dies_or_settles(self) -> bool:
        """For a restart with a crash on order: whether it died, or had tidied up before it came so far."""
        with contextlib.suppress(Abandoned, WireError, RuntimeError):
            self._settle()
        return self._gone()

    def newest(self) -> set[str]:
        """Kinds of the facts of the newest commit in the ledger: what the crash came after."""
        newest = "SELECT utc_ms FROM entries ORDER BY seq DESC LIMIT 1"
        rows = self.visit.site.ledger_rows(f"SELECT kind FROM entries WHERE utc_ms = ({newest})")
        return {kind for (kind,) in rows}

    def recover(self) -> list[str]:
        """Start again, wait until all is settled and delivered, end; what is wrong in anybody's books."""
        visit = self.visit
        self._deliveries(True)
        self.start()
        self._settle()
        flowed = visit.meter_wh()
        with contextlib.suppress(Abandoned):
            visit.leave()
        found = list(wrongs(visit, self.taps, PRICE))
        if visit.meter_wh() != flowed:
            found.append(f"energy went on flowing after the end: {flowed} -> {visit.meter_wh()} Wh")
        bills = visit.records()
        drawn, billed = flowed - METER_START_WH, sum(one["energy_wh"] for one in bills)
        if abs(drawn - billed) > len(bills):  # each bill may differ by the rounding of two registers
            found.append(f"{drawn} Wh flowed, {billed} Wh were billed")
        visit.kill_core()
        (visit.site.state / "starts").unlink(missing_ok=True)  # each point counts as the first crash for a long time
        return found


class Points:
    """The numbers of commits to crash at, handed out to several walkers; ends when a charge did not get that far."""

    def __init__(self, most: int) -> None:
        self._next, self._most, self._lock = 0, most, threading.Lock()

    def take(self) -> int | None:
        with self._lock:
            self._next += 1
            return self._next if self._next <= self._most else None

    def beyond(self, number: int) -> None:
        with self._lock:
            self._most = min(self._most, number)
