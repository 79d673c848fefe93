"""Receipt lines as plain text to a character device (`/dev/usb/lp0`) or a file (`ReceiptPrinter`).

Thin on purpose: UTF-8 text and form feed, for printers that take text and for tests. Code pages, QR codes, paper cut and
paper status need ESC/POS and come with the receipts work. Source: Linux usblp character device, ECMA-48 form feed.
"""

import os
import select
import time
from pathlib import Path

from terminal_app.errors import DeviceUnavailable

PRINT_LIMIT_S = 10.0
LINE_LIMIT = 256
END_OF_RECEIPT = "\n\n\f"


class TextFilePrinter:
    """One printer, one thread. The device is opened for each receipt, so it may come and go."""

    def __init__(self, path: Path, device_name: str) -> None:
        self._path = path
        self._device = device_name

    def print_lines(self, lines: list[str]) -> None:
        """Blocks up to 10 s. DeviceUnavailable (not there, no paper); then a part may be on paper. Moves no money."""
        text = "".join(_printable(line) + "\n" for line in lines) + END_OF_RECEIPT
        try:
            # a regular file is made if missing; a device under /dev never is
            create = 0 if self._path.is_relative_to("/dev") else os.O_CREAT
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | create, 0o600)
        except OSError as error:
            raise DeviceUnavailable(self._device, "port", f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            self._write(file, text.encode("utf-8"))
        except OSError as error:
            raise DeviceUnavailable(self._device, "port", f"{self._path}: {error.strerror}") from error
        finally:
            os.close(file)

    def _write(self, file: int, rest: bytes) -> None:
        deadline = time.monotonic() + PRINT_LIMIT_S
        while rest:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([], [file], [], remaining)[1]:
                raise DeviceUnavailable(self._device, "timeout", f"{self._path} takes no more text; check paper and cover")
            try:
                rest = rest[os.write(file, rest) :]
            except BlockingIOError:
                continue


def _printable(line: str) -> str:
    """Control characters could command the printer; they become spaces."""
    return "".join(character if character.isprintable() else " " for character in line[:LINE_LIMIT])
