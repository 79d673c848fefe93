"""An invoice or credit note as PDF, and a month of them as CSV (RFC 4180, fixed header, no locale). Lays out; computes nothing."""

from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from terminal_app import units
from terminal_app.billing.exports.table import csv_line
from terminal_app.billing.invoice import Document
from terminal_app.office.document_words import DOCUMENT_WORDS, amount_text, number_text
from terminal_app.office.local_time import clock_words, moment_text
from terminal_app.paper import Grid, Sheet, pdf_of

HEADER = (
    "number", "kind", "issued", "about", "cause", "receipt_number", "session_id", "terminal", "buyer_name", "buyer_street",
    "buyer_city", "buyer_country", "buyer_vat_id", "reference", "delivery_begin", "delivery_end", "vat_percent", "net", "vat",
    "gross", "currency", "demo", "actor", "reason",
)  # fmt: skip


def pdf_invoice(document: Document) -> bytes:
    """The same document gives the same bytes."""
    words = DOCUMENT_WORDS[document.language]
    buyer = document.buyer
    sheet = Sheet(
        title=words["credit" if document.about else "invoice"].format(document.number),
        sender=tuple(
            line
            for line in (
                document.seller_name,
                document.seller_address,
                f"{words['vat_id']} {document.seller_vat_id}" if document.seller_vat_id else "",
                words["demo"] if document.demo else "",
            )
            if line
        ),
        receiver=(buyer.name, buyer.street, buyer.city, buyer.country),
        facts=tuple(_facts(document)),
        grids=(_lines(document), _rates(document)),
        notes=tuple(_notes(document)) + ((words["demo"],) if document.demo else ()),
        page_word=words["page"],
    )
    return pdf_of(sheet)


def _facts(document: Document) -> Iterable[tuple[str, str]]:
    words, office, site = DOCUMENT_WORDS[document.language], ZoneInfo(document.time_zone), ZoneInfo(document.site_time_zone)
    yield words["invoice_number"], document.number
    yield words["invoice_date"], clock_words(document.issued_utc_ms, office, "%Y-%m-%d")
    if document.about:
        yield words["corrects"], f"{document.about}, {clock_words(document.about_issued_utc_ms, office, '%Y-%m-%d')}"
        yield words["cause"], words[f"cause_{document.cause}"].format(document.reason)
    begin, end = (clock_words(utc_ms, site, "%Y-%m-%d %H:%M:%S %Z") for utc_ms in (document.begin_utc_ms, document.end_utc_ms))
    yield words["delivery"], f"{begin} – {end}"
    if document.buyer.vat_id:
        yield words["buyer_vat_id"], document.buyer.vat_id
    if document.buyer.reference:
        yield words["reference"], document.buyer.reference
    yield words["receipt_number"], document.receipt_number
    yield words["station"], f"{document.station}, {words['connector']} {document.connector}, {document.evse_id}"
    registers = " – ".join(f"{number_text(units.kwh(wh), document.language)} kWh" for wh in (document.start_wh, document.stop_wh))
    yield words["registers"], f"{registers} ({words['meter']} {document.meter_serial})"
    yield words["session_id"], document.session_id


def _lines(document: Document) -> Grid:
    words, language = DOCUMENT_WORDS[document.language], document.language
    rows = [
        (
            words[f"line_{line.kind}"],
            f"{number_text(line.quantity, language)} {line.unit}".strip(),
            number_text(line.net_price, language),
            _percent(document, line.vat_percent),
            *(number_text(units.major(minor, document.currency), language) for minor in (line.net_minor, line.gross_minor)),
        )
        for line in document.lines
    ]
    heads = tuple(words[name] for name in ("description", "quantity", "unit_price", "vat_rate", "net", "gross"))
    return Grid(heads, rows, figures=5, widths=(48, 28, 28, 20, 23, 23))


def _rates(document: Document) -> Grid:
    words, language, currency = DOCUMENT_WORDS[document.language], document.language, document.currency

    def figures(*minor: int) -> tuple[str, ...]:
        return tuple(amount_text(one, currency, language) for one in minor)

    rows = [
        (_percent(document, one.vat_percent), *figures(one.net_minor, one.vat_minor, one.gross_minor)) for one in document.rates
    ]
    rows.append((words["total"], *figures(document.net_minor, document.vat_minor, document.gross_minor)))
    heads = tuple(words[name] for name in ("vat_rate", "net", "vat", "gross"))
    return Grid(heads, rows, figures=3, strong=1, widths=(50, 40, 40, 40))


def _percent(document: Document, rate: str) -> str:
    return f"{number_text(rate, document.language)} %" if rate else DOCUMENT_WORDS[document.language]["no_vat"]


def _notes(document: Document) -> Iterable[str]:
    words, paid = DOCUMENT_WORDS[document.language], document.paid
    if document.about:
        return

    def money(minor: int) -> str:
        return amount_text(minor, document.currency, document.language)

    if paid.captured_minor < document.gross_minor:
        yield words["paid_part"].format(money(paid.captured_minor), money(document.gross_minor - paid.captured_minor))
    elif paid.card_last4:
        yield words["paid_card"].format(paid.card_brand, paid.card_last4, money(paid.captured_minor))
    else:
        yield words["paid"].format(money(paid.captured_minor))
    if paid.given_back_minor:
        yield words["given_back"].format(money(paid.given_back_minor))
    yield words["rounding"]


def csv_of(rows: Iterable[dict[str, Any]]) -> str:
    """Rows of `invoices`: one line per document and VAT rate."""
    lines = [csv_line(HEADER)]
    for row in rows:
        document = msgspec.json.decode(row["content"], type=Document)
        office, site, buyer = ZoneInfo(document.time_zone), ZoneInfo(document.site_time_zone), document.buyer
        same = {name: row[name] for name in ("number", "kind", "about", "receipt_number", "session_id", "terminal", "currency")}
        same |= {"issued": moment_text(document.issued_utc_ms, office), "cause": document.cause, "reason": row["reason"]}
        same |= {f"buyer_{name}": getattr(buyer, name) for name in ("name", "street", "city", "country", "vat_id")}
        same |= {"reference": buyer.reference, "demo": "yes" if document.demo else "no", "actor": row["actor"]}
        same |= {"delivery_begin": moment_text(document.begin_utc_ms, site), "delivery_end": moment_text(document.end_utc_ms, site)}
        for rate in document.rates:
            said = same | {"vat_percent": rate.vat_percent}
            said |= {name: units.major(getattr(rate, f"{name}_minor"), document.currency) for name in ("net", "vat", "gross")}
            lines.append(csv_line(tuple(str(said[name]) for name in HEADER)))
    return "".join(lines)
