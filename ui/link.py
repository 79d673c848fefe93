"""The connection to the core: a reader thread that reconnects for ever and keeps only the newest screen.

Thread "core link": connects, says UiHello, receives Show. The Kivy thread calls `newest`, `silent_for_s` and `send`.
"""

import logging
import threading
import time
from pathlib import Path
from typing import NamedTuple

from terminal_app.screens import UI_PROTOCOL, CoreToUi, Screen, Show, Shown, Touch, UiHello
from terminal_app.wire import Endpoint, WireError, connect

BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 2.0
DEAF_AFTER_S = 10.0  # connected but no Show: start over; the screen says out of service long before

log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A screen and the connection it came on: a core that restarted counts `screen_no` from anew."""

    connection: int
    screen: Screen


class CoreLink:
    """`start` once. All methods but the thread's own return at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._endpoint: Endpoint[CoreToUi] | None = None
        self._newest: Received | None = None
        self._heard_at = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="core link", daemon=True)

    def start(self) -> None:
        self._heard_at = time.monotonic()
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._drop()

    def newest(self) -> Received | None:
        """The newest screen not yet taken; older ones are gone. None: nothing new."""
        with self._guard:
            taken, self._newest = self._newest, None
        return taken

    def silent_for_s(self) -> float:
        """Seconds since the last Show (or since the start)."""
        with self._guard:
            return time.monotonic() - self._heard_at

    def send(self, message: Shown | Touch) -> bool:
        """False: nobody is connected; the message is dropped, the next Show starts afresh. Nothing is queued."""
        with self._guard:
            endpoint = self._endpoint
        if endpoint is None:
            return False
        try:
            endpoint.send(message)
        except WireError as error:
            log.warning("core link: %s", error)
            self._drop()
            return False
        return True

    def _drop(self) -> None:
        with self._guard:
            endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()

    def _run(self) -> None:
        connection, wait_s, told = 0, BACKOFF_FIRST_S, False
        while not self._closing.is_set():
            try:
                endpoint = connect(self._path, CoreToUi)
                connection += 1
                log.info("core link: connected to %s", self._path)
                told = False
                if self._listen(endpoint, connection):
                    wait_s = BACKOFF_FIRST_S
            except WireError as error:
                if not told:
                    log.warning("core link: %s; trying again for ever", error)
                    told = True
            self._drop()
            self._closing.wait(wait_s)
            wait_s = min(wait_s * 2, BACKOFF_MOST_S)

    def _listen(self, endpoint: Endpoint[CoreToUi], connection: int) -> bool:
        """Receive until the connection ends. True if the core showed anything at all on it."""
        heard = False
        with self._guard:
            self._endpoint = endpoint
        try:
            endpoint.send(UiHello(UI_PROTOCOL))
            while not self._closing.is_set():
                message = endpoint.receive(DEAF_AFTER_S)
                if message is None:
                    raise WireError(f"no screen for {DEAF_AFTER_S:.0f} s")
                if isinstance(message, Show):
                    heard = True
                    with self._guard:
                        self._newest = Received(connection, message.screen)
                        self._heard_at = time.monotonic()
        except WireError as error:
            log.warning("core link: %s", error)
        finally:
            endpoint.close()
        return heard
