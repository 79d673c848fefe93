"""The price lines of an offer: each figure with its unit and conditions, the first one large if it applies always."""

from terminal_app.screens import Offer, PriceLine, Screen
from ui.labels import FitGroup, FitLabel
from ui.panels import Panel, column, row
from ui.theme import Style
from ui.views.base import set_present
from ui.words import Words

FEW = 4  # price lines that leave room for a headline
LONG, LONG_WIDE = 40, 50  # letters of a unit that probably needs two lines; on the wide side that many lines have


def unit_text(line: PriceLine, words: Words) -> str:
    note = f" ({words.note(line.note, line.note_args)})" if line.note else ""
    return words.of(line.kind) + note


class PriceRow(Panel):
    """One price component: the figure, then its unit and conditions."""

    def __init__(self, style: Style, figures: FitGroup, units: FitGroup) -> None:
        super().__init__(style, fill="", radius=0, gap=12)
        self.figure = FitLabel(style, 28, bold=True, group=figures, size_hint_x=0.24)
        self.unit = FitLabel(style, 20, role="muted", wrap=True, group=units, size_hint_x=0.76)
        self.add_widget(self.figure)
        self.add_widget(self.unit)

    def show(self, line: PriceLine, currency: str, words: Words, *, many: bool) -> None:
        self.figure.text = words.unit_price(line.price, currency)
        self.unit.text = unit_text(line, words)
        long = LONG_WIDE if many and not self.style.portrait else LONG
        self.size_hint_y = 1 if len(self.unit.text) <= long else 2 if many else 1.6


class PricePanel(Panel):
    """All price lines, in the order they were given: the law's."""

    def __init__(self, style: Style) -> None:
        super().__init__(style, orientation="vertical", gap=4, pad=(22, 14))
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
            self.add_widget(part)

    def _follow(self, *_: object) -> None:
        """The unit stands right behind the figure."""
        self.main_unit.x = round(self.main.x + self.main.text_width + self.style.px(14))

    def show(self, view: Offer, screen: Screen, words: Words) -> None:
        """A plain first price is the headline; a conditional one stands among its equals."""
        self.where.text = words.connector(view.label)
        show_vat = view.vat_percent and not view.free
        self.vat.text = words.say("offer.vat", percent=words.percent(view.vat_percent)) if show_vat else ""
        more = view.prices
        if view.free or not view.prices:
            self.main.text, self.main_unit.text = words.say("offer.free"), ""
            more = ()
        elif not view.prices[0].note and len(view.prices) <= FEW:
            self.main.text = words.unit_price(view.prices[0].price, screen.currency)
            self.main_unit.text = unit_text(view.prices[0], words)
            more = view.prices[1:]
        headline = len(more) < len(view.prices) or not view.prices
        set_present(self, self.first, headline, index=1)
        self.main_unit.size_hint_x = 0.4 if self.main_unit.text else 0.001
        set_present(self, self.rows, bool(more))
        while len(self.price_rows) < len(more):
            self.price_rows.append(PriceRow(self.style, self.figures, self.units))
        if len(self.rows.children) != len(more):
            self.rows.clear_widgets()
            for each in self.price_rows[: len(more)]:
                self.rows.add_widget(each)
            self.rows.size_hint_y = len(more)
        for each, line in zip(self.price_rows, more, strict=False):
            each.show(line, screen.currency, words, many=len(view.prices) > FEW)
