"""`charge-service session receipt`: the receipt of any charge again, as text, PDF or on paper."""

from pathlib import Path

import click

from terminal_app.billing.receipt_text import text_of
from terminal_app.engine.receipt_orders import copy_of, document_of
from terminal_app.errors import DeviceUnavailable
from terminal_app.paper_receipt import receipt_pdf
from terminal_app.run.service import show
from terminal_app.run.service.chapters import full_id
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.records import PUBLIC_KEY
from terminal_app.run.service.site import CoreState, Site


@click.command()
@click.argument("session_id", metavar="ID")
@click.option("--text", "form", flag_value="text", default=True, help="On the screen, as it would be printed (the usual).")
@click.option("--print", "form", flag_value="print", help="A copy on the terminal's printer.")
@click.option("--pdf", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="As PDF into FILE.")
@click.option("--language", type=click.Choice(("de", "en")), default=None, help="Of the PDF; else the country's.")
@click.option("--key", "record_key", type=PUBLIC_KEY, help="Public key (PEM) of the records, if it cannot be had otherwise.")
@json_option
@click.pass_obj
def receipt(site: Site, session_id: str, form: str, file: Path | None, language: str | None, record_key: Path | None) -> int:
    """The receipt of a session, from its sealed record. ID may be its first characters."""
    session_id = full_id(site.books, session_id)
    try:
        document = document_of(site.books, session_id, site.public_keys(record_key, None).known)
    except ValueError as error:
        raise ServiceTrouble(str(error)) from error
    page = site.config.office.receipt_page(document.code)
    if file is not None:
        try:
            file.write_bytes(receipt_pdf(document, language or "", page))
        except OSError as error:
            raise ServiceTrouble(f"{file}: cannot be written: {error.strerror}") from error
        show.console().print(f"{document.number} written to {file}", markup=False, soft_wrap=True)
        return show.OK
    if form == "print":
        return _print(site, session_id, copy_of(document, _width(site)), page)
    if site.as_json:
        show.as_json({"number": document.number, "page": page, "lines": text_of(document, width=_width(site))})
        return show.OK
    for line in text_of(document, width=_width(site)):
        show.console().print(line, markup=False)
    return show.OK


def _width(site: Site) -> int:
    return site.config.printer.width if site.config.printer is not None else 42


def _print(site: Site, session_id: str, lines: tuple[str, ...], page: str) -> int:
    """By the core while it runs, for it owns the printer."""
    if site.config.printer is None:
        raise ServiceTrouble("session receipt --print: this terminal has no [printer]")
    if site.state is not CoreState.STOPPED:
        answer = site.running("session receipt --print").ask("receipt.print", session_id=session_id)
        show.console().print(
            f"Ordered: a copy of receipt {answer['receipt']}; a printer that cannot is a fault in: charge-service check"
        )
        return show.OK
    from drivers.printers.open import open_printer

    site.claim_devices("session receipt --print")
    try:
        open_printer(site.config.printer).print_receipt(lines, page)
    except DeviceUnavailable as error:
        raise ServiceTrouble(str(error)) from error
    show.console().print("printed")
    return show.OK
