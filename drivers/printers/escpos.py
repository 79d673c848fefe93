"""Receipts on an ESC/POS printer (`ReceiptPrinter`): text in the printer's code page, a QR code, cut, paper status.

The command language is python-escpos'; this is the only file that imports it. The way to the printer is ours (`link`), for its
waits are bounded. Source: Epson ESC/POS command reference (DLE EOT: real-time status, GS r: status in order, GS ( k: QR code).
"""

import contextlib
from collections.abc import Sequence

import segno
from escpos.printer import Dummy

from drivers.printers.link import Link, to_device, to_host
from terminal_app.config import EscposSection
from terminal_app.errors import DeviceUnavailable

ANSWER_S = 1.0
PRINTED_S = 25.0
LINE_LIMIT = 256
DOTS_PER_CHARACTER = 12  # font A
LEAST_DOTS, MOST_DOTS = 2, 6  # of one module of a code: 0.25 mm to 0.75 mm at 203 dpi
PAPER, COVER = b"\x10\x04\x04", b"\x10\x04\x02"
IN_ORDER = b"\x1dr\x01"


class EscposPrinter:
    """One printer, one thread. Opened for each use."""

    def __init__(self, section: EscposSection, device_name: str) -> None:
        self._section, self._device = section, device_name

    def print_receipt(self, lines: Sequence[str], qr: str) -> None:
        """Blocks up to 60 s. DeviceUnavailable (not there, paper, cover); then a part may be on paper. Moves no money."""
        page = self._page(lines, qr)
        with self._opened() as link:
            answers = self._refuse_what_cannot_print(link)
            link.write(page)
            if answers:
                self._wait_until_printed(link)

    def check(self) -> None:
        """Blocks up to 10 s. DeviceUnavailable if it is known that nothing can be printed now."""
        with self._opened() as link:
            self._refuse_what_cannot_print(link)

    def _opened(self) -> contextlib.AbstractContextManager[Link]:
        section = self._section
        if section.host:
            return to_host(section.host, section.tcp_port, self._device)
        return to_device(section.device, self._device)

    def _page(self, lines: Sequence[str], qr: str) -> bytes:
        paper = Dummy()
        paper.hw("INIT")
        paper.charcode(self._section.code_page)
        for line in lines:
            paper.text(printable(line) + "\n")
        if qr and self._section.qr != "none":
            paper.text("\n")
            code = segno.make(qr, error="l", boost_error=False, micro=False)
            dots = self._dots(int(code.symbol_size()[0]))
            if self._section.qr == "native":
                paper.qr(qr, size=dots, native=True)
            else:
                paper._raw(raster([tuple(row) for row in code.matrix_iter(scale=dots, border=4)]))
        if self._section.cut:
            paper.cut()
        else:
            paper.text("\n" * 6)
        return bytes(paper.output)

    def _dots(self, modules: int) -> int:
        """Dots of one module, so that the code is as large as the paper allows."""
        return max(LEAST_DOTS, min(MOST_DOTS, self._section.width * DOTS_PER_CHARACTER // modules))

    # --- what the printer says of itself -------------------------------------------------------------------------------

    def _refuse_what_cannot_print(self, link: Link) -> bool:
        """Whether it answers at all; some do not, and are believed to be well."""
        if not self._section.status or not link.answers:
            return False
        cover, paper = self._ask(link, COVER), self._ask(link, PAPER)
        if cover is not None and cover & 0x04:
            raise DeviceUnavailable(self._device, "cover", "the cover is open")
        if paper is not None and paper & 0x60:
            raise DeviceUnavailable(self._device, "paper", "there is no paper")
        return cover is not None or paper is not None

    def _ask(self, link: Link, question: bytes) -> int | None:
        link.forget_old_answers()
        link.write(question)
        found = link.byte(ANSWER_S)
        return found if found is not None and found & 0x93 == 0x12 else None  # the form of every such answer

    def _wait_until_printed(self, link: Link) -> None:
        """Asked behind the receipt, answered when it has been printed."""
        link.forget_old_answers()
        link.write(IN_ORDER)
        if link.byte(PRINTED_S) is not None:
            return
        self._refuse_what_cannot_print(link)
        raise DeviceUnavailable(self._device, "timeout", f"did not finish the receipt within {PRINTED_S:.0f} s")


def raster(rows: Sequence[Sequence[int]]) -> bytes:
    """GS v 0: a picture, one bit a dot, 1 = black; lines are filled up to whole bytes."""
    across = (len(rows[0]) + 7) // 8
    lines = (int("".join("01"[bool(dot)] for dot in row).ljust(across * 8, "0"), 2).to_bytes(across) for row in rows)
    return b"\x1dv0\x00" + across.to_bytes(2, "little") + len(rows).to_bytes(2, "little") + b"".join(lines) + b"\n"


def printable(line: str) -> str:
    """Control characters could command the printer; they become spaces."""
    return "".join(character if character.isprintable() else " " for character in line[:LINE_LIMIT])
