"""Pages on which a driver pays a terminal's hold from an account: open, then paid or expired, once and for ever.

Paying places the account's hold under the terminal's own key in the very commit that makes the page paid; ending it locks
the same row. So one of the two comes first, and both sides learn which. A page that ended unpaid may be opened again by its
terminal, under a new address only.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import charges, store, tries
from terminal_app.office.access import hash_of
from terminal_app.office.accounts import Accounts, NewAccount, Refused, Who, account_of, new_id, place, same
from terminal_app.office.phone_tables import account_checkouts

PAGE_LIFE_MS = 25 * 60_000  # longer than any checkout_window_s; the terminal ends its page before
TRIES_PER_PAGE = 10
DECLINED = 402
OPEN, PAID, EXPIRED = "open", "paid", "expired"
WRONG_SECRET = "unknown_account"


@dataclass(frozen=True, slots=True)
class NewCheckout:
    """What a terminal wants paid: its hold, and what stands on its screen meanwhile."""

    key: str
    hold_id: str
    connector: int
    station: str
    check_word: str
    amount_minor: int
    currency: str


class Checkouts:
    """Thread-safe; every change is one commit. Moves closed-loop money. Refused, SQLAlchemyError (then nothing happened)."""

    def __init__(self, database: store.Store) -> None:
        self._database = database

    # --- by terminals --------------------------------------------------------------------------------------------

    def open(self, terminal: str, new: NewCheckout) -> dict[str, Any]:
        """The one page of this key. Asked again, the same page; after it ended unpaid, a new one."""
        with self._database.write() as db:
            row = _by_key(db, terminal, new.key)
            if row is not None:
                same((row["amount_minor"], row["currency"]) == (new.amount_minor, new.currency))
                if row["state"] != EXPIRED:
                    return row
                db.execute(account_checkouts.delete().where(account_checkouts.c.checkout == row["checkout"]))
            now = store.now_ms()
            row = {name: getattr(new, name) for name in NewCheckout.__dataclass_fields__}
            row |= {"checkout": new_id("AC"), "token": secrets.token_urlsafe(32), "terminal": terminal, "state": OPEN}
            row |= {"refused_as": "", "account": "", "hold": ""}
            row |= {"opened_utc_ms": now, "expires_utc_ms": now + PAGE_LIFE_MS, "changed_utc_ms": now}
            db.execute(account_checkouts.insert().values(**row))
            return row

    def look(self, terminal: str, key: str) -> dict[str, Any]:
        """What became of it. Whoever is told that it expired can rely on it: that is committed first."""
        with self._database.write() as db:
            return _known(_by_key(db, terminal, key))

    def expire(self, terminal: str, key: str) -> dict[str, Any]:
        """End the page. It comes back paid if somebody paid before; then a hold exists."""
        with self._database.write() as db:
            row = _known(_by_key(db, terminal, key))
            return _changed(db, row, state=EXPIRED) if row["state"] == OPEN else row

    # --- by drivers ----------------------------------------------------------------------------------------------

    def page(self, token: str) -> dict[str, Any] | None:
        """As it stands now, for showing."""
        with self._database.read() as db:
            found = db.execute(sa.select(account_checkouts).where(account_checkouts.c.token == token)).mappings().first()
        if found is None:
            return None
        row = dict(found)
        return row | ({"state": EXPIRED} if _is_over(row) else {})

    def pay(self, token: str, who: Who) -> str:
        """Hold the page's amount; the token of the charge that begins. The same account again: the same answer. Refused leaves
        the page as it was."""
        limits = (tries.Limit(f"page:{token}", TRIES_PER_PAGE, for_ever=True), tries.of_account(who.account))
        with self._database.write() as db:
            taken = tries.take(db, *limits)
        if not taken:
            raise Refused(429, "too_many_tries", "too many wrong tries")
        try:
            paid = self._pay(token, who)
        except Refused as refusal:
            with self._database.write() as db:
                if refusal.code != WRONG_SECRET:
                    tries.give_back(db, *limits)
                if refusal.status == DECLINED:
                    mine = (account_checkouts.c.token == token) & (account_checkouts.c.state == OPEN)
                    db.execute(account_checkouts.update().where(mine).values(refused_as=refusal.code))
            raise
        with self._database.write() as db:
            tries.give_back(db, *limits)
            return charges.token_of(db, paid["terminal"], paid["key"])

    def _pay(self, token: str, who: Who) -> dict[str, Any]:
        with self._database.write() as db:
            row = _by_token(db, token)
            if row is None:
                raise Refused(404, "unknown_page", "there is no such page")
            if row["state"] == EXPIRED:
                raise Refused(422, "expired", "the page has ended: nothing was held")
            account = account_of(db, row["terminal"], who)["account"]
            if row["state"] == PAID:
                if account != row["account"]:
                    raise Refused(422, "paid_by_another", "another account has paid: nothing was held on this one")
                return row
            hold = place(db, row["terminal"], row["key"], who, row["amount_minor"], row["currency"])
            paid = _changed(db, row, state=PAID, account=account, hold=hold["hold"], refused_as="")
            charges.watch(db, paid)
            return paid

    def demo_wallet(self, token: str) -> Who:
        """Demo offices only: an account made for this page, with money for it. The same page, the same account."""
        row = self.page(token)
        if row is None:
            raise Refused(404, "unknown_page", "there is no such page")
        if row["state"] == EXPIRED:
            raise Refused(422, "expired", "the page has ended: nothing was held")
        who = Who(account=f"DEMO-{row['checkout'].upper()}", secret_sha256=hash_of(token))
        desk = Accounts(self._database)
        try:
            desk.add(NewAccount(who.account, row["currency"], label="Demo wallet", secret_sha256=who.secret_sha256))
        except Refused as refusal:
            if refusal.code != "exists":
                raise
        desk.top_up(who.account, row["amount_minor"], f"demo-{row['checkout']}", "demo", "demo wallet")
        return who


def _by_key(db: Connection, terminal: str, key: str) -> dict[str, Any] | None:
    return _found(db, (account_checkouts.c.terminal == terminal) & (account_checkouts.c.key == key))


def _by_token(db: Connection, token: str) -> dict[str, Any] | None:
    return _found(db, account_checkouts.c.token == token)


def _found(db: Connection, where: sa.ColumnElement[bool]) -> dict[str, Any] | None:
    """The row, locked until the commit; one whose time is over is ended on the way."""
    found = db.execute(sa.select(account_checkouts).where(where).with_for_update()).mappings().first()
    if found is None:
        return None
    row = dict(found)
    if _is_over(row):
        return _changed(db, row, state=EXPIRED)
    return row


def _is_over(row: dict[str, Any]) -> bool:
    return bool(row["state"] == OPEN and store.now_ms() >= row["expires_utc_ms"])


def _known(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        raise Refused(404, "unknown_checkout", "no page has this key")
    return row


def _changed(db: Connection, row: dict[str, Any], **values: Any) -> dict[str, Any]:
    values["changed_utc_ms"] = store.now_ms()
    db.execute(account_checkouts.update().where(account_checkouts.c.checkout == row["checkout"]).values(**values))
    return row | values
