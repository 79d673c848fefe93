"""Play the driver: everything runs, small commands plug, tap, unplug, cut the network or the power."""

import argparse
import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from drivers.sim.control import SimulationError
from scripts.demo.site import Site
from terminal_app import wire
from terminal_app.errors import WireError

REFUSALS = (SimulationError, TimeoutError, RuntimeError, WireError, OSError)
COMMANDS = ("plug", "tap", "unplug", "network", "pull-card", "power-cut", "touch", "screenshot", "status", "quit")
HELP = """Everything runs. In another terminal, or here:
  plug | tap | unplug       the car's cable, a card on the reader
  touch BUTTON              a finger on the screen: stop, done, cancel, ok, start, language:de, ...
  network off | network on  acquirer and office out of reach
  pull-card                 a tap that is taken away while the card is read
  power-cut                 core, screen, sync and controller die together and start again
  screenshot NAME           what is on the glass, into screenshots/NAME.png of the demo's folder
  status | quit"""


def play(site: Site) -> int:
    """Until `quit` or Ctrl-C."""
    finished = threading.Event()
    with site:
        marker = site.folder / "control"
        listener = wire.Listener(site.sockets / "demo.sock", list[str], lambda end: _serve(end, site, finished))
        marker.write_text(str(site.sockets / "demo.sock"))
        site.wait_for("the terminal", lambda now: True, 60)
        print(HELP)
        print(f"\nThe back office: {site.office_url}/   display: {site.display.name if site.display else '-'}", flush=True)
        try:
            if sys.stdin.isatty():
                _prompt(site, finished)
            else:
                finished.wait()
        finally:
            marker.unlink(missing_ok=True)
            listener.close()
    return 0


def _prompt(site: Site, finished: threading.Event) -> None:
    while not finished.is_set():
        try:
            words = input("driver> ").split()
        except EOFError:
            return
        if words:
            try:
                print(obey(site, words, finished))
            except REFUSALS as error:  # all keeps running: the driver tries something else
                print(f"not done: {error}")


def _serve(endpoint: "wire.Endpoint[Any]", site: Site, finished: threading.Event) -> None:
    words = endpoint.receive(5)
    if words:
        try:
            endpoint.send({"said": obey(site, words, finished)})
        except REFUSALS as error:
            endpoint.send({"error": str(error)})


def obey(site: Site, words: list[str], finished: threading.Event) -> str:
    """Do one command; what happened, in a line."""
    match words:
        case ["plug"]:
            site.plug()
            return "plugged in"
        case ["unplug"]:
            site.unplug()
            return "unplugged"
        case ["tap"]:
            site.tap()
            return f"tapped; the screen shows: {site.view()}"
        case ["pull-card"]:
            site.card("insert")
            site.card("remove_after_apdus", n=3)
            time.sleep(2)
            with contextlib.suppress(SimulationError):
                site.card("remove")
            return f"the card was taken away too early; the screen shows: {site.view()}"
        case ["touch", button]:
            site.press(button)
            time.sleep(0.8)
            return f"touched {button}; the screen shows: {site.view()}"
        case ["network", "off" | "on" as wish]:
            site.network(wish == "on")
            return f"network {wish}"
        case ["power-cut"]:
            site.power_cut()
            return "power cut and back"
        case ["screenshot", name] if name.replace("-", "").replace("_", "").isalnum():
            return str(site.screenshot(name))
        case ["status"]:
            now = site.status()
            return json.dumps(now | {"glass": site.view()}, indent=1)
        case ["quit"]:
            finished.set()
            return "bye"
        case _:
            return f"unknown: {' '.join(words)}\n{HELP}"


def send(arguments: list[str]) -> int:
    """`scripts/demo.sh COMMAND`: hand it to the running demo."""
    parser = argparse.ArgumentParser(prog="scripts/demo.sh")
    parser.add_argument("words", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    options = parser.parse_args(arguments)
    try:
        path = Path((options.out / "control").read_text())
        endpoint = wire.connect(path, dict[str, Any])
    except (OSError, WireError):
        print(f"scripts/demo.sh: no interactive demo runs in {options.out}: start scripts/demo.sh --interactive", file=sys.stderr)
        return 1
    try:
        endpoint.send(options.words)
        reply = endpoint.receive(60) or {"error": "no answer within 60 s"}
    finally:
        endpoint.close()
    if "error" in reply:
        print(f"scripts/demo.sh: {reply['error']}", file=sys.stderr)
        return 1
    print(reply["said"])
    return 0
