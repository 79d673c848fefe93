"""`charge-service`: the technician's tool. It reads and acts over the core's control socket; when the core is stopped it
reads the ledger and opens devices itself, under the core's lock. Exit codes: 0 ok, 1 warning, 2 fault, 3 usage.
"""

from terminal_app.run.service.cli import main

__all__ = ["main"]
