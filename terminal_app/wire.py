"""Newline-delimited JSON over Unix stream sockets: the endpoint all processes use, and the sync and control messages.

One message per line, UTF-8, at most MAX_LINE bytes. Messages are tagged msgspec structs; unknown tags or fields are an
error (`WireError`) and end the connection, nothing is guessed. Sockets are mode 0660 in `runtime_dir`. The screen
messages live in `screens.py`; this module never looks inside them. Any thread may send; one thread receives.
"""

import contextlib
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from terminal_app.errors import WireError

MAX_LINE = 4 * 1024 * 1024
SEND_TIMEOUT_S = 5.0
MAX_CLIENTS = 8
ACCEPT_AGAIN_S = 0.5
In = TypeVar("In")

# --- control socket: charge-service -> core ------------------------------------------------------------------------

CONTROL_PROTOCOL = 1


class Request(msgspec.Struct, frozen=True, tag="request"):
    """One question or order of the technician's tool. `op` is a dotted name, `args` plain JSON values."""

    op: str
    args: dict[str, Any] = {}
    protocol: int = CONTROL_PROTOCOL


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """`error` empty = done, and `body` holds the answer; else one sentence: what is wrong, where, what to do."""

    body: Any = None
    error: str = ""


# --- sync socket: charge-terminal-sync -> core ---------------------------------------------------------------------

SYNC_PROTOCOL = 1


class NextBatch(msgspec.Struct, frozen=True, tag="next_batch"):
    """Give me what the office has not acknowledged yet, oldest first."""

    max_records: int = 50
    max_facts: int = 200
    protocol: int = SYNC_PROTOCOL


class RecordRow(msgspec.Struct, frozen=True):
    """A sealed billing record as signed: `seq` gapless from 1 per chain, `jws` the compact form, never re-serialised."""

    seq: int
    jws: str


class FactRow(msgspec.Struct, frozen=True):
    """A public ledger entry. `seq` is the ledger's (gaps are normal: not every entry is public), `body` JSON text."""

    seq: int
    utc_ms: int
    kind: str
    session_id: str
    body: str


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """Answer to NextBatch. `head_seq`/`head_sha256`: newest sealed record of the chain (0 and 64 zeros if none).

    `records_after`, `facts_after`: everything up to there is acknowledged already. `facts_through`: newest ledger
    seq this batch covers (facts in between are not public).
    """

    terminal: str
    chain_id: str
    records_after: int
    facts_after: int
    facts_through: int
    head_seq: int
    head_sha256: str
    records: tuple[RecordRow, ...]
    facts: tuple[FactRow, ...]


class Acknowledge(msgspec.Struct, frozen=True, tag="acknowledge"):
    """The office's countersigned acknowledgement (compact JWS), bytes as received; the core verifies it."""

    jws: str


class SyncTrouble(msgspec.Struct, frozen=True, tag="sync_trouble"):
    """Sync tells the core how the link is: "" = fine, else one sentence. Raises and clears the office fault."""

    trouble: str


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """Answer to Acknowledge, Deliver and SyncTrouble. `error` empty = verified and stored (or already known)."""

    error: str = ""


class CommandsAfter(msgspec.Struct, frozen=True, tag="commands_after"):
    """Which commands of the office are new to you?"""

    protocol: int = SYNC_PROTOCOL


class CommandsThrough(msgspec.Struct, frozen=True, tag="commands_through"):
    """Answer to CommandsAfter: all after `number`, the newest one that was taken (0 = none)."""

    terminal: str
    number: int


class Deliver(msgspec.Struct, frozen=True, tag="deliver"):
    """A command of the office (compact JWS), bytes as received; the core verifies, commits and executes it once."""

    jws: str


class Look(msgspec.Struct, frozen=True, tag="look"):
    """What does the terminal look like now? For metrics and the site page."""

    protocol: int = SYNC_PROTOCOL


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """Answer to Look: what the control socket's `status` and `payments.open` say, without cards."""

    status: dict[str, Any]
    payments: tuple[dict[str, Any], ...]


class RecordsAfter(msgspec.Struct, frozen=True, tag="records_after"):
    """Records for somebody who pulls: those after `after`, at most `limit`, oldest first; and how far `client` said it has them."""

    client: str
    after: int
    limit: int
    protocol: int = SYNC_PROTOCOL


class PulledRecord(msgspec.Struct, frozen=True):
    """A sealed record and the SHA-256 (hex) of its compact JWS."""

    seq: int
    jws: str
    sha256: str


class RecordPage(msgspec.Struct, frozen=True, tag="record_page"):
    """Answer to RecordsAfter. `head_*`: newest record of the chain; `acknowledged_*`: the puller's own cursor (0 and 64 zeros)."""

    terminal: str
    chain_id: str
    items: tuple[PulledRecord, ...]
    head_seq: int
    head_sha256: str
    acknowledged_seq: int
    acknowledged_sha256: str


class PullerHas(msgspec.Struct, frozen=True, tag="puller_has"):
    """`client` says it has everything through this record. Answered by Taken: an error if it names another record than ours."""

    client: str
    through_seq: int
    head_sha256: str
    protocol: int = SYNC_PROTOCOL


class CdrsBetween(msgspec.Struct, frozen=True, tag="cdrs_between"):
    """Records that are CDRs, published from `from_ms` (incl.) to `to_ms` (excl.; 0 = no end), in the order of publication."""

    from_ms: int
    to_ms: int
    offset: int
    limit: int
    protocol: int = SYNC_PROTOCOL


class NextCdr(msgspec.Struct, frozen=True, tag="next_cdr"):
    """Which CDR shall the OCPI receiver get next? Answered by a CdrPage with one row or none."""

    protocol: int = SYNC_PROTOCOL


class CdrRow(msgspec.Struct, frozen=True):
    """A session or credit record and when its CDR was published (strictly rising). Of a credit: `bill_jws` is the session it
    credits, `before` the session's earlier credits, and `part` 1 the corrected CDR of what is left (0: the credit CDR itself)."""

    seq: int
    published_utc_ms: int
    jws: str
    bill_jws: str = ""
    before: tuple[str, ...] = ()
    part: int = 0


class CdrPage(msgspec.Struct, frozen=True, tag="cdr_page"):
    """Answer to CdrsBetween and NextCdr. `total`: all that match; `ocmf_keys`: key id -> DER SPKI in base64."""

    total: int
    rows: tuple[CdrRow, ...]
    ocmf_keys: dict[str, str]


class CdrEnded(msgspec.Struct, frozen=True, tag="cdr_ended"):
    """What became of the CDR that NextCdr named: `rejected` empty = delivered, and readable at `location`."""

    record_seq: int
    status: int
    location: str = ""
    rejected: str = ""
    part: int = 0
    protocol: int = SYNC_PROTOCOL


class CdrTrouble(msgspec.Struct, frozen=True, tag="cdr_trouble"):
    """How the OCPI receiver is: "" = fine, else one sentence. Raises and clears a fault of its own, as SyncTrouble does."""

    trouble: str


Pulling = RecordsAfter | PullerHas | CdrsBetween | NextCdr | CdrEnded
ToCoreFromSync = NextBatch | Acknowledge | SyncTrouble | CommandsAfter | Deliver | Look | Pulling | CdrTrouble
ToSyncFromCore = Batch | Taken | CommandsThrough | Seen | RecordPage | CdrPage

# --- endpoint ------------------------------------------------------------------------------------------------------


class Endpoint(Generic[In]):
    """One end of a connected socket. `receive` blocks up to its timeout; `send` up to SEND_TIMEOUT_S, else WireError."""

    def __init__(self, connected: socket.socket, incoming: Any) -> None:
        self._socket = connected
        self._socket.settimeout(SEND_TIMEOUT_S)
        self._decoder: msgspec.json.Decoder[In] = msgspec.json.Decoder(incoming)
        self._buffer = bytearray()
        self._sending = threading.Lock()
        self.peer_uid = _peer_uid(connected)

    def send(self, message: Any) -> None:
        """Send one message. WireError if the other end is gone or does not read."""
        line = msgspec.json.encode(message) + b"\n"
        if len(line) > MAX_LINE:
            raise WireError(f"a message of {len(line)} bytes exceeds the limit of {MAX_LINE}")
        with self._sending:
            try:
                self._socket.sendall(line)
            except OSError as error:
                raise WireError(f"the other end is gone: {error}") from error

    def receive(self, timeout_s: float | None) -> In | None:
        """Next message, or None when `timeout_s` passed. WireError at end of stream or for a malformed message."""
        while True:
            line, found, rest = bytes(self._buffer).partition(b"\n") if b"\n" in self._buffer else (b"", b"", b"")
            if found:
                self._buffer = bytearray(rest)
                try:
                    return self._decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise WireError(f"malformed message: {error}") from error
            if len(self._buffer) > MAX_LINE:
                raise WireError(f"a line exceeds the limit of {MAX_LINE} bytes")
            with selectors.DefaultSelector() as waiting:
                try:
                    waiting.register(self._socket, selectors.EVENT_READ)
                except ValueError as error:  # closed by another thread meanwhile
                    raise WireError("this end was closed") from error
                if not waiting.select(timeout_s):
                    return None
            try:
                chunk = self._socket.recv(65536)
            except OSError as error:
                raise WireError(f"the other end is gone: {error}") from error
            if not chunk:
                raise WireError("the other end closed the connection")
            self._buffer += chunk

    def close(self) -> None:
        """Idempotent; wakes a `receive` in another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def connect(path: Path, incoming: Any, timeout_s: float = 2.0) -> "Endpoint[Any]":
    """Connect to a listening socket; `incoming` is the (union) type of messages that come back. WireError if absent."""
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plug.settimeout(timeout_s)
    try:
        plug.connect(str(path))
    except OSError as error:
        plug.close()
        raise WireError(f"{path}: {error.strerror or error}") from error
    return Endpoint(plug, incoming)


class Listener:
    """A listening Unix socket; each client gets a daemon thread running `serve(endpoint)` until it returns or breaks.

    At most MAX_CLIENTS at once; further ones are closed at once. `allowed_uids` None = whoever may open the socket.
    """

    def __init__(
        self,
        path: Path,
        incoming: Any,
        serve: Callable[["Endpoint[Any]"], None],
        allowed_uids: frozenset[int] | None = None,
    ) -> None:
        self._path, self._incoming, self._serve, self._allowed = path, incoming, serve, allowed_uids
        if len(os.fsencode(path)) > 100:
            raise WireError(f"{path}: a Unix socket path may have 100 bytes; choose a shorter runtime_dir")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o660)
        self._socket.listen(MAX_CLIENTS)
        self._inode = path.stat().st_ino
        self._closed = threading.Event()
        self._clients: set[Endpoint[Any]] = set()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name=f"listen {path.name}", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                plug, _ = self._socket.accept()
            except OSError:
                if self._closed.wait(ACCEPT_AGAIN_S):  # out of descriptors for a moment is no reason to go deaf
                    return
                continue
            endpoint: Endpoint[Any] = Endpoint(plug, self._incoming)
            with self._guard:
                refused = len(self._clients) >= MAX_CLIENTS or (
                    self._allowed is not None and endpoint.peer_uid not in self._allowed
                )
                if not refused:
                    self._clients.add(endpoint)
            if refused:
                endpoint.close()
                continue
            threading.Thread(target=self._run, args=(endpoint,), name=f"client {self._path.name}", daemon=True).start()

    def _run(self, endpoint: "Endpoint[Any]") -> None:
        try:
            self._serve(endpoint)
        except WireError:
            pass  # the client is gone or spoke nonsense; it may connect again
        finally:
            with self._guard:
                self._clients.discard(endpoint)
            endpoint.close()

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._guard:
            clients = list(self._clients)
        for endpoint in clients:
            endpoint.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:  # not another process's, made since
                self._path.unlink()


def _peer_uid(connected: socket.socket) -> int:
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
