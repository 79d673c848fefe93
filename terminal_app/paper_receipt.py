"""A receipt as PDF, for the office's page, the technician's tool and whoever has the record. The same sections as on paper.

Pure but for the fonts that `paper` reads. Moves no money.
"""

from terminal_app.billing.receipt import ReceiptDocument
from terminal_app.billing.receipt_templates import Template, in_language, template_for
from terminal_app.billing.receipt_text import closing, head, measurement, money, payment, rate_name, sender, sentences, times
from terminal_app.paper import Grid, Sheet, pdf_of

__all__ = ["receipt_pdf", "receipt_sheet"]


def receipt_pdf(document: ReceiptDocument, language: str = "", address: str = "") -> bytes:
    """A4. `language` "" = the country's; `address`: the receipt page, as a QR code. The same receipt gives the same bytes."""
    return pdf_of(receipt_sheet(document, language, address))


def receipt_sheet(document: ReceiptDocument, language: str = "", address: str = "") -> Sheet:
    """What stands on it, in order."""
    template = in_language(template_for(document.country), language)
    words = template.words
    said, facts = sentences(head(document, template))
    measured_said, measured = sentences(measurement(document, template))
    paid_said, paid = sentences(payment(document, template))
    closing_said, closed = sentences(closing(document, template))
    return Sheet(
        title=f"{words['receipt']} {document.number}",
        sender=tuple(sender(document, template)),
        facts=(*facts, *measured, *paid, *closed),
        grids=() if document.no_charge else (_lines(document, template), _rates(document, template)),
        notes=(*said, *measured_said, *paid_said, *closing_said),
        qr=address,
        qr_text=words["scan"] if address else "",
        page_word=words["page"],
    )


def _lines(one: ReceiptDocument, template: Template) -> Grid:
    words = template.words
    rows = [
        (
            words[f"kind_{line.kind.value}"],
            times(line, template),
            rate_name(line.vat_percent, template),
            money(line.gross_minor, one, template),
        )
        for line in one.lines
    ]
    rows.append((words["total"], "", "", f"{money(one.total_minor, one, template)} {one.currency}"))
    heads = (words["what"], f"{words['quantity']} x {words['price']}", words["tax"], words["sum"])
    return Grid(heads, rows, figures=1, strong=1, widths=(50, 65, 25, 30))


def _rates(one: ReceiptDocument, template: Template) -> Grid:
    words = template.words
    rows = [
        (
            rate_name(rate.vat_percent, template),
            *(money(sum_, one, template) for sum_ in (rate.net_minor, rate.vat_minor, rate.gross_minor)),
        )
        for rate in one.vat
    ]
    return Grid((words["tax"], words["net"], words["tax"], words["gross"]), rows, figures=3)
