"""Receipt lines as plain text to a character device (`/dev/usb/lp0`) or a file (`ReceiptPrinter`).

Thin on purpose: UTF-8 text and form feed, for printers that take text and for tests. Code pages, QR codes, paper cut and
paper status need ESC/POS (`escpos`). Source: Linux usblp character device, ECMA-48 form feed.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from drivers.printers.link import to_device
from terminal_app.errors import DeviceUnavailable

LINE_LIMIT = 256
END_OF_RECEIPT = "\n\n\f"


class TextFilePrinter:
    """One printer, one thread. The device is opened for each receipt, so it may come and go."""

    def __init__(self, path: Path, device_name: str) -> None:
        self._path = path
        self._device = device_name

    def print_receipt(self, lines: Sequence[str], qr: str) -> None:
        """Blocks up to 20 s. DeviceUnavailable (not there, no paper); then a part may be on paper. Moves no money.

        Instead of a code the address is printed, without the signed line behind it."""
        address = qr.partition("#")[0]
        text = "".join(_printable(line) + "\n" for line in (*lines, *([address] if address else ()))) + END_OF_RECEIPT
        self.check()
        with to_device(str(self._path), self._device) as link:
            link.write(text.encode("utf-8"))

    def check(self) -> None:
        """A regular file is made if missing; a device under /dev never is. DeviceUnavailable."""
        if self._path.is_relative_to("/dev") and not self._path.exists():
            raise DeviceUnavailable(self._device, "port", f"{self._path} cannot be opened: it is not there")
        if not self._path.exists():
            try:
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise DeviceUnavailable(self._device, "port", f"{self._path} cannot be made: {error.strerror}") from error


def _printable(line: str) -> str:
    """Control characters could command the printer; they become spaces."""
    return "".join(character if character.isprintable() else " " for character in line[:LINE_LIMIT])
