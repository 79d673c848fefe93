"""The control socket: the technician's tool asks and orders here; the peer's Unix user is checked by the listener."""

import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from terminal_app.errors import ChargeError, WireError
from terminal_app.wire import CONTROL_PROTOCOL, Endpoint, Listener, Reply, Request

Operation = Callable[[Mapping[str, Any], str], Any]
"""(arguments, actor) -> plain JSON. Runs on the client's thread; orders ask the engine's."""


class Answering:
    """Answers requests by a table of operations (dotted name -> Operation). One sentence of error, never an exception."""

    def __init__(self, path: Path, operations: Mapping[str, Operation], allowed_uids: frozenset[int] | None) -> None:
        self._operations = operations
        self._listener = Listener(path, Request, self._serve, allowed_uids)

    def _serve(self, endpoint: Endpoint[Any]) -> None:
        actor = user_name(endpoint.peer_uid)
        while True:
            request = endpoint.receive(None)
            if not isinstance(request, Request) or request.protocol != CONTROL_PROTOCOL:
                raise WireError(f"the tool speaks another protocol, we {CONTROL_PROTOCOL}: {request}")
            endpoint.send(self.answer(request, actor))

    def answer(self, request: Request, actor: str) -> Reply:
        operation = self._operations.get(request.op)
        if operation is None:
            return Reply(error=f"{request.op}: no such operation; this core knows {', '.join(sorted(self._operations))}")
        try:
            return Reply(body=operation(request.args, actor))
        except (ChargeError, TimeoutError, KeyError, ValueError) as error:
            return Reply(error=f"{request.op}: {error}")

    def close(self) -> None:
        self._listener.close()


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
