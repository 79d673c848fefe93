"""The charge itself: energy, cost, time and power as four large figures, and STOP."""

from kivy.uix.gridlayout import GridLayout

from terminal_app.screens import Button, ChargePhase, Charging, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Action, Panel, Press, column
from ui.theme import Style
from ui.views.base import ViewBox, set_present
from ui.views.prices import unit_text
from ui.words import Words

LOOKS = {  # icon, fill, text colour
    ChargePhase.STARTING: ("clock", "tint", "on_tint"),
    ChargePhase.CHARGING: ("bolt", "tint", "on_tint"),
    ChargePhase.CAR_PAUSED: ("pause", "warning", "on_warning"),
    ChargePhase.WITHHELD: ("pause", "warning", "on_warning"),
    ChargePhase.METER_LOST: ("warning", "warning", "on_warning"),
    ChargePhase.METER_AWAITED: ("warning", "warning", "on_warning"),
    ChargePhase.STOPPING: ("clock", "tint", "on_tint"),
}


class Metric(Panel):
    """A caption with the unit, and a large figure."""

    def __init__(self, style: Style, figures: FitGroup, captions: FitGroup) -> None:
        super().__init__(style, orientation="vertical", pad=(18, 14))
        self.caption = FitLabel(style, 22, role="muted", group=captions, valign="top", size_hint_y=0.3)
        self.figure = FitLabel(style, 62, bold=True, group=figures, size_hint_y=0.7)
        self.add_widget(self.caption)
        self.add_widget(self.figure)

    def show(self, caption: str, figure: str) -> None:
        self.caption.text, self.figure.text = caption, figure


class ChargingBox(ViewBox):
    shows = Charging

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, orientation="vertical" if style.portrait else "horizontal")
        figures, captions = FitGroup(), FitGroup()
        grid = GridLayout(cols=2, spacing=style.px(12), size_hint=(1, 0.48) if style.portrait else (0.64, 1))
        self.energy, self.cost, self.time, self.power = (Metric(style, figures, captions) for _ in range(4))
        for metric in (self.energy, self.cost, self.time, self.power):
            grid.add_widget(metric)
        side = column(style, gap=12, size_hint=(1, 0.52) if style.portrait else (0.36, 1))
        self.status = Panel(style, gap=12, pad=(14, 8), size_hint_y=0.38)
        self.icon = Icon(style, "bolt", "on_tint", size_hint_x=None, width=style.px(34))
        told = column(style)
        self.phase = FitLabel(style, 24, bold=True, wrap=True, valign="bottom", size_hint_y=0.62)
        self.where = FitLabel(style, 18, valign="top", size_hint_y=0.38)
        told.add_widget(self.phase)
        told.add_widget(self.where)
        self.status.add_widget(self.icon)
        self.status.add_widget(told)
        terms = Panel(style, orientation="vertical", gap=2, pad=(16, 10), size_hint_y=0.62)
        small = FitGroup()
        self.price = FitLabel(style, 18, group=small)
        self.card = FitLabel(style, 18, group=small)
        self.hold = FitLabel(style, 18, bold=True, group=small)
        self.release = FitLabel(style, 16, role="muted", wrap=True, size_hint_y=1.5)
        self.lines = (self.price, self.card, self.hold, self.release)
        self.terms = terms
        self.stop = Action(style, press, Button.STOP, kind="danger", icon="stop", size=34, size_hint_y=None, height=style.px(96))
        for part in (self.status, terms, self.stop):
            side.add_widget(part)
        self.side = side
        self.add_widget(grid)
        self.add_widget(side)

    def show(self, view: Charging, screen: Screen, words: Words) -> None:
        self.energy.show(words.say("charging.energy"), words.kwh(view.energy_wh))
        self.cost.show(words.say("charging.cost"), words.money(view.cost_minor, screen.currency))
        self.time.show(words.say("charging.time"), words.duration(view.seconds))
        self.power.show(words.say("charging.power"), words.kw(view.power_w))
        self.icon.drawing, self.status.fill, self.phase.role = LOOKS[view.phase]
        self.icon.role = self.where.role = self.phase.role
        self.phase.text = words.of(view.phase)
        self.where.text = words.connector(view.label)
        first = view.prices[0] if view.prices else None
        plain = first is not None and not first.note  # which conditional price applies now is not the UI's to say
        self.price.text = f"{words.unit_price(first.price, screen.currency)} {unit_text(first, words)}" if plain else ""
        self.card.text = view.card
        held = view.hold_minor > 0
        text = "charging.owed" if view.owed else "charging.hold"
        self.hold.text = words.say(text, amount=words.money(view.hold_minor, screen.currency)) if held else ""
        self.release.text = words.say("charging.release") if held else ""
        shown = [label for label in self.lines if label.text]
        if self.terms.children[::-1] != shown:
            self.terms.clear_widgets()
            for label in shown:
                self.terms.add_widget(label)
        self.stop.label.text = words.say("button.stop")
        set_present(
            self.side, self.stop, view.phase not in (ChargePhase.STOPPING, ChargePhase.METER_AWAITED)
        )  # it is pressed already
