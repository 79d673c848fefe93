"""`charge-service session explain ID`: the whole story of a charge, and how every line of its bill came about.

The bill is computed again here, from the tariff and the charging periods in the sealed record alone.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import click
import msgspec
from rich.markup import escape

from terminal_app.billing.cost import UNMEASURED, ChargingPeriod, Cost, CostLine, Flow, cost_of
from terminal_app.billing.law import smallest_sellable_wh
from terminal_app.billing.model import Tariff, TaxIncluded
from terminal_app.billing.record import record_lines
from terminal_app.billing.tariff import decimal_text, parse_tariff
from terminal_app.errors import ChargeError
from terminal_app.ledger.entry import Entry
from terminal_app.office.verify import Expected, judge
from terminal_app.run.service import show
from terminal_app.run.service.chapters import chapters, full_id, plain, summary_of
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site
from terminal_app.run.service.verification import claims
from terminal_app.run.service.words import Teller
from terminal_app.screens import PriceKind
from terminal_app.session import facts as f

UNITS = {
    PriceKind.ENERGY: "kWh",
    PriceKind.TIME: "h",
    PriceKind.PARKING: "h",
    PriceKind.FLAT: "session",
    PriceKind.LIMIT: "session",
}
NAMES = {
    PriceKind.ENERGY: "energy",
    PriceKind.TIME: "charging time",
    PriceKind.PARKING: "time after charging",
    PriceKind.FLAT: "start fee",
    PriceKind.LIMIT: "least or most a session costs",
}


@click.command()
@click.argument("session_id", metavar="ID")
@json_option
@click.pass_obj
def explain(site: Site, session_id: str) -> int:
    """Every fact of a session in plain words, every bill line step by step, and whether all of it agrees."""
    story = tell(site, session_id)
    bad = [check for check in story["checks"] if not check["ok"]]
    if site.as_json:
        show.as_json(story)
    else:
        _print(site, story)
    return show.FAULT if bad else show.OK


def tell(site: Site, given: str) -> dict[str, Any]:
    """The story as plain JSON. ServiceTrouble if there is no such session."""
    books = site.books
    session_id = full_id(books, given)
    entries, teller = list(chapters(books, session_id)), Teller()
    told = [
        {"seq": one.seq, "utc_ms": one.stamp.utc_ms, "clock": one.stamp.clock.value, "kind": one.kind, "words": teller.tell(one)}
        for one in entries
    ]
    summary = summary_of(entries, session_id)
    bill, checks = list[dict[str, Any]](), list[dict[str, Any]]()
    for one in books.records(subject=session_id, limit=1):
        said = claims(one.jws)
        checks.append(_verdict(site, one.seq, one.jws, said))
        try:
            tariff, cost = _recomputed(said)
        except (ChargeError, KeyError, TypeError, ValueError) as error:
            checks.append(_check("bill", False, f"cannot be computed again from record {one.seq}: {error}"))
            continue
        bill = [explained(tariff, line) for line in cost.lines]
        checks += _compare(said, cost, entries)
    if summary.phase in ("billed", "stopping", "charging"):
        checks.append(_check("record", True, "the session's record is not sealed yet"))
    return {"session": plain(summary), "chapters": told, "bill": bill, "checks": checks}


def _check(what: str, ok: bool, says: str) -> dict[str, Any]:
    return {"what": what, "ok": ok, "says": says}


def _verdict(site: Site, seq: int, jws: str, said: dict[str, Any]) -> dict[str, Any]:
    keys = site.public_keys()
    if not keys.record:
        return _check("record", True, f"record {seq}: its signature was not checked here: {keys.missing}")
    expected = Expected(
        terminal=site.config.terminal.id,
        chain_id=site.books.chain,
        seq=seq,
        prev=said.get("prev", ""),
        record_keys=keys.known,
        ocmf_keys=keys.ocmf,
        demo=True,
    )
    reason = judge(jws, expected).reason
    return _check("record", not reason, f"record {seq}: {reason or 'signature, OCMF, registers and sums hold'}")


def _recomputed(said: dict[str, Any]) -> tuple[Tariff, Cost]:
    tariff = parse_tariff(said["tariff"]["json"].encode())
    periods = [] if said.get("not_billed") else [_period(one) for one in said["periods"]]
    return tariff, cost_of(tariff, periods, said["site"]["time_zone"])


def _period(one: dict[str, Any]) -> ChargingPeriod:
    flow = {name: value for name, value in one.items() if name.startswith(("min_", "max_"))}
    own = {name: one[name] for name in ("start_utc_ms", "energy_wh", "charging_ms", "parking_ms")}
    return ChargingPeriod(**own, flow=Flow(**flow) if flow else UNMEASURED)


def _compare(said: dict[str, Any], cost: Cost, entries: list[Entry]) -> Iterator[dict[str, Any]]:
    lines = [msgspec.to_builtins(line) for line in record_lines(cost)]
    same = lines == said["lines"] and cost.total_minor == said["totals"]["total_minor"]
    total = show.money(cost.total_minor, cost.currency)
    wrong = f"computed again: {total}, the record says {show.money(said['totals']['total_minor'], cost.currency)}"
    yield _check("bill", same, f"computed again from tariff and readings: {total}, as in the record" if same else wrong)
    if said.get("not_billed"):
        least_wh = smallest_sellable_wh(said["site"]["country"], said["meter"]["resolution_wh"])
        yield _check("minimum", True, f"{said['energy_wh']} Wh cost nothing: below {least_wh} Wh nothing may be billed here")
    for fact in (entry.fact for entry in entries):
        if isinstance(fact, f.BillFrozen):
            same = [msgspec.to_builtins(line) for line in fact.lines] == said["lines"] and fact.total_minor == cost.total_minor
            yield _check("ledger", same, "the bill in the ledger is the one in the record" if same else "ledger and record differ")
        elif isinstance(fact, f.HoldEnded) and fact.how is f.Terminated.CAPTURED and said["payment"]:
            wanted = said["payment"]["capture_minor"]
            same = fact.amount_minor == wanted and fact.hold_id == said["payment"]["hold_id"]
            taken = show.money(fact.amount_minor, cost.currency)
            yield _check("money", same, f"taken {taken}, billed to be taken {show.money(wanted, cost.currency)}")


def explained(tariff: Tariff, line: CostLine) -> dict[str, Any]:
    """One bill line with its arithmetic."""
    unit, currency = UNITS[line.kind], tariff.currency
    quantity = _amount(line)
    exact = line.gross if tariff.tax_included is TaxIncluded.YES else line.net
    rule = {
        TaxIncluded.YES: f"VAT {line.vat_percent or 0} % is in the price",
        TaxIncluded.NO: f"VAT {line.vat_percent or 0} % comes on top",
        TaxIncluded.NOT_APPLICABLE: "no VAT applies",
    }[tariff.tax_included]
    words = [
        f"{NAMES[line.kind]}: {decimal_text(quantity, 0, 6)} {unit} x {line.price} {currency} per {unit} "
        f"= {decimal_text(exact, 2, 8)} {currency}",
        f"{rule}; rounded half up once: net {show.money(line.net_minor, currency)} + VAT {show.money(line.vat_minor, currency)} "
        f"= {show.money(line.gross_minor, currency)}",
        _element(tariff, line),
    ]
    if line.stepped:
        words.append(f"of it {line.stepped} {'Wh' if line.kind is PriceKind.ENERGY else 'ms'} added by the tariff's step size")
    if line.late:
        words.append(
            f"{line.late} {'Wh' if line.kind is PriceKind.ENERGY else 'ms'} priced at the cheaper side: no reading at the change"
        )
    return {
        "kind": line.kind.value,
        "quantity": decimal_text(quantity, 0, 6),
        "unit": unit,
        "price": f"{line.price}",
        "element": line.element,
        "exact": decimal_text(exact, 2, 8),
        "net_minor": line.net_minor,
        "vat_minor": line.vat_minor,
        "gross_minor": line.gross_minor,
        "words": words,
    }


def _amount(line: CostLine) -> Decimal:
    if line.kind is PriceKind.ENERGY:
        return Decimal(line.amount) / 1000
    return Decimal(line.amount) / 3_600_000 if line.kind in (PriceKind.TIME, PriceKind.PARKING) else Decimal(line.amount)


def _element(tariff: Tariff, line: CostLine) -> str:
    if line.element < 0:
        return "by the tariff's price limit for a whole session"
    restrictions = msgspec.to_builtins(tariff.elements[line.element].restrictions)
    when = ", ".join(f"{name} {value}" for name, value in restrictions.items()) or "no restriction"
    return f"element {line.element + 1} of {len(tariff.elements)} of tariff {tariff.id} applied ({when})"


def _print(site: Site, story: dict[str, Any]) -> None:
    out, zone, session = show.console(), site.config.terminal.time_zone, story["session"]
    out.print(f"[bold]Session {session['session_id']}[/], connector {session['connector']}, {session['phase']}")
    clocks = {"S": "", "I": " (clock not synchronised)", "U": " (clock unknown)"}
    for one in story["chapters"]:
        out.print(
            f"[dim]{one['seq']:>5}[/]  {show.moment(one['utc_ms'], zone)}{clocks.get(one['clock'], '')}  {escape(one['words'])}",
            soft_wrap=True,
        )
    if story["bill"]:
        out.print("[bold]The bill[/]")
    for line in story["bill"]:
        out.print(f"  [bold]{show.money(line['gross_minor'], session['currency'])}[/]  {escape(line['words'][0])}", soft_wrap=True)
        for more in line["words"][1:]:
            out.print(f"      {escape(more)}", soft_wrap=True)
    if story["bill"]:
        total = sum(line["gross_minor"] for line in story["bill"])
        out.print(f"  [bold]{show.money(total, session['currency'])}[/]  in all, the sum of the lines")
    for check in story["checks"]:
        out.print(f"{show.styled('ok' if check['ok'] else 'fault')}  {check['what']}: {escape(check['says'])}", soft_wrap=True)
