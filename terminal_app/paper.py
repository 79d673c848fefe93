"""Documents as PDF: one plain sheet for receipts, invoices, statements and reports. The only module that imports reportlab.

The same content gives the same bytes (no clock, no chance inside), so that a document can be made again and compared. Text is
laid out as it comes: words, numbers and their form are the caller's. Bounded by MAX_ROWS. Moves no money.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

import segno
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

__all__ = ["MAX_ROWS", "Grid", "Sheet", "pdf_of"]

MAX_ROWS = 20_000
_FACES = (Path("/usr/share/fonts/truetype/dejavu"), ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"))
_LINE, _SHADE = HexColor("#b0b0b0"), HexColor("#f0f0f0")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: heads, rows of the same length, and how many of the last columns are figures (set flush right). `strong`: so
    many last rows are totals. `widths` in mm, () = shared out evenly. A line feed in a cell begins a new line of it."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    figures: int = 0
    strong: int = 0
    widths: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """What stands on the paper, top to bottom. `facts` are pairs of name and value; `qr` "" = none, `qr_text` stands beside it."""

    title: str
    sender: tuple[str, ...]
    receiver: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()
    qr: str = ""
    qr_text: str = ""
    page_word: str = "Page"


def pdf_of(sheet: Sheet) -> bytes:
    """The sheet as PDF, A4. ValueError for a table that is too long or crooked. Any thread."""
    for grid in sheet.grids:
        if len(grid.rows) > MAX_ROWS:
            raise ValueError(f"{sheet.title}: {len(grid.rows)} rows are more than {MAX_ROWS}: take a shorter time")
        if any(len(row) != len(grid.heads) for row in grid.rows):
            raise ValueError(f"{sheet.title}: a row does not fit its heads")
    plain, bold = _faces()
    text = ParagraphStyle("text", fontName=plain, fontSize=9, leading=12)
    small = ParagraphStyle("small", parent=text, fontSize=8, leading=10.5)
    title = ParagraphStyle("title", parent=text, fontName=bold, fontSize=15, leading=19, spaceBefore=4 * mm, spaceAfter=3 * mm)
    story: list[Flowable] = [_lines(sheet.sender, text)]
    if sheet.receiver:
        story += [Spacer(0, 8 * mm), _lines(sheet.receiver, text)]
    story.append(Paragraph(escape(sheet.title), title))
    if sheet.facts:
        cells = [[Paragraph(escape(name), small), Paragraph(escape(value), small)] for name, value in sheet.facts]
        story += [Table(cells, (52 * mm, 118 * mm), style=TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *_tight()]))]
    for grid in sheet.grids:
        story += [Spacer(0, 5 * mm), _table(grid, small, bold)]
    story.append(Spacer(0, 5 * mm))
    story += [Paragraph(escape(note), text) for note in sheet.notes]
    if sheet.qr:
        story += [Spacer(0, 4 * mm), _qr(sheet.qr), Paragraph(escape(sheet.qr_text), small)]
    return _built(sheet, story, plain)


def _built(sheet: Sheet, story: list[Flowable], plain: str) -> bytes:
    file = io.BytesIO()
    margins = {"leftMargin": 20 * mm, "rightMargin": 20 * mm, "topMargin": 18 * mm, "bottomMargin": 18 * mm}
    document = SimpleDocTemplate(file, pagesize=A4, title=sheet.title, author=" ".join(sheet.sender[:1]), invariant=1, **margins)

    def foot(canvas: object, paper: object) -> None:
        canvas.setFont(plain, 8)  # type: ignore[attr-defined]
        canvas.drawRightString(190 * mm, 10 * mm, f"{sheet.page_word} {paper.page}")  # type: ignore[attr-defined]

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return file.getvalue()


def _lines(lines: tuple[str, ...], style: ParagraphStyle) -> Paragraph:
    return Paragraph("<br/>".join(escape(one) for one in lines), style)


def _table(grid: Grid, style: ParagraphStyle, bold: str) -> Table:
    right = ParagraphStyle("right", parent=style, alignment=2)
    first_figure, first_strong = len(grid.heads) - grid.figures, len(grid.rows) - grid.strong

    def cell(column: int, value: str, strong: bool) -> Paragraph:
        face = right if column >= first_figure else style
        text = escape(value).replace("\n", "<br/>")
        return Paragraph(f'<font name="{bold}">{text}</font>' if strong else text, face)

    cells = [[cell(column, head, True) for column, head in enumerate(grid.heads)]]
    cells += [[cell(column, value, at >= first_strong) for column, value in enumerate(row)] for at, row in enumerate(grid.rows)]
    widths = [width * mm for width in grid.widths] or [170 * mm / len(grid.heads)] * len(grid.heads)
    look = [("BACKGROUND", (0, 0), (-1, 0), _SHADE), ("LINEBELOW", (0, 0), (-1, -1), 0.3, _LINE)]
    look.append(("VALIGN", (0, 0), (-1, -1), "TOP"))
    return Table(cells, widths, repeatRows=1, style=TableStyle([*look, *_tight()]))


def _tight() -> list[tuple[object, ...]]:
    return [("TOPPADDING", (0, 0), (-1, -1), 1.2), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.2), ("LEFTPADDING", (0, 0), (-1, -1), 2)]


def _qr(content: str) -> Image:
    picture = io.BytesIO()
    segno.make(content, error="m", micro=False).save(picture, kind="png", scale=6, border=2)
    picture.seek(0)
    return Image(picture, 36 * mm, 36 * mm, hAlign="LEFT")


@cache
def _faces() -> tuple[str, str]:
    """DejaVu where Debian's fonts-dejavu-core is installed (all of Latin, Greek, Cyrillic); else what the library brings."""
    folder, files = _FACES
    if all((folder / file).is_file() for file in files):
        for name, file in zip(("Sheet", "Sheet-Bold"), files, strict=True):
            registerFont(TTFont(name, folder / file))
        return "Sheet", "Sheet-Bold"
    return "Helvetica", "Helvetica-Bold"
