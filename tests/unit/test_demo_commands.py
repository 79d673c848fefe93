"""What a person may say to the interactive demo."""

import threading
from pathlib import Path
from typing import Any

import pytest

from scripts.demo import interactive


class Glass:
    """A site of which only the screen is asked."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def screenshot(self, name: str) -> Path:
        self.taken.append(name)
        return Path("screenshots") / f"{name}.png"


def obey(site: Any, *words: str) -> str:
    return interactive.obey(site, list(words), threading.Event())


def test_without_a_window_the_screen_can_be_looked_at() -> None:
    site = Glass()
    assert "screenshot" in interactive.COMMANDS and "screenshot NAME" in interactive.HELP
    assert obey(site, "screenshot", "my-price_1") == str(Path("screenshots/my-price_1.png"))
    assert site.taken == ["my-price_1"]


@pytest.mark.parametrize("name", ["../price", "a/b", "", "."])
def test_a_screenshot_goes_nowhere_else(name: str) -> None:
    site = Glass()
    assert obey(site, "screenshot", name).startswith("unknown: screenshot")
    assert site.taken == []
