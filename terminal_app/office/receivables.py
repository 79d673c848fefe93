"""Receivables: charges that a terminal granted by its own rules while the office was out of reach, and that must be paid now.

The energy is gone, so it is booked in any case and once: to the account, which may fall below 0 by it, or, if there is no
account that could owe it, to the office's own book `receivable`. Whatever nobody may have agreed to raises an alarm.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app import units
from terminal_app.office import accounts, books, store
from terminal_app.office.account_tables import account_holds
from terminal_app.office.accounts import UNASSIGNED, Refused, Who
from terminal_app.office.books import CUSTOMER, RECEIVABLE, REVENUE, Line, Posting


class Receivables:
    """Thread-safe; one commit. Moves closed-loop money. Refused, SQLAlchemyError (then nothing happened)."""

    def __init__(self, database: store.Store) -> None:
        self._database = database

    def book(self, terminal: str, key: str, card: str, amount_minor: int, currency: str, hold_key: str) -> dict[str, Any]:
        """Becomes a captured hold, which can be looked up and refunded like any other."""
        accounts.check_amount(amount_minor)
        try:
            units.exponent(currency)
        except ValueError as error:
            raise Refused(422, "currency", str(error)) from None
        with self._database.write() as db:
            account, why = _debtor(db, terminal, card, currency)
            same_hold = (account_holds.c.terminal == terminal) & (account_holds.c.key == hold_key)
            known = db.execute(sa.select(account_holds).where(same_hold)).mappings().first()
            if booked := books.booked(db, terminal, "receivable", key):
                accounts.same(booked["amount_minor"] == amount_minor and known is not None and booked["about"] == known["hold"])
                return accounts.told(dict(known or {}))
            if known is None or (known["state"] == "voided" and not known["account"]):
                about, now = accounts.new_id("AH"), store.now_ms()
                posting = Posting("receivable", terminal, key, account["account"], amount_minor, currency, now, about, why)
                return _booked(db, account, posting, hold_key)
            wrong = f"{amount_minor} {currency} charged offline ({hold_key}): there is a hold already, {known['state']}"
            store.alarm(db, terminal, "", "receivable", wrong)
        raise Refused(422, "key_reused", "there is another hold with this key")


def _debtor(db: Connection, terminal: str, card: str, currency: str) -> tuple[dict[str, Any], str]:
    """The account that owes it, locked; why it cannot be booked to it, "" = it can."""
    try:
        found = accounts.locked(db, accounts.account_of(db, terminal, Who(card=card))["account"])
    except Refused:
        return accounts.unassigned(db, currency), "no account belongs to the card"
    if found["currency"] != currency:
        return accounts.unassigned(db, currency), f"account {found['account']} is in {found['currency']}"
    return found, f"account {found['account']} is blocked" if found["blocked"] else ""


def _booked(db: Connection, account: dict[str, Any], posting: Posting, hold_key: str) -> dict[str, Any]:
    amount, why, now = posting.amount_minor, posting.note, posting.utc_ms
    hold: dict[str, Any] = {"hold": posting.about, "terminal": posting.source, "key": hold_key, "account": posting.account}
    hold |= {"slice_id": UNASSIGNED if why else "", "state": "captured", "refunded_minor": 0, "currency": posting.currency}
    hold |= dict.fromkeys(("asked_minor", "held_minor", "captured_minor"), amount)
    hold |= {"opened_utc_ms": now, "changed_utc_ms": now}
    same_hold = (account_holds.c.terminal == posting.source) & (account_holds.c.key == hold_key)
    if not db.execute(account_holds.update().where(same_hold).values(**hold)).rowcount:  # else: it was released before, unseen
        db.execute(account_holds.insert().values(**hold))
    books.post(db, posting, (Line(RECEIVABLE if why else CUSTOMER, -amount), Line(REVENUE, amount)))
    balance, what = int(account["balance_minor"]) - amount, f"{amount} {posting.currency} charged offline ({hold_key})"
    if why:
        store.alarm(db, posting.source, "", "receivable", f"{what}: {why}")
    elif balance < -account["credit_minor"]:
        least = -int(account["credit_minor"])
        store.alarm(db, posting.source, "", "receivable", f"{what}: account {posting.account} is at {balance}, may fall to {least}")
    return accounts.told(hold)
