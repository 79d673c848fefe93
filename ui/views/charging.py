"""The charge itself: energy, cost, time and power as four large figures, and STOP."""

from kivy.uix.gridlayout import GridLayout

from terminal_app.screens import Button, ChargePhase, Charging, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Action, Panel, Press, column, row
from ui.theme import Style
from ui.views.base import ViewBox
from ui.views.offer import unit_text
from ui.words import Words

LOOKS = {  # icon, fill, text colour
    ChargePhase.STARTING: ("clock", "tint", "on_tint"),
    ChargePhase.CHARGING: ("bolt", "tint", "on_tint"),
    ChargePhase.CAR_PAUSED: ("pause", "warning", "on_warning"),
    ChargePhase.METER_LOST: ("warning", "warning", "on_warning"),
    ChargePhase.STOPPING: ("clock", "tint", "on_tint"),
}


class Metric(Panel):
    """A caption and a large figure with its unit."""

    def __init__(self, style: Style, figures: FitGroup, captions: FitGroup) -> None:
        super().__init__(style, orientation="vertical", gap=0, pad=(18, 12))
        self.caption = FitLabel(style, 20, role="muted", group=captions, size_hint_y=0.34)
        line = row(style, gap=8, size_hint_y=0.66)
        self.figure = FitLabel(style, 56, bold=True, group=figures)
        self.unit = FitLabel(style, 24, role="muted", valign="middle", size_hint_x=None, width=style.px(56))
        self._line = line
        line.add_widget(self.figure)
        self.add_widget(self.caption)
        self.add_widget(line)

    def show(self, caption: str, figure: str, unit: str = "") -> None:
        self.caption.text, self.figure.text, self.unit.text = caption, figure, unit
        if unit and self.unit.parent is None:
            self._line.add_widget(self.unit)


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
        self.status = Panel(style, gap=10, pad=(14, 8), size_hint_y=0.26)
        self.icon = Icon(style, "bolt", "on_tint", size_hint_x=None, width=style.px(34))
        self.phase = FitLabel(style, 24, bold=True, wrap=True)
        self.status.add_widget(self.icon)
        self.status.add_widget(self.phase)
        terms = Panel(style, orientation="vertical", gap=2, pad=(16, 8), size_hint_y=0.46)
        small = FitGroup()
        self.where = FitLabel(style, 18, bold=True, group=small)
        self.price = FitLabel(style, 18, group=small)
        self.card = FitLabel(style, 18, group=small)
        self.hold = FitLabel(style, 18, group=small)
        self.release = FitLabel(style, 15, role="muted", wrap=True, size_hint_y=1.6)
        for label in (self.where, self.price, self.card, self.hold, self.release):
            terms.add_widget(label)
        self.stop = Action(style, press, Button.STOP, kind="danger", icon="stop", size=34, size_hint_y=None, height=style.px(96))
        for part in (self.status, terms, self.stop):
            side.add_widget(part)
        self.add_widget(grid)
        self.add_widget(side)

    def show(self, view: Charging, screen: Screen, words: Words) -> None:
        self.energy.show(words.say("charging.energy"), words.kwh(view.energy_wh), "kWh")
        self.cost.show(words.say("charging.cost"), words.money(view.cost_minor, screen.currency))
        self.time.show(words.say("charging.time"), words.duration(view.seconds))
        self.power.show(words.say("charging.power"), words.kw(view.power_w), "kW")
        self.icon.drawing, self.status.fill, self.phase.role = LOOKS[view.phase]
        self.icon.role = self.phase.role
        self.phase.text = words.of(view.phase)
        self.where.text = words.connector(view.label)
        first = view.prices[0] if view.prices else None
        self.price.text = f"{words.unit_price(first.price, screen.currency)} {unit_text(first, words)}" if first else ""
        self.card.text = view.card
        held = view.hold_minor > 0
        self.hold.text = words.say("charging.hold", amount=words.money(view.hold_minor, screen.currency)) if held else ""
        self.release.text = words.say("charging.release") if held else ""
        self.stop.label.text = words.say("button.stop")
