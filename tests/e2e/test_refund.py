"""A technician gives money back at a site with its real processes: once, whatever dies, and never where it cannot work."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo.site import Wanted
from tests.e2e.visit import Visit, rows_of, until


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    with Visit(tmp_path / "site", Wanted(energy_wh=3000, ui=False)) as visit:
        yield visit


def refund(visit: Visit, hold: str, amount: str) -> subprocess.CompletedProcess[str]:
    tool = [str(Path(sys.executable).with_name("charge-service")), "--config", str(visit.site.config)]
    order = ["payments", "refund", hold, "--amount", amount, "--reason", "test"]
    return subprocess.run([*tool, *order], capture_output=True, text=True, timeout=30, check=False)


def test_money_goes_back_once_though_the_power_fails_before_the_answer(visit: Visit) -> None:
    visit.charge(500)
    visit.stop()
    visit.settled()
    (end,) = visit.records("settlement")
    hold = end["authorization_reference"]

    visit.site.devices["acquirer"].ctl("next", answer="silent", mti="0220")
    assert refund(visit, hold, "0.10").returncode == 0
    given = until(lambda: rows_of(visit.site.books, "SELECT amount_minor FROM refunds"), "the refund to be booked")
    visit.kill_core()
    visit.start_core()
    visit.settled()
    assert given == [{"amount_minor": 10}] == rows_of(visit.site.books, "SELECT amount_minor FROM refunds")
    assert [(one["how"], one["amount_minor"]) for one in visit.records("settlement")[1:]] == [("refunded", 10)]

    visit.end_core()
    visit.site.profile.write_text("")  # as an acquirer without refunds
    visit.start_core()
    visit.settled()
    refused = refund(visit, hold, "0.10")
    assert refused.returncode == 2 and "takes no refunds from this terminal" in refused.stderr
    time.sleep(1)
    assert len(visit.records("settlement")) == 2, "nothing was begun, nothing sealed"
