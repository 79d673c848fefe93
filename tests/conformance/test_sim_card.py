"""The simulated card in a real private pcscd, read with pyscard: selection, records, cryptograms, and a card that leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyemv.cvn import MasterCardCVN16, VisaCVN10

from drivers.sim.control import ask
from drivers.sim.launch import Simulated

KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
CAN_UNSHARE = any(
    subprocess.run(["unshare", *how, "-m", "-n", "true"], capture_output=True, check=False).returncode == 0
    for how in ([], ["-U", "-r"])
)
pytestmark = pytest.mark.skipif(not CAN_UNSHARE, reason="no right to make mount and network namespaces")

TERMINAL = {
    "9F66": "20804000",
    "9F02": "000000005000",
    "9F03": "000000000000",
    "9F1A": "0276",
    "95": "0000000000",
    "5F2A": "0978",
    "9A": "260102",
    "9C": "00",
    "9F37": "01020304",
}
CLIENT = """
import sys
from smartcard.scard import *
def check(code):
    if code != SCARD_S_SUCCESS:
        print("error", hex(code & 0xFFFFFFFF)); sys.exit(0)
code, context = SCardEstablishContext(SCARD_SCOPE_USER); check(code)
code, readers = SCardListReaders(context, []); check(code)
state = [(readers[0], SCARD_STATE_UNAWARE)]
for _ in range(100):
    code, state = SCardGetStatusChange(context, 100, state); check(code if code != SCARD_E_TIMEOUT else 0)
    if state[0][1] & SCARD_STATE_PRESENT:
        break
    state = [(state[0][0], state[0][1])]
code, card, protocol = SCardConnect(context, readers[0], SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1 | SCARD_PROTOCOL_T0); check(code)
print("atr", bytes(state[0][2]).hex())
for line in sys.stdin:
    code, answer = SCardTransmit(card, SCARD_PCI_T1 if protocol == SCARD_PROTOCOL_T1 else SCARD_PCI_T0, list(bytes.fromhex(line)))
    if code != SCARD_S_SUCCESS or len(answer) < 2:
        print("error", hex(code & 0xFFFFFFFF)); break
    print(bytes(answer).hex().upper(), flush=True)
SCardDisconnect(card, SCARD_LEAVE_CARD); SCardReleaseContext(context)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def start(place: Path, *flags: str) -> Simulated:
    arguments = ("--run-dir", place / "run", "--card-control", place / "cc", "--state", place / "card.json", *flags)
    return Simulated("pcscd", place / "c", *arguments)


@pytest.fixture
def service(place: Path) -> Iterator[Simulated]:
    with start(place) as running:
        yield running


class Reader:
    """A client process with its own PC/SC library, as the terminal is."""

    def __init__(self, service: Simulated) -> None:
        environment = {**os.environ, "PCSCLITE_CSOCK_NAME": service.facts["socket"]}
        self._client = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CLIENT)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._client.stdout is not None and self._client.stdin is not None
        self._in, self._out = self._client.stdout, self._client.stdin
        self.first_line = ""

    def send(self, apdu: str) -> str:
        self._out.write(apdu + "\n")
        self._out.flush()
        if not self.first_line:
            self.first_line = self._in.readline().strip()
        return self._in.readline().strip()

    def close(self) -> None:
        self._out.close()
        self._client.wait(20)
        self._in.close()


@pytest.fixture
def reader(service: Simulated) -> Iterator[Reader]:
    card(service, "insert")
    client = Reader(service)
    yield client
    client.close()


def card(service: Simulated, do: str, **parameters: object) -> dict[str, Any]:
    reply = ask(service.facts["card_control"], {"do": do, **parameters})
    assert reply["ok"], reply
    return reply


def select(name: str) -> str:
    return f"00A40400{len(name) // 2:02X}{name}00"


def tags(data: str) -> dict[str, bytes]:
    """All primitive data objects in a response, whatever they are nested in."""
    found: dict[str, bytes] = {}

    def walk(body: bytes) -> None:
        position = 0
        while position < len(body):
            size = 2 if body[position] & 0x1F == 0x1F else 1
            tag, position = body[position : position + size], position + size
            if body[position] == 0x81:
                position += 1
            value, position = body[position + 1 : position + 1 + body[position]], position + 1 + body[position]
            found[tag.hex().upper()] = value
            if tag[0] & 0x20:
                walk(value)

    walk(bytes.fromhex(data)[:-2])
    return found


def joined(dol: bytes, values: dict[str, str]) -> str:
    """The values that a data object list asks for; zeros for what the terminal does not have."""
    result, position = "", 0
    while position < len(dol):
        size = 2 if dol[position] & 0x1F == 0x1F else 1
        tag, length = dol[position : position + size].hex().upper(), dol[position + size]
        result += values.get(tag, "00" * length)
        position += size + 1
    return result


def signed_by_card(values: dict[str, bytes], version: MasterCardCVN16 | VisaCVN10, results: bytes) -> bytes:
    names = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36")
    return version.generate_ac(*[values[name] for name in names], results)


def terminal_values() -> dict[str, bytes]:
    return {tag: bytes.fromhex(value) for tag, value in TERMINAL.items()}


def mastercard_cryptogram(reader: Reader) -> dict[str, bytes]:
    assert tags(reader.send(select(b"2PAY.SYS.DDF01".hex())))["4F"].hex().upper() == "A0000000041010"
    assert reader.send(select("A0000000041010")).endswith("9000")
    options = tags(reader.send("80A8000002830000"))
    records: dict[str, bytes] = {}
    for entry in range(0, len(options["94"]), 4):
        sfi, first = options["94"][entry] >> 3, options["94"][entry + 1]
        records |= tags(reader.send(f"00B2{first:02X}{sfi << 3 | 4:02X}00"))
    data = joined(records["8C"], TERMINAL)
    return terminal_values() | options | records | tags(reader.send(f"80AE8000{len(data) // 2:02X}{data}00"))


def test_mastercard_tap_gives_a_cryptogram_that_its_issuer_accepts(reader: Reader) -> None:
    values = mastercard_cryptogram(reader)
    assert reader.first_line == "atr 3b80800101"
    assert values["57"].hex().upper().startswith("5413330089020011D4912201")
    assert values["9F27"] == b"\x80" and values["5F34"] == b"\x01"
    issuer = MasterCardCVN16(KEY, KEY, KEY, "5413330089020011", "01")
    assert values["9F26"] == signed_by_card(values, issuer, values["9F10"][2:8])


def test_visa_tap_gives_its_cryptogram_with_the_processing_options(service: Simulated, reader: Reader) -> None:
    card(service, "set", profile="visa")
    control = tags(reader.send(select("A0000000031010")))
    data = joined(control["9F38"], TERMINAL)
    answer = reader.send(f"80A80000{len(data) // 2 + 2:02X}83{len(data) // 2:02X}{data}00")
    values = terminal_values() | tags(answer)
    assert values["57"].hex().upper().startswith("4761739001010010D")
    issuer = VisaCVN10(KEY, KEY, KEY, "4761739001010010", "01")
    assert values["9F26"] == signed_by_card(values, issuer, values["9F10"][3:7])
    assert {"82", "94", "9F36", "9F6C", "5F34"} <= values.keys()


def test_uid_and_refusals(reader: Reader) -> None:
    assert reader.send("FFCA000000") == "04A1B2C3D4E5809000"
    assert reader.send("80A8000002830000") == "6985"
    assert reader.send(select("A000000025")) == "6A82"
    assert reader.send("00B2010C00") == "6985"
    assert reader.send("0044000000") == "6D00"


def test_counter_goes_up_also_over_a_restart(place: Path) -> None:
    seen = []
    for _ in range(2):
        with start(place) as service:
            card(service, "insert")
            reader = Reader(service)
            seen += [int.from_bytes(mastercard_cryptogram(reader)["9F36"], "big") for _ in range(2)]
            reader.close()
    assert seen == [1, 2, 3, 4]


def test_card_pulled_in_the_middle_and_put_back(service: Simulated, reader: Reader) -> None:
    card(service, "remove_after_apdus", n=2)
    assert reader.send(select(b"2PAY.SYS.DDF01".hex())).endswith("9000")
    assert reader.send(select("A0000000041010")).endswith("9000")
    assert reader.send("80A8000002830000").startswith("error")
    assert not card(service, "get")["inserted"]
    time.sleep(1)  # pcscd looks every 0.4 s: a card that is back sooner still is the dead one to it
    card(service, "insert")
    again = Reader(service)
    mastercard_cryptogram(again)
    again.close()


def test_card_comes_back_with_the_service(service: Simulated) -> None:
    card(service, "insert")
    for restart in ("restart_pcscd", "kill_pcscd"):
        service.ctl(restart)
        deadline = time.monotonic() + 20
        while not (service.ctl("get")["running"] and card(service, "get")["connected"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        reader = Reader(service)
        mastercard_cryptogram(reader)
        reader.close()


def test_service_stopped_and_started(service: Simulated) -> None:
    service.ctl("stop_pcscd")
    client = Reader(service)
    client.close()
    assert not Path(service.facts["socket"]).exists()
    service.ctl("start_pcscd")
    card(service, "insert")
    reader = Reader(service)
    assert reader.send("FFCA000000").endswith("9000")
    reader.close()


def test_children_end_with_the_supervisor(place: Path) -> None:
    service = start(place)
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_card_numbers_are_in_no_log_of_the_service(service: Simulated, reader: Reader, place: Path) -> None:
    mastercard_cryptogram(reader)
    written = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert b"5413330089020011" not in written and bytes.fromhex("5413330089020011") not in written
