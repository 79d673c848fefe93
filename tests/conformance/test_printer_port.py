"""Every receipt printer keeps the promise of its port; what is on paper is compared with what was ordered."""

import base64
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy
import pytest

from drivers.printers import escpos
from drivers.printers.escpos import EscposPrinter
from drivers.printers.open import open_printer
from drivers.sim.launch import Simulated
from terminal_app.billing.receipt import receipt_of
from terminal_app.billing.receipt_text import text_of
from terminal_app.billing.record import open_record
from terminal_app.config import EscposSection, TextPrinterSection
from terminal_app.errors import DeviceUnavailable
from terminal_app.ports import ReceiptPrinter
from tests.unit.billing_samples import Key, sealed

KEY = Key()
LINES = text_of(receipt_of(open_record(sealed(KEY), KEY.spki)), width=42)
VECTOR = json.loads((Path(__file__).parent.parent / "vectors" / "compact-receipt-v1.json").read_text())
QR = "https://office.example/r/aaaqeayeaudaocajbifqydiob4ibceqt#" + VECTOR["line"]


@pytest.fixture(params=["network", "device"])
def roll(request: pytest.FixtureRequest) -> Iterator[tuple[Simulated, Callable[..., EscposPrinter]]]:
    """A simulated printer and a maker of drivers for it."""
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as folder:
        link = Path(folder) / "lp0"
        flags = ("--link", link) if request.param == "device" else ()
        with Simulated("printer", Path(folder) / "c", *flags) as device:

            def make(**said: Any) -> EscposPrinter:
                if request.param == "device":
                    return EscposPrinter(EscposSection(device=str(link), **said), "printer")
                host, _, port = device.facts["port"].rpartition(":")
                return EscposPrinter(EscposSection(host=host, tcp_port=int(port), **said), "printer")

            yield device, make


def printed(device: Simulated) -> dict[str, Any]:
    found = device.ctl("get")
    assert found["unreadable"] == []
    (one,) = found["receipts"]
    assert one["cut"]
    return dict(one)


def test_what_is_on_paper_is_the_receipt(roll: Any) -> None:
    device, make = roll
    printer: ReceiptPrinter = make()
    printer.check()
    printer.print_receipt((*LINES, "Größe: 5 € für ß\x1b@"), QR)
    paper = printed(device)
    assert paper["lines"][: len(LINES)] == list(LINES)
    assert paper["lines"][len(LINES)] == "Größe: 5 € für ß @", "umlauts and the euro sign; nothing commands the printer"
    assert paper["codes"] == [QR]


def test_a_picture_of_the_code_can_be_read(roll: Any) -> None:
    device, make = roll
    make(qr="raster", width=48).print_receipt(("one line",), QR)
    (picture,) = printed(device)["pictures"]
    bits = numpy.unpackbits(numpy.frombuffer(base64.b64decode(picture["dots"]), numpy.uint8))
    image = ((1 - bits.reshape(picture["height"], picture["width"])) * 255).astype(numpy.uint8)
    assert picture["width"] <= 48 * 12, "no wider than the paper"
    assert cv2.QRCodeDetectorAruco().detectAndDecode(image)[0] == QR


def test_no_paper_and_an_open_cover_are_told_before_a_line_is_sent(roll: Any) -> None:
    device, make = roll
    printer = make()
    for order, kind in ((("paper", {"lines": 0}), "paper"), (("cover", {"open": True}), "cover")):
        device.ctl(order[0], **order[1])
        for act in (printer.check, lambda: printer.print_receipt(LINES, "")):
            with pytest.raises(DeviceUnavailable) as caught:
                act()
            assert caught.value.kind == kind
        device.ctl("paper", lines=None)
        device.ctl("cover", open=False)
    printer.check()
    assert device.ctl("get")["begun"]["lines"] == []


def test_paper_that_ends_in_the_middle_is_a_failed_receipt(roll: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device, make = roll
    monkeypatch.setattr(escpos, "PRINTED_S", 0.5)
    device.ctl("paper", lines=5)
    with pytest.raises(DeviceUnavailable) as caught:
        make().print_receipt(LINES, "")
    assert caught.value.kind == "paper"
    assert device.ctl("get")["begun"]["lines"] == list(LINES[:5])


def test_a_printer_that_answers_nothing_is_believed(roll: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device, make = roll
    monkeypatch.setattr(escpos, "ANSWER_S", 0.2)
    device.ctl("fault", kind="silent")
    make().print_receipt(LINES, "")
    make(status=False, qr="none", cut=False).check()


@pytest.mark.parametrize(
    "section",
    [
        EscposSection(host="127.0.0.1", tcp_port=1),
        EscposSection(device="/dev/ct-no-such-printer"),
        TextPrinterSection(device="/dev/ct-no-such-printer"),
    ],
)
def test_a_printer_that_is_not_there_is_a_fault_and_no_new_file(section: EscposSection | TextPrinterSection) -> None:
    printer = open_printer(section)
    for act in (printer.check, lambda: printer.print_receipt(LINES, "")):
        with pytest.raises(DeviceUnavailable) as caught:
            act()
        assert caught.value.kind == "port"
