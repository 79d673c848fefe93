"""One conversation with the core over its control socket, and the ledger as the core hands it out. Blocks up to a deadline."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from terminal_app import wire
from terminal_app.errors import ChargeError, WireError
from terminal_app.ledger.entry import Entry
from terminal_app.ledger.reading import StoredRecord

ANSWER_TIMEOUT_S = 15.0
ENTRIES_A_PAGE = 500
RECORDS_A_PAGE = 50
_NOBODY_LISTENS = (errno.ENOENT, errno.ECONNREFUSED)


class ServiceTrouble(ChargeError):
    """The tool cannot do what was asked; the message says what is wrong and what to do."""


class CoreTalk:
    """Asks the core. ServiceTrouble in one sentence for whatever goes wrong. One thread."""

    def __init__(self, endpoint: wire.Endpoint[wire.Reply], path: Path) -> None:
        self._endpoint, self._path = endpoint, path

    def ask(self, op: str, timeout_s: float | None = None, **arguments: Any) -> Any:
        """The body of the core's answer."""
        timeout_s = ANSWER_TIMEOUT_S if timeout_s is None else timeout_s
        try:
            self._endpoint.send(wire.Request(op, arguments))
            reply = self._endpoint.receive(timeout_s)
        except WireError as error:
            raise ServiceTrouble(
                f"{self._path}: {error}. The core answers root, its own user and the members of the group charge-service: "
                "try with sudo"
            ) from error
        if reply is None:
            silent = f"{self._path}: the core does not answer within {timeout_s:g} s"
            raise ServiceTrouble(f"{silent}; look at: journalctl -u charge-terminal")
        if reply.error:
            raise ServiceTrouble(reply.error)
        return reply.body

    def close(self) -> None:
        self._endpoint.close()


def connect(path: Path) -> CoreTalk | None:
    """None if no core listens there. ServiceTrouble if one does, but not to us."""
    try:
        return CoreTalk(wire.connect(path, wire.Reply), path)
    except WireError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NOBODY_LISTENS:
            return None
        raise ServiceTrouble(
            f"{error}. You are {os.environ.get('USER') or os.getuid()}: try with sudo, or as a member of the group charge-service"
        ) from error


class CoreBooks:
    """The running core's ledger, page by page (`books.Books`)."""

    def __init__(self, core: CoreTalk) -> None:
        self._core = core
        self._head: dict[str, Any] = core.ask("ledger.head")

    @property
    def chain(self) -> str:
        return str(self._head["chain_id"])

    @property
    def tail(self) -> tuple[int, str]:
        return int(self._head["entries"]), str(self._head["head"])

    @property
    def keys(self) -> dict[str, Any]:
        """Key ids and public keys as `ledger.head` tells them."""
        return self._head

    def waiting(self) -> int:
        return int(self._head["waiting"])

    def entries(
        self,
        after: int = 0,
        session_id: str = "",
        limit: int = -1,
        kinds: Sequence[str] = (),
        newest_first: bool = False,
        before: int = 0,
    ) -> Iterator[Entry]:
        wanted = {"session_id": session_id, "kinds": list(kinds), "newest_first": newest_first}
        for item in self._pages("entries.read", ENTRIES_A_PAGE, after, before, limit, wanted, lambda one: int(one["seq"])):
            yield msgspec.convert(item, Entry)

    def records(
        self, after: int = 0, limit: int = -1, subject: str = "", newest_first: bool = False, before: int = 0
    ) -> Iterator[StoredRecord]:
        wanted = {"subject": subject, "newest_first": newest_first}
        for item in self._pages("records.read", RECORDS_A_PAGE, after, before, limit, wanted, lambda one: int(one[0])):
            yield StoredRecord(*item)

    def close(self) -> None:
        """The conversation belongs to the caller."""

    def _pages(self, op: str, page: int, after: int, before: int, limit: int, wanted: dict[str, Any], seq_of: Any) -> Iterator[Any]:
        left = limit
        while left:
            ask_for = page if left < 0 else min(page, left)
            answer = self._core.ask(op, after=after, before=before, limit=ask_for, **wanted)
            for item in answer["items"]:
                yield item
                if wanted["newest_first"]:
                    before = seq_of(item)
                else:
                    after = seq_of(item)
            if left > 0:
                left -= min(left, len(answer["items"]))
            if not answer["more"]:
                return
