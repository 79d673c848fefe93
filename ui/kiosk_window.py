"""The window and its main loop. Import only after `bootstrap.prepare`."""

import argparse
import gc
import logging
import signal
import time

from kivy.base import EventLoop, runTouchApp
from kivy.clock import Clock
from kivy.core.window import Window

from ui import bootstrap, sd_notify
from ui.frame import Frame
from ui.link import CoreLink
from ui.samples import USUAL, screen
from ui.show import Player
from ui.theme import THEMES, Style

log = logging.getLogger(__name__)


class Watchdog:
    """Feeds systemd from the frame callback: a hung main loop or GL driver stops the feeding."""

    def __init__(self) -> None:
        self._period_s = sd_notify.watchdog_period_s()
        self._next = 0.0

    def tick(self, *_: object) -> None:
        if self._period_s and time.monotonic() >= self._next:
            sd_notify.tell("WATCHDOG=1")
            self._next = time.monotonic() + self._period_s


def run(options: argparse.Namespace) -> int:
    """Runs until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: EventLoop.close())
    width, height = Window.system_size if options.fullscreen else options.size
    style = Style(THEMES[options.theme], width, height)
    Window.clearcolor = style.rgba("ground")
    player: Player | None = None

    def press(button: object, value: str) -> None:
        assert player is not None
        player.press(button, value)

    frame = Frame(style, press)
    runTouchApp(frame, embedded=True)
    bootstrap.settle()
    warm_up(frame)
    link = CoreLink(options.socket)
    player = Player(frame, link, language=options.language, rects=options.rects, screenshots=options.screenshots)
    watchdog = Watchdog()
    Clock.schedule_interval(player.tick, 0)
    EventLoop.idle()
    link.start()
    gc.collect()
    gc.freeze()  # the widgets live as long as the process; without it a full collection stops a frame for 50 ms
    log.info("window %dx%d, theme %s", width, height, style.theme.name)
    sd_notify.tell("READY=1")
    Clock.schedule_interval(watchdog.tick, 0)
    while not EventLoop.quit and EventLoop.status == "started":
        EventLoop.idle()
        Window.mainloop()
    link.close()
    return 0


def warm_up(frame: Frame) -> None:
    """Lay out and draw each view once, unseen: the first show of a view costs 100 to 300 ms, the later ones 30."""
    for view in USUAL.values():
        frame.show(screen(view))
        Clock.tick()
        Clock.tick_draw()
