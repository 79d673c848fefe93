"""Price, hold and how to pay: the screen that must be read before a card is tapped (AFIR Art. 5(4))."""

from terminal_app.screens import Button, Offer, PriceLine, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Action, Panel, Press, column, row
from ui.theme import Style
from ui.views.base import ViewBox, set_present
from ui.words import Words

FEW = 4  # price lines that leave room for a headline
LONG = 40  # letters of a unit that probably needs two lines
NARROW, WIDE = 0.56, 0.64  # share of the price side


class PriceRow(Panel):
    """One price component: the figure, then its unit and conditions."""

    def __init__(self, style: Style, figures: FitGroup, units: FitGroup) -> None:
        super().__init__(style, fill="", radius=0, gap=12)
        self.figure = FitLabel(style, 28, bold=True, group=figures, size_hint_x=0.24)
        self.unit = FitLabel(style, 20, role="muted", wrap=True, group=units, size_hint_x=0.76)
        self.add_widget(self.figure)
        self.add_widget(self.unit)

    def show(self, line: PriceLine, currency: str, words: Words) -> None:
        self.figure.text = words.unit_price(line.price, currency)
        self.unit.text = unit_text(line, words)
        self.size_hint_y = 1.6 if len(self.unit.text) > LONG else 1


def unit_text(line: PriceLine, words: Words) -> str:
    note = f" ({words.note(line.note, line.note_args)})" if line.note else ""
    return words.of(line.kind) + note


class Step(Panel):
    """A numbered step with its icon: quiet, or accented when it is the next thing to do."""

    def __init__(self, style: Style, number: str, titles: FitGroup, hints: FitGroup) -> None:
        super().__init__(style, gap=12, pad=(16, 10))
        self._number = number
        self.badge = FitLabel(style, 46, bold=True, align="center", size_hint_x=None, width=style.px(34))
        self.icon = Icon(style, "plug", size_hint_x=None, width=style.px(64))
        texts = column(style, gap=2)
        self.title = FitLabel(style, 28, bold=True, valign="bottom", group=titles, wrap=True, size_hint_y=0.55)
        self.hint = FitLabel(style, 18, wrap=True, valign="top", group=hints, size_hint_y=0.45)
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
        self.offered = column(style, gap=12, size_hint=(1, 0.62) if style.portrait else (NARROW, 1))
        self._build_prices()
        self._build_hold()
        self.steps = column(style, gap=12, size_hint=(1, 0.38) if style.portrait else (1 - NARROW, 1))
        titles, hints = FitGroup(), FitGroup()
        self.plug = Step(style, "1", titles, hints)
        self.pay = Step(style, "2", titles, hints)
        self.buttons = row(style, gap=12, size_hint_y=None, height=style.px(64))
        self.back = Action(style, press, Button.BACK, kind="quiet", icon="arrow_left", size=22, size_hint_x=0.6)
        self.start = Action(style, press, Button.START, kind="accent", icon="bolt", size=22)
        self.phone = Action(style, press, Button.PAY_BY_PHONE, kind="quiet", icon="qr", size=22)
        self.steps.add_widget(self.plug)
        self.steps.add_widget(self.pay)
        self.add_widget(self.offered)
        self.add_widget(self.steps)

    def _build_prices(self) -> None:
        style = self.style
        self.prices = Panel(style, orientation="vertical", gap=4, pad=(22, 14))
        head = row(style, gap=10, size_hint_y=None, height=style.px(26))
        self.where = FitLabel(style, 20, bold=True, role="muted")
        self.vat = FitLabel(style, 18, role="muted", align="right")
        head.add_widget(self.where)
        head.add_widget(self.vat)
        self.first = row(style, gap=14, size_hint_y=1.7)
        self.main = FitLabel(style, 75, bold=True, size_hint_x=0.6)
        self.main_unit = FitLabel(style, 26, role="muted", wrap=True, size_hint_x=0.4)
        self.first.add_widget(self.main)
        self.first.add_widget(self.main_unit)
        for changed in ("pos", "size", "text_width"):
            self.main.bind(**{changed: self._follow})
        self.main_unit.bind(x=self._follow)
        self.rows = column(style)
        self.figures, self.units = FitGroup(), FitGroup()
        self.price_rows: list[PriceRow] = []
        for part in (head, self.first, self.rows):
            self.prices.add_widget(part)
        self.offered.add_widget(self.prices)

    def _follow(self, *_: object) -> None:
        """The unit stands right behind the figure."""
        self.main_unit.x = round(self.main.x + self.main.text_width + self.style.px(14))

    def _build_hold(self) -> None:
        style = self.style
        self.terms = Panel(style, fill="tint", orientation="vertical", gap=2, pad=(22, 10), size_hint_y=None, height=style.px(100))
        self.hold = FitLabel(style, 22, role="on_tint", bold=True, wrap=True, size_hint_y=0.44, valign="bottom")
        self.release = FitLabel(style, 18, role="on_tint", wrap=True, size_hint_y=0.56, valign="top")
        self.terms.add_widget(self.hold)
        self.terms.add_widget(self.release)
        self.offered.add_widget(self.terms)

    def show(self, view: Offer, screen: Screen, words: Words) -> None:
        self.where.text = words.connector(view.label)
        show_vat = view.vat_percent and not view.free
        self.vat.text = words.say("offer.vat", percent=words.percent(view.vat_percent)) if show_vat else ""
        self._show_prices(view, screen, words)
        stacked = view.several and view.by_phone and not self.style.portrait and len(view.prices) > FEW  # a narrow side
        self._show_steps(view, words)
        if stacked:
            self.plug.hint.text = self.pay.hint.text = ""
        set_present(self.buttons, self.start, view.free)
        set_present(self.buttons, self.phone, view.by_phone)
        set_present(self.buttons, self.back, view.several, index=len(self.buttons.children))
        set_present(self.steps, self.buttons, view.free or view.several or view.by_phone)
        self.buttons.orientation = "vertical" if stacked else "horizontal"
        self.buttons.height = self.style.px(58 * 2 + 12 if stacked else 64)
        self.back.size_hint_x = 1 if stacked else 0.6
        self.phone.fill = "quiet" if view.by_card else "accent"
        self.phone.label.role = self.phone.icon.role = f"on_{self.phone.fill}"
        self.phone.label.text = words.say("button.pay_by_phone")
        self.start.label.text = words.say("button.start")
        self.back.label.text = words.say("button.back")

    def _show_prices(self, view: Offer, screen: Screen, words: Words) -> None:
        """A plain first price is the headline; a conditional one stands among its equals."""
        more = view.prices
        if view.free or not view.prices:
            self.main.text, self.main_unit.text = words.say("offer.free"), ""
            more = ()
        elif not view.prices[0].note and len(view.prices) <= FEW:
            self.main.text = words.unit_price(view.prices[0].price, screen.currency)
            self.main_unit.text = unit_text(view.prices[0], words)
            more = view.prices[1:]
        headline = len(more) < len(view.prices) or not view.prices
        set_present(self.prices, self.first, headline, index=1)
        self.main_unit.size_hint_x = 0.4 if self.main_unit.text else 0.001
        set_present(self.prices, self.rows, bool(more))
        while len(self.price_rows) < len(more):
            self.price_rows.append(PriceRow(self.style, self.figures, self.units))
        if len(self.rows.children) != len(more):
            self.rows.clear_widgets()
            for each in self.price_rows[: len(more)]:
                self.rows.add_widget(each)
            self.rows.size_hint_y = len(more)
        for each, line in zip(self.price_rows, more, strict=False):
            each.show(line, screen.currency, words)
        if not self.style.portrait:
            self.offered.size_hint_x = NARROW if len(view.prices) <= FEW else WIDE
            self.steps.size_hint_x = 1 - self.offered.size_hint_x
        self._show_hold(view, screen, words)

    def _show_hold(self, view: Offer, screen: Screen, words: Words) -> None:
        if view.hold_minor > 0:
            self.hold.text = words.say("offer.hold", amount=words.money(view.hold_minor, screen.currency))
            self.release.text = words.say("offer.release")
        else:
            self.hold.text, self.release.text = "", words.say("offer.free_hint") if view.free else ""
        self.hold.size_hint_y = 0.44 if self.hold.text else 0.001
        self.release.valign = "top" if self.hold.text else "middle"
        set_present(self.offered, self.terms, bool(self.release.text))

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
        elif not view.by_card:
            self.pay.show("qr", words.say("offer.phone"), words.say("offer.phone_hint"), next_one=done)
        elif view.card_ready:
            self.pay.show("tap", words.say("offer.tap"), words.say("offer.tap_hint"), next_one=done)
        else:
            self.pay.show("clock", words.say("offer.reader_wait"), words.say("offer.reader_wait_hint"), next_one=False)
