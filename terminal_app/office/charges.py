"""Charges that are watched and steered from a phone: begun on a paid page, or started from afar. Known by an unguessable token.

A start places the account's hold, remembers the charge and issues the signed command in one commit. What becomes of it is
`charge_fate`; a release by the office is one commit with its new state, so it happens once and never beside a taking.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import charge_view, commands, store, tries
from terminal_app.office.account_tables import accounts
from terminal_app.office.accounts import Refused, Who, account_of, locked, place, release
from terminal_app.office.charge_fate import NEXT, Fate, Heard
from terminal_app.office.command_tables import commands as command_rows
from terminal_app.office.command_tables import gateway_references
from terminal_app.office.phone_tables import phone_charges

START_TTL_S, STOP_TTL_S = 60, 60
STARTS_PER_MINUTE = 20
WATCHED_MS = 24 * 3_600_000
MOST_AT_ONCE = 200
ACTOR = "driver by phone"
WRONG_SECRET = "unknown_account"


@dataclass(frozen=True, slots=True)
class Start:
    """`once` names the form that was filled in: sent twice, it starts once."""

    terminal: str
    connector: int
    once: str
    station: str
    hold_minor: int
    currency: str
    tariff: str  # fingerprint of what the driver was shown


def watch(db: Connection, page: dict[str, Any]) -> None:
    """A paid page is a charge to be watched from now on, in the paying commit."""
    row = {name: page[name] for name in ("terminal", "key", "connector", "account", "hold", "currency")}
    row |= {"station": page["station"].rpartition(" / ")[0] or page["station"]}  # the connector's label stands there too
    row |= {"origin": "page", "held_minor": page["amount_minor"], "state": Fate.TAKEN.value, "command_id": ""}
    _insert(db, row)


def token_of(db: Connection, terminal: str, key: str) -> str:
    """The charge of a hold; "" if nobody may watch it."""
    mine = (phone_charges.c.terminal == terminal) & (phone_charges.c.key == key)
    return str(db.execute(sa.select(phone_charges.c.token).where(mine)).scalar() or "")


class Charges:
    """Thread-safe; every change is one commit. Moves closed-loop money. Refused, SQLAlchemyError (then nothing happened)."""

    def __init__(self, database: store.Store, downlink: commands.Commands) -> None:
        self._database, self._downlink = database, downlink

    def start(self, start: Start, who: Who) -> str:
        """Hold, remember, order; the charge's token. The same form again: the same charge. Refused holds nothing."""
        here = tries.Limit(f"start:{start.terminal}/{start.connector}", STARTS_PER_MINUTE)
        limits = (here, tries.of_account(who.account))
        with self._database.write() as db:
            taken = tries.take(db, *limits)
        if not taken:
            raise Refused(429, "too_many_tries", "too many tries")
        try:
            token = self._start(start, who)
        except Refused as refusal:
            if refusal.code != WRONG_SECRET:
                self._give_back(limits[1])
            raise
        self._give_back(*limits)
        self._downlink.bell.ring(start.terminal)
        return token

    def _start(self, start: Start, who: Who) -> str:
        key = f"app-{start.once}"
        with self._database.write() as db:
            account = locked(db, account_of(db, start.terminal, who)["account"])["account"]
            if known := token_of(db, start.terminal, key):
                mine = db.execute(sa.select(phone_charges.c.account).where(phone_charges.c.token == known)).scalar()
                if mine != account:
                    raise Refused(422, "paid_by_another", "another account has started here with this form")
                return known
            if charge_view.is_busy(db, start.terminal, start.connector):
                raise Refused(422, "busy", "another charge runs on this connector")
            hold = place(db, start.terminal, key, who, start.hold_minor, start.currency)
            args = {"connector": start.connector, "gateway_kind": "account", "key": key, "hold": hold["hold"]}
            args |= {"held_minor": hold["held_minor"], "currency": start.currency, "label": _label(db, account)}
            args |= {"tariff": start.tariff}
            order = (start.terminal, "session.start", args, ACTOR, "started by phone", START_TTL_S)
            issued = self._downlink.put(db, *order, command_id=f"start-{start.once}")
            row = {"terminal": start.terminal, "key": key, "connector": start.connector, "station": start.station}
            row |= {"account": account, "hold": hold["hold"], "held_minor": hold["held_minor"], "currency": start.currency}
            return _insert(db, row | {"origin": "app", "state": Fate.ASKED.value, "command_id": issued.command_id})

    def _give_back(self, *limits: tries.Limit) -> None:
        with self._database.write() as db:
            tries.give_back(db, *limits)

    def stop(self, token: str) -> None:
        """Order the end of this very charge. While an order is under way, or done, there is no second one."""
        with self._database.write() as db:
            row = _row(db, phone_charges.c.token == token)
            seen = charge_view.seen(db, row) if row else None
            if row is None or seen is None:
                raise Refused(404, "unknown_charge", "there is no such charge")
            if not seen.can_stop:
                raise Refused(422, "nothing_to_stop", "the charge does not run")
            before = _command(db, row["stop_command_id"])
            if before is not None and before["state"] in ("waiting", "taken", "done") and not _is_late(before):
                return
            number = before["number"] if before is not None else 0
            name = hashlib.sha256(f"{token}/{number}".encode()).hexdigest()[:32]
            args = {"connector": seen.connector, "session_id": seen.session_id}
            order = (row["terminal"], "session.stop", args, ACTOR, "stopped by phone", STOP_TTL_S)
            issued = self._downlink.put(db, *order, command_id=f"stop-{name}")
            _change(db, token, stop_command_id=issued.command_id)
        self._downlink.bell.ring(row["terminal"])

    def seen(self, token: str) -> charge_view.Seen | None:
        """What is known now; None if there is no such charge, or it ended a day ago."""
        with self._database.read() as db:
            row = _row(db, phone_charges.c.token == token)
            found = charge_view.seen(db, row) if row else None
        return None if found is None or found.ended_utc_ms + WATCHED_MS < store.now_ms() else found

    # --- the fate of holds ---------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Look at every start that nobody has answered for yet; called every few seconds. One commit each."""
        c = phone_charges.c
        with self._database.read() as db:
            asked = db.execute(sa.select(c.token).where(c.state == Fate.ASKED.value).limit(MOST_AT_ONCE)).scalars().all()
            late = sa.select(c.terminal, c.key).where((c.state == Fate.RELEASED.value) & (c.changed_utc_ms > _a_day_ago()))
            wrong = [row for row in db.execute(late.limit(MOST_AT_ONCE)).all() if _is_seen(db, row[0], row[1])]
        for token in asked:
            self._settle(token)
        for terminal, key in wrong:
            with self._database.write() as db:
                store.alarm(
                    db, terminal, "", "phone", f"the hold {key} was released here, and yet a session of the terminal has it"
                )

    def _settle(self, token: str) -> None:
        with self._database.write() as db:
            row = _row(db, phone_charges.c.token == token)
            if row is None:
                return
            fate = NEXT[Fate(row["state"]), heard_of(db, row)]
            if fate.value == row["state"]:
                return
            if fate is Fate.RELEASED:
                try:
                    release(db, row["terminal"], row["key"], f"{row['key']}-void", "the start by phone was not taken")
                except Refused:  # captured: the terminal had it after all
                    fate = Fate.TAKEN
            _change(db, token, state=fate.value)


def heard_of(db: Connection, row: dict[str, Any]) -> Heard:
    """The command first, the session second: see charge_fate."""
    command = _command(db, row["command_id"])
    state = command["state"] if command is not None else ""
    lost = commands.never_taken(db, row["command_id"])
    if _is_seen(db, row["terminal"], row["key"]):
        return Heard.SEEN
    if state in ("done", "refused"):
        return Heard(state)
    return Heard.LOST if lost else Heard.NOTHING


def _is_seen(db: Connection, terminal: str, key: str) -> bool:
    r = gateway_references.c
    return db.execute(sa.select(r.hold_id).where((r.reference == key) & (r.terminal == terminal))).first() is not None


def _insert(db: Connection, row: dict[str, Any]) -> str:
    now, token = store.now_ms(), secrets.token_urlsafe(32)
    more = {"token": token, "stop_command_id": "", "made_utc_ms": now, "changed_utc_ms": now}
    db.execute(phone_charges.insert().values(**row, **more))
    return token


def _row(db: Connection, where: sa.ColumnElement[bool]) -> dict[str, Any] | None:
    found = db.execute(sa.select(phone_charges).where(where).with_for_update()).mappings().first()
    return dict(found) if found else None


def _change(db: Connection, token: str, **values: Any) -> None:
    db.execute(phone_charges.update().where(phone_charges.c.token == token).values(**values, changed_utc_ms=store.now_ms()))


def _command(db: Connection, command_id: str) -> dict[str, Any] | None:
    found = db.execute(sa.select(command_rows).where(command_rows.c.command_id == command_id)).mappings().first()
    return dict(found) if found else None


def _is_late(command: dict[str, Any]) -> bool:
    """Nobody will act on it any more; one that was taken or done is answered for."""
    return bool(command["state"] == "waiting" and command["expires_utc_ms"] <= store.now_ms())


def _label(db: Connection, account: str) -> str:
    """What the charger's screen may show of an account to everybody."""
    label = db.execute(sa.select(accounts.c.kind).where(accounts.c.account == account)).scalar()
    return f"{label} account ···· {account[-4:]}"


def _a_day_ago() -> int:
    return store.now_ms() - WATCHED_MS
