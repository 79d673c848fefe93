#!/usr/bin/env bash
# The main job on this machine: a driver taps a card, charges, stops, gets a receipt; the signed record reaches the office.
#
#   scripts/demo.sh [--headless] [--interactive] [--out DIR] [--energy-kwh 12.3] [--price-kwh 0.59]
#   scripts/demo.sh plug|tap|unplug|"network off"|"network on"|pull-card|power-cut|status|quit   while --interactive runs
#
# On a fresh Debian 12 machine (root or sudo) it installs what it needs first; the second time it is quick.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
charge_setup demo
cd "$CHARGE_REPO"
exec "$CHARGE_PYTHON" -m scripts.demo "$@"
