#!/usr/bin/env bash
# Install or upgrade the payment terminal on a charger (64-bit Debian 12+ or Raspberry Pi OS), as root.
#
#   scripts/install.sh                        asks what it must know, then installs and starts
#   scripts/install.sh --config FILE --yes    the same without questions
#   scripts/install.sh                        run again from a newer checkout: upgrade; configuration and ledger stay
#   scripts/install.sh --uninstall            removes programs, units and users; keeps the ledger, keys and configuration
#
#   --config FILE             terminal.toml to use (see systemd/terminal.toml.example); replaces the present one
#   --tariff FILE             OCPI 2.3.0 tariff, becomes /etc/charge-terminal/tariffs/tariff.json
#   --office-key FILE         the office's public key (PEM);    --office-token FILE   the token that lets us in
#   --meter-device DEV        name this serial adapter's socket /dev/evmeter;  --controller-device DEV  /dev/evcontroller
#   --ui-options TEXT         options of charge-terminal-ui (default: --fullscreen);  --without-ui  no screen unit
#   --no-start                do not start anything now;        --force   even while a session is running
#   --yes                     ask nothing;                      --dry-run  only tell what would be done
set -euo pipefail
REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=scripts/setup.sh disable=SC1091
. "$REPO/scripts/setup.sh"

OPT=/opt/charge-terminal
ETC=/etc/charge-terminal
STATE=/var/lib/charge-terminal
VENV=$OPT/venv
UNITS=(charge-terminal.service charge-terminal-sync.service charge-terminal-ui.service charge-terminal.target)
USERS=(charge-core charge-ui charge-sync)
PACKAGES=(
    "${CHARGE_APT_BASE[@]}" pcscd udev util-linux openssl
    libgl1 libgl1-mesa-dri libgles2 libegl1 libgbm1 libdrm2 libmtdev1 fonts-dejavu-core
)
# Each file of systemd/ and where it goes: the first two before anything else, the rest when the new release stands.
EARLY_FILES=(
    "sysusers.d/charge-terminal.conf /etc/sysusers.d/charge-terminal.conf"
    "tmpfiles.d/charge-terminal.conf /etc/tmpfiles.d/charge-terminal.conf"
)
FILES=(
    "modules-load.d/charge-terminal.conf /etc/modules-load.d/charge-terminal.conf"
    "journald.conf.d/charge-terminal.conf /etc/systemd/journald.conf.d/charge-terminal.conf"
    "udev/70-charge-terminal.rules /etc/udev/rules.d/70-charge-terminal.rules"
    "pcscd.service.d/hardening.conf /etc/systemd/system/pcscd.service.d/hardening.conf"
)
for unit in "${UNITS[@]}"; do FILES+=("$unit /etc/systemd/system/$unit"); done

config="" tariff="" office_key="" office_token="" meter_device="" controller_device="" ui_options=""
uninstall=no with_ui=yes start=yes force=no yes=no dry=no

die() { printf 'install: %s\n' "$*" >&2; exit 1; }
usage() { printf 'install: %s (--help tells more)\n' "$*" >&2; exit 3; }
say() { charge_say "$*"; }
ended() { if [ "$dry" = yes ]; then say "Nothing was done: --dry-run."; else say "$1"; fi; }
run() { if [ "$dry" = yes ]; then printf '  would run: %s\n' "$*"; else "$@"; fi; }
booted() { [ -d /run/systemd/system ]; }

while [ $# -gt 0 ]; do
    case "$1" in
        --config | --tariff | --office-key | --office-token | --meter-device | --controller-device | --ui-options)
            if [ $# -lt 2 ]; then usage "$1 needs a value"; fi
            name=${1#--}
            printf -v "${name//-/_}" '%s' "$2"
            shift
            ;;
        --uninstall) uninstall=yes ;;
        --without-ui) with_ui=no ;;
        --no-start) start=no ;;
        --force) force=yes ;;
        --yes | -y) yes=yes ;;
        --dry-run) dry=yes ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) usage "unknown option $1" ;;
    esac
    shift
done

check_machine() {
    local architecture
    if ! command -v dpkg >/dev/null || ! command -v apt-get >/dev/null; then
        die "this is not a Debian system. Debian 12 or Raspberry Pi OS (64 bit) is needed."
    fi
    architecture="$(dpkg --print-architecture)"
    case "$architecture" in
        arm64 | amd64) ;;
        *) die "this system is $architecture; a 64-bit system (arm64, amd64) is needed.
  On a Raspberry Pi 3 or newer: install the 64-bit Raspberry Pi OS." ;;
    esac
    command -v systemctl >/dev/null || die "systemd is needed and systemctl was not found."
    if [ "$(id -u)" != 0 ] && [ "$dry" = no ]; then die "must run as root: sudo $0 (or look first with --dry-run)"; fi
    local file
    for file in "$config" "$tariff" "$office_key" "$office_token"; do
        if [ -n "$file" ] && [ ! -r "$file" ]; then die "$file: cannot be read"; fi
    done
    for file in "$meter_device" "$controller_device"; do
        if [ -n "$file" ] && [ ! -c "$file" ]; then die "$file: is not a device; what is plugged in: ls -l /dev/serial/by-path"; fi
    done
}

# Nobody is charged wrongly by a restart (the ledger sees to that), but a driver's charge would stop for it.
refuse_while_charging() {
    local answer running
    if [ "$force" = yes ] || [ ! -x "$VENV/bin/charge-service" ] || ! booted; then return 0; fi
    if ! systemctl is-active --quiet charge-terminal.service; then return 0; fi
    answer="$(timeout 20 "$VENV/bin/charge-service" --config "$ETC/terminal.toml" status --json 2>/dev/null)" || true
    running="$("$VENV/bin/python" -c '
import json, sys
try: print(" ".join(one["session"] for one in json.loads(sys.argv[1])["connectors"] if one["session"]))
except (ValueError, KeyError, TypeError): print("unknown")' "$answer")"
    case "$running" in
        "") ;;
        unknown) die "the running terminal does not tell whether a session is running. Look at: charge-service status
  Go on all the same with --force." ;;
        *) die "a session is running ($running). Wait for its end, or --force: the charge then stops with its bill." ;;
    esac
}

install_packages() {
    local missing
    # Some clock discipline must be there; the core believes systemd-timesyncd. Another one that is there stays.
    if [ "$(charge_missing_packages systemd-timesyncd chrony ntpsec ntp | wc -l)" = 4 ]; then PACKAGES+=(systemd-timesyncd); fi
    mapfile -t missing < <(charge_missing_packages "${PACKAGES[@]}")
    if [ "${#missing[@]}" = 0 ]; then return; fi
    if [ "$dry" = yes ]; then printf '  would install: %s\n' "${missing[*]}"; return; fi
    charge_install_packages "${PACKAGES[@]}" || exit 1
}

create_users() {
    local pair
    say "Users and folders"
    for pair in "${EARLY_FILES[@]}"; do run install -D -m 0644 "$REPO/systemd/${pair% *}" "${pair#* }"; done
    run systemd-sysusers charge-terminal.conf
    run systemd-tmpfiles --create charge-terminal.conf
    run install -d -m 0700 "$STATE" "$STATE/keys"
    run chown -R charge-core:charge-terminal "$STATE" # after an --uninstall the numbers may have changed
}

install_units() {
    local pair
    say "Units and device rules"
    for pair in "${FILES[@]}"; do run install -D -m 0644 "$REPO/systemd/${pair% *}" "${pair#* }"; done
    name_device "$meter_device" evmeter
    name_device "$controller_device" evcontroller
    if booted; then
        run udevadm control --reload || true # a container has no device events
        run udevadm trigger --subsystem-match=tty --subsystem-match=usb-serial || true
    fi
}

# name_device DEV NAME: the socket DEV is plugged into is called /dev/NAME from now on.
name_device() {
    local device=$1 name=$2 path rules=/etc/udev/rules.d/71-charge-terminal-names.rules
    if [ -z "$device" ]; then return 0; fi
    path="$(udevadm info -q property -n "$device" | sed -n 's/^ID_PATH=//p')"
    if [ -z "$path" ]; then die "$device: its place on the bus is unknown; write $rules by hand (systemd/udev/*.example)"; fi
    if [ "$dry" = yes ]; then printf '  would name %s (%s) /dev/%s\n' "$device" "$path" "$name"; return; fi
    touch "$rules"
    sed -i "/SYMLINK+=\"$name\"/d" "$rules"
    printf 'SUBSYSTEM=="tty", ENV{ID_PATH}=="%s", SYMLINK+="%s"\n' "$path" "$name" >>"$rules"
}

# Where [keys] says that a key is: a file, or pkcs11:... for one in a token. Empty before there is a configuration.
key_place() {
    [ ! -f "$ETC/terminal.toml" ] || sed -n "s|^$1 = \"\([^\"]*\)\".*|\1|p" "$ETC/terminal.toml" | head -n 1
}

# A release is a whole environment of its own; $VENV points at the one in use, so a power cut leaves the old or the new.
build_release() {
    local base sources log extras=terminal,ui
    case "$(key_place record)$(key_place ocmf)" in *pkcs11:*) extras=$extras,pkcs11 ;; esac
    base="$(charge_base_python)" || exit 1
    release="$OPT/releases/$(date -u +%Y%m%dT%H%M%SZ)-$(sed -n 's/^version = //p' "$REPO/setup.cfg")"
    say "Programs, in $release (some minutes)"
    if [ "$dry" = yes ]; then echo "  would build the package and install charge-terminal[$extras]"; return; fi
    trap 'if [ "$(readlink "$VENV" 2>/dev/null)" != "$release" ]; then rm -rf "$release"; fi' EXIT
    log="$(mktemp /tmp/charge-install.XXXXXX)"
    sources="$(mktemp -d /tmp/charge-sources.XXXXXX)"
    cp -r "$REPO"/{setup.cfg,pyproject.toml,README.md,LICENSE,terminal_app,drivers,ui} "$sources" # build nothing in the checkout
    "$base" -m venv "$release"
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
    if ! {
        charge_quietly "$log" '.' "$release/bin/python" -m pip wheel -q --no-deps -w "$sources/dist" "$sources" &&
            charge_quietly "$log" '^ *(Collecting|Downloading|Building)' "$release/bin/python" -m pip install --retries 3 \
                "$(printf '%s\n' "$sources"/dist/*.whl)[$extras]"
    }; then
        tail -n 25 "$log" >&2
        rm -rf "$sources"
        die "pip could not install the package (its last words are above, all of them in $log). Nothing was switched over."
    fi
    rm -rf "$sources" "$log"
}

ask() { # SECTION KEY QUESTION DEFAULT: one line SECTION<tab>KEY<tab>ANSWER on the answers file
    local answer
    read -r -p "$3${4:+ [$4]}: " answer || die "no answer: use --config FILE --yes where nobody can answer"
    printf '%s\t%s\t%s\n' "$1" "$2" "${answer:-$4}" >>"$answers"
}

ask_everything() {
    answers="$(mktemp /tmp/charge-answers.XXXXXX)"
    say "What the terminal must know (the rest can be changed in $ETC/terminal.toml later)"
    ask terminal id "Terminal id, unique for your office" "$(hostname | tr -cd 'A-Za-z0-9_-' | cut -c1-36)"
    ask terminal station "Name of the station, on every screen" ""
    ask terminal operator "Operator, on every receipt" ""
    ask terminal operator_address "Operator's address" ""
    ask terminal vat_id "VAT id, if there is one" ""
    ask terminal country "Country (two letters)" "DE"
    ask terminal time_zone "Time zone" "$(cat /etc/timezone 2>/dev/null || echo Europe/Berlin)"
    ask terminal currency "Currency (three letters)" "EUR"
    ask terminal languages "Languages, first one first" "en de"
    ask terminal helpline "Telephone number for drivers" ""
    ask connector evse_id "EVSE id of the outlet, e.g. DE*ABC*E0001" ""
    ask connector max_current_a "Largest current per phase in A" "16"
    ask connector max_power_w "Largest power in W" "11000"
    ask meter.main profile "Meter model" "eastron-sdm630-v2"
    ask meter.main unit "Meter's Modbus address" "1"
    ask meter.main port "Meter's serial port" "/dev/evmeter"
    ask evse.main port "Charge controller's serial port" "/dev/evcontroller"
    ask gateway.acquirer host "Acquirer's host" ""
    ask gateway.acquirer port "Acquirer's port" ""
    ask gateway.acquirer terminal_id "Terminal id at the acquirer (8 characters)" ""
    ask gateway.acquirer merchant_id "Merchant id at the acquirer (15 characters)" ""
    ask policy hold_minor "Hold on the card, in cents" "6000"
    ask office url "Office, https://..." ""
    ask office receipt_url "Receipt page, https://..." ""
    if [ -z "$tariff" ]; then
        ask tariff price "Price per kWh including tax, e.g. 0.59 (empty: give --tariff FILE later, not for sale until then)" ""
        ask tariff vat "VAT in per cent" "19"
    fi
}

# The answers put into the commented example: stdout is the new terminal.toml; a tariff goes to the file named last.
fill_in() {
    "$release/bin/python" - "$REPO/systemd" "$answers" "$1" <<'PYTHON'
import json, pathlib, re, sys
from datetime import datetime, timezone
folder, answers, tariff_file = map(pathlib.Path, sys.argv[1:])
rows = [line.split("\t") for line in answers.read_text().splitlines()]
given = {(section, key): value.strip() for section, key, value in rows}
price, vat = given.pop(("tariff", "price"), ""), given.pop(("tariff", "vat"), "")
section, lines = "", []
for line in (folder / "terminal.toml.example").read_text().splitlines():
    if found := re.match(r"\[+([\w.]+)\]+$", line):
        section = found[1]
    if (found := re.match(r"(\w+) = (\"[^\"]*\"|\[[^]]*\]|\d+)(.*)$", line)) and (section, found[1]) in given:
        value = given[section, found[1]]
        if found[2].startswith("["):
            value = json.dumps(value.replace(",", " ").split())
        elif found[2].startswith('"'):
            value = json.dumps(value, ensure_ascii=False)
        elif not value.isdigit():
            sys.exit(f"install: [{section}] {found[1]}: {value!r} is not a whole number")
        line = f"{found[1]} = {value}{found[3]}"
    lines.append(line)
if price:
    tariff = json.loads((folder / "tariff.json.example").read_text())
    tariff |= {"country_code": given["terminal", "country"], "currency": given["terminal", "currency"]}
    tariff["last_updated"] = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = json.dumps(tariff, indent=2)
    for name, number, old in (("price", price, "0.59"), ("vat", vat, "19")):  # written as typed: no binary fractions in a price
        if not re.fullmatch(r"\d+(\.\d+)?", number):
            sys.exit(f"install: {name}: {number!r} is not a number")
        text = re.sub(rf'"{name}": {re.escape(old)}\b', f'"{name}": {number}', text)
    tariff_file.write_text(text + "\n")
print("\n".join(lines))
PYTHON
}

write_config() {
    local fresh=$ETC/.terminal.toml.new
    answers=""
    if [ "$dry" = yes ]; then echo "  would write $ETC/terminal.toml unless it is there"; return; fi
    if [ -n "$office_key" ]; then install -m 0644 "$office_key" "$ETC/office.pem"; fi
    if [ -n "$office_token" ]; then install -m 0640 -g charge-sync "$office_token" "$ETC/office.token"; fi
    if [ -n "$tariff" ]; then
        check_tariff "$tariff"
        install -m 0640 -g charge-terminal "$tariff" "$ETC/tariffs/tariff.json"
    fi
    if [ -n "$config" ]; then
        install -m 0640 -g charge-terminal "$config" "$fresh"
    elif [ ! -e "$ETC/terminal.toml" ]; then
        if [ "$yes" = yes ]; then die "there is no configuration yet: give --config FILE (example: systemd/terminal.toml.example)"; fi
        ask_everything
        install -m 0640 -g charge-terminal /dev/null "$fresh"
        fill_in "$ETC/tariffs/tariff.json" >"$fresh"
        rm -f "$answers"
        if [ ! -e "$ETC/tariffs/tariff.json" ]; then sed -i 's/^tariff = /# tariff = /' "$fresh"; fi
        if [ -e "$ETC/tariffs/tariff.json" ]; then chgrp charge-terminal "$ETC/tariffs/tariff.json"; fi
    else
        cp -p "$ETC/terminal.toml" "$fresh" # a newer release may ask for more than the old one did
    fi
    if ! "$release/bin/python" -c '
import sys
from pathlib import Path
from terminal_app import config
from terminal_app.errors import ChargeError
try:
    loaded = config.load(Path(sys.argv[1]))
except ChargeError as error:
    sys.exit(f"install: {error}")
missing = [f"[[connector]] tariff: {c.tariff}" for c in loaded.connector if c.tariff and not c.tariff.exists()]
missing += [f"[office] {k}: {p}" for k, p in (("public_key", loaded.office.public_key), ("token_file", loaded.office.token_file)) if not p.exists()]
if missing:
    print("install: note: not there yet:", *missing, sep="\n    ", file=sys.stderr)' "$fresh"; then
        die "the configuration was not accepted by this release; nothing was switched over. It is left in $fresh"
    fi
    mv "$fresh" "$ETC/terminal.toml"
    if [ ! -e "$ETC/ui.env" ] || [ -n "$ui_options" ]; then
        printf 'CHARGE_UI_OPTIONS=%s\n' "${ui_options:---fullscreen}" >"$ETC/ui.env"
    fi
}

check_tariff() {
    "$release/bin/python" -c '
import sys
from terminal_app.billing.tariff import parse_tariff
from terminal_app.errors import TariffRefused
try:
    parse_tariff(open(sys.argv[1], "rb").read())
except TariffRefused as error:
    sys.exit(f"install: {sys.argv[1]}: {error}")' "$1" || exit 1
}

# Keys are made here, once, as the user that may read them, and never leave. An existing key is never touched.
create_keys() {
    say "Keys, in $STATE/keys"
    if [ "$dry" = yes ]; then echo "  would create record.pem, ocmf.pem and card.key where they are missing"; return; fi
    (cd / && runuser -u charge-core -- "$release/bin/python" -c '
import os, sys
from pathlib import Path
from drivers.signers.keyfile import create
folder = Path(sys.argv[1])
for name in ("record.pem", "ocmf.pem"):
    if not (folder / name).exists():
        create(folder / name)
if not (folder / "card.key").exists():
    whole = folder / ".card.key.new"
    whole.unlink(missing_ok=True)
    with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(os.urandom(32)); stream.flush(); os.fsync(stream.fileno())
    whole.rename(folder / "card.key")' "$STATE/keys")
    local name place
    for name in record ocmf; do # what the office must know; readable by everybody
        place="$(key_place "$name")"
        case "$place" in
            pkcs11:*) echo "  $name is in a token: charge-service keys show tells its public key" ;;
            *) openssl pkey -in "${place:-$STATE/keys/$name.pem}" -pubout -out "$ETC/$name.pub.pem" ;;
        esac
    done
}

switch_over() {
    local wanted=(charge-terminal.service charge-terminal-sync.service charge-terminal.target) unit
    say "Switching over"
    run ln -sfn "$release" "$OPT/.venv.new"
    run mv -T "$OPT/.venv.new" "$VENV"
    if [ "$dry" = no ]; then # the release before this one stays, older ones go
        find "$OPT/releases" -mindepth 1 -maxdepth 1 | sort | head -n -2 | xargs -r rm -rf
    fi
    if [ "$with_ui" = yes ]; then
        wanted+=(charge-terminal-ui.service)
    else
        run systemctl disable -q charge-terminal-ui.service
        if booted; then run systemctl stop charge-terminal-ui.service || true; fi
    fi
    run systemctl enable -q pcscd.socket "${wanted[@]}"
    if ! booted || [ "$start" = no ]; then ended "Installed. Everything starts with the next boot."; return; fi
    run systemctl daemon-reload
    run systemctl try-restart systemd-journald.service pcscd.service
    run systemctl start pcscd.socket
    run systemctl restart "${wanted[@]}" ||
        die "a unit did not start; the reason: journalctl -u charge-terminal -u charge-terminal-ui -u charge-terminal-sync -n 50
  The release before this one: $(find "$OPT/releases" -mindepth 1 -maxdepth 1 | sort | tail -n 2 | head -n 1)"
    for unit in "${wanted[@]}"; do run systemctl --no-pager --no-legend list-units "$unit"; done
    ended "Installed and started. Next: $VENV/bin/charge-service check"
}

warn_of_swap() {
    if [ -n "$(tail -n +2 /proc/swaps)" ]; then
        say "Note: this machine swaps. Card data lives in memory for seconds; switch swap off (systemctl disable --now dphys-swapfile)."
    fi
}

remove() {
    local pair user
    say "Removing the terminal"
    if booted; then run systemctl stop "${UNITS[@]}" || true; fi
    run systemctl disable -q "${UNITS[@]}" || true
    for pair in "${FILES[@]}" "${EARLY_FILES[@]}"; do run rm -f "${pair#* }"; done
    run rm -f /etc/udev/rules.d/71-charge-terminal-names.rules
    run rm -rf "$OPT"
    if booted; then
        run systemctl daemon-reload
        run systemctl reset-failed "${UNITS[@]}" 2>/dev/null || true
        run udevadm control --reload || true
    fi
    for user in "${USERS[@]}"; do
        if getent passwd "$user" >/dev/null; then run userdel "$user"; fi
        if getent group "$user" >/dev/null; then run groupdel "$user"; fi
    done
    for user in charge-terminal charge-service; do
        if getent group "$user" >/dev/null; then run groupdel "$user"; fi
    done
    ended "Removed. Kept: the ledger and the keys in $STATE, the configuration in $ETC.
Records that were not delivered yet are only there. A new installation takes them up again."
}

tell_the_office() {
    if [ "$dry" = yes ]; then return; fi
    say "Your office must know this terminal; there: charge-office terminal add ID --record-key record.pub.pem --ocmf-key ocmf.pub.pem ...
(the two public keys are in $ETC, the token it makes belongs into $ETC/office.token)"
}

main() {
    check_machine
    refuse_while_charging
    if [ "$uninstall" = yes ]; then
        remove
        return
    fi
    install_packages
    create_users
    build_release
    write_config
    create_keys
    refuse_while_charging
    install_units
    switch_over
    tell_the_office
    warn_of_swap
}
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main; fi
