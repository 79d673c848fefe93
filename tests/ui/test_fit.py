"""Every view, with usual and longest values, in every language, size and theme, can be read and touched."""

import pytest

from terminal_app.screens import Charging, Offer
from tests.ui.lint import contrast, findings
from tests.ui.stage import settle
from ui import samples
from ui.frame import Frame
from ui.theme import THEMES, Style
from ui.words import languages, words_in

SIZES = ((800, 480), (1280, 800), (480, 800))
VIEWS = samples.USUAL | samples.HARDEST
FRAMES: dict[tuple[int, int, str], Frame] = {}


def frame_of(size: tuple[int, int], theme: str = "day") -> Frame:
    key = (*size, theme)
    if key not in FRAMES:
        FRAMES[key] = Frame(Style(THEMES[theme], *size), lambda button, value: None)
    return FRAMES[key]


@pytest.mark.parametrize("language", [*languages(), "pseudo"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_everything_fits(size: tuple[int, int], language: str) -> None:
    frame = frame_of(size)
    pseudo = language == "pseudo"
    words = samples.pseudo_words() if pseudo else words_in(language)
    found = []
    for name, view in VIEWS.items():
        frame.show(samples.screen(view, words.language, station="Parkhaus Nord, Ebene 2"), words)
        settle()
        found += [f"{name}: {finding}" for finding in findings(frame)]
    assert found == []


@pytest.mark.parametrize("theme", THEMES)
def test_every_theme_can_be_read(theme: str) -> None:
    frame = frame_of((800, 480), theme)
    found = []
    for name, view in VIEWS.items():
        frame.show(samples.screen(view))
        settle()
        found += [f"{name}: {finding}" for finding in findings(frame)]
    assert found == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_stop_is_large_and_within_reach(size: tuple[int, int]) -> None:
    frame = frame_of(size)
    frame.show(samples.screen(samples.charging()))
    settle()
    _, y, width, height = frame.rects()["stop"]
    assert height >= frame.style.px(56) and width >= frame.style.px(200)
    assert y >= frame.height / 3, "wheelchair reach: lower two thirds"


def test_price_lines_keep_the_order_of_the_law() -> None:
    frame = frame_of((800, 480))
    for prices in (samples.PRICES, samples.MANY_PRICES):
        frame.show(samples.screen(Offer(1, "1", prices, "19", False, 8000, False, True)))
        settle()
        words = words_in("en")
        figures = [words.unit_price(line.price, "EUR") for line in prices]
        tops = {w.text: w.top for w in frame.walk() if getattr(w, "text", "") in figures}
        assert sorted(figures, key=lambda figure: -tops[figure]) == figures


def test_hold_and_its_release_stand_beside_the_price() -> None:
    frame = frame_of((800, 480))
    for name in ("offer", "offer_many"):
        frame.show(samples.screen(VIEWS[name]))
        settle()
        told = " ".join(getattr(widget, "text", "") for widget in frame.walk())
        assert words_in("en").say("offer.release") in told
        assert words_in("en").money(VIEWS[name].hold_minor, "EUR") in told  # type: ignore[union-attr]


def test_figures_do_not_jump_while_charging() -> None:
    frame = frame_of((800, 480))
    sizes = set()
    for seconds in range(600, 660, 7):
        view = samples.charging(seconds=seconds, energy_wh=11111 + seconds, cost_minor=700 + seconds // 10)
        assert isinstance(view, Charging)
        frame.show(samples.screen(view))
        settle()
        sizes |= {frame.views[Charging].time.figure.font_size}  # type: ignore[attr-defined]
    assert len(sizes) == 1


def test_the_lint_finds_what_it_must_find() -> None:
    """Mutation: each kind of fault, made on purpose, is reported."""
    frame = Frame(Style(THEMES["day"], 800, 480), lambda button, value: None)
    frame.show(samples.screen(samples.charging()))
    settle()
    assert findings(frame) == []
    box = frame.current
    assert box is not None
    box.phase.text = "Unverhältnismäßigkeitsgrundsatz " * 4  # type: ignore[attr-defined]
    box.where.role = "tint"  # type: ignore[attr-defined]
    box.stop.height = 40  # type: ignore[attr-defined]
    settle()
    told = " ".join(findings(frame))
    assert "does not fit" in told and "cannot be read" in told and "button stop is only" in told
    frame.bottom_bar.height = 700
    settle()
    told = " ".join(findings(frame))
    assert "sticks out" in told and "off the screen" in told


def test_contrast_is_computed_as_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
