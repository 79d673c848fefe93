"""What an ESC/POS printer makes of bytes: lines of text, codes, pictures, cuts. Its own reading of the command language.

Source: Epson ESC/POS command reference. Commands outside of what is here are counted as unreadable and end nothing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

ESC, GS, DLE, FS = 0x1B, 0x1D, 0x10, 0x1C
CODE_PAGES = {0: "cp437", 2: "cp850", 16: "cp1252", 19: "cp858"}
ESC_ARGUMENTS = {
    ord("@"): 0,
    ord("t"): 1,
    ord("d"): 1,
    ord("J"): 1,
    ord("a"): 1,
    ord("!"): 1,
    ord("E"): 1,
    ord("M"): 1,
    ord("R"): 1,
}


@dataclass
class Receipt:
    """What one piece of paper shows."""

    lines: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    cut: bool = False

    def told(self) -> dict[str, Any]:
        return {"lines": self.lines, "codes": self.codes, "pictures": self.pictures, "cut": self.cut}


class Paper:
    """Takes bytes in any portions. `paper_lines` None: plenty; at 0 nothing more is printed until paper is put in."""

    def __init__(self, paper_lines: int | None = None) -> None:
        self.paper_lines = paper_lines
        self.receipts: list[Receipt] = []
        self.unreadable: list[str] = []
        self.answers = bytearray()  # what the printer says back, in order of the commands
        self._open = Receipt()
        self._line = ""
        self._page = "cp437"
        self._code = b""
        self._rest = bytearray()

    @property
    def out(self) -> bool:
        return self.paper_lines == 0

    @property
    def current(self) -> Receipt:
        return self._open

    def feed(self, data: bytes) -> None:
        self._rest += data
        while self._rest and not self.out:
            used = self._one()
            if used == 0:
                return  # a command whose end has not come yet
            del self._rest[:used]

    def _one(self) -> int:
        """Carries out what stands first; how many bytes that was, 0 if its end is missing."""
        first = self._rest[0]
        if first == 0x0A:
            self._feed_line()
            return 1
        if first == ESC:
            return self._esc()
        if first == GS:
            return self._gs()
        if first == FS or first < 0x20:
            return self._strange(2 if first == FS else 1)
        self._line += bytes(self._rest[:1]).decode(self._page)
        return 1

    def _esc(self) -> int:
        if len(self._rest) < 2:
            return 0
        what = self._rest[1]
        if what not in ESC_ARGUMENTS:
            return self._strange(2)
        size = 2 + ESC_ARGUMENTS[what]
        if len(self._rest) < size:
            return 0
        if what == ord("@"):
            self._line, self._page = "", "cp437"
        elif what == ord("t"):
            if self._rest[2] not in CODE_PAGES:
                return self._strange(3)
            self._page = CODE_PAGES[self._rest[2]]
        elif what == ord("d"):
            for _ in range(self._rest[2]):
                self._feed_line()
        return size

    def _gs(self) -> int:
        if len(self._rest) < 3:
            return 0
        what = self._rest[1]
        if what == ord("V"):
            size = 4 if self._rest[2] in (65, 66) else 3
            if len(self._rest) < size:
                return 0
            self._cut()
            return size
        if what == ord("r"):
            self.answers.append(0x00)
            return 3
        if what == ord("("):
            return self._symbol()
        if what == ord("v"):
            return self._picture()
        return self._strange(2)

    def _symbol(self) -> int:
        if len(self._rest) < 5:
            return 0
        size = 5 + self._rest[3] + 256 * self._rest[4]
        if len(self._rest) < size:
            return 0
        data = bytes(self._rest[5:size])
        if self._rest[2] != ord("k") or data[:1] != b"1":
            return self._strange(size)
        if data[1:2] == b"P":
            self._code = data[3:]
        elif data[1:2] == b"Q":
            self._open.codes.append(self._code.decode("utf-8", "replace"))
        return size

    def _picture(self) -> int:
        if len(self._rest) < 8:
            return 0
        across, down = self._rest[4] + 256 * self._rest[5], self._rest[6] + 256 * self._rest[7]
        size = 8 + across * down
        if len(self._rest) < size:
            return 0
        dots = base64.b64encode(bytes(self._rest[8:size])).decode()
        self._open.pictures.append({"width": across * 8, "height": down, "dots": dots})
        return size

    def _feed_line(self) -> None:
        self._open.lines.append(self._line)
        self._line = ""
        if self.paper_lines is not None and self.paper_lines > 0:
            self.paper_lines -= 1

    def _cut(self) -> None:
        self._open.cut = True
        self.receipts.append(self._open)
        self._open = Receipt()

    def _strange(self, size: int) -> int:
        self.unreadable.append(bytes(self._rest[:size]).hex())
        return size
