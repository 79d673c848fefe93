"""The site monitor page: one look at this terminal for the people of the site, in plain HTML without a script."""

from collections.abc import Iterable
from html import escape

from terminal_app import units
from terminal_app.wire import Seen

_STYLE = (
    "body{font:16px/1.5 sans-serif;margin:1.5rem auto;max-width:60rem;padding:0 1rem;color:#111;background:#fff}"
    "table{border-collapse:collapse;width:100%;margin:0 0 1.5rem}th,td{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #ccc}td.n,th.n{text-align:right}.bad{color:#a00;font-weight:bold}.demo{background:#fd0;padding:.3rem}"
)
REFRESH_S = 10


def page(seen: Seen) -> str:
    """Connectors, faults, open holds with their ages, records that wait, the link to the office."""
    status = seen.status
    faults = status["faults"]
    lost = [one for one in faults if (one["device"], one["kind"]) == ("office", "unreachable")]
    office = next((str(one["detail"]) or "not reachable" for one in lost), "")
    waiting = int(status["records"]["waiting"])
    facts = (
        ("service", _state(str(status["out_of_service"]), "in service", "out of service: ")),
        ("office", _state(office, "reachable", "")),
        ("records waiting for the office", escape(str(waiting))),
        ("holds that a person must look at", _state(", ".join(status["manual_holds"]), "none", "")),
        ("records sealed", escape(str(status["records"]["sealed"]))),
        ("software", escape(str(status["software"]))),
        ("clock", escape({"S": "synchronised", "I": "not synchronised", "U": "unknown"}.get(status["clock"], "unknown"))),
    )
    body = (
        _table(("", ""), facts)
        + "<h2>Connectors</h2>"
        + _table(("no.", "state", "for sale", "power W", "register kWh"), (_connector(one) for one in status["connectors"]))
        + "<h2>Faults</h2>"
        + (_table(("device", "connector", "kind", "detail"), (_fault(one) for one in faults)) if faults else "<p>none</p>")
        + "<h2>Open holds</h2>"
        + (
            _table(("hold", "gateway", "phase", "amount", "age", "tries", "detail"), (_hold(one) for one in seen.payments))
            if seen.payments
            else "<p>none</p>"
        )
    )
    demo = '<p class="demo">DEMO</p>' if status["mode"] == "demo" else ""
    return _whole(f"Terminal {escape(str(status['terminal']))}", demo + body)


def no_core(why: str) -> str:
    return _whole("Charging terminal", f'<p class="bad">The terminal\'s core does not answer: {escape(why)}</p>')


def _connector(one: dict[str, object]) -> tuple[str, ...]:
    wh = one["meter_wh"]
    return (
        escape(str(one["connector"])),
        escape(str(one["phase"])),
        _state(str(one["not_for_sale"]), "yes", "no: "),
        escape("" if one["power_w"] is None else str(one["power_w"])),
        escape(str(units.kwh(wh)) if isinstance(wh, int) else ""),
    )


def _fault(one: dict[str, object]) -> tuple[str, ...]:
    where = str(one["connector"]) if one["connector"] else "all"
    return (escape(str(one["device"])), escape(where), escape(str(one["kind"])), escape(str(one["detail"])))


def _hold(one: dict[str, object]) -> tuple[str, ...]:
    minor, currency, age_s = one["approved_minor"] or one["asked_minor"], str(one["currency"]), one["age_s"]
    assert isinstance(minor, int) and isinstance(age_s, int)
    how = f" ({one['how']})" if one["how"] else ""
    return (
        escape(str(one["hold_id"])),
        escape(str(one["gateway"])),
        escape(f"{one['phase']}{how}"),
        escape(f"{units.major(minor, currency)} {currency}"),
        escape(age(age_s)),
        escape(str(one["tries"])),
        escape(str(one["detail"])),
    )


def age(age_s: int) -> str:
    """119 -> "1 min"; the largest unit that is not 0."""
    for unit, span_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if age_s >= span_s:
            return f"{age_s // span_s} {unit}"
    return f"{max(0, age_s)} s"


def _state(trouble: str, fine: str, before: str) -> str:
    return f'<span class="bad">{escape(before + trouble)}</span>' if trouble else escape(fine)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _whole(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
