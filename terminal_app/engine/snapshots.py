"""Signed snapshots of the folded ledger, and the audit that reads all of it again.

A snapshot is a file beside the ledger: line 1 a compact JWS by the record key (which chain, up to which entry with which hash,
how many records, SHA-256 of line 2), line 2 the state. It is derived: without it, or if anything about it does not fit, a start
reads the whole ledger. A start checks what came after it; the audit checks everything, once a day, and makes a new one.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from terminal_app.billing.signature import jws_open, jws_seal, jws_signing_input
from terminal_app.config import Config
from terminal_app.errors import DeviceUnavailable, LedgerBroken, SignatureInvalid
from terminal_app.ledger.entry import Entry
from terminal_app.ledger.reading import LedgerReader, Point
from terminal_app.ports import RecordSigner
from terminal_app.session import machine, snapshot
from terminal_app.session.state import State, initial

log = logging.getLogger("charge.snapshots")
TYP = "ledger-snapshot+jws"
WORTH_ENTRIES = 2000
"""A start that read so many entries makes a snapshot: about a tenth of a second's work."""
PAGE = 500
MAX_BYTES = 16 * 1024 * 1024


class Snapshots:
    """`folder` holds the ledger. `newest` and `keep` before the engine runs, `audit` on one other thread; moves no money."""

    def __init__(self, folder: Path, chain_id: str, software: str, config: Config, signer: RecordSigner) -> None:
        self._path, self._config, self._signer = folder / "snapshot", config, signer
        self._whose = {"chain_id": chain_id, "software": software, "form": snapshot.FORM}

    def newest(self, ledger: LedgerReader) -> tuple[State, Point] | None:
        """The state and where it stands, if it is ours, signed, of this software, and the ledger has that very entry."""
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise ValueError("it is too large")
            head, _, body = self._path.read_bytes().partition(b"\n")
            said = jws_open(head.decode("ascii"), self._signer.public_key_spki(), TYP)
            if hashlib.sha256(body).hexdigest() != said.get("state_sha256"):
                raise ValueError("its state is not the one that was signed")
            if {name: said.get(name) for name in self._whose} != self._whose:
                return None  # of another ledger or other software: not wrong, only of no use
            point = msgspec.convert(said["point"], Point)
            if not ledger.has(point):
                raise ValueError(f"the ledger has no such entry {point.seq}")
            return snapshot.unpack(body, self._config), point
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, SignatureInvalid) as error:  # msgspec's errors are ValueErrors
            log.warning("the snapshot is not used, the whole ledger is read: %s", error)
            return None

    def keep(self, state: State, point: Point) -> None:
        """Write it beside the old one, then in its place. What keeps it from being written is logged: nothing depends on it."""
        body = snapshot.pack(state)
        said: dict[str, Any] = {**self._whose, "point": msgspec.to_builtins(point)}
        said["state_sha256"] = hashlib.sha256(body).hexdigest()
        fresh = self._path.with_suffix(".new")
        try:
            signed = jws_signing_input(TYP, said, self._signer.key_id)
            head = jws_seal(signed, self._signer.sign(signed))
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(head.encode() + b"\n" + body)
                file.flush()
                os.fsync(descriptor)
            fresh.replace(self._path)
        except (OSError, DeviceUnavailable) as error:
            log.warning("no snapshot was kept: %s", error)

    def audit(self, ledger: LedgerReader) -> Iterator[None]:
        """Read and check the whole ledger, a page between two yields; at its end a new snapshot. LedgerBroken."""
        state, point = initial(self._config), Point()
        while True:
            before = point.seq
            for entry in ledger.verified_entries(point, PAGE):
                state = folded(state, entry, self._whose["software"])
                point = point.after(entry)
            yield
            if point.seq - before < PAGE:
                break
        self.keep(state, point)


def folded(state: State, entry: Entry, software: str) -> State:
    """One entry more. LedgerBroken for one that this software cannot read."""
    try:
        return machine.evolve(state, entry.fact, entry.stamp)
    except (msgspec.ValidationError, LookupError, AssertionError) as error:
        why = f"is not a fact this software ({software}) can read: {type(error).__name__} {error}"
        raise LedgerBroken(why, entry.seq) from error
