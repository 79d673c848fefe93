"""Commands as an office signs them, for tests."""

from typing import Any

from terminal_app.billing.command import Command, make_command, seal_command
from tests.unit.billing_samples import Key

T0_UTC_MS = 1_767_344_400_000


def command(**changes: Any) -> Command:
    said = {
        "terminal": "T-0001",
        "number": 1,
        "command_id": "C-1",
        "act": "session.stop",
        "args": {"connector": 1},
        "actor": "Office",
        "reason": "the driver called",
        "issued_utc_ms": T0_UTC_MS,
        "expires_utc_ms": T0_UTC_MS + 900_000,
    }
    return Command(**(said | changes))


def signed(key: Key, **changes: Any) -> str:
    signing = make_command(command(**changes), key.key_id)
    return seal_command(signing, key.sign(signing))
