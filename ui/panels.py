"""Boxes: filled cards, buttons that know on which screen they were pressed, a QR code, a spinner, a progress bar."""

from collections.abc import Callable

import segno
from kivy.clock import Clock, ClockEvent
from kivy.graphics import Color, PopMatrix, PushMatrix, Rectangle, Rotate, SmoothLine, SmoothRoundedRectangle
from kivy.graphics.texture import Texture
from kivy.input.motionevent import MotionEvent
from kivy.properties import NumericProperty, StringProperty
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.widget import Widget

from terminal_app.screens import Button
from ui.icons import Icon
from ui.labels import FitLabel
from ui.theme import Style

LEAST_MODULE = 2  # px at 480 px height of one module: on 7 inches 0.38 mm, which phones read from a hand's breadth
QUIET_MODULES = 4  # ISO/IEC 18004: blank border around a QR code
SPIN_S = 0.1  # each step of the spinner redraws the whole screen
SLIP = 24  # px at 480 px height a finger may slip off a button between press and release
Press = Callable[[Button, str], None]


def column(style: Style, gap: float = 0, pad: float | tuple[float, float] = 0, **layout: object) -> BoxLayout:
    return _line("vertical", style, gap, pad, layout)


def row(style: Style, gap: float = 0, pad: float | tuple[float, float] = 0, **layout: object) -> BoxLayout:
    return _line("horizontal", style, gap, pad, layout)


def _line(orientation: str, style: Style, gap: float, pad: float | tuple[float, float], layout: dict[str, object]) -> BoxLayout:
    return BoxLayout(orientation=orientation, spacing=style.px(gap) if gap else 0, padding=padding(style, pad), **layout)


def padding(style: Style, pad: float | tuple[float, float]) -> list[int]:
    across, up = pad if isinstance(pad, tuple) else (pad, pad)
    return [style.px(across) if across else 0, style.px(up) if up else 0] * 2


class Panel(BoxLayout):
    """A filled, rounded box. `fill` is a colour role, "" for none."""

    fill = StringProperty("card")

    def __init__(
        self,
        style: Style,
        *,
        fill: str = "card",
        radius: float = 14,
        gap: float = 0,
        pad: float | tuple[float, float] = 0,
        **layout: object,
    ) -> None:
        self.style, self._radius = style, style.px(radius) if radius else 0
        super().__init__(spacing=style.px(gap) if gap else 0, padding=padding(style, pad), **layout)
        with self.canvas.before:
            self._border_color = Color(0, 0, 0, 0)
            self._border = SmoothRoundedRectangle(radius=[max(self._radius, 1)])
            self._color = Color(0, 0, 0, 0)
            self._shape = SmoothRoundedRectangle(radius=[max(self._radius, 1)])
        self.bind(pos=self._place, size=self._place, fill=self._paint)
        self.fill = fill
        self._paint()

    def _place(self, *_: object) -> None:
        edge = self.style.px(2) if self.style.theme.name == "contrast" and self._radius else 0
        self._border.pos, self._border.size = self.pos, self.size
        self._shape.pos = (self.x + edge, self.y + edge)
        self._shape.size = (max(0, self.width - 2 * edge), max(0, self.height - 2 * edge))

    def _paint(self, *_: object) -> None:
        self._color.rgba = self.style.rgba(self.fill) if self.fill else (0, 0, 0, 0)
        bordered = self.style.theme.name == "contrast" and self._radius and self.fill
        self._border_color.rgba = self.style.rgba("line") if bordered else (0, 0, 0, 0)


class Rule(Widget):
    """A thin horizontal line."""

    def __init__(self, style: Style) -> None:
        super().__init__(size_hint_y=None, height=style.px(1.5))
        with self.canvas:
            Color(*style.rgba("line"))
            shape = Rectangle()
        self.bind(pos=lambda _, pos: setattr(shape, "pos", pos), size=lambda _, size: setattr(shape, "size", size))


class Pressable(Panel):
    """A touch target. It remembers nothing but whether a finger is on it; `press` says on which screen it was made."""

    def __init__(self, style: Style, press: Press, button: Button, value: str = "", **panel: object) -> None:
        self.press, self.button, self.value = press, button, value
        super().__init__(style, **panel)
        with self.canvas.after:
            self._shade = Color(0, 0, 0, 0)
            self._cover = SmoothRoundedRectangle(radius=[max(self._radius, 1)])
        self.bind(pos=self._cover_up, size=self._cover_up)

    @property
    def name(self) -> str:
        return f"{self.button.value}:{self.value}" if self.value else self.button.value

    def _cover_up(self, *_: object) -> None:
        self._cover.pos, self._cover.size = self.pos, self.size

    def on_touch_down(self, touch: MotionEvent) -> bool:
        if not self.collide_point(*touch.pos) or getattr(touch, "is_mouse_scrolling", False):
            return False
        touch.grab(self)
        self._shade.rgba = (0, 0, 0, 0.18)
        return True

    def on_touch_up(self, touch: MotionEvent) -> bool:
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self._shade.rgba = (0, 0, 0, 0)
        slip = self.style.px(SLIP)
        on_it = self.x - slip <= touch.x <= self.right + slip and self.y - slip <= touch.y <= self.top + slip
        if on_it and self.get_root_window() is not None:
            self.press(self.button, self.value)
        return True


class Action(Pressable):
    """A button with a word and, if wanted, an icon left of it. `kind`: accent (the next step), danger, quiet."""

    def __init__(
        self,
        style: Style,
        press: Press,
        button: Button,
        *,
        kind: str = "accent",
        icon: str = "",
        size: float = 26,
        **layout: object,
    ) -> None:
        super().__init__(style, press, button, fill=kind, radius=12, pad=(14, 6), **layout)
        self.label = FitLabel(style, size, role=f"on_{kind}", bold=True, align="center")
        self.add_widget(self.label)
        if icon:
            side, gap = style.px(size * 0.95), style.px(size * 0.4)
            self.padding = [self.padding[0] + side + gap, self.padding[1], self.padding[2], self.padding[3]]
            self.icon = Icon(style, icon, f"on_{kind}", size_hint=(None, None), size=(side, side))
            self.label.add_widget(self.icon)

            def follow(*_: object) -> None:
                self.icon.right = round(self.label.center_x - self.label.text_width / 2 - gap)
                self.icon.center_y = self.label.center_y

            self.label.bind(pos=follow, size=follow, text_width=follow)


class Qr(Widget):
    """A QR code, black on white in every theme, with its quiet zone and whole pixels per module."""

    content = StringProperty("")
    spare = StringProperty("")

    def __init__(self, style: Style, **layout: object) -> None:
        """`spare` is shown instead where the modules of `content` would be too small for a phone's camera."""
        self.style = style
        self.module_px = 0
        self.shown, self._edge = "", 0
        self._texture: Texture | None = None
        self._again = Clock.create_trigger(self._draw, -1)
        super().__init__(**layout)
        self.bind(pos=self._again, size=self._again, content=self._make, spare=self._make)

    def _make(self, *_: object) -> None:
        self.shown = self.content
        self._paint()
        self._edge = self._texture.width if self._texture is not None else 0
        self._again()

    def _paint(self) -> None:
        self._texture = None
        if self.shown:
            # the fewest modules (so the largest on the glass), and of that size the best error correction
            matrix = segno.make(self.shown, error="l", boost_error=True, micro=False).matrix
            edge = len(matrix) + 2 * QUIET_MODULES
            pixels = bytearray(b"\xff" * edge * edge)
            for y, line in enumerate(matrix):
                for x, dark in enumerate(line):
                    if dark:
                        pixels[(edge - 1 - y - QUIET_MODULES) * edge + x + QUIET_MODULES] = 0
            self._texture = Texture.create(size=(edge, edge), colorfmt="luminance")
            self._texture.mag_filter = self._texture.min_filter = "nearest"
            self._texture.blit_buffer(bytes(pixels), colorfmt="luminance", bufferfmt="ubyte")

    def _draw(self, *_: object) -> None:
        self.canvas.clear()
        self.module_px = 0
        if self._texture is None:
            return
        room = int(min(self.width, self.height))
        small = self.spare and room // self._edge < self.style.px(LEAST_MODULE)
        if self.shown != (wanted := self.spare if small else self.content):  # room comes and goes with what stands beside it
            self.shown = wanted
            self._paint()
        edge = self._texture.width
        self.module_px = room // edge
        side = edge * self.module_px
        with self.canvas:
            Color(1, 1, 1, 1)
            Rectangle(
                texture=self._texture,
                pos=(round(self.center_x - side / 2), round(self.center_y - side / 2)),
                size=(side, side),
            )


class Spinner(Widget):
    """Turns only between `start` and `stop`: an animation that is always on heats the charger's computer."""

    angle = NumericProperty(0)

    def __init__(self, style: Style, **layout: object) -> None:
        self.style = style
        self._ticking: ClockEvent | None = None
        super().__init__(**layout)
        with self.canvas:
            PushMatrix()
            self._rotate = Rotate(angle=0)
            Color(*style.rgba("quiet"))
            self._ring = SmoothLine(width=style.px(5))
            Color(*style.rgba("accent"))
            self._arc = SmoothLine(width=style.px(5))
            PopMatrix()
        self.bind(pos=self._place, size=self._place, angle=lambda _, angle: setattr(self._rotate, "angle", angle))

    def _place(self, *_: object) -> None:
        radius = min(self.width, self.height) / 2 - self.style.px(8)
        if radius > 0:
            self._rotate.origin = self.center
            self._ring.circle = (self.center_x, self.center_y, radius)
            self._arc.circle = (self.center_x, self.center_y, radius, 0, 90)

    @property
    def turning(self) -> bool:
        return self._ticking is not None

    def start(self) -> None:
        self.stop()
        self._ticking = Clock.schedule_interval(self._turn, SPIN_S)

    def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def _turn(self, _: float) -> None:
        self.angle = (self.angle - 30) % 360


class Progress(Widget):
    """A bar, `part` of 0..1 filled."""

    part = NumericProperty(0)

    def __init__(self, style: Style, **layout: object) -> None:
        super().__init__(**layout)
        with self.canvas:
            Color(*style.rgba("quiet"))
            self._track = SmoothRoundedRectangle(radius=[style.px(4)])
            Color(*style.rgba("accent"))
            self._fill = SmoothRoundedRectangle(radius=[style.px(4)])
        self.bind(pos=self._place, size=self._place, part=self._place)

    def _place(self, *_: object) -> None:
        self._track.pos, self._track.size = self.pos, self.size
        self._fill.pos = self.pos
        self._fill.size = (max(self.height, self.width * min(1, max(0, self.part))), self.height)
