"""Layout lint: what a driver could not read or hit. Returns findings as sentences; an empty list is a good screen."""

from collections.abc import Iterator

from kivy.uix.boxlayout import BoxLayout
from kivy.uix.widget import Widget

from ui.frame import Frame
from ui.labels import FitLabel
from ui.panels import Panel, Pressable
from ui.theme import MIN_FONT, MIN_TARGET, Theme

CONTRAST = 4.5  # WCAG 1.4.3


def findings(frame: Frame) -> list[str]:
    style = frame.style
    found = []
    for widget in frame.walk():
        if isinstance(widget, FitLabel) and widget.text:
            found += _of_label(widget, style.px(MIN_FONT), style.theme)
        if isinstance(widget, Pressable) and min(widget.size) < style.px(MIN_TARGET):
            found.append(f"button {widget.name} is only {widget.width:.0f}x{widget.height:.0f} px")
        if widget is not frame and isinstance(widget.parent, BoxLayout) and _sticks_out(widget):
            found.append(f"{_name(widget)} sticks out of its box")
        if widget.x < -1 or widget.y < -1 or widget.right > frame.width + 1 or widget.top > frame.height + 1:
            found.append(f"{_name(widget)} is off the screen")
    buttons = [widget for widget in frame.walk() if isinstance(widget, Pressable)]
    found += [f"{a.name} overlaps {b.name}" for i, a in enumerate(buttons) for b in buttons[i + 1 :] if _overlap(a, b)]
    return found


def _of_label(label: FitLabel, least: int, theme: Theme) -> Iterator[str]:
    if label.overflow:
        yield f"{label.text!r} does not fit {label.width:.0f}x{label.height:.0f} px"
    if label.font_size < least:
        yield f"{label.text!r} has {label.font_size} px letters"
    ground = backdrop(label, theme)
    if contrast(getattr(theme, label.role), ground) < CONTRAST:
        yield f"{label.text!r}: {label.role} on {ground} cannot be read"


def backdrop(widget: Widget, theme: Theme) -> str:
    """The colour behind a widget: its nearest filled panel."""
    parent = widget.parent
    while isinstance(parent, Widget):
        if isinstance(parent, Panel) and parent.fill:
            return str(getattr(theme, parent.fill))
        if parent.parent is parent:
            break
        parent = parent.parent
    return theme.ground


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two "#rrggbb" colours."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _sticks_out(widget: Widget) -> bool:
    box = widget.parent
    return bool(widget.x < box.x - 1 or widget.y < box.y - 1 or widget.right > box.right + 1 or widget.top > box.top + 1)


def _overlap(a: Widget, b: Widget) -> bool:
    return bool(a.x < b.right - 1 and b.x < a.right - 1 and a.y < b.top - 1 and b.y < a.top - 1)


def _name(widget: Widget) -> str:
    return f"{type(widget).__name__} {getattr(widget, 'text', '')!r}"
