"""Commands of the office to its terminals: issued here, numbered without a gap, signed, kept with what became of them.

Issuing one moves no money; the terminal decides and does. What became of it comes back as facts (`derived`).
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.engine import Connection, RowMapping

from terminal_app.billing.command import ACT_PATTERN, ID_PATTERN, Command, make_command, seal_command
from terminal_app.office import store
from terminal_app.office.accounts import Refused
from terminal_app.office.command_tables import commands
from terminal_app.office.doorbell import Doorbell
from terminal_app.office.signing import OfficeKey

__all__ = ["ACT_PATTERN", "ID_PATTERN", "Commands", "Issued"]

SHORTEST_TTL_S, LONGEST_TTL_S = 10, 30 * 86_400
MAX_WAITING = 100
"""Per terminal; relayed notifications, which strangers can cause, are counted apart and keep no order from getting through."""
RELAYS_PER_MINUTE = 30
"""Per terminal: each one costs two commits of its ledger, whoever sent it."""
MAX_FETCHED = 50
MAX_FETCHED_BYTES = 512 * 1024
RELAY = "relay.notification"

Connector = Annotated[int, Meta(ge=1, le=8)]
HoldId = Annotated[str, Meta(pattern=r"^[!-~]{1,64}\Z")]


class _Args(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class StopArgs(_Args, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session_id`: only this charge; "" = whichever runs there."""

    connector: Connector
    session_id: Annotated[str, Meta(pattern=r"^[!-~]{0,64}\Z")] = ""


class LimitArgs(_Args, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`limit_a` None: the limit is lifted. Below 6 A the charge pauses."""

    connector: Connector
    limit_a: Annotated[int, Meta(ge=0, le=1000)] | None = None


class StartArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Further arguments are the terminal's to judge."""

    connector: Connector


class HoldArgs(_Args, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hold_id: HoldId


class RefundArgs(HoldArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount_minor: Annotated[int, Meta(ge=1, le=2**53)]


class DenyArgs(_Args, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole list of this version; it replaces the one before."""

    tokens: Annotated[tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{32,64}\Z")], ...], Meta(max_length=3000)]
    version: Annotated[int, Meta(ge=1, le=2**53)]


class TariffArgs(_Args, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`jws`: a signed tariff file; whose signature counts is the terminal's to know."""

    connectors: Annotated[tuple[Connector, ...], Meta(min_length=1, max_length=8)]
    jws: Annotated[str, Meta(pattern=r"^eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z", max_length=200_000)]


class RelayArgs(_Args, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`body` verbatim as the gateway sent it: its signature is checked at the terminal."""

    gateway: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    body: Annotated[str, Meta(min_length=1, max_length=64 * 1024)]


ACTS: dict[str, type[msgspec.Struct]] = {
    "session.stop": StopArgs,
    "session.start": StartArgs,
    "evse.limit": LimitArgs,
    "payment.refund": RefundArgs,
    "payment.release": HoldArgs,
    "payment.retry": HoldArgs,
    "cards.deny": DenyArgs,
    "tariff.set": TariffArgs,
    RELAY: RelayArgs,
}


@dataclass(frozen=True, slots=True)
class Issued:
    terminal: str
    number: int
    command_id: str
    expires_utc_ms: int


class Commands:
    """Thread-safe. `bell` rings for a terminal after a command for it is committed."""

    def __init__(self, database: store.Store, key: OfficeKey) -> None:
        self._database, self._key = database, key
        self.bell = Doorbell()

    def issue(
        self, terminal: str, act: str, args: Mapping[str, Any], actor: str, reason: str, ttl_s: int, command_id: str = ""
    ) -> Issued:
        """Sign and keep a command; durable on return. `command_id`: a name of the caller's that works once, however often
        it is asked for; "" = a new one. Refused, SQLAlchemyError (then nothing was issued)."""
        with self._database.write() as db:
            issued = self.put(db, terminal, act, args, actor, reason, ttl_s, command_id)
        self.bell.ring(terminal)
        return issued

    def put(
        self,
        db: Connection,
        terminal: str,
        act: str,
        args: Mapping[str, Any],
        actor: str,
        reason: str,
        ttl_s: int,
        command_id: str = "",
    ) -> Issued:
        """`issue` as a part of the caller's commit, after which the caller rings the bell."""
        _check(act, args, actor, reason, ttl_s)
        if command_id and (known := _row(db, command_id)) is not None:
            if (known["terminal"], known["act"], json.loads(known["args"])) != (terminal, act, dict(args)):
                raise Refused(422, "other_command", f"command {command_id} is another one")
            return _issued(known)
        row = self._new(db, terminal, act, args, actor, reason, ttl_s, command_id or f"C-{secrets.token_hex(12)}")
        db.execute(commands.insert().values(**row))
        return _issued(row)

    def waiting(self, terminal: str, after: int) -> list[str]:
        """Compact JWSs of what this terminal has not taken, oldest first; at most MAX_FETCHED, the first one always fits.

        That they leave is committed before they do: what expires without having left was certainly never taken.
        """
        c = commands.c
        newer = (c.terminal == terminal) & (c.number > after)
        with self._database.read() as db:
            new = db.execute(sa.select(c.number).where(newer & c.state.in_(("waiting", "expired")) & ~c.missed).limit(1)).first()
        if new is None:
            return []
        now = store.now_ms()
        missed = newer & c.state.in_(("waiting", "expired")) & (c.expires_utc_ms <= now)
        told, numbers, size = list[str](), list[int](), 0
        with self._database.write() as db:
            db.execute(commands.update().where(missed).values(missed=True))
            where = newer & (c.state == "waiting") & (c.expires_utc_ms > now)
            for number, jws in db.execute(sa.select(c.number, c.jws).where(where).order_by(c.number).limit(MAX_FETCHED)).all():
                size += len(jws)
                if told and size > MAX_FETCHED_BYTES:
                    break
                told.append(jws)
                numbers.append(number)
            db.execute(commands.update().where((c.terminal == terminal) & c.number.in_(numbers)).values(handed=True))
        return told

    def state(self, command_id: str) -> dict[str, Any] | None:
        """What is known of a command, without its signed bytes; None = there is no such command."""
        with self._database.read() as db:
            row = _row(db, command_id)
        return None if row is None else _told(row)

    def newest(self, limit: int, terminal: str = "") -> list[dict[str, Any]]:
        """Newest first."""
        question = sa.select(commands).order_by(commands.c.issued_utc_ms.desc(), commands.c.number.desc()).limit(limit)
        with self._database.read() as db:
            found = db.execute(question.where(commands.c.terminal == terminal) if terminal else question).mappings().all()
        return [_told(row) for row in found]

    def _new(
        self,
        db: Connection,
        terminal: str,
        act: str,
        args: Mapping[str, Any],
        actor: str,
        reason: str,
        ttl_s: int,
        command_id: str,
    ) -> dict[str, Any]:
        c, t = commands.c, store.terminals.c
        if db.execute(sa.select(t.terminal).where(t.terminal == terminal).with_for_update()).first() is None:
            raise Refused(404, "unknown_terminal", f"terminal {terminal[:36]} is not known here")
        now = store.now_ms()
        late = (c.terminal == terminal) & (c.state == "waiting") & (c.expires_utc_ms <= now)
        db.execute(commands.update().where(late).values(state="expired", changed_utc_ms=now))
        same_kind = c.act == RELAY if act == RELAY else c.act != RELAY
        still = (c.terminal == terminal) & (c.state == "waiting") & same_kind
        if int(db.execute(sa.select(sa.func.count()).where(still)).scalar_one()) >= MAX_WAITING:
            raise Refused(429, "too_many", f"{MAX_WAITING} commands wait for terminal {terminal} already")
        recent = (c.terminal == terminal) & (c.act == RELAY) & (c.issued_utc_ms > now - 60_000)
        if act == RELAY and int(db.execute(sa.select(sa.func.count()).where(recent)).scalar_one()) >= RELAYS_PER_MINUTE:
            raise Refused(429, "too_many", f"{RELAYS_PER_MINUTE} notifications went to terminal {terminal} in this minute")
        newest = db.execute(sa.select(sa.func.max(c.number)).where(c.terminal == terminal)).scalar()
        command = Command(
            terminal=terminal,
            number=int(newest or 0) + 1,
            command_id=command_id,
            act=act,
            args=dict(args),
            actor=actor,
            reason=reason,
            issued_utc_ms=now,
            expires_utc_ms=now + ttl_s * 1000,
        )
        try:
            signing = make_command(command, self._key.key_id)
        except ValueError as error:
            raise Refused(422, "bad_command", f"not a command: {error}") from error
        row = {name: getattr(command, name) for name in ("terminal", "number", "command_id", "act", "actor", "reason")}
        row |= {"args": json.dumps(command.args), "issued_utc_ms": now, "expires_utc_ms": command.expires_utc_ms}
        return row | {
            "jws": seal_command(signing, self._key.sign(signing)),
            "handed": False,
            "missed": False,
            "state": "waiting",
            "answer": "",
            "changed_utc_ms": now,
        }


def _check(act: str, args: Mapping[str, Any], actor: str, reason: str, ttl_s: int) -> None:
    form = ACTS.get(act)
    if form is None:
        raise Refused(422, "unknown_act", f"there is no act {act[:64]!r}; acts are {', '.join(sorted(ACTS))}")
    if not SHORTEST_TTL_S <= ttl_s <= LONGEST_TTL_S:
        raise Refused(422, "bad_ttl", f"a command lives {SHORTEST_TTL_S} to {LONGEST_TTL_S} seconds")
    if not actor.strip() or not reason.strip():
        raise Refused(422, "no_reason", "a command needs a name and a reason: they stand in the terminal's ledger")
    try:
        msgspec.convert(dict(args), form)
    except msgspec.ValidationError as error:
        raise Refused(422, "bad_args", f"{act}: {error}") from error


def never_taken(db: Connection, command_id: str) -> bool:
    """Certainly never, nor in future: it expired before it was handed out, or the terminal asked for newer ones afterwards."""
    row = _row(db, command_id)
    if row is None or row["state"] not in ("waiting", "expired") or row["expires_utc_ms"] > store.now_ms():
        return False
    return bool(row["missed"] or not row["handed"])


def _row(db: Connection, command_id: str) -> RowMapping | None:
    return db.execute(sa.select(commands).where(commands.c.command_id == command_id)).mappings().first()


def _issued(row: Mapping[str, Any] | RowMapping) -> Issued:
    return Issued(row["terminal"], row["number"], row["command_id"], row["expires_utc_ms"])


def _told(row: RowMapping) -> dict[str, Any]:
    """Of relayed bodies, cards' tokens and signed tariffs only the size is told; a command nobody fetched in time has expired."""
    told = {name: row[name] for name in row if name != "jws"}
    args = json.loads(row["args"])
    for name in ("body", "tokens", "jws"):
        if name in args:
            args[name] = len(args[name])
    late = row["state"] == "waiting" and row["expires_utc_ms"] <= store.now_ms()
    return told | {"args": args, "state": "expired" if late else row["state"]}
