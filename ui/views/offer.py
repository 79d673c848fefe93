"""Price, hold and how to pay: the screen that must be read before a card is tapped (AFIR Art. 5(4))."""

from terminal_app.screens import Button, Offer, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Action, Panel, Press, column, row
from ui.theme import Style
from ui.views.base import ViewBox, set_home, set_present
from ui.views.hold import HoldPanel
from ui.views.prices import FEW, PricePanel
from ui.words import Words

NARROW, WIDE = 0.56, 0.64  # share of the price side
BUTTONS, OFFLINE, GAP = 64, 56, 12  # px height of a row of buttons and of the warning, and the space between
CLOSE_BUTTONS, CLOSE_OFFLINE, CLOSE_GAP = 58, 54, 8  # the same where a choice of holds takes its room
CLOSE_STEP = 42  # px height that a step has at least


class Step(Panel):
    """A numbered step with its icon: quiet, or accented when it is the next thing to do."""

    def __init__(self, style: Style, number: str, titles: FitGroup, hints: FitGroup) -> None:
        super().__init__(style, gap=12)
        self._number = number
        self.badge = FitLabel(style, 46, bold=True, align="center", size_hint_x=None, width=style.px(34))
        self.icon = Icon(style, "plug", size_hint_x=None, width=style.px(64))
        texts = column(style, gap=2)
        self.title = FitLabel(style, 28, bold=True, group=titles, wrap=True)
        self.hint = FitLabel(style, 18, wrap=True, valign="top", group=hints)
        texts.add_widget(self.title)
        texts.add_widget(self.hint)
        for part in (self.badge, texts, self.icon):
            self.add_widget(part)

    def show(self, icon: str, title: str, hint: str, *, next_one: bool, done: bool = False, small: bool = False) -> None:
        """`small`: there is room for the title only."""
        px = self.style.px
        self.fill = "accent" if next_one else "card"
        role = "on_accent" if next_one else "text"
        self.badge.text, self.badge.role = self._number, role
        self.title.text, self.title.role = title, role
        self.hint.text, self.hint.role = "" if small else hint, "on_accent" if next_one else "muted"
        self.title.size_hint_y, self.hint.size_hint_y = (1, 0.001) if small else (0.55, 0.45)
        self.title.valign = "middle" if small else "bottom"
        self.padding = [px(14), px(4)] * 2 if small else [px(16), px(10)] * 2
        self.icon.width = px(46 if small else 64)
        self.icon.drawing = "check" if done else icon
        self.icon.role = "on_accent" if next_one else "on_tint"
        self.icon.disc_role = "" if next_one else "tint"


class OfferBox(ViewBox):
    """Price and hold on one side, what to do on the other; a choice of holds takes the whole width under both."""

    shows = Offer

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press)
        self.offline = Panel(style, fill="warning", gap=8, pad=(12, 1), size_hint_y=None, height=style.px(OFFLINE))
        self.offline.add_widget(Icon(style, "warning", "on_warning", size_hint_x=None, width=style.px(24)))
        self.offline_text = FitLabel(style, 20, role="on_warning", bold=True, wrap=True)
        self.offline.add_widget(self.offline_text)
        self.main = column(style, gap=12) if style.portrait else row(style, gap=12)
        self.offered = column(style, gap=GAP)
        self.prices = PricePanel(style)
        self.hold = HoldPanel(style, press)
        self.offered.add_widget(self.prices)
        self.steps = column(style, gap=12)
        titles, hints = FitGroup(), FitGroup()
        self.plug = Step(style, "1", titles, hints)
        self.pay = Step(style, "2", titles, hints)
        self.buttons = row(style, gap=12, size_hint_y=None, height=style.px(BUTTONS))
        self.back = Action(style, press, Button.BACK, kind="quiet", icon="arrow_left", size=22)
        self.start = Action(style, press, Button.START, kind="accent", icon="bolt", size=22)
        self.phone = Action(style, press, Button.PAY_BY_PHONE, kind="quiet", icon="qr", size=22)
        self.steps.add_widget(self.plug)
        self.steps.add_widget(self.pay)
        self.main.add_widget(self.offered)
        self.main.add_widget(self.steps)
        self.add_widget(self.main)

    def show(self, view: Offer, screen: Screen, words: Words) -> None:
        self.offline_text.text = words.say("offer.offline") if view.offline else ""
        set_present(self.steps, self.offline, view.offline, index=len(self.steps.children))
        self.prices.show(view, screen, words)
        self.hold.show(view, screen, words)
        buttons = view.free or view.several or view.by_phone
        self._arrange(view, buttons=buttons)
        crowded = view.several and view.by_phone and not self.style.portrait
        stacked = crowded and not view.choices and len(view.prices) > FEW  # a narrow, high side
        small = stacked or bool(buttons and (view.choices or view.offline)) or bool(view.choices and self.style.portrait)
        self._show_steps(view, words, small=small)
        set_present(self.buttons, self.start, view.free)
        set_present(self.buttons, self.phone, view.by_phone)
        set_present(self.buttons, self.back, view.several, index=len(self.buttons.children))
        set_present(self.steps, self.buttons, buttons)
        self.buttons.orientation = "vertical" if stacked else "horizontal"
        one_row = CLOSE_BUTTONS if view.choices else BUTTONS
        self.buttons.height = self.style.px(CLOSE_BUTTONS * 2 + GAP if stacked else one_row)
        arrow = crowded and bool(view.choices)  # no room for its word
        self.back.size_hint_x = 0.26 if arrow else 1 if stacked else 0.6
        self.back.label.text = "" if arrow else words.say("button.back")
        self.phone.fill = "quiet" if view.by_card else "accent"
        self.phone.label.role = self.phone.icon.role = f"on_{self.phone.fill}"
        self.phone.label.text = words.say("button.pay_by_phone")
        self.start.label.text = words.say("button.start")

    def _arrange(self, view: Offer, *, buttons: bool) -> None:
        """Where the hold stands, and who gets how much room."""
        home = self if view.choices and not self.style.portrait else self.offered
        set_home(self.hold, home if self.hold.told else None)
        close = bool(view.choices)
        self.offline.height = self.style.px(CLOSE_OFFLINE if close else OFFLINE)
        self.steps.spacing = self.style.px(CLOSE_GAP if close else GAP)
        if self.style.portrait:
            share = 0.72 if close else 0.62
            self.offered.size_hint, self.steps.size_hint = (1, share), (1, 1 - share)
            rows = [CLOSE_STEP, CLOSE_STEP] + [CLOSE_BUTTONS] * buttons + [CLOSE_OFFLINE] * view.offline
            self.steps.size_hint_min_y = self.style.px(sum(rows) + CLOSE_GAP * (len(rows) - 1)) if close else None
        else:
            share = NARROW if len(view.prices) <= FEW else WIDE
            self.offered.size_hint, self.steps.size_hint = (share, 1), (1 - share, 1)

    def _show_steps(self, view: Offer, words: Words, *, small: bool) -> None:
        done = view.plugged
        self.plug.show(
            "plug",
            words.say("offer.plugged" if done else "offer.plug"),
            words.say("offer.plugged_hint" if done else "offer.plug_hint"),
            next_one=not done,
            done=done,
            small=small,
        )
        icon, title, hint, ready = self._way_to_pay(view, words)
        self.pay.show(icon, title, hint, next_one=done and ready, small=small)

    def _way_to_pay(self, view: Offer, words: Words) -> tuple[str, str, str, bool]:
        """Icon, title and hint of the second step, and whether it can be done now."""
        if view.free:
            return "bolt", words.say("offer.start"), words.say("offer.start_hint"), True
        if not view.by_card:
            return "qr", words.say("offer.phone"), words.say("offer.phone_hint"), True
        if view.card_ready:
            hint = words.say("offer.tap_offline_hint" if view.offline else "offer.tap_hint")
            return "tap", words.say("offer.tap"), hint, True
        return "clock", words.say("offer.reader_wait"), words.say("offer.reader_wait_hint"), False
