"""How answers look: one JSON document, or short tables for people. Money, energy and time as texts."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from terminal_app import units

OK, WARNING, FAULT, USAGE = 0, 1, 2, 3
STATE_NAMES = {OK: "ok", WARNING: "warning", FAULT: "fault"}
STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "unknown": "dim"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def console() -> Console:
    """Wide enough not to fold when the output is a file or a pipe."""
    return Console(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else 160)


def as_json(body: Any) -> None:
    sys.stdout.write(json.dumps(body, ensure_ascii=False, indent=2) + "\n")


def error(message: str, json_too: bool) -> None:
    """One sentence on stderr; with --json also as a document on stdout, so that a script always reads one."""
    sys.stderr.write(f"charge-service: {message}\n")
    if json_too:
        as_json({"error": message})


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = (), title: str = "") -> Table:
    """A plain table; the texts are not markup."""
    made = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    return made


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and values, one per line."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, escape(str(value)))
    return made


def styled(state: str) -> str:
    return f"[{STYLES.get(state, '')}]{escape(state)}[/]" if state in STYLES else escape(state)


def money(minor: int | None, currency: str) -> str:
    """1999, EUR -> "19.99 EUR"."""
    return "" if minor is None else f"{units.major(minor, currency)} {currency}"


def energy(wh: int | None) -> str:
    return "" if wh is None else f"{units.kwh(wh)} kWh"


def moment(utc_ms: int | None, zone: str = "UTC") -> str:
    """Local time of the site to the second."""
    if utc_ms is None:
        return ""
    return f"{(_EPOCH + timedelta(milliseconds=utc_ms)).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


def duration(ms: int) -> str:
    """h:mm:ss."""
    seconds = ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for what may take longer than a second; call the result with how many are done. Silent off a terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def as_json_line(body: Any) -> None:
    """One document per line, for what goes on and on."""
    sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")
    sys.stdout.flush()
