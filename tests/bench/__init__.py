"""Figures of this machine, in one run: `python -m tests.bench --json`. Ratios matter; milliseconds belong to the machine."""
