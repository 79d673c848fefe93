"""Invoice and credit note as data, made from a sealed session record and nothing else. PURE; moves no money.

Net, VAT and gross of every line and rate are the record's own, to the cent; a net unit price is the tariff's price without VAT,
up to six decimals, for reading. What must stand on it: Directive 2006/112/EC Art. 226, section 14 (4) UStG, the business terms of
EN 16931 (seller BG-4, buyer BG-7, number BT-1, date BT-2, period BG-14, lines BG-25, VAT per rate BG-23, preceding invoice BG-3).
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec

from terminal_app import units
from terminal_app.billing.model import TaxIncluded
from terminal_app.billing.tariff import decimal_text, parse_tariff
from terminal_app.screens import PriceKind

__all__ = ["Buyer", "Document", "DocumentLine", "Paid", "RateSum", "credit_note", "invoice", "rates_of", "record_document_lines"]


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """As typed by whoever has the receipt. `country` ISO 3166-1 alpha-2; `vat_id` and `reference` may be ""."""

    name: str
    street: str
    city: str
    country: str
    vat_id: str = ""
    reference: str = ""


class DocumentLine(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` as in the record (a price's kind, "credit" for a part of a bill), or "before" for what an earlier credit note took
    back already. `unit` kWh, min or "".
    `vat_percent` "": no VAT applies."""

    kind: str
    quantity: str
    unit: str
    net_price: str
    vat_percent: str
    net_minor: int
    vat_minor: int
    gross_minor: int


class RateSum(msgspec.Struct, frozen=True):
    """Sums of the lines of one VAT rate."""

    vat_percent: str
    net_minor: int
    vat_minor: int
    gross_minor: int


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """How and how much was really taken; `given_back_minor` of it before the document was issued."""

    card_brand: str
    card_last4: str
    captured_minor: int
    given_back_minor: int


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """All that an invoice or credit note says. `about` "": an invoice; else the number of the invoice it takes back, and `cause`
    why: buyer, cancel or credit, with `reason` in somebody's words."""

    v: int = 1
    number: str
    issued_utc_ms: int
    time_zone: str
    language: str
    demo: bool
    about: str
    about_issued_utc_ms: int
    cause: str
    reason: str
    seller_name: str
    seller_address: str
    seller_vat_id: str
    buyer: Buyer
    begin_utc_ms: int
    end_utc_ms: int
    site_time_zone: str
    station: str
    connector: int
    evse_id: str
    meter_serial: str
    start_wh: int
    stop_wh: int
    session_id: str
    receipt_number: str
    record_sha256: str
    currency: str
    lines: tuple[DocumentLine, ...]
    rates: tuple[RateSum, ...]
    net_minor: int
    vat_minor: int
    gross_minor: int
    paid: Paid


_UNITS = {PriceKind.ENERGY.value: "kWh", PriceKind.TIME.value: "min", PriceKind.PARKING.value: "min"}
_BY_THE_HOUR = (PriceKind.TIME.value, PriceKind.PARKING.value)
_SUMS = (PriceKind.LIMIT.value, "credit")
"""Lines that are an amount and no quantity at a price: a price limit, a part of a bill that is credited."""


def record_document_lines(record: dict[str, Any], tariff_json: str) -> tuple[DocumentLine, ...]:
    """The lines of a session or credit record. `tariff_json`: of the session (it says whether prices include VAT)."""
    included = parse_tariff(tariff_json.encode()).tax_included
    return tuple(_line(line, included, record["totals"]["currency"]) for line in record["lines"])


def _line(line: dict[str, Any], included: TaxIncluded, currency: str) -> DocumentLine:
    is_sum = line["kind"] in _SUMS
    return DocumentLine(
        kind=line["kind"],
        quantity="1" if is_sum else line["quantity"],
        unit=_UNITS.get(line["kind"], ""),
        net_price=str(units.major(line["net_minor"], currency)) if is_sum else _net_price(line, included, currency),
        vat_percent=line["vat_percent"],
        net_minor=line["net_minor"],
        vat_minor=line["vat_minor"],
        gross_minor=line["gross_minor"],
    )


def _net_price(line: dict[str, Any], included: TaxIncluded, currency: str) -> str:
    with localcontext() as context:
        context.prec = 50
        price = Decimal(line["price"]) / (60 if line["kind"] in _BY_THE_HOUR else 1)
        if included is TaxIncluded.YES and line["vat_percent"]:
            price = price * 100 / (100 + Decimal(line["vat_percent"]))
        return decimal_text(price, units.exponent(currency), 6)


def rates_of(lines: Sequence[DocumentLine]) -> tuple[RateSum, ...]:
    """Per VAT rate, the lowest first."""
    sums: dict[str, list[int]] = {}
    for line in lines:
        one = sums.setdefault(line.vat_percent, [0, 0, 0])
        for at, minor in enumerate((line.net_minor, line.vat_minor, line.gross_minor)):
            one[at] += minor
    return tuple(RateSum(rate, *one) for rate, one in sorted(sums.items(), key=lambda each: Decimal(each[0] or -1)))


def invoice(
    session: dict[str, Any],
    *,
    number: str,
    issued_utc_ms: int,
    time_zone: str,
    language: str,
    buyer: Buyer,
    captured_minor: int,
    given_back_minor: int,
    record_sha256: str,
) -> Document:
    """The invoice of an opened session record. ValueError if its lines do not make its totals (then nothing may be issued)."""
    payment = session["payment"] or {}
    card = payment.get("card") or {}
    lines = record_document_lines(session, session["tariff"]["json"])
    totals = session["totals"]
    document = Document(
        number=number,
        issued_utc_ms=issued_utc_ms,
        time_zone=time_zone,
        language=language,
        demo=session["demo"],
        about="",
        about_issued_utc_ms=0,
        cause="",
        reason="",
        seller_name=session["seller"]["name"],
        seller_address=session["seller"]["address"],
        seller_vat_id=session["seller"]["vat_id"],
        buyer=buyer,
        begin_utc_ms=session["begin"]["utc_ms"],
        end_utc_ms=session["end"]["utc_ms"],
        site_time_zone=session["site"]["time_zone"],
        station=session["site"]["station"],
        connector=session["connector"],
        evse_id=session["evse_id"],
        meter_serial=session["meter"]["serial"],
        start_wh=session["register"]["start_wh"],
        stop_wh=session["register"]["stop_wh"],
        session_id=session["session_id"],
        receipt_number=session["receipt"]["number"],
        record_sha256=record_sha256,
        currency=totals["currency"],
        lines=lines,
        rates=rates_of(lines),
        net_minor=totals["net_minor"],
        vat_minor=totals["vat_minor"],
        gross_minor=totals["total_minor"],
        paid=Paid(
            card_brand=card.get("brand", ""),
            card_last4=card.get("last4", ""),
            captured_minor=captured_minor,
            given_back_minor=given_back_minor,
        ),
    )
    _check(document)
    return document


def credit_note(
    original: Document,
    *,
    number: str,
    issued_utc_ms: int,
    cause: str,
    reason: str,
    lines: Sequence[DocumentLine] = (),
    before: Sequence[Document] = (),
) -> Document:
    """Takes back `lines` (already negative) of an invoice, or without `lines` all that the credit notes `before` left of it.
    ValueError if it would take back more than that, or ask for money."""
    taken = tuple(lines) or (
        *(_negated(line, line.kind) for line in original.lines),
        *(_negated(line, "before") for note in before for line in note.lines),
    )
    rates = rates_of(taken)
    document = msgspec.structs.replace(
        original,
        number=number,
        issued_utc_ms=issued_utc_ms,
        about=original.number,
        about_issued_utc_ms=original.issued_utc_ms,
        cause=cause,
        reason=reason,
        lines=taken,
        rates=rates,
        net_minor=sum(one.net_minor for one in rates),
        vat_minor=sum(one.vat_minor for one in rates),
        gross_minor=sum(one.gross_minor for one in rates),
    )
    _check(document)
    left = original.gross_minor + sum(note.gross_minor for note in before) + document.gross_minor
    if document.gross_minor > 0 or left < 0:
        raise ValueError(f"a credit note of {document.gross_minor} does not fit invoice {original.number}")
    return document


def _negated(line: DocumentLine, kind: str) -> DocumentLine:
    changed = {name: -getattr(line, name) for name in ("net_minor", "vat_minor", "gross_minor")}
    return msgspec.structs.replace(line, kind=kind, **changed)


def _check(document: Document) -> None:
    for name in ("net_minor", "vat_minor", "gross_minor"):
        if sum(getattr(line, name) for line in document.lines) != getattr(document, name):
            raise ValueError(f"invoice {document.number}: the lines do not add up to the total ({name})")
    parts: tuple[DocumentLine | RateSum, ...] = (*document.lines, *document.rates)
    if any(one.net_minor + one.vat_minor != one.gross_minor for one in parts):
        raise ValueError(f"invoice {document.number}: net and VAT of a line do not make its gross")
