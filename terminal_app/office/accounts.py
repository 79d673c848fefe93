"""What may happen to an account's money: top-up, hold, increment, capture, void, refund. Each is one commit and has one effect.

Every act carries a key; the same act again gives the same answer, another act under the same key is refused. Amounts are
integer minor units. A hold ends captured or voided; a void that overtakes its hold leaves a tombstone, so that the hold can
never be placed later.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app import units
from terminal_app.office import books, store
from terminal_app.office.account_tables import account_cards, account_holds, account_slices, accounts
from terminal_app.office.books import CUSTOMER, HOLD, LOSS, RECEIVABLE, REVENUE, VAT, Line, Posting

OFFICE = "office"
UNASSIGNED = "unassigned"
"""In place of a hold's slice id: no account could owe it, so it stands in the office's book `receivable`."""
DAY_MS = 86_400_000
MAX_MINOR = 10**12


class Refused(Exception):
    """Nothing was booked. `code` is for programs, `status` the HTTP status, the text for people."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class NewAccount:
    """`credit_minor` > 0: a fleet account may fall that far below 0. Limits of 0 do not limit."""

    account: str
    currency: str
    kind: str = "prepaid"
    label: str = ""
    credit_minor: int = 0
    hold_max_minor: int = 0
    day_max_minor: int = 0
    secret_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """Whose money: by a card's token at the asking terminal, or by account id and the hash of its secret."""

    card: str = ""
    account: str = ""
    secret_sha256: str = ""


class Accounts:
    """Thread-safe; every method is one commit. Moves closed-loop money. Refused, SQLAlchemyError (then nothing happened)."""

    def __init__(self, database: store.Store) -> None:
        self._database = database

    # --- by people -----------------------------------------------------------------------------------------------

    def add(self, new: NewAccount) -> None:
        if units.exponent(new.currency) < 0 or new.kind not in ("prepaid", "fleet") or (new.kind == "prepaid" and new.credit_minor):
            raise Refused(422, "bad_account", "an account is prepaid, or fleet with a credit")
        row = {name: getattr(new, name) for name in NewAccount.__dataclass_fields__}
        zero = {"balance_minor": 0, "held_minor": 0, "sliced_minor": 0, "blocked": False, "added_utc_ms": store.now_ms()}
        with self._database.write() as db:
            if db.execute(sa.select(accounts.c.account).where(accounts.c.account == new.account)).first():
                raise Refused(422, "exists", f"there is an account {new.account} already")
            db.execute(accounts.insert().values(**row, **zero))

    def add_card(self, account: str, token: str, terminal: str = "") -> None:
        """`terminal` "": the token is valid at all terminals (they share one card key)."""
        with self._database.write() as db:
            locked(db, account)
            where = (account_cards.c.terminal == terminal) & (account_cards.c.token == token)
            db.execute(account_cards.delete().where(where))
            row = {"terminal": terminal, "token": token, "account": account, "added_utc_ms": store.now_ms()}
            db.execute(account_cards.insert().values(**row))

    def block(self, account: str, blocked: bool) -> None:
        """A blocked account gives no new holds or slices; what is held may still be captured."""
        with self._database.write() as db:
            locked(db, account)
            db.execute(accounts.update().where(accounts.c.account == account).values(blocked=blocked))

    def top_up(self, account: str, amount_minor: int, key: str, way: str, note: str) -> dict[str, Any]:
        """Money that came by `way` (a gateway or bank). The new balance."""
        return self._by_office("topup", account, amount_minor, key, note, f"clearing:{way}")

    def write_off(self, account: str, amount_minor: int, key: str, note: str) -> dict[str, Any]:
        """Give up a debt (or forgive an amount): the loss book pays it."""
        return self._by_office("write_off", account, amount_minor, key, note, LOSS)

    def _by_office(self, kind: str, account: str, amount_minor: int, key: str, note: str, book: str) -> dict[str, Any]:
        check_amount(amount_minor)
        with self._database.write() as db:
            row = locked(db, account)
            if known := books.booked(db, OFFICE, kind, key):
                same(known["amount_minor"] == amount_minor and known["account"] == account)
                return {"account": account, "balance_minor": int(row["balance_minor"])}
            posting = Posting(kind, OFFICE, key, account, amount_minor, row["currency"], store.now_ms(), note=note)
            books.post(db, posting, (Line(CUSTOMER, amount_minor), Line(book, -amount_minor)))
        return {"account": account, "balance_minor": int(row["balance_minor"]) + amount_minor}

    # --- by terminals --------------------------------------------------------------------------------------------

    def hold(self, terminal: str, key: str, who: Who, amount_minor: int, currency: str, partial: bool) -> dict[str, Any]:
        """Reserve up to `amount_minor`; less only if `partial`."""
        with self._database.write() as db:
            return told(place(db, terminal, key, who, amount_minor, currency, partial))

    def increment(self, terminal: str, hold: str, key: str, amount_minor: int) -> dict[str, Any]:
        """Raise a live hold by up to `amount_minor`; `added_minor` of the answer says by how much. The limit for one charge
        counts the whole hold."""
        check_amount(amount_minor)
        asked = f"asked for {amount_minor}"
        with self._database.write() as db:
            row = _hold(db, terminal, hold)
            if known := books.booked(db, terminal, "increment", key):
                same(known["note"] == asked and known["about"] == row["hold"])
                return {**told(row), "added_minor": int(known["amount_minor"])}
            if row["state"] != "held" or row["slice_id"]:
                raise Refused(422, f"already_{row['state']}", f"the hold is {row['state']} already")
            account, now = locked(db, row["account"]), store.now_ms()
            added = granted(db, account, amount_minor, row["currency"], partial=True, held_minor=int(row["held_minor"]))
            posting = Posting("increment", terminal, key, row["account"], added, row["currency"], now, row["hold"], asked)
            books.post(db, posting, (Line(CUSTOMER, -added), Line(HOLD, added)))
            held = int(row["held_minor"]) + added
            return {**told(_changed(db, row, now, held_minor=held)), "added_minor": added}

    def capture(self, terminal: str, hold: str, key: str, amount_minor: int, vat_minor: int = 0) -> dict[str, Any]:
        """Take `amount_minor`, of which `vat_minor` is tax; the rest of the hold returns to the customer."""
        check_amount(amount_minor)
        if not 0 <= vat_minor <= amount_minor:
            raise Refused(422, "bad_amount", "the tax is not a part of the amount")
        with self._database.write() as db:
            row = _hold(db, terminal, hold)
            if known := books.booked(db, terminal, "capture", key):
                same(known["amount_minor"] == amount_minor and known["about"] == row["hold"])
                return told(row)
            if row["state"] != "held":
                raise Refused(422, f"already_{row['state']}", f"the hold is {row['state']} already")
            held = int(row["held_minor"])
            if amount_minor > held:
                raise Refused(422, "above_hold", f"{amount_minor} is above the {held} held")
            posting = Posting("capture", terminal, key, row["account"], amount_minor, row["currency"], store.now_ms(), row["hold"])
            lines = (Line(HOLD, -held), Line(REVENUE, amount_minor - vat_minor), Line(VAT, vat_minor))
            books.post(db, posting, (*lines, Line(CUSTOMER, held - amount_minor)))
            return told(_changed(db, row, posting.utc_ms, state="captured", captured_minor=amount_minor))

    def void(self, terminal: str, hold: str, key: str, note: str = "") -> dict[str, Any]:
        """Release a hold. Again, or after it ended so, the same answer."""
        with self._database.write() as db:
            return told(_void(db, _hold(db, terminal, hold), terminal, key, note))

    def void_by_key(self, terminal: str, hold_key: str, key: str) -> dict[str, Any]:
        """Release a hold of unknown outcome; one that never came can never come any more."""
        with self._database.write() as db:
            return told(release(db, terminal, hold_key, key))

    def refund(self, terminal: str, hold: str, key: str, amount_minor: int, note: str = "") -> dict[str, Any]:
        """Give back a part of what was captured, never more in all."""
        check_amount(amount_minor)
        with self._database.write() as db:
            row = _hold(db, terminal, hold)
            if known := books.booked(db, terminal, "refund", key):
                same(known["amount_minor"] == amount_minor and known["about"] == row["hold"])
                return told(row)
            if row["state"] != "captured":
                raise Refused(422, "not_captured", f"the hold is {row['state']}: there is nothing to give back")
            if row["refunded_minor"] + amount_minor > row["captured_minor"]:
                raise Refused(422, "above_captured", "more than was captured")
            now = store.now_ms()
            posting = Posting("refund", terminal, key, row["account"], amount_minor, row["currency"], now, row["hold"], note)
            debtor = RECEIVABLE if row["slice_id"] == UNASSIGNED else CUSTOMER
            books.post(db, posting, (Line(REVENUE, -amount_minor), Line(debtor, amount_minor)))
            return told(_changed(db, row, now, refunded_minor=row["refunded_minor"] + amount_minor))

    def look_up(self, terminal: str, key: str) -> dict[str, Any] | None:
        with self._database.read() as db:
            row = _by_key(db, terminal, key)
        return told(row) if row else None


# --- shared with slices.py, receivables.py and the pages for phones, in the caller's commit -------------------------------------


def place(
    db: Connection, terminal: str, key: str, who: Who, amount_minor: int, currency: str, partial: bool = False
) -> dict[str, Any]:
    """Reserve up to `amount_minor` under `key`, or the hold that was placed under it before. Refused."""
    check_amount(amount_minor)
    known = _by_key(db, terminal, key)
    if known is None:
        account = locked(db, account_of(db, terminal, who)["account"])
        known = _by_key(db, terminal, key)  # the same request may have come twice, a moment ago
    if known is not None:
        return _repeated(db, terminal, known, who, amount_minor, currency)
    held = granted(db, account, amount_minor, currency, partial)
    now = store.now_ms()
    row = {"hold": new_id("AH"), "terminal": terminal, "key": key, "account": account["account"], "slice_id": ""}
    row |= {"state": "held", "asked_minor": amount_minor, "held_minor": held, "captured_minor": 0, "refunded_minor": 0}
    row |= {"currency": currency, "opened_utc_ms": now, "changed_utc_ms": now}
    db.execute(account_holds.insert().values(**row))
    posting = Posting("hold", terminal, key, account["account"], held, currency, now, about=str(row["hold"]))
    books.post(db, posting, (Line(CUSTOMER, -held), Line(HOLD, held)))
    return row


def release(db: Connection, terminal: str, hold_key: str, key: str, note: str = "") -> dict[str, Any]:
    """Void the hold of `hold_key`; one that never came can never come any more. Refused if it is captured."""
    row = _by_key(db, terminal, hold_key)
    if row is not None and row["account"]:
        locked(db, row["account"])
        row = _by_key(db, terminal, hold_key) or row
        return _void(db, row, terminal, key, note)
    if row is None:
        now = store.now_ms()
        row = {"hold": new_id("AH"), "terminal": terminal, "key": hold_key, "account": "", "slice_id": "", "state": "voided"}
        row |= dict.fromkeys(("asked_minor", "held_minor", "captured_minor", "refunded_minor"), 0)
        row |= {"currency": "", "opened_utc_ms": now, "changed_utc_ms": now}
        db.execute(account_holds.insert().values(**row))
    return row


def granted(db: Connection, account: dict[str, Any], amount_minor: int, currency: str, partial: bool, held_minor: int = 0) -> int:
    """How much of `amount_minor` the account gives now, on top of a hold of `held_minor`. Refused names the limit that binds."""
    if account["blocked"]:
        raise Refused(402, "blocked", "the account is blocked")
    if account["currency"] != currency:
        raise Refused(422, "currency", f"the account is in {account['currency']}")
    free = int(account["balance_minor"] + account["credit_minor"])
    limits = [(free, "insufficient_funds", "the balance is too low")]
    if account["hold_max_minor"]:
        limits.append((int(account["hold_max_minor"]) - held_minor, "limit_exceeded", "above the account's limit for one charge"))
    if account["day_max_minor"]:
        left = int(account["day_max_minor"]) - _used_today(db, account["account"])
        limits.append((left, "limit_exceeded", "the account's limit of the day is reached"))
    least, code, sentence = min(limits)
    if least <= 0 or (least < amount_minor and not partial):
        raise Refused(402, code, sentence)
    return min(least, amount_minor)


def _used_today(db: Connection, account: str) -> int:
    day = store.now_ms() // DAY_MS * DAY_MS
    h, s = account_holds.c, account_slices.c
    used = sa.case((h.state == "held", h.held_minor), (h.state == "captured", h.captured_minor - h.refunded_minor), else_=0)
    mine = (h.account == account) & (h.slice_id == "") & (h.opened_utc_ms >= day)
    online = sa.select(sa.func.coalesce(sa.func.sum(used), 0)).where(mine)
    kept = sa.case((s.closed, s.spent_minor), else_=s.amount_minor)
    offline = sa.select(sa.func.coalesce(sa.func.sum(kept), 0)).where((s.account == account) & (s.granted_utc_ms >= day))
    return int(db.execute(online).scalar_one()) + int(db.execute(offline).scalar_one())


def account_of(db: Connection, terminal: str, who: Who) -> dict[str, Any]:
    """One refusal for all that is unknown or wrong: nobody learns which accounts exist."""
    unknown = Refused(402, "unknown_account", "no account belongs to this card, or the secret is wrong")
    if who.card:
        c = account_cards.c
        known = sa.select(c.account).where((c.token == who.card) & c.terminal.in_((terminal, ""))).order_by(c.terminal.desc())
        account = db.execute(known.limit(1)).scalar()
    else:
        account = who.account
    found = db.execute(sa.select(accounts).where(accounts.c.account == account)).mappings().first() if account else None
    if found is None:
        raise unknown
    if not who.card and not (found["secret_sha256"] and secrets.compare_digest(found["secret_sha256"], who.secret_sha256)):
        raise unknown
    return dict(found)


def unassigned(db: Connection, currency: str) -> dict[str, Any]:
    """The account in whose name the office books what no account can owe; made when it is first needed. It pays nothing."""
    name = f"{UNASSIGNED.upper()}-{currency}"
    if not db.execute(sa.select(accounts.c.account).where(accounts.c.account == name)).first():
        new = NewAccount(name, currency, label="charged offline, no account")
        zero = {"balance_minor": 0, "held_minor": 0, "sliced_minor": 0, "blocked": True, "added_utc_ms": store.now_ms()}
        db.execute(accounts.insert().values(**{one: getattr(new, one) for one in NewAccount.__dataclass_fields__}, **zero))
    return locked(db, name)


def locked(db: Connection, account: str) -> dict[str, Any]:
    """The account's row, kept from other writers until the commit (PostgreSQL; SQLite has one writer anyway)."""
    found = db.execute(sa.select(accounts).where(accounts.c.account == account).with_for_update()).mappings().first()
    if found is None:
        raise Refused(404, "unknown_account", f"there is no account {account}")
    return dict(found)


def _by_key(db: Connection, terminal: str, key: str) -> dict[str, Any] | None:
    where = (account_holds.c.terminal == terminal) & (account_holds.c.key == key)
    found = db.execute(sa.select(account_holds).where(where)).mappings().first()
    return dict(found) if found else None


def _repeated(db: Connection, terminal: str, known: dict[str, Any], who: Who, amount_minor: int, currency: str) -> dict[str, Any]:
    """The hold that this request placed before; Refused if it was another request."""
    if known["state"] == "voided" and not known["account"]:
        raise Refused(422, "already_voided", "this hold was released before it was asked for")
    account = account_of(db, terminal, who)["account"]
    same((known["asked_minor"], known["currency"], known["account"]) == (amount_minor, currency, account))
    return known


def _hold(db: Connection, terminal: str, hold: str) -> dict[str, Any]:
    """A hold of this terminal (or of any, for the office), with its account locked."""
    where = account_holds.c.hold == hold
    if terminal != OFFICE:
        where &= account_holds.c.terminal == terminal
    found = db.execute(sa.select(account_holds).where(where)).mappings().first()
    if found is None:
        raise Refused(404, "unknown_hold", "there is no such hold")
    if found["account"]:
        locked(db, found["account"])
        found = db.execute(sa.select(account_holds).where(where)).mappings().one()
    return dict(found)


def _void(db: Connection, row: dict[str, Any], source: str, key: str, note: str) -> dict[str, Any]:
    if row["state"] == "voided":
        return row
    if row["state"] != "held":
        raise Refused(422, "already_captured", "the hold is captured already")
    held, now = int(row["held_minor"]), store.now_ms()
    posting = Posting("void", source, key, row["account"], held, row["currency"], now, row["hold"], note)
    books.post(db, posting, (Line(HOLD, -held), Line(CUSTOMER, held)))
    return _changed(db, row, now, state="voided")


def _changed(db: Connection, row: dict[str, Any], now: int, **values: Any) -> dict[str, Any]:
    values["changed_utc_ms"] = now
    db.execute(account_holds.update().where(account_holds.c.hold == row["hold"]).values(**values))
    return row | values


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What a terminal learns of a hold."""
    names = ("hold", "key", "state", "asked_minor", "held_minor", "captured_minor", "refunded_minor", "currency")
    return {name: row[name] for name in names}


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


def check_amount(amount_minor: int) -> None:
    if not 0 < amount_minor <= MAX_MINOR:
        raise Refused(422, "bad_amount", f"an amount is 1 to {MAX_MINOR} minor units")


def same(is_same: bool) -> None:
    if not is_same:
        raise Refused(422, "key_reused", "this key was used for another request")
