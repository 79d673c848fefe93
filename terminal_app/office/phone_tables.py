"""Tables of what drivers do by phone: pages that pay for a terminal's hold, and charges that are watched and steered.

A page's `token` and a charge's `token` are all it takes to see them: they are never logged, and a page's token never leads
to the charge (whoever photographs the code on the screen must not be able to stop somebody else's charge).
"""

import sqlalchemy as sa

from terminal_app.office.metadata import Big, metadata

account_checkouts = sa.Table(
    "account_checkouts",
    metadata,
    sa.Column("checkout", sa.String(36), primary_key=True),
    sa.Column("token", sa.String(64), nullable=False, unique=True),
    sa.Column("terminal", sa.String(36), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),  # of the hold
    sa.Column("hold_id", sa.String(64), nullable=False),  # as the terminal names it
    sa.Column("connector", sa.Integer, nullable=False),
    sa.Column("station", sa.String(200), nullable=False),
    sa.Column("check_word", sa.String(16), nullable=False),
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),  # open | paid | expired
    sa.Column("refused_as", sa.String(32), nullable=False),  # why the last account gave nothing; "" = none was tried
    sa.Column("account", sa.String(36), nullable=False),  # who paid; "" = nobody
    sa.Column("hold", sa.String(36), nullable=False),  # the account's hold; "" = none
    sa.Column("opened_utc_ms", Big, nullable=False),
    sa.Column("expires_utc_ms", Big, nullable=False),
    sa.Column("changed_utc_ms", Big, nullable=False),
    sa.UniqueConstraint("terminal", "key"),
)
tries = sa.Table(
    "tries",
    metadata,
    sa.Column("subject", sa.String(96), primary_key=True),  # what is guessed at: a page, an account, a connector's address
    sa.Column("minute", Big, primary_key=True),  # counted since 1970; 0 = for ever
    sa.Column("made", sa.Integer, nullable=False),
    sa.Column("utc_ms", Big, nullable=False, index=True),
)
phone_charges = sa.Table(
    "phone_charges",
    metadata,
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("origin", sa.String(4), nullable=False),  # page = paid on a page, app = started from afar
    sa.Column("terminal", sa.String(36), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),  # of the hold
    sa.Column("connector", sa.Integer, nullable=False),
    sa.Column("station", sa.String(200), nullable=False),
    sa.Column("account", sa.String(36), nullable=False),
    sa.Column("hold", sa.String(36), nullable=False),
    sa.Column("held_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("state", sa.String(8), nullable=False, index=True),  # asked | taken | released: see charge_fate
    sa.Column("command_id", sa.String(64), nullable=False),  # the start; "" = none was needed
    sa.Column("stop_command_id", sa.String(64), nullable=False),  # the newest stop; "" = none
    sa.Column("made_utc_ms", Big, nullable=False),
    sa.Column("changed_utc_ms", Big, nullable=False),
    sa.UniqueConstraint("terminal", "key"),
)
