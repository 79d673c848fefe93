"""Where gateways send their notifications: kept durably, then relayed to the terminal whose hold they name, verbatim.

The office holds no gateway's secret: genuine or not is judged at the terminal. So everything here is bounded, and a forged
notification costs a line in the terminal's ledger and nothing else. Taken = committed, and only then `[accepted]` is said.
"""

import asyncio
import hashlib
import json
import logging
import re
import time
from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from terminal_app.office import store
from terminal_app.office.access import Access
from terminal_app.office.accounts import Refused
from terminal_app.office.command_api import body_of
from terminal_app.office.command_tables import gateway_references, stray_notifications
from terminal_app.office.commands import RELAY, Commands

log = logging.getLogger(__name__)
MAX_BODY = 64 * 1024
MAX_ITEMS = 10
BODY_TIMEOUT_S = 10
PER_MINUTE = 600
RELAY_TTL_S = 7 * 86_400
MAX_STRAY = 10_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Pace:
    """At most so many in one minute of the monotonic clock. One event loop."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute, self._minute, self._count = per_minute, -1, 0

    def allows(self, now_s: float) -> bool:
        if (minute := int(now_s // 60)) != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        return self._count <= self._per_minute


class Notifications:
    """The public route. `pace` bounds all gateways together."""

    def __init__(self, database: store.Store, commands: Commands, access: Access, pace: Pace) -> None:
        self._database, self._commands, self._access, self._pace = database, commands, access, pace
        self.routes = [
            Route("/v1/notifications/{gateway}", self.take, methods=["POST"]),
            Route("/v1/notifications/{gateway}/{terminal}", self.take, methods=["POST"]),
        ]

    async def take(self, request: Request) -> Response:
        """Any status but 200 makes the gateway send it again later."""
        gateway, terminal = request.path_params["gateway"], request.path_params.get("terminal", "")
        if not _NAME.fullmatch(gateway) or (terminal and not _NAME.fullmatch(terminal)):
            return PlainTextResponse("no such address", 404)
        if not self._access.is_gateway(request):
            ask = {"WWW-Authenticate": 'Basic realm="charge-office notifications", charset="UTF-8"'}
            return PlainTextResponse("gateways only: the password is the notification token", 401, ask)
        if not self._pace.allows(time.monotonic()):
            return PlainTextResponse("too many, later please", 429, {"Retry-After": "60"})
        try:
            bodies = parts(await asyncio.wait_for(body_of(request, MAX_BODY), BODY_TIMEOUT_S))
            await run_in_threadpool(self._keep, gateway, terminal, bodies)
        except ValueError as problem:
            return PlainTextResponse(f"not a notification: {problem}", 400)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), refusal.status, {"Retry-After": "60"})
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("the body did not come", 408)
        except sa.exc.SQLAlchemyError as problem:
            log.error("a notification of %s was not stored: %s", gateway, type(problem).__name__)
            return PlainTextResponse("cannot be stored now", 503, {"Retry-After": "60"})
        return PlainTextResponse("[accepted]")

    def _keep(self, gateway: str, terminal: str, bodies: list[tuple[str, str]]) -> None:
        """Each in a commit of its own; sent again after a failure in between, what was kept already is kept once."""
        for reference, body in bodies:
            whose, at_terminal = self._whose(reference)
            whose = whose or self._registered(terminal)
            digest = hashlib.sha256(f"{gateway}\n{whose}\n{body}".encode()).hexdigest()
            if not whose:
                self._stray(gateway, body, digest)
                continue
            args = {"gateway": at_terminal or gateway, "body": body}
            why = "the gateway sent it for this terminal"
            self._commands.issue(whose, RELAY, args, f"gateway {gateway}"[:64], why, RELAY_TTL_S, f"N-{digest[:48]}")

    def _whose(self, reference: str) -> tuple[str, str]:
        """The terminal that told its gateway this reference, and what it calls the gateway; ("", "") if none did."""
        r, h = gateway_references.c, store.holds.c
        same = (h.terminal == r.terminal) & (h.chain_id == r.chain_id) & (h.hold_id == r.hold_id)
        question = sa.select(r.terminal, h.gateway).select_from(gateway_references.join(store.holds, same))
        with self._database.read() as db:
            found = db.execute(question.where(r.reference == reference)).first()
        return ("", "") if found is None else (str(found[0]), str(found[1]))

    def _registered(self, terminal: str) -> str:
        with self._database.read() as db:
            where = store.terminals.c.terminal == terminal
            return str(db.execute(sa.select(store.terminals.c.terminal).where(where)).scalar() or "")

    def _stray(self, gateway: str, body: str, digest: str) -> None:
        s = stray_notifications.c
        with self._database.write() as db:
            if db.execute(sa.select(s.sha256).where(s.sha256 == digest)).first() is not None:
                return
            if int(db.execute(sa.select(sa.func.count()).select_from(stray_notifications)).scalar_one()) >= MAX_STRAY:
                raise Refused(503, "full", "too many notifications that name no hold of ours")
            row = {"sha256": digest, "gateway": gateway, "body": body, "received_utc_ms": store.now_ms()}
            db.execute(stray_notifications.insert().values(**row))
            store.alarm(db, "", "", "stray-notification", f"{gateway} notified of payments that no hold known here names")


def parts(raw: bytes) -> list[tuple[str, str]]:
    """(merchant reference, text) per notification. One alone stays byte for byte as it came; several get envelopes of their
    own, which leaves the signed fields as they are. ValueError if it is not JSON of that form."""
    text = raw.decode("utf-8")
    if "\x00" in text:
        raise ValueError("a NUL")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    items = found.get("notificationItems") if isinstance(found, dict) else None
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise ValueError(f"it needs notificationItems, 1 to {MAX_ITEMS} of them")
    if len(items) == 1:
        return [(_reference(items[0]), text)]
    envelope = {name: value for name, value in found.items() if name != "notificationItems"}
    return [(_reference(item), json.dumps(envelope | {"notificationItems": [item]})) for item in items]


def _reference(item: Any) -> str:
    inner = item.get("NotificationRequestItem") if isinstance(item, dict) else None
    reference = inner.get("merchantReference") if isinstance(inner, dict) else None
    if not isinstance(reference, str):
        raise ValueError("an item without a merchantReference")
    return reference[:80]
