"""What the driver does and sees: Shown after the frame, touches with their screen, link loss, rectangles, pictures."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from terminal_app.screens import (
    Button,
    ChargePhase,
    Charging,
    HoldChoice,
    Offer,
    OutOfService,
    OutOfServiceReason,
    PayByPhone,
    Receipt,
    Touch,
)
from tests.ui.conftest import SIZE
from tests.ui.stage import Stage, picture, stage
from ui import samples
from ui.link import Received
from ui.panels import SPIN_S
from ui.samples import screen
from ui.theme import THEMES, Theme
from ui.views.hold import Choice
from ui.words import words_in

VECTOR = Path(__file__).parent.parent / "vectors" / "compact-receipt-v1.json"


@pytest.fixture
def on_stage() -> Iterator[Stage]:
    yield from stage()


def test_shown_is_sent_only_after_the_flip(on_stage: Stage) -> None:
    order: list[str] = []
    real_flip, real_send = on_stage.player.glass._flip, on_stage.link.send
    on_stage.player.glass._flip = lambda: (real_flip(), order.append("flip"))[0]
    on_stage.link.send = lambda message: (order.append(f"shown {message.screen_no}"), real_send(message))[1]  # type: ignore[method-assign,union-attr]
    on_stage.link.waiting = Received(1, screen(samples.USUAL["offer"], screen_no=7))
    on_stage.player.tick()
    assert order == [], "applied, but no frame yet"
    on_stage.tick()
    assert order == ["flip", "shown 7"]


def test_the_flipped_frame_is_the_finished_picture(on_stage: Stage) -> None:
    """Shown must not be sent for a half laid out screen: what was flipped equals what stands there later."""
    frames: list[np.ndarray] = []
    real_send = on_stage.link.send
    on_stage.link.send = lambda message: (frames.append(picture()), real_send(message))[1]  # type: ignore[method-assign]
    for number, name in enumerate(("offer", "charging", "receipt", "declined", "overview_8"), start=1):
        on_stage.link.waiting = Received(1, screen(samples.USUAL[name], screen_no=number))
        on_stage.tick(1)
        assert len(frames) == number, "one Shown for each"
        on_stage.tick(5)
        assert np.array_equal(frames[-1], picture()), name


def test_shown_once_per_meaning_and_again_for_a_new_connection(on_stage: Stage) -> None:
    for revision in range(4):
        on_stage.link.waiting = Received(1, screen(samples.charging(seconds=revision), screen_no=3, revision=revision))
        on_stage.tick()
    assert on_stage.shown() == [3]
    same_picture = screen(samples.charging(seconds=3), screen_no=4)
    on_stage.link.waiting = Received(1, same_picture)
    on_stage.tick()
    assert on_stage.shown() == [3, 4], "a new meaning that looks the same is shown, too"
    on_stage.link.waiting = Received(2, same_picture)
    on_stage.tick()
    assert on_stage.shown() == [3, 4, 4], "a restarted core has seen nothing yet"


def test_a_touch_carries_the_screen_it_was_made_on(on_stage: Stage) -> None:
    on_stage.show(screen(samples.charging(), screen_no=12))
    on_stage.tap(on_stage.frame.rects()["stop"])
    assert on_stage.touches() == [Touch(12, Button.STOP)]


def test_a_finger_that_came_down_on_the_old_screen_presses_nothing(on_stage: Stage) -> None:
    on_stage.show(screen(samples.charging(), screen_no=12))
    for name in ("stop", "language:de"):
        touch = on_stage.finger(on_stage.frame.rects()[name])
        touch.touch_down()
        on_stage.tick()
        on_stage.show(screen(samples.receipt(), screen_no=13))
        touch.touch_up()
        on_stage.tick()
        on_stage.show(screen(samples.charging(), screen_no=12))
    assert on_stage.touches() == []


def test_a_finger_on_its_way_does_not_press_a_screen_that_just_came(on_stage: Stage) -> None:
    on_stage.show(screen(samples.charging(), screen_no=12))
    on_stage.link.waiting = Received(1, screen(samples.receipt(), screen_no=13))
    on_stage.tick(2)
    on_stage.tap(on_stage.frame.rects()["done"])
    assert on_stage.touches() == []
    on_stage.now += 1
    on_stage.tick()
    on_stage.tap(on_stage.frame.rects()["done"])
    assert on_stage.touches() == [Touch(13, Button.DONE)]


def test_a_finger_that_slides_off_presses_nothing(on_stage: Stage) -> None:
    on_stage.show(screen(samples.charging(), screen_no=12))
    touch = on_stage.finger(on_stage.frame.rects()["stop"])
    touch.touch_down()
    on_stage.tick()
    touch.touch_move(100, 300)
    touch.touch_up()
    on_stage.tick()
    assert on_stage.touches() == []


@pytest.mark.parametrize("name", [name for name in samples.USUAL if name != "starting"])
def test_rectangles_say_where_a_finger_must_press(name: str, tmp_path: Path) -> None:
    for player in stage(rects=tmp_path / "rects.json"):
        player.show(screen(samples.USUAL[name], screen_no=5))
        told = json.loads((tmp_path / "rects.json").read_text())
        assert told["screen_no"] == 5 and told["view"] == type(samples.USUAL[name]).__struct_config__.tag
        assert {"language:en", "language:de"} <= told["rects"].keys()
        for key, rect in told["rects"].items():
            assert min(rect) >= 0 and rect[0] + rect[2] <= SIZE[0] and rect[1] + rect[3] <= SIZE[1]
            player.link.sent.clear()
            player.tap(rect)
            button, _, value = key.partition(":")
            assert player.touches() == [Touch(5, Button(button), value)]


def test_rectangles_follow_what_the_view_offers_now(tmp_path: Path) -> None:
    for player in stage(rects=tmp_path / "rects.json"):
        player.show(screen(samples.USUAL["offer"], screen_no=5))
        assert "back" not in json.loads((tmp_path / "rects.json").read_text())["rects"]
        player.show(screen(samples.USUAL["offer_simple"], screen_no=5))
        assert "back" in json.loads((tmp_path / "rects.json").read_text())["rects"]


def test_stop_goes_away_once_the_charge_is_ending(on_stage: Stage) -> None:
    on_stage.show(screen(samples.charging(), screen_no=5))
    assert "stop" in on_stage.frame.rects()
    on_stage.show(screen(samples.charging(phase=ChargePhase.STOPPING), screen_no=6))
    assert "stop" not in on_stage.frame.rects()
    on_stage.show(screen(samples.charging(), screen_no=7))
    assert "stop" in on_stage.frame.rects(), "the next driver's charge has it again"


def test_silence_of_three_seconds_is_out_of_service_until_the_core_speaks(on_stage: Stage) -> None:
    on_stage.show(screen(samples.charging(), screen_no=9))
    on_stage.link.silent_s = 2.9
    on_stage.tick(3)
    assert type(on_stage.frame.current).shows is Charging
    on_stage.link.silent_s = 3.1
    on_stage.tick(2)
    assert type(on_stage.frame.current).shows is OutOfService
    assert on_stage.frame.current.text.text.startswith("This charger does not respond")  # type: ignore[union-attr]
    assert on_stage.frame.bottom_bar.help.text.endswith("0000000"), "the helpline stays"
    on_stage.now += 1
    on_stage.tick(2)
    before = list(on_stage.link.sent)
    on_stage.tap(on_stage.frame.rects()["language:de"])
    assert on_stage.link.sent == before, "nobody is there to be told"
    assert on_stage.frame.current.title.text == "Außer Betrieb"  # type: ignore[union-attr]
    on_stage.link.silent_s = 0.0
    on_stage.show(screen(samples.charging(), screen_no=9), connection=2)
    assert type(on_stage.frame.current).shows is Charging
    assert on_stage.shown() == [9, 9]


def test_before_the_first_word_of_the_core_the_screen_says_starting(on_stage: Stage) -> None:
    on_stage.tick(2)
    view = on_stage.player._screen.view
    assert view == OutOfService(OutOfServiceReason.STARTING)
    assert on_stage.link.sent == []


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
@pytest.mark.parametrize("content", [samples.QR, samples.LONG_QR], ids=["short", "long"])
def test_the_receipt_code_decodes_from_the_framebuffer(content: str, theme: Theme) -> None:
    for player in stage(theme=theme):
        player.show(screen(samples.receipt(qr=content), screen_no=2))
        code = player.frame.views[Receipt].qr  # type: ignore[attr-defined]
        assert code.module_px * code._texture.width >= 160 and code.module_px >= 4
        left, bottom, right, top = (round(edge) for edge in (code.x, code.y, code.right, code.top))
        near = picture()[SIZE[1] - top : SIZE[1] - bottom, left:right]  # as a phone held before it sees it, twice as large
        near = cv2.resize(near, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        assert cv2.QRCodeDetector().detectAndDecode(cv2.cvtColor(near, cv2.COLOR_RGB2BGR))[0] == content


def test_a_signed_receipt_code_decodes_and_gives_way_where_its_modules_would_be_too_small() -> None:
    signed = samples.PLAIN_QR + "#" + json.loads(VECTOR.read_text())["line"]
    for player in stage(theme=THEMES["day"]):
        player.show(screen(samples.receipt(qr=signed), screen_no=2))
        code = player.frame.views[Receipt].qr  # type: ignore[attr-defined]
        assert code.shown == signed and code.module_px >= 2, "three bill lines"
        near = cv2.resize(cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        assert cv2.QRCodeDetectorAruco().detectAndDecode(near)[0] == signed, "as a phone sees it from near by"
        one_line = signed[:760]  # so long is that of a bill with one line
        player.show(screen(samples.receipt(qr=one_line), screen_no=3))
        assert code.shown == one_line and code.module_px >= 3
        glass = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR)
        assert cv2.QRCodeDetectorAruco().detectAndDecode(glass)[0] == one_line, "from the glass as it is"
        player.show(screen(samples.receipt(qr=samples.PLAIN_QR + "#" + "x" * 2200), screen_no=4))
        assert code.shown == samples.PLAIN_QR and code.module_px >= 4


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", ["pay_by_phone", "pay_by_phone_long"])
def test_the_payment_code_decodes_from_the_framebuffer(name: str, theme: Theme) -> None:
    """Payment addresses are several hundred characters long."""
    view = (samples.USUAL | samples.HARDEST)[name]
    assert isinstance(view, PayByPhone)
    for player in stage(theme=theme):
        player.show(screen(view, screen_no=2))
        code = player.frame.views[PayByPhone].qr  # type: ignore[attr-defined]
        assert code.module_px >= 3
        left, bottom, right, top = (round(edge) for edge in (code.x, code.y, code.right, code.top))
        near = picture()[SIZE[1] - top : SIZE[1] - bottom, left:right]
        near = cv2.resize(near, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        assert cv2.QRCodeDetector().detectAndDecode(cv2.cvtColor(near, cv2.COLOR_RGB2BGR))[0] == view.url
        told = {getattr(widget, "text", "") for widget in player.frame.walk()}
        assert view.check_word in told, "the word that the page shows, too"


def test_pay_by_phone_is_touched_and_cancelled(on_stage: Stage) -> None:
    on_stage.show(screen(samples.USUAL["offer_phone"], screen_no=4))
    on_stage.tap(on_stage.frame.rects()["pay_by_phone"])
    on_stage.show(screen(samples.USUAL["pay_by_phone"], screen_no=5))
    on_stage.tap(on_stage.frame.rects()["cancel"])
    assert on_stage.touches() == [Touch(4, Button.PAY_BY_PHONE), Touch(5, Button.CANCEL)]
    on_stage.show(screen(samples.USUAL["offer"], screen_no=6))
    assert "pay_by_phone" not in on_stage.frame.rects(), "not offered while it does not work"


def test_a_hold_is_chosen_by_its_place_and_the_chosen_one_is_marked(on_stage: Stage) -> None:
    offer = samples.USUAL["offer_choices"]
    assert isinstance(offer, Offer)
    for number, chosen in enumerate(offer.choices, start=4):
        on_stage.show(screen(msgspec.structs.replace(offer, hold_minor=chosen.amount_minor), screen_no=number))
        boxes = [box for box in on_stage.frame.walk() if isinstance(box, Choice)]
        marked = [box.main.text for box in boxes if box.mark.drawing == "check" and box.fill == "accent"]
        assert marked == [words_in("en").money(chosen.amount_minor, "EUR")]
    on_stage.tap(on_stage.frame.rects()["hold:1"])
    assert on_stage.touches() == [Touch(6, Button.HOLD, "1")]
    on_stage.show(screen(msgspec.structs.replace(offer, hold_minor=1), screen_no=7))
    assert not [box for box in on_stage.frame.walk() if isinstance(box, Choice) and box.fill == "accent"], "none of them"
    on_stage.show(screen(samples.USUAL["offer"], screen_no=8))
    assert not [name for name in on_stage.frame.rects() if name.startswith("hold")], "no choice, no button"


def test_of_many_holds_the_chosen_one_and_its_neighbours_are_shown(on_stage: Stage) -> None:
    """So each can be reached: touch the outermost, then see those beyond it."""
    offer = samples.USUAL["offer_choices"]
    assert isinstance(offer, Offer)
    choices = tuple(HoldChoice(1000 * number) for number in range(1, 10))
    for number, (hold_minor, seen) in enumerate({1000: "01234", 5000: "23456", 7000: "45678", 9000: "45678", 1: "01234"}.items()):
        on_stage.show(screen(msgspec.structs.replace(offer, hold_minor=hold_minor, choices=choices), screen_no=number))
        assert {f"hold:{index}" for index in seen} == {name for name in on_stage.frame.rects() if name.startswith("hold")}
        marked = [box.value for box in on_stage.frame.walk() if isinstance(box, Choice) and box.fill == "accent"]
        assert marked == [str(index) for index, one in enumerate(choices) if one.amount_minor == hold_minor]


def test_what_helps_after_a_refusal_can_be_touched(on_stage: Stage) -> None:
    on_stage.show(screen(samples.USUAL["declined_offers"], screen_no=4))
    for name in ("lower_hold", "pay_by_phone", "ok"):
        on_stage.tap(on_stage.frame.rects()[name])
    assert on_stage.touches() == [Touch(4, Button.LOWER_HOLD), Touch(4, Button.PAY_BY_PHONE), Touch(4, Button.OK)]
    for number, (name, wanted) in enumerate({"declined_lower": "lower_hold", "declined_phone": "pay_by_phone"}.items(), start=5):
        on_stage.show(screen(samples.USUAL[name], screen_no=number))
        assert {one for one in on_stage.frame.rects() if "language" not in one} == {wanted, "ok"}
    on_stage.show(screen(samples.USUAL["declined"], screen_no=7))
    assert {one for one in on_stage.frame.rects() if "language" not in one} == {"ok"}


def test_a_requested_picture_is_the_framebuffer(tmp_path: Path) -> None:
    for player in stage(screenshots=tmp_path):
        player.show(screen(samples.USUAL["offer"], screen_no=2))
        (tmp_path / "request-price").touch()
        player.tick(2)
        assert not (tmp_path / "request-price").exists()
        stored = cv2.cvtColor(cv2.imread(str(tmp_path / "price.png")), cv2.COLOR_BGR2RGB)
        assert np.array_equal(stored, picture())


def test_the_spinner_turns_only_while_the_bank_is_asked(on_stage: Stage) -> None:
    on_stage.show(screen(samples.USUAL["bank_wait"], screen_no=2))
    before = picture()
    end = time.monotonic() + 20
    while np.array_equal(before, picture()):
        assert time.monotonic() < end, "it stands still"
        on_stage.tick()
    spinner = on_stage.frame.current.spinner  # type: ignore[union-attr]
    on_stage.show(screen(samples.USUAL["offer"], screen_no=3))
    angle, end = spinner.angle, time.monotonic() + 5 * SPIN_S
    while time.monotonic() < end:
        on_stage.tick()
    assert spinner.angle == angle


def test_nothing_is_drawn_while_nothing_changes(on_stage: Stage) -> None:
    same = screen(samples.charging(), screen_no=2)
    on_stage.show(same)
    flips: list[int] = []
    real_flip = on_stage.player.glass._flip
    on_stage.player.glass._flip = lambda: (flips.append(1), real_flip())[1]
    for _ in range(10):
        on_stage.link.waiting = Received(1, same)
        on_stage.tick(2)
    assert flips == []
