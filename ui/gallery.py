"""`python -m ui.gallery --out DIR [--lang de] [--size 800x480] [--theme day] [--hard]`: every view as PNG, to look at."""

import argparse
import os
from pathlib import Path

from ui import bootstrap
from ui.app import size


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ui.gallery", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lang", default="en", help="en, de or pseudo (40 %% longer than English)")
    parser.add_argument("--size", type=size, default=(800, 480))
    parser.add_argument("--theme", default="day", choices=("day", "night", "contrast"))
    parser.add_argument("--hard", action="store_true", help="the longest values too")
    parser.add_argument("--only", default="", help="only names that begin so")
    options = parser.parse_args(arguments)
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")
    bootstrap.prepare(*options.size)

    from kivy.base import EventLoop, runTouchApp
    from kivy.core.window import Window

    from ui import samples
    from ui.frame import Frame
    from ui.glass import Glass
    from ui.theme import THEMES, Style

    style = Style(THEMES[options.theme], *options.size)
    Window.clearcolor = style.rgba("ground")
    frame = Frame(style, lambda button, value: None)
    runTouchApp(frame, embedded=True)
    glass = Glass(lambda: None)
    options.out.mkdir(parents=True, exist_ok=True)
    views = samples.USUAL | (samples.HARDEST if options.hard else {})
    for name, view in views.items():
        if not name.startswith(options.only):
            continue
        pseudo = options.lang == "pseudo"
        shown = samples.screen(view, "en" if pseudo else options.lang)
        frame.show(shown, samples.pseudo_words() if pseudo else None)
        EventLoop.idle()
        EventLoop.idle()
        glass.capture(options.out / f"{name}.png")
        EventLoop.idle()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
