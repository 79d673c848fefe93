"""Sample screens for warm-up, gallery and tests: every view in its usual and hardest form, and a pseudo-language."""

import re

import msgspec

from terminal_app.screens import (
    BankWait,
    ChargePhase,
    Charging,
    ConnectorState,
    ConnectorTile,
    DeclinedView,
    DeclineWords,
    HoldChoice,
    MoneyWords,
    NotForSale,
    NotForSaleReason,
    Offer,
    OutOfService,
    OutOfServiceReason,
    Overview,
    PayByPhone,
    PlugIn,
    PriceKind,
    PriceLine,
    PrintWords,
    ReadingCard,
    Receipt,
    ReceiptLine,
    Screen,
    StopWords,
    View,
)
from ui.words import Words, catalogue

CARD = "Mastercard ···· 0011"
LONG_CARD = "American Express ···· 0011"
QR = "HTTPS://CHARGE.EXAMPLE/R/K7Q2M9X4T1B8ZC5V"
PLAIN_QR = "https://receipts.charging.example/r/" + "k7q2m9x4" * 4
PAY_URL = "https://pay.charging.example/c/cs_test_a1B2c3D4"
LONG_PAY_URL = "https://checkout.payments.charging.example/c/pay/cs_live_" + "a1B2c3D4" * 8 + "#" + "fidkdWxOYHwnPyd1" * 24
SIGNED_QR = "https://receipts.charging.example/r/" + "k7q2m9x4" * 4 + "#" + "eyJhbGciOiJFUzI1NiIsImp3ayI6eyJjcnYi" * 20
LONG_QR = "https://receipts.charging.example/r/" + "0Ab9" * 16
ENERGY = PriceLine(PriceKind.ENERGY, "0.59")
PRICES = (ENERGY, PriceLine(PriceKind.TIME, "0.05", "from_min", {"from_min": "240"}), PriceLine(PriceKind.FLAT, "0.50"))
NIGHTS = {"time_from": "22:00", "time_to": "06:00", "weekdays": "saturday,sunday"}
MANY_PRICES = (
    PriceLine(
        PriceKind.ENERGY,
        "0.4875",
        "time_window+weekdays",
        NIGHTS,
    ),
    PriceLine(PriceKind.ENERGY, "0.6475"),
    PriceLine(PriceKind.TIME, "0.125", "from_min+to_kwh", {"from_min": "240", "to_kwh": "40"}),
    PriceLine(PriceKind.FLAT, "1.50", "date_window", {"date_from": "2025-01-01", "date_to": "2026-01-01"}),
    PriceLine(PriceKind.PARKING, "0.15", "from_min", {"from_min": "45"}),
    PriceLine(PriceKind.LIMIT, "75.00", "maximum"),
)
AMOUNTS = (HoldChoice(2000), HoldChoice(4000), HoldChoice(8000))
ENERGIES = (HoldChoice(1200, 20000), HoldChoice(2400, 40000), HoldChoice(4800, 80000), HoldChoice(8000))
LARGE_AMOUNTS = (HoldChoice(99900), HoldChoice(120000), HoldChoice(150000), HoldChoice(180000), HoldChoice(200000))
LARGE_ENERGIES = (HoldChoice(99900, 999000), HoldChoice(120000, 1000000), HoldChoice(150000, 1000000), HoldChoice(180000))


def charging(**changes: object) -> Charging:
    usual = {
        "connector": 1,
        "label": "1",
        "phase": ChargePhase.CHARGING,
        "energy_wh": 12345,
        "cost_minor": 778,
        "seconds": 4062,
        "power_w": 10950,
        "hold_minor": 8000,
        "card": CARD,
        "prices": PRICES,
    }
    return Charging(**(usual | changes))  # type: ignore[arg-type]


def receipt(**changes: object) -> Receipt:
    usual = {
        "connector": 1,
        "label": "1",
        "number": "T0001-000042",
        "lines": (
            ReceiptLine(PriceKind.ENERGY, "12.345", "0.59", "19", 728),
            ReceiptLine(PriceKind.FLAT, "1", "0.50", "19", 50),
        ),
        "total_minor": 778,
        "vat_minor": 124,
        "energy_wh": 12345,
        "seconds": 4062,
        "meter_start_wh": 1204500,
        "meter_stop_wh": 1216845,
        "meter_serial": "1EMH00 1234 5678",
        "hold_minor": 8000,
        "money": MoneyWords.CAPTURED,
        "stop": StopWords.TOUCH,
        "card": CARD,
        "qr": QR,
        "interrupted": False,
    }
    return Receipt(**(usual | changes))  # type: ignore[arg-type]


LONG_RECEIPT = receipt(
    number="DE-XYZ-T00000001-000000042",
    lines=(
        ReceiptLine(PriceKind.ENERGY, "1112.345", "0.4875", "19", 54227),
        ReceiptLine(PriceKind.TIME, "1440", "0.125", "19", 18000),
        ReceiptLine(PriceKind.FLAT, "1", "1.50", "19", 150),
        ReceiptLine(PriceKind.PARKING, "1234", "0.15", "7", 18510),
        ReceiptLine(PriceKind.LIMIT, "1", "-15.00", "", -1500),
    ),
    total_minor=89387,
    vat_minor=14511,
    energy_wh=1112345,
    seconds=99 * 3600,
    meter_start_wh=987654321,
    meter_stop_wh=988766666,
    meter_serial="1EMH00 1234 5678 9012",
    hold_minor=150000,
    stop=StopWords.CAR_FINISHED,
    card=LONG_CARD,
    qr=LONG_QR,
    interrupted=True,
)
TILES = tuple(
    ConnectorTile(number + 1, str(number + 1), state) for number, state in enumerate([*ConnectorState, *list(ConnectorState)[:3]])
)

USUAL: dict[str, View] = {
    "overview": Overview(TILES[:2]),
    "overview_4": Overview(TILES[1:5]),
    "overview_8": Overview(TILES),
    "offer": Offer(1, "1", PRICES, "19", False, 8000, False, True),
    "offer_simple": Offer(1, "1", (ENERGY,), "19", False, 8000, True, True, True),
    "offer_wait": Offer(1, "1", PRICES[:2], "19", False, 8000, True, False),
    "offer_phone": Offer(1, "1", PRICES[:2], "19", False, 8000, True, True, by_phone=True),
    "offer_phone_only": Offer(1, "1", PRICES[:2], "19", False, 8000, True, False, by_card=False, by_phone=True),
    "offer_choices": Offer(1, "1", PRICES, "19", False, 4000, False, True, choices=AMOUNTS),
    "offer_energies": Offer(1, "1", (ENERGY,), "19", False, 2400, True, True, True, True, True, choices=ENERGIES),
    "offer_offline": Offer(1, "1", PRICES[:2], "19", False, 2000, True, True, offline=True),
    "offer_offline_choices": Offer(1, "1", PRICES, "19", False, 2000, True, True, True, choices=AMOUNTS[:2], offline=True),
    "offer_free": Offer(1, "1", (PriceLine(PriceKind.ENERGY, "0"),), "19", True, 0, True, False, True),
    "not_for_sale": NotForSale(2, "2", NotForSaleReason.METER, True),
    "reading_card": ReadingCard(1),
    "bank_wait": BankWait(1, 8000, 4, 18),
    "pay_by_phone": PayByPhone(1, "1", 8000, PAY_URL, "K7RM", 171),
    "pay_by_phone_opening": PayByPhone(1, "1", 8000, "", "K7RM", 179),
    "pay_by_phone_ending": PayByPhone(1, "1", 8000, "", "K7RM", 60, True),
    "pay_by_phone_or_card": PayByPhone(1, "1", 8000, PAY_URL, "K7RM", 171, by_card=True),
    "declined": DeclinedView(1, DeclineWords.BANK_SILENT, 8000, 25),
    "declined_offers": DeclinedView(1, DeclineWords.AUTHENTICATION_WANTED, 0, 25, True, 2000),
    "declined_phone": DeclinedView(1, DeclineWords.AUTHENTICATION_WANTED, 0, 25, True),
    "declined_lower": DeclinedView(1, DeclineWords.INSUFFICIENT_FUNDS, 0, 25, lower_hold_minor=2000),
    "declined_kept": DeclinedView(1, DeclineWords.HOLD_KEPT, 8000, 25, kept_s=84),
    "declined_by_driver": DeclinedView(1, DeclineWords.CANCELLED, 8000, 25),
    "declined_receipt": DeclinedView(1, DeclineWords.NOT_PLUGGED, 8000, 25, qr=PLAIN_QR),
    "plug_in": PlugIn(1, "1", 8000, CARD, 154),
    "plug_in_reused": PlugIn(1, "1", 8000, CARD, 154, True),
    "plug_in_free": PlugIn(1, "1", 0, "", 154),
    "charging": charging(),
    "charging_paused": charging(phase=ChargePhase.CAR_PAUSED, power_w=0),
    "charging_stopping": charging(phase=ChargePhase.STOPPING, power_w=0),
    "charging_awaited": charging(phase=ChargePhase.METER_AWAITED, power_w=0),
    "receipt": receipt(),
    "receipt_signed": receipt(qr=SIGNED_QR, printing=PrintWords.READY),
    "receipt_nothing": receipt(
        lines=(),
        total_minor=0,
        vat_minor=0,
        energy_wh=0,
        seconds=12,
        meter_stop_wh=1204500,
        money=MoneyWords.RELEASED,
        stop=StopWords.CAR_FINISHED,
        qr=SIGNED_QR,
    ),
    "receipt_no_qr": receipt(qr="", money=MoneyWords.SETTLING),
    "out_of_service": OutOfService(OutOfServiceReason.NO_CORE),
    "starting": OutOfService(OutOfServiceReason.STARTING),
}
HARDEST: dict[str, View] = {
    "overview_named": Overview(tuple(ConnectorTile(t.connector, f"Parking bay {t.connector:02}", t.state) for t in TILES)),
    "offer_many": Offer(1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, False, True, True),
    "offer_long_wait": Offer(1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, True, False, True),
    "offer_phone_long": Offer(1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, False, True, True, True, True),
    "offer_phone_only_long": Offer(1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, True, False, True, False, True),
    "offer_choices_long": Offer(
        1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, False, True, True, True, True, LARGE_AMOUNTS
    ),
    "offer_energies_long": Offer(
        1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, True, False, True, False, True, LARGE_ENERGIES
    ),
    "offer_offline_long": Offer(
        1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, True, True, True, choices=LARGE_ENERGIES, offline=True
    ),
    "offer_offline_phone": Offer(
        1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, False, True, True, True, True, LARGE_AMOUNTS, True
    ),
    "offer_offline_stacked": Offer(
        1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, False, True, True, True, True, offline=True
    ),
    "offer_offline_wait": Offer(1, "Parking bay 01", MANY_PRICES, "7.7 / 19", False, 150000, True, False, True, offline=True),
    "pay_by_phone_or_card_long": PayByPhone(1, "Parking bay 01", 150000, LONG_PAY_URL, "WWWM", 1199, by_card=True),
    "pay_by_phone_long": PayByPhone(1, "Parking bay 01", 150000, LONG_PAY_URL, "WWWM", 1199),
    "pay_by_phone_opening_long": PayByPhone(1, "Parking bay 01", 150000, "", "WWWM", 1199),
    "pay_by_phone_ending_long": PayByPhone(1, "Parking bay 01", 150000, "", "WWWM", 1199, True),
    "charging_long": charging(
        label="Parking bay 01",
        phase=ChargePhase.METER_LOST,
        energy_wh=1112345,
        cost_minor=90887,
        seconds=99 * 3600 + 59,
        power_w=350000,
        hold_minor=150000,
        card=LONG_CARD,
        prices=MANY_PRICES,
    ),
    "receipt_long": LONG_RECEIPT,
    "plug_in_reused_long": PlugIn(1, "Parking bay 01", 150000, LONG_CARD, 600, True),
    "plug_in_long": PlugIn(1, "Parking bay 01", 150000, LONG_CARD, 600),
    "bank_wait_long": BankWait(1, 150000, 18, 18),
    "bank_wait_offline": BankWait(1, 150000, 18, 18, True),
    "charging_owed": Charging(
        connector=1,
        label="Parking bay 01",
        phase=ChargePhase.CAR_PAUSED,
        energy_wh=1112345,
        cost_minor=90887,
        seconds=99 * 3600 + 59,
        power_w=350000,
        hold_minor=150000,
        card=LONG_CARD,
        prices=MANY_PRICES,
        owed=True,
    ),
}
for _why in NotForSaleReason:
    HARDEST[f"not_for_sale_{_why.value}"] = NotForSale(1, "Parking bay 01", _why, True)
for _out in OutOfServiceReason:
    HARDEST[f"out_{_out.value}"] = OutOfService(_out)
for _words in DeclineWords:
    HARDEST[f"declined_{_words.value}"] = DeclinedView(
        1, _words, 150000, 120, kept_s=600 if _words is DeclineWords.HOLD_KEPT else 0
    )
    HARDEST[f"declined_{_words.value}_offers"] = DeclinedView(1, _words, 150000, 120, True, 120000, kept_s=600)
for _phase in ChargePhase:
    HARDEST[f"charging_{_phase.value}"] = charging(phase=_phase, card=LONG_CARD)
    HARDEST[f"declined_{_words.value}_receipt"] = DeclinedView(1, _words, 150000, 120, True, 120000, qr=PLAIN_QR)
for _paper in PrintWords:
    HARDEST[f"receipt_paper_{_paper.value}"] = msgspec.structs.replace(LONG_RECEIPT, printing=_paper, qr=SIGNED_QR)
for _end in StopWords:
    HARDEST[f"receipt_{_end.value}"] = receipt(stop=_end, interrupted=True)
for _money in MoneyWords:
    HARDEST[f"receipt_{_money.value}"] = receipt(money=_money, total_minor=90887, hold_minor=150000)


def screen(view: View, language: str = "en", screen_no: int = 1, **changes: object) -> Screen:
    usual = {
        "screen_no": screen_no,
        "revision": 1,
        "view": view,
        "language": language,
        "languages": ("en", "de"),
        "currency": "EUR",
        "station": "Demo station",
        "helpline": "+49 30 0000000",
        "utc_ms": 1_763_869_000_000,
        "time_zone": "Europe/Berlin",
        "demo": True,
    }
    return Screen(**(usual | changes))  # type: ignore[arg-type]


def pseudo_words() -> Words:
    """English, marked and about 40 % longer: what a longer language would do to the layout."""
    return Words("en", {key: _longer(text) for key, text in catalogue("en").items()})


def _longer(text: str) -> str:
    """Doubles vowels and accents them; figures in braces stay."""
    accents = dict(zip("aeiouAEIOU", ("áa", "éë", "îi", "ôö", "ûü", "Áa", "Éë", "Îi", "Ôö", "Ûü"), strict=True))
    parts = re.split(r"(\{[^}]*\})", text)
    return "".join(part if part.startswith("{") else "".join(accents.get(letter, letter) for letter in part) for part in parts)
