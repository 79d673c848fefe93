"""`charge-service evse test | limit`: orders about charge controllers, through the running core only.

A test is a real charge without a driver: the core opens a marked session, which has its readings, its signature and its record.
The tool only watches it and compares: what the register counted, and what the meter's own power says should have come together.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from terminal_app.run.service import show
from terminal_app.run.service.core_talk import CoreTalk, ServiceTrouble
from terminal_app.run.service.options import CONNECTOR, REASON, json_option
from terminal_app.run.service.site import Site
from terminal_app.run.service.words import Teller
from terminal_app.session import facts as f

LOOK_S = 0.5
BEFORE_AND_AFTER_S = 120  # a test that has not ended so long after its time is told as a fault
MS_PER_H = 3_600_000
SLACK_WH = 20
UNSEEN_MS = 1_500  # readings are about a second apart, and a little old when they are looked at
Row = dict[str, Any]


@dataclass
class Watched:
    """What was seen of one test. `watt_ms` is the meter's power over time, W x ms as an integer."""

    relay_closed: bool = False
    open_at_end: bool | None = None
    meter_wh: int | None = None
    watt_ms: int = 0
    last_mono_ms: int | None = None
    last_power_w: int = 0
    most_power_w: int = 0

    def look(self, row: Row, now_ms: int) -> None:
        if self.last_mono_ms is not None and self.relay_closed and row["relay"]:
            self.watt_ms += (self.last_power_w + (row["power_w"] or 0)) // 2 * (now_ms - self.last_mono_ms)
        self.last_mono_ms, self.last_power_w = now_ms, row["power_w"] or 0
        self.most_power_w = max(self.most_power_w, self.last_power_w)
        self.relay_closed = self.relay_closed or bool(row["relay"])
        self.meter_wh = row["meter_wh"]
        self.open_at_end = None if row["relay"] is None else not row["relay"]

    @property
    def expected_wh(self) -> int:
        return self.watt_ms // MS_PER_H

    @property
    def unseen_wh(self) -> int:
        """At most so much flowed between the contactor and the look beside it, at the beginning and at the end."""
        return 2 * UNSEEN_MS * self.most_power_w // MS_PER_H


@click.command()
@CONNECTOR
@click.option("--seconds", type=click.IntRange(1, 600), default=30, show_default=True, help="So long energy may flow.")
@click.option("--limit", "limit_a", type=click.IntRange(6, 1000), help="So many amperes at most.")
@click.option("--stop", "stopping", is_flag=True, help="End the test that is running there.")
@REASON
@json_option
@click.pass_obj
def test(site: Site, connector: int, seconds: int, limit_a: int | None, stopping: bool, reason: str) -> int:
    """Close the contactor for a while, as a marked session nobody pays for, and judge what was measured. Ctrl-C ends it.

    Exit code 0: energy counted and contactor open again; 1: nothing flowed, or the figures do not agree; 2: it failed.
    """
    core = site.running("evse test")
    if stopping:
        answer = core.ask("evse.test.stop", connector=connector, reason=reason)
        if site.as_json:
            show.as_json(answer)
        else:
            show.console().print(f"Ordered: test {answer['session']} on connector {connector} ends now.")
        return show.OK
    session_id = core.ask("evse.test", connector=connector, seconds=seconds, limit_a=limit_a, reason=reason)["session"]
    seen = Watched()
    try:
        _watch(core, connector, session_id, seconds, seen)
    except KeyboardInterrupt:
        core.ask("evse.test.stop", connector=connector, reason="ended by Ctrl-C")
        _watch(core, connector, session_id, seconds, seen)
    return _verdict(site, session_id, seen)


def _watch(core: CoreTalk, connector: int, session_id: str, seconds: int, seen: Watched) -> None:
    """Until the session is gone; its record is sealed then."""
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        for row in _looks(core, connector, session_id, seconds + BEFORE_AND_AFTER_S):
            seen.look(row, time.monotonic_ns() // 1_000_000)
            live.update(_progress(row, seen, seconds), refresh=True)


def _looks(core: CoreTalk, connector: int, session_id: str, longest_s: int) -> Iterator[Row]:
    until = time.monotonic() + longest_s
    while True:
        row = next(one for one in core.ask("status")["connectors"] if one["connector"] == connector)
        yield row
        if row["session"] != session_id:
            return
        if time.monotonic() > until:
            raise ServiceTrouble(
                f"the test {session_id} has not ended after {longest_s} s; look at: charge-service session explain"
            )
        time.sleep(LOOK_S)


def _progress(row: Row, seen: Watched, seconds: int) -> Any:
    return show.facts(
        [
            ("test", f"connector {row['connector']}, {row['phase']}, {seconds} s"),
            ("contactor", {True: "closed", False: "open", None: "unknown"}[row["relay"]]),
            ("pilot", row["pilot"]),
            ("register", show.energy(row["meter_wh"])),
            ("power", f"{row['power_w'] or 0} W"),
            ("by power so far", f"{seen.expected_wh} Wh"),
        ]
    )


def _verdict(site: Site, session_id: str, seen: Watched) -> int:
    """What the ledger says became of it."""
    entries = list(site.books.entries(session_id=session_id))
    teller = Teller(site.config.terminal.currency)
    started = next((one.fact for one in entries if isinstance(one.fact, f.StartRegistered)), None)
    bill = next((one.fact for one in entries if isinstance(one.fact, f.BillFrozen)), None)
    stop = next((one.fact for one in entries if isinstance(one.fact, f.StopIntended | f.SessionAborted)), None)
    code, said = judge(started, bill, stop, seen)
    found: dict[str, Any] = {
        "session": session_id,
        "state": show.STATE_NAMES[code],
        "verdict": said,
        "energy_wh": bill.energy_wh if bill else None,
        "expected_wh": seen.expected_wh,
        "contactor_closed": seen.relay_closed,
        "contactor_open_at_end": seen.open_at_end,
        "serial": started.second.serial if started else "",
        "stop_reason": stop.reason.value if stop else "",
        "steps": [{"utc_ms": one.stamp.utc_ms, "kind": one.kind, "said": teller.tell(one)} for one in entries],
    }
    if site.as_json:
        show.as_json(found)
        return code
    out, zone = show.console(), site.config.terminal.time_zone
    for step in found["steps"]:
        out.print(f"{show.moment(step['utc_ms'], zone)}  {step['said']}", markup=False)
    out.print(
        show.facts(
            [
                ("meter", found["serial"] or "-"),
                ("energy counted", "-" if bill is None else f"{bill.energy_wh} Wh"),
                ("by the meter's power", f"{seen.expected_wh} Wh"),
                ("contactor", f"{'closed' if seen.relay_closed else 'never closed'}; {_open(seen)} at the end"),
            ]
        )
    )
    out.print(f"{show.styled(show.STATE_NAMES[code])}  {said}")
    return code


def _open(seen: Watched) -> str:
    return {True: "open", False: "STILL CLOSED", None: "unknown"}[seen.open_at_end]


def judge(
    started: f.StartRegistered | None, bill: f.BillFrozen | None, stop: f.StopIntended | f.SessionAborted | None, seen: Watched
) -> tuple[int, str]:
    """Exit code and sentence."""
    if isinstance(stop, f.SessionAborted) or started is None:
        return show.FAULT, f"the test did not begin: {stop.detail or stop.reason.value if stop else 'nobody knows why'}"
    if seen.open_at_end is not True:
        return show.FAULT, "the contactor is not known to be open: switch the supply off before you touch anything"
    if bill is None:
        return show.FAULT, "the stop register is not read yet; look at: charge-service session explain"
    if isinstance(stop, f.StopIntended) and stop.reason is f.StopReason.FAULT:
        return show.FAULT, f"ended by a fault: {stop.detail}"
    if not seen.relay_closed:
        return show.FAULT, "the contactor was never seen closed: the car or the test adapter did not ask for energy (pilot C)"
    if bill.stop_source != "meter":
        return show.FAULT, "the meter did not come back: the end is the last committed reading"
    if not bill.energy_wh and not seen.expected_wh:
        return show.WARNING, "contactor and readings are well, but no energy flowed: without a load nothing is proved of the meter"
    apart_wh = abs(bill.energy_wh - seen.expected_wh)
    if apart_wh > SLACK_WH + seen.unseen_wh + max(bill.energy_wh, seen.expected_wh) // 10:
        return (
            show.WARNING,
            f"{bill.energy_wh} Wh counted, but {seen.expected_wh} Wh by the meter's power: look at wiring and profile",
        )
    return show.OK, f"{bill.energy_wh} Wh counted, {seen.expected_wh} Wh by the meter's power; the contactor is open again"


@click.command()
@CONNECTOR
@click.argument("amperes", type=click.IntRange(0, 1000), required=False)
@click.option("--off", is_flag=True, help="Lift the limit.")
@REASON
@json_option
@click.pass_obj
def limit(site: Site, connector: int, amperes: int | None, off: bool, reason: str) -> int:
    """Limit the current of a connector until it is lifted. Below 6 A its charge pauses; nobody pays for the pause."""
    if off == (amperes is not None):
        raise click.UsageError("give AMPERES, or --off")
    answer = site.running("evse limit").ask("evse.limit", connector=connector, limit_a=amperes, reason=reason)
    if site.as_json:
        show.as_json(answer)
    else:
        now = f"{answer['in_force_a']} A" if answer["in_force_a"] else "nothing: it is paused"
        show.console().print(f"Ordered: connector {connector} may give {now}.")
    return show.OK


COMMANDS = (test, limit)
