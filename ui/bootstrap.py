"""Everything Kivy must be told before its window exists. Call `prepare` before any other module of `ui` imports kivy.

Why one place: the first import of `kivy.core.window` freezes size, position, multisampling and input providers.
"""

import atexit
import os
import shutil
import sys
import tempfile

MAX_FPS = 20
CLOCK_RESOLUTION_S = 0.001  # with Kivy's own value maxfps 30 runs at 41 (reference: screen.md section 1)


def prepare(width: int, height: int, *, fullscreen: bool = False, touch_device: str = "") -> None:
    """Set environment and Kivy's Config. `touch_device` is an evdev node; empty means the mouse where there is a display.

    Exactly one input provider is left, else each touch arrives two or three times (kivy#3801, #1903).
    """
    if "kivy.core.window" in sys.modules:
        raise RuntimeError("ui.bootstrap.prepare must run before kivy.core.window is imported")
    os.environ["KIVY_WINDOW"] = "sdl2"
    os.environ["KIVY_NO_ARGS"] = "1"
    os.environ["KIVY_NO_FILELOG"] = "1"
    os.environ["KIVY_LOG_MODE"] = "PYTHON"  # leave the root logger alone
    os.environ["KIVY_METRICS_DENSITY"] = "1"
    os.environ["KIVY_DPI"] = "96"
    if "KIVY_HOME" not in os.environ:
        home = tempfile.mkdtemp(prefix="charge-ui-")
        os.environ["KIVY_HOME"] = home
        atexit.register(shutil.rmtree, home, ignore_errors=True)

    from kivy.config import Config

    graphics = {
        "width": width,
        "height": height,
        "position": "custom",
        "left": 0,
        "top": 0,
        "resizable": 0,
        "borderless": 1 if fullscreen else 0,
        "fullscreen": "auto" if fullscreen else 0,
        "multisamples": 0,
        "maxfps": MAX_FPS,
        "show_cursor": 0 if touch_device or fullscreen else 1,
    }
    for key, value in graphics.items():
        Config.set("graphics", key, str(value))
    Config.set("kivy", "exit_on_escape", "0")
    Config.set("kivy", "pause_on_minimize", "0")
    for section in ("input", "modules"):
        Config.remove_section(section)
        Config.add_section(section)
    if touch_device:
        Config.set("input", "touch", f"hidinput,{touch_device}")
    elif os.environ.get("DISPLAY") or os.environ.get("SDL_VIDEODRIVER") == "offscreen":
        Config.set("input", "mouse", "mouse,disable_multitouch")


def settle() -> None:
    """After the window exists: leave one input provider and let the clock keep its frame rate."""
    from kivy.base import EventLoop
    from kivy.clock import Clock
    from kivy.config import Config

    Clock.clock_resolution = CLOCK_RESOLUTION_S
    if Config.options("input"):  # else SDL's own finger events (KMS without a named device) are the one provider
        for provider in list(EventLoop.input_providers):
            if type(provider).__name__ == "SDL2MotionEventProvider":
                EventLoop.remove_input_provider(provider)
