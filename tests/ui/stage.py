"""What the tests hold on to: a frame in the test window, a link that remembers what was sent, and fingers."""

from collections.abc import Iterator

import numpy as np
from kivy.base import EventLoop, runTouchApp
from kivy.clock import Clock
from kivy.core.window import Window
from kivy.tests.common import UnitTestTouch

from terminal_app.screens import Button, Screen, Shown, Touch
from tests.ui.conftest import SIZE
from ui.frame import Frame
from ui.glass import pixels
from ui.link import Received
from ui.show import Player
from ui.theme import DAY, Style, Theme


class FakeLink:
    """Stands where `CoreLink` stands."""

    def __init__(self) -> None:
        self.waiting: Received | None = None
        self.silent_s = 0.0
        self.sent: list[Shown | Touch] = []

    def newest(self) -> Received | None:
        taken, self.waiting = self.waiting, None
        return taken

    def silent_for_s(self) -> float:
        return self.silent_s

    def send(self, message: Shown | Touch) -> bool:
        self.sent.append(message)
        return True


class Stage:
    """A player in the test window with a clock that the test sets."""

    def __init__(self, theme: Theme = DAY, **options: object) -> None:
        self.now = 100.0
        self.link = FakeLink()
        self.frame = Frame(Style(theme, *SIZE), self._press)
        for old in list(Window.children):
            Window.remove_widget(old)
        if EventLoop.status == "started":
            Window.add_widget(self.frame)
        else:
            runTouchApp(self.frame, embedded=True)
        self.player = Player(self.frame, self.link, language="en", clock=lambda: self.now, **options)  # type: ignore[arg-type]

    def _press(self, button: Button, value: str) -> None:
        self.player.press(button, value)

    def tick(self, frames: int = 1) -> None:
        for _ in range(frames):
            self.player.tick()
            EventLoop.idle()

    def show(self, screen: Screen, connection: int = 1) -> None:
        """Bring a screen on the glass and let the touch guard pass."""
        self.link.waiting = Received(connection, screen)
        self.tick(2)
        self.now += 1
        self.tick(2)

    def finger(self, rect: list[int]) -> UnitTestTouch:
        x, y, width, height = rect
        return UnitTestTouch(x + width / 2, SIZE[1] - (y + height / 2))

    def tap(self, rect: list[int]) -> None:
        touch = self.finger(rect)
        touch.touch_down()
        self.tick()
        touch.touch_up()
        self.tick()

    def touches(self) -> list[Touch]:
        return [message for message in self.link.sent if isinstance(message, Touch)]

    def shown(self) -> list[int]:
        return [message.screen_no for message in self.link.sent if isinstance(message, Shown)]

    def close(self) -> None:
        if self.frame.current is not None:
            self.frame.current.left()
        self.player.glass.release()
        Window.remove_widget(self.frame)


def stage(**options: object) -> Iterator[Stage]:
    made = Stage(**options)  # type: ignore[arg-type]
    yield made
    made.close()


def settle() -> None:
    """Run all layout that is due, without drawing."""
    for _ in range(3):
        Clock.tick()
        Clock.tick_draw()


def picture() -> np.ndarray:
    """The framebuffer as rows of RGB, top row first."""
    Window.canvas.ask_update()
    Window.dispatch("on_draw")
    width, height, rows = pixels()
    return np.frombuffer(rows, np.uint8).reshape(height, width, 3)[::-1].copy()
