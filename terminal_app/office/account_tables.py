"""Tables of prepaid and fleet accounts: double entry, integer minor units, entries that nothing can change.

`entries` is the truth: every posting's lines add up to 0 in its currency. The `_minor` columns of `accounts` and
`account_holds` are running totals of it, kept in the same commit and compared with it by `books.trouble`.

Books (a line's sign: + is owed to the book's owner): customer, hold and slice per account; revenue, vat, loss, receivable
(charged offline, and no account could owe it) and clearing:NAME (money that came by a gateway or a bank) for the whole office.
"""

import sqlalchemy as sa

from terminal_app.office.metadata import Big, append_only, metadata

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),  # prepaid | fleet
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("credit_minor", Big, nullable=False),  # how far the balance may fall below 0
    sa.Column("hold_max_minor", Big, nullable=False),  # 0 = no limit of its own
    sa.Column("day_max_minor", Big, nullable=False),  # per UTC day; 0 = none
    sa.Column("blocked", sa.Boolean, nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),  # "" = nobody can use it by its id
    sa.Column("balance_minor", Big, nullable=False),
    sa.Column("held_minor", Big, nullable=False),
    sa.Column("sliced_minor", Big, nullable=False),
    sa.Column("added_utc_ms", Big, nullable=False),
    sa.CheckConstraint("held_minor >= 0 AND sliced_minor >= 0"),
)
account_cards = sa.Table(
    "account_cards",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),  # a token is one terminal's; "" = terminals with one card key
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("account", sa.ForeignKey("accounts.account"), nullable=False, index=True),
    sa.Column("added_utc_ms", Big, nullable=False),
)
account_holds = sa.Table(
    "account_holds",
    metadata,
    sa.Column("hold", sa.String(36), primary_key=True),
    sa.Column("terminal", sa.String(36), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("account", sa.String(36), nullable=False, index=True),  # "" = released before it was ever asked for
    sa.Column(
        "slice_id", sa.String(36), nullable=False
    ),  # "" = an online hold, or owed by the account; "unassigned" = owed by nobody known
    sa.Column("state", sa.String(8), nullable=False, index=True),  # held | captured | voided
    sa.Column("asked_minor", Big, nullable=False),
    sa.Column("held_minor", Big, nullable=False),
    sa.Column("captured_minor", Big, nullable=False),
    sa.Column("refunded_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("opened_utc_ms", Big, nullable=False, index=True),
    sa.Column("changed_utc_ms", Big, nullable=False),
    sa.UniqueConstraint("terminal", "key"),
    sa.CheckConstraint("captured_minor <= held_minor AND refunded_minor <= captured_minor"),
    sa.CheckConstraint("captured_minor >= 0 AND refunded_minor >= 0"),
)
account_slices = sa.Table(
    "account_slices",
    metadata,
    sa.Column("slice_id", sa.String(36), primary_key=True),
    sa.Column("terminal", sa.String(36), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("account", sa.ForeignKey("accounts.account"), nullable=False, index=True),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("spent_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.Column("granted_utc_ms", Big, nullable=False, index=True),
    sa.Column("expires_utc_ms", Big, nullable=False),
    sa.Column("jws", sa.Text, nullable=False),
    sa.UniqueConstraint("terminal", "key"),
    sa.CheckConstraint("spent_minor >= 0 AND spent_minor <= amount_minor"),
)
postings = sa.Table(
    "postings",
    metadata,
    sa.Column("posting", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("utc_ms", Big, nullable=False),
    # topup hold increment capture void refund grant spend return receivable write_off
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("source", sa.String(36), nullable=False),  # the terminal, or "office"
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("account", sa.ForeignKey("accounts.account"), nullable=False, index=True),
    sa.Column("about", sa.String(36), nullable=False),  # hold or slice
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("note", sa.String(200), nullable=False),  # reason and authority, for what people do
    sa.UniqueConstraint("source", "kind", "key"),
)
entries = sa.Table(
    "entries",
    metadata,
    sa.Column("posting", sa.ForeignKey("postings.posting"), primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("book", sa.String(40), nullable=False),
    sa.Column("account", sa.String(36), nullable=False, index=True),  # "" for books of the whole office
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
)

for _table in (postings, entries):
    append_only(_table, "entries never change")
