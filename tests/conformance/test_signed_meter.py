"""`SignedMeter`: the BSM-WS36A, EM580 and WM3M4C drivers on simulated devices that sign with their own keys.

What comes out is verified with `billing.ocmf.verify`, as everything that is billed.
"""

import contextlib
import functools
import inspect
import json
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from drivers.meters import bsm_ws36a, profile
from drivers.meters.open import open_meter
from drivers.meters.signing_meter import SigningMeter, ascii_words, minimal_der
from drivers.system import SystemClock
from terminal_app.billing import ocmf
from terminal_app.config import MeterSection
from terminal_app.errors import DeviceMisread, DeviceUnavailable, SignatureInvalid
from terminal_app.ports import SignedMeter
from tests.conformance.sim_process import SimProcess

PROFILES = {"bsm-ws36a": "bauer-bsm-ws36a", "em580": "carlo-gavazzi-em580", "wm3m4c": "iskra-wm3m4c"}
UNIT = {"bsm-ws36a": 42, "em580": 1, "wm3m4c": 33}
SESSION, TARIFF = "3f6c2f6e-3a52-4f7a-9b1e-5d2c7f1a0b44", "0.59 EUR/kWh"
DEADLINE_S = 20.0


class Bench:
    """One simulated device on its line, and the driver."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        arguments = ("--link", str(folder / "tty"), "--load", str(folder / "load"), "--model", kind)
        self.device = SimProcess(folder, "meter", *arguments, "--unit", str(UNIT[kind]), "--register-wh", "1234500")
        text = profile.text_of(profile.load(PROFILES[kind], None))
        text = re.sub(
            "(gap|timeout)_ms = [0-9]+",
            lambda one: f"{one[1]}_ms = {0 if one[1] == 'gap' else 200}",
            re.sub("quarantine_ms = [0-9]+", "quarantine_ms = 60", text),
        )
        (folder / f"{PROFILES[kind]}.toml").write_text(text)
        self.meters: list[SigningMeter] = []

    def meter(self) -> SigningMeter:
        section = MeterSection(
            profile=PROFILES[self.kind], port=str(self.folder / "tty"), unit=UNIT[self.kind], parity="N", stop_bits=1
        )  # a pty knows no parity
        made = open_meter(section, "meter 1", SystemClock(), "DE*ABC*E1234*1", self.folder)
        assert isinstance(made, SigningMeter)
        self.meters.append(made)
        return made

    def flows(self, energy_wh: int) -> None:
        """So much energy goes through: the register of the device jumps."""
        register = int(self.device.do("get")["register_wh"])
        self.device.do("set_register", register_wh=register + energy_wh)

    def renew(self) -> None:
        """As after unpacking."""
        for one in self.meters:
            with contextlib.suppress(RuntimeError):
                one.close()
        self.meters.clear()
        self.device.do("renew")

    def close(self) -> None:
        for one in self.meters:
            with contextlib.suppress(RuntimeError):
                one.close()
        self.device.stop()


@pytest.fixture(scope="module")
def benches() -> Iterator[list[Bench]]:
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    made = []
    for kind in PROFILES:
        (folder / kind).mkdir()
        made.append(Bench(kind, folder / kind))
    patience, bsm_ws36a.PATIENCE_S = bsm_ws36a.PATIENCE_S, 0.3
    yield made
    bsm_ws36a.PATIENCE_S = patience
    for one in made:
        one.close()
    shutil.rmtree(folder)


def on_each(test: Callable[..., None]) -> Callable[..., None]:
    """Runs the test on all three devices at the same time: each waits for its own signatures."""

    @functools.wraps(test)
    def run(benches: list[Bench], **given: object) -> None:
        with ThreadPoolExecutor(len(benches)) as pool:
            for bench in benches:
                bench.renew()
            running = {bench.kind: pool.submit(test, bench, **given) for bench in benches}
        failed = {kind: one.exception() for kind, one in running.items() if one.exception()}
        for kind, error in failed.items():
            raise AssertionError(f"{kind}: {error!r}") from error

    signature = inspect.signature(test)
    others = [one for name, one in signature.parameters.items() if name != "bench"]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[inspect.Parameter("benches", inspect.Parameter.POSITIONAL_OR_KEYWORD), *others]
    )
    return run


@on_each
def test_a_measurement_from_begin_to_a_verified_record(bench: Bench) -> None:
    meter = bench.meter()
    assert isinstance(meter, SignedMeter) and isinstance(meter.read().serial, str)
    meter.begin(SESSION, TARIFF)
    bench.flows(12_340)
    record = meter.end().decode("ascii")
    measured = ocmf.verify(record, meter.public_key_spki())
    assert measured.energy_wh == 12_340 and measured.clock == "S" and measured.certified
    assert measured.meter_serial == meter.read().serial, "record and register name the same meter"
    assert SESSION in record and meter.left_over() is None
    now_ms = int(time.time() * 1000)
    assert now_ms - 60_000 < measured.begin_utc_ms <= measured.end_utc_ms <= now_ms + 1000
    with pytest.raises(SignatureInvalid):
        ocmf.verify(record.replace('"ST":"G"', '"ST": "G"', 1), meter.public_key_spki())


@on_each
def test_the_record_is_the_devices_own_text(bench: Bench) -> None:
    """Verbatim: the signature covers the payload's bytes, checked here without our verifier."""
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    bench.flows(500)
    key = load_der_public_key(meter.public_key_spki())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == ("brainpoolP384r1" if bench.kind == "em580" else "secp256r1")
    for one in meter.end().split(b"\n"):
        _, payload, signature = one.split(b"|")
        key.verify(bytes.fromhex(json.loads(signature)["SD"]), payload, ec.ECDSA(SHA256()))


@on_each
def test_end_again_gives_the_same_record_until_the_next_begin(bench: Bench) -> None:
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    bench.flows(1000)
    record = meter.end()
    assert meter.end() == record, "asked again by the same process"
    meter.close()
    bench.meters.clear()
    other = bench.meter()
    assert other.end() == record, "asked by a new process, after a crash between reading and storing"
    other.begin("the-next-one", TARIFF)
    bench.flows(70)
    measured = ocmf.verify(other.end().decode(), other.public_key_spki())
    assert measured.energy_wh == 70


@on_each
def test_energy_only_counts_between_begin_and_end(bench: Bench) -> None:
    meter = bench.meter()
    bench.flows(5000)
    for energy_wh in (0, 12_000):
        assert meter.left_over() is None, "what was given out is not left over"
        meter.begin(f"session-{energy_wh}", TARIFF)
        bench.flows(energy_wh)
        assert ocmf.verify(meter.end().decode(), meter.public_key_spki()).energy_wh == energy_wh
        bench.flows(300)


@on_each
def test_a_power_cut_in_the_middle_ends_with_a_verified_record(bench: Bench) -> None:
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    bench.flows(4000)
    bench.device.do("power_cut")
    record = meter.end().decode()
    measured = ocmf.verify(record, meter.public_key_spki())
    assert measured.energy_wh == 4000 and SESSION in record


@on_each
def test_a_crash_of_ours_in_the_middle_keeps_the_open_measurement_for_the_new_process(bench: Bench) -> None:
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    bench.flows(2500)
    meter.close()
    bench.meters.clear()
    again = bench.meter()
    record = again.end().decode()
    assert ocmf.verify(record, again.public_key_spki()).energy_wh == 2500 and SESSION in record


@on_each
def test_a_crash_of_ours_and_a_power_cut_of_the_meter_still_end_with_the_record_of_the_charge(bench: Bench) -> None:
    """The Iskra wants its texts again before it can stop; the new process is told whose measurement it is."""
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    bench.flows(1200)
    meter.close()
    bench.meters.clear()
    bench.device.do("power_cut")
    again = bench.meter()
    again.resume(SESSION, TARIFF)
    measured = ocmf.verify(again.end().decode(), again.public_key_spki())
    assert measured.energy_wh == 1200 and measured.names(SESSION)


@on_each
def test_a_begin_over_an_open_measurement_closes_and_keeps_the_old_one(bench: Bench) -> None:
    first = bench.meter()
    first.begin("left-behind", TARIFF)
    bench.flows(700)
    first.close()
    bench.meters.clear()
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    bench.flows(90)
    record = meter.end().decode()
    assert ocmf.verify(record, meter.public_key_spki()).energy_wh == 90
    left = meter.left_over()
    if bench.kind == "bsm-ws36a":
        assert left is None, "this one has snapshots, no open measurement"
    else:
        assert left is not None and b"left-behind" in left
        assert ocmf.verify(left.decode(), meter.public_key_spki()).energy_wh == 700


@on_each
def test_an_end_without_a_begin_is_refused(bench: Bench) -> None:
    with pytest.raises(DeviceUnavailable) as raised:
        bench.meter().end()
    assert raised.value.kind == "refused"


@on_each
def test_the_record_of_another_session_is_not_given_out(bench: Bench) -> None:
    mine, other = bench.meter(), bench.meter()
    mine.begin(SESSION, TARIFF)
    other.begin("somebody-else", TARIFF)
    with pytest.raises(DeviceMisread):
        mine.end()


@pytest.mark.parametrize(
    "kind",
    [
        "crc",
        "silent",
        "late",
        *(pytest.param(one, marks=pytest.mark.full) for one in ("garbage_before", "truncated", "wrong_unit")),
    ],
)
@on_each
def test_a_disturbed_line_costs_time_but_no_record(bench: Bench, kind: str) -> None:
    """Every command may be the one whose answer is lost: the device's state decides, nothing is ordered twice."""
    meter = bench.meter()
    bench.device.do("fault", kind=kind, times=1, ms=500)
    meter.begin(SESSION, TARIFF)
    bench.flows(1500)
    bench.device.do("fault", kind=kind, times=1, ms=500)
    measured = ocmf.verify(meter.end().decode(), meter.public_key_spki())
    assert measured.energy_wh == 1500


@on_each
def test_a_dead_line_is_told_within_the_ports_time(bench: Bench) -> None:
    meter = bench.meter()
    bench.device.do("fault", kind="silent")
    began = time.monotonic()
    with pytest.raises(DeviceUnavailable):
        meter.begin(SESSION, TARIFF)
    assert time.monotonic() - began < DEADLINE_S + 5
    bench.device.do("fault", kind="none")
    meter.begin(SESSION, TARIFF)
    bench.flows(20)
    assert ocmf.verify(meter.end().decode(), meter.public_key_spki()).energy_wh == 20


@on_each
def test_registers_can_be_read_while_a_measurement_is_open(bench: Bench) -> None:
    meter = bench.meter()
    meter.begin(SESSION, TARIFF)
    with socket.socket(socket.AF_UNIX) as load:
        load.connect(str(bench.folder / "load"))
        load.sendall(b'{"power_w": 7000}\n')
        until = time.monotonic() + DEADLINE_S
        while meter.read().power_w != 7000:
            assert time.monotonic() < until
    assert meter.identity().serial
    meter.end()


@on_each
def test_long_and_foreign_texts_fit_or_are_refused(bench: Bench) -> None:
    meter = bench.meter()
    long = "Grüße | " + "0.59 EUR/kWh, " * 60
    if bench.kind == "wm3m4c":
        with pytest.raises(DeviceUnavailable, match="too long"):
            meter.begin(SESSION, long)
        long = long[:200]
    meter.begin(SESSION, long)
    bench.flows(10)
    assert ocmf.verify(meter.end().decode("ascii"), meter.public_key_spki()).energy_wh == 10


# --- small parts ------------------------------------------------------------------------------------------------------


def test_text_fields_end_with_a_zero() -> None:
    assert ascii_words("AB", 2) == (0x4142, 0)
    assert ascii_words("ABCDEF", 2) == (0x4142, 0x4300)
    assert ascii_words("ä|", 2) == (0x3F20, 0)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("3008020200010202007f", "300602010102017f"),
        ("30080202008002020001", "3007020200800201" + "01"),
        ("3006020101020102", "3006020101020102"),
    ],
)
def test_leading_zeros_in_a_signature_are_taken_away(given: str, wanted: str) -> None:
    assert minimal_der(bytes.fromhex(given)).hex() == wanted


@pytest.mark.parametrize("given", ["", "3003020101", "3006020101030102", "30060201010201", "3009020101020101020101"])
def test_what_is_no_signature_is_refused(given: str) -> None:
    with pytest.raises(ValueError):
        minimal_der(bytes.fromhex(given))


def test_records_of_real_meters_verify() -> None:
    """Published by chargeITmobility/bsm-python, doc/examples/ocmf.md: begin and end of one measurement, 150 Wh."""
    folder = Path(__file__).parent.parent / "vectors" / "meters"
    key = bytes.fromhex((folder / "bsm-ws36a.key").read_text().strip())
    text = (folder / "bsm-ws36a.ocmf").read_text().strip()
    measured = ocmf.verify(text, key)
    assert (measured.energy_wh, measured.meter_serial) == (150, "001BZR1521070006")
    for bad in (text.replace("0.15", "0.16"), "\n".join(text.split("\n")[::-1]), text.replace(" S", "  S", 1)):
        with pytest.raises(SignatureInvalid):
            ocmf.verify(bad, key)
