"""Tables of what goes down to terminals: signed commands, the references their gateways know, and notifications of nobody."""

import sqlalchemy as sa

from terminal_app.office.metadata import Big, metadata

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("number", Big, primary_key=True),  # 1.. per terminal, gapless
    sa.Column("command_id", sa.String(64), nullable=False, unique=True),
    sa.Column("act", sa.String(64), nullable=False),
    sa.Column("args", sa.Text, nullable=False),  # JSON
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("issued_utc_ms", Big, nullable=False, index=True),
    sa.Column("expires_utc_ms", Big, nullable=False),
    sa.Column("jws", sa.Text, nullable=False),
    sa.Column("state", sa.String(8), nullable=False, index=True),  # waiting | taken | done | refused | expired
    sa.Column("handed", sa.Boolean, nullable=False),  # it has left for the terminal, perhaps
    sa.Column("missed", sa.Boolean, nullable=False),  # after it expired the terminal said that it has not taken it
    sa.Column("answer", sa.Text, nullable=False),  # done: the order's own JSON; refused: a sentence
    sa.Column("changed_utc_ms", Big, nullable=False),
)
gateway_references = sa.Table(
    "gateway_references",
    metadata,
    sa.Column("reference", sa.String(64), primary_key=True),  # the key of a hold or of a step: what the gateway was told
    sa.Column("terminal", sa.String(36), nullable=False),
    sa.Column("chain_id", sa.String(64), nullable=False),
    sa.Column("hold_id", sa.String(64), nullable=False),
)
stray_notifications = sa.Table(
    "stray_notifications",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),  # of gateway and body
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("received_utc_ms", Big, nullable=False),
)
