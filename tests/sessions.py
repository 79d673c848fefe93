"""A terminal on paper: real engine, real ledger, scripted devices. For tests that need true sessions in a ledger.

    with terminal(tmp_path) as site:          # terminal.toml, keys, tariff, ledger under tmp_path
        site.paid_session(energy_wh=12_345)   # plug, tap, charge, stop, capture: all sealed

Nothing here has threads; every action of the engine is answered at once by `Paper` unless a test says otherwise.
"""

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from drivers.signers import keyfile
from terminal_app import config
from terminal_app.billing.acknowledgement import Ack, make_ack, seal_ack
from terminal_app.billing.receipt import receipt_code
from terminal_app.billing.record import GENESIS, thumbprint
from terminal_app.engine.engine import Engine, Outside
from terminal_app.errors import ConfigError
from terminal_app.ledger.store import CommitProbe, Ledger
from terminal_app.run.core import read_standing
from terminal_app.run.keys import open_keys
from terminal_app.screens import Button
from terminal_app.session import actions, events
from terminal_app.session.facts import OfficeAcknowledged
from terminal_app.values import (
    Approved,
    CardFacts,
    ClockState,
    EntryMode,
    EvseStatus,
    MeterIdentity,
    MeterValue,
    Outcome,
    PaymentCard,
    Pilot,
    Stamp,
)
from tests.simulation.signing_meter import SigningMeter

PAN = "4111111111111111"  # published test number; it must never reach a file
T0 = 1_767_344_400_000  # 2026-01-02 10:00 in Berlin
SERIAL = "21130042"
TARIFF = {
    "country_code": "DE",
    "party_id": "EXA",
    "id": "T-1",
    "currency": "EUR",
    "tax_included": "YES",
    "elements": [
        {
            "price_components": [
                {"type": "ENERGY", "price": 0.59, "vat": 19, "step_size": 1},
                {"type": "FLAT", "price": 1.00, "vat": 19, "step_size": 1},
                {"type": "TIME", "price": 1.20, "vat": 19, "step_size": 60},
            ]
        }
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}
TOML = """
[terminal]
id = "T-0001"
mode = "demo"
station = "Example Station"
operator = "Example Charging"
operator_address = "Example Street 1, 12345 Example"
country = "DE"
time_zone = "Europe/Berlin"
currency = "EUR"
languages = ["en", "de"]
helpline = "000"
state_dir = "state"
runtime_dir = "{runtime}"

[[connector]]
number = 1
label = "1"
evse_id = "DE*EXA*E0001"
meter = "main"
evse = "main"
max_current_a = 32
max_power_w = 22000
tariff = "tariff.json"

[meter.main]
profile = "eastron-sdm630-v2"
port = "meter-port"

[evse.main]
driver = "openevse"
port = "evse-port"

[reader]
card_key = "card.key"

[gateway.acquirer]
kind = "iso8583"
host = "127.0.0.1"
port = {gateway_port}
tls = false
terminal_id = "TERM0001"
merchant_id = "MERCHANT0000001"

[policy]
hold_minor = 6000

[[law.override]]
rule = "de-signed-meter"
by = "Tests"
why = "a meter on paper signs nothing"

[[law.override]]
rule = "de-clock"
by = "Tests"
why = "a clock on paper is as good as its test"

[keys]
record = "record.pem"
ocmf = "ocmf.pem"

[office]
url = "{office_url}"
public_key = "office.pem"
token_file = "office.token"
receipt_url = "https://office.example"
"""


class PaperClock:
    """`Clock` that moves when it is told to."""

    def __init__(self) -> None:
        self.ms, self.state, self.boot_id = 0, ClockState.SYNCHRONISED, "boot-1"

    def now(self) -> Stamp:
        return Stamp(T0 + self.ms, 1_000_000 + self.ms, self.boot_id, self.state)


class Paper:
    """One connector's devices as plain values, a driver, and an engine over a real ledger."""

    def __init__(self, path: Path, wh: int = 1_234_560, probe: CommitProbe | None = None, ms: int = 0) -> None:
        """`probe` may end it at a commit; `ms` is how late it is already."""
        self.path, self._closed = path, False
        self.config = config.load(path)
        self.keys = open_keys(self.config, path)
        self.ledger = Ledger(self.config.terminal.state_dir, probe)
        self.clock = PaperClock()
        self.clock.ms = ms
        self.wh = wh
        self.authenticated = False  # whether the card's chip proves itself
        self.outcomes: dict[type[actions.Action], Outcome] = {}  # what the gateway says instead of yes
        self.pending: deque[actions.Action] = deque()
        self.meter: SigningMeter | None = None
        numbers = itertools.count(self.ledger.head[0] + 1)
        self.engine = Engine(
            read_standing(self.config, path, self.keys, False),
            self.ledger,
            self.clock,
            lambda: (f"00000000-0000-4000-8000-{next(numbers):012d}", receipt_code(os.urandom(20))),
            Outside(self.pending.append, lambda number, wish: None, lambda wish: None, lambda screen: None),
        )
        try:
            self.engine.start(resumed_after_crash=False)
        except ConfigError:
            self.ledger.close()
            raise
        self.evse(Pilot.A)
        self.engine.turn(events.MeterReported(1, self.reading()))

    # --- devices -----------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: int) -> None:
        self.clock.ms += seconds * 1000

    def reading(self) -> MeterValue:
        return MeterValue(self.wh, 0, SERIAL, self.clock.now())

    def evse(self, pilot: Pilot, relay: bool = False, authorized: bool = False) -> None:
        self.turn(events.EvseReported(1, EvseStatus(pilot, relay, authorized, 32, self.clock.now())))

    def turn(self, event: events.Event) -> None:
        """One event, and then everything the engine asks for because of it."""
        self.engine.turn(event)
        while self.pending:
            if (answer := self._answer(self.pending.popleft())) is not None:
                self.engine.turn(answer)

    def _answer(self, action: actions.Action) -> events.Event | None:
        match action:
            case actions.Authorize(hold=hold, card=card):
                card.wipe()
                trace = {"rrn": "600210000001", "stan": "000001", "auth_code": "A1B2C3", "held_minor": str(hold.amount_minor)}
                return events.AuthorizationAnswered(hold.hold_id, self._outcome(action, Approved(hold.amount_minor, trace)))
            case actions.Capture(hold=hold, step=step) | actions.Void(hold=hold, step=step) | actions.Refund(hold=hold, step=step):
                said = self._outcome(action, Approved(step.amount_minor, {"rrn": "600210000002"}))
                return events.SettlementAnswered(hold.hold_id, step.key, said)
            case actions.ReadRegister(connector=connector, session_id=session_id, purpose=purpose):
                identity = MeterIdentity("Eastron", "SDM630-Modbus V2", SERIAL, "1.15")
                return events.RegisterRead(connector, session_id, purpose, self.reading(), self.reading(), identity)
            case actions.BeginSigned(connector=connector, session_id=session_id, reference=reference, tariff_text=text):
                assert self.meter is not None
                left = self.meter.begin(reference, text, self.wh, self.clock.now().utc_ms)
                return events.SignedBegun(connector, session_id, left)
            case actions.EndSigned(connector=connector, session_id=session_id):
                assert self.meter is not None
                return events.SignedEnded(connector, session_id, self.meter.end(self.wh, self.clock.now().utc_ms))
            case actions.SignOcmf(session_id=session_id, payload=payload):
                return events.OcmfSigned(session_id, self.keys.ocmf.sign(payload))
            case actions.SignRecord(record_seq=seq, signing_input=signing_input, key_id=key_id):
                old = self.keys.previous
                signer = old if old is not None and old.key_id == key_id else self.keys.records
                return events.RecordSigned(seq, signer.sign(signing_input))
            case actions.SignReceipt(record_seq=seq, signing_input=signing_input):
                return events.ReceiptSigned(seq, self.keys.records.sign(signing_input))
        return None

    def _outcome(self, action: actions.Action, usual: Outcome) -> Outcome:
        return self.outcomes.get(type(action), usual)

    def sign_with(self, meter: SigningMeter) -> None:
        """The meter of connector 1 signs from here on."""
        self.meter = meter
        self.engine.standing = replace(self.engine.standing, signing=frozenset({1}))
        self.turn(events.MeterKeyRead(1, SERIAL, meter.spki.hex()))

    # --- a driver ----------------------------------------------------------------------------------------------------

    def tap(self) -> None:
        """The offer is on the glass; a card is held to the reader."""
        assert self.engine.screen is not None
        self.turn(events.FrameShown(self.engine.screen.screen_no))
        arm_no = self.engine.state.kiosk.arm_no
        facts = CardFacts(
            "visa", PAN[-4:], "5e" * 16, "A0000000031010", "VISA", EntryMode.CONTACTLESS, authenticated=self.authenticated
        )
        card = PaymentCard(facts, 6000, "EUR", bytearray.fromhex(f"{PAN}D2912201"), bytearray(b"\x9f\x02"))
        self.turn(events.CardSeen(arm_no))
        self.turn(events.CardRead(arm_no, True, card))

    def charge(self, energy_wh: int, seconds: int = 3600) -> None:
        """Plugged in already or not: the car draws so much, in steps of a minute."""
        self.evse(Pilot.C)
        self.evse(Pilot.C, relay=True, authorized=True)
        begin, steps = self.wh, max(1, seconds // 60)
        for step in range(1, steps + 1):
            self.pass_time(seconds // steps)
            self.wh = begin + energy_wh * step // steps
            self.evse(Pilot.C, relay=True, authorized=True)
            self.turn(events.MeterReported(1, self.reading()))

    def stop(self) -> None:
        """Stop on the screen, contactor open, bill, records, receipt put away, car gone."""
        self.turn(events.Touched(Button.STOP, ""))
        self.finish()

    def finish(self) -> None:
        """What follows any stop, until nothing is left to do."""
        for _ in range(4):
            self.pass_time(2)
            self.evse(Pilot.B)
            self.turn(events.MeterReported(1, self.reading()))
            self.turn(events.Ticked())
        self.evse(Pilot.A)
        self.turn(events.Touched(Button.DONE, ""))
        self.turn(events.Ticked())

    def paid_session(self, energy_wh: int = 12_345, seconds: int = 3600) -> str:
        """One charge from tap to sealed settlement record; its session id."""
        self.tap()
        session_id = self.engine.state.sessions[1].session_id
        self.charge(energy_wh, seconds)
        self.stop()
        return session_id

    # --- the office --------------------------------------------------------------------------------------------------

    def acknowledge(self, through: int | None = None, quarantined: tuple[int, ...] = ()) -> None:
        """The office's countersigned watermark over all records (or up to `through`)."""
        records = list(self.ledger.records())
        through = records[-1].seq if through is None else through
        head = records[through - 1].sha256 if through else GENESIS
        signer = keyfile.KeyFileSigner(self.path.with_name("office-private.pem"))
        signing_input = make_ack(
            Ack(
                terminal=self.config.terminal.id,
                chain_id=self.ledger.chain_id,
                through_seq=through,
                head_sha256=head,
                facts_through=self.ledger.head[0],
                utc_ms=self.clock.now().utc_ms,
                quarantined=quarantined,
            ),
            thumbprint(signer.public_key_spki()),
        )
        jws = seal_ack(signing_input, signer.sign(signing_input))
        self.engine.commit_outside_a_turn(OfficeAcknowledged(through, head, self.ledger.head[0], quarantined, jws))

    def close(self) -> None:
        """Idempotent: a test may end the core early and look at what it left."""
        if not self._closed:
            self._closed = True
            self.ledger.close()


def site_files(folder: Path, runtime: Path, office_url: str = "http://127.0.0.1:1", gateway_port: int = 1) -> Path:
    """terminal.toml with everything it names; keys are fresh. Returns its path."""
    path = folder / "terminal.toml"
    path.write_text(TOML.format(runtime=runtime, office_url=office_url, gateway_port=gateway_port))
    if not (folder / "record.pem").exists():
        for name in ("record.pem", "ocmf.pem", "office-private.pem"):
            keyfile.create(folder / name)
        office = keyfile.KeyFileSigner(folder / "office-private.pem").public_key_spki()
        pem = load_der_public_key(office).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "office.pem").write_bytes(pem)
        (folder / "office.token").write_text("s3cret-office-token\n")
        (folder / "card.key").write_bytes(os.urandom(32))
        (folder / "card.key").chmod(0o600)
        (folder / "tariff.json").write_text(json.dumps(TARIFF))
    return path


@contextlib.contextmanager
def runtime_dir() -> Iterator[Path]:
    """A short folder for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def terminal(folder: Path) -> Iterator[Paper]:
    """A terminal under `folder`, for sale; its core holds the ledger's lock until the end."""
    with runtime_dir() as runtime, contextlib.closing(Paper(site_files(folder, runtime))) as site:
        yield site
