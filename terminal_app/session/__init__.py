"""The rules: three small machines (kiosk, session, settlement) and the seal line, coupled in `machine.py`. PURE.

Follow one charge: `events.py` (what happened) -> `machine.decide` -> `facts.py` (what was decided, committed) and
`actions.py` (please do) -> `machine.evolve` -> `presenter.py` (what the driver sees). Replay only evolves.
"""
