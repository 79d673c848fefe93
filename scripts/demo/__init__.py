"""The demo: a paid charge from tap to countersigned record, on simulated hardware with every other part real."""
