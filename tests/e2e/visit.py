"""What a driver does at a site without a window, and what must be true of everybody's books afterwards."""

import base64
import contextlib
import itertools
import json
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from scripts.demo.site import Site, Wanted
from terminal_app import screens as s
from tests.e2e.glass import Glass

Row = dict[str, Any]
ANSWER = s.DeclinedView | s.PlugIn | s.Charging | s.Receipt
NOT_ASKING = ANSWER | s.ReadingCard | s.BankWait


class Visit:
    """A site and a driver in front of its glass. A context manager."""

    def __init__(self, folder: Path, wanted: Wanted, site_kind: type[Site] = Site) -> None:
        self.site = site_kind(folder, wanted)
        self.glass = Glass(self.site.sockets / "ui.sock")

    def __enter__(self) -> "Visit":
        try:
            self.site.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.glass.close()
        self.site.stop()

    @property
    def core_pid(self) -> int:
        return self.site.processes["charge-terminal"].pid

    def start_core(self) -> None:
        self.glass.forget()
        self.site.start_core()

    def end_core(self) -> None:
        """As a service manager does; also forgets the count of crashes."""
        self.site.end("charge-terminal")
        self.glass.forget()

    def kill_core(self) -> None:
        self.site.kill("charge-terminal")
        self.glass.forget()

    # --- what a driver does ------------------------------------------------------------------------------------------

    def lay_card(self) -> None:
        reply = self.site.card("insert")
        assert reply.get("connected"), f"the card does not reach the reader: {reply}"

    def take_card(self) -> None:
        self.site.card("remove")

    def offer(self) -> s.Offer:
        """Wait until a card may be tapped."""
        return self.glass.wait(s.Offer, lambda view: view.card_ready)

    def tap(self) -> s.View:
        """Hold the card on until there is an answer; what the driver reads then.

        A card that comes together with the price is not taken (it may have been there before): as anybody would, lift it
        and hold it on again while the screen still asks for it.
        """
        self.offer()
        time.sleep(0.5)
        for _ in range(5):
            self.lay_card()
            try:
                self.glass.wait(NOT_ASKING, timeout_s=4)
                return self.glass.wait(ANSWER)
            except TimeoutError:
                if not isinstance(self.glass.view, s.Offer):
                    raise
            finally:
                self.take_card()
        raise TimeoutError(f"the card is not taken; on the glass: {self.glass.view}")

    def charge(self, at_least_wh: int = 1) -> s.Charging:
        """Tap with the car plugged in, and wait until the screen counts energy."""
        self.site.plug()
        answer = self.tap()
        assert not isinstance(answer, s.DeclinedView), answer
        return self.glass.wait(s.Charging, lambda view: view.energy_wh >= at_least_wh)

    def stop(self) -> s.Receipt:
        """Touch STOP; the receipt once the money is where it belongs."""
        self.glass.touch_until(s.Button.STOP, s.Receipt)
        return self.paid()

    def paid(self) -> s.Receipt:
        return self.glass.wait(s.Receipt, lambda view: view.money is not s.MoneyWords.SETTLING)

    def leave(self) -> None:
        """Unplug, put the receipt (or the refusal) away; the next driver finds the price."""
        self.site.unplug()
        if isinstance(self.glass.view, s.DeclinedView):
            self.glass.touch_until(s.Button.OK, lambda view: not isinstance(view, s.DeclinedView))
        if isinstance(self.glass.view, s.Receipt):
            self.glass.touch_until(s.Button.DONE, lambda view: not isinstance(view, s.Receipt))

    # --- what can be asked afterwards --------------------------------------------------------------------------------

    def settled(self, delivered: bool = True) -> Row:
        """Wait until no session runs, no hold is open and (with an office) nothing waits for delivery."""
        return self.site.wait_for("the end of everything", lambda now: settled(now, delivered), 60)

    def records(self, kind: str = "session") -> list[Row]:
        """Payloads of the sealed records of a kind, oldest first."""
        rows = self.site.ledger_rows("SELECT jws FROM records WHERE type = ? ORDER BY seq", kind)
        return [payload_of(jws) for (jws,) in rows]

    def faults(self) -> set[str]:
        return {one["device"] for one in self.site.status()["faults"]}

    def meter_wh(self) -> int:
        """What the meter itself has counted, to the nearest Wh of the float register in which it says so."""
        kwh = int(self.site.devices["meter"].ctl("get")["register_mwh"]) / 1_000_000
        (shown,) = struct.unpack(">f", struct.pack(">f", kwh))
        return int((Decimal(shown) * 1000).to_integral_value(ROUND_HALF_UP))

    def messages(self) -> int:
        """How many messages the acquirer has ever got."""
        return len(rows_of(self.site.books, "SELECT id FROM messages WHERE direction = 'in'"))


def settled(now: Row, delivered: bool = True) -> bool:
    """Whether the core's status says that no session runs, no hold is open and (if asked for) nothing waits for delivery."""
    idle = all(one["phase"] == "none" for one in now["connectors"]) and now["open_holds"] == 0
    return idle and (not delivered or now["records"]["waiting"] == 0)


def interrupted(bill: Row) -> str:
    """Why a charge broke off; its record says from when until when nobody knew (US-16)."""
    stop = bill["stop"]
    assert stop["interrupted"] is True and stop["from"]["utc_ms"] <= stop["until"]["utc_ms"] <= bill["created"]["utc_ms"]
    return str(stop["reason"])


def payload_of(jws: str) -> Row:
    part = jws.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def rows_of(path: Path, query: str, *arguments: object) -> list[Row]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query, arguments)]


def until(condition: Callable[[], Any], what: str, timeout_s: float = 45.0) -> Any:
    """Poll until it is true; its value. TimeoutError says what was waited for."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)
    return found


def price_of(energy_wh: int, price_kwh: str) -> int:
    """The bill by pencil and paper, minor units."""
    return int((Decimal(energy_wh) / 1000 * Decimal(price_kwh) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def held_at(site: Site) -> list[Row]:
    """Authorizations that still hold a driver's money."""
    return [row for row in site.acquirer_rows() if row["state"] == "authorized"]


def wrongs(visit: Visit, taps: int, price_kwh: str) -> Iterator[str]:
    """Everything in the books of terminal, acquirer, meter and office that must not be, once all is settled. Empty = good.

    `taps`: how many cards have been held on the reader at this site since it began.
    """
    site = visit.site
    booked = site.acquirer_rows()
    if len(booked) > taps:
        yield f"{len(booked)} authorizations for {taps} taps"
    yield from (f"authorization {row['id']} is neither captured nor reversed: {row['state']}" for row in held_at(site))
    captures = rows_of(site.books, "SELECT authorization_id, amount_minor FROM captures ORDER BY id")
    if len({row["authorization_id"] for row in captures}) != len(captures):
        yield f"one authorization was captured twice: {captures}"
    sessions, settlements = visit.records("session"), visit.records("settlement")
    if len({one["session_id"] for one in sessions}) != len(sessions):
        yield "one session has two records"
    if len({one["authorization_reference"] for one in settlements}) != len(settlements):
        yield "one hold has two records"
    billed = sorted(one["totals"]["total_minor"] for one in sessions if one["payment"] and one["totals"]["total_minor"])
    captured = sorted(row["captured_minor"] for row in booked if row["state"] == "captured")
    if billed != captured:
        yield f"billed {billed}, the acquirer captured {captured}"
    ended = sorted(one["amount_minor"] for one in settlements if one["how"] == "captured")
    if ended != captured:
        yield f"settlement records say captured {ended}, the acquirer {captured}"
    yield from (f"a hold was left to people: {one}" for one in settlements if one["how"] == "manual")
    for one in sessions:
        if one["totals"]["total_minor"] != price_of(one["energy_wh"], price_kwh if one["payment"] else "0"):
            yield f"{one['energy_wh']} Wh cost {one['totals']['total_minor']}"
        if one["register"]["stop_wh"] - one["register"]["start_wh"] != one["energy_wh"]:
            yield f"energy is not the difference of the registers: {one['energy_wh']} of {one['register']}"
    stretches = sorted((one["register"]["start_wh"], one["register"]["stop_wh"]) for one in sessions)
    for (_, end), (begin, _) in itertools.pairwise(stretches):
        if begin < end:
            yield f"energy up to {end} Wh is billed again from {begin} Wh"
    if stretches and stretches[-1][1] > visit.meter_wh():
        yield f"billed up to {stretches[-1][1]} Wh, the meter shows {visit.meter_wh()}"
    ours = site.ledger_rows("SELECT seq, sha256 FROM records ORDER BY seq")
    if [seq for seq, _ in ours] != list(range(1, len(ours) + 1)):
        yield f"records of the terminal: {[seq for seq, _ in ours]}"
    if site.wanted.office:
        theirs = site.office_rows("SELECT seq, sha256 FROM records ORDER BY seq")
        if theirs != ours:
            yield f"the office has records {[row[0] for row in theirs]}, sealed were {[row[0] for row in ours]}"
