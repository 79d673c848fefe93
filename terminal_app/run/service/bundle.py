"""`charge-service bundle --out FILE.tar.gz`: what a supporter needs, and nothing a thief could use.

See redaction.py. Files: versions.json, config.json, status.json, check.json, ledger.json, log.txt.
"""

import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from terminal_app import __version__
from terminal_app.errors import ChargeError
from terminal_app.ledger.entry import Entry
from terminal_app.run.service import check, show, status
from terminal_app.run.service.chapters import newest_holds, newest_sessions
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.redaction import config_without_secrets, scrubbed
from terminal_app.run.service.site import Site
from terminal_app.session import facts as f

UNITS = ("charge-terminal", "charge-terminal-ui", "charge-terminal-sync", "pcscd")
LOG_LINES = 2000
LOG_BYTES = 4 * 1024 * 1024
JOURNAL_S = 20
SESSIONS = 50
EVENTS = 200
PACKAGES = (
    "charge-terminal", "click", "cryptography", "joserfc", "kivy", "msgspec", "pymodbus", "pyscard", "pyserial", "requests",
    "sqlite-utils",
)  # fmt: skip


@click.command()
@click.option(
    "--out", "file", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The archive to write (.tar.gz)."
)
@json_option
@click.pass_obj
def bundle(site: Site, file: Path) -> int:
    """A support archive: status, configuration, ledger in figures, log. No card data, no tokens, no keys."""
    documents = collect(site)
    try:
        write(file, documents)
    except OSError as error:
        raise ServiceTrouble(f"{file}: cannot be written: {error.strerror}; choose another place with --out") from error
    troubled = [name for name, text in documents.items() if text.startswith('{\n  "trouble"')]
    if site.as_json:
        show.as_json({"file": str(file), "documents": sorted(documents), "incomplete": troubled})
    else:
        show.console().print(f"{file}: {', '.join(sorted(documents))}", markup=False)
        for name in troubled:
            show.console().print(f"{name} could not be made; why stands in it", markup=False)
    return show.WARNING if troubled else show.OK


def collect(site: Site) -> dict[str, str]:
    """Document name -> text, each redacted."""
    sources: dict[str, Callable[[], dict[str, Any]]] = {
        "versions.json": versions,
        "config.json": lambda: config_without_secrets(site.config),
        "status.json": lambda: _status(site),
        "check.json": lambda: _check(site),
        "ledger.json": lambda: ledger_in_figures(site),
    }
    documents = {}
    with show.progress("collecting", len(sources) + 1) as done:
        for number, (name, source) in enumerate(sources.items(), 1):
            try:
                body = source()
            except (ChargeError, OSError) as error:
                body = {"trouble": scrubbed(str(error))}
            documents[name] = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
            done(number)
        documents["log.txt"] = log_lines()
        done(len(sources) + 1)
    return documents


def write(file: Path, documents: dict[str, str]) -> None:
    """Mode 0600, whole or not at all."""
    fresh = file.with_name(f".{file.name}.new")
    folder, now = file.name.removesuffix(".tar.gz"), int(time.time())
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name, text in documents.items():
                content = text.encode()
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mtime, member.mode = len(content), now, 0o600
                archive.addfile(member, io.BytesIO(content))
        os.replace(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)


def versions() -> dict[str, Any]:
    """Software, libraries, system; no host name, no user."""
    found = dict[str, str | None]()
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    return {
        "software": __version__,
        "python": platform.python_version(),
        "system": system,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "packages": found,
        "made_utc_ms": time.time_ns() // 1_000_000,
        "uptime_s": int(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }


def _status(site: Site) -> dict[str, Any]:
    """Figures and states of `status`; its few free texts scrubbed."""
    body, _ = status.look(site)
    for fault in body.get("faults", []):
        fault["detail"] = scrubbed(fault["detail"])
    if "why" in body:
        body["why"] = scrubbed(body["why"])
    if "trouble" in body.get("ledger", {}):
        body["ledger"]["trouble"] = scrubbed(body["ledger"]["trouble"])
    return body


def _check(site: Site) -> dict[str, Any]:
    body = check.look(site)
    for part in body["parts"]:
        part["says"] = scrubbed(part["says"])
    return body


def ledger_in_figures(site: Site) -> dict[str, Any]:
    """Counts, the newest sessions and holds without card and trace, boots, faults and service acts."""
    books, counts, told = site.books, Counter[str](), deque[dict[str, Any]](maxlen=EVENTS)
    for entry in books.entries():
        counts[entry.kind] += 1
        if (event := _event(entry)) is not None:
            told.append(
                {"seq": entry.seq, "utc_ms": entry.stamp.utc_ms, "clock": entry.stamp.clock.value, "kind": entry.kind} | event
            )
    seq, head = books.tail
    return {
        "chain_id": books.chain,
        "entries": seq,
        "head": head,
        "waiting": books.waiting(),
        "kinds": dict(sorted(counts.items())),
        "records": [
            {"seq": one.seq, "type": one.type, "sha256": one.sha256} for one in books.records(newest_first=True, limit=SESSIONS)
        ],
        "sessions": [
            {
                "session_id": one.session_id,
                "connector": one.connector,
                "opened_utc_ms": one.opened_utc_ms,
                "ended_utc_ms": one.ended_utc_ms,
                "phase": one.phase,
                "stop_reason": one.stop_reason,
                "energy_wh": one.energy_wh,
                "total_minor": one.total_minor,
                "currency": one.currency,
                "free": one.free,
                "record_seq": one.record_seq,
            }
            for one in newest_sessions(books, SESSIONS)
        ],
        "holds": [
            {
                "hold_id": one.hold_id,
                "session_id": one.session_id,
                "gateway": one.gateway,
                "phase": one.phase,
                "asked_minor": one.asked_minor,
                "approved_minor": one.approved_minor,
                "moved_minor": one.moved_minor,
                "record_seq": one.record_seq,
                "detail": scrubbed(one.detail),
            }
            for one in newest_holds(books, SESSIONS)
        ],
        "events": list(told),
    }


def _event(entry: Entry) -> dict[str, Any] | None:
    match entry.fact:
        case f.TerminalBooted() as fact:
            return {"software": fact.software, "resumed_after_crash": fact.resumed_after_crash}
        case f.FaultRaised(fault=fault) | f.FaultCleared(fault=fault):
            return {
                "device": fault.device.value,
                "connector": fault.connector,
                "fault": fault.kind,
                "detail": scrubbed(fault.detail),
            }
        case f.ServiceAct() as fact:
            return {"act": fact.act, "target": scrubbed(fact.target), "reason": scrubbed(fact.reason)}
        case f.CommandTaken() as fact:
            return {"command": fact.number, "act": fact.act, "actor": scrubbed(fact.actor), "reason": scrubbed(fact.reason)}
        case f.CommandAnswered() as fact:
            return {"command_id": fact.command_id, "done": fact.done, "answer": scrubbed(fact.answer)}
        case f.OfficeAcknowledged() as fact:
            return {"records_through": fact.records_through, "quarantined": list(fact.quarantined)}
    return None


def log_lines() -> str:
    """The newest lines of our units, scrubbed; one line saying why if there is no journal to read."""
    journal = shutil.which("journalctl")
    if journal is None:
        return "journalctl is not installed here\n"
    command = [journal, "--no-pager", "--quiet", "--output=short-iso", f"--lines={LOG_LINES}"]
    command += [f"--unit={unit}" for unit in UNITS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=JOURNAL_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the journal could not be read: {type(error).__name__}\n"
    text = done.stdout[-LOG_BYTES:].decode("utf-8", "replace")
    if not text:
        return "the journal has no lines of our units, or this user may not read them\n"
    if done.returncode:
        text += f"\njournalctl ended with {done.returncode}\n"
    return "\n".join(scrubbed(line) for line in text.splitlines()) + "\n"
