"""The label with a public key: QR code of its hex SPKI, and in words whose key it is."""

from pathlib import Path
from xml.sax.saxutils import escape

import msgspec
import segno

from terminal_app.billing.signature import thumbprint
from terminal_app.run.service.core_talk import ServiceTrouble

SIZE, MARGIN, LINE = 160, 8, 12
WIDTH = 520


class Label(msgspec.Struct, frozen=True):
    """`meters`: serial for each EVSE id, "" = not known."""

    spki: bytes
    terminal: str
    evse_ids: tuple[str, ...]
    meters: tuple[str, ...]
    purpose: str


def write_label(label: Label, file: Path) -> None:
    """SVG or PNG by the file's ending. ServiceTrouble."""
    code = segno.make(label.spki.hex().upper(), error="m", micro=False)
    try:
        if file.suffix == ".svg":
            file.write_text(_svg(label, code), encoding="utf-8")
        elif file.suffix == ".png":
            code.save(str(file), kind="png", scale=8, border=4)
        else:
            raise ServiceTrouble(f"{file}: a label is written as .svg or .png")
    except OSError as error:
        raise ServiceTrouble(f"{file}: cannot be written: {error.strerror}") from error


def _svg(label: Label, code: segno.QRCode) -> str:
    key_id = thumbprint(label.spki)
    lines = [f"Public key: {label.purpose}", f"Terminal {label.terminal}"]
    for evse_id, serial in zip(label.evse_ids, label.meters, strict=True):
        lines.append(f"EVSE {evse_id}" + (f", meter {serial}" if serial else ""))
    lines += ["Key id (RFC 7638):", key_id, "The code holds the key: hex of its", "SubjectPublicKeyInfo, ECDSA P-256."]
    height = max(SIZE, LINE * (len(lines) + 1)) + 2 * MARGIN
    place_of_code = f'<svg x="{MARGIN}" y="{MARGIN}" width="{SIZE}" height="{SIZE}" '
    picture = code.svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None).replace("<svg ", place_of_code, 1)
    texts = "".join(
        f'<text x="{SIZE + 2 * MARGIN}" y="{MARGIN + LINE * (place + 1)}" font-size="10" font-family="sans-serif">'
        f"{escape(line)}</text>"
        for place, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{picture}{texts}</svg>\n'
    )
