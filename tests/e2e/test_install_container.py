"""`scripts/install.sh` on a fresh Debian in a container with a booted systemd: the units start, are confined, come back.

Needs root, debootstrap and systemd-nspawn; `scripts/test.sh --full` brings them. The bare Debian is kept for the next run
in $CHARGE_TEST_DEBIAN (default /var/tmp/charge-test-debian); each run works on a copy and removes it.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

REPO = Path(__file__).parents[2]
BARE = Path(os.environ.get("CHARGE_TEST_DEBIAN", "/var/tmp/charge-test-debian"))
UNITS = ("charge-terminal", "charge-terminal-ui", "charge-terminal-sync")
NSPAWN = ("systemd-nspawn", "-q", "--register=no", "--keep-unit", "--resolv-conf=off", "--setenv=HOME=/root")
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
missing = [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


class Machine:
    """A root directory, first entered without a boot, then booted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None
        self.init = 0

    def run_unbooted(self, command: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """A shell command with the host's network, as an image builder would."""
        enter = [*NSPAWN, "-D", str(self.root), "--console=pipe", "bash", "-c", command]
        return subprocess.run(enter, capture_output=True, text=True, timeout=timeout_s, check=False, env=CLEAN)

    def boot(self) -> None:
        """systemd as PID 1 of its own namespaces, without a network."""
        log = (self.root.parent / "boot.log").open("wb")
        command = [*NSPAWN, "-D", str(self.root), "--boot", "--private-network", "--console=read-only"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=CLEAN, start_new_session=True
        )
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.init = int(until(lambda: children.read_text().split()[:1], "the container has no init")[0])
        until(lambda: self.shell("systemctl is-system-running").strip() in ("running", "degraded"), "systemd did not come up")

    def shell(self, command: str) -> str:
        """Output of a shell command inside; its exit code is not looked at."""
        return self.run(command).stdout

    def run(self, command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-n", "bash", "-c", command]
        return subprocess.run(enter, capture_output=True, text=True, timeout=timeout_s, check=False, env=CLEAN)

    def show(self, unit: str, name: str) -> str:
        return self.shell(f"systemctl show -P {name} {unit}.service").strip()

    def pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID") or 0)

    def active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState") == "active"

    def journal(self, unit: str) -> str:
        return self.shell(f"journalctl --no-pager -o cat -u {unit}.service")

    def power_off(self) -> None:
        if self.process is None:
            return
        if self.init:
            self.shell("systemctl poweroff")
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)


def until(found: Callable[[], object], why: str, deadline_s: float = 120) -> object:
    end = time.monotonic() + deadline_s
    while True:
        try:
            if answer := found():
                return answer
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            pytest.fail(why)
        time.sleep(0.5)


def bare_debian() -> Path:
    """Made once: a Debian with systemd and Python, nothing else."""
    if not (BARE / "etc/debian_version").exists():
        half = BARE.with_name(f"{BARE.name}.{secrets.token_hex(4)}")
        packages = "systemd,systemd-sysv,dbus,udev,python3,ca-certificates"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(half)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if made.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            pytest.skip(f"debootstrap could not make a Debian here: {made.stdout[-400:]}")
        half.rename(BARE)
    return BARE


def give_network(root: Path) -> None:
    """The machine's own mirrors, authorities and registries also hold inside."""
    for pattern in ("sources.list", "sources.list.d/*.list", "sources.list.d/*.sources", "apt.conf.d/*"):
        for file in Path("/etc/apt").glob(pattern):
            if "apt.conf.d" not in pattern or "Acquire::" in file.read_text(errors="replace"):
                (root / file.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / file.relative_to("/"))
    for name in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(Path("/") / name, root / name)
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    lines = []
    for name in ("index-url", "extra-index-url", "trusted-host", "proxy", "cert"):
        for value in re.findall(rf"(?m)^(?:global|user|site|:env:)\.{name}='(.*)'$", listed)[:1]:
            reachable = [one for one in value.split() if not one.startswith("file:")]
            if reachable:
                lines.append(f"{name} = {' '.join(reachable)}")
    (root / "etc/pip.conf").write_text("[global]\n" + "\n".join(lines) + "\n")


def give_checkout(root: Path) -> None:
    """The source as a technician would copy it, and what the operator hands out with it."""
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "terminal_app", "drivers", "ui", "scripts", "systemd"):
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, root / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (root / "src").mkdir(exist_ok=True)
            shutil.copy(source, root / "src" / name)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(serialization.Encoding.PEM, form)
    (root / "src/office.pem").write_bytes(public)
    (root / "src/office.token").write_text(secrets.token_urlsafe(32) + "\n")


def without_a_display(root: Path) -> None:
    """What a container has not: a console and a graphics card. And a crash loop shall fail the test, not reboot it."""
    for unit, lines in (
        ("charge-terminal-ui", "[Service]\nStandardInput=null\nTTYPath=\nEnvironment=SDL_VIDEODRIVER=offscreen\n"),
        ("charge-terminal", "[Unit]\nStartLimitAction=none\n"),
    ):
        folder = root / f"etc/systemd/system/{unit}.service.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "container.conf").write_text(lines)


INSTALL = "cd /src && bash scripts/install.sh --yes"
FIRST = (
    f"{INSTALL} --config systemd/terminal.toml.example --tariff systemd/tariff.json.example"
    " --office-key office.pem --office-token office.token"
)
FINGERPRINT = "cd / && sha256sum /etc/charge-terminal/*.* /etc/charge-terminal/tariffs/* /var/lib/charge-terminal/keys/*"


@pytest.fixture(scope="module")
def installed() -> Iterator[Machine]:
    """Installed twice (the second time is an upgrade), not booted yet."""
    home = Path(f"/var/tmp/charge-install-{secrets.token_hex(4)}")
    home.mkdir(mode=0o700)
    machine = Machine(home / "root")
    try:
        subprocess.run(["cp", "-a", str(bare_debian()), str(machine.root)], check=True, timeout=300)
        give_network(machine.root)
        give_checkout(machine.root)
        first = machine.run_unbooted(FIRST)
        assert first.returncode == 0, first.stdout + first.stderr
        before = machine.run_unbooted(FINGERPRINT).stdout
        second = machine.run_unbooted(INSTALL)
        assert second.returncode == 0, second.stdout + second.stderr
        assert machine.run_unbooted(FINGERPRINT).stdout == before, "an upgrade keeps configuration, tariffs and keys"
        assert before.count("\n") == 10, before
        yield machine
    finally:
        machine.power_off()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def machine(installed: Machine) -> Machine:
    without_a_display(installed.root)
    installed.boot()
    for unit in UNITS:
        until(lambda unit=unit: installed.active(unit), f"{unit} did not start:\n{installed.journal(unit)[-3000:]}")
    return installed


def test_an_upgrade_leaves_one_release_to_go_back_to(installed: Machine) -> None:
    releases = sorted(path.name for path in (installed.root / "opt/charge-terminal/releases").iterdir())
    assert len(releases) == 2
    assert os.readlink(installed.root / "opt/charge-terminal/venv").endswith(releases[-1])


def test_secrets_belong_to_the_core_alone(installed: Machine) -> None:
    modes = installed.run_unbooted("stat -c '%n %a %U' /var/lib/charge-terminal /var/lib/charge-terminal/keys/*").stdout.split("\n")
    assert [line.split(" ", 1)[1] for line in modes if line] == ["700 charge-core"] + ["600 charge-core"] * 3
    card_key = installed.root / "var/lib/charge-terminal/keys/card.key"
    assert len(card_key.read_bytes()) == 32


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_as_nobody_in_particular_and_confined(machine: Machine, unit: str) -> None:
    status = dict(
        line.split(":\t", 1) for line in machine.shell(f"cat /proc/{machine.pid(unit)}/status").splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "a system call filter is loaded"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert "0" not in status["Uid"].split(), "not root"
    assert machine.show(unit, "MemoryDenyWriteExecute") == ("no" if unit.endswith("-ui") else "yes")
    limits = machine.shell(f"cat /proc/{machine.pid(unit)}/limits")
    assert re.search(r"Max core file size +0 +0", limits), "card data never reaches a core dump"


def test_nobody_but_the_core_can_look_into_the_state_directory(machine: Machine) -> None:
    for unit in UNITS:
        look = (
            f"nsenter -t {machine.pid(unit)} -m --setuid $(stat -c %u /proc/{machine.pid(unit)}) ls /var/lib/charge-terminal/keys"
        )
        assert (machine.run(look).returncode == 0) == (unit == "charge-terminal"), unit


def test_the_system_is_read_only_for_every_unit(machine: Machine) -> None:
    """As root, so that only the mounts can refuse."""
    places = "/usr/local /etc /opt/charge-terminal /opt/charge-terminal/venv/bin /var/lib /run"
    for unit in UNITS:
        inside = f"nsenter -t {machine.pid(unit)} -m --"
        for place in places.split():
            write = machine.run(f"{inside} touch {place}/planted")
            assert "Read-only file system" in write.stderr, (unit, place, write.stderr)


def test_what_a_unit_can_write_it_cannot_run(machine: Machine) -> None:
    for unit, own in zip(UNITS, ("/var/lib/charge-terminal", "/run/charge-terminal-ui", "/var/tmp"), strict=True):
        inside = f"nsenter -t {machine.pid(unit)} -m --"
        for place in ("/tmp", "/dev/shm", own):
            planted = machine.run(f"{inside} cp /bin/true {place}/planted && {inside} {place}/planted; {inside} rm {place}/planted")
            assert "Permission denied" in planted.stderr, (unit, place, planted.stderr)


def test_the_screen_has_no_network_and_the_core_opens_no_port(machine: Machine) -> None:
    ours = machine.shell("readlink /proc/1/ns/net")
    assert machine.shell(f"readlink /proc/{machine.pid('charge-terminal-ui')}/ns/net") != ours
    assert machine.shell(f"readlink /proc/{machine.pid('charge-terminal')}/ns/net") == ours
    listening = machine.shell('cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 | awk \'$4 == "0A" || $4 == "07"\'')
    assert listening == ""


def test_sockets_are_for_the_terminals_own_group(machine: Machine) -> None:
    found = machine.shell("stat -c '%n %a %U %G' /run/charge-terminal /run/charge-terminal/*.sock").split("\n")
    assert "/run/charge-terminal 750 charge-core charge-terminal" in found
    for name in ("ui", "sync", "control"):
        assert f"/run/charge-terminal/{name}.sock 660 charge-core charge-terminal" in found


def test_screen_and_link_are_connected_to_the_core(machine: Machine) -> None:
    inodes = machine.shell(f"ls -l /proc/{machine.pid('charge-terminal')}/fd")
    assert inodes.count("socket:") >= 5, "three listening sockets and two clients"
    for unit in ("charge-terminal-ui", "charge-terminal-sync"):
        assert machine.show(unit, "NRestarts") == "0", machine.journal(unit)[-3000:]


def test_the_confined_pcscd_still_serves_the_core(machine: Machine) -> None:
    ask = "from smartcard.scard import *; print(SCardEstablishContext(SCARD_SCOPE_USER)[0])"
    answer = machine.shell(f"cd / && runuser -u charge-core -- /opt/charge-terminal/venv/bin/python -c '{ask}'")
    assert answer.strip() == "0"
    status = machine.shell(f"cat /proc/{machine.pid('pcscd')}/status")
    assert re.search(r"Seccomp:\s2", status) and re.search(r"CapEff:\s0+\n", status)


@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_process_comes_back(machine: Machine, unit: str) -> None:
    before = machine.pid(unit)
    machine.shell(f"kill -9 {before}")
    until(lambda: machine.active(unit) and machine.pid(unit) not in (0, before), f"{unit} did not come back")


def test_the_watchdog_ends_a_core_that_makes_no_progress(machine: Machine) -> None:
    before = machine.pid("charge-terminal")
    machine.shell(f"kill -STOP {before}")
    until(
        lambda: machine.active("charge-terminal") and machine.pid("charge-terminal") not in (0, before),
        "the watchdog did not bite:\n" + machine.journal("charge-terminal")[-2000:],
    )
    assert "Watchdog timeout" in machine.journal("charge-terminal")


def test_the_technicians_tool_finds_a_whole_ledger_after_all_that(machine: Machine) -> None:
    answer = machine.run("/opt/charge-terminal/venv/bin/charge-service status --json")
    status = json.loads(answer.stdout)
    assert (status["core"], status["terminal"]) == ("running", "T-0001"), answer.stdout
    assert status["out_of_service"] != "ledger", answer.stdout
    refused = machine.run("runuser -u nobody -- /opt/charge-terminal/venv/bin/charge-service status --json")
    assert refused.returncode != 0, "nobody else may ask"


def test_a_wrong_configuration_stops_the_start_and_says_where(machine: Machine) -> None:
    config = machine.root / "etc/charge-terminal/terminal.toml"
    good = config.read_text()
    config.write_text(good.replace("hold_minor", "hold_major"))
    try:
        assert machine.run("systemctl restart charge-terminal.service").returncode != 0
        until(lambda: machine.show("charge-terminal", "ActiveState") == "failed", "a wrong configuration must not be tried again")
        assert "terminal.toml: [policy]" in machine.journal("charge-terminal")
    finally:
        config.write_text(good)
    assert machine.run("systemctl restart charge-terminal.service").returncode == 0


def test_a_failed_upgrade_leaves_the_running_terminal_alone(machine: Machine) -> None:
    before = [machine.pid(unit) for unit in UNITS]
    upgrade = machine.run("cd /src && PIP_RETRIES=0 bash scripts/install.sh --yes --force")  # no network in here
    assert upgrade.returncode != 0
    assert "Nothing was switched over" in upgrade.stderr, upgrade.stderr
    assert [machine.pid(unit) for unit in UNITS] == before
    assert len(list((machine.root / "opt/charge-terminal/releases").iterdir())) == 2


def test_uninstall_keeps_ledger_keys_and_configuration(machine: Machine) -> None:
    removed = machine.run("cd /src && bash scripts/install.sh --uninstall --force")
    assert removed.returncode == 0, removed.stderr
    assert "/var/lib/charge-terminal" in removed.stderr
    assert machine.shell("systemctl list-unit-files --no-legend 'charge-*'") == ""
    assert machine.shell("getent passwd charge-core charge-ui charge-sync") == ""
    assert not (machine.root / "opt/charge-terminal").exists()
    assert (machine.root / "var/lib/charge-terminal/keys/record.pem").exists()
    assert list((machine.root / "var/lib/charge-terminal").glob("*.db")), "the ledger is kept"
    assert (machine.root / "etc/charge-terminal/terminal.toml").exists()
