"""Price, hold and how to pay: the screen that must be read before a card is tapped (AFIR Art. 5(4))."""

from terminal_app.screens import Button, Offer, PriceLine, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Action, Panel, Press, Rule, column, row
from ui.theme import Style
from ui.views.base import ViewBox, set_present
from ui.words import Words


class PriceRow(Panel):
    """One price component: the figure, then its unit and condition."""

    def __init__(self, style: Style, figures: FitGroup, units: FitGroup) -> None:
        super().__init__(style, fill="", radius=0, gap=10)
        self.figure = FitLabel(style, 28, bold=True, group=figures, size_hint_x=0.36)
        self.unit = FitLabel(style, 20, role="muted", wrap=True, group=units, size_hint_x=0.64)
        self.add_widget(self.figure)
        self.add_widget(self.unit)

    def show(self, line: PriceLine, currency: str, words: Words) -> None:
        self.figure.text = words.unit_price(line.price, currency)
        self.unit.text = unit_text(line, words)


def unit_text(line: PriceLine, words: Words) -> str:
    note = f" ({words.note(line.note, line.note_args)})" if line.note else ""
    return words.of(line.kind) + note


class Step(Panel):
    """A numbered step with its icon: quiet, or accented when it is the next thing to do."""

    def __init__(self, style: Style, number: str, titles: FitGroup, hints: FitGroup) -> None:
        super().__init__(style, gap=14, pad=(16, 12))
        self._number = number
        self.badge = FitLabel(style, 46, bold=True, align="center", size_hint_x=None, width=style.px(34))
        self.icon = Icon(style, "plug", size_hint_x=None, width=style.px(74))
        texts = column(style, gap=2)
        self.title = FitLabel(style, 28, bold=True, valign="bottom", group=titles, wrap=True, size_hint_y=0.56)
        self.hint = FitLabel(style, 18, wrap=True, valign="top", group=hints, size_hint_y=0.44)
        texts.add_widget(self.title)
        texts.add_widget(self.hint)
        for part in (self.badge, texts, self.icon):
            self.add_widget(part)

    def show(self, icon: str, title: str, hint: str, *, next_one: bool, done: bool = False) -> None:
        self.fill = "accent" if next_one else "card"
        role = "on_accent" if next_one else "text"
        self.badge.text, self.badge.role = self._number, role
        self.title.text, self.title.role = title, role
        self.hint.text, self.hint.role = hint, "on_accent" if next_one else "muted"
        self.icon.drawing = "check" if done else icon
        self.icon.role = "on_accent" if next_one else "on_tint"
        self.icon.disc_role = "" if next_one else "tint"


class OfferBox(ViewBox):
    shows = Offer

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, orientation="vertical" if style.portrait else "horizontal")
        self.prices = Panel(style, orientation="vertical", gap=6, pad=(22, 16), size_hint=(1, 0.6) if style.portrait else (0.54, 1))
        self._build_prices()
        steps = column(style, gap=12, size_hint=(1, 0.4) if style.portrait else (0.46, 1))
        self.steps = steps
        titles, hints = FitGroup(), FitGroup()
        self.plug = Step(style, "1", titles, hints)
        self.pay = Step(style, "2", titles, hints)
        self.buttons = row(style, gap=12, size_hint_y=None, height=style.px(64))
        self.back = Action(style, press, Button.BACK, kind="quiet", icon="arrow_left", size=22, size_hint_x=0.7)
        self.start = Action(style, press, Button.START, kind="accent", icon="bolt")
        steps.add_widget(self.plug)
        steps.add_widget(self.pay)
        self.add_widget(self.prices)
        self.add_widget(steps)

    def _build_prices(self) -> None:
        style = self.style
        head = row(style, gap=10, size_hint_y=None, height=style.px(26))
        self.where = FitLabel(style, 20, bold=True, role="muted")
        self.vat = FitLabel(style, 17, role="muted", align="right")
        head.add_widget(self.where)
        head.add_widget(self.vat)
        self.main = FitLabel(style, 75, bold=True, size_hint_y=1.7, valign="bottom")
        self.main_unit = FitLabel(style, 24, role="muted", size_hint_y=0.75, valign="top")
        self.rows = column(style, gap=0, size_hint_y=0.01)
        self.figures, self.units = FitGroup(), FitGroup()
        self.price_rows: list[PriceRow] = []
        self.hold = FitLabel(style, 22, bold=True, wrap=True, size_hint_y=0.95, valign="bottom")
        self.release = FitLabel(style, 18, role="muted", wrap=True, size_hint_y=1.05, valign="top")
        for part in (head, self.main, self.main_unit, self.rows, Rule(style), self.hold, self.release):
            self.prices.add_widget(part)

    def show(self, view: Offer, screen: Screen, words: Words) -> None:
        self.where.text = words.connector(view.label)
        self.vat.text = words.say("offer.vat", percent=words.percent(view.vat_percent)) if view.prices else ""
        self._show_prices(view, screen, words)
        self._show_steps(view, words)
        set_present(self.buttons, self.start, view.free)
        set_present(self.buttons, self.back, view.several, index=1)
        set_present(self.steps, self.buttons, view.free or view.several)
        self.start.label.text = words.say("button.start")
        self.back.label.text = words.say("button.back")

    def _show_prices(self, view: Offer, screen: Screen, words: Words) -> None:
        if view.free or not view.prices:
            self.main.text, self.main_unit.text = words.say("offer.free"), ""
            more: tuple[PriceLine, ...] = ()
        else:
            first = view.prices[0]
            self.main.text = words.unit_price(first.price, screen.currency)
            self.main_unit.text = unit_text(first, words)
            more = view.prices[1:]
        while len(self.price_rows) < len(more):
            self.price_rows.append(PriceRow(self.style, self.figures, self.units))
        if len(self.rows.children) != len(more):
            self.rows.clear_widgets()
            for each in self.price_rows[: len(more)]:
                self.rows.add_widget(each)
            self.rows.size_hint_y = max(0.01, 0.8 * len(more))
        for each, line in zip(self.price_rows, more, strict=False):
            each.show(line, screen.currency, words)
        if view.hold_minor > 0:
            self.hold.text = words.say("offer.hold", amount=words.money(view.hold_minor, screen.currency))
            self.release.text = words.say("offer.release")
        else:
            self.hold.text, self.release.text = "", words.say("offer.free_hint") if view.free else ""

    def _show_steps(self, view: Offer, words: Words) -> None:
        done = view.plugged
        self.plug.show(
            "plug",
            words.say("offer.plugged" if done else "offer.plug"),
            words.say("offer.plugged_hint" if done else "offer.plug_hint"),
            next_one=not done,
            done=done,
        )
        if view.free:
            self.pay.show("bolt", words.say("offer.start"), words.say("offer.start_hint"), next_one=done)
        elif view.card_ready:
            self.pay.show("tap", words.say("offer.tap"), words.say("offer.tap_hint"), next_one=done)
        else:
            self.pay.show("clock", words.say("offer.reader_wait"), words.say("offer.reader_wait_hint"), next_one=False)
