"""After the seal: the receipt for the glass, its signed line for the QR code, and paper. Part of the session machine. PURE.

All of it is volatile: a crash loses the screen's receipt, never a record, and nothing here is ever part of one. A receipt is
printed from the sealed record only, so never before the record is durable.
"""

from typing import Any

from msgspec.structs import replace

from terminal_app.billing import compact_receipt
from terminal_app.billing.receipt import ReceiptDocument, receipt_of
from terminal_app.billing.receipt_templates import template_for
from terminal_app.billing.receipt_text import text_of
from terminal_app.errors import SignatureInvalid
from terminal_app.screens import MoneyWords, PrintWords
from terminal_app.session import actions, events
from terminal_app.session.facts import Terminated
from terminal_app.session.state import Finished, State, Terms
from terminal_app.session.turn import Turn
from terminal_app.values import Device

HANDLED: tuple[type[events.Event], ...] = (events.Ticked, events.ReceiptSigned, events.ReceiptPrinted, events.PrintFailed)
READY = (PrintWords.READY, PrintWords.DONE, PrintWords.FAILED)
LINE_LONGEST_MS = 5_000  # automatic paper waits so long for its code's signature
PRINT_LONGEST_MS = 60_000  # longer than the worker may take; then the button comes back


def decide(turn: Turn, event: events.Event) -> None:
    """An answer of the signer or the printer; one for a receipt that is not on the screen any more means nothing."""
    match event:
        case events.Ticked():
            for connector, done in turn.state.finished.items():
                if done.print_due and turn.terms.now.mono_ms - done.since_mono_ms > LINE_LONGEST_MS:
                    print_(turn, connector)
        case events.ReceiptSigned(record_seq=seq, signature=signature):
            for connector, done in turn.state.finished.items():
                if done.document is not None and done.document.record_seq == seq:
                    _signed(turn, connector, done, signature)
        case events.ReceiptPrinted(receipt_number=number) | events.PrintFailed(receipt_number=number):
            printed = isinstance(event, events.ReceiptPrinted)
            for connector, done in turn.state.finished.items():
                if done.document is not None and done.document.number == number:
                    turn.note_finished(
                        connector, printing_since_mono_ms=None, prints=done.prints + printed, print_failed=not printed
                    )


def offer(turn: Turn, sealed: dict[str, Any], record_sha256: str) -> None:
    """A session record was sealed: its receipt, the order to sign the line, and paper if the operator wants it by itself."""
    document = receipt_of(sealed)
    connector = document.connector
    done = turn.state.finished.get(connector)
    if done is None or done.session.bill is None:
        return  # a technician's test: nobody waits for its receipt
    compact = compact_receipt.compact_of(document, record_sha256, done.session.bill.capture_minor)
    signing_input = compact_receipt.signing_input(compact, turn.terms.record_spki)
    turn.note_finished(connector, document=document, compact_input=signing_input)
    turn.do(actions.SignReceipt(document.record_seq, signing_input))
    printer = turn.terms.config.printer
    if printer is not None and printer.automatic:
        turn.note_finished(connector, print_due=True)


def _signed(turn: Turn, connector: int, done: Finished, signature: bytes) -> None:
    """Shown only if it verifies, as anyone would see; else the code stays without it."""
    try:
        line = compact_receipt.seal(done.compact_input, signature)
        compact_receipt.open_compact(line)
    except (ValueError, SignatureInvalid):
        return
    turn.note_finished(connector, compact=line)
    if done.print_due:
        print_(turn, connector)


def print_(turn: Turn, connector: int) -> None:
    """One copy, if the printer is there and well and has nothing to do for this receipt yet."""
    turn.note_finished(connector, print_due=False)
    done, printer = turn.state.finished[connector], turn.terms.config.printer
    if printer is None or done.document is None or printing(turn.terms, turn.state, done) not in READY:
        return
    template = template_for(done.document.country)
    paper = receipt_of_now(done)
    lines = text_of(paper, template, printer.width, copy=done.prints > 0)
    address_ = address(turn.terms, done.document.code, done.compact)
    turn.note_finished(connector, printing_since_mono_ms=turn.terms.now.mono_ms, print_failed=False)
    turn.do(actions.PrintReceipt(done.document.number, lines, address_))


def receipt_of_now(done: Finished) -> ReceiptDocument:
    """The receipt with what became of the money until now."""
    document = done.document
    assert document is not None and done.session.bill is not None
    if done.settled is Terminated.CAPTURED:
        return replace(document, money=MoneyWords.CAPTURED, captured_minor=done.session.bill.capture_minor)
    return replace(document, money=MoneyWords.RELEASED) if done.settled is Terminated.VOIDED else document


def printing(terms: Terms, state: State, done: Finished) -> PrintWords:
    """What the screen says of paper."""
    if terms.config.printer is None or done.document is None:
        return PrintWords.NONE
    since = done.printing_since_mono_ms
    if since is not None and terms.now.mono_ms - since <= PRINT_LONGEST_MS:
        return PrintWords.BUSY
    if any(fault.device is Device.PRINTER for fault in state.faults.values()):
        return PrintWords.OUT
    if done.print_failed or since is not None:
        return PrintWords.FAILED
    return PrintWords.DONE if done.prints else PrintWords.READY


def address(terms: Terms, code: str, compact: str = "") -> str:
    """The receipt page's address, "" without a code; with the signed line behind it as soon as there is one."""
    if not code:
        return ""
    page = terms.config.office.receipt_page(code)
    return f"{page}#{compact}" if compact else page
