"""No charge: why, where the money is, and what helps instead."""

from terminal_app.screens import Button, DeclinedView, DeclineWords, Screen
from ui.labels import FitLabel
from ui.panels import Action, Panel, Press, Qr, column, row
from ui.theme import Style
from ui.views.base import Notice, set_home, set_present
from ui.words import Words

CARD_TROUBLE = {
    DeclineWords.CARD_REMOVED,
    DeclineWords.CARD_NOT_SUPPORTED,
    DeclineWords.CARD_REFUSED,
    DeclineWords.CARD_SEVERAL,
    DeclineWords.CARD_ERROR,
    DeclineWords.CARD_INVALID,
    DeclineWords.OFFLINE_REFUSED,
}
LOOKS = dict.fromkeys(CARD_TROUBLE, ("card", "warning")) | {  # icon, disc
    DeclineWords.HOLD_KEPT: ("tap", "accent"),
    DeclineWords.NOT_PLUGGED: ("plug", "warning"),
    DeclineWords.CANCELLED: ("cross", "quiet"),
}
TITLES = {  # instead of "Charging did not start"
    DeclineWords.HOLD_KEPT: "declined.title_kept",
    DeclineWords.CANCELLED: "declined.title_cancelled",
}
HELPED = {DeclineWords.AUTHENTICATION_WANTED, DeclineWords.LIMIT_EXCEEDED, DeclineWords.INSUFFICIENT_FUNDS}
ADVICE = {  # for those that a phone or a lower hold may help: (by phone, lower hold)
    (False, False): "declined.advice",
    (True, False): "declined.advice_phone",
    (False, True): "declined.advice_lower",
    (True, True): "declined.advice_both",
}


class DeclinedBox(Notice):
    """What helps stands as large buttons of its own above OK, which then is the quiet way out."""

    shows = DeclinedView

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, "warning", role="on_warning", disc="warning")
        align = "left" if not style.portrait else "center"
        self.money = Panel(style, fill="tint", radius=10, pad=(16, 4), size_hint_y=None)
        self.held = FitLabel(style, 20, role="on_tint", bold=True, wrap=True, align=align)
        self.money.add_widget(self.held)
        self.code = column(style, gap=2)
        self.qr = Qr(style)
        self.scan = FitLabel(style, 16, align="center", size_hint_y=None, height=style.px(26))
        self.code.add_widget(self.qr)
        self.code.add_widget(self.scan)
        self.offers = row(style, gap=14, size_hint_y=None)
        self.phone = Action(style, press, Button.PAY_BY_PHONE, icon="qr", size=24)
        self.lower = Action(style, press, Button.LOWER_HOLD, icon="tap", size=24)
        if style.portrait:
            self.offers.orientation = "vertical"
        self.add_widget(self.offers)
        self.back_in = FitLabel(style, 18, role="muted", wrap=True)
        self.beside = column(style, gap=4)
        self.beside.add_widget(self.back_in)
        self.ok = self.add_button(Button.OK, kind="accent", share=0.4, beside=self.beside)

    def show(self, view: DeclinedView, screen: Screen, words: Words) -> None:
        self.badge.drawing, self.badge.disc_role = LOOKS.get(view.reason, ("warning", "warning"))
        self.badge.role = f"on_{self.badge.disc_role}"
        self.title.text = words.say(TITLES.get(view.reason, "declined.title"))
        self.text.text = words.of(view.reason)
        if view.reason in HELPED:
            self.text.text += " " + words.say(ADVICE[view.by_phone, view.lower_hold_minor > 0])
        self.held.text = self._about_hold(view, screen, words)
        self.back_in.text = words.say("declined.back_in", seconds=str(view.back_in_s))
        gives_up = view.reason is DeclineWords.HOLD_KEPT  # then the hold is released
        self.ok.label.text = words.say("button.cancel" if gives_up else "button.ok")
        self.qr.content = view.qr
        self.scan.text = words.say("declined.scan")
        if self.style.portrait:
            self.side.size_hint_y = 0.6 if view.qr else 0.3
        set_home(self.badge, None if view.qr else self.side)
        set_home(self.code, self.side if view.qr else None)
        self._show_offers(view, screen, words)

    def _about_hold(self, view: DeclinedView, screen: Screen, words: Words) -> str:
        if view.held_minor <= 0:
            return ""
        amount = words.money(view.held_minor, screen.currency)
        if view.reason is DeclineWords.HOLD_KEPT:
            return words.say("declined.kept", amount=amount, seconds=str(view.kept_s))
        return words.say("declined.held", amount=amount)

    def _show_offers(self, view: DeclinedView, screen: Screen, words: Words) -> None:
        amount = words.money(view.lower_hold_minor, screen.currency)
        self.phone.label.text = words.say("button.pay_by_phone") if view.by_phone else ""
        self.lower.label.text = words.say("button.lower_hold", amount=amount) if view.lower_hold_minor > 0 else ""
        wanted = [action for action in (self.phone, self.lower) if action.label.text]
        if self.offers.children[::-1] != wanted:
            self.offers.clear_widgets()
            for action in wanted:
                self.offers.add_widget(action)
        px, rows = self.style.px, len(wanted) if self.style.portrait else min(1, len(wanted))
        self.offers.height = rows * px(72) + max(0, rows - 1) * px(14)
        set_present(self, self.offers, bool(wanted), index=1)
        self.panel.padding = [px(30), px(12 if wanted else 24)] * 2
        self.title.size_hint_y = 0.34 if self.style.portrait else 0.4
        self.text.size_hint_y = 1 - self.title.size_hint_y
        self._place_money(below=bool(wanted) and not self.style.portrait)
        self.ok.fill = "quiet" if wanted or view.reason is DeclineWords.HOLD_KEPT else "accent"
        self.ok.label.role = f"on_{self.ok.fill}"

    def _place_money(self, *, below: bool) -> None:
        """Under the reason or, where buttons take that room, beside OK."""
        home = self.beside if below else self.texts
        set_home(self.money, home if self.held.text else None, index=len(home.children) if below else 0)
        self.money.height = self.style.px(44 if below else 64 if self.style.portrait else 54)
