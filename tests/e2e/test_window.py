"""The real window: killed and started again it shows the charge that went on; what it wrote holds no card number."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo.display import Display
from scripts.demo.site import TEST_PANS, Site, Wanted
from tests.e2e.visit import payload_of, settled, until
from tests.pan_search import find_pan


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Display(headless=True) as display, Site(tmp_path_factory.mktemp("window"), Wanted(energy_wh=9000), display) as site:
        yield site


def press(site: Site, button: str, view: str) -> None:
    """A finger on the glass. Once: the next screen may have another button in the same place."""
    until(lambda: button in rects(site), f"the button {button}")
    site.press(button)
    until(lambda: site.view() == view, f"the view {view}", 60)


def rects(site: Site) -> dict[str, list[int]]:
    return dict(json.loads(site.rects.read_text())["rects"])


def test_window_killed_while_charging(site: Site) -> None:
    site.wait_for("a connector for sale", lambda now: now["connectors"] and now["connectors"][0]["for_sale"])
    until(lambda: site.view() == "offer", "the price", 60)
    site.plug()
    time.sleep(1)
    site.tap()
    site.wait_for("energy to flow", lambda now: (now["connectors"][0]["power_w"] or 0) > 0)
    core = site.processes["charge-terminal"].pid
    site.kill("charge-terminal-ui")
    site.rects.unlink()
    time.sleep(1)
    assert site.phase(site.status()) == "charging", "a charge needs no window"
    site.start_ui()
    until(lambda: site.view() == "charging", "the window to show the charge that went on", 60)
    press(site, "stop", "receipt")
    site.wait_for("the end of everything", settled, 60)
    assert site.processes["charge-terminal"].pid == core
    (jws,) = site.ledger_rows("SELECT jws FROM records WHERE type = 'session'")[0]
    bill = payload_of(jws)
    assert bill["stop"] == {"reason": "touch", "interrupted": False}
    (row,) = site.acquirer_rows()
    assert (row["state"], row["captured_minor"]) == ("captured", bill["totals"]["total_minor"])


def test_meter_lost_is_on_the_glass(site: Site) -> None:
    """The fault is shown where the price stood, and the price comes back by itself."""
    site.unplug()
    press(site, "done", "offer")
    site.devices["meter"].ctl("fault", kind="silent")
    until(lambda: site.view() == "not_for_sale", "the screen that says why nothing is sold", 60)
    site.devices["meter"].ctl("fault", kind="none")
    until(lambda: site.view() == "offer", "the price to come back", 60)


def test_no_card_number_where_it_ran(site: Site, tmp_path: Path) -> None:
    """Sockets' folder, state, logs and the support archive, while everything runs; the search itself is tried on one."""
    archive = tmp_path / "bundle.tar.gz"
    made = subprocess.run(
        [str(Path(sys.executable).with_name("charge-service")), "--config", str(site.config), "bundle", "--out", str(archive)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert archive.exists(), made.stderr
    pan = TEST_PANS[site.wanted.brand]
    assert find_pan([site.folder, site.sockets, archive], pan) == []
    planted = tmp_path / "planted"
    planted.write_text(f"x{pan}x")
    assert find_pan([planted], pan)
