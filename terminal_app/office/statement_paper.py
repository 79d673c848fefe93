"""A statement as CSV (RFC 4180, fixed header, no locale) and as PDF. It lays out what `statements` made; it computes running
balances and nothing else.
"""

from zoneinfo import ZoneInfo

from terminal_app import units
from terminal_app.billing.exports.table import csv_line
from terminal_app.office.document_words import DOCUMENT_WORDS, amount_text, number_text
from terminal_app.office.local_time import clock_words, moment_text
from terminal_app.office.statements import Entry, Statement
from terminal_app.paper import Grid, Sheet, pdf_of

HEADER = (
    "account", "month", "time_zone", "posting", "moment", "kind", "terminal", "station", "connector", "session_id",
    "receipt_number", "energy_kwh", "amount", "balance", "reserved_change", "reserved", "currency", "note",
)  # fmt: skip
_USED = {"capture": "kind_capture_reserve", "spend": "kind_spend_reserve"}


def csv_of(statement: Statement) -> str:
    """The first row is the opening, the last the closing; the balance of each row includes what is reserved."""
    where, currency = ZoneInfo(statement.time_zone), statement.currency
    same = {"account": statement.account, "month": statement.month, "time_zone": statement.time_zone, "currency": currency}

    def row(balance_minor: int, reserved_minor: int, **cells: object) -> str:
        said = same | {"balance": units.major(balance_minor, currency), "reserved": units.major(reserved_minor, currency)} | cells
        return csv_line(tuple(str(said.get(name, "")) for name in HEADER))

    balance, reserved = statement.opening_minor, statement.opening_reserved_minor
    lines = [csv_line(HEADER), row(balance, reserved, kind="opening")]
    for one in statement.entries:
        balance, reserved = balance + one.amount_minor, reserved + one.reserved_minor
        cells: dict[str, object] = {"posting": one.posting, "moment": moment_text(one.utc_ms, where), "kind": one.kind}
        cells |= {"amount": units.major(one.amount_minor, currency), "reserved_change": units.major(one.reserved_minor, currency)}
        if charge := one.charge:
            cells |= {"station": charge.station, "connector": charge.connector, "session_id": charge.session_id}
            cells |= {"receipt_number": charge.receipt_number, "energy_kwh": units.kwh(charge.energy_wh)}
        lines.append(row(balance, reserved, terminal=one.terminal, note=one.note, **cells))
    lines.append(row(statement.closing_minor, statement.closing_reserved_minor, kind="closing"))
    return "".join(lines)


def pdf_statement(statement: Statement, language: str) -> bytes:
    """ValueError if it has more rows than fit on paper."""
    words, where, currency = DOCUMENT_WORDS[language], ZoneInfo(statement.time_zone), statement.currency
    made = clock_words(statement.made_utc_ms, where)
    facts = [(words["account"], f"{statement.account} {statement.label}".strip()), (words["period"], statement.month)]
    facts += [(words["time_zone"], statement.time_zone), (words["made"], made)]
    moved = [one for one in statement.entries if one.reserved_minor]
    at = [amount_text(minor, currency, language) for minor in (statement.opening_reserved_minor, statement.closing_reserved_minor)]
    grids = [_balance_grid(statement, language)]
    if moved or statement.opening_reserved_minor or statement.closing_reserved_minor:
        grids.append(_reserve_grid(statement, moved, language))
    notes = (words["reserve_note"].format(*at),) if len(grids) > 1 else ()
    if not statement.entries:
        notes = (words["no_entries"], *notes)
    sheet = Sheet(
        title=words["statement"].format(statement.account, statement.month),
        sender=statement.sender or (words["account"],),
        facts=tuple(facts),
        grids=tuple(grids),
        notes=notes,
        page_word=words["page"],
    )
    return pdf_of(sheet)


def _balance_grid(statement: Statement, language: str) -> Grid:
    words, where, currency = DOCUMENT_WORDS[language], ZoneInfo(statement.time_zone), statement.currency
    balance = statement.opening_minor

    def figure(minor: int) -> str:
        return number_text(units.major(minor, currency), language)

    rows = [("", words["opening"], "", "", "", "", figure(balance))]
    for one in statement.entries:
        if not one.amount_minor:
            continue
        balance += one.amount_minor
        charge = one.charge
        place = f"{charge.station} / {charge.connector}" if charge else one.note
        kwh = number_text(units.kwh(charge.energy_wh), language) if charge else ""
        receipt = f"{charge.receipt_number}\n{charge.session_id}" if charge else ""
        what = words[f"kind_{one.kind}"]
        cells = (clock_words(one.utc_ms, where), what, place, receipt, kwh, figure(one.amount_minor), figure(balance))
        rows.append(cells)
    rows.append(("", words["closing" if statement.complete else "so_far"], "", "", "", "", figure(statement.closing_minor)))
    heads = (
        *(words[name] for name in ("date", "what", "where", "receipt", "kwh")),
        f"{words['amount']} {currency}",
        words["balance"],
    )
    return Grid(heads, rows, figures=3, strong=1, widths=(25, 25, 30, 42, 14, 17, 17))


def _reserve_grid(statement: Statement, moved: list[Entry], language: str) -> Grid:
    words, where, currency = DOCUMENT_WORDS[language], ZoneInfo(statement.time_zone), statement.currency
    reserved = statement.opening_reserved_minor

    def figure(minor: int) -> str:
        return number_text(units.major(minor, currency), language)

    rows = [("", words["opening"], "", "", figure(reserved))]
    for one in moved:
        reserved += one.reserved_minor
        what = words[_USED.get(one.kind, f"kind_{one.kind}")]
        rows.append((clock_words(one.utc_ms, where), what, one.terminal, figure(one.reserved_minor), figure(reserved)))
    rows.append(("", words["closing" if statement.complete else "so_far"], "", "", figure(statement.closing_reserved_minor)))
    heads = (words["date"], words["reserve"], words["where"], f"{words['amount']} {currency}", words["balance"])
    return Grid(heads, rows, figures=2, strong=1, widths=(32, 62, 36, 20, 20))
