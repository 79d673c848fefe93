#!/usr/bin/env bash
# The main job on this machine: a driver taps a card, charges, stops, gets a receipt; the signed record reaches the office.
#
#   scripts/demo.sh [--headless] [--interactive] [--out DIR] [--energy-kwh 12.3] [--price-kwh 0.59]
#   scripts/demo.sh --price-kwh 0                  free charging, nothing is held
#   scripts/demo.sh --meter em580                  a meter that signs (also bsm-ws36a, wm3m4c): its own record is the bill
#   scripts/demo.sh --by-phone                     the driver scans a code and pays on the office's page
#
# While --interactive runs, from another terminal, with the same --out DIR:
#   scripts/demo.sh plug | tap | unplug | pull-card | power-cut | touch BUTTON | screenshot NAME | network off | network on | status | quit
#
# On a fresh Debian 12 machine (root or sudo) it installs what it needs first; the second time it is quick.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac # installs nothing
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
charge_setup demo
cd "$CHARGE_REPO"
exec "$CHARGE_PYTHON" -m scripts.demo "$@"
