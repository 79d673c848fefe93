"""Tables of what the office itself issues: invoices with their credit notes, daily closings. Nothing in them ever changes.

`document_numbers` counts, one row per series, in the commit that writes the document: no gap, no number twice.
"""

import sqlalchemy as sa

from terminal_app.office.metadata import Big, append_only, metadata

document_numbers = sa.Table(
    "document_numbers",
    metadata,
    sa.Column("series", sa.String(64), primary_key=True),
    sa.Column("last", Big, nullable=False),
)
invoices = sa.Table(
    "invoices",
    metadata,
    sa.Column("number", sa.String(40), primary_key=True),  # as it is printed: INV-2026-000001
    sa.Column("series", sa.String(32), nullable=False),
    sa.Column("running", Big, nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),  # invoice | credit
    sa.Column("terminal", sa.String(36), nullable=False),  # terminal, chain_id, seq: the session's record
    sa.Column("chain_id", sa.String(64), nullable=False),
    sa.Column("seq", Big, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),  # counts the documents about one session
    sa.Column("session_id", sa.String(64), nullable=False, index=True),
    sa.Column("receipt_number", sa.String(64), nullable=False),
    sa.Column("about", sa.String(40), nullable=False, index=True),  # the invoice a credit note takes back; "" = an invoice
    sa.Column("cause", sa.String(160), nullable=False),  # "" | buyer | cancel | credit:SHA-256 of the sealed credit
    sa.Column("actor", sa.String(64), nullable=False),  # who cancelled; "" = the driver, or the sealed record
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("net_minor", Big, nullable=False),
    sa.Column("vat_minor", Big, nullable=False),
    sa.Column("gross_minor", Big, nullable=False),
    sa.Column("issued_utc_ms", Big, nullable=False, index=True),
    sa.Column("content", sa.Text, nullable=False),  # all that the paper says, as JSON
    sa.Column("pdf", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("series", "running"),
    sa.UniqueConstraint("terminal", "chain_id", "seq", "place"),
    sa.CheckConstraint("net_minor + vat_minor = gross_minor"),
)
closings = sa.Table(
    "closings",
    metadata,
    sa.Column("terminal", sa.ForeignKey("terminals.terminal"), primary_key=True),
    sa.Column("number", Big, primary_key=True),
    sa.Column("day", sa.String(10), nullable=False),  # local, in the time zone the closing says
    sa.Column("made_utc_ms", Big, nullable=False),
    sa.Column("jws", sa.Text, nullable=False),  # the closing, signed by the office
    sa.UniqueConstraint("terminal", "day"),
)
closed_records = sa.Table(
    "closed_records",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("seq", Big, primary_key=True),
    sa.Column("number", Big, nullable=False),  # of the one closing that counts it
)

for _table in (invoices, closings, closed_records):
    append_only(_table, "documents never change")
