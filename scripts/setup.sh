#!/usr/bin/env bash
# Make this machine able to run the checkout: Debian packages and a Python environment.
#
#   scripts/setup.sh [demo|test|full]        demo is the default; test includes demo, full includes test
#
# Other scripts source this file and call `charge_setup EXTRA`; afterwards CHARGE_VENV and CHARGE_PYTHON are set.
# It is quick when there is nothing to do, needs no network then, and starts no service. What it honours:
#   CHARGE_VENV         where the environment lives (default: .venv in the checkout)
#   CHARGE_BASE_PYTHON  the Python 3.11+ it is made from (default: the system's)
# Registries, mirrors and proxies are those of the machine's own apt and pip configuration.

CHARGE_REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# What each package is for. The first group builds and runs Python; pyscard alone has no wheel and is compiled.
CHARGE_APT_BASE=(
    ca-certificates python3 python3-venv
    gcc libc6-dev python3-dev swig libpcsclite-dev
)
CHARGE_APT_DEMO=(
    pcscd vsmartcard-vpcd                                             # a PC/SC service and its virtual reader
    xvfb xdotool x11-utils imagemagick                                # a screen nobody sees, a finger, its pictures
    libgl1 libgl1-mesa-dri libgles2 libegl1 libgbm1 libmtdev1         # what the Kivy wheel loads
    fonts-dejavu-core
    openssl jose                                                      # verify records with tools that are not ours
    iproute2 util-linux procps                                        # ip, unshare, flock, ps
)
CHARGE_APT_TEST=(
    git
    mbpoll libmodbus-dev                                              # Modbus peers in C for the meter tests
    systemd                                                           # systemd-analyze checks the units, offline
    softhsm2                                                          # a PKCS#11 token for the signer's tests
)
CHARGE_APT_FULL=(
    debootstrap systemd-container                                     # the install test boots a Debian in a container
    nodejs npm                                                        # peers in JavaScript: OCMF, OpenAPI
    chromium chromium-driver                                          # the pages for phones in a real browser, headless
    postgresql                                                        # the office's database, where SQLite does not do
)

charge_say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
charge_fail() { printf 'setup: %s\n' "$*" >&2; return 1; }

# charge_as_root COMMAND...: as we are, else through sudo; the machine's proxy settings survive sudo.
charge_as_root() {
    local keep=(DEBIAN_FRONTEND=noninteractive) name
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        if [ -n "${!name:-}" ]; then keep+=("$name=${!name}"); fi
    done
    if [ "$(id -u)" = 0 ]; then
        env "${keep[@]}" "$@"
    elif [ -t 0 ]; then
        sudo env "${keep[@]}" "$@"
    else
        sudo -n env "${keep[@]}" "$@"
    fi
}

# charge_quietly LOG WORDS COMMAND...: run it, all output to LOG, one dot or name per line that matches the words.
charge_quietly() {
    local log=$1 words=$2 status
    shift 2
    "$@" 2>&1 | tee -a "$log" | awk -v words="$words" '
        $0 ~ words { n++; printf "."; if (n % 60 == 0) printf " %d\n", n; fflush() }
        END { if (n) printf " %d\n", n }' >&2
    status=${PIPESTATUS[0]}
    return "$status"
}

charge_missing_packages() {
    local package
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then echo "$package"; fi
    done
}

charge_install_packages() {
    local missing log had_pcscd=no
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        charge_fail "this is not a Debian system (no apt-get). Debian 12 or Raspberry Pi OS (64 bit) is needed."
        return
    fi
    mapfile -t missing < <(charge_missing_packages "$@")
    if [ "${#missing[@]}" = 0 ]; then return 0; fi
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        charge_fail "needs root rights once, to install ${#missing[@]} Debian packages, and there is no sudo.
  Run this as root:  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
        return
    fi
    if [ -n "$(dpkg-query -W -f '${db:Status-Status}' pcscd 2>/dev/null)" ]; then had_pcscd=yes; fi
    charge_say "Installing ${#missing[@]} Debian packages (once on this machine): ${missing[*]}"
    log="$(mktemp "${TMPDIR:-/tmp}/charge-apt.XXXXXX")" || return
    if ! charge_quietly "$log" '^(Get|Unpacking|Setting up)' charge_as_root apt-get -o Acquire::Retries=3 update; then
        printf 'setup: apt-get update failed; trying with the lists that are here.\n' >&2
    fi
    if ! charge_quietly "$log" '^(Get|Unpacking|Setting up)' charge_as_root apt-get -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}"; then
        tail -n 15 "$log" >&2
        charge_fail "apt-get could not install the packages (its last words are above, all of them in $log).
  Is the network there, does 'apt-get update' work, are you allowed to use sudo?"
        return
    fi
    rm -f "$log"
    # We brought the PC/SC service only for private instances of it: on this machine nothing new shall listen.
    if [[ " ${missing[*]} " == *" vsmartcard-vpcd "* ]]; then charge_as_root rm -f /etc/reader.conf.d/vpcd; fi
    if [ "$had_pcscd" = no ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
        charge_as_root systemctl disable --now pcscd.socket pcscd.service >/dev/null 2>&1 ||
            printf 'setup: note: pcscd could not be switched off; it is not needed to run.\n' >&2
    fi
}

charge_base_python() {
    local candidate
    for candidate in ${CHARGE_BASE_PYTHON:+"$CHARGE_BASE_PYTHON"} /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    charge_fail "Python 3.11 or newer is needed and none was found (Debian 12 has it as python3)."
}

# Is what setup.cfg asks for already in the environment, and is this checkout the one that is installed there?
charge_satisfied() {
    "$CHARGE_PYTHON" -I - "$CHARGE_REPO" "$1" 2>/dev/null <<'PYTHON'
import configparser, json, os, sys
from importlib.metadata import PackageNotFoundError, distribution
from pip._vendor.packaging.requirements import Requirement

repo, extra = sys.argv[1:]
config = configparser.ConfigParser()
config.read(os.path.join(repo, "setup.cfg"))
wanted = config["options"]["install_requires"] + "\n" + config["options.extras_require"][extra]
try:
    for line in filter(None, map(str.strip, wanted.splitlines())):
        requirement = Requirement(line)
        if not requirement.specifier.contains(distribution(requirement.name).version, prereleases=True):
            sys.exit(1)
    origin = json.loads(distribution("charge-terminal").read_text("direct_url.json") or "{}")
except PackageNotFoundError:
    sys.exit(1)
editable = origin.get("dir_info", {}).get("editable") and origin["url"] == "file://" + repo
scripts = [line.split("=")[0].strip() for line in config["options.entry_points"]["console_scripts"].strip().splitlines()]
sys.exit(not (editable and all(os.path.exists(os.path.join(sys.prefix, "bin", name)) for name in scripts)))
PYTHON
}

charge_stamp() {
    { echo "$1 $CHARGE_REPO"; "$CHARGE_PYTHON" -VV; cat "$CHARGE_REPO/setup.cfg" "$CHARGE_REPO/pyproject.toml"; } | sha256sum
}

charge_environment() {
    local extra=$1 base stamp log
    export CHARGE_VENV="${CHARGE_VENV:-$CHARGE_REPO/.venv}"
    CHARGE_PYTHON="$CHARGE_VENV/bin/python"
    if ! "$CHARGE_PYTHON" -c 'import pip' >/dev/null 2>&1; then
        if [ -e "$CHARGE_VENV" ] && [ ! -e "$CHARGE_VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$CHARGE_VENV" 2>/dev/null)" ]; then
            charge_fail "$CHARGE_VENV exists and is not a Python environment: move it away or set CHARGE_VENV."
            return
        fi
        base="$(charge_base_python)" || return
        charge_say "Making a Python environment in $CHARGE_VENV ($("$base" -V))"
        "$base" -m venv --clear "$CHARGE_VENV" || { charge_fail "no environment could be made in $CHARGE_VENV."; return; }
    fi
    stamp="$CHARGE_VENV/.charge-$extra"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$(charge_stamp "$extra")" ]; then return 0; fi
    if ! charge_satisfied "$extra"; then
        charge_say "Installing Python packages, [$extra] (a few minutes the first time)"
        log="$(mktemp "${TMPDIR:-/tmp}/charge-pip.XXXXXX")" || return
        if ! PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 \
            charge_quietly "$log" '^ *(Collecting|Downloading|Processing|Building|Created)|^Successfully' \
            "$CHARGE_PYTHON" -m pip install --retries 3 -e "${CHARGE_REPO}[$extra]"; then
            grep -v '^ *Requirement already' "$log" | tail -n 25 >&2
            charge_fail "pip could not install the Python packages (its last words are above, all of them in $log).
  Is the network there, and does 'pip download msgspec' work on this machine?"
            return
        fi
        rm -f "$log"
    fi
    charge_stamp "$extra" >"$stamp" 2>/dev/null || true # a read-only environment is only checked again next time
}

# charge_setup [demo|test|full]: everything above, one at a time on this checkout. Status 1 after a clear error.
charge_setup() {
    local what=${1:-demo} extra packages lock
    packages=("${CHARGE_APT_BASE[@]}" "${CHARGE_APT_DEMO[@]}")
    case "$what" in
        demo) extra=demo ;;
        test) extra=test packages+=("${CHARGE_APT_TEST[@]}") ;;
        full) extra=full packages+=("${CHARGE_APT_TEST[@]}" "${CHARGE_APT_FULL[@]}") ;;
        *) charge_fail "unknown '$what': demo, test or full"; return ;;
    esac
    exec {lock}<"$CHARGE_REPO/scripts/setup.sh" || return
    flock -w 1800 "$lock" || { charge_fail "another setup of this checkout has been running for half an hour."; return; }
    charge_install_packages "${packages[@]}" && charge_environment "$extra"
    local status=$?
    exec {lock}<&-
    return "$status"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -u
    case "${1:-}" in -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
    charge_setup "${1:-demo}" || exit 1
    charge_say "Ready: $CHARGE_PYTHON"
fi
