"""The hold of an offer: how much, that the rest comes back, and other amounts to choose from."""

from terminal_app import units
from terminal_app.screens import Button, HoldChoice, Offer, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Panel, Press, Pressable, column, row
from ui.theme import Style
from ui.views.base import set_present
from ui.words import Words

MOST_CHOICES = 5  # at once; more would be too small for a wet finger
PLAIN, ACROSS = 100, 110  # px height: the panel without choices, and with them beside the words
WORDS, CHOICES = 64, 74  # px height of both where one stands above the other


class Choice(Pressable):
    """One amount to choose: a ring or, if it is the chosen one, a check mark; then energy and amount, or the amount alone."""

    def __init__(self, style: Style, press: Press, mains: FitGroup, unders: FitGroup) -> None:
        super().__init__(style, press, Button.HOLD, "0", fill="quiet", radius=12, orientation="vertical", pad=(3, 8))
        self.mark = Icon(style, "ring", size_hint_y=0.3)
        self.main = FitLabel(style, 26, bold=True, align="center", group=mains, size_hint_y=0.4)
        self.under = FitLabel(style, 20, align="center", group=unders, size_hint_y=0.3)
        for part in (self.mark, self.main, self.under):
            self.add_widget(part)

    def show(self, choice: HoldChoice, screen: Screen, words: Words, *, chosen: bool, two_lines: bool) -> None:
        amount = words.money(choice.amount_minor, screen.currency)
        energy = choice.energy_wh > 0
        self.main.text = words.say("offer.energy", energy=words.quantity(str(units.kwh(choice.energy_wh)))) if energy else amount
        self.under.text = amount if energy else ""
        set_present(self, self.under, two_lines)
        self.fill = "accent" if chosen else "quiet"
        self.mark.drawing = "check" if chosen else "ring"
        self.mark.role = self.main.role = self.under.role = f"on_{self.fill}"


class HoldPanel(Panel):
    """Words and, if there is a choice, the amounts: beside the words where the panel is wide, else under them."""

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, fill="tint", pad=(22, 10), size_hint_y=None, height=style.px(PLAIN))
        self.orientation = "vertical" if style.portrait else "horizontal"
        self.texts = column(style, gap=2)
        self.hold = FitLabel(style, 22, role="on_tint", bold=True, wrap=True, valign="bottom")
        self.release = FitLabel(style, 18, role="on_tint", wrap=True, size_hint_y=0.56, valign="top")
        self.texts.add_widget(self.hold)
        self.texts.add_widget(self.release)
        mains, unders = FitGroup(), FitGroup()
        self.row = row(style, gap=7)
        self.choices = [Choice(style, press, mains, unders) for _ in range(MOST_CHOICES)]
        self.add_widget(self.texts)

    @property
    def told(self) -> bool:
        """There is something to say about money."""
        return bool(self.release.text)

    def show(self, view: Offer, screen: Screen, words: Words) -> None:
        self._say(view, screen, words)
        chosen = next((index for index, one in enumerate(view.choices) if one.amount_minor == view.hold_minor), -1)
        first = max(0, min(chosen - MOST_CHOICES // 2, len(view.choices) - MOST_CHOICES))  # the chosen one and its neighbours
        shown = view.choices[first : first + MOST_CHOICES]
        self._arrange(len(shown))
        two_lines = any(one.energy_wh for one in shown)
        for index, (box, one) in enumerate(zip(self.choices, shown, strict=False), start=first):
            box.value = str(index)
            box.show(one, screen, words, chosen=index == chosen, two_lines=two_lines)

    def _say(self, view: Offer, screen: Screen, words: Words) -> None:
        if view.hold_minor > 0:
            amount = words.money(view.hold_minor, screen.currency)
            self.hold.text = words.say("offer.hold_offline" if view.offline else "offer.hold", amount=amount)
            self.release.text = words.say("offer.release_offline" if view.offline else "offer.release")
        else:
            self.hold.text, self.release.text = "", words.say("offer.free_hint") if view.free else ""
        self.release.valign = "top" if self.hold.text else "middle"

    def _arrange(self, count: int) -> None:
        if len(self.row.children) != count:
            self.row.clear_widgets()
            for box in self.choices[:count]:
                self.row.add_widget(box)
        set_present(self, self.row, count > 0)
        px, portrait = self.style.px, self.style.portrait
        across = count > 0 and not portrait
        self.row.size_hint_x = min(0.35 * count, 1.45) if across else 1  # each as wide; the words get the rest
        self.hold.size_hint_y = (0.6 if across else 0.44) if self.hold.text else 0.001
        self.release.size_hint_y = 0.4 if across else 0.56
        self.padding = [px(16), px(8)] * 2 if count else [px(22), px(10)] * 2
        self.spacing = px(12 if across else 8)
        under = count > 0 and portrait
        self.texts.size_hint_y, self.texts.height = None if under else 1, px(WORDS)
        self.height = px(ACROSS if across else WORDS + CHOICES + 24 if under else PLAIN)
