"""Simple drawn icons in a unit square, so that no picture file and no icon font is needed."""

import math
from collections.abc import Callable

from kivy.clock import Clock
from kivy.graphics import Color, SmoothEllipse, SmoothLine, SmoothQuad, SmoothRoundedRectangle, SmoothTriangle
from kivy.properties import StringProperty
from kivy.uix.widget import Widget

from ui.theme import Style


class Pen:
    """Draws in unit coordinates (0..1, y up) onto the current canvas of a square box."""

    def __init__(self, x: float, y: float, side: float) -> None:
        self.x, self.y, self.side = x, y, side

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + x * self.side, self.y + y * self.side

    def line(self, *points: tuple[float, float], width: float = 0.07, close: bool = False) -> None:
        """A line of the given full width with round ends."""
        flat = [c for point in points for c in self.at(*point)]
        SmoothLine(points=flat, width=max(1.0, width * self.side / 2), close=close)
        for point in points:
            self.disc(*point, width / 2)

    def arc(self, x: float, y: float, radius: float, begin: float, end: float, width: float = 0.07) -> None:
        """Degrees, counter-clockwise from three o'clock."""
        steps = 24
        angles = [math.radians(begin + (end - begin) * i / steps) for i in range(steps + 1)]
        points = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        flat = [c for point in points for c in self.at(*point)]
        SmoothLine(points=flat, width=max(1.0, width * self.side / 2))
        for point in (points[0], points[-1]):
            self.disc(*point, width / 2)

    def disc(self, x: float, y: float, radius: float) -> None:
        left, bottom = self.at(x - radius, y - radius)
        SmoothEllipse(pos=(left, bottom), size=(2 * radius * self.side, 2 * radius * self.side))

    def box(self, x: float, y: float, width: float, height: float, radius: float = 0.06) -> None:
        SmoothRoundedRectangle(
            pos=self.at(x, y), size=(width * self.side, height * self.side), radius=[max(1.0, radius * self.side)]
        )

    def triangle(self, *points: tuple[float, float]) -> None:
        SmoothTriangle(points=[c for point in points for c in self.at(*point)])

    def quad(self, *points: tuple[float, float]) -> None:
        SmoothQuad(points=[c for point in points for c in self.at(*point)])


def plug(pen: Pen) -> None:
    pen.line((0.38, 0.94), (0.38, 0.72), width=0.09)
    pen.line((0.62, 0.94), (0.62, 0.72), width=0.09)
    pen.box(0.22, 0.44, 0.56, 0.28, radius=0.05)
    pen.quad((0.22, 0.50), (0.36, 0.30), (0.64, 0.30), (0.78, 0.50))
    pen.line((0.5, 0.32), (0.5, 0.06), width=0.10)


def tap(pen: Pen) -> None:
    """A card and the contactless waves."""
    pen.box(0.04, 0.30, 0.52, 0.40, radius=0.07)
    for radius in (0.16, 0.30, 0.44):
        pen.arc(0.50, 0.50, radius, -42, 42, width=0.075)


def card(pen: Pen) -> None:
    """A card from behind: the magnetic stripe is the gap."""
    pen.box(0.08, 0.71, 0.84, 0.10, radius=0.05)
    pen.box(0.08, 0.19, 0.84, 0.38, radius=0.08)
    pen.box(0.08, 0.50, 0.84, 0.08, radius=0.01)


def ring(pen: Pen) -> None:
    """One of several that may be chosen."""
    pen.arc(0.5, 0.5, 0.36, 0, 360, width=0.10)


def check(pen: Pen) -> None:
    pen.line((0.16, 0.52), (0.40, 0.27), (0.84, 0.74), width=0.13)


def cross(pen: Pen) -> None:
    pen.line((0.24, 0.24), (0.76, 0.76), width=0.13)
    pen.line((0.24, 0.76), (0.76, 0.24), width=0.13)


def stop(pen: Pen) -> None:
    pen.box(0.1, 0.1, 0.8, 0.8, radius=0.08)


def bolt(pen: Pen) -> None:
    pen.triangle((0.60, 0.96), (0.20, 0.44), (0.54, 0.44))
    pen.triangle((0.40, 0.04), (0.80, 0.56), (0.46, 0.56))


def pause(pen: Pen) -> None:
    pen.box(0.24, 0.18, 0.18, 0.64)
    pen.box(0.58, 0.18, 0.18, 0.64)


def warning(pen: Pen) -> None:
    """An exclamation mark; stands on a disc drawn by the badge."""
    pen.line((0.5, 0.84), (0.5, 0.42), width=0.14)
    pen.disc(0.5, 0.18, 0.085)


def phone(pen: Pen) -> None:
    pen.arc(0.86, 0.86, 0.66, 180, 270, width=0.16)
    pen.line((0.22, 0.90), (0.34, 0.72), width=0.22)
    pen.line((0.90, 0.22), (0.72, 0.34), width=0.22)


def qr(pen: Pen) -> None:
    """Three finder patterns and some modules."""
    for x, y in ((0.1, 0.58), (0.58, 0.58), (0.1, 0.1)):
        pen.line((x, y), (x + 0.32, y), (x + 0.32, y + 0.32), (x, y + 0.32), (x, y), width=0.07)
        pen.box(x + 0.1, y + 0.1, 0.12, 0.12, radius=0.01)
    for x, y in ((0.56, 0.3), (0.72, 0.14), (0.84, 0.3), (0.56, 0.06), (0.84, 0.02)):
        pen.box(x, y, 0.1, 0.1, radius=0.01)


def clock(pen: Pen) -> None:
    pen.arc(0.5, 0.5, 0.40, 0, 360, width=0.09)
    pen.line((0.5, 0.74), (0.5, 0.5), (0.68, 0.40), width=0.09)


def wrench(pen: Pen) -> None:
    pen.line((0.22, 0.22), (0.62, 0.62), width=0.17)
    pen.arc(0.70, 0.70, 0.18, 100, 350, width=0.13)


def arrow_left(pen: Pen) -> None:
    pen.line((0.52, 0.80), (0.20, 0.50), (0.52, 0.20), width=0.11)
    pen.line((0.22, 0.50), (0.84, 0.50), width=0.11)


DRAWINGS: dict[str, Callable[[Pen], None]] = {
    drawing.__name__: drawing
    for drawing in (plug, tap, card, ring, check, cross, stop, bolt, pause, warning, phone, qr, clock, wrench, arrow_left)
}


class Icon(Widget):
    """A drawing in a colour role; with `disc_role` it stands on a filled disc (a badge)."""

    drawing = StringProperty("")
    role = StringProperty("text")
    disc_role = StringProperty("")

    def __init__(self, style: Style, drawing: str, role: str = "text", disc_role: str = "", **layout: object) -> None:
        self.style = style
        self._again = Clock.create_trigger(self._draw, -1)
        super().__init__(**layout)
        self.drawing, self.role, self.disc_role = drawing, role, disc_role
        self.bind(pos=self._again, size=self._again, drawing=self._again, role=self._again, disc_role=self._again)

    def _draw(self, *_: object) -> None:
        self.canvas.clear()
        side = int(min(self.width, self.height))
        if side <= 0 or not self.drawing:
            return
        x, y = round(self.center_x - side / 2), round(self.center_y - side / 2)
        with self.canvas:
            if self.disc_role:
                Color(*self.style.rgba(self.disc_role))
                Pen(x, y, side).disc(0.5, 0.5, 0.5)
                x, y, side = x + side * 0.2, y + side * 0.2, side * 0.6
            Color(*self.style.rgba(self.role))
            DRAWINGS[self.drawing](Pen(x, y, side))
