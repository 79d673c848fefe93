"""`charge-service session list | show | explain | receipt | stop`."""

import click

from terminal_app.run.service import show
from terminal_app.run.service.chapters import SessionSummary, chapters, full_id, newest_sessions, plain, summary_of
from terminal_app.run.service.explain import explain
from terminal_app.run.service.options import CONNECTOR, REASON, json_option
from terminal_app.run.service.receipt import receipt
from terminal_app.run.service.site import Site


@click.group()
def session() -> None:
    """Charges: what happened, and ending one."""


@session.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_(site: Site, limit: int) -> int:
    """The newest sessions."""
    found = newest_sessions(site.books, limit)
    if site.as_json:
        show.as_json([plain(one) for one in found])
    elif not found:
        show.console().print("no session yet")
    else:
        columns = ("session", "connector", "opened", "state", "energy", "total", "money", "record")
        show.console().print(show.table(columns, (_row(site, one) for one in found), right=("energy", "total")))
    return show.OK


@session.command("show")
@click.argument("session_id", metavar="ID")
@json_option
@click.pass_obj
def show_(site: Site, session_id: str) -> int:
    """One session in short. ID may be its first characters."""
    books = site.books
    session_id = full_id(books, session_id)
    found = summary_of(chapters(books, session_id), session_id)
    if site.as_json:
        show.as_json(plain(found))
        return show.OK
    zone = site.config.terminal.time_zone
    out = show.console()
    pairs = [
        ("session", found.session_id),
        ("connector", found.connector),
        ("opened", show.moment(found.opened_utc_ms, zone)),
        ("state", found.phase),
        ("stopped by", found.stop_reason or "-"),
        ("energy", show.energy(found.energy_wh) or "-"),
        ("charging time", show.duration(found.charging_ms)),
        ("total", show.money(found.total_minor, found.currency) or "-"),
        ("receipt", found.receipt_number or "-"),
        ("record", found.record_seq or "-"),
    ]
    out.print(show.facts(pairs))
    for hold in found.holds:
        out.print(
            show.facts(
                [
                    ("hold", hold.hold_id),
                    ("  gateway, card", f"{hold.gateway}, {hold.card}"),
                    (
                        "  asked, approved",
                        f"{show.money(hold.asked_minor, hold.currency)}, {show.money(hold.approved_minor, hold.currency)}",
                    ),
                    ("  money", f"{hold.phase} {show.money(hold.moved_minor, hold.currency)} {hold.detail}".strip()),
                    ("  record", hold.record_seq or "-"),
                ]
            )
        )
    return show.OK


@session.command()
@CONNECTOR
@REASON
@json_option
@click.pass_obj
def stop(site: Site, connector: int, reason: str) -> int:
    """End the charge on a connector; the driver gets the bill for what was delivered."""
    answer = site.running("session stop").ask("session.stop", connector=connector, reason=reason)
    if site.as_json:
        show.as_json(answer)
    else:
        show.console().print(f"Ordered: session {answer['session']} on connector {connector} ends now.")
    return show.OK


def _row(site: Site, one: SessionSummary) -> tuple[object, ...]:
    money = "free" if one.free else ", ".join(hold.phase for hold in one.holds) or "-"
    return (
        one.session_id,
        one.connector,
        show.moment(one.opened_utc_ms, site.config.terminal.time_zone),
        f"{one.phase} ({one.stop_reason})" if one.stop_reason else one.phase,
        show.energy(one.energy_wh),
        show.money(one.total_minor, one.currency),
        money,
        one.record_seq or "",
    )


session.add_command(explain)
session.add_command(receipt)
