"""The play of one display: takes the newest screen, shows it, tells the core when it is on the glass, sends touches.

Everything here runs in the Kivy thread, from a callback of every tick.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from terminal_app.screens import Button, OutOfService, OutOfServiceReason, Receipt, Screen, Shown, Touch
from ui.frame import Frame
from ui.glass import Glass
from ui.link import Received
from ui.words import languages

SILENCE_S = 3.0  # without a Show for so long the UI itself says out of service
TOUCH_GUARD_S = 0.3  # a finger on its way to the old screen must not press the new one
RECEIPT_GUARD_S = 1.0  # DONE stands where STOP stood: a second, impatient press must not send the receipt away
LOCAL_SCREEN = -1  # `screen_no` of a screen the UI made itself; never sent

log = logging.getLogger(__name__)


class Link(Protocol):
    """What the player needs of `link.CoreLink`."""

    def newest(self) -> Received | None: ...
    def silent_for_s(self) -> float: ...
    def send(self, message: Shown | Touch) -> bool: ...


class Player:
    """`tick` every frame. `glass_changed` after every flip."""

    def __init__(
        self,
        frame: Frame,
        link: Link,
        *,
        language: str,
        rects: Path | None = None,
        screenshots: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frame, self.link, self._clock = frame, link, clock
        self._rects_path, self._screenshots = rects, screenshots
        self._rects_due = False
        self.glass = Glass(self.glass_changed)
        self._applied: tuple[int, int] | None = None  # connection and screen_no that the widgets show
        self._on_glass: tuple[int, int] | None = None  # the same, after its frame was flipped
        self._touch_from = 0.0
        self._finger_down_on: tuple[int, int] | None = None
        frame.bind(on_touch_down=self._finger_down)
        self._screen = Screen(
            screen_no=LOCAL_SCREEN,
            revision=0,
            view=OutOfService(OutOfServiceReason.STARTING),
            language=language,
            languages=languages(),
            currency="EUR",
            station="",
            helpline="",
            utc_ms=int(time.time() * 1000),
            time_zone="UTC",
            demo=False,
        )
        self._apply(0, self._screen)

    def tick(self, *_: object) -> None:
        received = self.link.newest()
        if received is not None:
            self._apply(*received)
        elif self._rects_path is not None and self._rects_due and self._touches_count():
            self._write_rects(self._rects_path)  # never in the tick that applied: its layout is not done
        if self.link.silent_for_s() > SILENCE_S:
            self._say_no_core()
        self.frame.touchable = self._touches_count()
        if self._screenshots is not None:
            self._answer_requests(self._screenshots)

    def press(self, button: Button, value: str) -> None:
        """A touch was made on the screen on the glass."""
        if not (self._finger_down_on == self._on_glass == self._applied):
            return  # made on a picture that is no longer there
        if self._screen.screen_no == LOCAL_SCREEN:
            if button is Button.LANGUAGE:  # nobody else can answer now
                self._apply(0, msgspec.structs.replace(self._screen, language=value))
            return
        self.link.send(Touch(self._screen.screen_no, button, value))

    def glass_changed(self) -> None:
        """A frame was flipped: what the widgets show is now seen."""
        if self._applied == self._on_glass:
            return
        self._on_glass = self._applied
        self._touch_from = self._clock() + (RECEIPT_GUARD_S if isinstance(self._screen.view, Receipt) else TOUCH_GUARD_S)
        if self._applied is not None and self._applied[1] != LOCAL_SCREEN:
            self.link.send(Shown(self._applied[1]))

    def _finger_down(self, *_: object) -> None:
        self._finger_down_on = self._on_glass

    def _touches_count(self) -> bool:
        return self._on_glass == self._applied and self._clock() >= self._touch_from

    def _apply(self, connection: int, screen: Screen) -> None:
        self._screen = screen
        self._rects_due = True
        self.frame.show(screen)
        if (connection, screen.screen_no) != self._applied:
            self._applied = (connection, screen.screen_no)
            self.frame.touchable = False
            self.glass.redraw()

    def _say_no_core(self) -> None:
        reason = OutOfServiceReason.NO_CORE
        minute = int(time.time()) // 60 * 60_000
        last = self._screen
        if last.screen_no == LOCAL_SCREEN and last.view == OutOfService(reason) and last.utc_ms == minute:
            return
        self._apply(0, msgspec.structs.replace(last, screen_no=LOCAL_SCREEN, view=OutOfService(reason), utc_ms=minute))

    def _write_rects(self, path: Path) -> None:
        tag = type(self._screen.view).__struct_config__.tag
        code = getattr(self._screen.view, "url", "") or getattr(self._screen.view, "qr", "")  # what a phone's camera would read
        drawn = {"screen_no": self._screen.screen_no, "view": tag, "rects": self.frame.rects(), "code": code}
        text = json.dumps(drawn)
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.write_text(text)
        unfinished.replace(path)
        self._rects_due = False

    def _answer_requests(self, folder: Path) -> None:
        """A request counts only while the newest screen is on the glass, so the picture is never of the one before."""
        if self._on_glass != self._applied:
            return
        for request in sorted(folder.glob("request-*")):
            self.glass.capture(folder / f"{request.name.removeprefix('request-')}.png", request)
