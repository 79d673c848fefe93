"""From the tap to the plug: reading the card, waiting for the bank, refused, approved."""

from terminal_app.screens import BankWait, Button, DeclinedView, DeclineWords, PlugIn, ReadingCard, Screen
from ui.labels import FitLabel
from ui.panels import Press, Progress, Spinner
from ui.theme import Style
from ui.views.base import Notice
from ui.words import Words

CARD_TROUBLE = {
    DeclineWords.CARD_REMOVED,
    DeclineWords.CARD_NOT_SUPPORTED,
    DeclineWords.CARD_REFUSED,
    DeclineWords.CARD_SEVERAL,
    DeclineWords.CARD_ERROR,
    DeclineWords.CARD_INVALID,
}


class ReadingCardBox(Notice):
    shows = ReadingCard

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "tap", role="on_accent", disc="accent")

    def show(self, view: ReadingCard, screen: Screen, words: Words) -> None:
        self.title.text = words.say("reading.title")
        self.text.text = words.say("reading.text")


class BankWaitBox(Notice):
    shows = BankWait

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "")
        self.side.clear_widgets()
        self.spinner = Spinner(style)
        self.side.add_widget(self.spinner)
        align = "left" if not style.portrait else "center"
        self.waited = FitLabel(style, 20, role="muted", align=align, size_hint_y=None, height=style.px(28))
        self.progress = Progress(style, size_hint_y=None, height=style.px(8))
        self.texts.add_widget(self.waited)
        self.texts.add_widget(self.progress)

    def show(self, view: BankWait, screen: Screen, words: Words) -> None:
        self.title.text = words.say("bank.title")
        hold = words.say("bank.hold", amount=words.money(view.hold_minor, screen.currency)) + " " if view.hold_minor > 0 else ""
        self.text.text = hold + words.say("bank.card_away")
        self.waited.text = words.say("bank.waited", waited=str(view.waited_s), longest=str(view.longest_s))
        self.progress.part = view.waited_s / view.longest_s if view.longest_s > 0 else 0

    def entered(self) -> None:
        self.spinner.start()

    def left(self) -> None:
        self.spinner.stop()


class DeclinedBox(Notice):
    shows = DeclinedView

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "warning", role="on_warning", disc="warning")
        self.title.size_hint_y, self.text.size_hint_y = 0.36, 0.5
        align = "left" if not style.portrait else "center"
        self.held = FitLabel(style, 20, bold=True, wrap=True, align=align, valign="top", size_hint_y=0.24)
        self.texts.add_widget(self.held)
        self.back_in = FitLabel(style, 18, role="muted", wrap=True)
        self.ok = self.add_button(Button.OK, kind="accent", share=0.4, beside=self.back_in)

    def show(self, view: DeclinedView, screen: Screen, words: Words) -> None:
        self.badge.drawing = "card" if view.reason in CARD_TROUBLE else "warning"
        self.title.text = words.say("declined.title")
        self.text.text = words.of(view.reason)
        self.held.text = words.say("declined.held", amount=words.money(view.held_minor, screen.currency)) if view.held_minor else ""
        self.back_in.text = words.say("declined.back_in", seconds=str(view.back_in_s))
        self.ok.label.text = words.say("button.ok")


class PlugInBox(Notice):
    shows = PlugIn

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "plug", role="on_accent", disc="accent")
        self.title.size_hint_y, self.text.size_hint_y = 0.36, 0.36
        align = "left" if not style.portrait else "center"
        self.hold = FitLabel(style, 18, role="muted", wrap=True, align=align, valign="top", size_hint_y=0.3)
        self.card = FitLabel(style, 20, bold=True, align=align, size_hint_y=0.16)
        self.texts.add_widget(self.card)
        self.texts.add_widget(self.hold)
        self.left_time = FitLabel(style, 31, bold=True)
        self.cancel = self.add_button(Button.CANCEL, kind="quiet", icon="cross", share=0.4, beside=self.left_time)

    def show(self, view: PlugIn, screen: Screen, words: Words) -> None:
        paid = view.hold_minor > 0
        self.title.text = words.say("plug_in.title" if paid else "plug_in.title_free")
        self.text.text = words.say("plug_in.text", connector=words.connector(view.label))
        self.card.text = view.card
        self.hold.text = words.say("plug_in.hold", amount=words.money(view.hold_minor, screen.currency)) if paid else ""
        minutes, seconds = divmod(view.left_s, 60)
        self.left_time.text = words.say("plug_in.left", time=f"{minutes}:{seconds:02}")
        self.cancel.label.text = words.say("button.cancel")
