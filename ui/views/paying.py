"""From the tap to the plug: reading the card, waiting for the bank, the page for the phone, approved."""

from urllib.parse import urlsplit

from terminal_app.screens import BankWait, Button, PayByPhone, PlugIn, ReadingCard, Screen
from ui.icons import Icon
from ui.labels import FitLabel
from ui.panels import Action, Panel, Press, Progress, Qr, Spinner, column, row
from ui.theme import Style
from ui.views.base import Notice, ViewBox, set_present
from ui.words import Words


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
        self.title.text = words.say("bank.title_offline" if view.offline else "bank.title")
        held = view.hold_minor > 0 and not view.offline
        hold = words.say("bank.hold", amount=words.money(view.hold_minor, screen.currency)) + " " if held else ""
        self.text.text = hold + words.say("bank.card_away")
        self.waited.text = words.say("bank.waited", waited=str(view.waited_s), longest=str(view.longest_s))
        self.progress.part = view.waited_s / view.longest_s if view.longest_s > 0 else 0

    def entered(self) -> None:
        self.spinner.start()

    def left(self) -> None:
        self.spinner.stop()


class PayByPhoneBox(ViewBox):
    """The code as large as it goes: payment addresses are long. Where it leads and its check word stand beside it."""

    shows = PayByPhone

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, orientation="vertical" if style.portrait else "horizontal")
        self.code = Panel(style, pad=(6, 6), size_hint=(1, 0.56) if style.portrait else (0.47, 1))
        self.qr, self.spinner = Qr(style), Spinner(style)
        self.side = column(style, gap=10, size_hint=(1, 0.44) if style.portrait else (0.53, 1))
        told = Panel(style, orientation="vertical", gap=2, pad=(18, 10))
        self.title = FitLabel(style, 34, bold=True, wrap=True, valign="bottom", size_hint_y=0.8)
        self.text = FitLabel(style, 20, wrap=True, valign="top", size_hint_y=1.2)
        self.check = FitLabel(style, 18, role="muted", wrap=True, valign="bottom", size_hint_y=0.8)
        self.word = FitLabel(style, 38, bold=True, size_hint_y=0.7)
        self.host = FitLabel(style, 18, size_hint_y=0.45)
        for part in (self.title, self.text, self.check, self.word, self.host):
            told.add_widget(part)
        foot = row(style, gap=12, size_hint_y=None, height=style.px(68))
        beside = column(style, gap=2, size_hint_x=0.5)
        self.left_time = FitLabel(style, 26, bold=True)
        self.or_card = row(style, gap=10)
        self.or_card.add_widget(Icon(style, "tap", size_hint_x=None, width=style.px(34)))
        self.or_card_text = FitLabel(style, 20, bold=True, wrap=True)
        self.or_card.add_widget(self.or_card_text)
        beside.add_widget(self.left_time)
        self.beside = beside
        self.cancel = Action(style, press, Button.CANCEL, kind="quiet", icon="cross", size_hint_x=0.5)
        foot.add_widget(beside)
        foot.add_widget(self.cancel)
        self.side.add_widget(told)
        self.side.add_widget(foot)
        self.foot = foot
        self.add_widget(self.code)
        self.add_widget(self.side)
        self._on_glass = False

    def show(self, view: PayByPhone, screen: Screen, words: Words) -> None:
        way = "ending" if view.ending else "title" if view.url else "opening"
        amount, connector = words.money(view.hold_minor, screen.currency), words.connector(view.label)
        if way == "title":
            self.title.text = words.say("phone.title")
            self.text.text = words.say("phone.text", amount=amount, connector=connector)
        else:
            self.title.text = words.say("phone.ending" if view.ending else "phone.opening")
            self.text.text = words.say("phone.ending_text" if view.ending else "phone.opening_text")
        self.check.text = words.say("phone.check") if view.url else ""
        self.word.text = view.check_word if view.url else ""
        self.host.text = (urlsplit(view.url).hostname or "") if view.url else ""
        self.qr.content = view.url
        set_present(self.code, self.qr, bool(view.url))
        set_present(self.code, self.spinner, not view.url)
        self._turn()
        minutes, seconds = divmod(view.left_s, 60)
        self.left_time.text = "" if view.ending else words.say("phone.left", time=f"{minutes}:{seconds:02}")
        self.or_card_text.text = words.say("phone.or_card") if view.by_card else ""
        set_present(self.beside, self.or_card, view.by_card and not view.ending)
        set_present(self.foot, self.cancel, not view.ending)
        self.cancel.label.text = words.say("button.cancel")

    def entered(self) -> None:
        self._on_glass = True
        self._turn()

    def left(self) -> None:
        self._on_glass = False
        self._turn()

    def _turn(self) -> None:
        """The spinner turns only while it is seen."""
        turning = self._on_glass and self.spinner.parent is not None
        if turning and not self.spinner.turning:
            self.spinner.start()
        elif not turning:
            self.spinner.stop()


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
        amount = words.money(view.hold_minor, screen.currency)
        self.hold.text = words.say("plug_in.reused" if view.reused else "plug_in.hold", amount=amount) if paid else ""
        minutes, seconds = divmod(view.left_s, 60)
        self.left_time.text = words.say("plug_in.left", time=f"{minutes}:{seconds:02}")
        self.cancel.label.text = words.say("button.cancel")
