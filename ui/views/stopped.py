"""Nothing to buy here now: one connector not for sale, or the whole charger out of service."""

from terminal_app.screens import Button, NotForSale, NotForSaleReason, OutOfService, OutOfServiceReason, Screen
from ui.labels import FitLabel
from ui.panels import Press
from ui.theme import Style
from ui.views.base import Notice, set_present
from ui.words import Words

BADGES = {NotForSaleReason.CLOCK: "clock", NotForSaleReason.SERVICE: "wrench"}


class NotForSaleBox(Notice):
    shows = NotForSale

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "cross", role="on_warning", disc="warning")
        self.back = self.add_button(Button.BACK, kind="quiet", icon="arrow_left", share=0.4)
        self.bar = self.back.parent

    def show(self, view: NotForSale, screen: Screen, words: Words) -> None:
        self.badge.drawing = BADGES.get(view.reason, "cross")
        self.title.text = f"{words.connector(view.label)}: {words.say('not_for_sale.title')}"
        self.text.text = words.of(view.reason)
        self.back.label.text = words.say("button.back")
        set_present(self, self.bar, view.several)


class OutOfServiceBox(Notice):
    shows = OutOfService

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "wrench", role="on_warning", disc="warning")
        self.title.size_hint_y, self.text.size_hint_y = 0.36, 0.4
        align = "left" if not style.portrait else "center"
        self.help = FitLabel(style, 28, bold=True, align=align, valign="top", size_hint_y=0.24)
        self.texts.add_widget(self.help)

    def show(self, view: OutOfService, screen: Screen, words: Words) -> None:
        starting = view.reason is OutOfServiceReason.STARTING
        self.badge.drawing = "clock" if starting else "wrench"
        self.badge.role, self.badge.disc_role = ("on_tint", "tint") if starting else ("on_warning", "warning")
        self.title.text = words.say("out_of_service.title_starting" if starting else "out_of_service.title")
        self.text.text = words.of(view.reason)
        wanted = screen.helpline and not starting
        self.help.text = words.say("frame.help", number=screen.helpline) if wanted else ""
