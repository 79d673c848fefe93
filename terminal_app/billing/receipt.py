"""The receipt as data: lines, VAT per rate, registers, message ids. Used by screen, office page, printer. PURE.

It is made from the sealed session record alone (and its settlement record, when there is one), so that every receipt of a
session says the same. Money in minor units, energy in Wh, times in UTC ms. Moves no money.
"""

import base64
from decimal import Decimal
from typing import Any

import msgspec

from terminal_app.billing.cost import Cost, CostLine
from terminal_app.billing.model import TaxIncluded
from terminal_app.billing.tariff import decimal_text, parse_tariff, price_text, with_vat
from terminal_app.screens import MoneyWords, PriceKind, ReceiptLine

__all__ = ["SHORT_CODE", "ReceiptDocument", "VatLine", "receipt_code", "receipt_of", "receipt_of_hold", "to_receipt_lines"]

SHORT_CODE = 8
CODE_BYTES = 20  # 160 bit: 32 characters of base32 without padding


class VatLine(msgspec.Struct, frozen=True):
    """Net, VAT and gross of one VAT rate ("" = no VAT applicable)."""

    vat_percent: str
    net_minor: int
    vat_minor: int
    gross_minor: int


class ReceiptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a receipt shows. `money`, `stop_reason` and `lines.kind` are put into words where it is shown."""

    number: str
    code: str
    terminal: str
    record_seq: int
    session_id: str
    seller: str
    seller_address: str
    seller_vat_id: str
    station: str
    country: str
    time_zone: str
    connector: int
    evse_id: str
    begin_utc_ms: int
    end_utc_ms: int
    clock: str
    charging_ms: int
    parking_ms: int
    energy_wh: int
    meter_start_wh: int
    meter_stop_wh: int
    meter_vendor: str
    meter_model: str
    meter_serial: str
    obis: str
    lines: tuple[ReceiptLine, ...]
    vat: tuple[VatLine, ...]
    currency: str
    net_minor: int
    vat_minor: int
    total_minor: int
    money: MoneyWords
    authorized_minor: int
    captured_minor: int
    card_brand: str
    card_last4: str
    card_aid: str
    trace: dict[str, str]
    stop_reason: str
    interrupted: bool
    ocmf: str
    tariff_fingerprint: str
    demo: bool
    software: str = ""
    max_power_w: int = 0  # 0 = the record does not tell
    current: str = ""
    interrupted_from_utc_ms: int = 0  # newest reading before the interruption, 0 = not told
    interrupted_until_utc_ms: int = 0
    test: bool = False  # by service personnel: nothing was sold
    no_charge: str = ""  # of a hold that paid for nothing: why (a value of `screens.StopWords`); there is no measurement then

    @property
    def short_code(self) -> str:
        """What stands on the bank statement and finds this receipt at the office together with amount and date."""
        return self.code[:SHORT_CODE]


def receipt_code(random: bytes) -> str:
    """An unguessable, typeable name for the receipt page: lower-case base32 of 20 random bytes. ValueError for fewer."""
    if len(random) < CODE_BYTES:
        raise ValueError(f"a receipt code needs {CODE_BYTES} random bytes, not {len(random)}")
    return base64.b32encode(random[:CODE_BYTES]).decode().lower()


def to_receipt_lines(cost: Cost) -> tuple[ReceiptLine, ...]:
    """The lines of a cost for the screen, VAT included, kWh / minutes / sessions."""
    return tuple(
        ReceiptLine(
            kind=line.kind,
            quantity=decimal_text(line.quantity, 0, 3),
            price=price_text(_line_price(line, cost.tax_included), cost.currency),
            vat_percent="" if line.vat_percent is None else decimal_text(line.vat_percent, 0),
            gross_minor=line.gross_minor,
        )
        for line in cost.lines
    )


def _line_price(line: CostLine, included: TaxIncluded) -> Decimal:
    if line.kind is PriceKind.LIMIT:
        return line.unit_price  # already the gross correction
    return with_vat(line.unit_price, line.vat_percent or Decimal(0), included)


def receipt_of(session: dict[str, Any], settlement: dict[str, Any] | None = None) -> ReceiptDocument:
    """The receipt of an opened session record, with what became of the money if its settlement record is known."""
    payment = session["payment"] or {}
    card = payment.get("card") or {}
    how = "" if settlement is None else settlement["how"]
    return ReceiptDocument(
        number=session["receipt"]["number"],
        code=session["receipt"]["code"],
        terminal=session["terminal"],
        record_seq=session["seq"],
        session_id=session["session_id"],
        seller=session["seller"]["name"],
        seller_address=session["seller"]["address"],
        seller_vat_id=session["seller"]["vat_id"],
        station=session["site"]["station"],
        country=session["site"]["country"],
        time_zone=session["site"]["time_zone"],
        connector=session["connector"],
        evse_id=session["evse_id"],
        begin_utc_ms=session["begin"]["utc_ms"],
        end_utc_ms=session["end"]["utc_ms"],
        clock=max(session["begin"]["clock"], session["end"]["clock"], key="SIU".index),
        charging_ms=session["charging_ms"],
        parking_ms=session["parking_ms"],
        energy_wh=session["energy_wh"],
        meter_start_wh=session["register"]["start_wh"],
        meter_stop_wh=session["register"]["stop_wh"],
        meter_vendor=session["meter"]["vendor"],
        meter_model=session["meter"]["model"],
        meter_serial=session["meter"]["serial"],
        obis=session["meter"]["obis"],
        lines=_recorded_lines(session),
        vat=_vat_lines(session["lines"]),
        currency=session["totals"]["currency"],
        net_minor=session["totals"]["net_minor"],
        vat_minor=session["totals"]["vat_minor"],
        total_minor=session["totals"]["total_minor"],
        money=_money(session["payment"] is not None, how),
        authorized_minor=payment.get("authorized_minor", 0),
        captured_minor=settlement["amount_minor"] if settlement is not None and how == "captured" else 0,
        card_brand=card.get("brand", ""),
        card_last4=card.get("last4", ""),
        card_aid=card.get("aid", ""),
        trace=dict(payment.get("trace", {})),
        stop_reason=session["stop"]["reason"],
        interrupted=session["stop"]["interrupted"],
        ocmf=session["ocmf"]["record"],
        tariff_fingerprint=session["tariff"]["fingerprint"],
        demo=session["demo"],
        software=session["software"],
        max_power_w=session.get("outlet", {}).get("max_power_w", 0),
        current=session.get("outlet", {}).get("current", ""),
        interrupted_from_utc_ms=session["stop"].get("from", {}).get("utc_ms", 0),
        interrupted_until_utc_ms=session["stop"].get("until", {}).get("utc_ms", 0),
        test=session.get("test") is True,
    )


def receipt_of_hold(first: dict[str, Any], last: dict[str, Any] | None = None) -> ReceiptDocument:
    """The receipt of a hold that paid for nothing, from its settlement record; `last`: a later one of the same hold."""
    receipt, end = first["receipt"], last or first
    card = receipt["card"] or {}
    return ReceiptDocument(
        number=receipt["number"],
        code=receipt["code"],
        terminal=first["terminal"],
        record_seq=first["seq"],
        session_id=first["session_id"],
        seller=receipt["seller"]["name"],
        seller_address=receipt["seller"]["address"],
        seller_vat_id=receipt["seller"]["vat_id"],
        station=receipt["site"]["station"],
        country=receipt["site"]["country"],
        time_zone=receipt["site"]["time_zone"],
        connector=receipt["connector"],
        evse_id=receipt["evse_id"],
        begin_utc_ms=receipt["asked_utc_ms"],
        end_utc_ms=receipt["released"]["utc_ms"],
        clock=receipt["released"]["clock"],
        charging_ms=0,
        parking_ms=0,
        energy_wh=0,
        meter_start_wh=0,
        meter_stop_wh=0,
        meter_vendor="",
        meter_model="",
        meter_serial="",
        obis="",
        lines=(),
        vat=(),
        currency=first["currency"],
        net_minor=0,
        vat_minor=0,
        total_minor=0,
        money=_money(True, end["how"]),
        authorized_minor=first["authorized_minor"],
        captured_minor=end["amount_minor"] if end["how"] == "captured" else 0,
        card_brand=card.get("brand", ""),
        card_last4=card.get("last4", ""),
        card_aid=card.get("aid", ""),
        trace=dict(first["trace"]),
        stop_reason=receipt["reason"],
        interrupted=False,
        ocmf="",
        tariff_fingerprint="",
        demo=first["demo"],
        software=first["software"],
        no_charge=receipt["reason"],
    )


def _money(paid: bool, how: str) -> MoneyWords:
    if not paid:
        return MoneyWords.FREE
    return {"captured": MoneyWords.CAPTURED, "voided": MoneyWords.RELEASED, "": MoneyWords.SETTLING}.get(how, MoneyWords.MANUAL)


def _recorded_lines(session: dict[str, Any]) -> tuple[ReceiptLine, ...]:
    included = parse_tariff(session["tariff"]["json"].encode()).tax_included
    found = []
    for line in session["lines"]:
        kind = PriceKind(line["kind"])
        price = Decimal(line["price"]) / (60 if kind in (PriceKind.TIME, PriceKind.PARKING) else 1)
        vat = Decimal(line["vat_percent"] or 0)
        gross = price if kind is PriceKind.LIMIT else with_vat(price, vat, included)
        found.append(
            ReceiptLine(
                kind, line["quantity"], price_text(gross, session["totals"]["currency"]), line["vat_percent"], line["gross_minor"]
            )
        )
    return tuple(found)


def _vat_lines(lines: list[dict[str, Any]]) -> tuple[VatLine, ...]:
    rates: dict[str, list[int]] = {}
    for line in lines:
        sums = rates.setdefault(line["vat_percent"], [0, 0, 0])
        for place, name in enumerate(("net_minor", "vat_minor", "gross_minor")):
            sums[place] += line[name]
    return tuple(VatLine(rate, *sums) for rate, sums in sorted(rates.items(), key=lambda one: Decimal(one[0] or -1)))
