"""Host names within a deadline. `getaddrinfo` knows none: with a dead name server it may block far beyond ours."""

import ipaddress
import socket
import threading

Address = tuple[int, tuple[str, int]]
"""Address family and what `connect` takes."""


class Resolver:
    """Addresses of one host. Keeps the last good answer for when the name server is gone. Any thread.

    At most one look-up thread at a time: it ends when the system's resolver gives up.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._guard = threading.Lock()
        self._running: threading.Thread | None = None
        self._found: list[Address] = []
        self._error = ""
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            self._literal = False
        else:
            self._literal = True
            self._found = [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (host, port))]

    def addresses(self, timeout_s: float) -> list[Address]:
        """In the system's order, never empty. OSError if nothing is known within `timeout_s`."""
        if self._literal:
            return list(self._found)
        with self._guard:
            if self._running is None or not self._running.is_alive():
                self._running = threading.Thread(target=self._look_up, name=f"resolve {self._host}", daemon=True)
                self._running.start()
            running = self._running
        running.join(max(0.0, timeout_s))
        with self._guard:
            if self._found:
                return list(self._found)
            raise OSError(self._error or "the name was not resolved in time")

    def _look_up(self) -> None:
        found: list[Address] = []
        error = "the name has no address"
        try:
            for family, _, _, _, place in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
                if (family, place[:2]) not in found:
                    found.append((family, (str(place[0]), int(place[1]))))
        except (OSError, UnicodeError) as problem:
            error = f"the name cannot be resolved: {getattr(problem, 'strerror', None) or type(problem).__name__}"
        with self._guard:
            self._error = "" if found else error
            self._found = found or self._found
