"""The receipt printer of a configuration section. Nothing is opened yet: a missing printer is told by `check`."""

from pathlib import Path
from typing import assert_never

from drivers.printers.text_file import TextFilePrinter
from terminal_app.config import EscposSection, PrinterSection, TextPrinterSection
from terminal_app.ports import ReceiptPrinter


def open_printer(section: PrinterSection) -> ReceiptPrinter:
    """The driver of the section's `driver`."""
    match section:
        case EscposSection():
            from drivers.printers.escpos import EscposPrinter  # a second and 40 MB that only its owners pay

            return EscposPrinter(section, "printer")
        case TextPrinterSection():
            return TextFilePrinter(Path(section.device), "printer")
        case _:
            assert_never(section)
