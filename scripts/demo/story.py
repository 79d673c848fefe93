"""The driver's visit, told as it happens: plugs in, reads the price, taps, charges, stops, sees the receipt, unplugs."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from scripts.demo.evidence import Disagreement, checks, gather
from scripts.demo.phone import Phone
from scripts.demo.site import Site

BOLD, PLAIN, GREEN, RED = ("\033[1m", "\033[0m", "\033[32m", "\033[31m") if sys.stdout.isatty() else ("", "", "", "")


class Story:
    """Tells and times each step."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.began = time.monotonic()
        self.timings: dict[str, float] = {}
        self.shots: dict[str, str] = {}

    def tell(self, words: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {words}", flush=True)

    def mark(self, name: str) -> None:
        self.timings[name] = round(time.monotonic() - self.began, 3)

    def shot(self, name: str) -> None:
        self.shots[name] = str(self.site.screenshot(name))


def visit(site: Site, story: Story) -> None:
    """One paid (or free) charge. TimeoutError says what did not happen."""
    wanted, free = site.wanted, site.wanted.price is not None and float(site.wanted.price) == 0
    site.wait_for("a connector for sale", lambda now: now["connectors"] and now["connectors"][0]["for_sale"], 60)
    story.mark("ready_for_a_tap")
    story.tell("the terminal is ready: price on the screen, reader armed")
    site.plug()
    site.wait_for("the plug", lambda now: now["connectors"][0]["pilot"] in ("B", "C"))
    _until(lambda: site.view() == "offer", 15, "the price screen")
    time.sleep(0.6)
    story.shot("price")
    story.tell(f"a driver plugs in and reads: {wanted.price} EUR per kWh" + ("" if free else f", {_eur(wanted.hold_minor)} held"))
    if free:
        site.press("start")
    elif wanted.by_phone:
        _pay_by_phone(site, story)
    else:
        _pay(site, story)
    status = site.wait_for("energy to flow", lambda now: (now["connectors"][0]["power_w"] or 0) > 0, 45)
    story.mark("energy_flows")
    story.tell(f"contactor closed, energy flows: {status['connectors'][0]['power_w'] / 1000:.0f} kW (a fast, simulated car)")
    start = status["connectors"][0]["meter_wh"]
    _until(lambda: site.devices["car"].ctl("get")["energy_wh"] > wanted.energy_wh // 3, 120, "a third of the energy")
    story.shot("charging")
    _until(lambda: site.devices["car"].ctl("get")["full"], 300, "the car to be full")
    site.wait_for("the last reading", lambda now: now["connectors"][0]["power_w"] == 0, 30)
    got = site.devices["car"].ctl("get")["energy_wh"]
    story.tell(f"the car has got {got / 1000:.3f} kWh by its own count; the meter stood at {start / 1000:.3f} kWh soon after start")
    _until(lambda: site.view() == "charging", 10, "the charging screen")
    time.sleep(0.5)
    site.press("stop")
    story.mark("stop_pressed")
    story.tell("the driver presses STOP: a finger on the glass (XTEST)")
    site.wait_for("the sealed record", lambda now: now["records"]["sealed"] >= 1, 45)
    _until(lambda: site.view() == "receipt", 15, "the receipt on the screen")
    story.mark("receipt")
    site.wait_for("the money to be settled", lambda now: now["open_holds"] == 0, 60)
    time.sleep(1.2)
    story.shot("receipt")
    story.tell("total and receipt QR on the screen")
    site.unplug()
    story.tell("the driver unplugs and leaves")


def _pay(site: Site, story: Story) -> None:
    site.devices["acquirer"].ctl("next", answer="late", ms=900)  # so that the wait can be seen
    began = time.monotonic()
    site.card("insert")
    story.tell("taps a card: PPSE, selection, GPO, records, GENERATE AC; the ARQC goes to the acquirer")
    _until(lambda: site.view() in ("bank_wait", "charging", "plug_in"), 15, "the bank's answer to be awaited")
    if site.view() == "bank_wait":
        story.shot("wait")
    site.wait_for("the approval", lambda now: site.phase(now) not in ("none", "authorizing"), 30)
    story.timings["tap_to_approved"] = round(time.monotonic() - began, 3)
    story.mark("approved")
    site.card("remove")
    row = site.acquirer_rows()[-1]
    arqc = "good" if row["arqc_ok"] else "BAD"
    story.tell(f"approved: {_eur(row['amount_minor'])} held, authorization code {row['auth_code']}, cryptogram {arqc}")


def _pay_by_phone(site: Site, story: Story) -> None:
    began = time.monotonic()
    site.press("pay_by_phone")
    _until(lambda: site.view() == "pay_by_phone" and site.scanned(), 20, "the code on the screen")
    time.sleep(0.6)
    story.shot("code")
    phone = Phone()
    page = phone.get(site.scanned())
    story.tell(f"touches the QR button and scans the code; the phone shows: {_within(page.text, 'Check word ')}")
    page = phone.press(page, "demo wallet")
    story.tell(f"pays with a demo wallet; the phone shows: {_within(page.text, 'Held. ')}")
    site.wait_for("the approval", lambda now: site.phase(now) not in ("none", "authorizing", "checkout"), 30)
    story.timings["scanned_to_approved"] = round(time.monotonic() - began, 3)
    story.mark("approved")
    row = site.account_rows()[-1]
    story.tell(f"approved: {_eur(row['amount_minor'])} held on account {row['account']}")


def _within(text: str, words: str) -> str:
    """What a page says from these words on, in short."""
    return (text[text.find(words) :] if words in text else text)[:45].rpartition(" ")[0] + " ..."


def ending(site: Site, story: Story, free: bool) -> tuple[dict[str, Any], bool]:
    """Compare everybody's accounts; the figures and whether all agree."""
    site.wait_for("the office's countersignature", lambda now: now["records"]["waiting"] == 0, 60)
    story.mark("countersigned")
    found = gather(site)
    good = True
    print()
    for name, check in checks(site, found, free):
        try:
            print(f"  {GREEN}agrees{PLAIN}   {name}: {check()}")
        except Disagreement as error:
            good = False
            print(f"  {RED}DIFFERS{PLAIN}  {name}: {error}")
    return found, good


def write_summary(folder: Path, found: dict[str, Any], story: Story) -> Path:
    """`summary.json`, keys as documented in README."""
    names = (
        *("session_id", "energy_wh", "meter_start", "meter_stop", "total_minor", "currency", "authorized_minor"),
        *("captured_minor", "record_seq", "office_record_sha256", "ocmf", "public_key", "jws", "jws_key"),
        *("acquirer_books", "office_db"),
    )
    summary = {name: found[name] for name in names} | {"screenshots": story.shots, "timings": story.timings}
    path = folder / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return path


def _until(condition: Any, timeout_s: float, words: str) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {words}")
        time.sleep(0.05)


def _eur(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d} EUR"
