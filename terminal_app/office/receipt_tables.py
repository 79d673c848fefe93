"""Receipts of holds that paid for nothing: found by their code, like those of sessions."""

import sqlalchemy as sa

from terminal_app.office.metadata import Big, metadata

hold_receipts = sa.Table(
    "hold_receipts",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),  # of the settlement record that carries it
    sa.Column("hold_id", sa.String(64), nullable=False, index=True),
    sa.Column("receipt_number", sa.String(64), nullable=False),
    sa.Column("receipt_code", sa.String(64), nullable=False, index=True),
)
