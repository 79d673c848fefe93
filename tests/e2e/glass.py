"""A screen without pixels: speaks the UI's side of the socket, answers every new meaning with `shown`, touches by logic.

Much faster than the real window, and it can do what a window never does: keep back the word that a frame is on the glass.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from terminal_app import screens as s
from terminal_app import wire
from terminal_app.errors import WireError

WAIT_S = 45.0


class Abandoned(Exception):
    """`Glass.abandoned` said that nothing more will come."""


class Seen(NamedTuple):
    """A meaning that was on the glass: when it came (monotonic, s) and its newest view."""

    at_s: float
    screen_no: int
    view: s.View


class Glass:
    """A context manager. Connects again whenever the core comes back. `shows` False: frames are never confirmed."""

    def __init__(self, path: Path, shows: bool = True) -> None:
        self.shows = shows
        self.abandoned: Callable[[], bool] = lambda: False  # asked while waiting
        self.history: list[Seen] = []
        self._path = path
        self._screen: s.Screen | None = None
        self._links = 0  # how many connections have ended
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._endpoint: wire.Endpoint[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="glass", daemon=True)
        self._thread.start()

    # --- the UI's side -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._endpoint = wire.connect(self._path, s.CoreToUi)
                self._endpoint.send(s.UiHello(s.UI_PROTOCOL))
                self._listen(self._endpoint)
            except WireError:
                self._closing.wait(0.05)
            with self._changed:
                self._screen = None  # what stood there belongs to a core that is gone
                self._links += 1
                self._changed.notify_all()

    def _listen(self, endpoint: "wire.Endpoint[Any]") -> None:
        said = -1
        while not self._closing.is_set():
            message = endpoint.receive(0.5)
            if message is None:
                continue
            screen = message.screen
            with self._changed:
                seen = Seen(time.monotonic(), screen.screen_no, screen.view)
                if self._screen is None or self._screen.screen_no != screen.screen_no:
                    self.history.append(seen)
                else:
                    self.history[-1] = seen._replace(at_s=self.history[-1].at_s)
                self._screen = screen
                self._changed.notify_all()
            if self.shows and screen.screen_no != said:
                said = screen.screen_no
                endpoint.send(s.Shown(said))

    def forget(self) -> None:
        """The core was ended: what it had shown is gone when this returns."""
        with self._changed:
            before = self._links
            if self._endpoint is not None:
                self._endpoint.close()
            self._changed.wait_for(lambda: self._links > before, 5)

    def close(self) -> None:
        self._closing.set()
        if self._endpoint is not None:
            self._endpoint.close()
        self._thread.join(5)

    def __enter__(self) -> "Glass":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the driver's side -------------------------------------------------------------------------------------------

    @property
    def view(self) -> s.View | None:
        """What is shown now; None while there is no core."""
        screen = self._screen
        return None if screen is None else screen.view

    def wait(self, kind: Any, wanted: Callable[[Any], object] = lambda _view: True, timeout_s: float = WAIT_S) -> Any:
        """The first view of this kind (a type or a union) that is as wanted. TimeoutError says what was there instead."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                view = self.view
                if isinstance(view, kind) and wanted(view):
                    return view
                if self.abandoned():
                    raise Abandoned
                if time.monotonic() > until:
                    passed = ", ".join(type(one.view).__name__ for one in self.history[-8:])
                    raise TimeoutError(
                        f"waited {timeout_s:.0f} s for {getattr(kind, '__name__', kind)}; on the glass: {view}; before: {passed}"
                    )
                self._changed.wait(0.2)

    def touch(self, button: s.Button, value: str = "") -> None:
        """A finger on what is shown now. The core may find that it means something else already."""
        screen, endpoint = self._screen, self._endpoint
        if screen is not None and endpoint is not None:
            with contextlib.suppress(WireError):
                endpoint.send(s.Touch(screen.screen_no, button, value))

    def touch_until(self, button: s.Button, gone: type[s.View] | Callable[[s.View | None], object]) -> None:
        """Touch, again each second while nothing happens, until the view is as asked (a kind, or a question)."""
        until = time.monotonic() + WAIT_S
        while not (isinstance(self.view, gone) if isinstance(gone, type) else gone(self.view)):
            if self.abandoned():
                raise Abandoned
            if time.monotonic() > until:
                raise TimeoutError(f"touching {button.value} does not lead on from {self.view}")
            self.touch(button)
            with self._changed:
                self._changed.wait(1.0)
