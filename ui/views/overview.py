"""Several connectors: the driver touches his one."""

from kivy.uix.gridlayout import GridLayout

from terminal_app.screens import Button, ConnectorState, ConnectorTile, Overview, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Press, Pressable
from ui.theme import Style
from ui.views.base import ViewBox
from ui.words import Words

MOST_TILES = 8
LOOKS = {  # icon, icon colour, disc colour, fill, text colour: never colour alone
    ConnectorState.FREE: ("plug", "on_accent", "accent", "card", "text"),
    ConnectorState.PLUGGED: ("tap", "on_accent", "accent", "tint", "on_tint"),
    ConnectorState.BUSY: ("bolt", "on_quiet", "quiet", "card", "text"),
    ConnectorState.FINISHED: ("check", "on_quiet", "quiet", "card", "text"),
    ConnectorState.NOT_FOR_SALE: ("cross", "on_quiet", "quiet", "card", "text"),
}


class Tile(Pressable):
    """One connector."""

    def __init__(self, style: Style, press: Press, numbers: FitGroup, states: FitGroup) -> None:
        super().__init__(style, press, Button.SELECT, "0", orientation="vertical", gap=4, pad=(10, 12))
        self.icon = Icon(style, "plug", size_hint_y=0.36)
        self.number = FitLabel(style, 34, bold=True, align="center", group=numbers, size_hint_y=0.26)
        self.state = FitLabel(style, 22, wrap=True, align="center", group=states, valign="top", size_hint_y=0.38)
        for part in (self.icon, self.number, self.state):
            self.add_widget(part)

    def show(self, tile: ConnectorTile, words: Words, *, small: bool) -> None:
        shares = (0.35, 0.25, 0.40) if small else (0.5, 0.22, 0.28)
        self.icon.size_hint_y, self.number.size_hint_y, self.state.size_hint_y = shares
        self.value = str(tile.connector)
        self.number.text = words.connector(tile.label)
        self.state.text = words.of(tile.state)
        self.icon.drawing, self.icon.role, self.icon.disc_role, self.fill, self.number.role = LOOKS[tile.state]
        self.state.role = self.number.role


class OverviewBox(ViewBox):
    shows = Overview

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press)
        self.title = FitLabel(style, 28, bold=True, size_hint_y=None, height=style.px(40))
        self.grid = GridLayout(cols=2, spacing=style.px(12))
        numbers, states = FitGroup(), FitGroup()
        self.tiles = [Tile(style, press, numbers, states) for _ in range(MOST_TILES)]
        self.add_widget(self.title)
        self.add_widget(self.grid)

    def show(self, view: Overview, screen: Screen, words: Words) -> None:
        self.title.text = words.say("overview.title")
        shown = view.tiles[:MOST_TILES]
        if len(self.grid.children) != len(shown):
            self.grid.clear_widgets()
            wide = len(shown) if len(shown) <= 4 else 4
            self.grid.cols = (1 if len(shown) <= 2 else 2) if self.style.portrait else wide
            for tile in self.tiles[: len(shown)]:
                self.grid.add_widget(tile)
        for box, tile in zip(self.tiles, shown, strict=False):
            box.show(tile, words, small=len(shown) > 4)
