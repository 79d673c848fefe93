"""Balance slices: money set aside for one terminal, so that a card can pay there while the office is out of reach.

Granting takes the amount out of the balance; spending turns a part of it into revenue; returning gives the rest back. What is
not returned stays set aside until it is reclaimed, not before it expired: until then the terminal may still have spent it.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.balance_slice import BalanceSlice, make_slice, seal_slice
from terminal_app.office import accounts, books, store
from terminal_app.office.account_tables import account_holds, account_slices
from terminal_app.office.accounts import OFFICE, Refused, Who
from terminal_app.office.books import CUSTOMER, REVENUE, SLICE, Line, Posting
from terminal_app.office.signing import OfficeKey

MAX_DAYS = 30
GRACE_MS = 7 * accounts.DAY_MS
"""How long after its expiry a slice may still be reported as spent, before the office may reclaim it."""


class Slices:
    """Thread-safe; every method is one commit. Moves closed-loop money. Refused, SQLAlchemyError (then nothing happened)."""

    def __init__(self, database: store.Store, key: OfficeKey) -> None:
        self._database, self._key = database, key

    def grant(self, terminal: str, key: str, who: Who, amount_minor: int, currency: str, days: int) -> dict[str, Any]:
        """Set aside up to `amount_minor` for `terminal` and sign the slice."""
        accounts.check_amount(amount_minor)
        if not 1 <= days <= MAX_DAYS or not who.card:
            raise Refused(422, "bad_slice", f"a slice is for a card and for 1 to {MAX_DAYS} days")
        with self._database.write() as db:
            account = accounts.locked(db, accounts.account_of(db, terminal, who)["account"])
            where = (account_slices.c.terminal == terminal) & (account_slices.c.key == key)
            if known := db.execute(sa.select(account_slices).where(where)).mappings().first():
                accounts.same((known["account"], known["token"]) == (account["account"], who.card))
                return _told(dict(known))
            amount, now = accounts.granted(db, account, amount_minor, currency, True), store.now_ms()
            slice_ = BalanceSlice(
                slice_id=accounts.new_id("SL"),
                terminal=terminal,
                account=account["account"],
                card=who.card,
                amount_minor=amount,
                currency=currency,
                granted_utc_ms=now,
                expires_utc_ms=now + days * accounts.DAY_MS,
            )
            signing = make_slice(slice_, self._key.key_id)
            row = {name: getattr(slice_, name) for name in ("slice_id", "terminal", "account", "amount_minor", "currency")}
            row |= {"key": key, "token": who.card, "spent_minor": 0, "closed": False, "granted_utc_ms": now}
            row |= {"expires_utc_ms": slice_.expires_utc_ms, "jws": seal_slice(signing, self._key.sign(signing))}
            db.execute(account_slices.insert().values(**row))
            posting = Posting("grant", terminal, key, slice_.account, amount, currency, now, about=slice_.slice_id)
            books.post(db, posting, (Line(CUSTOMER, -amount), Line(SLICE, amount)))
            return _told(row)

    def spend(self, terminal: str, slice_id: str, hold_key: str, key: str, amount_minor: int) -> dict[str, Any]:
        """A charge was paid from the slice. Becomes a captured hold, which can be looked up and refunded like any other."""
        accounts.check_amount(amount_minor)
        with self._database.write() as db:
            row = _slice(db, terminal, slice_id)
            same_hold = (account_holds.c.terminal == terminal) & (account_holds.c.key == hold_key)
            known = db.execute(sa.select(account_holds).where(same_hold)).mappings().first()
            if booked := books.booked(db, terminal, "spend", key):
                accounts.same(booked["amount_minor"] == amount_minor and booked["about"] == slice_id and known is not None)
                return accounts.told(dict(known or {}))
            accounts.same(known is None or (known["state"] == "voided" and not known["account"]))
            left = int(row["amount_minor"] - row["spent_minor"])
            refusal = None
            if row["closed"]:
                refusal = Refused(422, "slice_closed", "the slice was returned or reclaimed")
            elif amount_minor > left:
                refusal = Refused(422, "above_slice", f"{amount_minor} is above the {left} left of the slice")
            if refusal is None:
                return self._spent(db, row, hold_key, key, amount_minor, known is not None)
            store.alarm(db, terminal, "", "slice", f"slice {slice_id}: spend of {amount_minor} refused: {refusal}")
        raise refusal

    def _spent(
        self, db: Connection, row: dict[str, Any], hold_key: str, key: str, amount_minor: int, was_voided: bool
    ) -> dict[str, Any]:
        """`was_voided`: an online hold under this key was released unseen; the slice took its place."""
        now, terminal, slice_id = store.now_ms(), row["terminal"], row["slice_id"]
        hold = {"hold": accounts.new_id("AH"), "terminal": terminal, "key": hold_key, "account": row["account"]}
        hold |= {"slice_id": slice_id, "state": "captured", "refunded_minor": 0, "currency": row["currency"]}
        hold |= dict.fromkeys(("asked_minor", "held_minor", "captured_minor"), amount_minor)
        hold |= {"opened_utc_ms": now, "changed_utc_ms": now}
        if was_voided:
            where = (account_holds.c.terminal == terminal) & (account_holds.c.key == hold_key)
            db.execute(account_holds.update().where(where).values(**hold))
        else:
            db.execute(account_holds.insert().values(**hold))
        posting = Posting("spend", terminal, key, row["account"], amount_minor, row["currency"], now, about=slice_id)
        books.post(db, posting, (Line(SLICE, -amount_minor), Line(REVENUE, amount_minor)))
        spent = row["spent_minor"] + amount_minor
        db.execute(account_slices.update().where(account_slices.c.slice_id == slice_id).values(spent_minor=spent))
        return accounts.told(hold)

    def give_back(self, terminal: str, slice_id: str) -> dict[str, Any]:
        """The terminal will not spend from it any more: the rest returns to the account. Again: the same answer."""
        with self._database.write() as db:
            return _told(_close(db, _slice(db, terminal, slice_id), terminal, ""))


def close_expired(database: store.Store, note: str) -> list[str]:
    """Reclaim what is left of every slice whose expiry and grace are over, for terminals that are gone. Their ids."""
    closed = []
    with database.write() as db:
        where = ~account_slices.c.closed & (account_slices.c.expires_utc_ms + GRACE_MS < store.now_ms())
        for slice_id in (
            db.execute(sa.select(account_slices.c.slice_id).where(where).order_by(account_slices.c.account)).scalars().all()
        ):
            _close(db, _slice(db, OFFICE, slice_id), OFFICE, note)
            closed.append(slice_id)
    return closed


def _slice(db: Connection, terminal: str, slice_id: str) -> dict[str, Any]:
    """A slice of this terminal (or of any, for the office), with its account locked."""
    where = account_slices.c.slice_id == slice_id
    if terminal != OFFICE:
        where &= account_slices.c.terminal == terminal
    found = db.execute(sa.select(account_slices.c.account).where(where)).scalar()
    if found is None:
        raise Refused(404, "unknown_slice", "there is no such slice")
    accounts.locked(db, found)
    return dict(db.execute(sa.select(account_slices).where(where)).mappings().one())


def _close(db: Connection, row: dict[str, Any], source: str, note: str) -> dict[str, Any]:
    if row["closed"]:
        return row
    rest = int(row["amount_minor"] - row["spent_minor"])
    posting = Posting(
        "return", source, row["slice_id"], row["account"], rest, row["currency"], store.now_ms(), row["slice_id"], note
    )
    books.post(db, posting, (Line(SLICE, -rest), Line(CUSTOMER, rest)))
    db.execute(account_slices.update().where(account_slices.c.slice_id == row["slice_id"]).values(closed=True))
    return row | {"closed": True}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    names = ("slice_id", "amount_minor", "spent_minor", "currency", "closed", "expires_utc_ms")
    return {name: row[name] for name in names} | {"slice": row["jws"]}
