"""iso8583sim 1.6.0 (PyPI, AGPL: a process of its own, never imported): an ISO 8583 host written by others.

It has no state: it approves a reversal of nothing, cannot see a second capture, knows no partial approval and sends no DE55 back;
it closes the line at a repeat message (0221, 0401), and its rules see no card number in DE35.
So it judges what we write and how we read its answers; what must happen once is asked of the simulated acquirer.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.venvs import PeerProcess, free_port, python_of

_INSTALLS = (("iso8583sim==1.6.0",),)
REFUSED, DROPPED, CLOSED, SLOW = "REFUSED1", "TIMEOUT1", "CLOSE001", "SLOW0001"
RULES = {
    "rules": [
        {"match": {"mti": "0100", "fields": {"41": REFUSED}}, "respond": "05"},
        {"match": {"mti": "0100", "amount_gt": 1_000_000}, "respond": "51"},
        {"match": {"mti": "0100", "fields": {"41": DROPPED}}, "action": "drop"},
        {"match": {"fields": {"41": CLOSED}}, "action": "close"},
        {"match": {"fields": {"41": SLOW}}, "delay_ms": 500},
    ]
}


@contextmanager
def host(folder: Path) -> Iterator[PeerProcess]:
    """Approves all but what RULES say, by amount or terminal id."""
    python, port = python_of("iso8583sim", _INSTALLS), free_port()
    rules = folder / "rules.json"
    rules.write_text(json.dumps(RULES))
    command = [str(python.parent / "iso8583sim"), "serve", "--host", "127.0.0.1", "-p", str(port), "-r", str(rules)]
    with PeerProcess("iso8583sim", [*command, "-f", "ascii-binary", "--header", "2b"], port) as peer:
        yield peer
