"""Commits to a real ledger and says so on descriptor 9 after each: run under strace by `test_power_loss`.

    python -m tests.crash.ledger_workload FOLDER {full|normal|plain} COMMITS

`full` is the ledger as it is. The known-bad ones: `normal` leaves the log of a commit to the system's caches, `plain`
commits record and outbox row one after the other.
"""

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from sqlite_utils import Database

from terminal_app.ledger import store
from terminal_app.session.facts import Fact, OfficeAcknowledged, Sealed, ServiceAct
from terminal_app.values import Stamp

ACKNOWLEDGED = 9


def spoil(mode: str) -> None:
    """Plant the defect."""
    if mode == "normal":
        honest = store._open

        def lax(path: Path) -> Database:
            database = honest(path)
            database.conn.execute("PRAGMA synchronous=NORMAL")
            return database

        store._open = lax
    elif mode == "plain":
        Database.atomic = lambda self: contextlib.nullcontext()  # type: ignore[method-assign,assignment,return-value]
        begin = store._open

        def each_alone(path: Path) -> Database:
            database = begin(path)
            database.conn.isolation_level = None
            return database

        store._open = each_alone


def jws_of(number: int) -> str:
    return f"head.{'x' * 700}{number}.signature"


def work(folder: Path, commits: int) -> None:
    record = 0
    for lap in range(2):  # closed and opened again: the log is folded into the database and removed
        with store.Ledger(folder) as ledger:
            for number in range(1, commits + 1):
                at = Stamp(utc_ms=lap * 1000 + number, mono_ms=number, boot_id="boot")
                facts: list[Fact] = [ServiceAct("tester", "work", str(number), "y" * 200)]
                jws = ""
                if number % 3 == 1:
                    record += 1
                    jws = jws_of(record)
                    facts.append(Sealed(record, "session", f"session {record}", hashlib.sha256(jws.encode()).hexdigest()))
                elif number % 6 == 5:
                    facts.append(OfficeAcknowledged(record - 1, "0" * 64, 0, (), "ack"))
                last = ledger.append(facts, at, jws)[-1]
                os.write(ACKNOWLEDGED, f"{last.seq} {record}\n".encode())
                if number == commits // 2:
                    ledger._db.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")  # as SQLite does every 1000 pages


if __name__ == "__main__":
    spoil(sys.argv[2])
    work(Path(sys.argv[1]), int(sys.argv[3]))
