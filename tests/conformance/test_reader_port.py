"""The port CardReader, over a scripted slot and over a real pcscd with a virtual reader and the simulated EMV card.

A process can talk to one pcscd only (libpcsclite keeps the socket's name), so the whole file shares one private service.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from drivers.cards.pcsc import Category, PcscError, PcscSlot
from drivers.cards.pcsc_reader import PcscReader
from drivers.sim.card_keys import DemoScheme
from drivers.sim.control import ask
from drivers.sim.launch import Simulated
from terminal_app.config import ReaderSection
from terminal_app.errors import CardMisread, CardMisreadReason, DeviceUnavailable
from terminal_app.ports import CardReader
from tests.scripted_card import IDENTIFY, PANS, PAY, RealClock, ScriptedSlot, answers, emv_card, issuer_accepts

DEADLINE_S = 20.0
APDUS = {"mastercard": 8, "visa": 7}


def can_make_namespaces() -> bool:
    return any(
        subprocess.run(["unshare", *how, "-m", "-n", "true"], capture_output=True, check=False).returncode == 0
        for how in ([], ["-U", "-r"])
    )


needs_pcscd = pytest.mark.skipif(
    not Path("/usr/sbin/pcscd").exists() or not can_make_namespaces(), reason="pcscd and the right to make namespaces are needed"
)


class Stage(Protocol):
    """A reader and somebody with a card in the hand."""

    reader: CardReader

    def insert(self, profile: str, lie: str = "") -> None: ...
    def remove(self) -> None: ...
    def pull_at(self, apdu: int) -> None: ...


class ScriptedStage:
    def __init__(self, section: ReaderSection, scheme: DemoScheme) -> None:
        self._scheme = scheme
        self._slot = ScriptedSlot()
        self.reader: CardReader = PcscReader(section, RealClock(), self._slot)
        self.remove = self._slot.remove

    def insert(self, profile: str, lie: str = "") -> None:
        self._slot.insert(answers(emv_card(profile, scheme=self._scheme, lie=lie)))

    def pull_at(self, apdu: int) -> None:
        self._slot.fail_at = (apdu, PcscError(Category.REMOVED, "pulled"))


class Service:
    """pcscd, virtual reader and card in their own namespaces; commanded over two Unix sockets."""

    def __init__(self, folder: Path) -> None:
        self.card_control = folder / "card"
        self.ca_keys = folder / "scheme" / "ca-keys.toml"
        flags = ("--run-dir", folder / "run", "--card-control", self.card_control, "--certificates", folder / "scheme")
        self.device = Simulated("pcscd", folder / "ctl", *flags)
        self.socket = str(self.device.facts["socket"])

    def card(self, do: str, **parameters: object) -> dict[str, object]:
        reply = ask(self.card_control, {"do": do, **parameters})
        assert reply["ok"], reply
        return reply


class PcscdStage:
    def __init__(self, section: ReaderSection, service: Service) -> None:
        self.service = service
        self.reader: CardReader = PcscReader(section, RealClock())

    def insert(self, profile: str, lie: str = "") -> None:
        until(lambda: not self.service.card("get")["connected"])  # the card before is really gone
        self.service.card("set", profile=profile, lie=lie)
        self.service.card("insert")

    def remove(self) -> None:
        self.service.card("remove")

    def pull_at(self, apdu: int) -> None:
        self.service.card("remove_after_apdus", n=apdu)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Service(Path(folder))
        try:
            yield made
        finally:
            made.device.stop()


@pytest.fixture
def section(tmp_path: Path) -> ReaderSection:
    key = tmp_path / "card.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    return ReaderSection(card_key=key)


@pytest.fixture
def real(section: ReaderSection, service: Service, tmp_path: Path) -> Iterator[PcscdStage]:
    service.device.ctl("start_pcscd")
    service.card("remove")
    service.card("hang", on=False)
    service.card("slow", ms=0)
    stage = PcscdStage(
        ReaderSection(card_key=section.card_key, pcsc_socket=service.socket, name="Virtual PCD 00 00", ca_keys=service.ca_keys),
        service,
    )
    until(lambda: settled_empty(stage.reader))
    yield stage
    stage.reader.close()
    service.card("hang", on=False)
    service.card("remove")


@pytest.fixture(params=["scripted", pytest.param("pcscd", marks=needs_pcscd)])
def stage(request: pytest.FixtureRequest, section: ReaderSection, tmp_path: Path) -> Stage:
    if request.param == "scripted":
        scheme = DemoScheme(tmp_path / "scheme")
        return ScriptedStage(ReaderSection(card_key=section.card_key, ca_keys=scheme.ca_keys), scheme)
    found: Stage = request.getfixturevalue("real")
    return found


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"


def settled_empty(reader: CardReader) -> bool:
    """Service up and no card in the field any more (the virtual reader looks every 400 ms)."""
    try:
        return not reader.wait_card(0.6)
    except DeviceUnavailable:
        return False


def comes(reader: CardReader) -> bool:
    try:
        return reader.wait_card(0.5)
    except DeviceUnavailable:
        return False


# --- every reader ---------------------------------------------------------------------------------------------------


def test_no_card_no_presentation(stage: Stage) -> None:
    assert not stage.reader.wait_card(0.05)


@pytest.mark.parametrize("profile", ["mastercard", "visa"])
def test_a_tap_brings_a_cryptogram_the_issuer_accepts(stage: Stage, profile: str) -> None:
    stage.insert(profile)
    until(lambda: stage.reader.wait_card(2))
    card = stage.reader.read(PAY)
    assert issuer_accepts(card.emv, PANS[profile])
    assert bytes(card.track2).hex().upper().startswith(PANS[profile] + "D")
    again = stage.reader.read(IDENTIFY)
    assert again.facts.token == card.facts.token and not again.emv and again.facts.cryptogram == ""
    stage.reader.finish(None)
    card.wipe()
    assert not any(card.emv) and not any(card.track2)


@pytest.mark.parametrize("profile", ["mastercard", "visa"])
def test_a_card_is_authenticated_if_it_proves_itself(stage: Stage, profile: str) -> None:
    for lie in ("", "replay", "other_ca", ""):
        stage.insert(profile, lie)
        until(lambda: stage.reader.wait_card(2))
        card = stage.reader.read(PAY)
        assert card.facts.authenticated is (not lie), lie
        assert issuer_accepts(card.emv, PANS[profile])
        assert not stage.reader.read(IDENTIFY).facts.authenticated
        stage.remove()
        assert not stage.reader.wait_card(0.6)


def test_a_card_left_in_the_field_counts_again_only_after_removal(stage: Stage) -> None:
    stage.insert("visa")
    until(lambda: stage.reader.wait_card(2))
    stage.reader.read(PAY)
    assert not stage.reader.wait_card(1.0)
    stage.remove()
    assert not stage.reader.wait_card(1.0)
    stage.insert("visa")
    until(lambda: stage.reader.wait_card(2))


@pytest.mark.parametrize(("profile", "at"), [(profile, at) for profile, count in APDUS.items() for at in range(count)])
def test_a_card_pulled_at_any_apdu(stage: Stage, profile: str, at: int) -> None:
    stage.insert(profile)
    until(lambda: stage.reader.wait_card(2))
    stage.pull_at(at)
    with pytest.raises(CardMisread) as raised:
        stage.reader.read(PAY)
    assert raised.value.reason is CardMisreadReason.REMOVED
    assert not stage.reader.wait_card(0.6)
    stage.insert(profile)
    until(lambda: stage.reader.wait_card(2))
    assert issuer_accepts(stage.reader.read(PAY).emv, PANS[profile])


def test_reading_without_a_card_is_a_misread(stage: Stage) -> None:
    with pytest.raises(CardMisread) as raised:
        stage.reader.read(PAY)
    assert raised.value.reason is CardMisreadReason.REMOVED
    stage.insert("visa")
    until(lambda: stage.reader.wait_card(2))


# --- only what a real service does ------------------------------------------------------------------------------------


@needs_pcscd
@pytest.mark.parametrize("accident", ["kill_pcscd", "restart_pcscd"])
def test_the_reader_heals_by_itself_when_pcscd_comes_back(real: PcscdStage, accident: str) -> None:
    real.insert("mastercard")
    until(lambda: real.reader.wait_card(2))
    real.reader.read(PAY)
    real.service.device.ctl(accident)

    def lost() -> bool:
        try:
            real.reader.wait_card(0.1)
        except DeviceUnavailable as error:
            assert error.kind in ("no_service", "no_reader")
            return True
        return False

    until(lost)
    until(lambda: settled_empty(real.reader))  # the card that lay there all the time is no new presentation
    assert not real.reader.wait_card(2.0)
    real.remove()
    assert not real.reader.wait_card(1.0)
    real.insert("mastercard")
    until(lambda: comes(real.reader))
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["mastercard"])


@needs_pcscd
def test_pcscd_killed_while_a_card_is_read(real: PcscdStage) -> None:
    real.insert("mastercard")
    until(lambda: real.reader.wait_card(2))
    real.service.card("hang")
    killer = subprocess.Popen(  # in half a second, while the reader waits for the card's first answer
        ["python3", "-c", KILL_LATER, str(real.service.device.control)]
    )
    with pytest.raises(DeviceUnavailable) as raised:
        real.reader.read(PAY)
    assert killer.wait(DEADLINE_S) == 0
    assert raised.value.kind == "no_service"
    real.service.card("hang", on=False)
    real.remove()
    until(lambda: settled_empty(real.reader))
    assert not real.reader.wait_card(2.0)
    real.insert("visa")
    until(lambda: comes(real.reader))
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["visa"])


KILL_LATER = """
import socket, sys, time
time.sleep(0.5)
link = socket.socket(socket.AF_UNIX)
link.settimeout(10)
link.connect(sys.argv[1])
link.sendall(b'{"do": "kill_pcscd"}\\n')
assert b'"ok":true' in link.recv(1000).replace(b" ", b"")
"""


@needs_pcscd
def test_no_service_is_told_for_as_long_as_it_lasts(real: PcscdStage) -> None:
    real.service.device.ctl("stop_pcscd")
    for _ in range(3):
        with pytest.raises(DeviceUnavailable) as raised:
            until(lambda: real.reader.wait_card(0.2))
        assert raised.value.kind in ("no_service", "no_reader")
    with pytest.raises(DeviceUnavailable):
        real.reader.read(PAY)
    real.service.device.ctl("start_pcscd")
    real.insert("visa")
    until(lambda: comes(real.reader))
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["visa"])


@needs_pcscd
def test_a_card_that_hangs_blocks_nothing_for_ever(real: PcscdStage) -> None:
    real.insert("mastercard")
    until(lambda: real.reader.wait_card(2))
    real.service.card("hang")
    begin = time.monotonic()
    with pytest.raises(DeviceUnavailable) as raised:
        real.reader.read(PAY)
    assert raised.value.kind == "stuck"
    assert time.monotonic() - begin < DEADLINE_S  # the port promises 5 s
    with pytest.raises(DeviceUnavailable) as again:
        real.reader.wait_card(0.2)
    assert again.value.kind == "stuck"
    real.remove()
    real.service.card("hang", on=False)
    until(lambda: settled_empty(real.reader))
    real.insert("mastercard")
    until(lambda: comes(real.reader))
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["mastercard"])


@needs_pcscd
def test_a_service_that_is_frozen_blocks_nothing_for_ever(real: PcscdStage) -> None:
    real.insert("visa")
    until(lambda: real.reader.wait_card(2))
    pid = int(Path(real.service.socket).with_name("pcscd.pid").read_text().split("\n")[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        for call in (lambda: real.reader.read(PAY), lambda: real.reader.wait_card(0.1)):
            with pytest.raises(DeviceUnavailable) as raised:
                call()
            assert raised.value.kind == "stuck"
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: settled_empty(real.reader))  # back, and the card that lay there is not new
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["visa"])


@needs_pcscd
def test_closing_never_waits_for_a_card_that_hangs(real: PcscdStage, section: ReaderSection) -> None:
    real.insert("visa")
    until(lambda: real.reader.wait_card(2))
    real.service.card("hang")
    with pytest.raises(DeviceUnavailable):
        real.reader.read(PAY)
    real.reader.close()
    real.remove()
    real.service.card("hang", on=False)


@needs_pcscd
def test_a_slow_card_is_waited_for(real: PcscdStage) -> None:
    real.service.card("slow", ms=300)
    real.insert("mastercard")
    until(lambda: real.reader.wait_card(2))
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["mastercard"])


@needs_pcscd
def test_a_card_too_slow_is_a_misread(real: PcscdStage) -> None:
    real.service.card("slow", ms=1_200)
    real.insert("mastercard")
    until(lambda: real.reader.wait_card(2))
    with pytest.raises((CardMisread, DeviceUnavailable)):
        real.reader.read(PAY)
    real.service.card("slow", ms=0)
    real.remove()
    until(lambda: settled_empty(real.reader))
    real.insert("mastercard")
    until(lambda: comes(real.reader))
    real.reader.read(PAY)


@needs_pcscd
def test_a_reader_that_is_not_there_is_told(real: PcscdStage, section: ReaderSection) -> None:
    other = PcscReader(
        ReaderSection(card_key=section.card_key, pcsc_socket=real.service.socket, name="No such reader"), RealClock()
    )
    with pytest.raises(DeviceUnavailable, match="No such reader") as raised:
        other.wait_card(0.1)
    assert raised.value.kind == "no_reader"
    other.close()


@needs_pcscd
def test_a_reader_held_by_another_program_is_told_and_comes_back(real: PcscdStage, section: ReaderSection) -> None:
    real.insert("visa")
    until(lambda: real.reader.wait_card(2))
    other = PcscSlot("Virtual PCD 00 00", real.service.socket)
    other.connect(5.0)
    with pytest.raises(DeviceUnavailable) as raised:
        real.reader.read(PAY)
    assert raised.value.kind == "sharing"
    other.disconnect()
    other.close()
    assert issuer_accepts(real.reader.read(PAY).emv, PANS["visa"])
