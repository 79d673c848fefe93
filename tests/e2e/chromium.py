"""A phone with a real browser: headless Chromium at phone size, driven by its own chromedriver. Needs nothing from the network."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

selenium = pytest.importorskip("selenium", reason="scripts/setup.sh full installs it")

from selenium.webdriver import Chrome, ChromeOptions, ChromeService  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

SIZE = (390, 844)
SMALL = (320, 568)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
WAIT_S = 45
LEAST_TARGET_PX = 44


class ChromiumPhone:
    """What a driver does and sees, and what must be true of every page on a phone."""

    def __init__(self, driver: Chrome, shots: Path) -> None:
        self.driver, self.shots = driver, shots

    @property
    def text(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "main").text)

    def open(self, url: str) -> None:
        self.driver.get(url)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            place = self.driver.find_element(By.NAME, name)
            place.clear()
            place.send_keys(value)

    def press(self, words: str) -> None:
        """A button or a link."""
        for kind in ("button", "a"):
            for one in self.driver.find_elements(By.TAG_NAME, kind):
                if words in one.text:
                    one.click()
                    return
        raise AssertionError(f"no {words!r} on: {self.text}")

    def wait(self, words: str) -> None:
        WebDriverWait(self.driver, WAIT_S, ignored_exceptions=[Exception]).until(lambda _: words in self.text, f"no {words!r}")

    def shot(self, name: str) -> None:
        """A picture of the whole page; on the way: it fits the width, can be pressed with a thumb, and broke no rule."""
        width, height = self.driver.execute_script("return [document.documentElement.scrollWidth, document.body.scrollHeight]")
        assert width <= self.driver.execute_script("return window.innerWidth"), f"{name} is {width} wide"
        for one in self.driver.find_elements(By.CSS_SELECTOR, "button, input:not([type=hidden]), .actions a"):
            assert one.size["height"] >= LEAST_TARGET_PX, f"{name}: {one.text!r} is {one.size['height']} px high"
        severe = [entry["message"] for entry in self.driver.get_log("browser") if "favicon" not in entry["message"]]
        allowed = [message for message in severe if "Failed to load resource: the server responded with a status of 4" in message]
        assert severe == allowed, severe
        self.shots.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.shots / f"{name}.png"))
        assert height > 0


@contextlib.contextmanager
def phone(folder: Path, language: str = "en", size: tuple[int, int] = SIZE, dark: bool = False) -> Iterator[ChromiumPhone]:
    """A new phone without a history; gone afterwards."""
    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        pytest.skip("no chromium: scripts/setup.sh full installs it")
    options = ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={folder / 'chromium'}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(flag)
    if dark:
        options.add_argument("--force-dark-mode")
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": {"width": size[0], "height": size[1], "pixelRatio": 2.0}})
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "WARNING"})
    driver = Chrome(options=options, service=ChromeService(chromedriver))
    try:
        yield ChromiumPhone(driver, folder / "shots")
    finally:
        driver.quit()
