"""What is really on the glass: when a frame was flipped, whether touches count, and pictures of the framebuffer."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from kivy.core.window import Window
from kivy.graphics.opengl import GL_RGB, GL_UNSIGNED_BYTE, glFinish, glReadPixels


class Glass:
    """Watches the window's flips. `flipped` runs after each one; `capture` reads the next frame just before it."""

    def __init__(self, flipped: Callable[[], None]) -> None:
        self._flipped = flipped
        self._wanted: list[tuple[Path, Path | None]] = []
        self._flip = Window.flip
        Window.flip = self._watched_flip  # Kivy's on_flip event comes before the flip; nothing tells of its end
        Window.bind(on_flip=self._before_flip)

    def release(self) -> None:
        Window.flip = self._flip
        Window.unbind(on_flip=self._before_flip)

    def redraw(self) -> None:
        """Make sure that a frame is drawn even if no pixel would change."""
        Window.canvas.ask_update()

    def capture(self, path: Path, request: Path | None = None) -> None:
        """Write the next frame as PNG; the file appears whole or not at all. Then `request` is deleted."""
        self._wanted.append((path, request))
        self.redraw()

    def _before_flip(self, *_: object) -> None:
        wanted, self._wanted = self._wanted, []
        for path, request in wanted:
            write_png(path, *pixels())
            if request is not None:
                request.unlink(missing_ok=True)

    def _watched_flip(self) -> None:
        glFinish()  # all of the frame is drawn before it counts as shown; and SDL's offscreen driver else queues frames without end
        self._flip()
        self._flipped()


def pixels() -> tuple[int, int, bytes]:
    """Width, height and RGB rows from the bottom up, of the frame being drawn."""
    width, height = Window.system_size
    return width, height, bytes(glReadPixels(0, 0, width, height, GL_RGB, GL_UNSIGNED_BYTE))


def write_png(path: Path, width: int, height: int, rows_upwards: bytes) -> None:
    """PNG (ISO/IEC 15948), 8 bit RGB, filter 0."""
    stride = width * 3
    lines = (b"\0" + rows_upwards[y * stride : (y + 1) * stride] for y in range(height - 1, -1, -1))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(lines), 6)) + chunk(b"IEND", b"")
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(image)
    unfinished.replace(path)
