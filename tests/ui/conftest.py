"""One window for all UI tests: SDL's offscreen driver, made before any test module imports Kivy."""

import os
import tempfile

import pytest

from ui import bootstrap

SIZE = (800, 480)


def pytest_configure(config: pytest.Config) -> None:
    before = dict(os.environ)
    os.environ["SDL_VIDEODRIVER"] = "offscreen"
    os.environ["KIVY_HOME"] = tempfile.mkdtemp(prefix="ct-kivy-")
    bootstrap.prepare(*SIZE)
    import kivy.core.window  # noqa: F401
    from kivy.clock import Clock

    Clock._max_fps = 0  # frames as fast as the test pumps them
    os.environ.clear()  # processes started by other tests choose their own display
    os.environ.update(before)
