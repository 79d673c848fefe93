"""Programs of other people that the gateways are tried against: each in its own venv, as its own process, on loopback."""
