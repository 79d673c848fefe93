"""Simulated devices, each its own process: `python -m drivers.sim NAME --control SOCKET ...`

Each prints one JSON line when it is ready, runs in the foreground, ends on SIGTERM with exit code 0, and takes commands at
its control socket: one JSON object per line, `{"do": COMMAND, PARAMETER: ...}`, answered by `{"ok": true, ...}` or
`{"ok": false, "error": "..."}`. `python -m drivers.sim ctl SOCKET COMMAND_OR_JSON` sends one (exit code 0; 1 refused).
Exit code 2: could not start; the reason is one line on stderr. Unix socket paths stay under 100 bytes.
Nothing here shares code with the product. From Python: `drivers.sim.launch.Simulated`.

| name     | flags (all take --control SOCKET)                                    | ready line                        |
|----------|----------------------------------------------------------------------|-----------------------------------|
| meter    | --link PORT --load SOCKET [--state FILE] [--register-wh 1234500]     | port, load, control,              |
|          | [--serial N] [--unit 1] [--baud N] [--tcp HOST:PORT]                 | tcp (if asked for)                |
|          | [--model sdm630|bsm-ws36a|em580|wm3m4c]                              |                                   |
| evse     | --link PORT --load SOCKET --cable SOCKET [--max-power-w N]           | port, cable, control              |
|          | [--max-a 12] [--hw-max-a 16] [--millivolts 120000] [--reboot-s 3]    |                                   |
|          | [--post-s 0.5] [--transition-ms 200]                                 |                                   |
|          | --kind evse-wb|phoenix-charx|phoenix-em --link PORT or --tcp ADDRESS | port or tcp, cable, control       |
|          | [--unit N] [--boot-a 32] [--fine] [--connector 1] [--controllers 1]  |                                   |
|          | [--model em-cp-pp-eth|ev-cc-eth]                                     |                                   |
| car      | --cable SOCKET [--power-w 11000] [--want-wh N] [--plugged]           | control                           |
| pcscd    | --run-dir DIR --card-control SOCKET and the card's flags             | socket (PCSCLITE_CSOCK_NAME),     |
|          |                                                                      | reader, control, card_control     |
| card     | [--vpcd 127.0.0.1:35963] [--profile mastercard|visa|both] [--pan N]  | control                           |
|          | [--expiry YYMM] [--imk HEX] [--uid HEX] [--slow-ms N] [--state FILE] |                                   |
|          | [--certificates FOLDER]: keys of a demo scheme, made if absent; the  |                                   |
|          | card proves itself; FOLDER/ca-keys.toml is what a terminal needs     |                                   |
| acquirer | --books FILE [--listen 127.0.0.1:0] [--imk HEX] [--limit-minor N]    | port (HOST:PORT), books, control  |
|          | [--length binary|bcd] [--tls-cert PEM --tls-key PEM]                 |                                   |
| certified_terminal                                                              | port (HOST:PORT), books, control  |
|          | --books FILE [--listen 127.0.0.1:0] [--limit-minor N] [--tls-cert..] |                                   |
| printer  | [--listen 127.0.0.1:0] or --link DEVICE                              | port or device, control           |

| name     | command            | parameters and meaning                                                                  |
|----------|--------------------|-----------------------------------------------------------------------------------------|
| meter    | get                | register_wh, register_mwh (true), shown_mwh, power_w, serial, fault                     |
|          | fault              | kind: none, silent, garbage_before, crc, late (ms), wrong_unit, truncated, exception;   |
|          |                    | times: so many replies (default: until `none`). TCP knows silent, late, exception       |
|          | freeze, nan        | on: the register stands still though power flows; all floats are NaN                    |
|          | set_register, swap | register_wh (default 0); swap also serial                                               |
|          | power_cut, renew   | a meter that signs loses its clock and what is volatile; a new meter (loads: connect    |
|          |                    | again)                                                                                  |
|          | unplug, plug       | the serial port disappears and comes back                                               |
| evse     | get                | state, mode, relay, contacts_closed, auth_locked, pilot_a, plugged, power_w, energy_mwh,|
|          |                    | elapsed_s, safety_checks_off, meter_wired, fault, orders, relay_closings, boots         |
|          | fault              | kind: none, silent (deaf), mute (obeys, answers nothing), nak, noise                    |
|          | weld, gfci         | on: contacts stick together; ground fault                                               |
|          | reboot             | deaf_ms: as FR, or a supply that failed. It boots ENABLED                               |
|          | unplug, plug       | the serial port disappears and comes back                                               |
| evse     | get                | state, pilot_a, allowed_a, relay, contacts_closed, plugged, power_w, energy_mwh, ...    |
| --kind   | fault              | kind: none, silent, mute, late (ms), exception; RTU also crc, garbage                   |
|          | state, stuck, weld | pilot: D, E, F or ""; on: its output stays on; on: contacts stick, unknown to it        |
|          | stubborn, factory  | on: keeps its current after power-up (evse-wb); as new again                            |
|          | reboot             | deaf_ms: it drops its connections and comes back as its settings say                    |
|          | unplug, plug       | the serial port, or the network, disappears and comes back                              |
| car      | plug, unplug       | the cable; unplug answers as get does                                                   |
|          | want               | wh (null: all it gets), power_w                                                         |
|          | pause, rogue       | on: takes a rest; draws without being offered anything                                  |
|          | get                | plugged, connected, pilot_a, relay, evse_state, power_w, energy_wh, energy_mwh (since   |
|          |                    | plug), lifetime_mwh, full                                                               |
| pcscd    | get                | running, starts, socket                                                                 |
|          | stop_pcscd, start_pcscd, restart_pcscd, kill_pcscd (SIGKILL; back after half a second)                       |
| card     | insert, remove     | insert answers connected once it lies on the reader (at most after 2 s)                 |
|          | remove_after_apdus | n: answers n more APDUs and is pulled during the next                                   |
|          | hang, slow         | on: no answer until off; ms per APDU                                                    |
|          | set                | profile, pan, expiry, cdcvm: become another card                                        |
|          |                    | lie: wrong_hash, other_ca, replay, tampered_pan, expired, no_signature, "": its proof   |
|          | get                | inserted, connected, profile, pan_last4, apdus, atc                                     |
| acquirer | next               | answer: silent, late (ms), decline (code), partial (amount_minor), close, garbage,      |
|          |                    | stranger (a foreign answer first), twice: booked all the same; lost, close_before:      |
|          |                    | not booked; hold (ms): arrives late. mti: only for this one; times                      |
|          | clear, limit       | forget what was ordered; amount_minor above which 51 is answered                        |
|          | forget             | a day has passed: repeats are known by the original's state only                        |
|          | network            | on: false = unreachable                                                                 |
|          | get, sums          | books (path), authorizations (last 100), unreadable; sums per currency                  |
| certified| present, remove    | pan: a card is held to the reader and stays there (too_short: not); it is taken away    |
| _terminal| next               | answer: approve, decline (code), partial (amount_minor) for a card; undecided           |
|          | clear, get         | forget what was ordered; books (path), waiting, unreadable                              |
| printer  | paper, cover       | lines: left of the roll (null: a new roll, and what waits is printed); open: true       |
|          | fault, slow        | kind: none, silent (prints, answers nothing), off; ms for each portion of bytes         |
|          | get                | receipts (lines, codes, pictures, cut), begun, out, unreadable                          |

Wires between them: the outlet tells the meter's load socket `{"power_w", "at_ns"}`; the car tells the outlet's cable
socket `{"want_w", "ready"}` and hears `{"pilot_a", "relay", "state", "power_w", "at_ns"}`. `at_ns` is CLOCK_MONOTONIC: all
integrate by it, so they agree exactly. The meter's registers show what was true 0.2 s ago, as real ones lag.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from pathlib import Path

from drivers.sim.control import SimulationError, ask, run

DEVICES = ("meter", "evse", "car", "card", "pcscd", "acquirer", "certified_terminal", "printer")


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
