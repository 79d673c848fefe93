"""The ledger: append-only truth of money, energy and service acts. The only room that opens the terminal's SQLite."""
