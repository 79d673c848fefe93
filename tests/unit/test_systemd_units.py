"""The units: exposed no further than promised, accepted by systemd, and naming only what the package really installs."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from terminal_app import config
from terminal_app.billing.tariff import parse_tariff
from terminal_app.errors import ConfigError

REPO = Path(__file__).parents[2]
SYSTEMD = REPO / "systemd"
TERMINAL_UNITS = ("charge-terminal", "charge-terminal-ui", "charge-terminal-sync")
OFFICE_UNITS = ("charge-office", "charge-office-closing")
THRESHOLD = "16"  # exposure 1.6; a service without any of this has 9.6

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def exposure(unit: Path) -> subprocess.CompletedProcess[str]:
    return analyze("security", "--no-pager", "--offline=yes", f"--threshold={THRESHOLD}", str(unit))


def directives(unit: str) -> list[tuple[str, str]]:
    lines = (SYSTEMD / f"{unit}.service").read_text().splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines if re.match(r"[A-Z]\w+=", line))]


@needs_analyze
@pytest.mark.parametrize("unit", [*TERMINAL_UNITS, *OFFICE_UNITS])
def test_a_unit_is_exposed_at_most_as_promised(unit: str) -> None:
    result = exposure(SYSTEMD / f"{unit}.service")
    assert result.returncode == 0, result.stdout


@needs_analyze
def test_a_unit_that_lost_its_sandbox_would_be_noticed(tmp_path: Path) -> None:
    text = (SYSTEMD / "charge-terminal.service").read_text()
    weaker = tmp_path / "charge-terminal.service"
    weaker.write_text(re.sub(r"(?m)^(CapabilityBoundingSet|SystemCallFilter|DevicePolicy|DeviceAllow)=.*\n", "", text))
    assert exposure(weaker).returncode != 0


@needs_analyze
def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    """Units as they are, only the programs (installed later under /opt) exchanged for one that exists here."""
    copies = []
    for unit in [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.target"), *SYSTEMD.glob("*.timer")]:
        copy = tmp_path / unit.name
        copy.write_text(re.sub(r"(?m)^(ExecStart|ExecStartPre)=\S+", r"\1=/bin/true", unit.read_text()))
        copies.append(str(copy))
    result = analyze("verify", "--man=no", "--recursive-errors=no", *copies)
    complaints = [line for line in result.stderr.splitlines() if str(tmp_path) in line or "charge-" in line]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("unit", [*TERMINAL_UNITS, *OFFICE_UNITS])
def test_a_unit_starts_a_program_of_this_package(unit: str) -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(REPO / "setup.cfg")
    programs = {line.split("=")[0].strip() for line in setup["options.entry_points"]["console_scripts"].split("\n") if line}
    start = dict(directives(unit))["ExecStart"].split()[0]
    assert Path(start).name in programs
    assert start.startswith("/opt/charge-office/venv/bin/" if unit in OFFICE_UNITS else "/opt/charge-terminal/venv/bin/")


def test_the_office_may_open_more_files_than_it_serves_connections() -> None:
    assert int(dict(directives("charge-office"))["LimitNOFILE"]) > 2 * 1024
    users = {dict(directives(unit))["User"] for unit in OFFICE_UNITS}
    assert len(users) == 1, "they share a state directory"


@pytest.mark.parametrize("unit", TERMINAL_UNITS)
def test_users_and_groups_of_a_unit_are_created(unit: str) -> None:
    text = (SYSTEMD / "sysusers.d" / "charge-terminal.conf").read_text()
    created = {line.split()[1] for line in text.splitlines() if line[:2] in ("u ", "g ")}
    wanted = [name for key, value in directives(unit) if key in ("User", "Group", "SupplementaryGroups") for name in value.split()]
    debian = {"dialout", "lp", "video", "render", "input"}  # device groups of base-passwd and udev
    assert set(wanted) <= created | debian


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_systemd_creates_the_users(tmp_path: Path) -> None:
    for folder in ("etc", "usr/lib/sysusers.d"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(SYSTEMD / "sysusers.d" / "charge-terminal.conf", tmp_path / "usr/lib/sysusers.d")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "charge-terminal.conf"], capture_output=True, timeout=60, check=True)
    users = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert {"charge-core", "charge-ui", "charge-sync"} <= users.keys()
    assert users["charge-core"][3] == groups["charge-terminal"][2], "the core's sockets belong to the group charge-terminal"
    assert set(groups["charge-terminal"][3].split(",")) == {"charge-ui", "charge-sync"}
    assert all(row[6].endswith("nologin") for name, row in users.items() if name.startswith("charge-"))


def test_only_the_screen_may_write_code_and_only_the_core_and_sync_have_a_network() -> None:
    settings = {unit: dict(directives(unit)) for unit in TERMINAL_UNITS}
    assert [u for u in TERMINAL_UNITS if settings[u].get("MemoryDenyWriteExecute") != "yes"] == ["charge-terminal-ui"]
    assert [u for u in TERMINAL_UNITS if settings[u].get("PrivateNetwork") == "yes"] == ["charge-terminal-ui"]
    assert all(settings[u]["LimitCORE"] == "0" and settings[u]["MemorySwapMax"] == "0" for u in TERMINAL_UNITS)
    assert all(settings[u]["Type"] == "notify" and int(settings[u]["WatchdogSec"]) > 0 for u in TERMINAL_UNITS)


def test_the_example_configuration_is_a_valid_one(tmp_path: Path) -> None:
    path = tmp_path / "terminal.toml"
    shutil.copy(SYSTEMD / "terminal.toml.example", path)
    loaded = config.load(path)
    assert not loaded.demo
    assert loaded.terminal.runtime_dir == Path("/run/charge-terminal"), "as RuntimeDirectory= of the core"
    assert loaded.terminal.state_dir == Path("/var/lib/charge-terminal"), "as StateDirectory= of the core"
    assert loaded.connector[0].tariff == tmp_path / "tariffs" / "tariff.json"


def test_the_example_configuration_shows_every_key_there_is(tmp_path: Path) -> None:
    """Commented keys are valid too, with their true defaults: uncommented one by one, nothing changes but paths."""
    text = (SYSTEMD / "terminal.toml.example").read_text()
    path = tmp_path / "terminal.toml"
    path.write_text(text)
    plain = config.load(path)
    without_a_default = {"host", "tcp_port", "baud_rate", "parity", "stop_bits", "ca_file", "client_cert", "client_key", "ca_keys"}
    without_a_default |= {"profile", "tariff_without_clock", "previous_record"}
    commented = re.findall(r"(?m)^# (\w+) = .*$", text)
    shown = (config.PolicySection, config.OfficeSection, config.ReaderSection, config.Iso8583Section, config.MeterSection)
    for section in (*shown, config.SyncSection, config.KeysSection):
        for name in section.__struct_fields__:
            assert re.search(rf"(?m)^(# )?{name} = ", text), f"{section.__name__}.{name} is not shown"
    for key in set(commented) - without_a_default:
        path.write_text(re.sub(rf"(?m)^# ({key} = )", r"\1", text))
        assert config.load(path) == plain, key


def test_the_sections_for_those_who_carry_records_are_shown_whole(tmp_path: Path) -> None:
    """[pull] and [ocpi] stand in the example as comments: uncommented they are valid, with every key there is."""
    text = (SYSTEMD / "terminal.toml.example").read_text()
    begin = text.index("#   [pull]")
    path = tmp_path / "terminal.toml"
    path.write_text(text[:begin] + re.sub(r"(?m)^#   ", "", text[begin:]))
    settings = config.load(path)
    assert settings.pull is not None and settings.ocpi.url
    for section in (config.PullSection, config.PullClientSection, config.OcpiSection):
        for name in set(section.__struct_fields__) - {"client"}:
            assert re.search(rf"(?m)^#   {name} = ", text[begin:]), f"{section.__name__}.{name} is not shown"
    told = {"url", "token_file", "ca_file", "country_code", "party_id"}
    for name in set(config.OcpiSection.__struct_fields__) - told:
        assert getattr(settings.ocpi, name) == getattr(config.OcpiSection(), name), name


def test_a_wrong_key_in_the_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "terminal.toml"
    path.write_text((SYSTEMD / "terminal.toml.example").read_text().replace("hold_minor = 6000", "hold_major = 60"))
    with pytest.raises(ConfigError, match=r"terminal\.toml: \[policy\]"):
        config.load(path)


def test_the_example_tariff_can_be_sold() -> None:
    tariff = parse_tariff((SYSTEMD / "tariff.json.example").read_bytes())
    assert not tariff.is_free
    assert not tariff.needs_time
