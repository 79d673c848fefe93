"""`scripts/install.sh` before it changes anything: what it refuses, what it asks, what it would do. No root, no network."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from terminal_app import config
from terminal_app.billing.tariff import parse_tariff

REPO = Path(__file__).parents[2]
INSTALL = REPO / "scripts" / "install.sh"

ANSWERS = {
    ("terminal", "id"): "T-7",
    ("terminal", "station"): 'Parkhaus "Süd"',
    ("terminal", "operator"): "Example Charging",
    ("terminal", "operator_address"): "1 Example Street",
    ("terminal", "vat_id"): "",
    ("terminal", "country"): "AT",
    ("terminal", "time_zone"): "Europe/Vienna",
    ("terminal", "currency"): "EUR",
    ("terminal", "languages"): "de, en",
    ("terminal", "helpline"): "+43 000 000",
    ("connector", "evse_id"): "AT*EXA*E0007",
    ("connector", "max_current_a"): "16",
    ("connector", "max_power_w"): "11000",
    ("meter.main", "profile"): "eastron-sdm630-v2",
    ("meter.main", "unit"): "3",
    ("meter.main", "port"): "/dev/evmeter",
    ("evse.main", "port"): "/dev/evcontroller",
    ("gateway.acquirer", "host"): "acquirer.example",
    ("gateway.acquirer", "port"): "8583",
    ("gateway.acquirer", "terminal_id"): "TERM0007",
    ("gateway.acquirer", "merchant_id"): "MERCHANT0000007",
    ("policy", "hold_minor"): "4500",
    ("office", "url"): "https://office.example",
    ("office", "receipt_url"): "https://receipts.example",
    ("tariff", "price"): "0.49",
    ("tariff", "vat"): "20",
}


def shell(script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`install.sh` read in, but not run, then `script`."""
    command = ["bash", "-c", f'set -- && . "{INSTALL}" && {script}', "bash", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **settings})


def install(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    command = ["bash", str(INSTALL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def stubs(folder: Path, **programs: str) -> Path:
    """Programs that stand in for the machine's, each a line of shell."""
    folder.mkdir(exist_ok=True)
    for name, line in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    return folder


@pytest.mark.parametrize("architecture", ["armhf", "i386"])
def test_a_32_bit_system_is_refused(tmp_path: Path, architecture: str) -> None:
    result = install("--dry-run", path=stubs(tmp_path / "bin", dpkg=f"echo {architecture}", systemctl="true"))
    assert result.returncode == 1
    assert architecture in result.stderr and "64-bit" in result.stderr


def test_wrong_usage_is_told_before_anything_is_done() -> None:
    assert install("--no-such-thing").returncode == 3
    assert install("--config").returncode == 3
    absent = install("--dry-run", "--config", "/nowhere/terminal.toml")
    assert absent.returncode == 1
    assert "/nowhere/terminal.toml" in absent.stderr
    assert "--meter-device" in install("--help").stdout


def test_a_dry_run_tells_every_step_and_does_none(tmp_path: Path) -> None:
    path = stubs(tmp_path / "bin", dpkg="echo arm64", systemctl='echo "systemctl was called" >&2; exit 1')
    before = Path("/opt/charge-terminal").exists(), Path("/etc/charge-terminal").exists()
    result = install("--dry-run", path=path)
    assert result.returncode == 0, result.stderr
    for step in ("systemd-sysusers", "charge-terminal.service", "record.pem", "systemctl enable"):
        assert step in result.stdout
    assert "Nothing was done" in result.stderr and "Installed" not in result.stdout + result.stderr
    assert "was called" not in result.stderr
    assert before == (Path("/opt/charge-terminal").exists(), Path("/etc/charge-terminal").exists())


def test_help_of_the_demo_installs_nothing(tmp_path: Path) -> None:
    absent = tmp_path / "environment"
    command = ["bash", str(REPO / "scripts" / "demo.sh"), "--help"]
    told = subprocess.run(
        command, env=os.environ | {"CHARGE_VENV": str(absent)}, capture_output=True, text=True, timeout=60, check=True
    )
    assert "--energy-kwh" in told.stdout and "power-cut" in told.stdout
    assert not absent.exists()


def fill_in(tmp_path: Path, answers: Mapping[tuple[str, str], str]) -> subprocess.CompletedProcess[str]:
    """The configuration made of the answers, and the tariff beside it."""
    (tmp_path / "tariffs").mkdir(exist_ok=True)
    written = tmp_path / "answers"
    written.write_text("".join(f"{section}\t{key}\t{value}\n" for (section, key), value in answers.items()))
    release = tmp_path / "release" / "bin"
    release.mkdir(parents=True, exist_ok=True)
    stubs(release, python=f'exec "{sys.executable}" "$@"')
    return shell(f'release="{release.parent}" answers="{written}" && fill_in "{tmp_path}/tariffs/tariff.json"')


def test_answers_become_a_valid_configuration_and_an_exact_tariff(tmp_path: Path) -> None:
    made = fill_in(tmp_path, ANSWERS)
    assert made.returncode == 0, made.stderr
    path = tmp_path / "terminal.toml"
    path.write_text(made.stdout)
    loaded = config.load(path)
    assert loaded.terminal.station == 'Parkhaus "Süd"'
    assert loaded.terminal.languages == ("de", "en")
    assert (loaded.connector[0].evse_id, loaded.connector[0].max_current_a) == ("AT*EXA*E0007", 16)
    assert (loaded.meter["main"].unit, loaded.gateway["acquirer"].merchant_id) == (3, "MERCHANT0000007")
    assert loaded.policy.hold_minor == 4500
    tariff = parse_tariff((tmp_path / "tariffs" / "tariff.json").read_bytes())
    component = tariff.elements[0].price_components[0]
    assert (str(component.price), str(component.vat)) == ("0.49", "20")
    assert (tariff.country_code, tariff.currency) == ("AT", "EUR")


@pytest.mark.parametrize(
    ("where", "answer", "told"),
    [(("policy", "hold_minor"), "60.00", "[policy] hold_minor"), (("tariff", "price"), "59 cents", "price")],
)
def test_an_answer_that_is_no_number_is_named(tmp_path: Path, where: tuple[str, str], answer: str, told: str) -> None:
    made = fill_in(tmp_path, {**ANSWERS, where: answer})
    assert made.returncode != 0
    assert told in made.stderr and answer in made.stderr


def refused(tmp_path: Path, status: str, *, force: str = "no") -> subprocess.CompletedProcess[str]:
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True, exist_ok=True)
    (venv / "status.json").write_text(status)
    stubs(venv, charge_service=f'cat "{venv}/status.json"', python=f'exec "{sys.executable}" "$@"')
    running = "booted() { true; }; systemctl() { true; }"
    return shell(f'{running}; VENV="{venv.parent}" force={force}; refuse_while_charging && echo "went on"')


def test_an_upgrade_waits_for_the_driver(tmp_path: Path) -> None:
    charging = json.dumps(
        {"connectors": [{"connector": 1, "session": ""}, {"connector": 2, "session": "4f1d", "phase": "charging"}]}
    )
    idle = json.dumps({"connectors": [{"connector": 1, "session": "", "phase": "none"}]})
    waits = refused(tmp_path, charging)
    assert waits.returncode == 1
    assert "4f1d" in waits.stderr
    assert "went on" in refused(tmp_path, charging, force="yes").stdout
    assert "went on" in refused(tmp_path, idle).stdout
    assert refused(tmp_path, "").returncode == 1, "a terminal that does not answer is not taken for idle"
