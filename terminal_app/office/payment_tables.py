"""Tables of the office's payment watch: what gateways report, by which names holds are known, what people accepted.

`gateway_rows` and `acceptances` are truth of their own; `payment_references` and `hold_terms` are derived from facts and
records, like `holds`.
"""

import sqlalchemy as sa

from terminal_app.office.metadata import Big, metadata

gateway_reports = sa.Table(
    "gateway_reports",
    metadata,
    sa.Column("gateway", sa.String(64), primary_key=True),
    sa.Column("from_utc_ms", Big, primary_key=True),
    sa.Column("until_utc_ms", Big, primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),  # of the file
    sa.Column("kinds", sa.String(64), primary_key=True),  # what it lists completely, like "capture,refund"
    sa.Column("imported_utc_ms", Big, nullable=False),
)
gateway_rows = sa.Table(
    "gateway_rows",
    metadata,
    sa.Column("row_id", sa.String(64), primary_key=True),  # hash of all below and of how many equal ones stand before it
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("reference", sa.String(128), nullable=False, index=True),
    sa.Column("about", sa.String(128), nullable=False, index=True),  # the reference of the payment it changes; "" = its own
    sa.Column("ours", sa.String(128), nullable=False, index=True),  # our hold id or key, if the gateway carries it
    sa.Column("terminal", sa.String(36), nullable=False),  # "" = the gateway does not say
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("amount_minor", Big, nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("utc_ms", Big, nullable=False, index=True),
)
payment_references = sa.Table(
    "payment_references",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("hold_id", sa.String(64), primary_key=True),
    sa.Column("reference", sa.String(128), primary_key=True, index=True),
    sa.Column("name", sa.String(32), nullable=False),  # what it is called in the trace: rrn, payment_intent, key, ...
)
hold_terms = sa.Table(
    "hold_terms",
    metadata,
    sa.Column("terminal", sa.String(36), primary_key=True),
    sa.Column("chain_id", sa.String(64), primary_key=True),
    sa.Column("hold_id", sa.String(64), primary_key=True),
    sa.Column("capture_before_utc_ms", Big, nullable=False),
)
acceptances = sa.Table(
    "acceptances",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("finding", sa.String(16), nullable=False, index=True),
    sa.Column("figures", sa.String(256), nullable=False),  # the amounts that were judged; others are a new question
    sa.Column("accepted_by", sa.String(64), nullable=False),
    sa.Column("why", sa.String(200), nullable=False),
    sa.Column("utc_ms", Big, nullable=False),
)
