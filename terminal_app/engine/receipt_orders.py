"""Receipts of the past: made again from the ledger's records, and printed on a technician's order. Moves no money."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from terminal_app.billing.receipt import ReceiptDocument, receipt_of, receipt_of_hold
from terminal_app.billing.receipt_templates import template_for
from terminal_app.billing.receipt_text import text_of
from terminal_app.billing.record import open_record
from terminal_app.billing.signature import jws_key_id
from terminal_app.engine.arguments import Arguments
from terminal_app.engine.engine import Engine
from terminal_app.errors import SignatureInvalid
from terminal_app.ledger.entry import Entry
from terminal_app.ledger.reading import StoredRecord
from terminal_app.session.actions import PrintReceipt
from terminal_app.session.facts import AuthorizationIntended, HoldReused, ServiceAct, TerminalBooted, kind_of


class Books(Protocol):
    """A ledger, as far as this needs it."""

    def entries(self, *, session_id: str) -> Iterable[Entry]: ...
    def records(self, *, subject: str) -> Iterable[StoredRecord]: ...


def document_of(books: Books, session_id: str, keys: Mapping[str, bytes]) -> ReceiptDocument:
    """The receipt of a session, with what became of its money; of one that never charged, that of its hold. `keys`: key id ->
    SPKI of the records. ValueError if there is none, or a record does not verify."""
    hold_ids = [_hold_of(entry) for entry in books.entries(session_id=session_id)]
    settlements = [one for hold in dict.fromkeys(hold_ids) if hold for one in _opened(books, hold, keys, "settlement")]
    ends = [one for one in settlements if one["how"] not in ("refunded", "refused")]
    for session in _opened(books, session_id, keys, "session"):
        own = [one for one in ends if one["authorization_reference"] == session["authorization_reference"]]
        return receipt_of(session, own[-1] if own else None)
    for one in ends:
        if one["receipt"].get("code") and one["session_id"] == session_id:
            return receipt_of_hold(one, ends[-1])
    raise ValueError(f"session {session_id} has no receipt: nothing was held and nothing flowed, or its record is not sealed yet")


def _hold_of(entry: Entry) -> str:
    fact = entry.fact
    if isinstance(fact, AuthorizationIntended):
        return fact.hold.hold_id
    return fact.hold_id if isinstance(fact, HoldReused) else ""


def _opened(books: Books, subject: str, keys: Mapping[str, bytes], kind: str) -> list[dict[str, Any]]:
    found = []
    for stored in books.records(subject=subject):
        if stored.type != kind:
            continue
        try:
            key = keys.get(jws_key_id(stored.jws))
            if key is None:
                raise SignatureInvalid("signed by a key that is not known here")
            found.append(open_record(stored.jws, key))
        except SignatureInvalid as error:
            raise ValueError(f"record {stored.seq}: {error}") from error
    return found


def _keys_of(engine: Engine) -> dict[str, bytes]:
    """Every key that ever signed records here, as each start told: a receipt outlives a change of keys."""
    starts = (entry.fact for entry in engine.ledger.entries(kinds=(kind_of(TerminalBooted),)))
    told = [one.record_keys for one in starts if isinstance(one, TerminalBooted)]
    return {key_id: bytes.fromhex(spki) for keys in told for key_id, spki in keys.items()}


def copy_of(document: ReceiptDocument, width: int) -> tuple[str, ...]:
    """As printed again: it says so."""
    return text_of(document, template_for(document.country), width, copy=True)


def receipt_print(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Print a copy of the receipt of `session_id`; the order is a fact. ValueError: no printer, no receipt."""
    session_id, printer = str(arguments["session_id"]), engine.standing.config.printer
    if printer is None:
        raise ValueError("this terminal has no [printer]")
    keys = _keys_of(engine)

    def order() -> str:
        standing = engine.standing
        document = document_of(engine.ledger, session_id, keys)
        engine.commit_outside_a_turn(ServiceAct(actor, "receipt.print", session_id, document.number))
        address = standing.config.office.receipt_page(document.code)
        engine.print_again(PrintReceipt(document.number, copy_of(document, printer.width), address))
        return document.number

    return {"session": session_id, "receipt": engine.ask(order), "ordered": True}
