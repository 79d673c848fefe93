"""Colours and sizes. A `Theme` is a set of colour roles; a `Style` is a theme on a screen of a certain size."""

from dataclasses import dataclass

Rgba = tuple[float, float, float, float]
MIN_FONT = 14  # px at 480 px height
MIN_TARGET = 48  # px at 480 px height; buttons aim at 56 and more
FONT_STEPS = (14, 15, 16, 17, 18, 20, 22, 24, 26, 28, 31, 34, 38, 42, 46, 51, 56, 62, 68, 75, 82, 90)  # bounded: kivy#5660


@dataclass(frozen=True)
class Theme:
    """Roles as "#rrggbb". X and on_X belong together: text on a fill (contrast at least 4.5:1, tested)."""

    name: str
    ground: str
    text: str
    muted: str
    bar: str
    on_bar: str
    on_bar_muted: str
    card: str
    line: str
    accent: str
    on_accent: str
    tint: str
    on_tint: str
    quiet: str
    on_quiet: str
    danger: str
    on_danger: str
    warning: str
    on_warning: str

    def rgba(self, role: str) -> Rgba:
        value = getattr(self, role).lstrip("#")
        red, green, blue = (int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))
        return red, green, blue, 1.0


DAY = Theme(
    name="day",
    ground="#eef1f5",
    text="#101828",
    muted="#475467",
    bar="#0f1c2e",
    on_bar="#ffffff",
    on_bar_muted="#c3ccd8",
    card="#ffffff",
    line="#d5dbe3",
    accent="#087a55",
    on_accent="#ffffff",
    tint="#e0f4ec",
    on_tint="#05573c",
    quiet="#dde3ea",
    on_quiet="#101828",
    danger="#c4261d",
    on_danger="#ffffff",
    warning="#ffc53d",
    on_warning="#2b1d00",
)
NIGHT = Theme(
    name="night",
    ground="#0b1016",
    text="#f2f5f8",
    muted="#aab5c2",
    bar="#05080c",
    on_bar="#ffffff",
    on_bar_muted="#b7c1cd",
    card="#17202b",
    line="#334150",
    accent="#3ddc9b",
    on_accent="#04231a",
    tint="#12372c",
    on_tint="#9df0cd",
    quiet="#2a3744",
    on_quiet="#f2f5f8",
    danger="#ff6b60",
    on_danger="#2a0300",
    warning="#ffc53d",
    on_warning="#2b1d00",
)
CONTRAST = Theme(
    name="contrast",
    ground="#000000",
    text="#ffffff",
    muted="#ffffff",
    bar="#000000",
    on_bar="#ffffff",
    on_bar_muted="#ffffff",
    card="#000000",
    line="#ffffff",
    accent="#ffe100",
    on_accent="#000000",
    tint="#262600",
    on_tint="#ffe100",
    quiet="#ffffff",
    on_quiet="#000000",
    danger="#ffffff",
    on_danger="#000000",
    warning="#ffe100",
    on_warning="#000000",
)
THEMES = {theme.name: theme for theme in (DAY, NIGHT, CONTRAST)}


@dataclass(frozen=True)
class Style:
    """Theme and size. All lengths are written for 800x480 (or 480x800) and scaled by `px`."""

    theme: Theme
    width: int
    height: int

    @property
    def portrait(self) -> bool:
        return self.height > self.width

    @property
    def unit(self) -> float:
        across, up = (480, 800) if self.portrait else (800, 480)
        return min(self.width / across, self.height / up)

    def px(self, length: float) -> int:
        """Whole pixels, at least one."""
        return max(1, round(length * self.unit))

    def font_steps(self, largest: float) -> tuple[int, ...]:
        """Font sizes in px from `MIN_FONT` to `largest`, ascending."""
        return tuple(self.px(step) for step in FONT_STEPS if step <= max(largest, MIN_FONT))

    def rgba(self, role: str) -> Rgba:
        return self.theme.rgba(role)
