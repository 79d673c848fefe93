"""A daily closing as PDF and as CSV (RFC 4180, fixed header, no locale), in English. Lays out what the signed closing says."""

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from terminal_app import units
from terminal_app.billing.exports.table import csv_line
from terminal_app.office.local_time import clock_words, moment_text
from terminal_app.office.payment_values import money_text
from terminal_app.paper import Grid, Sheet, pdf_of

HEADER = (
    "terminal", "number", "day", "time_zone", "section", "name", "detail", "currency", "count", "energy_kwh", "net", "vat",
    "amount",
)  # fmt: skip

Row = dict[str, Any]


def csv_of(closing: Row) -> str:
    same = {name: closing[name] for name in ("terminal", "number", "day", "time_zone")}
    rows = (same | row for row in _rows(closing))
    return csv_line(HEADER) + "".join(csv_line(tuple(str(row.get(name, "")) for name in HEADER)) for row in rows)


def _rows(closing: Row) -> Iterator[Row]:
    where = ZoneInfo(closing["time_zone"])
    yield {"section": "closing", "name": "begin", "detail": moment_text(closing["begin_utc_ms"], where)}
    yield {"section": "closing", "name": "end", "detail": moment_text(closing["end_utc_ms"], where)}
    yield {"section": "closing", "name": "made", "detail": moment_text(closing["made_utc_ms"], where)}
    yield {"section": "closing", "name": "demo", "detail": "yes" if closing["demo"] else "no"}
    for row in closing["chains"]:
        detail = f"{row['first_seq']}-{row['last_seq']}"
        yield {"section": "records", "name": row["chain_id"], "detail": detail, "count": row["records"]}
    for name, count in closing["types"].items():
        yield {"section": "type", "name": name, "count": count}
    for row in closing["totals"]:
        money = {name: units.major(row[f"{name}_minor"], row["currency"]) for name in ("billed", "credited", "net", "vat", "total")}
        same = {"section": "total", "currency": row["currency"]}
        yield same | {
            "name": "billed",
            "count": row["sessions"],
            "energy_kwh": units.kwh(row["energy_wh"]),
            "amount": money["billed"],
        }
        yield same | {"name": "credited", "count": row["credits"], "amount": money["credited"]}
        yield same | {"name": "turnover", "net": money["net"], "vat": money["vat"], "amount": money["total"]}
    for section, key, detail in (("method", "method", ""), ("gateway", "gateway", ""), ("tariff", "tariff", "fingerprint")):
        for row in closing[f"{section}s"]:
            yield {
                "section": section,
                "name": row[key],
                "detail": row.get(detail, ""),
                "currency": row["currency"],
                "count": row["sessions"],
                "energy_kwh": units.kwh(row["energy_wh"]),
                "amount": units.major(row["total_minor"], row["currency"]),
            }
    for row in closing["rates"]:
        money = {name: units.major(row[f"{name}_minor"], row["currency"]) for name in ("net", "vat")}
        gross = units.major(row["gross_minor"], row["currency"])
        yield {"section": "vat", "name": row["vat_percent"] or "none", "currency": row["currency"], "amount": gross} | money
    for row in closing["settlements"]:
        amount = units.major(row["amount_minor"], row["currency"])
        same = {"section": "settlement", "name": row["how"], "detail": row["gateway"], "currency": row["currency"]}
        yield same | {"count": row["count"], "amount": amount}
    for row in closing["open_holds"]:
        amount = units.major(row["amount_minor"], row["currency"])
        yield {"section": "open_holds", "currency": row["currency"], "count": row["holds"], "amount": amount}
    yield {"section": "unsynced", "count": closing["unsynced"]}
    yield {"section": "quarantined", "count": closing["quarantined"]["records"]}
    for row in closing["late"]:
        detail = f"{row['chain_id']} {row['first_seq']}-{row['last_seq']}"
        yield {"section": "late", "name": row["day"], "detail": detail, "count": row["records"]}
    for row in closing["energy"]:
        meter = {"section": "energy", "detail": f"connector {row['connector']}, meter {row['meter_serial']}"}
        for name in ("begin", "end", "moved", "sessions", "tests", "late", "unexplained"):
            count = {"count": row[name]} if name in ("sessions", "tests") else {}
            yield meter | {"name": name, "energy_kwh": units.kwh(row[f"{name}_wh"])} | count
    for row in closing["energy_told"]:
        meter = {"section": "energy_told", "detail": f"connector {row['connector']}, meter {row['meter_serial']}"}
        for name in ("from", "to", "sessions", "tests", "unexplained"):
            yield meter | {"name": name, "energy_kwh": units.kwh(row[f"{name}_wh"])}
    for finding in closing["findings"]:
        yield {"section": "finding", "detail": finding}


def pdf_closing(closing: Row) -> bytes:
    """The same closing gives the same bytes."""
    where, seller = ZoneInfo(closing["time_zone"]), closing["seller"]
    begin, end, made = (clock_words(closing[f"{name}_utc_ms"], where) for name in ("begin", "end", "made"))
    facts = [("Terminal", closing["terminal"]), ("Station", closing["station"]), ("Day", f"{closing['day']} ({begin} – {end})")]
    facts += [("Made", made), ("Record types", ", ".join(f"{count} {name}" for name, count in closing["types"].items()) or "none")]
    facts += [("Open holds", _holds(closing)), ("Records still at the terminal", str(closing["unsynced"]))]
    quarantined = closing["quarantined"]
    named = f" (records {', '.join(map(str, quarantined['seqs']))})" if quarantined["seqs"] else ""
    facts.append(("In quarantine, not counted", f"{quarantined['records']}{named}"))
    sheet = Sheet(
        title=f"Daily closing {closing['number']} of {closing['terminal']}, {closing['day']}",
        sender=tuple(one for one in (seller["name"], seller["address"], seller["vat_id"]) if one) or ("Charging office",),
        facts=tuple(facts),
        grids=tuple(grid for grid in _grids(closing) if grid.rows),
        notes=tuple(_notes(closing)),
    )
    return pdf_of(sheet)


def _holds(closing: Row) -> str:
    return (
        ", ".join(f"{row['holds']}: {money_text(row['amount_minor'], row['currency'])}" for row in closing["open_holds"]) or "none"
    )


def _grids(closing: Row) -> Iterator[Grid]:
    def money(row: Row, name: str) -> str:
        return money_text(row[f"{name}_minor"], row["currency"])

    chains = [(row["chain_id"], str(row["first_seq"]), str(row["last_seq"]), str(row["records"])) for row in closing["chains"]]
    yield Grid(("Record chain", "First", "Last", "Counted"), chains, 3, widths=(86, 28, 28, 28))
    totals = [
        (
            f"{row['sessions']} sessions, {units.kwh(row['energy_wh'])} kWh; {row['credits']} credits",
            *(money(row, name) for name in ("billed", "credited", "net", "vat", "total")),
        )
        for row in closing["totals"]
    ]
    yield Grid(("Turnover", "Billed", "Credited", "Net", "VAT", "Gross"), totals, 5, widths=(55, 23, 23, 23, 23, 23))
    for head, key in (("Paid by", "method"), ("Gateway", "gateway"), ("Tariff", "tariff")):
        rows = [
            (_named(row, key), str(row["sessions"]), f"{units.kwh(row['energy_wh'])} kWh", money(row, "total"))
            for row in closing[f"{key}s"]
        ]
        yield Grid((head, "Sessions", "Energy", "Billed"), rows, 3, widths=(80, 24, 33, 33))
    rates = [(f"{row['vat_percent']} %" if row["vat_percent"] else "none", *_three(row)) for row in closing["rates"]]
    yield Grid(("VAT rate", "Net", "VAT", "Gross"), rates, 3, widths=(50, 40, 40, 40))
    settled = [(row["how"], row["gateway"], str(row["count"]), money(row, "amount")) for row in closing["settlements"]]
    yield Grid(("Money", "Gateway", "Count", "Amount"), settled, 2, widths=(50, 50, 30, 40))
    yield Grid(
        ("Connector, meter", "Begin kWh", "End kWh", "Moved", "Sessions", "Tests", "Unexplained"),
        [
            (f"{row['connector']}, {row['meter_serial']}",)
            + tuple(str(units.kwh(row[f"{name}_wh"])) for name in ("begin", "end", "moved", "sessions", "tests", "unexplained"))
            for row in closing["energy"]
        ],
        6,
        widths=(37, 25, 25, 20, 20, 18, 25),
    )
    told = [
        (
            f"{row['connector']}, {row['meter_serial']}",
            *(str(units.kwh(row[f"{name}_wh"])) for name in ("from", "to", "sessions", "tests", "unexplained")),
        )
        for row in closing["energy_told"]
    ]
    heads = ("As the terminal told", "From kWh", "To kWh", "Sessions", "Tests", "Unexplained")
    yield Grid(heads, told, 5, widths=(45, 27, 27, 24, 21, 26))
    late = [
        (row["day"], row["chain_id"], f"{row['first_seq']} – {row['last_seq']}", str(row["records"]), str(row["sessions"]))
        for row in closing["late"]
    ]
    yield Grid(("Late, of day", "Record chain", "Records", "Counted", "Sessions"), late, 2, widths=(30, 70, 30, 20, 20))


def _named(row: Row, key: str) -> str:
    return f"{row[key] or 'none'} ({row['fingerprint'][:12]})" if key == "tariff" else row[key] or "none"


def _three(row: Row) -> tuple[str, str, str]:
    net, vat, gross = (money_text(row[f"{name}_minor"], row["currency"]) for name in ("net", "vat", "gross"))
    return net, vat, gross


def _notes(closing: Row) -> Iterator[str]:
    for finding in closing["findings"]:
        yield f"To look at: {finding}."
    yield "Energy: what the register moved = sessions + tests + unexplained. A session that came late counts where it arrived."
    if closing["demo"]:
        yield "DEMO: simulated money and energy."
