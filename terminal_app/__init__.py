"""On-charger payment terminal for electric-car charging. Start reading at `session/` (the rules) and `engine/` (who obeys them)."""

__version__ = "0.1.0"
