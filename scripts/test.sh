#!/usr/bin/env bash
# All checks of the project: style, types, floors, tests.
#
#   scripts/test.sh [--full] [pytest arguments]
#
# Quick by default (small forms of everything); --full adds the long campaigns and the peers that only it installs.
# Needs no display. Exit code 0 only if every check passed; the last lines are pytest's own.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

selection=(-m "not full")
need="test"
case "${1:-}" in
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --full) selection=() need="full"; shift ;;
esac
charge_setup "$need" || exit 1

export PYTHONDONTWRITEBYTECODE=1
bin="$CHARGE_VENV/bin"
failed=()

check() { # NAME COMMAND...
    local name=$1
    shift
    charge_say "$name"
    "$@" || failed+=("$name")
}
check "ruff check" "$bin/ruff" check --no-cache .
check "ruff format" "$bin/ruff" format --no-cache --check .
check "mypy" "$bin/mypy" --cache-dir "$CHARGE_VENV/.cache/mypy"
check "lint-imports" "$bin/lint-imports" --no-cache
charge_say "pytest"
# Most tests wait for devices, not for the processor: four workers on two cores. One file stays in one worker.
"$bin/python" -m pytest -p no:cacheprovider -o tmp_path_retention_policy=failed \
    -n "${CHARGE_TEST_WORKERS:-4}" --dist loadfile "${selection[@]}" "$@"
status=$?
if [ "$status" != 0 ]; then failed+=("pytest"); fi
if [ "${#failed[@]}" != 0 ]; then
    printf 'test.sh: failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
    exit 1
fi
