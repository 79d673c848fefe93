"""systemd's notify protocol, the part we need: READY=1 and WATCHDOG=1 as datagrams (sd_notify(3))."""

import contextlib
import os
import socket


def tell(state: str) -> None:
    """Send one state line; without NOTIFY_SOCKET (not run by systemd) nothing happens. Never blocks, never raises OSError."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug:
        plug.setblocking(False)
        plug.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def watchdog_period_s() -> float:
    """How often to send WATCHDOG=1: a third of what systemd allows; 0.0 when it does not watch."""
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 3_000_000
