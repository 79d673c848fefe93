"""Documents on paper: what was given stands on them, the same content gives the same bytes, and limits are said."""

import io
import re

import pypdf
import pytest

from terminal_app.paper import MAX_ROWS, Grid, Sheet, pdf_of

SHEET = Sheet(
    title="Receipt T-1-000001",
    sender=("Example Charging", "1 Example Street"),
    facts=(("Energy", "12.300 kWh"),),
    grids=(Grid(("What", "Price", "Sum"), (("Energy", "0.59", "7.26"), ("Total", "", "7.26")), figures=2, strong=1),),
    notes=("Nothing was charged; <the hold> & all of it was released.",),
    qr="https://office.example/r/abc",
    qr_text="Scan to verify",
)


def test_the_same_sheet_gives_the_same_bytes() -> None:
    assert pdf_of(SHEET) == pdf_of(SHEET)
    assert pdf_of(SHEET).startswith(b"%PDF-")


def test_a_long_table_breaks_into_pages() -> None:
    rows = tuple((str(number), "1", "2") for number in range(200))
    pages = re.findall(rb"/Type /Page\b", pdf_of(Sheet("Long", ("x",), grids=(Grid(("a", "b", "c"), rows, 2),))))
    assert len(pages) > 2


@pytest.mark.parametrize(
    ("grid", "why"),
    [(Grid(("a", "b"), (("1",),)), "does not fit"), (Grid(("a",), (("1",),) * (MAX_ROWS + 1)), "rows are more than")],
)
def test_what_does_not_fit_is_said(grid: Grid, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pdf_of(Sheet("Odd", ("x",), grids=(grid,)))


def test_signs_of_markup_are_text() -> None:
    text = pypdf.PdfReader(io.BytesIO(pdf_of(SHEET))).pages[0].extract_text()
    assert "<the hold> & all of it" in text
    assert "7.26" in text
