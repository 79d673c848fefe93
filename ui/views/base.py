"""What every view is: built once for a style, then shown again and again with new figures."""

from typing import Any, ClassVar

from kivy.uix.boxlayout import BoxLayout
from kivy.uix.widget import Widget

from terminal_app.screens import Button, Screen
from ui.icons import Icon
from ui.labels import FitLabel
from ui.panels import Action, Panel, Press, column, padding, row
from ui.theme import Style
from ui.words import Words

PAGE = (16, 14)  # space around a view


class ViewBox(BoxLayout):
    """Base of all views. `shows` is the type of `screens.VIEWS` it draws."""

    shows: ClassVar[type]

    def __init__(self, style: Style, press: Press, *, orientation: str = "vertical") -> None:
        self.style, self.press = style, press
        super().__init__(orientation=orientation, spacing=style.px(12), padding=padding(style, PAGE))

    def show(self, view: Any, screen: Screen, words: Words) -> None:
        """Put the figures and words of this screen into the widgets. Cheap if nothing changed."""
        raise NotImplementedError

    def entered(self) -> None:
        """The view came on the glass."""

    def left(self) -> None:
        """The view went off the glass: stop what moves."""


class Notice(ViewBox):
    """One message: a badge, what happened, what to do next, and at most one button. Base of the short views."""

    def __init__(self, style: Style, press: Press, icon: str, *, role: str = "on_tint", disc: str = "tint") -> None:
        super().__init__(style, press)
        across = not style.portrait
        self.panel = Panel(style, orientation="horizontal" if across else "vertical", gap=26, pad=(30, 24))
        self.badge = Icon(style, icon, role, disc)
        self.side = column(style, size_hint=(0.26, 1) if across else (1, 0.3))
        self.side.add_widget(self.badge)
        self.texts = column(style, gap=10)
        align = "left" if across else "center"
        self.title = FitLabel(style, 38, bold=True, wrap=True, align=align, valign="bottom", size_hint_y=0.42)
        self.text = FitLabel(style, 24, wrap=True, align=align, valign="top", size_hint_y=0.58)
        self.texts.add_widget(self.title)
        self.texts.add_widget(self.text)
        self.panel.add_widget(self.side)
        self.panel.add_widget(self.texts)
        self.add_widget(self.panel)

    def add_button(self, button: Button, *, kind: str, icon: str = "", share: float = 0.46, beside: Widget | None = None) -> Action:
        """A button row at the bottom; `beside` stands left of the button."""
        bar = row(self.style, gap=14, size_hint_y=None, height=self.style.px(68))
        action = Action(self.style, self.press, button, kind=kind, icon=icon)
        if self.style.portrait:
            share = max(share, 0.6)
        if beside is not None:
            beside.size_hint_x = 1 - share
            bar.add_widget(beside)
        else:
            bar.add_widget(BoxLayout(size_hint_x=1 - share))
        action.size_hint_x = share
        bar.add_widget(action)
        self.add_widget(bar)
        return action


def set_present(parent: BoxLayout, child: Any, present: bool, index: int = 0) -> None:
    """Add or remove a prebuilt child; nothing happens if it is already so."""
    if present and child.parent is None:
        parent.add_widget(child, index=index)
    elif not present and child.parent is not None:
        child.parent.remove_widget(child)


def set_home(child: Widget, home: BoxLayout | None, index: int = 0) -> None:
    """Move a prebuilt child to where it belongs now, None for nowhere; nothing happens if it is already there."""
    if child.parent is home:
        return
    if child.parent is not None:
        child.parent.remove_widget(child)
    if home is not None:
        home.add_widget(child, index=index)
