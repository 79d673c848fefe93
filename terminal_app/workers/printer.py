"""Printer worker: prints receipts on order, and looks after paper every ten seconds. Nothing ever waits for it but paper."""

from terminal_app.errors import DeviceUnavailable
from terminal_app.ports import ReceiptPrinter
from terminal_app.session.actions import PrintReceipt
from terminal_app.session.events import PrintFailed, ReceiptPrinted
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

PERIOD_S = 10.0
PATIENCE_S = 5.0


class PrinterWorker(Worker):
    """A printer that cannot print has a fault (`Device.PRINTER`); it keeps nobody from charging."""

    longest_step_s = 120.0  # one receipt may take a minute until it is given up

    def __init__(self, printer: ReceiptPrinter, inbox: Post) -> None:
        super().__init__("printer", inbox)
        self._printer = printer
        self._health = Health(inbox, Device.PRINTER, 0, PATIENCE_S)

    def step(self) -> None:
        try:
            self._printer.check()
        except DeviceUnavailable as error:
            self._health.bad(error)
        else:
            self._health.good()
        for _ in range(int(PERIOD_S / 0.5)):
            if self.stopping:
                return
            self.do_jobs(0.5)

    def order(self, action: PrintReceipt) -> None:
        """Any thread."""
        self.submit(lambda: self._print(action))

    def _print(self, action: PrintReceipt) -> None:
        try:
            self._printer.print_receipt(action.lines, action.qr)
        except DeviceUnavailable as error:
            self._health.bad(error)
            self.inbox.post(PrintFailed(action.receipt_number, error.reason))
        else:
            self._health.good()
            self.inbox.post(ReceiptPrinted(action.receipt_number))
