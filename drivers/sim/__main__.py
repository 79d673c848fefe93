"""Simulated devices, each its own process: `python -m drivers.sim NAME ...` (see `drivers/sim/__main__.py`)."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from pathlib import Path

from drivers.sim.control import SimulationError, ask, run

DEVICES = ("meter", "evse", "car", "card", "pcscd", "acquirer")


def _ctl(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m drivers.sim ctl", description="Send one command to a device.")
    parser.add_argument("socket")
    parser.add_argument("command", help='a JSON object, e.g. {"do":"get"}, or just the word: get')
    options = parser.parse_args(arguments)
    text: str = options.command
    try:
        reply = ask(options.socket, json.loads(text) if text.startswith("{") else {"do": text})
    except (OSError, ValueError, SimulationError) as error:
        print(f"drivers.sim ctl: {options.socket}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(reply))
    return 0 if reply.get("ok") else 1


def main(arguments: list[str]) -> int:
    """Exit code: 0 ended as asked, 1 the device refused a command, 2 could not start."""
    name = arguments[0] if arguments else ""
    if name == "ctl":
        return _ctl(arguments[1:])
    if name not in DEVICES:
        print(f"usage: python -m drivers.sim {{{','.join(DEVICES)},ctl}} ...", file=sys.stderr)
        return 2
    device = importlib.import_module(f"drivers.sim.{name}")
    warnings.filterwarnings("ignore", module="pyemv")  # it uses TripleDES from where cryptography has moved it
    parser = argparse.ArgumentParser(prog=f"python -m drivers.sim {name}", description=device.__doc__)
    parser.add_argument("--control", type=Path, required=True, help="Unix socket for commands")
    device.add_arguments(parser)
    return run(name, device.serve(parser.parse_args(arguments[1:])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
