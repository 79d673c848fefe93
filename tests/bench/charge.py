"""One paid charge through the real engine and ledger, with a gateway and devices that answer at once: our own share."""

import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from drivers.signers import keyfile
from drivers.system import SystemClock
from scripts.demo.site import tariff
from terminal_app import config as configuration
from terminal_app.billing.receipt import CODE_BYTES, receipt_code
from terminal_app.billing.tariff import parse_tariff
from terminal_app.engine.engine import Engine, Outside, Standing
from terminal_app.ledger.store import Ledger
from terminal_app.screens import Button
from terminal_app.session import actions, events
from terminal_app.values import (
    Approved,
    CardFacts,
    EntryMode,
    EvseStatus,
    MeterIdentity,
    MeterValue,
    PaymentCard,
    Pilot,
)

START_WH = 1_000_000
A = TypeVar("A")


def settings(folder: Path, hold_minor: int = 6000) -> configuration.Config:
    """A configuration with one connector, in demo mode."""
    return configuration.decode(
        {
            "terminal": {
                "id": "BENCH", "mode": "demo", "station": "s", "operator": "o", "operator_address": "a", "country": "AT",
                "time_zone": "Europe/Berlin", "currency": "EUR", "languages": ["en"], "helpline": "1",
                "state_dir": "state", "runtime_dir": "run",
            },
            "connector": [
                {"number": 1, "label": "1", "evse_id": "DE*DEM*E1", "meter": "m", "evse": "e", "max_current_a": 32,
                 "max_power_w": 22000}
            ],
            "meter": {"m": {"profile": "eastron-sdm630-v2", "port": "/dev/null"}},
            "evse": {"e": {"driver": "openevse", "port": "/dev/null"}},
            "reader": {"card_key": "card.key"},
            "gateway": {"bank": {"kind": "iso8583", "host": "h", "port": 1, "tls": False, "terminal_id": "T0000001",
                                 "merchant_id": "M00000000000001"}},
            "policy": {"hold_minor": hold_minor},
            "keys": {"record": "r", "ocmf": "o"},
            "office": {"url": "http://127.0.0.1:1", "public_key": "k", "token_file": "t", "receipt_url": "http://127.0.0.1:1"},
        },
        configuration.Config,
        folder / "terminal.toml",
    )  # fmt: skip


@dataclass
class Bench:
    """An engine on a ledger in `folder`; `fsync_s` is added to every commit, as a slow card would."""

    folder: Path
    fsync_s: float = 0.0
    hold_minor: int = 6000
    taken: list[actions.Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = SystemClock()
        keys = [keyfile.create(self.folder / f"{name}.pem") for name in ("record", "ocmf")]
        self.record_key, self.ocmf_key = keys
        self.ledger = Ledger(self.folder / "state", self._slow)
        standing = Standing(
            config=settings(self.folder, self.hold_minor),
            tariffs={1: parse_tariff(tariff("0.59").encode())},
            record_key_id=self.record_key.key_id,
            record_spki=self.record_key.public_key_spki(),
            ocmf_spki=self.ocmf_key.public_key_spki(),
            ocmf_key_id=self.ocmf_key.key_id,
            software="bench",
            config_sha256="",
        )
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        self.engine = Engine(standing, self.ledger, self.clock, chance, Outside(self.taken.append, nothing, nothing, nothing))
        self.engine.start(resumed_after_crash=False)
        self.register_wh = START_WH
        self.plugged()

    def _slow(self, when: str, number: int) -> None:
        if when == "before" and self.fsync_s:
            time.sleep(self.fsync_s)

    def plugged(self, relay: bool = False, authorized: bool = False) -> None:
        stamp = self.clock.now()
        self.engine.turn(events.EvseReported(1, EvseStatus(Pilot.C, relay, authorized, 32, stamp)))

    def metered(self, energy_wh: int = 0) -> MeterValue:
        self.register_wh += energy_wh
        value = MeterValue(self.register_wh, 11_000, "1", self.clock.now())
        self.engine.turn(events.MeterReported(1, value))
        return value

    def charge(self) -> dict[str, float]:
        """One session, from tap to sealed settlement record; seconds of our own share for each wait a driver has."""
        engine = self.engine
        facts = CardFacts("Mastercard", "0011", "t", "A0000000041010", "Mastercard", EntryMode.CONTACTLESS)
        card = PaymentCard(facts, self.hold_minor, "EUR", bytearray(19), bytearray(200))
        self.offered()
        began = time.perf_counter()
        authorize = self.tapped(card)
        engine.turn(events.AuthorizationAnswered(authorize.hold.hold_id, Approved(authorize.hold.amount_minor, {"rrn": "1"})))
        approved = time.perf_counter()
        receipt_s = self.charged()
        engine.turn(events.Ticked())
        capture = self.taken_of(actions.Capture)
        engine.turn(events.SettlementAnswered(capture.hold.hold_id, capture.step.key, Approved(capture.step.amount_minor)))
        self.sign_record()
        return {"tap_to_approved": approved - began, "stop_to_receipt": receipt_s}

    def offered(self) -> None:
        """The offer is on the screen and the reader waits for a card."""
        self.metered()
        self.engine.turn(events.Touched(Button.DONE, ""))
        self.engine.turn(events.FrameShown(self.engine._screen_no))
        assert self.engine.state.kiosk.request is not None, self.engine.screen
        self.engine.turn(events.CardSeen(self.engine.state.kiosk.arm_no))

    def tapped(self, card: PaymentCard) -> actions.Authorize:
        """A card is read; what the gateway is asked."""
        self.engine.turn(events.CardRead(self.engine.state.kiosk.arm_no, True, card))
        return self.taken_of(actions.Authorize)

    def charged(self) -> float:
        """From the approval to the sealed bill and its intended capture; seconds from stop to receipt."""
        engine = self.engine
        self._read_register("start")
        self.plugged(relay=True, authorized=True)
        for _ in range(4):  # above the least that may be billed, in pieces that the plausibility gate takes in no time: 0.07 EUR
            self.metered(30)
        stopping = time.perf_counter()
        engine.turn(events.Touched(Button.STOP, ""))
        self.plugged()
        self._read_register("stop")
        ocmf = self.taken_of(actions.SignOcmf)
        engine.turn(events.OcmfSigned(ocmf.session_id, self.ocmf_key.sign(ocmf.payload)))
        self.sign_record()
        return time.perf_counter() - stopping

    def _read_register(self, purpose: str) -> None:
        order = self.taken_of(actions.ReadRegister)
        value = MeterValue(self.register_wh, 0, "1", self.clock.now())
        identity = MeterIdentity("Eastron", "SDM630-V2", "1")
        self.engine.turn(events.RegisterRead(1, order.session_id, purpose, value, value, identity))

    def sign_record(self) -> None:
        """The signer does what it was ordered."""
        order = self.taken_of(actions.SignRecord)
        self.engine.turn(events.RecordSigned(order.record_seq, self.record_key.sign(order.signing_input)))

    def taken_of(self, kind: type[A]) -> A:
        """The oldest action of a kind that was handed out."""
        found = next(one for one in self.taken if isinstance(one, kind))
        self.taken.remove(found)
        return found


def chance() -> tuple[str, str]:
    return str(uuid.uuid4()), receipt_code(secrets.token_bytes(CODE_BYTES))
