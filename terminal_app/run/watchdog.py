"""sd_notify(3): one datagram to the service manager. Nothing happens where there is none."""

import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Tells systemd READY, WATCHDOG and STOPPING. Call `progress` only where work was really done. Never raises."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        self._send("READY=1")

    def progress(self, status: str = "") -> None:
        self._send("WATCHDOG=1" + (f"\nSTATUS={status}" if status else ""))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug:
                plug.settimeout(1.0)
                plug.sendto(text.encode(), self._address)
        except OSError:
            return  # the watchdog will notice, which is its purpose
