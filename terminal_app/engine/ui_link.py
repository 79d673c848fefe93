"""The UI socket: sends whole screens, takes `shown` and touches. The core never waits for a UI."""

import logging
import threading
from pathlib import Path
from typing import Any

from terminal_app import screens
from terminal_app.engine.engine import Engine
from terminal_app.engine.inbox import Job
from terminal_app.errors import WireError
from terminal_app.session import events
from terminal_app.wire import Endpoint, Listener

log = logging.getLogger("charge.ui_link")


class UiLink:
    """Each connected UI gets the newest screen from a thread of its own; a slow one skips screens, never delays."""

    def __init__(self, path: Path, allowed_uids: frozenset[int] | None = None) -> None:
        self._allowed = allowed_uids
        self._engine: Engine | None = None
        self._newest: screens.Screen | None = None
        self._changed = threading.Condition()
        self._path = path
        self._listener: Listener | None = None
        self.connected = 0

    def open(self, engine: Engine | None) -> None:
        """Start listening; without engine only screens go out."""
        self._engine = engine
        self._listener = Listener(self._path, screens.UiToCore, self._serve, self._allowed)

    def publish(self, screen: screens.Screen) -> None:
        with self._changed:
            self._newest = screen
            self._changed.notify_all()

    def _serve(self, endpoint: Endpoint[Any]) -> None:
        hello = endpoint.receive(5)
        if not isinstance(hello, screens.UiHello) or hello.protocol != screens.UI_PROTOCOL:
            raise WireError(f"the UI speaks another protocol: {hello}")
        alive = threading.Event()
        alive.set()
        self.connected += 1
        sender = threading.Thread(target=self._send_newest, args=(endpoint, alive), name="ui sender", daemon=True)
        sender.start()
        try:
            while True:
                message = endpoint.receive(None)
                if self._engine is not None:
                    self._take(self._engine, message)
        finally:
            self.connected -= 1
            if not self.connected and self._engine is not None:
                self._engine.inbox.post(events.FrameShown(0))  # the price is on no glass any more: no card may pay for it
            alive.clear()
            with self._changed:
                self._changed.notify_all()

    def _send_newest(self, endpoint: Endpoint[Any], alive: threading.Event) -> None:
        sent: screens.Screen | None = None
        while alive.is_set():
            with self._changed:
                if self._newest is sent or self._newest is None:
                    self._changed.wait(1.0)
                newest = self._newest
            if newest is None or newest is sent:
                continue
            try:
                endpoint.send(screens.Show(newest))
            except WireError as error:
                log.info("UI gone: %s", error)
                endpoint.close()
                return
            sent = newest

    def _take(self, engine: Engine, message: object) -> None:
        match message:
            case screens.Shown(screen_no=number):
                engine.inbox.post(events.FrameShown(number), droppable=True)
            case screens.Touch(screen_no=number, button=button, value=value):
                touch = events.Touched(button, value[:64])
                engine.inbox.post(Job(lambda: engine.touched(touch, number)), droppable=True)
            case _:
                raise WireError(f"unexpected message from the UI: {type(message).__name__}")

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
