"""Text that always fits: `FitLabel` takes the largest font size of a bounded ladder at which its text fits its box."""

import re
from functools import lru_cache

from kivy.clock import Clock
from kivy.core.text import Label as CoreLabel
from kivy.properties import BooleanProperty, ColorProperty, NumericProperty, StringProperty
from kivy.uix.label import Label

from ui.theme import Style

DIGIT = re.compile(r"\d")


@lru_cache(maxsize=4096)
def largest_that_fits(text: str, bold: bool, width: int, height: int, wrap: bool, steps: tuple[int, ...]) -> tuple[int, bool]:
    """(font size, overflow): the largest of the ascending `steps` that fits; the smallest, and True, if none does."""
    low, high = 0, len(steps) - 1
    if not _fits(text, bold, width, height, wrap, steps[low]):
        return steps[low], True
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(text, bold, width, height, wrap, steps[middle]):
            low = middle
        else:
            high = middle - 1
    return steps[low], False


def _fits(text: str, bold: bool, width: int, height: int, wrap: bool, size: int) -> bool:
    core = CoreLabel(text=text, font_size=size, bold=bold, text_size=(width if wrap else None, None))
    got_width, got_height = core.render()
    if got_height > height:
        return False
    if not wrap:
        return bool(got_width <= width)
    return all(core.get_extents(word)[0] <= width for word in re.split(r"[ \n]", text))


class FitGroup:
    """Labels that share one font size: the smallest that any of them needs."""

    def __init__(self) -> None:
        self._labels: list[FitLabel] = []

    def add(self, label: "FitLabel") -> None:
        self._labels.append(label)

    def settle(self) -> None:
        shown = [label for label in self._labels if label.text and label.best]
        if shown:
            size = min(label.best for label in shown)
            for label in shown:
                label.font_size = size


class FitLabel(Label):
    """A label in its box. `role` is the colour role; digits measure alike, so that running figures do not jump in size."""

    overflow = BooleanProperty(False)
    text_width = NumericProperty(0)  # px of a one-line text at its final size
    role = StringProperty("text")
    color = ColorProperty((0, 0, 0, 1))

    def __init__(
        self,
        style: Style,
        largest: float,
        *,
        role: str = "text",
        bold: bool = False,
        wrap: bool = False,
        align: str = "left",
        valign: str = "middle",
        group: FitGroup | None = None,
        **layout: object,
    ) -> None:
        self.style, self.wrap, self.group, self.best = style, wrap, group, 0
        self.steps = style.font_steps(largest)
        self._again = Clock.create_trigger(self._fit, -1)
        super().__init__(bold=bold, halign=align, valign=valign, font_size=self.steps[-1], color=style.rgba(role), **layout)
        self.role = role
        if group is not None:
            group.add(self)
        self.bind(size=self._again, text=self._again)
        if not wrap:
            self.bind(text=self._measure, font_size=self._measure)
        self.bind(role=lambda _, new: setattr(self, "color", style.rgba(new)))

    def _fit(self, *_: object) -> None:
        width, height = int(self.width), int(self.height)
        self.text_size = (width, height)
        if not self.text or width <= 0 or height <= 0:
            self.best, self.overflow = 0, bool(self.text)
            return
        measured = DIGIT.sub("8", self.text)
        self.best, self.overflow = largest_that_fits(measured, bool(self.bold), width, height, self.wrap, self.steps)
        if self.group is None:
            self.font_size = self.best
        else:
            self.group.settle()

    def _measure(self, *_: object) -> None:
        core = CoreLabel(text=self.text, font_size=self.font_size, bold=self.bold)
        self.text_width = core.render()[0] if self.text else 0
