"""`charge-terminal-ui`: connects to the core's UI socket, draws what it says, sends what is touched."""

import argparse
import logging
import os
import sys
from pathlib import Path

from ui import bootstrap

SIZE_LIMITS = range(320, 7681)


def size(text: str) -> tuple[int, int]:
    """ "800x480" -> (800, 480). ValueError (argparse shows it) for anything else."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) in SIZE_LIMITS and int(height) in SIZE_LIMITS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a screen size; write WIDTHxHEIGHT, for example 800x480")
    return int(width), int(height)


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="charge-terminal-ui", description="The touchscreen of the charging payment terminal.")
    parser.add_argument("--socket", type=Path, required=True, help="the core's UI socket, for example /run/charge-terminal/ui.sock")
    parser.add_argument("--size", type=size, default=(800, 480), help="window size, WIDTHxHEIGHT (default 800x480)")
    parser.add_argument("--fullscreen", action="store_true", help="use the whole display")
    parser.add_argument("--theme", choices=("day", "night", "contrast"), default="day")
    parser.add_argument("--language", default="en", help="language until the core has spoken (ISO 639-1)")
    parser.add_argument("--touch-device", default="", help="evdev node of the touch panel; empty: the display's own pointer")
    parser.add_argument("--rects", type=Path, help="demo and tests: write the touchable rectangles of each screen to this file")
    parser.add_argument("--screenshots", type=Path, help="demo and tests: a file request-NAME in this directory becomes NAME.png")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = options_of(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if options.screenshots is not None and not options.screenshots.is_dir():
        print(f"charge-terminal-ui: --screenshots {options.screenshots}: not a directory", file=sys.stderr)  # noqa: T201
        return 2
    if os.environ.get("DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "x11")
    bootstrap.prepare(*options.size, fullscreen=options.fullscreen, touch_device=options.touch_device)

    from ui.kiosk_window import run  # first import of Kivy's window, after `prepare`

    return run(options)


if __name__ == "__main__":
    raise SystemExit(main())
