"""The bill: total, lines, VAT, registers, where the money is, and the QR code of the receipt."""

from decimal import Decimal

from terminal_app.screens import Button, MoneyWords, PriceKind, PrintWords, Receipt, ReceiptLine, Screen
from ui.icons import Icon
from ui.labels import FitGroup, FitLabel
from ui.panels import Action, Panel, Press, Qr, Rule, column, row
from ui.theme import Style
from ui.views.base import ViewBox, set_present
from ui.words import Words

NAMES = {
    PriceKind.ENERGY: "receipt.energy",
    PriceKind.TIME: "receipt.time",
    PriceKind.FLAT: "receipt.flat",
    PriceKind.PARKING: "receipt.parking",
    PriceKind.LIMIT: "receipt.limit",
}


TEXTS, TEXTS_LARGE, TEXTS_ALONE = 30, 22, 90  # px of the texts under the QR code, under a large one, and without one
SHORT_BILL = 3  # lines
SIDE, SIDE_LARGE = 0.35, 0.43  # of the width, for the code; the large one leaves the buttons to the bill's side
CODE_BESIDE = 216  # px of the code where the texts stand beside it
TOLD = (PrintWords.FAILED, PrintWords.OUT)  # instead of what to do with the code
PRINTABLE = (PrintWords.READY, PrintWords.BUSY, PrintWords.DONE, PrintWords.FAILED)
ON_BUTTON = {PrintWords.BUSY: "paper.busy", PrintWords.DONE: "button.print_copy"}  # every further one is marked as a copy


class BillRow(Panel):
    """One bill line: name, quantity and price, amount."""

    def __init__(self, style: Style, group: FitGroup) -> None:
        super().__init__(style, fill="", radius=0, gap=8)
        self.name = FitLabel(style, 18, group=group, size_hint_x=0.33)
        self.sum = FitLabel(style, 18, role="muted", group=group, size_hint_x=0.43)
        self.amount = FitLabel(style, 18, bold=True, align="right", group=group, size_hint_x=0.24)
        for part in (self.name, self.sum, self.amount):
            self.add_widget(part)

    def show(self, line: ReceiptLine, currency: str, words: Words) -> None:
        self.name.text = words.say(NAMES[line.kind])
        price = words.unit_price(line.price, currency)
        quantity = words.quantity(line.quantity)
        if line.kind is PriceKind.ENERGY:
            self.sum.text = f"{quantity} kWh × {price}"
        elif line.kind in (PriceKind.FLAT, PriceKind.LIMIT):
            self.sum.text = f"{quantity} × {price}"
        else:
            self.sum.text = f"{quantity} {words.say('receipt.minutes')} × {price}"
        self.amount.text = words.money(line.gross_minor, currency)


class ReceiptBox(ViewBox):
    shows = Receipt

    def __init__(self, style: Style, press: Press) -> None:
        super().__init__(style, press, orientation="vertical" if style.portrait else "horizontal")
        self.bill = Panel(style, orientation="vertical", gap=4, pad=(20, 12), size_hint=(1, 0.55) if style.portrait else (1, 1))
        self._build_bill()
        self.large = False
        self.bill_side = self.bill if style.portrait else column(style, gap=12, size_hint=(1 - SIDE, 1))
        self.side = column(style, gap=12, size_hint=(1, 0.45) if style.portrait else (SIDE, 1))
        self.code = Panel(style, orientation="horizontal" if style.portrait else "vertical", gap=2, pad=(10, 4))
        self.qr = Qr(style, **({"size_hint_x": None, "width": style.px(CODE_BESIDE)} if style.portrait else {}))
        self.badge = Icon(style, "check", "on_tint", "tint", size_hint=(0.5, 0.5), pos_hint={"center_x": 0.5, "center_y": 0.5})
        texts = column(style, size_hint=(1, 1) if style.portrait else (1, None), height=style.px(TEXTS))
        self.scan = FitLabel(style, 18, bold=True, align="center", wrap=True, size_hint_y=0.8)
        self.alone = FitLabel(style, 20, align="center", wrap=True)
        self.code_texts = texts
        texts.add_widget(self.scan)
        self.code.add_widget(self.qr)
        self.code.add_widget(texts)
        self.buttons = row(style, gap=10, size_hint_y=None, height=style.px(68))
        self.print = Action(style, press, Button.PRINT, kind="quiet", size=24)
        self.done = Action(style, press, Button.DONE, icon="check", size=28)
        self.buttons.add_widget(self.done)
        self.side.add_widget(self.code)
        self.side.add_widget(self.buttons)
        if self.bill_side is not self.bill:
            self.bill_side.add_widget(self.bill)
        self.add_widget(self.bill_side)
        self.add_widget(self.side)

    def _build_bill(self) -> None:
        style = self.style
        head = row(style, gap=10, size_hint_y=2.8)
        left = column(style)
        self.title = FitLabel(style, 22, bold=True, valign="bottom", wrap=True, size_hint_y=0.42)
        self.ended = FitLabel(style, 17, role="muted", valign="top", wrap=True, size_hint_y=0.58)
        left.add_widget(self.title)
        left.add_widget(self.ended)
        self.total = FitLabel(style, 56, bold=True, align="right", size_hint_x=0.8)
        head.add_widget(left)
        head.add_widget(self.total)
        self.group = FitGroup()
        self.lines = column(style)
        self.rows: list[BillRow] = []
        small = FitGroup()
        foot = row(style, gap=8, size_hint_y=0.9)
        self.vat = FitLabel(style, 16, role="muted", align="right", group=small)
        self.duration = FitLabel(style, 16, role="muted", group=small)
        foot.add_widget(self.duration)
        foot.add_widget(self.vat)
        stacked = style.portrait
        meter = column(style, size_hint_y=1.8) if stacked else row(style, gap=8, size_hint_y=0.9)
        self.meter = FitLabel(style, 16, role="muted", group=small)
        self.registers = FitLabel(style, 16, role="muted", align="left" if stacked else "right", group=small)
        self.registers.size_hint_x = 1 if stacked else 1.05
        meter.add_widget(self.meter)
        meter.add_widget(self.registers)
        paid = row(style, gap=8, size_hint_y=0.9)
        self.card = FitLabel(style, 17, bold=True)
        self.number = FitLabel(style, 16, role="muted", align="right")
        paid.add_widget(self.card)
        if not style.portrait:  # there it stands beside the code
            paid.add_widget(self.number)
        self.money = FitLabel(style, 17, wrap=True, valign="top", size_hint_y=1.8)
        for part in (head, Rule(style), self.lines, foot, meter, Rule(style), paid, self.money):
            self.bill.add_widget(part)

    def show(self, view: Receipt, screen: Screen, words: Words) -> None:
        total = words.money(view.total_minor, screen.currency)
        self.title.text = words.say("receipt.interrupted" if view.interrupted else "receipt.title")
        self.ended.text = words.of(view.stop)
        self.total.text = total
        if self.style.portrait:  # a long bill needs the room of the larger code
            self.bill.size_hint_y = 0.55 if len(view.lines) > SHORT_BILL else 0.5
            self.side.size_hint_y = 1 - self.bill.size_hint_y
        else:
            self._share_out(large=bool(view.qr) and len(view.lines) <= SHORT_BILL)
        while len(self.rows) < len(view.lines):
            self.rows.append(BillRow(self.style, self.group))
        if len(self.lines.children) != len(view.lines):
            self.lines.clear_widgets()
            for each in self.rows[: len(view.lines)]:
                self.lines.add_widget(each)
            self.lines.size_hint_y = max(0.01, 1.0 * len(view.lines))
        for each, line in zip(self.rows, view.lines, strict=False):
            each.show(line, screen.currency, words)
        rates = " / ".join(sorted({line.vat_percent for line in view.lines if line.vat_percent}, key=Decimal))
        vat = words.money(view.vat_minor, screen.currency)
        self.vat.text = words.say("receipt.vat", percent=words.percent(rates), amount=vat) if rates else ""
        self.duration.text = words.say("receipt.duration", time=words.duration(view.seconds))
        self.meter.text = words.say("receipt.meter", serial=view.meter_serial)
        self.registers.text = words.say(
            "receipt.registers", start=words.kwh(view.meter_start_wh), stop=words.kwh(view.meter_stop_wh)
        )
        self.card.text = view.card
        self.card.size_hint_x = 0.8 if view.card else 0.001
        self.number.text = words.say("receipt.number", number=view.number)
        hold = words.money(view.hold_minor, screen.currency)
        self.money.text = words.say("money.free") if view.money is MoneyWords.FREE else words.of(view.money, total=total, hold=hold)
        self._show_code(view, words)
        self._show_paper(view, words)
        self.done.label.text = words.say("button.done")

    def _share_out(self, large: bool) -> None:
        """Beside a short bill the code takes the whole height, so that its modules are large enough for a camera in the rain."""
        self.large = large
        self.side.size_hint_x = SIDE_LARGE if large else SIDE
        self.bill_side.size_hint_x = 1 - self.side.size_hint_x
        home = self.bill_side if large else self.side
        if self.buttons.parent is not home:
            self.buttons.parent.remove_widget(self.buttons)
            home.add_widget(self.buttons)

    def _show_paper(self, view: Receipt, words: Words) -> None:
        """A button while there is a printer that can; what became of the paper stands on it or under the code."""
        set_present(self.buttons, self.print, view.printing in PRINTABLE, index=1)
        self.print.label.text = words.say(ON_BUTTON.get(view.printing, "button.print"))
        if view.qr and view.printing in TOLD:
            self.scan.text = words.of(view.printing)

    def _show_code(self, view: Receipt, words: Words) -> None:
        self.qr.content, self.qr.spare = view.qr, view.qr.partition("#")[0]
        set_present(self.code, self.qr, bool(view.qr), index=1)
        set_present(self.code, self.badge, not view.qr, index=1)
        self.code_texts.height = self.style.px((TEXTS_LARGE if self.large else TEXTS) if view.qr else TEXTS_ALONE)
        self.scan.text = words.say("receipt.scan" if view.qr else "receipt.no_qr")
        set_present(self.code_texts, self.alone, not view.qr or self.style.portrait)
        self.alone.text = view.number if not view.qr else words.say("receipt.number", number=view.number)
