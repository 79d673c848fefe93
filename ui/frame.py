"""The whole picture: bar on top (station, DEMO, clock), the view, bar below (languages, helpline). All views are built at once."""

from kivy.input.motionevent import MotionEvent
from kivy.uix.boxlayout import BoxLayout

from terminal_app.screens import Button, Screen
from ui.icons import Icon
from ui.labels import FitLabel
from ui.panels import Panel, Press, Pressable, row
from ui.theme import Style
from ui.views import VIEW_CLASSES
from ui.views.base import ViewBox, set_present
from ui.words import Words, languages, native_name, words_in

MOST_LANGUAGES = 6


class TopBar(BoxLayout):
    """Station name, DEMO ribbon, clock. In portrait the ribbon is a strip of its own."""

    def __init__(self, style: Style) -> None:
        super().__init__(orientation="vertical", size_hint_y=None)
        self.style = style
        bar = Panel(style, fill="bar", radius=0, gap=12, pad=(18, 0), size_hint_y=None, height=style.px(48))
        self.station = FitLabel(style, 20, role="on_bar", bold=True, wrap=True)
        self.clock = FitLabel(style, 24, role="on_bar", bold=True, align="right", size_hint_x=0.3 if style.portrait else 1)
        bar.add_widget(self.station)
        self.ribbon = Panel(style, fill="warning", radius=0 if style.portrait else 8, pad=(14, 2))
        self.demo = FitLabel(style, 20, role="on_warning", bold=True, align="center")
        self.ribbon.add_widget(self.demo)
        if style.portrait:
            self.ribbon.size_hint_y, self.ribbon.height = None, style.px(30)
        else:
            self.ribbon.size_hint = (None, None)
            self.ribbon.width = style.px(280)
            self.ribbon.height = style.px(34)
            self.ribbon.pos_hint = {"center_y": 0.5}
        bar.add_widget(self.clock)
        self.add_widget(bar)
        self.bar = bar
        self._set_height()

    def _set_height(self) -> None:
        self.height = self.style.px(48) + (self.ribbon.height if self.style.portrait and self.ribbon.parent else 0)

    def show(self, screen: Screen, words: Words) -> None:
        self.station.text = screen.station
        self.clock.text = words.clock(screen.utc_ms, screen.time_zone)
        self.demo.text = words.say("frame.demo") if screen.demo else ""
        set_present(self if self.style.portrait else self.bar, self.ribbon, screen.demo, index=0 if self.style.portrait else 1)
        self._set_height()


class BottomBar(Panel):
    """The language switch, each language in its own words, on every screen; the helpline."""

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, fill="bar", radius=0, gap=10, pad=(16, 6), size_hint_y=None, height=style.px(64))
        self.press = press
        self.switch = row(style, gap=8, size_hint_x=None)
        self.buttons: list[tuple[Pressable, FitLabel]] = []
        for _ in range(MOST_LANGUAGES):
            button = Pressable(style, press, Button.LANGUAGE, "-", fill="bar", radius=10, pad=(8, 4))
            label = FitLabel(style, 20, role="on_bar", bold=True, align="center")
            button.add_widget(label)
            self.buttons.append((button, label))
        self.help = FitLabel(style, 22, role="on_bar", bold=True, align="right")
        self.icon = Icon(style, "phone", "on_bar", size_hint_x=None, width=style.px(26))
        for part in (self.switch, self.help, self.icon):
            self.add_widget(part)

    def show(self, screen: Screen, words: Words) -> None:
        offered = [language for language in screen.languages if language in languages()][:MOST_LANGUAGES]
        if len(self.switch.children) != len(offered):
            self.switch.clear_widgets()
            for button, _ in self.buttons[: len(offered)]:
                self.switch.add_widget(button)
            each = self.style.px(112 if len(offered) <= 3 else 60)
            self.switch.width = each * len(offered) + self.style.px(8) * max(0, len(offered) - 1)
        for (button, label), language in zip(self.buttons, offered, strict=False):
            button.value = language
            label.text = native_name(language) if len(offered) <= 3 else language.upper()
            chosen = language == words.language
            button.fill, label.role = ("quiet", "on_quiet") if chosen else ("bar", "on_bar_muted")
        self.help.text = words.say("frame.help", number=screen.helpline) if screen.helpline else ""
        set_present(self, self.icon, bool(screen.helpline))


class Frame(BoxLayout):
    """Shows a `Screen`. `press(button, value)` is called for every accepted touch; `ready` says whether touches count now."""

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(orientation="vertical", size=(style.width, style.height), size_hint=(None, None))
        self.style = style
        self.touchable = True
        self.top_bar = TopBar(style)
        self.body = BoxLayout()
        self.bottom_bar = BottomBar(style, press)
        for part in (self.top_bar, self.body, self.bottom_bar):
            self.add_widget(part)
        self.views: dict[type, ViewBox] = {shown: made(style, press) for shown, made in VIEW_CLASSES.items()}
        self.current: ViewBox | None = None

    def show(self, screen: Screen, words: Words | None = None) -> None:
        words = words or words_in(screen.language)
        self.top_bar.show(screen, words)
        self.bottom_bar.show(screen, words)
        view = self.views[type(screen.view)]
        view.show(screen.view, screen, words)
        if view is not self.current:
            if self.current is not None:
                self.body.remove_widget(self.current)
                self.current.left()
            self.body.add_widget(view)
            self.current = view
            view.entered()

    def on_touch_down(self, touch: MotionEvent) -> bool:
        return bool(super().on_touch_down(touch)) if self.touchable else True

    def rects(self) -> dict[str, list[int]]:
        """What can be touched now: name -> [x, y, width, height] in window pixels, origin top left."""
        found = {}
        for widget in self.walk():
            if isinstance(widget, Pressable):
                x, y = widget.to_window(widget.x, widget.y)
                found[widget.name] = [round(x), round(self.height - y - widget.height), round(widget.width), round(widget.height)]
        return found
