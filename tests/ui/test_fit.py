"""Every view, with usual and longest values, in every language, size and theme, can be read and touched."""

import msgspec
import pytest

from terminal_app.screens import Charging, DeclinedView, DeclineWords, Offer, PayByPhone, PlugIn
from tests.ui.lint import contrast, findings
from tests.ui.stage import settle
from ui import samples
from ui.frame import Frame
from ui.labels import FitLabel
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
        words = " ".join(getattr(widget, "text", "") for widget in frame.walk())
        assert words_in("en").say("offer.release") in words
        assert words_in("en").money(VIEWS[name].hold_minor, "EUR") in words  # type: ignore[union-attr]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["offer_energies", "offer_choices_long", "offer_offline_long"])
def test_amounts_to_choose_are_large_and_within_reach(size: tuple[int, int], name: str) -> None:
    frame = frame_of(size)
    frame.show(samples.screen(VIEWS[name]))
    settle()
    rects = [rect for key, rect in frame.rects().items() if key.startswith("hold:")]
    assert len(rects) >= 4
    for _, y, width, height in rects:
        assert height >= frame.style.px(70) and width >= frame.style.px(70), "a wet finger"
        assert y >= frame.height / 3, "wheelchair reach: lower two thirds"


def test_a_change_between_offers_leaves_nothing_of_the_one_before() -> None:
    """The hold moves under both sides for a choice and back, the warning comes and goes."""
    frame = frame_of((800, 480))
    fresh: dict[str, list[str]] = {}
    names = ("offer", "offer_choices", "offer_free", "offer_offline_choices", "offer_energies", "offer_offline", "offer_phone")
    for name in (*names, *reversed(names)):
        frame.show(samples.screen(VIEWS[name]))
        settle()
        seen = [widget.text for widget in frame.walk() if isinstance(widget, FitLabel) and widget.text]
        assert fresh.setdefault(name, seen) == seen


def told(view: DeclinedView | Offer | PlugIn | PayByPhone) -> str:
    """All words of a view on the glass."""
    frame = frame_of((800, 480))
    frame.show(samples.screen(view))
    settle()
    return " ".join(widget.text for widget in frame.walk() if isinstance(widget, FitLabel) and widget.text)


def test_a_refusal_advises_what_is_offered_and_nothing_else() -> None:
    english, why = words_in("en"), DeclineWords.AUTHENTICATION_WANTED
    for phone, lower, advice in (
        (True, 2000, "declined.advice_both"),
        (True, 0, "declined.advice_phone"),
        (False, 2000, "declined.advice_lower"),
        (False, 0, "declined.advice"),
    ):
        words = told(DeclinedView(1, why, 0, 25, phone, lower))
        assert english.say(advice) in words
        assert ("€20.00" in words) == (lower > 0), "the button names the lower amount"
        assert (english.say("button.pay_by_phone") in words) == phone


def test_a_kept_hold_says_how_long_and_a_released_one_that_it_takes_time() -> None:
    kept = told(DeclinedView(1, DeclineWords.HOLD_KEPT, 8000, 25, kept_s=84))
    assert "€80.00 stays for 84\xa0s" in kept and "same card" in kept and "nothing is held twice" in kept
    assert "being released" not in kept
    for why in (DeclineWords.NOT_PLUGGED, DeclineWords.CANCELLED):
        words = told(DeclinedView(1, why, 8000, 25))
        assert "€80.00 is being released; your bank may take some days" in words and "You pay nothing" in words
        assert "released" not in told(DeclinedView(1, why, 0, 25)), "nothing was held"


def test_without_the_bank_nothing_is_said_to_be_held_on_the_card() -> None:
    offer = VIEWS["offer_offline"]
    assert isinstance(offer, Offer)
    words = told(offer)
    assert words_in("en").say("offer.offline") in words and "up to €20.00" in words
    assert "held" not in words and "or your phone" not in words
    assert words_in("en").say("offer.offline") not in told(msgspec.structs.replace(offer, offline=False))


def test_a_card_instead_of_the_page_and_a_reused_hold_are_told() -> None:
    page, plug = VIEWS["pay_by_phone_or_card"], VIEWS["plug_in_reused"]
    assert isinstance(page, PayByPhone) and isinstance(plug, PlugIn)
    assert "or tap your card" in told(page)
    assert "or tap your card" not in told(msgspec.structs.replace(page, by_card=False))
    assert "or tap your card" not in told(msgspec.structs.replace(page, ending=True, url=""))
    assert "earlier attempt" in told(plug) and "Nothing more is held" in told(plug)
    assert "earlier attempt" not in told(msgspec.structs.replace(plug, reused=False))


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
