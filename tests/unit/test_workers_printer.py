"""The printer worker: an answer to every order, one fault that is raised and cleared, and the signer's line beside it."""

from collections.abc import Sequence

import pytest

from terminal_app.errors import DeviceUnavailable
from terminal_app.session import actions, events
from terminal_app.values import Device
from terminal_app.workers import printer
from terminal_app.workers.printer import PrinterWorker
from terminal_app.workers.signer import SignerWorker
from tests.unit.billing_samples import Key
from tests.unit.test_workers_checkout import Box

ORDER = actions.PrintReceipt("R-1", ("a line",), "https://office.example/r/abc")


class Roll:
    """ports.ReceiptPrinter."""

    def __init__(self) -> None:
        self.printed: list[tuple[tuple[str, ...], str]] = []
        self.trouble: DeviceUnavailable | None = None

    def print_receipt(self, lines: Sequence[str], qr: str) -> None:
        self.check()
        self.printed.append((tuple(lines), qr))

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble


def test_every_order_is_answered_and_paper_out_is_one_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printer, "PATIENCE_S", 0.0)
    roll, box = Roll(), Box()
    worker = PrinterWorker(roll, box)  # type: ignore[arg-type]
    worker._print(ORDER)
    roll.trouble = DeviceUnavailable("printer", "paper", "there is no paper")
    worker._print(ORDER)
    worker._print(ORDER)
    roll.trouble = None
    worker._print(ORDER)
    assert roll.printed == [(("a line",), "https://office.example/r/abc")] * 2
    said = [type(one).__name__ for one in box.events]
    assert said == ["ReceiptPrinted", "FaultSeen", "PrintFailed", "PrintFailed", "FaultSeen", "ReceiptPrinted"]
    fault = box.events[1]
    assert isinstance(fault, events.FaultSeen) and fault.raised
    assert (fault.fault.device, fault.fault.kind) == (Device.PRINTER, "paper")


def test_the_line_of_a_receipt_is_signed_with_the_key_of_records() -> None:
    records, box = Key(), Box()
    worker = SignerWorker(records, Key(), box)  # type: ignore[arg-type]
    worker._sign(actions.SignReceipt(7, b"line"))
    (answer,) = box.events
    assert isinstance(answer, events.ReceiptSigned) and answer.record_seq == 7 and len(answer.signature) == 64
